# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. What a byte may be in HTTP/1.1, one look-up each.
#
# tests/unit/fast/test_chars.py builds the same table from the grammar and compares.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <string.h>
    static const unsigned char remora_char_class[256] = {
        0,0,0,0,0,0,0,0,0,2,0,0,0,0,0,0,
        0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
        2,15,6,3,15,15,15,15,14,14,15,15,6,15,15,6,
        15,15,15,15,15,15,15,15,15,15,14,14,6,14,6,6,
        6,15,15,15,15,15,15,15,15,15,15,15,15,15,15,15,
        15,15,15,15,15,15,15,15,15,15,15,14,6,14,7,15,
        7,15,15,15,15,15,15,15,15,15,15,15,15,15,15,15,
        15,15,15,15,15,15,15,15,15,15,15,6,7,6,15,0,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
        2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,
    };
    static inline unsigned char remora_lower(unsigned char c)
        { return (c >= 'A' && c <= 'Z') ? c | 0x20 : c; }
    /* Is any of these eight bytes below 0x20, or 0x7F? (x - n) borrows into a high bit that was
       clear only where a byte is below n; whatever else borrows stands above such a byte. */
    static inline int remora_has_control(const char *at) {
        const unsigned long long ones = 0x0101010101010101ULL, high = 0x8080808080808080ULL;
        unsigned long long x, y;
        memcpy(&x, at, 8);
        y = x ^ ones * 0x7F;
        return ((((x - ones * 0x20) & ~x) | ((y - ones) & ~y)) & high) != 0;
    }
    """
    const uint8_t char_class "remora_char_class"[256]
    uint8_t char_lower "remora_lower"(uint8_t c) nogil
    bint char_has_control "remora_has_control"(const char* at) nogil

cdef enum:
    CHAR_TOKEN = 1          # RFC 9110 section 5.6.2: tchar
    CHAR_VALUE = 2          # RFC 9110 section 5.5: HTAB, SP, VCHAR, obs-text
    CHAR_TARGET = 4         # RFC 9112 section 3.2: VCHAR, but no fragment
    CHAR_HOST = 8           # RFC 3986 section 3.2.2 and a port; no comma: two hosts in one


cdef inline bint char_is(uint8_t c, uint8_t classes) noexcept nogil:
    return (char_class[c] & classes) != 0


# The first byte of source[at:end] that may not stand in a value, or `end`: by eight bytes at once
# as long as all of them are text, which they nearly always are.
cdef inline uint32_t chars_value_end(
    const char* source, uint32_t at, uint32_t end,
) noexcept nogil:
    while at + 8 <= end and not char_has_control(source + at):
        at += 8
    while at < end and char_is(<uint8_t>source[at], CHAR_VALUE):
        at += 1
    return at


# Are all `length` bytes of that class?
cdef inline bint chars_are(const char* source, uint32_t length, uint8_t classes) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        if not char_is(<uint8_t>source[i], classes):
            return False
    return True


# Is `source` the word `word` (lower case, NUL-terminated), whatever its case?
cdef inline bint chars_equal(
    const char* source, uint32_t length, const char* word, uint32_t word_length,
) noexcept nogil:
    cdef uint32_t i
    if length != word_length:
        return False
    for i in range(length):
        if char_lower(<uint8_t>source[i]) != <uint8_t>word[i]:
            return False
    return True
