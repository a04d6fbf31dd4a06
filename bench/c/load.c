/* The load generator of the benchmark: requests and answers, one thread, epoll.
 *
 * It opens its connections (each makes one exchange), warms up, and stands still; prints "ready";
 * waits for a line on stdin; runs the measured time until the last answer is in; prints one line
 * of JSON; waits for the end of stdin. So whoever reads the CPU clock of a proxy at "ready" and
 * again at the JSON line has exactly the work of the requests counted, and nothing in flight.
 *
 * Closed loop: each connection asks again as soon as it was answered (saturation). With --rate it
 * is an open loop: arrivals come at random gaps of that mean, whether or not earlier ones were
 * answered, and latency counts from the moment a request was due, not from when a connection was
 * free to send it. A slow answer therefore cannot hide the requests that it kept waiting.
 *
 * Connections are sockets, or mutual TLS in the program `load-tls`: the same source, built with
 * another channel, so that the plain one needs no OpenSSL.
 *
 * Every byte is compared. The first reset, early end, wrong byte or stall ends the run: exit 1.
 *
 * With --next-port connections may end in the measured time, because the proxy is told to. The
 * generator then does what clients of HTTP do, and counts: it leaves a connection whose answer says
 * close; what was asked on a kept connection and got no byte of an answer is asked again (resent);
 * anything else is lost. From the first sign of an end, new connections go to the next port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "framing.h"
#include "histogram.h"
#include "options.h"
#ifdef WITH_TLS
#include "secure.h"
#else
#include "plain.h"
#endif

enum { EVENTS = 256, OPENING_MAX = 64 };
static const int64_t SECOND_NS = 1000000000;
static const int64_t STALL_NS = 10 * 1000000000LL;

enum phase { OPENING, WARMING, MEASURING };

struct conn {
    struct channel channel;
    uint32_t watched; /* events */
    int64_t due_ns; /* latency counts from here */
    bool asks;       /* an exchange is under way */
    bool is_next;    /* it goes to the next port */
    uint32_t answers; /* that came through this connection */
    struct exchange exchange;
    struct message request, answer;
};

static struct options options;
static struct conn *conns;
static struct conn **idle; /* a ring: the connection that rested longest asks next */
static uint32_t idle_first, idle_count, busy, opened;
static int epoll_fd;
static unsigned char scratch[SCRATCH_BYTES];

static enum phase phase;
static uint64_t random_state;
static int64_t begin_ns, end_ns, last_ns, next_arrival_ns;
static uint64_t requests, bytes_sent, bytes_received;
static struct histogram latency, lag;

/* What became of connections that ended; see --next-port. */
static struct {
    uint64_t resent, refused, cut, status; /* all but the first are lost requests */
    uint64_t by_first; /* answered by the first port after it was told to end */
} ends;
static bool is_told, moves;

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static uint32_t pick(struct range r)
{
    return r.min + (uint32_t)(next_random(&random_state) >> 33) % (r.max - r.min + 1);
}

/* Exponential gaps: users who do not know of each other, and no lockstep with a timer. */
static int64_t pick_gap_ns(void)
{
    double uniform = ((double)(next_random(&random_state) >> 11) + 1) / 9007199254740993.0;
    return (int64_t)(-log(uniform) * 1e9 / options.rate);
}

static void rest(struct conn *c)
{
    idle[(idle_first + idle_count++) % options.connections] = c;
}

static struct conn *wake(void)
{
    struct conn *c = idle[idle_first];
    idle_first = (idle_first + 1) % options.connections;
    idle_count--;
    return c;
}

static void watch(int operation, struct conn *c, uint32_t events)
{
    struct epoll_event event = {.events = c->watched = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->channel.fd, &event) < 0)
        die("load: epoll_ctl", strerror(errno));
}

static bool may_end(void)
{
    return options.next_port && phase == MEASURING;
}

static void give_up(struct conn *c)
{
    c->asks = false;
    busy--;
    rest(c);
}

static void open_conn(struct conn *c);

/* Nobody listens there: the first port has ended, or the request is lost. */
static void refused(struct conn *c)
{
    if (!may_end())
        die("load: connect", strerror(errno));
    if (!moves && options.next_port != options.port) {
        moves = true;
        open_conn(c);
        return;
    }
    ends.refused++;
    give_up(c);
}

static void open_conn(struct conn *c)
{
    uint16_t port = moves ? options.next_port : options.port;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("load: socket", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->is_next = moves;
    c->answers = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        close(fd);
        refused(c);
        return;
    }
    channel_open(&c->channel, fd);
    watch(EPOLL_CTL_ADD, c, EPOLLOUT);
}

/* The other side ended the connection, whatever was going on. */
static void ended(struct conn *c, const char *what, const char *why)
{
    if (!may_end())
        die(what, why);
    moves = true;
    channel_close(&c->channel);
    if (!c->asks)
        return;
    if (c->answers && !c->answer.head_came && !c->answer.head.bytes) {
        ends.resent++;
        c->request.moved = 0;
        open_conn(c);
        return;
    }
    ends.cut++;
    give_up(c);
}

static void send_request(struct conn *c)
{
    if (!channel_send(&c->channel, &c->request)) {
        if (errno == ECONNREFUSED && may_end()) { /* of a connect that did not tell at once */
            channel_close(&c->channel);
            refused(c);
            return;
        }
        ended(c, "load: send", strerror(errno));
        return;
    }
    uint32_t events = all_sent(&c->request) ? EPOLLIN : channel_waits_for(&c->channel);
    if (c->watched != events)
        watch(EPOLL_CTL_MOD, c, events);
}

static void start(struct conn *c, int64_t due_ns)
{
    struct exchange *e = &c->exchange;
    e->request_bytes = pick(options.request) - options.framing->counted_bytes;
    e->response_bytes = pick(options.response);
    e->head_bytes = pick(options.head);
    e->status = 200;
    e->seed = next_random(&random_state);
    c->request.seed = c->answer.seed = e->seed;
    c->request.body_bytes = e->request_bytes;
    c->answer.body_bytes = e->response_bytes;
    c->request.moved = 0;
    options.framing->write_request(&c->request.head, e);
    expect_message(&c->answer);
    c->due_ns = due_ns;
    c->asks = true;
    busy++;
    if (c->channel.fd < 0)
        open_conn(c);
    else
        send_request(c);
}

/* Starts whatever the phase wants started now. */
static void dispatch(int64_t now)
{
    if (phase == OPENING) {
        while (opened < options.connections && busy < OPENING_MAX) {
            conns[opened].channel.fd = -1;
            start(&conns[opened++], now);
        }
        return;
    }
    if (options.rate == 0) {
        while (idle_count && now < end_ns)
            start(wake(), now);
        return;
    }
    while (idle_count && next_arrival_ns <= now && next_arrival_ns < end_ns) {
        if (phase == MEASURING && idle_count > 1) /* else it waited for a connection, not for us */
            histogram_add(&lag, now - next_arrival_ns);
        start(wake(), next_arrival_ns);
        next_arrival_ns += pick_gap_ns();
    }
}

static void finish(struct conn *c)
{
    last_ns = clock_ns();
    busy--;
    c->asks = false;
    c->answers++;
    if (phase == MEASURING) {
        requests++;
        bytes_sent += c->exchange.request_bytes + options.framing->counted_bytes;
        bytes_received += c->exchange.response_bytes;
        histogram_add(&latency, last_ns - c->due_ns);
    }
    ends.by_first += is_told && !c->is_next;
    bool is_over = may_end() && says_close(&c->answer.head);
    moves |= is_over;
    if ((options.each_new && phase != OPENING) || is_over)
        channel_close(&c->channel);
    rest(c);
    dispatch(last_ns);
}

/* Returns how many of the bytes in scratch were the head's; -1 if it ended what may end. */
static int64_t receive_head(struct conn *c, uint32_t bytes)
{
    struct message *m = &c->answer;
    bool fits;
    uint32_t used = take_head(m, (char *)scratch, bytes, options.framing->answer_end, &fits);
    const char *wrong = fits ? NULL : "a head that is too long";
    if (m->head_came)
        wrong = options.framing->read_answer(&m->head, &c->exchange);
    if (wrong && m->head_came && may_end() && !says_200(&m->head)) {
        ends.status++;
        moves = true;
        channel_close(&c->channel);
        give_up(c);
        return -1;
    }
    if (wrong) {
        fprintf(stderr, "%.*s\n", (int)m->head.bytes, m->head.text);
        die("load: an answer arrived damaged", wrong);
    }
    return used;
}

static void receive(struct conn *c)
{
    ssize_t n = channel_receive(&c->channel, scratch, sizeof scratch);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        ended(c, "load: recv",
              n < 0 ? strerror(errno) : "the connection ended before its answer was complete");
        return;
    }
    uint32_t bytes = (uint32_t)n;
    int64_t head = c->answer.head_came ? 0 : receive_head(c, bytes);
    if (head < 0)
        return;
    uint32_t used = (uint32_t)head;
    if (bytes - used > c->answer.body_bytes - c->answer.moved)
        die("load", "more bytes came back than were asked for");
    if (!take_body(&c->answer, scratch + used, bytes - used))
        die("load", "an answer arrived damaged");
    if (all_received(&c->answer))
        finish(c);
}

static void wait_for_line(void)
{
    int c;
    while ((c = getchar()) != EOF && c != '\n')
        ;
}

/* A line in the measured time: the first port is told to end. */
static void hear(void)
{
    wait_for_line();
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    is_told = true;
}

static void listen_to_stdin(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        die("load: epoll_ctl", strerror(errno));
}

static void wait_for_events(int64_t now)
{
    struct epoll_event events[EVENTS];
    int64_t wait_ns = SECOND_NS;
    int64_t until_ns = next_arrival_ns < end_ns ? next_arrival_ns : end_ns;
    if (options.rate && idle_count && until_ns > now)
        wait_ns = until_ns - now;
    struct timespec timeout = {wait_ns / SECOND_NS, wait_ns % SECOND_NS};
    int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, EVENTS, &timeout, NULL, 0);
    if (n < 0 && errno != EINTR)
        die("load: epoll_pwait2 (needs Linux 5.11)", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (!c)
            hear();
        else if (!all_sent(&c->request) && events[i].events & (c->watched | EPOLLERR))
            send_request(c);
        else
            receive(c);
    }
}

static bool phase_over(int64_t now)
{
    if (busy)
        return false;
    if (phase == OPENING)
        return opened == options.connections;
    return now >= end_ns && (options.rate == 0 || next_arrival_ns >= end_ns);
}

/* Returns the number of arrivals that were due but could not be sent in twice the time. */
static uint64_t run_phase(enum phase which, double seconds)
{
    uint64_t unsent = 0;
    phase = which;
    begin_ns = last_ns = clock_ns();
    end_ns = begin_ns + (int64_t)(seconds * 1e9);
    next_arrival_ns = options.rate ? begin_ns + pick_gap_ns() : begin_ns;
    for (;;) {
        int64_t now = clock_ns();
        if (options.rate && now > end_ns + (end_ns - begin_ns))
            for (; next_arrival_ns < end_ns; next_arrival_ns += pick_gap_ns())
                unsent++;
        dispatch(now);
        if (phase_over(now))
            return unsent;
        if (busy && now - last_ns > STALL_NS)
            die("load", "no answer for 10 s");
        wait_for_events(now);
    }
}

static void report(uint64_t unsent)
{
    printf("{\"requests\":%llu,\"unsent\":%llu,\"bytes_sent\":%llu,\"bytes_received\":%llu,"
           "\"ends\":{\"resent\":%llu,\"refused\":%llu,\"cut\":%llu,\"status\":%llu,"
           "\"by_first\":%llu},\"elapsed_ns\":%lld,\"latency_ns\":",
           (unsigned long long)requests, (unsigned long long)unsent,
           (unsigned long long)bytes_sent, (unsigned long long)bytes_received,
           (unsigned long long)ends.resent, (unsigned long long)ends.refused,
           (unsigned long long)ends.cut, (unsigned long long)ends.status,
           (unsigned long long)ends.by_first, (long long)(last_ns - begin_ns));
    histogram_print(&latency, stdout);
    printf(",\"lag_ns\":");
    histogram_print(&lag, stdout);
    printf("}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    options = parse_options(argc, argv);
    setvbuf(stdin, NULL, _IONBF, 0); /* a line that was read ahead would not wake epoll */
    random_state = 0x5DEECE66DULL + options.seed;
    prctl(PR_SET_TIMERSLACK, 1); /* ns: the default of 50 us would be the latency we measure */
    filler_build();
    http_build();
    channels_start(&options);
    conns = calloc(options.connections, sizeof *conns);
    idle = calloc(options.connections, sizeof *idle);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !idle || epoll_fd < 0)
        die("load: start", strerror(errno));
    run_phase(OPENING, 0);
    run_phase(WARMING, options.warmup_s);
    puts("ready");
    fflush(stdout);
    wait_for_line();
    if (options.next_port)
        listen_to_stdin();
    report(run_phase(MEASURING, options.measured_s));
    wait_for_line();
    return 0;
}
