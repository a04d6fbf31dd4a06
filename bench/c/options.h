/* What the generator is asked to do: its command line. */
#ifndef REMORA_BENCH_OPTIONS_H
#define REMORA_BENCH_OPTIONS_H

#include "framing.h"

struct range {
    uint32_t min, max;
};

struct options {
    uint16_t port;
    uint16_t next_port; /* for new connections once one of the first port ended; 0: none may end */
    uint32_t connections;
    struct range request, response; /* bytes: of bodies in HTTP, else of whole messages */
    struct range head;              /* bytes of a request's head, in HTTP */
    const struct framing *framing;
    double warmup_s, measured_s, rate;
    uint64_t seed;
    const char *tls; /* folder of the identity to speak mutual TLS with */
    bool each_new;   /* a new connection for each exchange */
};

static struct range parse_range(const char *word, unsigned limit)
{
    unsigned min, max;
    int fields = sscanf(word, "%u:%u", &min, &max);
    if (fields == 1)
        max = min;
    if (fields < 1 || min > max || max > limit)
        die("load: not a range of bytes", word);
    return (struct range){min, max};
}

static void parse_option(struct options *o, const char *name, const char *value)
{
    if (!strcmp(name, "--port"))
        o->port = (uint16_t)atoi(value);
    else if (!strcmp(name, "--next-port"))
        o->next_port = (uint16_t)atoi(value);
    else if (!strcmp(name, "--connections"))
        o->connections = (uint32_t)atoi(value);
    else if (!strcmp(name, "--request"))
        o->request = parse_range(value, MESSAGE_BYTES_MAX);
    else if (!strcmp(name, "--response"))
        o->response = parse_range(value, MESSAGE_BYTES_MAX);
    else if (!strcmp(name, "--warmup"))
        o->warmup_s = atof(value);
    else if (!strcmp(name, "--seconds"))
        o->measured_s = atof(value);
    else if (!strcmp(name, "--rate"))
        o->rate = atof(value);
    else if (!strcmp(name, "--seed"))
        o->seed = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--tls"))
        o->tls = value;
    else if (!strcmp(name, "--http")) { /* speak HTTP/1.1, with request heads of this length */
        o->head = parse_range(value, HEAD_BYTES_MAX / 2);
        o->framing = &http_framing;
    } else
        die("load: unknown option", name);
}

static struct options parse_options(int argc, char **argv)
{
    struct options o = {.connections = 1,
                        .request = {64, 64},
                        .response = {64, 64},
                        .framing = &private_framing};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--each-new")) {
            o.each_new = true;
            continue;
        }
        parse_option(&o, argv[i], i + 1 < argc ? argv[i + 1] : "");
        i++;
    }
    if (!o.port || !o.connections || o.request.min < o.framing->counted_bytes || !o.response.min)
        die("load", "needs --port, connections, a request of 16 bytes, an answer of 1");
    if (o.framing == &http_framing && o.head.min < HTTP_HEAD_BYTES_MIN)
        die("load", "needs a head of 320 bytes for its fields");
    return o;
}

#endif
