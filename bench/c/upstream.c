/* The upstream of the benchmark: answers each request with as many bytes as it asks for.
 *
 * One thread, epoll, one scratch buffer, 40 bytes of state a connection: cheap enough that the
 * proxy in front of it is what a run measures. It checks every byte of a request and drops the
 * connection at the first wrong one, which the generator reports as a failure of the peer.
 *
 *     upstream        prints its port on 127.0.0.1, serves until its stdin is closed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

enum { EVENTS = 256 };

struct conn {
    struct head head;
    uint32_t received; /* bytes of the current request, head included */
    uint32_t to_send;  /* bytes of the current answer that are still ours */
    bool waits_for_room;
};

static unsigned char scratch[SCRATCH_BYTES];
static struct conn *conns; /* by descriptor */
static rlim_t conns_max;
static int epoll_fd;

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
        die("upstream: epoll_ctl", strerror(errno));
}

static int listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("upstream: listen", strerror(errno));
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int listener)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
            return;
        if (fd < 0 || (rlim_t)fd >= conns_max)
            die("upstream: accept", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd] = (struct conn){0};
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* False when the connection is of no use any more. */
static bool answer(int fd, struct conn *c)
{
    while (c->to_send) {
        const unsigned char *from = filler(c->head.seed, c->head.response_bytes - c->to_send);
        ssize_t n = send(fd, from, c->to_send, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        c->to_send -= (uint32_t)n;
    }
    if (c->waits_for_room != (c->to_send > 0)) {
        c->waits_for_room = c->to_send > 0;
        watch(EPOLL_CTL_MOD, fd, c->waits_for_room ? EPOLLOUT : EPOLLIN);
    }
    return true;
}

/* Takes `bytes` of scratch into the request; false if they are not what the generator sends. */
static bool take(struct conn *c, uint32_t bytes)
{
    uint32_t used = 0;
    if (c->received < sizeof c->head) {
        uint32_t missing = sizeof c->head - c->received;
        used = bytes < missing ? bytes : missing;
        memcpy((unsigned char *)&c->head + c->received, scratch, used);
        c->received += used;
        if (c->received < sizeof c->head)
            return true;
        if (c->head.request_bytes < sizeof c->head || c->head.request_bytes > MESSAGE_BYTES_MAX ||
            c->head.response_bytes > MESSAGE_BYTES_MAX)
            return false;
    }
    uint32_t rest = bytes - used;
    if (rest > c->head.request_bytes - c->received ||
        memcmp(scratch + used, filler(c->head.seed, c->received), rest))
        return false;
    c->received += rest;
    return true;
}

static bool serve(int fd, struct conn *c)
{
    if (c->to_send)
        return answer(fd, c);
    ssize_t n = recv(fd, scratch, sizeof scratch, 0);
    if (n < 0)
        return errno == EAGAIN;
    if (n == 0)
        return false;
    if (!take(c, (uint32_t)n)) {
        fprintf(stderr, "upstream: a request arrived damaged\n");
        return false;
    }
    if (c->received < sizeof c->head || c->received < c->head.request_bytes)
        return true;
    c->received = 0;
    c->to_send = c->head.response_bytes;
    return answer(fd, c);
}

int main(void)
{
    struct epoll_event events[EVENTS];
    struct rlimit files;
    filler_build();
    getrlimit(RLIMIT_NOFILE, &files);
    conns_max = files.rlim_cur;
    conns = calloc(conns_max, sizeof *conns);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || epoll_fd < 0)
        die("upstream: start", strerror(errno));
    int listener = listen_anywhere();
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return 0;
            if (fd == listener)
                accept_all(listener);
            else if (!serve(fd, &conns[fd]))
                close(fd);
        }
    }
}
