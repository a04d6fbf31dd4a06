/* What the generator and the upstream say to each other, whatever stands between them.
 *
 * A request is a head and then filler up to its full length; the answer is filler alone. Filler is
 * a slice of one table that both sides build from the same constant, so every byte that came
 * through a proxy is compared with memcmp, and nothing is copied in user space to send it.
 */
#ifndef REMORA_BENCH_WIRE_H
#define REMORA_BENCH_WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_BYTES_MAX = 1 << 20, /* the largest body that the budgets speak of */
    OFFSETS = 1 << 16,           /* distinct places where a slice may begin */
    SCRATCH_BYTES = 256 << 10,   /* one receive buffer a process: connections own none */
};

struct head {
    uint32_t request_bytes;  /* the whole request, this head included */
    uint32_t response_bytes; /* the whole answer */
    uint64_t seed;           /* where the filler of both begins, modulo OFFSETS */
};

static unsigned char filler_table[MESSAGE_BYTES_MAX + OFFSETS];

/* xorshift64*: fast, and the same sequence in every run and for every peer. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

static void filler_build(void)
{
    uint64_t state = 0x9E3779B97F4A7C15ULL;
    for (size_t i = 0; i < sizeof filler_table; i += sizeof state) {
        uint64_t word = next_random(&state);
        memcpy(filler_table + i, &word, sizeof word);
    }
}

/* Byte `at` of the message with this seed, and all that follow it. */
static inline const unsigned char *filler(uint64_t seed, uint32_t at)
{
    return filler_table + seed % OFFSETS + at;
}

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

#endif
