# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Writing heads: what was parsed, less what is hop-by-hop, plus what we add. Sans-I/O.
#
# Rule 1: names, values, order and case stay as they came. Whole runs of kept lines are copied at
#         once.
# Rule 2: the target has room: H1_HEAD_BYTES_MAX for the head and OUT_EXTRA_BYTES for the rest;
#         every addition here has a bound, and their sum is far below that.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from proxy.fast.address cimport addr_t
from proxy.fast.types cimport h1_field_t, h1_head_t

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <stdio.h>
    static inline unsigned remora_print_ip(char *to, const unsigned char *ip, int family) {
        if (inet_ntop(family == 4 ? AF_INET : AF_INET6, ip, to, INET6_ADDRSTRLEN) == NULL) return 0;
        return (unsigned)strlen(to);
    }
    """
    uint32_t print_ip "remora_print_ip"(char* to, const uint8_t* ip, int family) nogil


# Copy text behind what is there; returns the new end.
cdef inline uint32_t emit_text(
    char* out, uint32_t at, const char* text, uint32_t length,
) noexcept nogil:
    memcpy(out + at, text, length)
    return at + length


cdef inline uint32_t emit_number(char* out, uint32_t at, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef int count = 0
    while True:
        digits[count] = <char>(c'0' + number % 10)
        number //= 10
        count += 1
        if number == 0:
            break
    while count > 0:
        count -= 1
        out[at] = digits[count]
        at += 1
    return at


cdef inline uint32_t emit_hex(char* out, uint32_t at, uint64_t bits, int digits) noexcept nogil:
    cdef int i
    cdef uint8_t nibble
    for i in range(digits - 1, -1, -1):
        nibble = <uint8_t>((bits >> (4 * i)) & 15)
        out[at] = <char>(nibble + (c'0' if nibble < 10 else c'a' - 10))
        at += 1
    return at


# The first line and the kept fields, without the empty line: additions go behind them.
cdef inline uint32_t emit_head(char* out, const h1_head_t* head, const char* source) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint32_t start = 0         # of the run of lines to be copied
    cdef uint32_t i
    cdef const h1_field_t* field
    if head.dropped_count:
        for i in range(head.field_count):
            field = &head.fields[i]
            if field.is_dropped:
                at = emit_text(out, at, source + start, field.name - start)
                start = field.end
    return emit_text(out, at, source + start, head.head_bytes - 2 - start)


# "name: value" of a field that is there, to be continued: what stood there, then ", ".
cdef inline uint32_t emit_field_again(
    char* out, uint32_t at, const char* source, const h1_field_t* field,
) noexcept nogil:
    at = emit_text(out, at, source + field.name, field.name_bytes)
    at = emit_text(out, at, b": ", 2)
    at = emit_text(out, at, source + field.value, field.value_bytes)
    return emit_text(out, at, b", ", 2)


cdef inline uint32_t emit_address(char* out, uint32_t at, const addr_t* address) noexcept nogil:
    return at + print_ip(out + at, address.ip, address.family)
