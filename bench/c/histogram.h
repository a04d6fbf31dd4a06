/* A latency histogram with logarithmic buckets, each cut into SUB equal parts, as HdrHistogram
 * does: the width of a bucket is at most 1/SUB (1.6 %) of its value, from 1 ns to hours.
 */
#ifndef REMORA_BENCH_HISTOGRAM_H
#define REMORA_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = (65 - SUB_BITS) * SUB };

struct histogram {
    uint64_t counts[BUCKETS];
};

static inline unsigned bucket_of(uint64_t value)
{
    if (value < SUB)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return (shift << SUB_BITS) + (unsigned)(value >> shift);
}

/* The smallest value that falls into this bucket. */
static inline uint64_t bucket_low(unsigned bucket)
{
    if (bucket < 2 * SUB)
        return bucket;
    unsigned shift = (bucket >> SUB_BITS) - 1;
    return (uint64_t)(bucket - (shift << SUB_BITS)) << shift;
}

static inline void histogram_add(struct histogram *h, int64_t value)
{
    h->counts[bucket_of(value > 0 ? (uint64_t)value : 0)]++;
}

/* As JSON: [[lowest value, first value beyond, count], ...] so that a reader needs no formula. */
static void histogram_print(const struct histogram *h, FILE *out)
{
    const char *comma = "";
    fputc('[', out);
    for (unsigned b = 0; b + 1 < BUCKETS; b++) {
        if (!h->counts[b])
            continue;
        fprintf(out, "%s[%llu,%llu,%llu]", comma, (unsigned long long)bucket_low(b),
                (unsigned long long)bucket_low(b + 1), (unsigned long long)h->counts[b]);
        comma = ",";
    }
    fputc(']', out);
}

#endif
