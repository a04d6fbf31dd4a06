/* The load generator of the benchmark: requests and answers over TCP, one thread, epoll.
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
 * Every byte is compared. The first reset, early end, wrong byte or stall ends the run: exit 1.
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

#include "histogram.h"
#include "wire.h"

enum { EVENTS = 256, OPENING_MAX = 64 };
static const int64_t SECOND_NS = 1000000000;
static const int64_t STALL_NS = 10 * 1000000000LL;

enum phase { OPENING, WARMING, MEASURING };

struct range {
    uint32_t min, max;
};

struct conn {
    struct head head;
    int fd;
    uint32_t sent, received;
    int64_t due_ns; /* latency counts from here */
    bool waits_for_room;
};

static struct {
    uint16_t port;
    uint32_t connections;
    struct range request, response; /* whole lengths in bytes */
    double warmup_s, measured_s, rate;
    bool each_new; /* a new connection for each exchange */
} options = {.connections = 1, .request = {64, 64}, .response = {64, 64}};

static struct conn *conns;
static struct conn **idle; /* a ring: the connection that rested longest asks next */
static uint32_t idle_first, idle_count, busy, opened;
static int epoll_fd;
static unsigned char scratch[SCRATCH_BYTES];

static enum phase phase;
static uint64_t random_state = 0x5DEECE66DULL;
static int64_t begin_ns, end_ns, last_ns, next_arrival_ns;
static uint64_t requests, bytes_sent, bytes_received;
static struct histogram latency, lag;

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
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        die("load: epoll_ctl", strerror(errno));
}

static void open_conn(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(options.port)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("load: socket", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        die("load: connect", strerror(errno));
    c->waits_for_room = true;
    watch(EPOLL_CTL_ADD, c, EPOLLOUT);
}

static void send_request(struct conn *c)
{
    while (c->sent < c->head.request_bytes) {
        unsigned char small[512];
        const unsigned char *from = filler(c->head.seed, c->sent);
        size_t left = c->head.request_bytes - c->sent;
        if (c->sent < sizeof c->head) { /* the head and the first filler leave in one packet */
            left = left < sizeof small ? left : sizeof small;
            memcpy(small, from, left);
            memcpy(small, (unsigned char *)&c->head + c->sent, sizeof c->head - c->sent);
            from = small;
        }
        ssize_t n = send(c->fd, from, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            die("load: send", strerror(errno));
        if (n < 0)
            break;
        c->sent += (uint32_t)n;
    }
    bool full = c->sent < c->head.request_bytes;
    if (c->waits_for_room != full) {
        c->waits_for_room = full;
        watch(EPOLL_CTL_MOD, c, full ? EPOLLOUT : EPOLLIN);
    }
}

static void start(struct conn *c, int64_t due_ns)
{
    c->head = (struct head){pick(options.request), pick(options.response),
                            next_random(&random_state)};
    c->sent = c->received = 0;
    c->due_ns = due_ns;
    busy++;
    if (c->fd < 0)
        open_conn(c);
    else
        send_request(c);
}

/* Starts whatever the phase wants started now. */
static void dispatch(int64_t now)
{
    if (phase == OPENING) {
        while (opened < options.connections && busy < OPENING_MAX) {
            conns[opened].fd = -1;
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
    if (phase == MEASURING) {
        requests++;
        bytes_sent += c->head.request_bytes;
        bytes_received += c->head.response_bytes;
        histogram_add(&latency, last_ns - c->due_ns);
    }
    if (options.each_new && phase != OPENING) {
        close(c->fd);
        c->fd = -1;
    }
    rest(c);
    dispatch(last_ns);
}

static void receive(struct conn *c)
{
    ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        die("load: recv", strerror(errno));
    if (n == 0)
        die("load", "the connection ended before its answer was complete");
    if ((uint32_t)n > c->head.response_bytes - c->received)
        die("load", "more bytes came back than were asked for");
    if (memcmp(scratch, filler(c->head.seed, c->received), (size_t)n))
        die("load", "an answer arrived damaged");
    c->received += (uint32_t)n;
    if (c->received == c->head.response_bytes)
        finish(c);
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
        if (c->sent < c->head.request_bytes && events[i].events & (EPOLLOUT | EPOLLERR))
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
           "\"elapsed_ns\":%lld,\"latency_ns\":",
           (unsigned long long)requests, (unsigned long long)unsent,
           (unsigned long long)bytes_sent, (unsigned long long)bytes_received,
           (long long)(last_ns - begin_ns));
    histogram_print(&latency, stdout);
    printf(",\"lag_ns\":");
    histogram_print(&lag, stdout);
    printf("}\n");
    fflush(stdout);
}

static struct range parse_range(const char *word)
{
    unsigned min, max;
    int fields = sscanf(word, "%u:%u", &min, &max);
    if (fields == 1)
        max = min;
    if (fields < 1 || min > max || max > MESSAGE_BYTES_MAX)
        die("load: not a range of bytes", word);
    return (struct range){min, max};
}

static void parse_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (!strcmp(name, "--each-new")) {
            options.each_new = true;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (!strcmp(name, "--port"))
            options.port = (uint16_t)atoi(value);
        else if (!strcmp(name, "--connections"))
            options.connections = (uint32_t)atoi(value);
        else if (!strcmp(name, "--request"))
            options.request = parse_range(value);
        else if (!strcmp(name, "--response"))
            options.response = parse_range(value);
        else if (!strcmp(name, "--warmup"))
            options.warmup_s = atof(value);
        else if (!strcmp(name, "--seconds"))
            options.measured_s = atof(value);
        else if (!strcmp(name, "--rate"))
            options.rate = atof(value);
        else if (!strcmp(name, "--seed"))
            random_state += strtoull(value, NULL, 10);
        else
            die("load: unknown option", name);
    }
    if (!options.port || !options.connections || options.request.min < sizeof(struct head) ||
        !options.response.min)
        die("load", "needs --port, connections, a request of 16 bytes, an answer of 1");
}

static void wait_for_line(void)
{
    int c;
    while ((c = getchar()) != EOF && c != '\n')
        ;
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1); /* ns: the default of 50 us would be the latency we measure */
    filler_build();
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
    report(run_phase(MEASURING, options.measured_s));
    wait_for_line();
    return 0;
}
