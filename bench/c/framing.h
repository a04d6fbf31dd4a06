/* Two ways to frame messages: a private one of 16 bytes for TCP relays, and HTTP/1.1.
 *
 * Readers return NULL, or what is wrong with a head.
 */
#ifndef REMORA_BENCH_FRAMING_H
#define REMORA_BENCH_FRAMING_H

#include "http.h"
#include "message.h"

struct framing {
    uint32_t counted_bytes; /* of a request's head, that count as payload */
    head_end *request_end, *answer_end;
    void (*write_request)(struct head *to, const struct exchange *e);
    void (*write_answer)(struct head *to, const struct exchange *e);
    const char *(*read_request)(const struct head *from, struct exchange *e);
    const char *(*read_answer)(const struct head *from, const struct exchange *expected);
};

/* The private head of a request; answers have none, they are filler alone. */
struct private_head {
    uint32_t request_bytes; /* the whole request, this head included */
    uint32_t response_bytes;
    uint64_t seed;
};

static int private_request_end(const char *text, uint32_t bytes)
{
    (void)text;
    return bytes < sizeof(struct private_head) ? NO_END_YET : (int)sizeof(struct private_head);
}

static int private_answer_end(const char *text, uint32_t bytes)
{
    (void)text, (void)bytes;
    return 0;
}

static void write_private_request(struct head *to, const struct exchange *e)
{
    struct private_head head = {(uint32_t)sizeof head + e->request_bytes, e->response_bytes,
                                e->seed};
    memcpy(to->text, &head, to->bytes = sizeof head);
}

static void write_private_answer(struct head *to, const struct exchange *e)
{
    (void)e;
    to->bytes = 0;
}

static const char *read_private_request(const struct head *from, struct exchange *e)
{
    struct private_head head;
    memcpy(&head, from->text, sizeof head);
    if (head.request_bytes < sizeof head || head.request_bytes > MESSAGE_BYTES_MAX ||
        head.response_bytes > MESSAGE_BYTES_MAX)
        return "a length that nobody sent";
    *e = (struct exchange){.seed = head.seed,
                           .request_bytes = head.request_bytes - (uint32_t)sizeof head,
                           .response_bytes = head.response_bytes};
    return NULL;
}

static const char *read_private_answer(const struct head *from, const struct exchange *expected)
{
    (void)from, (void)expected;
    return NULL;
}

static const struct framing private_framing = {
    sizeof(struct private_head), private_request_end,  private_answer_end,  write_private_request,
    write_private_answer,        read_private_request, read_private_answer,
};

static const struct framing http_framing = {
    0,
    http_end,
    http_end,
    write_http_request,
    write_http_answer,
    read_http_request,
    read_http_answer,
};

#endif
