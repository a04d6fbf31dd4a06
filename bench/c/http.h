/* HTTP/1.1 heads as the generator and the upstream write them, and a strict reader of both.
 *
 *     GET /v1/items/SEED?bytes=N&status=N&cookie=N HTTP/1.1
 *
 * or POST, if there is a body; a cookie of 0 bytes is none.
 *
 * A proxy may add fields, change the case of names and replace `Server` and `Date`. Everything
 * else must arrive as it was sent: each of our fields once, with its value; framing by one
 * Content-Length; no line that two parsers could read differently.
 */
#ifndef REMORA_BENCH_HTTP_H
#define REMORA_BENCH_HTTP_H

#include <strings.h>

#include "message.h"

enum {
    HTTP_HEAD_BYTES_MIN = 320, /* all fields, the largest numbers and a cookie of a few bytes */
    TEXTS = 1024,              /* distinct places where a cookie may begin */
};

struct field {
    const char *name;
    const char *value;
    uint32_t value_bytes;
};
#define FIELD(name, value) {name, value, sizeof(value) - 1}

static const struct field request_fields[] = {
    FIELD("Host", "items.bench.example"),
    FIELD("User-Agent", "remora-bench/1.0 (Linux)"),
    FIELD("Accept", "application/json, */*;q=0.5"),
    FIELD("Accept-Encoding", "gzip, br"),
    FIELD("Accept-Language", "en"),
};
static const struct field answer_fields[] = {
    FIELD("Content-Type", "application/octet-stream"),
    FIELD("Cache-Control", "private, max-age=60"),
    FIELD("Vary", "Accept-Encoding"),
    FIELD("X-Content-Type-Options", "nosniff"),
};
enum {
    REQUEST_FIELDS = sizeof request_fields / sizeof *request_fields,
    ANSWER_FIELDS = sizeof answer_fields / sizeof *answer_fields,
};

static char cookie_table[TEXTS + HEAD_BYTES_MAX];

static void http_build(void)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz-_"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint64_t state = 0x9E3779B97F4A7C15ULL;
    for (size_t i = 0; i < sizeof cookie_table; i++)
        cookie_table[i] = letters[next_random(&state) >> 58];
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_bytes(struct head *to, const void *from, size_t bytes)
{
    memcpy(to->text + to->bytes, from, bytes);
    to->bytes += (uint32_t)bytes;
}

static void put(struct head *to, const char *text)
{
    put_bytes(to, text, strlen(text));
}

static void put_number(struct head *to, uint32_t number)
{
    char digits[10];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put_bytes(to, digits + at, sizeof digits - at);
}

static void put_seed(struct head *to, uint64_t seed)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        to->text[to->bytes++] = "0123456789abcdef"[seed >> shift & 15];
}

static void put_fields(struct head *to, const struct field *fields, int count)
{
    for (int i = 0; i < count; i++) {
        put(to, fields[i].name);
        put(to, ": ");
        put_bytes(to, fields[i].value, fields[i].value_bytes);
        put(to, "\r\n");
    }
}

static void put_length(struct head *to, uint32_t bytes)
{
    put(to, "Content-Length: ");
    put_number(to, bytes);
    put(to, "\r\n");
}

static void write_http_request(struct head *to, const struct exchange *e)
{
    to->bytes = 0;
    put(to, e->request_bytes ? "POST /v1/items/" : "GET /v1/items/");
    put_seed(to, e->seed);
    put(to, "?bytes=");
    put_number(to, e->response_bytes);
    put(to, "&status=");
    put_number(to, e->status);
    put(to, "&cookie=");
    uint32_t number_at = to->bytes;
    put(to, "000 HTTP/1.1\r\n");
    put_fields(to, request_fields, REQUEST_FIELDS);
    if (e->request_bytes)
        put_length(to, e->request_bytes);
    put(to, "Cookie: ");
    uint32_t cookie_bytes = e->head_bytes - to->bytes - 4;
    to->text[number_at] = (char)('0' + cookie_bytes / 100);
    to->text[number_at + 1] = (char)('0' + cookie_bytes / 10 % 10);
    to->text[number_at + 2] = (char)('0' + cookie_bytes % 10);
    put_bytes(to, cookie_table + e->seed % TEXTS, cookie_bytes);
    put(to, "\r\n\r\n");
}

static void write_http_answer(struct head *to, const struct exchange *e)
{
    to->bytes = 0;
    put(to, "HTTP/1.1 ");
    put_number(to, e->status);
    put(to, e->status == 200 ? " OK\r\n" : " As Asked\r\n");
    put(to, "Server: bench\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n");
    put_fields(to, answer_fields, ANSWER_FIELDS);
    put_length(to, e->response_bytes);
    put(to, "ETag: \"");
    put_seed(to, e->seed);
    put(to, "\"\r\n\r\n");
}

/* --- reading ---------------------------------------------------------------------------------- */

static int http_end(const char *text, uint32_t bytes)
{
    const char *end = memmem(text, bytes, "\r\n\r\n", 4);
    return end ? (int)(end + 4 - text) : NO_END_YET;
}

/* Places where a reader stands; `at` is NULL once something was not as expected. */
struct reader {
    const char *at, *end;
};

static void skip(struct reader *r, const char *text)
{
    size_t bytes = strlen(text);
    bool there = r->at && (size_t)(r->end - r->at) >= bytes && !memcmp(r->at, text, bytes);
    r->at = there ? r->at + bytes : NULL;
}

static uint64_t take_number(struct reader *r, int base, int digits_max)
{
    uint64_t number = 0;
    int digits = 0;
    for (; r->at && r->at < r->end && digits < digits_max; digits++, r->at++) {
        unsigned char c = (unsigned char)*r->at;
        uint64_t digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
        if (digit >= (uint64_t)base)
            break;
        number = number * (uint64_t)base + digit;
    }
    if (!digits)
        r->at = NULL;
    return number;
}

static bool is_name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c == '.';
}

/* Takes one line `name: value`; false if two parsers could read it differently. */
static bool take_field(struct reader *r, struct field *f, size_t *name_bytes)
{
    const char *line_end = memmem(r->at, (size_t)(r->end - r->at), "\r\n", 2);
    const char *at = f->name = r->at;
    if (!line_end)
        return false;
    while (at < line_end && is_name_char((unsigned char)*at))
        at++;
    *name_bytes = (size_t)(at - f->name);
    if (at == f->name || at == line_end || *at++ != ':')
        return false;
    while (at < line_end && *at == ' ')
        at++;
    f->value = at;
    for (; at < line_end; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    f->value_bytes = (uint32_t)(line_end - f->value);
    r->at = line_end + 2;
    return true;
}

static bool is_named(const struct field *f, size_t name_bytes, const char *name)
{
    return strlen(name) == name_bytes && !strncasecmp(f->name, name, name_bytes);
}

/* Reads all fields. Each of `expected` must be there once; `*length` is -1 without a length. */
static const char *read_fields(struct reader *r, const struct field *expected, int count,
                               int64_t *length)
{
    unsigned seen = 0;
    *length = -1;
    while (r->end - r->at > 2) {
        struct field f;
        size_t name_bytes;
        if (!take_field(r, &f, &name_bytes))
            return "a line that is no field";
        if (is_named(&f, name_bytes, "Transfer-Encoding"))
            return "a transfer coding that nobody sent";
        if (is_named(&f, name_bytes, "Content-Length")) {
            struct reader digits = {f.value, f.value + f.value_bytes};
            if (*length >= 0)
                return "two lengths";
            *length = (int64_t)take_number(&digits, 10, 7);
            if (digits.at != digits.end || *length > MESSAGE_BYTES_MAX)
                return "a length that nobody sent";
        }
        for (int i = 0; i < count; i++) {
            if (!is_named(&f, name_bytes, expected[i].name))
                continue;
            if (seen & 1u << i)
                return "a field that came twice";
            if (f.value_bytes != expected[i].value_bytes ||
                memcmp(f.value, expected[i].value, f.value_bytes))
                return "a field with another value";
            seen |= 1u << i;
        }
    }
    return seen == (1u << count) - 1 ? NULL : "a field is missing";
}

static const char *read_http_request(const struct head *from, struct exchange *e)
{
    struct reader r = {from->text, from->text + from->bytes};
    struct field expected[REQUEST_FIELDS + 1];
    bool is_post = from->text[0] == 'P';
    int64_t length;
    skip(&r, is_post ? "POST /v1/items/" : "GET /v1/items/");
    uint64_t seed = take_number(&r, 16, 16);
    skip(&r, "?bytes=");
    uint64_t response_bytes = take_number(&r, 10, 7);
    skip(&r, "&status=");
    uint64_t status = take_number(&r, 10, 3);
    skip(&r, "&cookie=");
    uint64_t cookie_bytes = take_number(&r, 10, 3);
    skip(&r, " HTTP/1.1\r\n");
    if (!r.at || response_bytes > MESSAGE_BYTES_MAX)
        return "another request line";
    memcpy(expected, request_fields, sizeof request_fields);
    expected[REQUEST_FIELDS] =
        (struct field){"Cookie", cookie_table + seed % TEXTS, (uint32_t)cookie_bytes};
    const char *wrong = read_fields(&r, expected, REQUEST_FIELDS + !!cookie_bytes, &length);
    if (wrong)
        return wrong;
    if (is_post != (length > 0))
        return "a body where none belongs, or none where one does";
    *e = (struct exchange){seed, from->bytes, length > 0 ? (uint32_t)length : 0,
                           (uint32_t)response_bytes, (uint32_t)status};
    return NULL;
}

/* Whether the sender of this head ends the connection after the message. */
static inline bool says_close(const struct head *from)
{
    static const char field[] = "\r\nConnection: close\r\n";
    size_t bytes = sizeof field - 1;
    for (size_t at = 0; at + bytes <= from->bytes; at++)
        if (!strncasecmp(from->text + at, field, bytes))
            return true;
    return false;
}

static inline bool says_200(const struct head *from)
{
    return !strncmp(from->text, "HTTP/1.1 200 ", 13);
}

static const char *read_http_answer(const struct head *from, const struct exchange *expected)
{
    struct reader r = {from->text, from->text + from->bytes};
    struct field fields[ANSWER_FIELDS + 1];
    struct head etag = {0};
    int64_t length;
    skip(&r, "HTTP/1.1 200 OK\r\n");
    if (!r.at)
        return "another status line";
    put(&etag, "\"");
    put_seed(&etag, expected->seed);
    put(&etag, "\"");
    memcpy(fields, answer_fields, sizeof answer_fields);
    fields[ANSWER_FIELDS] = (struct field){"ETag", etag.text, etag.bytes};
    const char *wrong = read_fields(&r, fields, ANSWER_FIELDS + 1, &length);
    if (wrong)
        return wrong;
    return length == expected->response_bytes ? NULL : "a length that nobody sent";
}

#endif
