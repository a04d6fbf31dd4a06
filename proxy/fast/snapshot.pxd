# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. The configuration that workers read, immutable once it is published: all that Python decided
# ahead of time. proxy/_snapshot.pxd fills it.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t
from proxy.fast.limits cimport PORT_WORDS
from proxy.fast.reasons cimport DIRECTION_COUNT
from proxy.fast.rules cimport policies_t, probe_t
from proxy.fast.traffic cimport traffic_t


cdef struct service_address_t:  # an address that the configuration knows
    addr_t   address
    uint32_t service
    int32_t  front              # in traffic_t.fronts; -1: nothing but a name
    uint8_t  handling           # HANDLING_*
    uint8_t  is_direct          # a pod's own: spoken to as it is, whatever its front says

cdef enum:                      # who may come in; two bits a port in snapshot_t.tls_modes
    TLS_DISABLE = 0             # nothing is terminated
    TLS_PERMISSIVE = 1          # mesh TLS is, the rest is let in
    TLS_STRICT = 2              # all must be TLS that we terminate

cdef struct mesh_t:             # an endpoint that speaks mesh TLS
    addr_t   address            # port 0: every port
    const char* id              # borrow: snapshot's Python object; the SPIFFE ID expected of it
    uint32_t id_bytes           # 0: it is meshed, but this port takes plaintext

cdef struct snapshot_t:         # immutable once published; Python owns it (proxy/_fastpath.pyx)
    uint64_t version
    uint64_t connect_ms[DIRECTION_COUNT]
    uint64_t idle_ms
    uint64_t half_open_ms
    int32_t  keepalive_idle_s
    int32_t  keepalive_interval_s
    int32_t  keepalive_count
    int32_t  user_timeout_ms
    uint32_t detect_bytes_max
    uint32_t unknown_max        # connections out to addresses of no service; 0: no limit
    uint8_t  splice_enabled
    uint32_t target_count
    uint8_t  http_enabled       # 0: HTTP is relayed like any TCP
    uint8_t  forwarded[DIRECTION_COUNT]     # add x-forwarded-for and -proto
    uint8_t  request_ids        # add x-request-id and traceparent where there is none
    uint64_t detect_ms
    uint64_t head_ms            # from the first byte of a request head to its last
    uint64_t http_idle_ms       # keep-alive, and no progress within an exchange
    uint64_t flush_ms           # a downstream that takes nothing
    uint64_t pool_idle_ms
    uint32_t pool_connections_max
    uint64_t body_bytes_max     # of a request
    addr_t*  targets            # own
    service_address_t* services     # own; lookup.pxd finds them by address
    uint32_t* service_index     # own: hash table of 1 + index in `services`; 0: free
    uint32_t service_mask       # places of the table - 1
    uint64_t opaque_ports[PORT_WORDS]       # bit p % 64 of word p / 64: port p is opaque
    void*    server_context     # borrow: SSL_CTX of the Python object; NULL: no identity, no TLS
    void*    client_context
    uint32_t bundle_generation  # changes when a root is trusted no more
    uint64_t identity_ends_s    # Unix time from which our own certificate is worth nothing
    const char* own_id          # borrow: our SPIFFE ID
    uint32_t own_id_bytes
    uint64_t tls_ms             # for a whole handshake
    uint64_t server_first_ms    # how long a word of ours is held back for a ClientHello
    mesh_t*  mesh               # own
    uint32_t* mesh_index        # own: hash table of 1 + index in `mesh`; 0: free
    uint32_t mesh_mask          # places of the table - 1
    uint8_t* target_modes       # own: TLS_* of the downstream of explicit listener i
    uint64_t tls_modes[PORT_WORDS * 2]      # TLS_* of what comes in for a port
    policies_t* policies        # own; NULL: everybody may do everything
    uint64_t policy_generation  # changes whenever they do, or the modes above
    probe_t* probes             # own
    uint32_t probe_count
    traffic_t* traffic          # own; NULL: no services but those of the flags
