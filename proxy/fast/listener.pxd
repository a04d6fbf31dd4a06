# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Accepting: whose connection is this, where did it mean to go, may it go there?
#
# Rule 1: a listener is level-triggered and never given up. Without descriptors or memory it is
#         paused for ACCEPT_PAUSE_MS (no spinning) while the kernel's backlog keeps who waits.
# Rule 2: loop guard. A connection that was made to the proxy itself, not redirected to it, is
#         refused: relaying it would dial ourselves, again and again.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t

from proxy.fast.addr cimport addr_from_sockaddr, addr_is_loopback, addr_is_same_ip, addr_is_wildcard
from proxy.fast.address cimport addr_t
from proxy.fast.atomics cimport store_relaxed
from proxy.fast.begin cimport begin_serve
from proxy.fast.conn cimport conn_arm_timer, conn_close, conn_new
from proxy.fast.limits cimport ACCEPTS_PER_TICK_MAX, ACCEPT_PAUSE_MS
from proxy.fast.lookup cimport lookup_is_opaque, lookup_service, lookup_tls_mode
from proxy.fast.platform cimport (
    EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLIN, EPOLL_CTL_MOD, IPPROTO_IP, IPPROTO_IPV6,
    SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET, SO_LINGER, SO_ORIGINAL_DST, accept4, close,
    epoll_ctl, epoll_event, errno, getsockopt, linger, listen, setsockopt, sockaddr,
    sockaddr_storage, socklen_t,
)
from proxy.fast.reasons cimport (
    DIRECTION_EXPLICIT, DIRECTION_INBOUND, EVENT_ACCEPT_ERROR, EVENT_ACCEPT_PAUSED,
    EVENT_LIMIT_CONNECTIONS, FP_AGAIN, FP_OK, HANDLING_DETECT, HANDLING_OPAQUE, PHASE_RELAYING,
    PROTOCOL_NONE, REASON_LIMIT_CONNECTIONS, REASON_LIMIT_UPSTREAM, REASON_LOOP,
    REASON_NO_IDENTITY, REASON_NO_MEMORY, REASON_NO_ORIGINAL_DST, REASON_OPEN, SERVICE_UNKNOWN,
)
from proxy.fast.shake cimport shake_is_possible
from proxy.fast.snapshot cimport TLS_DISABLE, TLS_PERMISSIVE, TLS_STRICT, service_address_t
from proxy.fast.stats cimport count
from proxy.fast.terminate cimport terminate_may_be_probe
from proxy.fast.timer cimport timer_arm, timer_cancel
from proxy.fast.types cimport (
    MODE_TLS, TARGET_BY_HOST, TOKEN_CONN, TOKEN_LISTENER, conn_t, listener_t, worker_t,
)
from proxy.fast.upstream cimport (
    reserve_hold, token_make, upstream_mesh, upstream_set_options, upstream_watch,
)

# The destination before redirection. An IPv4-mapped peer is asked for with the IPv4 call.
cdef inline bint listener_original_dst(int fd, uint8_t family, addr_t* target) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length = sizeof(sockaddr_storage)
    if getsockopt(fd, IPPROTO_IP if family == 4 else IPPROTO_IPV6, SO_ORIGINAL_DST,
                  &storage, &length) < 0:
        return False
    addr_from_sockaddr(target, &storage)
    return target.family != 0


cdef inline bint listener_is_own_port(const worker_t* w, uint16_t port) noexcept nogil:
    cdef uint64_t i
    for i in range(w.listener_count):
        if w.listeners[i].direction != DIRECTION_EXPLICIT and w.listeners[i].bound.port == port:
            return True
    return False


# Would relaying to `destination` come back to us? Inbound, every destination is this pod's, so the
# port decides; outbound, only our own addresses matter: another pod may have the same ports.
cdef inline bint listener_is_loop(
    const worker_t* w, const listener_t* l, const addr_t* destination,
) noexcept nogil:
    if not listener_is_own_port(w, destination.port):
        return False
    if l.direction == DIRECTION_INBOUND or addr_is_loopback(destination):
        return True
    return addr_is_same_ip(destination, &l.bound) or (
        destination.port == l.bound.port and addr_is_wildcard(&l.bound))


# Where the connection goes. REASON_OPEN when it may go there.
cdef inline uint8_t listener_route(worker_t* w, listener_t* l, conn_t* c) noexcept nogil:
    if l.target >= 0:
        c.upstream = w.snapshot.targets[l.target]
        c.original_dst = c.upstream
        return REASON_OPEN
    if l.target == TARGET_BY_HOST:
        c.is_by_host = 1
        c.original_dst = l.bound
        return REASON_OPEN
    if not listener_original_dst(c.down.fd, c.downstream.family, &c.original_dst):
        return REASON_NO_ORIGINAL_DST
    c.upstream = c.original_dst
    if listener_is_loop(w, l, &c.original_dst):
        return REASON_LOOP
    return REASON_OPEN


# What the configuration says of the destination: whose it is. Returns HANDLING_*; a port declared
# opaque is that whatever its service declares.
cdef inline uint8_t listener_look_up(const worker_t* w, conn_t* c) noexcept nogil:
    cdef const service_address_t* known = lookup_service(w.snapshot, &c.original_dst)
    if known != NULL:
        c.service = known.service
    if lookup_is_opaque(w.snapshot, c.original_dst.port):
        return HANDLING_OPAQUE
    return known.handling if known != NULL else HANDLING_DETECT


# Refuse without a conn_t: all that may be had are taken. The peer sees RST.
cdef inline void listener_refuse(worker_t* w, const listener_t* l, int fd) noexcept nogil:
    cdef linger abort_at_once
    abort_at_once.l_onoff = 1
    abort_at_once.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_at_once, sizeof(linger))
    close(fd)
    count(&w.stats.opened[l.direction])
    count(&w.stats.closed[l.direction][PROTOCOL_NONE][REASON_LIMIT_CONNECTIONS])
    count(&w.stats.events[EVENT_LIMIT_CONNECTIONS])


# Whether who comes in must, or may, speak mesh TLS: TLS_*. What goes out of the pod never does.
cdef inline uint8_t listener_tls_mode(
    const worker_t* w, const listener_t* l, const conn_t* c,
) noexcept nogil:
    if l.target >= 0:
        return w.snapshot.target_modes[l.target]
    if l.direction == DIRECTION_INBOUND:
        return lookup_tls_mode(w.snapshot, c.original_dst.port)
    return TLS_DISABLE


# Who goes out to an address of no service has a limit of its own: a leak there must not take the
# place of those that the mesh knows. False: it is reached.
cdef inline bint listener_counts_unknown(worker_t* w, conn_t* c) noexcept nogil:
    if c.service != SERVICE_UNKNOWN or c.direction == DIRECTION_INBOUND or c.is_judged or (
            c.is_by_host):
        return True
    if w.snapshot.unknown_max and w.unknown_count >= w.snapshot.unknown_max:
        return False
    c.is_unknown = 1
    w.unknown_count += 1
    return True


# Wait for TLS where it is a must; else go on at once. Returns REASON_OPEN or why not.
cdef inline uint8_t listener_begin(worker_t* w, listener_t* l, conn_t* c) noexcept nogil:
    cdef uint8_t reason = REASON_OPEN
    cdef uint8_t mode = listener_tls_mode(w, l, c)
    c.handling = listener_look_up(w, c)
    if not listener_counts_unknown(w, c):
        return REASON_LIMIT_UPSTREAM
    if mode == TLS_STRICT:
        if not shake_is_possible(w) and not terminate_may_be_probe(w, c):
            return REASON_NO_IDENTITY
        c.mode = MODE_TLS
        c.phase = PHASE_RELAYING            # nothing is being dialled
    else:
        c.is_mesh = upstream_mesh(w, c) != NULL
        c.may_be_mesh = mode == TLS_PERMISSIVE and w.snapshot.server_context != NULL
        reason = begin_serve(w, c)
    if reason == REASON_OPEN and not upstream_watch(
            w, c.down.fd, token_make(TOKEN_CONN, c.head.slot, c.head.generation)):
        return REASON_NO_MEMORY
    return reason


# A new connection: route it, dial, and start to listen to both sides. It owns `fd`.
cdef inline void listener_open(
    worker_t* w, listener_t* l, int fd, const sockaddr_storage* peer,
) noexcept nogil:
    cdef conn_t* c = conn_new(w, fd, l.direction)
    cdef uint8_t reason
    if c == NULL:
        listener_refuse(w, l, fd)
        return
    c.is_judged = l.is_judged
    addr_from_sockaddr(&c.downstream, peer)
    reason = listener_route(w, l, c)
    if reason == REASON_OPEN:
        reason = listener_begin(w, l, c)
    if reason != REASON_OPEN:
        conn_close(w, c, reason)
        return
    conn_arm_timer(w, c)


# Stop or resume the events of a listener. A failure leaves it watched: louder, but not deaf.
cdef inline void listener_set_paused(worker_t* w, listener_t* l, bint paused) noexcept nogil:
    cdef epoll_event event
    event.events = 0 if paused else EPOLLIN
    event.data.u64 = token_make(TOKEN_LISTENER, <uint64_t>(l - &w.listeners[0]), 0)
    epoll_ctl(w.epoll_fd, EPOLL_CTL_MOD, l.fd, &event)
    l.is_paused = paused
    if paused:
        timer_arm(&w.wheel, &l.timer, w.now_ms + ACCEPT_PAUSE_MS)


# No descriptor or memory: the kernel's backlog keeps who waits, and we come back soon.
cdef inline void listener_pause(worker_t* w, listener_t* l) noexcept nogil:
    count(&w.stats.events[EVENT_ACCEPT_PAUSED])
    listener_set_paused(w, l, True)


# Accept up to `accepts_max` connections. Returns FP_AGAIN when the backlog is empty or the listener
# had to be paused, FP_OK when there may be more.
cdef inline int listener_accept(worker_t* w, listener_t* l, int accepts_max) noexcept nogil:
    cdef sockaddr_storage peer
    cdef socklen_t length
    cdef int fd
    for _ in range(accepts_max):
        length = sizeof(sockaddr_storage)
        if not reserve_hold(w):
            listener_pause(w, l)
            return FP_AGAIN
        fd = accept4(l.fd, <sockaddr*>&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            if l.is_fresh:
                upstream_set_options(fd, w.snapshot)
            listener_open(w, l, fd, &peer)
        elif errno == EAGAIN:
            l.is_fresh = 0
            return FP_AGAIN
        elif errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
            listener_pause(w, l)
            return FP_AGAIN
        else:                   # accept(2): the error of a connection that died in the backlog
            count(&w.stats.events[EVENT_ACCEPT_ERROR])
    return FP_OK


cdef inline void listener_close(worker_t* w, listener_t* l) noexcept nogil:
    if l.fd < 0:
        return
    timer_cancel(&w.wheel, &l.timer)
    close(l.fd)
    l.fd = -1
    store_relaxed(&w.live_listeners, w.live_listeners - 1)


# Close a listener, but not on those who are already in its backlog: narrow the door, let them in,
# close. (A SYN that completes between the last accept and the close is reset by the kernel.)
cdef inline void listener_drain(worker_t* w, listener_t* l) noexcept nogil:
    if l.fd < 0:
        return
    listen(l.fd, 0)
    while listener_accept(w, l, ACCEPTS_PER_TICK_MAX) == FP_OK:
        pass
    listener_close(w, l)
