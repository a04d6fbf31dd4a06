# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Dialling the upstream, without waiting for it.
#
# The dial starts at accept, before the downstream has said anything, so that server-first protocols
# lose no time. Inbound connections are dialled from 127.0.0.6 or ::6: the redirect rules know
# that source as ours and let it pass to the application (iptables/rules.py).
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from proxy.fast.addr cimport addr_is_loopback, addr_to_sockaddr
from proxy.fast.address cimport addr_t
from proxy.fast.fleet cimport fleet_backend
from proxy.fast.lookup cimport lookup_mesh
from proxy.fast.openssl cimport (
    ALPN_ANY_BYTES, ALPN_HTTP_BYTES, ALPN_TCP_BYTES, alpn_any, alpn_http, alpn_tcp, openssl,
)
from proxy.fast.pick cimport pick_connected
from proxy.fast.platform cimport (
    AF_INET, AF_INET6, CLOCK_MONOTONIC, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, ECONNRESET,
    EFD_CLOEXEC, EHOSTDOWN, EHOSTUNREACH, EINPROGRESS, EMFILE, ENETDOWN, ENETUNREACH, ENFILE,
    ENOBUFS, ENOMEM, EPOLLERR, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLL_CTL_ADD,
    ETIMEDOUT, IPPROTO_IP, IPPROTO_TCP, IP_BIND_ADDRESS_NO_PORT, MSG_PEEK, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_OOBINLINE, TCP_CONGESTION,
    TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY, TCP_USER_TIMEOUT, bind, clock_us,
    close, connect, epoll_ctl, epoll_event, errno, eventfd, getsockopt, recv, setsockopt,
    sockaddr, sockaddr_storage, socket, socklen_t,
)
from proxy.fast.pool cimport up_give_to
from proxy.fast.reasons cimport (
    DIRECTION_INBOUND, FP_DONE, FP_OK, HANDLING_OPAQUE, PHASE_CONNECTING,
    PHASE_RELAYING, PROTOCOL_HTTP1, REASON_CONNECT_FAILED, REASON_CONNECT_REFUSED,
    REASON_CONNECT_TIMEOUT, REASON_CONNECT_UNREACHABLE, REASON_NO_FDS, REASON_NO_IDENTITY,
    REASON_NO_MEMORY, REASON_OPEN, REASON_SOURCE_UNAVAILABLE, REASON_TLS_FAILED,
    REASON_UPSTREAM_RESET,
)
from proxy.fast.shake cimport shake_is_expected, shake_is_possible, shake_pump
from proxy.fast.slab cimport slab_take
from proxy.fast.snapshot cimport mesh_t, snapshot_t
from proxy.fast.states cimport backend_state_t
from proxy.fast.stats cimport observe
from proxy.fast.tls cimport tls_new
from proxy.fast.types cimport MODE_RELAY, TOKEN_UP, conn_t, tls_t, up_t, worker_t


cdef enum:
    TOKEN_KIND_SHIFT = 60
    TOKEN_SLOT_SHIFT = 32
    TOKEN_SLOT_MASK = 0x0FFFFFFF


# Epoll data: kind, slot, generation. Never a pointer.
cdef inline uint64_t token_make(uint64_t kind, uint64_t slot, uint64_t generation) noexcept nogil:
    return (kind << TOKEN_KIND_SHIFT) | (slot << TOKEN_SLOT_SHIFT) | generation


cdef inline void set_option(int fd, int level, int name, int value) noexcept nogil:
    setsockopt(fd, level, name, &value, sizeof(int))


# Options of every socket that carries a stream. On a listener they are inherited by what it
# accepts, which saves the calls. Urgent bytes stay in the stream: nobody relays them apart.
cdef inline void upstream_set_options(int fd, const snapshot_t* snapshot) noexcept nogil:
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1)
    if snapshot.keepalive_idle_s > 0:
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, snapshot.keepalive_idle_s)
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, snapshot.keepalive_interval_s)
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, snapshot.keepalive_count)
    if snapshot.user_timeout_ms > 0:
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, snapshot.user_timeout_ms)


# A leg without a network: the application's own. Where BBR is the system's choice, its pacing takes
# a timer a segment and nearly half of the CPU of a bulk stream (bench/README.md), and there is no
# bandwidth to find. reno is in every kernel and open to every user. Legs to other hosts keep what
# the operator chose.
cdef inline void upstream_set_local(int fd) noexcept nogil:
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, <const char*>b"reno", 4)


# Whether the upstream of `c` is on this side of the network: what comes in goes to our own pod.
cdef inline bint upstream_is_local(const conn_t* c) noexcept nogil:
    return c.direction == DIRECTION_INBOUND or addr_is_loopback(&c.upstream)


cdef inline uint8_t upstream_failure(int error) noexcept nogil:
    if error == ECONNREFUSED:
        return REASON_CONNECT_REFUSED
    if error == ECONNRESET:         # refused is the other error: this one had been accepted
        return REASON_UPSTREAM_RESET
    if error == ETIMEDOUT:
        return REASON_CONNECT_TIMEOUT
    if error in (ENETUNREACH, EHOSTUNREACH, EHOSTDOWN, ENETDOWN):
        return REASON_CONNECT_UNREACHABLE
    if error in (EMFILE, ENFILE):
        return REASON_NO_FDS
    if error in (ENOBUFS, ENOMEM):
        return REASON_NO_MEMORY
    return REASON_CONNECT_FAILED


# Bind to the source that the redirect rules let pass. The port is chosen at connect, by the whole
# four-tuple (IP_BIND_ADDRESS_NO_PORT), so that 28,000 ports are not all there is.
cdef inline bint upstream_bind_source(int fd, const addr_t* upstream) noexcept nogil:
    cdef addr_t source
    cdef sockaddr_storage storage
    cdef socklen_t length
    memset(&source, 0, sizeof(addr_t))
    source.family = upstream.family
    if source.family == 4:
        source.ip[0] = 127
        source.ip[3] = 6
    else:
        source.ip[15] = 6
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    length = addr_to_sockaddr(&source, &storage)
    return bind(fd, <sockaddr*>&storage, length) == 0


# Register a socket, edge-triggered, for its whole life.
cdef inline bint upstream_watch(worker_t* w, int fd, uint64_t token) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET
    event.data.u64 = token
    return epoll_ctl(w.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0


# Hold a spare descriptor. Returns 0 when there is none: then nobody is accepted either.
cdef inline bint reserve_hold(worker_t* w) noexcept nogil:
    if w.reserve_fd < 0:
        w.reserve_fd = eventfd(0, EFD_CLOEXEC)
    return w.reserve_fd >= 0


# A socket to dial with. Who was accepted with the last descriptor is still served: the spare one is
# given up for the dial.
cdef inline int upstream_socket(worker_t* w, int domain) noexcept nogil:
    cdef int kind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC
    cdef int fd = socket(domain, kind, 0)
    if fd < 0 and errno in (EMFILE, ENFILE) and w.reserve_fd >= 0:
        close(w.reserve_fd)
        w.reserve_fd = -1
        fd = socket(domain, kind, 0)
    return fd


# Connect the socket of a fresh up_t. Returns 0 (connected), EINPROGRESS, or the error.
cdef inline int upstream_connect(worker_t* w, conn_t* c, up_t* up) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length = addr_to_sockaddr(&c.upstream, &storage)
    cdef int error = 0
    up.side.fd = upstream_socket(w, AF_INET if c.upstream.family == 4 else AF_INET6)
    if up.side.fd < 0:
        return errno
    upstream_set_options(up.side.fd, w.snapshot)
    if upstream_is_local(c):
        upstream_set_local(up.side.fd)
    if c.direction == DIRECTION_INBOUND and not upstream_bind_source(up.side.fd, &c.upstream):
        return EADDRNOTAVAIL
    if connect(up.side.fd, <sockaddr*>&storage, length) < 0:
        error = errno
        if error != EINPROGRESS:
            return error
    if not upstream_watch(w, up.side.fd, token_make(TOKEN_UP, up.head.slot, up.head.generation)):
        return ENOMEM
    return error


# The mesh endpoint that `c` goes to; NULL: it gets plaintext. What comes in goes to our own pod,
# whose addresses may well be among those of the mesh.
cdef inline const mesh_t* upstream_mesh(const worker_t* w, const conn_t* c) noexcept nogil:
    if c.direction == DIRECTION_INBOUND or c.is_judged:
        return NULL
    return lookup_mesh(w.snapshot, &c.upstream)


# Is a connection from the pool what `c` needs now? The snapshot may have changed meanwhile.
cdef inline bint upstream_is_fit(
    const worker_t* w, const conn_t* c, const up_t* up,
) noexcept nogil:
    cdef const mesh_t* mesh = upstream_mesh(w, c)
    cdef const tls_t* tls = up.side.tls
    if mesh == NULL or tls == NULL:
        return mesh == NULL and tls == NULL
    return tls.bundle_generation == w.snapshot.bundle_generation and shake_is_expected(tls, mesh)


# The connection to the upstream stands.
cdef inline void upstream_connected(worker_t* w, conn_t* c) noexcept nogil:
    c.connect_us = clock_us(CLOCK_MONOTONIC) - c.dialled_us
    observe(w.stats.connect_bucket[c.direction], &w.stats.connect_sum_us[c.direction],
            c.connect_us)
    c.up.is_connected = 1
    if c.mode == MODE_RELAY:
        pick_connected(w, c)
    c.phase = PHASE_RELAYING
    c.active_ms = w.now_ms


# Go on with the handshake. Returns the reason when it failed, else REASON_OPEN: c.phase tells
# whether it is over.
cdef inline uint8_t upstream_shake(worker_t* w, conn_t* c) noexcept nogil:
    cdef const mesh_t* mesh = upstream_mesh(w, c)
    cdef int status
    if mesh == NULL:                    # no mesh endpoint any more: the next dial will know
        return REASON_TLS_FAILED
    status = shake_pump(w, c, &c.up.side, mesh)
    if status == FP_DONE:
        return REASON_TLS_FAILED
    if status == FP_OK:
        upstream_connected(w, c)
    return REASON_OPEN


# TCP stands. A mesh endpoint is told in ALPN what we know of the protocol inside.
cdef inline uint8_t upstream_established(worker_t* w, conn_t* c) noexcept nogil:
    cdef tls_t* tls
    c.up.side.is_writable = 1
    if upstream_mesh(w, c) == NULL:
        upstream_connected(w, c)
        return REASON_OPEN
    if not shake_is_possible(w):
        return REASON_NO_IDENTITY
    tls = tls_new(w, w.snapshot.client_context, False)
    if tls == NULL:
        return REASON_NO_MEMORY
    c.up.side.tls = tls
    if c.protocol == PROTOCOL_HTTP1:
        openssl.SSL_set_alpn_protos(tls.ssl, alpn_http, ALPN_HTTP_BYTES)
    elif c.handling == HANDLING_OPAQUE:
        openssl.SSL_set_alpn_protos(tls.ssl, alpn_tcp, ALPN_TCP_BYTES)
    else:
        openssl.SSL_set_alpn_protos(tls.ssl, alpn_any, ALPN_ANY_BYTES)
    return upstream_shake(w, c)


# It counts among the connections of the backend that it is dialled for.
cdef inline void upstream_enter_backend(worker_t* w, const conn_t* c, up_t* up) noexcept nogil:
    cdef backend_state_t* state
    if not c.pick.is_made:
        return
    state = fleet_backend(&w.fleet, c.pick.backend)
    if state != NULL:
        up.backend = c.pick.backend
        up.has_backend = 1
        state.connections += 1


# Start the dial to c.upstream; c owns the new connection. Returns REASON_OPEN (connected or under
# way: c.phase tells) or the reason why not.
cdef inline uint8_t upstream_dial(worker_t* w, conn_t* c) noexcept nogil:
    cdef up_t* up = <up_t*>slab_take(&w.ups)
    cdef int error
    if up == NULL:
        return REASON_NO_MEMORY
    up.side.fd = -1
    up_give_to(w, up, c)
    upstream_enter_backend(w, c, up)
    c.phase = PHASE_CONNECTING
    c.dialled_us = clock_us(CLOCK_MONOTONIC)
    c.dialled_ms = (c.dialled_us + 999) // 1000         # rounded up: no timer fires early
    error = upstream_connect(w, c, up)
    if error == 0:
        return upstream_established(w, c)
    if error != EINPROGRESS:
        if error == EADDRNOTAVAIL and c.direction == DIRECTION_INBOUND:
            return REASON_SOURCE_UNAVAILABLE
        return upstream_failure(error)
    return REASON_OPEN


# The dial may have an outcome (an event came). Returns the reason when it failed, else
# REASON_OPEN: c.phase tells whether it is connected or still under way.
#
# An error is read by peeking, not by SO_ERROR: a peer that accepted, spoke and reset before we came
# here has connected, its bytes are to be delivered, and the reset is to be met after them.
cdef inline uint8_t upstream_dialled(worker_t* w, conn_t* c, uint32_t events) noexcept nogil:
    cdef int fd = c.up.side.fd
    cdef socklen_t length = sizeof(int)
    cdef int error
    cdef char byte = 0
    if events & EPOLLERR and recv(fd, &byte, 1, MSG_PEEK) < 0:
        error = errno
        if error == EAGAIN:     # an ICMP error that met the socket busy: only SO_ERROR tells
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)
            if error == 0 and not events & EPOLLOUT:
                return REASON_OPEN
        if error:
            return upstream_failure(error)
    return upstream_established(w, c)
