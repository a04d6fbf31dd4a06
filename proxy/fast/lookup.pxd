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
from proxy.fast.chars cimport char_lower, chars_equal
from proxy.fast.snapshot cimport mesh_t, service_address_t, snapshot_t
from proxy.fast.traffic cimport backend_t, front_t, name_t, traffic_t


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


# The backend of a number; NULL: it is gone, or there is no traffic policy.
cdef inline const backend_t* traffic_backend(const traffic_t* t, uint32_t number) noexcept nogil:
    if t == NULL or number >= t.backend_index_count or t.backend_index[number] == 0:
        return NULL
    return &t.backends[t.backend_index[number] - 1]


# The place of a host name and port: where it stands, or where it would.
cdef inline uint32_t* lookup_name_place(
    const traffic_t* t, const char* name, uint32_t name_bytes, uint16_t port,
) noexcept nogil:
    cdef uint64_t hash = 0xCBF29CE484222325ULL ^ (<uint64_t>port << 8)      # FNV-1a
    cdef const name_t* found
    cdef uint32_t i, at
    for i in range(name_bytes):
        hash = (hash ^ char_lower(<uint8_t>name[i])) * 0x100000001B3ULL
    at = <uint32_t>(hash ^ (hash >> 32)) & t.name_mask
    while t.name_index[at]:
        found = &t.names[t.name_index[at] - 1]
        if found.port == port and chars_equal(
                name, name_bytes, t.text + found.name.at, found.name.bytes):
            break
        at = (at + 1) & t.name_mask
    return &t.name_index[at]


# Enter names[index]. False: it is there already.
cdef inline bint lookup_add_name(traffic_t* t, uint32_t index) noexcept nogil:
    cdef const name_t* name = &t.names[index]
    cdef uint32_t* place = lookup_name_place(t, t.text + name.name.at, name.name.bytes, name.port)
    if place[0]:
        return False
    place[0] = index + 1
    return True


# What a Host header leads to: NAME or NAME:PORT, in any case, perhaps with the dot of a full name.
# NULL: nobody has that name, or it is none.
cdef inline const front_t* traffic_front_of_host(
    const traffic_t* t, const char* host, uint32_t host_bytes, uint16_t default_port,
) noexcept nogil:
    cdef uint32_t name_bytes = 0
    cdef uint32_t port = 0
    cdef uint32_t i, found
    if t == NULL or t.name_index == NULL:
        return NULL
    while name_bytes < host_bytes and host[name_bytes] != c':':
        name_bytes += 1
    for i in range(name_bytes + 1, host_bytes):
        if not c'0' <= host[i] <= c'9' or port > 6553:
            return NULL
        port = port * 10 + <uint32_t>(host[i] - c'0')
    if port > 65535:
        return NULL
    if name_bytes and host[name_bytes - 1] == c'.':
        name_bytes -= 1
    found = lookup_name_place(t, host, name_bytes, <uint16_t>port or default_port)[0]
    return &t.fronts[t.names[found - 1].front] if found else NULL
