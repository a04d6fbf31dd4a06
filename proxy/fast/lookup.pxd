# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. What the configuration says of a destination: whose it is, and what to do with its bytes.
#
# A hash table with open addressing over the addresses of all services, at most half full: one or
# two cache lines at accept, however many services there are. Python builds it (lookup_add) before
# the snapshot is published; afterwards it is only read.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.addr cimport addr_hash, addr_is_same
from proxy.fast.address cimport addr_t
from proxy.fast.snapshot cimport mesh_t, service_address_t, snapshot_t


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


# The same for endpoints that speak mesh TLS: by address and port, else by address.
cdef inline uint32_t* lookup_mesh_place(
    const snapshot_t* s, const addr_t* address,
) noexcept nogil:
    cdef uint32_t at = <uint32_t>addr_hash(address) & s.mesh_mask
    while s.mesh_index[at] and not addr_is_same(
            &s.mesh[s.mesh_index[at] - 1].address, address):
        at = (at + 1) & s.mesh_mask
    return &s.mesh_index[at]


cdef inline bint lookup_add_mesh(snapshot_t* s, uint32_t index) noexcept nogil:
    cdef uint32_t* place = lookup_mesh_place(s, &s.mesh[index].address)
    if place[0]:
        return False
    place[0] = index + 1
    return True


cdef inline const mesh_t* lookup_mesh(const snapshot_t* s, const addr_t* address) noexcept nogil:
    cdef addr_t any_port
    cdef uint32_t found
    if s.mesh_mask == 0:                    # no table: no endpoint is meshed
        return NULL
    found = lookup_mesh_place(s, address)[0]
    if not found:
        any_port = address[0]
        any_port.port = 0
        found = lookup_mesh_place(s, &any_port)[0]
    if not found or s.mesh[found - 1].id_bytes == 0:        # a port that takes plaintext
        return NULL
    return &s.mesh[found - 1]


# TLS_* of what comes in for a port: two bits each.
cdef inline uint8_t lookup_tls_mode(const snapshot_t* s, uint16_t port) noexcept nogil:
    return (s.tls_modes[port >> 5] >> ((port & 31) * 2)) & 3


cdef inline void lookup_set_tls_mode(snapshot_t* s, uint16_t port, uint8_t mode) noexcept nogil:
    cdef uint64_t shift = (port & 31) * 2
    s.tls_modes[port >> 5] &= ~(3ULL << shift)
    s.tls_modes[port >> 5] |= <uint64_t>mode << shift


cdef inline void lookup_mark_opaque(snapshot_t* s, uint16_t port) noexcept nogil:
    s.opaque_ports[port >> 6] |= 1ULL << (port & 63)


cdef inline bint lookup_is_opaque(const snapshot_t* s, uint16_t port) noexcept nogil:
    return (s.opaque_ports[port >> 6] >> (port & 63)) & 1
