/* The generator's channel without TLS: the socket itself. secure.h is the same with TLS. */
#ifndef REMORA_BENCH_PLAIN_H
#define REMORA_BENCH_PLAIN_H

#include <sys/epoll.h>

#include "options.h"

struct channel {
    int fd;
};

static void channels_start(const struct options *o)
{
    if (o->tls)
        die("load: speaks no TLS", "load-tls does");
}

static void channel_open(struct channel *ch, int fd)
{
    ch->fd = fd;
}

/* False when it is broken; what it waits for, if not all was sent, tells channel_waits_for(). */
static bool channel_send(struct channel *ch, struct message *m)
{
    return send_message(ch->fd, m);
}

static uint32_t channel_waits_for(const struct channel *ch)
{
    (void)ch;
    return EPOLLOUT;
}

static ssize_t channel_receive(struct channel *ch, void *to, size_t bytes)
{
    return recv(ch->fd, to, bytes, 0);
}

static void channel_close(struct channel *ch)
{
    close(ch->fd);
    ch->fd = -1;
}

#endif
