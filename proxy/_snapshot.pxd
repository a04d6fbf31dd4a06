# cython: language_level=3, cdivision=True
#
# Python's configuration, copied into the C memory of a snapshot: for _fastpath.pyx only.
#
# Rule 1: whatever is wrong with a value raises ValueError naming it; nothing is corrected.
# Rule 2: the memory belongs to the snapshot's Python object, which frees it (Snapshot.__dealloc__),
#         also when a function here raised half-way.
from cpython.mem cimport PyMem_RawCalloc
from libc.stdint cimport uint32_t

from proxy.fast.addr cimport addr_from_text
from proxy.fast.limits cimport SERVICE_ADDRESSES_MAX
from proxy.fast.lookup cimport lookup_add, lookup_place_count
from proxy.fast.reasons cimport HANDLING_COUNT, SERVICE_COUNT
from proxy.fast.types cimport addr_t, service_address_t, snapshot_t


cdef inline int address_from_python(object host, object port, addr_t* target) except -1:
    """Fill `target`. Raises ValueError for anything that is not an address and a port."""
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"not a port: {port!r}")
    ip, _, scope = host.partition("%")
    if "\0" in ip or not addr_from_text(target, ip.encode()) or not (scope or "0").isdecimal() or (
            int(scope or 0) >> 32):
        raise ValueError(f"not an IP address: {host!r}")
    target.scope = int(scope or 0)
    target.port = port
    return 0


cdef inline int snapshot_set_targets(snapshot_t* s, list targets) except -1:
    cdef uint32_t i
    if s.targets != NULL:
        raise ValueError("a snapshot is built once")
    s.targets = <addr_t*>PyMem_RawCalloc(len(targets) + 1, sizeof(addr_t))
    if s.targets == NULL:
        raise MemoryError
    for i, (host, port) in enumerate(targets):
        address_from_python(host, port, &s.targets[i])
    s.target_count = len(targets)
    return 0


cdef inline int snapshot_set_services(snapshot_t* s, list services) except -1:
    cdef uint32_t i, places
    cdef service_address_t* entry
    if len(services) > SERVICE_ADDRESSES_MAX:
        raise ValueError(f"{len(services)} addresses; {SERVICE_ADDRESSES_MAX} are the most")
    places = lookup_place_count(len(services))
    s.services = <service_address_t*>PyMem_RawCalloc(len(services) + 1, sizeof(service_address_t))
    s.service_index = <uint32_t*>PyMem_RawCalloc(places, sizeof(uint32_t))
    s.service_mask = places - 1
    if s.services == NULL or s.service_index == NULL:
        raise MemoryError
    for i in range(len(services)):
        entry = &s.services[i]
        host, port, entry.service, entry.handling = services[i]
        if entry.service < SERVICE_COUNT or entry.handling >= HANDLING_COUNT:
            raise ValueError(f"no configured service and handling: {services[i]}")
        address_from_python(host, port, &entry.address)
        if not lookup_add(s, i):
            raise ValueError(f"an address that was given before: {host}, port {port}")
    return 0
