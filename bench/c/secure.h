/* The generator's channel with mutual TLS: every connection is a full handshake of TLS 1.3.
 *
 * One cipher and one group are offered, so that each server does the same work: AES-128-GCM, and
 * X25519 because OpenSSL 3.0, which HAProxy and nginx have, knows nothing of ML-KEM. ALPN offers
 * the name of every mesh; each server picks its own. What was agreed is checked on each connection.
 *
 * The server's certificate is not verified here, or the generator would be the bottleneck sooner.
 * bench/proof.py verifies it.
 */
#ifndef REMORA_BENCH_SECURE_H
#define REMORA_BENCH_SECURE_H

#include <openssl/ssl.h> /* first: bench/build.py says what to install when it is not there */
#include <openssl/err.h>
#include <sys/epoll.h>

#include "options.h"

struct channel {
    int fd;
    bool agreed;
    uint32_t waits_for;
    SSL *tls;
};

static SSL_CTX *tls_context;
static const unsigned char tls_alpn[] = "\x0fremora-http/1.1\x08http/1.1";

static _Noreturn void tls_die(const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());
    die(what, why ? why : strerror(errno));
}

static void channels_start(const struct options *o)
{
    char certificate[4096], key[4096];
    if (!o->tls)
        die("load-tls", "needs --tls, the folder of an identity");
    snprintf(certificate, sizeof certificate, "%s/tls.crt", o->tls);
    snprintf(key, sizeof key, "%s/tls.key", o->tls);
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(tls_context, "X25519") ||
        SSL_CTX_set_alpn_protos(tls_context, tls_alpn, sizeof tls_alpn - 1) ||
        SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1)
        tls_die("load: TLS");
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void channel_open(struct channel *ch, int fd)
{
    *ch = (struct channel){.fd = fd, .waits_for = EPOLLOUT, .tls = SSL_new(tls_context)};
    if (!ch->tls || !SSL_set_fd(ch->tls, fd))
        tls_die("load: TLS");
    SSL_set_connect_state(ch->tls);
}

/* What OpenSSL said, in the words of recv(2): 0 at the end, else -1 with errno. */
static int channel_failed(struct channel *ch, int result)
{
    switch (SSL_get_error(ch->tls, result)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
        ch->waits_for = EPOLLIN;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        ch->waits_for = EPOLLOUT;
        errno = EAGAIN;
        return -1;
    default:
        tls_die("load: TLS");
    }
}

/* Ends the run if a connection is not what all are said to be. */
static void channel_agree(struct channel *ch)
{
    ch->agreed = true;
    if (SSL_version(ch->tls) != TLS1_3_VERSION ||
        SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ch->tls)) != 0x1301 ||
        SSL_get_negotiated_group(ch->tls) != NID_X25519)
        die("load: TLS", "something else was agreed on than TLS 1.3, AES-128-GCM and X25519");
    if (SSL_session_reused(ch->tls))
        die("load: TLS", "a session was resumed");
    if (SSL_get_signature_type_nid(ch->tls, &(int){0}) != 1)
        die("load: TLS", "nobody asked for a certificate");
}

/* Head and body are records of their own: to join them would need a copy. */
static bool channel_send(struct channel *ch, struct message *m)
{
    ERR_clear_error();
    while (!all_sent(m)) {
        bool of_head = m->moved < m->head.bytes;
        uint32_t at = of_head ? m->moved : m->moved - m->head.bytes;
        const void *from = of_head ? (const void *)(m->head.text + at) : filler(m->seed, at);
        int n = SSL_write(ch->tls, from, (int)((of_head ? m->head.bytes : m->body_bytes) - at));
        if (n <= 0)
            return channel_failed(ch, n) < 0;
        m->moved += (uint32_t)n;
    }
    if (!ch->agreed)
        channel_agree(ch);
    return true;
}

static uint32_t channel_waits_for(const struct channel *ch)
{
    return ch->waits_for;
}

static ssize_t channel_receive(struct channel *ch, void *to, size_t bytes)
{
    ERR_clear_error();
    int n = SSL_read(ch->tls, to, (int)bytes);
    return n > 0 ? n : channel_failed(ch, n);
}

static void channel_close(struct channel *ch)
{
    SSL_shutdown(ch->tls);
    SSL_free(ch->tls);
    close(ch->fd);
    ch->fd = -1;
}

#endif
