# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. One form of a path, so that whoever judges it and whoever serves it mean the same. Sans-I/O.
#
# Rule 1: RFC 3986 section 6.2.2: what need not be percent-encoded is decoded, the rest is written
#         %HH in capitals, dot segments are resolved. Repeated slashes become one: most servers read
#         them so, and `//admin` must not slip past a rule for `/admin`.
# Rule 2: what servers read in several ways is refused: an encoded slash or backslash, a backslash,
#         an encoded NUL, a broken escape, and a dot segment with parameters (`..;x`, which Java
#         servers resolve).
# Rule 3: nothing is decoded twice. The result is never longer than the source.
from libc.stdint cimport int32_t, uint8_t, uint32_t

cdef enum:
    PATH_OK = 0
    PATH_REFUSED = 1

cdef extern from *:
    """
    static inline int remora_hex(unsigned char c) {
        if (c >= '0' && c <= '9') return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    }
    /* RFC 3986 section 2.3: letters, digits, "-", ".", "_", "~". */
    static inline int remora_is_unreserved(unsigned char c) {
        unsigned char l = c | 0x20;
        return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_' || c == '~';
    }
    """
    int32_t path_hex "remora_hex"(uint8_t c) nogil
    bint path_is_unreserved "remora_is_unreserved"(uint8_t c) nogil


# The byte that source[at:] escapes ("%41"); -1: no escape that may stand in a path.
cdef inline int32_t path_escape(const char* source, uint32_t length, uint32_t at) noexcept nogil:
    cdef int32_t high, low
    if at + 3 > length:
        return -1
    high = path_hex(<uint8_t>source[at + 1])
    low = path_hex(<uint8_t>source[at + 2])
    if high < 0 or low < 0:
        return -1
    high = high * 16 + low
    return -1 if high in (0, c'/', c'\\') else high


# A segment target[start:end] is whole. Returns the end without it if it is a dot segment (and
# without the one before, for two dots); -1: refused.
cdef inline int32_t path_segment(const char* target, uint32_t start, uint32_t end) noexcept nogil:
    cdef uint32_t dots = 0
    while start + dots < end and target[start + dots] == c'.':
        dots += 1
    if dots == 0 or dots > 2:
        return <int32_t>end
    if start + dots < end:
        return -1 if target[start + dots] == c';' else <int32_t>end
    if dots == 2 and start > 1:             # back over the slash, to the one before it
        start -= 1
        while target[start - 1] != c'/':
            start -= 1
    return <int32_t>start


# Write the one form of a path, which begins with a slash, to `target`, which has room for `length`
# bytes. PATH_OK, or PATH_REFUSED when there is none.
cdef inline int path_normalize(
    const char* source, uint32_t length, char* target, uint32_t* target_bytes,
) noexcept nogil:
    cdef const char* digits = b"0123456789ABCDEF"
    cdef uint32_t i = 0
    cdef uint32_t end = 0           # of what was written
    cdef uint32_t start = 1         # of the segment being written
    cdef int32_t byte
    if length == 0 or source[0] != c'/':
        return PATH_REFUSED
    while i < length:
        byte = <uint8_t>source[i]
        if byte == c'/':
            if end:
                byte = path_segment(target, start, end)
                if byte < 0:
                    return PATH_REFUSED
                end = <uint32_t>byte
            if end == 0 or target[end - 1] != c'/':
                target[end] = c'/'
                end += 1
            start = end
            i += 1
            continue
        if byte == c'\\':
            return PATH_REFUSED
        if byte != c'%':
            target[end] = <char>byte
            end += 1
            i += 1
            continue
        byte = path_escape(source, length, i)
        if byte < 0:
            return PATH_REFUSED
        i += 3
        if path_is_unreserved(<uint8_t>byte):
            target[end] = <char>byte
            end += 1
        else:
            target[end] = c'%'
            target[end + 1] = digits[byte >> 4]
            target[end + 2] = digits[byte & 15]
            end += 3
    byte = path_segment(target, start, end)
    if byte < 0:
        return PATH_REFUSED
    target_bytes[0] = <uint32_t>byte
    return PATH_OK
