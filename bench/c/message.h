/* Messages on their way through a socket: a head that is kept, a body that is filler.
 *
 * Knows nothing of what a head says; see framing.h.
 */
#ifndef REMORA_BENCH_MESSAGE_H
#define REMORA_BENCH_MESSAGE_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "wire.h"

enum { HEAD_BYTES_MAX = 1024 }; /* twice what we send: peers add fields of their own */

struct head {
    uint32_t bytes;
    char text[HEAD_BYTES_MAX];
};

struct message {
    uint64_t seed;
    uint32_t body_bytes;
    uint32_t moved; /* out: bytes sent, head included; in: bytes of the body that came */
    bool head_came; /* in: the head is whole */
    struct head head;
};

/* Length of the head at the front of these bytes, or NO_END_YET. */
typedef int head_end(const char *text, uint32_t bytes);
enum { NO_END_YET = -1 };

static inline bool all_sent(const struct message *m)
{
    return m->moved == m->head.bytes + m->body_bytes;
}

static inline bool all_received(const struct message *m)
{
    return m->head_came && m->moved == m->body_bytes;
}

/* Sends as much as the socket takes, head and body in one packet; false when it is broken. */
static inline bool send_message(int fd, struct message *m)
{
    while (!all_sent(m)) {
        uint32_t head_sent = m->moved < m->head.bytes ? m->moved : m->head.bytes;
        uint32_t body_sent = m->moved - head_sent;
        struct iovec parts[2] = {
            {m->head.text + head_sent, m->head.bytes - head_sent},
            {(void *)filler(m->seed, body_sent), m->body_bytes - body_sent},
        };
        bool only_body = head_sent == m->head.bytes;
        struct msghdr all = {.msg_iov = parts + only_body, .msg_iovlen = 2 - only_body};
        ssize_t n = sendmsg(fd, &all, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        m->moved += (uint32_t)n;
    }
    return true;
}

static void expect_message(struct message *m)
{
    m->head_came = false;
    m->head.bytes = m->moved = 0;
}

/* Takes what belongs to the head; returns how many of `bytes` that were. False in *fits when the
 * head is too long to be one of ours. */
static uint32_t take_head(struct message *m, const char *from, uint32_t bytes, head_end *end_of,
                          bool *fits)
{
    uint32_t before = m->head.bytes;
    uint32_t room = HEAD_BYTES_MAX - before;
    uint32_t copied = bytes < room ? bytes : room;
    memcpy(m->head.text + before, from, copied);
    m->head.bytes = before + copied;
    int end = end_of(m->head.text, m->head.bytes);
    *fits = end != NO_END_YET || copied == bytes;
    if (end == NO_END_YET)
        return copied;
    m->head_came = true;
    m->head.bytes = (uint32_t)end;
    return (uint32_t)end - before;
}

/* Compares bytes of the body with what they must be. */
static bool take_body(struct message *m, const void *from, uint32_t bytes)
{
    if (memcmp(from, filler(m->seed, m->moved), bytes))
        return false;
    m->moved += bytes;
    return true;
}

#endif
