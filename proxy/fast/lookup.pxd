# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. What the configuration says of a destination: whose it is, and what to do with its bytes.
#
# A hash table with open addressing over the addresses of all services, at most half full: one or
# two cache lines at accept, however many services there are. Python builds it (lookup_add) before
# the snapshot is published; afterwards it is only read.
from libc.stdint cimport uint16_t, uint32_t

from proxy.fast.addr cimport addr_hash, addr_is_same
from proxy.fast.types cimport addr_t, service_address_t, snapshot_t


# Places of a table for so many addresses: a power of two.
cdef inline uint32_t lookup_place_count(uint32_t address_count) noexcept nogil:
    cdef uint32_t places = 4
    while places < address_count * 2:
        places *= 2
    return places


# The place of an address: where it stands, or where it would.
cdef inline uint32_t* lookup_place(const snapshot_t* s, const addr_t* address) noexcept nogil:
    cdef uint32_t at = <uint32_t>addr_hash(address) & s.service_mask
    while s.service_index[at] and not addr_is_same(
            &s.services[s.service_index[at] - 1].address, address):
        at = (at + 1) & s.service_mask
    return &s.service_index[at]


# Enter services[index]. False: its address is there already.
cdef inline bint lookup_add(snapshot_t* s, uint32_t index) noexcept nogil:
    cdef uint32_t* place = lookup_place(s, &s.services[index].address)
    if place[0]:
        return False
    place[0] = index + 1
    return True


# What is known of an address; NULL: nothing.
cdef inline const service_address_t* lookup_service(
    const snapshot_t* s, const addr_t* address,
) noexcept nogil:
    cdef uint32_t found = lookup_place(s, address)[0]
    return &s.services[found - 1] if found else NULL


cdef inline void lookup_mark_opaque(snapshot_t* s, uint16_t port) noexcept nogil:
    s.opaque_ports[port >> 6] |= 1ULL << (port & 63)


cdef inline bint lookup_is_opaque(const snapshot_t* s, uint16_t port) noexcept nogil:
    return (s.opaque_ports[port >> 6] >> (port & 63)) & 1
