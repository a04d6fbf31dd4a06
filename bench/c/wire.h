/* What the generator and the upstream say to each other, whatever stands between them.
 *
 * A message is a head and a body; how heads look is for framing.h. Bodies are filler: a slice of
 * one table that both sides build from the same constant, so every byte that came through a proxy
 * is compared with memcmp, and nothing is copied in user space to send it.
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
    SCRATCH_BYTES = 256 << 10,   /* one receive buffer a process: bodies are never stored */
};

/* A request and its answer: the generator chooses, the head of the request tells the upstream. */
struct exchange {
    uint64_t seed;           /* where the filler of both bodies begins, modulo OFFSETS */
    uint32_t head_bytes;     /* of the request, where the framing leaves a choice */
    uint32_t request_bytes;  /* of its body */
    uint32_t response_bytes; /* of the answer's body */
    uint32_t status;         /* of the answer, where the framing has one */
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

/* Byte `at` of the body with this seed, and all that follow it. */
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
