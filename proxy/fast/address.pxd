# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. An IP address and a port.
from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef struct addr_t:             # an IPv4 or IPv6 address and port; mapped addresses are IPv4
    uint8_t  ip[16]             # network order; IPv4 uses the first four
    uint32_t scope              # IPv6 scope id (link-local), else 0
    uint16_t port               # host order
    uint8_t  family             # 0 (none), 4 or 6
