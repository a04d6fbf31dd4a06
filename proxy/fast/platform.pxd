# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L0. What the kernel and the C library give us: epoll, sockets, splice, clocks, threads.
#
# Rule 1: declarations only. Constants that glibc headers hide behind feature macros are defined
#         here with the value of the kernel's ABI.
# Rule 2: nothing in L3 or L4 may cimport this file: parsers and decisions do no I/O.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <pthread.h>
    #include <signal.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/random.h>
    #include <sys/resource.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef SO_ORIGINAL_DST
    #define SO_ORIGINAL_DST 80          /* linux/netfilter_ipv4.h, IP6T_SO_ORIGINAL_DST alike */
    #endif
    #ifndef IP_BIND_ADDRESS_NO_PORT
    #define IP_BIND_ADDRESS_NO_PORT 24
    #endif
    #ifndef TCP_USER_TIMEOUT
    #define TCP_USER_TIMEOUT 18
    #endif
    #include <stdlib.h>
    /* Zeroed memory on a cache line of its own, or NULL; free() takes it back. */
    static inline void *remora_aligned_zeroed(size_t n) {
        void *p = NULL;
        n = (n + 63) & ~(size_t)63;
        if (posix_memalign(&p, 64, n) != 0) return NULL;
        memset(p, 0, n);
        return p;
    }
    static inline void remora_set_errno(int error) { errno = error; }
    /* sched_setattr(2), struct sched_attr of its first version: ask for a slice of this thread,
       keeping its policy and nice value. Kernels before 6.12 take it and do nothing. */
    static inline void remora_ask_slice(unsigned long long slice_ns) {
        struct {
            unsigned int size, policy;
            unsigned long long flags;
            int nice;
            unsigned int priority;
            unsigned long long runtime_ns, deadline_ns, period_ns;
        } attr = {sizeof attr, 0, 0, 0, 0, slice_ns, 0, 0};
        attr.nice = getpriority(PRIO_PROCESS, 0);
        (void)syscall(SYS_sched_setattr, 0, &attr, 0);
    }
    """
    void set_errno "remora_set_errno"(int error) nogil
    void ask_slice "remora_ask_slice"(uint64_t slice_ns) nogil
    void* aligned_zeroed "remora_aligned_zeroed"(size_t n) nogil
    int EAGAIN, EINTR, EINPROGRESS, ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, ENETUNREACH
    int EHOSTUNREACH, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EINVAL, ENOTCONN
    int EADDRNOTAVAIL, EACCES, EPERM, ENETDOWN, EHOSTDOWN
    int errno

    int AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET, SO_ERROR, SO_LINGER, SO_KEEPALIVE, SO_OOBINLINE
    int IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, SO_ORIGINAL_DST, IP_BIND_ADDRESS_NO_PORT
    int TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT
    int TCP_CONGESTION
    int MSG_NOSIGNAL, MSG_PEEK, SHUT_RD, SHUT_WR, SHUT_RDWR
    int O_NONBLOCK, O_CLOEXEC, F_SETPIPE_SZ
    unsigned int SPLICE_F_MOVE, SPLICE_F_NONBLOCK
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLPRI, EPOLLET
    int EFD_NONBLOCK, EFD_CLOEXEC
    int CLOCK_MONOTONIC, CLOCK_REALTIME
    int SIG_BLOCK, SIG_SETMASK

    ctypedef unsigned int socklen_t
    ctypedef uint16_t sa_family_t

    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr:
        sa_family_t sa_family
    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    struct sockaddr_storage:
        sa_family_t ss_family
    struct linger:
        int l_onoff
        int l_linger

    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data

    struct timespec:
        long tv_sec
        long tv_nsec

    ctypedef unsigned long pthread_t
    ctypedef struct pthread_attr_t:
        pass
    ctypedef struct sigset_t:
        pass

    uint16_t htons(uint16_t host) nogil
    uint16_t ntohs(uint16_t network) nogil
    int inet_pton(int family, const char* text, void* target) nogil
    const char* inet_ntop(int family, const void* source, char* target, socklen_t room) nogil
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags) nogil
    int socket(int domain, int kind, int protocol) nogil
    int bind(int fd, const sockaddr* address, socklen_t length) nogil
    int connect(int fd, const sockaddr* address, socklen_t length) nogil
    int listen(int fd, int backlog) nogil
    int shutdown(int fd, int how) nogil
    int close(int fd) nogil
    int getsockname(int fd, sockaddr* address, socklen_t* length) nogil
    int getsockopt(int fd, int level, int name, void* value, socklen_t* length) nogil
    int setsockopt(int fd, int level, int name, const void* value, socklen_t length) nogil
    ssize_t recv(int fd, void* target, size_t length, int flags) nogil
    ssize_t send(int fd, const void* source, size_t length, int flags) nogil
    ssize_t read(int fd, void* target, size_t length) nogil
    ssize_t write(int fd, const void* source, size_t length) nogil
    int pipe2(int* fds, int flags) nogil
    int fcntl(int fd, int command, ...) nogil
    ssize_t splice(int fd_in, int64_t* off_in, int fd_out, int64_t* off_out,
                   size_t length, unsigned int flags) nogil
    int epoll_create1(int flags) nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event) nogil
    int epoll_wait(int epfd, epoll_event* events, int max_events, int timeout_ms) nogil
    int eventfd(unsigned int initial, int flags) nogil
    ssize_t getrandom(void* target, size_t length, unsigned int flags) nogil
    int clock_gettime(int clock, timespec* now) nogil
    int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                       void* (*entry)(void*) noexcept nogil, void* argument) nogil
    int pthread_join(pthread_t thread, void** result) nogil
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* previous) nogil
    int pthread_setname_np(pthread_t thread, const char* name) nogil
    int sigfillset(sigset_t* signals) nogil


# Microseconds of a clock: monotonic for durations and timers, real time for the log.
cdef inline uint64_t clock_us(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <uint64_t>now.tv_sec * 1000000 + <uint64_t>now.tv_nsec // 1000
