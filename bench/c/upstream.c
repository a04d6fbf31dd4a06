/* The upstream of the benchmark: answers each request with as many bytes as it asks for.
 *
 * One thread, epoll, one scratch buffer: cheap enough that the proxy in front of it is what a run
 * measures. It checks every byte of a request and drops the connection at the first wrong one,
 * which the generator reports as a failure of the peer.
 *
 *     upstream [--http]    prints its port on 127.0.0.1 to .10, serves until its stdin is closed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "framing.h"

enum { EVENTS = 256, ENDPOINTS = 10 };

struct conn {
    int fd;
    bool waits_for_room;
    struct exchange exchange;
    struct message request, answer;
};

static unsigned char scratch[SCRATCH_BYTES];
static const struct framing *framing = &private_framing;
static int epoll_fd;
static int listeners[ENDPOINTS];

static void watch(int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
        die("upstream: epoll_ctl", strerror(errno));
}

/* The same port of 127.0.0.1, .2, ...: the endpoints of a service. */
static in_port_t listen_at(int fd_index, in_port_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + fd_index);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("upstream: listen", strerror(errno));
    listeners[fd_index] = fd;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, &listeners[fd_index]);
    return address.sin_port;
}

static void listen_anywhere(void)
{
    in_port_t port = 0;
    for (int i = 0; i < ENDPOINTS; i++)
        port = listen_at(i, port);
    printf("%u\n", ntohs(port));
    fflush(stdout);
}

static void accept_all(int listener)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
            return;
        struct conn *c = fd < 0 ? NULL : malloc(sizeof *c);
        if (!c)
            die("upstream: accept", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        c->waits_for_room = false;
        expect_message(&c->request);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static bool send_answer(struct conn *c)
{
    if (!send_message(c->fd, &c->answer))
        return false;
    bool full = !all_sent(&c->answer);
    if (c->waits_for_room != full) {
        c->waits_for_room = full;
        watch(EPOLL_CTL_MOD, c->fd, full ? EPOLLOUT : EPOLLIN, c);
    }
    return true;
}

/* Takes `bytes` of scratch into the request; returns what is wrong with them, or NULL. */
static const char *take(struct conn *c, uint32_t bytes)
{
    struct message *m = &c->request;
    uint32_t used = 0;
    if (!m->head_came) {
        bool fits;
        used = take_head(m, (char *)scratch, bytes, framing->request_end, &fits);
        if (!fits)
            return "a head that is too long";
        if (!m->head_came)
            return NULL;
        const char *wrong = framing->read_request(&m->head, &c->exchange);
        if (wrong)
            return wrong;
        m->seed = c->exchange.seed;
        m->body_bytes = c->exchange.request_bytes;
    }
    if (bytes - used > m->body_bytes - m->moved)
        return "more bytes than it has";
    return take_body(m, scratch + used, bytes - used) ? NULL : "another body";
}

/* False when the connection is of no use any more. */
static bool serve(struct conn *c)
{
    if (c->waits_for_room)
        return send_answer(c);
    ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
    if (n < 0)
        return errno == EAGAIN;
    if (n == 0)
        return false;
    const char *wrong = take(c, (uint32_t)n);
    if (wrong) {
        fprintf(stderr, "upstream: a request arrived damaged: %s\n", wrong);
        return false;
    }
    if (!all_received(&c->request))
        return true;
    expect_message(&c->request);
    c->answer.seed = c->exchange.seed;
    c->answer.body_bytes = c->exchange.response_bytes;
    c->answer.moved = 0;
    framing->write_answer(&c->answer.head, &c->exchange);
    return send_answer(c);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    char at_stdin; /* its address tells it from connections, as those of listeners do */
    if (argc == 2 && !strcmp(argv[1], "--http"))
        framing = &http_framing;
    else if (argc != 1)
        die("upstream: unknown option", argv[1]);
    filler_build();
    http_build();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("upstream: start", strerror(errno));
    listen_anywhere();
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &at_stdin);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            void *owner = events[i].data.ptr;
            if (owner == &at_stdin)
                return 0;
            if (owner >= (void *)listeners && owner < (void *)(listeners + ENDPOINTS)) {
                accept_all(*(int *)owner);
            } else if (!serve(owner)) {
                close(((struct conn *)owner)->fd);
                free(owner);
            }
        }
    }
}
