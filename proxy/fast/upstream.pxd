# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Dialling the upstream, without waiting for it.
#
# The dial starts at accept, before the downstream has said anything, so that server-first protocols
# lose no time. Inbound connections are dialled from 127.0.0.6 or ::6: the redirect rules know
# that source as ours and let it pass to the application (iptables/rules.py).
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from proxy.fast.addr cimport addr_to_sockaddr
from proxy.fast.conn cimport conn_arm_timer, conn_close
from proxy.fast.platform cimport (
    AF_INET, AF_INET6, CLOCK_MONOTONIC, EAGAIN, ECONNREFUSED, ECONNRESET, EFD_CLOEXEC, EHOSTDOWN,
    EHOSTUNREACH, EINPROGRESS, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENOMEM, EPOLLERR,
    EPOLLOUT, ETIMEDOUT, IPPROTO_IP, IPPROTO_TCP, IP_BIND_ADDRESS_NO_PORT, MSG_PEEK, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_OOBINLINE, TCP_KEEPCNT,
    TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY, TCP_USER_TIMEOUT, bind, clock_us, close, connect,
    errno, eventfd, getsockopt, recv, setsockopt, sockaddr, sockaddr_storage, socket, socklen_t,
)
from proxy.fast.reasons cimport (
    DIRECTION_INBOUND, FP_AGAIN, FP_DONE, FP_OK, PHASE_RELAYING, REASON_CONNECT_FAILED,
    REASON_CONNECT_REFUSED, REASON_CONNECT_TIMEOUT, REASON_CONNECT_UNREACHABLE, REASON_NO_FDS,
    REASON_NO_MEMORY, REASON_SOURCE_UNAVAILABLE, REASON_UPSTREAM_RESET,
)
from proxy.fast.stats cimport observe
from proxy.fast.types cimport UPSTREAM, addr_t, conn_t, snapshot_t, worker_t


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


# Start the dial to c.upstream. FP_OK: connected at once. FP_AGAIN: under way. FP_DONE: failed,
# closed. The socket is c's from the moment it exists.
cdef inline int upstream_dial(worker_t* w, conn_t* c) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length = addr_to_sockaddr(&c.upstream, &storage)
    cdef int fd = upstream_socket(w, AF_INET if c.upstream.family == 4 else AF_INET6)
    if fd < 0:
        conn_close(w, c, upstream_failure(errno))
        return FP_DONE
    c.sides[UPSTREAM].fd = fd
    upstream_set_options(fd, w.snapshot)
    if c.direction == DIRECTION_INBOUND and not upstream_bind_source(fd, &c.upstream):
        conn_close(w, c, REASON_SOURCE_UNAVAILABLE)
        return FP_DONE
    if connect(fd, <sockaddr*>&storage, length) == 0:
        return FP_OK
    if errno == EINPROGRESS:
        return FP_AGAIN
    conn_close(w, c, upstream_failure(errno))
    return FP_DONE


# The dial may have an outcome (an event came): FP_OK: connected. FP_AGAIN: not yet. FP_DONE:
# failed, closed.
#
# An error is read by peeking, not by SO_ERROR: a peer that accepted, spoke and reset before we came
# here has connected, its bytes are to be delivered, and the reset is to be met after them.
cdef inline int upstream_dialled(worker_t* w, conn_t* c, uint32_t events) noexcept nogil:
    cdef int fd = c.sides[UPSTREAM].fd
    cdef socklen_t length = sizeof(int)
    cdef int error
    cdef char byte = 0
    if not events & EPOLLERR or recv(fd, &byte, 1, MSG_PEEK) >= 0:
        return FP_OK
    error = errno
    if error == EAGAIN:         # an ICMP error that met the socket busy: only SO_ERROR tells
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)
        if error == 0:
            return FP_OK if events & EPOLLOUT else FP_AGAIN
    conn_close(w, c, upstream_failure(error))
    return FP_DONE


cdef inline void upstream_connected(worker_t* w, conn_t* c) noexcept nogil:
    cdef uint64_t now_us = clock_us(CLOCK_MONOTONIC)
    c.connect_us = now_us - c.opened_us
    observe(w.stats.connect_bucket[c.direction], &w.stats.connect_sum_us[c.direction],
            c.connect_us)
    c.sides[UPSTREAM].is_writable = 1
    c.phase = PHASE_RELAYING
    c.active_ms = w.now_ms
    conn_arm_timer(w, c)
