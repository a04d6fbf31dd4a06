# cython: language_level=3, cdivision=True
#
# Python's configuration, copied into the C memory of a snapshot: for _fastpath.pyx only.
#
# Rule 1: whatever is wrong with a value raises ValueError naming it; nothing is corrected.
# Rule 2: the memory belongs to the snapshot's Python object, which frees it (Snapshot.__dealloc__),
#         also when a function here raised half-way.
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, uint8_t, uint32_t, uintptr_t

from proxy.fast.addr cimport addr_from_text
from proxy.fast.address cimport addr_t
from proxy.fast.limits cimport SERVICE_ADDRESSES_MAX
from proxy.fast.lookup cimport (
    lookup_add, lookup_add_mesh, lookup_place, lookup_place_count, lookup_set_tls_mode,
)
from proxy.fast.reasons cimport DIRECTION_COUNT, HANDLING_COUNT, SERVICE_COUNT
from proxy.fast.snapshot cimport (
    TLS_DISABLE, TLS_STRICT, mesh_t, service_address_t, snapshot_t,
)


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


# `limits`: name: lowest and highest value.
cdef inline int snapshot_check_settings(dict settings, dict limits) except -1:
    for name in settings.keys() ^ limits.keys():
        kind = "unknown" if name in settings else "missing"
        raise ValueError(f"{kind} setting: {name}")
    for name, (lowest, highest) in limits.items():
        if not lowest <= settings[name] <= highest:
            raise ValueError(
                f"{name} must be between {lowest} and {highest}, not {settings[name]}")
    return 0


cdef inline void snapshot_free(snapshot_t* s) noexcept:
    PyMem_RawFree(s.targets)
    PyMem_RawFree(s.services)
    PyMem_RawFree(s.service_index)
    PyMem_RawFree(s.mesh)
    PyMem_RawFree(s.mesh_index)
    PyMem_RawFree(s.target_modes)


# Plain numbers.
cdef inline int snapshot_set_settings(
    snapshot_t* s, dict settings, dict limits, tuple directions,
) except -1:
    cdef int i
    snapshot_check_settings(settings, limits)
    for i in range(DIRECTION_COUNT):
        s.connect_ms[i] = settings[f"connect_{directions[i]}_ms"]
        s.forwarded[i] = settings[f"forwarded_{directions[i]}"]
    s.idle_ms = settings["idle_ms"]
    s.half_open_ms = settings["half_open_ms"]
    s.keepalive_idle_s = settings["keepalive_idle_s"]
    s.keepalive_interval_s = settings["keepalive_interval_s"]
    s.keepalive_count = settings["keepalive_count"]
    s.user_timeout_ms = settings["user_timeout_ms"]
    s.detect_bytes_max = settings["detect_bytes_max"]
    s.unknown_max = settings["unknown_max"]
    s.splice_enabled = settings["splice"]
    s.http_enabled = settings["http"]
    s.request_ids = settings["request_ids"]
    s.detect_ms = settings["detect_ms"]
    s.head_ms = settings["head_ms"]
    s.tls_ms = settings["tls_ms"]
    s.server_first_ms = settings["server_first_ms"]
    s.http_idle_ms = settings["http_idle_ms"]
    s.flush_ms = settings["flush_ms"]
    s.pool_idle_ms = settings["pool_idle_ms"]
    s.pool_connections_max = settings["pool_connections_max"]
    s.body_bytes_max = settings["body_bytes_max"]
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


# Addresses of the flags, with room for `more`; returns how many they are.
cdef inline int snapshot_set_services(snapshot_t* s, list services, object more) except -1:
    cdef uint32_t i, places
    cdef object address_count = len(services) + more
    if s.services != NULL:
        raise ValueError("a snapshot is built once")
    if address_count > SERVICE_ADDRESSES_MAX:
        raise ValueError(f"{address_count} addresses; {SERVICE_ADDRESSES_MAX} are the most")
    places = lookup_place_count(address_count)
    s.services = <service_address_t*>PyMem_RawCalloc(address_count + 1, sizeof(service_address_t))
    s.service_index = <uint32_t*>PyMem_RawCalloc(places, sizeof(uint32_t))
    s.service_mask = places - 1
    if s.services == NULL or s.service_index == NULL:
        raise MemoryError
    for i in range(len(services)):
        host, port, service, handling = services[i]
        snapshot_add_address(s, i, 0, host, port, service, handling, -1, False)
    return len(services)


# Enter services[index]. An address that one of the first `kept_count` has stays that one's, and
# False is returned; `front`: in traffic_t.fronts.
cdef inline bint snapshot_add_address(
    snapshot_t* s, uint32_t index, uint32_t kept_count, object host, object port, object service,
    object handling, int32_t front, bint is_direct,
) except -1:
    cdef service_address_t* entry = &s.services[index]
    if not SERVICE_COUNT <= service < 1 << 32 or not 0 <= handling < HANDLING_COUNT:
        raise ValueError(f"no configured service and handling: {(host, port, service, handling)}")
    address_from_python(host, port, &entry.address)
    entry.service = service
    entry.handling = handling
    entry.front = front
    entry.is_direct = is_direct
    if lookup_add(s, index):
        return True
    if lookup_place(s, &entry.address)[0] > kept_count:
        raise ValueError(f"an address that was given before: {host}, port {port}")
    return False


# `tls`: addresses of both SSL_CTX, our SPIFFE ID, generation of the bundle, Unix time of the end.
# What they point to is kept alive by the caller.
cdef inline int snapshot_set_tls(snapshot_t* s, object tls) except -1:
    server, client, own_id, generation, ends_s = tls
    s.server_context = <void*><uintptr_t>server
    s.client_context = <void*><uintptr_t>client
    s.own_id = own_id
    s.own_id_bytes = len(own_id)
    s.bundle_generation = generation
    s.identity_ends_s = ends_s
    return 0


# `mesh`: host, port (0: every one) and the SPIFFE ID expected there, kept alive by the caller.
cdef inline int snapshot_set_mesh(snapshot_t* s, list mesh) except -1:
    cdef uint32_t i, places
    cdef mesh_t* entry
    if not mesh:
        return 0
    if len(mesh) > SERVICE_ADDRESSES_MAX:
        raise ValueError(f"{len(mesh)} mesh endpoints; {SERVICE_ADDRESSES_MAX} are the most")
    places = lookup_place_count(len(mesh))
    s.mesh = <mesh_t*>PyMem_RawCalloc(len(mesh), sizeof(mesh_t))
    s.mesh_index = <uint32_t*>PyMem_RawCalloc(places, sizeof(uint32_t))
    s.mesh_mask = places - 1
    if s.mesh == NULL or s.mesh_index == NULL:
        raise MemoryError
    for i in range(len(mesh)):
        entry = &s.mesh[i]
        host, port, expected = mesh[i]
        address_from_python(host, port or 1, &entry.address)
        entry.address.port = port
        entry.id = expected
        entry.id_bytes = len(expected)
        if not lookup_add_mesh(s, i):
            raise ValueError(f"a mesh endpoint that was given before: {host}, port {port}")
    return 0


# Who may come in: a mode for every port, others for some, and one for each target's listener.
cdef inline int snapshot_set_modes(
    snapshot_t* s, int mode, dict ports, list target_modes,
) except -1:
    cdef uint32_t i
    for each in (mode, *ports.values(), *target_modes):
        if not TLS_DISABLE <= each <= TLS_STRICT:
            raise ValueError(f"no TLS mode: {each}")
    for i in range(65536):
        lookup_set_tls_mode(s, i, mode)
    for port, each in ports.items():
        lookup_set_tls_mode(s, port, each)
    s.target_modes = <uint8_t*>PyMem_RawCalloc(s.target_count + 1, 1)
    if s.target_modes == NULL:
        raise MemoryError
    if len(target_modes) > s.target_count:
        raise ValueError(f"{len(target_modes)} modes for {s.target_count} targets")
    for i in range(len(target_modes)):
        s.target_modes[i] = target_modes[i]
    return 0
