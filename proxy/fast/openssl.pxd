# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L0. OpenSSL by function pointers, so that we link none: the one of the cryptography wheel is used,
# which also made the contexts (proxy/symbols.py fills the table and says what is missing).
#
# Rule 1: a pointer is called only after openssl_is_loaded(); a snapshot with contexts proves it.
# Rule 2: its error queue belongs to the thread: cleared before each call whose outcome is asked.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <string.h>
    /* name, result, arguments: in the order of the table */
    #define REMORA_OPENSSL(F) \\
        F(SSL_new, void *, (void *)) \\
        F(SSL_free, void, (void *)) \\
        F(SSL_set_bio, void, (void *, void *, void *)) \\
        F(SSL_set_accept_state, void, (void *)) \\
        F(SSL_set_connect_state, void, (void *)) \\
        F(SSL_set_alpn_protos, int, (void *, const unsigned char *, unsigned int)) \\
        F(SSL_do_handshake, int, (void *)) \\
        F(SSL_read, int, (void *, void *, int)) \\
        F(SSL_write, int, (void *, const void *, int)) \\
        F(SSL_shutdown, int, (void *)) \\
        F(SSL_get_error, int, (void *, int)) \\
        F(SSL_get_verify_result, long, (void *)) \\
        F(SSL_get_peer_certificate, void *, (void *)) \\
        F(SSL_get_current_cipher, const void *, (const void *)) \\
        F(SSL_CIPHER_get_name, const char *, (const void *)) \\
        F(SSL_get0_alpn_selected, void, (void *, const unsigned char **, unsigned int *)) \\
        F(BIO_s_mem, void *, (void)) \\
        F(BIO_new, void *, (void *)) \\
        F(BIO_new_mem_buf, void *, (const void *, int)) \\
        F(BIO_free, int, (void *)) \\
        F(BIO_read, int, (void *, void *, int)) \\
        F(BIO_set_mem_eof_return, long, (void *, int)) \\
        F(BIO_get_mem_data, long, (void *, char **)) \\
        F(ERR_clear_error, void, (void)) \\
        F(ERR_peek_error, unsigned long, (void)) \\
        F(ERR_GET_REASON, int, (unsigned long)) \\
        F(EVP_get_digestbyname, void *, (const char *)) \\
        F(X509_digest, int, (void *, void *, unsigned char *, unsigned int *)) \\
        F(X509_free, void, (void *)) \\
        F(i2d_X509_bio, int, (void *, void *))
    #define REMORA_FIELD(name, result, arguments) result (*name) arguments;
    #define REMORA_NAME(name, result, arguments) #name,
    typedef struct { REMORA_OPENSSL(REMORA_FIELD) } remora_openssl_t;
    static remora_openssl_t remora_openssl;
    static const char *const remora_openssl_names[] = { REMORA_OPENSSL(REMORA_NAME) };
    enum { REMORA_OPENSSL_COUNT = sizeof remora_openssl_names / sizeof *remora_openssl_names };
    static inline void remora_openssl_set(int i, void *function) {
        memcpy((char *)&remora_openssl + i * sizeof(void *), &function, sizeof(void *));
    }

    /* Where the traffic secrets of the handshake of this thread go: two buffers of 48 bytes with
       their lengths, of the client's words and of the server's; NULL: they are not wanted. */
    typedef struct {
        unsigned char *client, *client_bytes, *server, *server_bytes;
        unsigned char *is_special;      /* set: they agreed on something that changes records */
    } remora_ears_t;
    static __thread remora_ears_t remora_ears;
    static inline void remora_listen(unsigned char *client, unsigned char *client_bytes,
                                     unsigned char *server, unsigned char *server_bytes,
                                     unsigned char *is_special) {
        remora_ears = (remora_ears_t){client, client_bytes, server, server_bytes, is_special};
    }
    static inline int remora_digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
             : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    }
    /* A line of the NSS key log: label, client's random, secret (draft-ietf-tls-keylogfile). It
       goes nowhere but into the connection whose handshake this thread is in. */
    __attribute__((unused))
    static void remora_keylog(const void *ssl, const char *line) {
        static const char of_client[] = "CLIENT_TRAFFIC_SECRET_0 ";
        static const char of_server[] = "SERVER_TRAFFIC_SECRET_0 ";
        int is_client = strncmp(line, of_client, sizeof of_client - 1) == 0;
        unsigned char *target = is_client ? remora_ears.client : remora_ears.server;
        unsigned char *length = is_client ? remora_ears.client_bytes : remora_ears.server_bytes;
        const char *at;
        unsigned int n = 0;
        (void)ssl;
        if (target == NULL || (!is_client && strncmp(line, of_server, sizeof of_server - 1) != 0))
            return;
        at = strchr(line + sizeof of_client - 1, ' ');
        if (at == NULL)
            return;
        for (at++; n < 48 && remora_digit(at[0]) >= 0 && remora_digit(at[1]) >= 0; at += 2)
            target[n++] = (unsigned char)(remora_digit(at[0]) << 4 | remora_digit(at[1]));
        *length = (*at == '\\0' && (n == 32 || n == 48)) ? (unsigned char)n : 0;
    }

    /* What the sides agreed on stands in EncryptedExtensions (RFC 8446 section 4.3.1). A length of
       records (RFC 6066 section 4, RFC 8449) is not for us, nor is what we have not heard of. */
    __attribute__((unused))
    static void remora_message(int is_written, int version, int content, const void *message,
                               size_t length, void *ssl, void *arg) {
        const unsigned char *at = message;
        size_t i, type;
        (void)is_written; (void)version; (void)ssl; (void)arg;
        if (remora_ears.is_special == NULL || content != 22 || length < 6 || at[0] != 8)
            return;
        for (i = 6; i + 4 <= length; i += 4 + ((size_t)at[i + 2] << 8 | at[i + 3])) {
            type = (size_t)at[i] << 8 | at[i + 1];
            if (type != 0 && type != 10 && type != 16)  /* server_name, supported_groups, ALPN */
                *remora_ears.is_special = 1;
        }
    }

    /* The one of the offered protocols that we like best. One that offers none, or others, is
       answered without: it may be a peer that knows no mesh (RFC 7301 section 3.2). */
    #define REMORA_NAMES __attribute__((unused)) static const unsigned char
    REMORA_NAMES remora_alpn_http[] = "\\x0fremora-http/1.1\\x08http/1.1";
    REMORA_NAMES remora_alpn_any[] = "\\x06remora\\x08http/1.1";
    REMORA_NAMES remora_alpn_tcp[] = "\\x0aremora-tcp";
    __attribute__((unused))
    static int remora_alpn_select(void *ssl, const unsigned char **out, unsigned char *out_bytes,
                                  const unsigned char *in, unsigned int in_bytes, void *arg) {
        static const char *const names[] = {"remora-http/1.1", "remora-tcp", "remora", "http/1.1"};
        (void)ssl; (void)arg;
        for (unsigned int n = 0; n < sizeof names / sizeof *names; n++) {
            size_t length = strlen(names[n]);
            for (unsigned int i = 0; i < in_bytes; i += in[i] + 1u) {
                if (in[i] == length && i + 1 + length <= in_bytes
                        && memcmp(in + i + 1, names[n], length) == 0) {
                    *out = in + i + 1;
                    *out_bytes = (unsigned char)length;
                    return 0;           /* SSL_TLSEXT_ERR_OK */
                }
            }
        }
        return 3;                       /* SSL_TLSEXT_ERR_NOACK */
    }
    """
    ctypedef struct openssl_t "remora_openssl_t":
        void* (*SSL_new)(void* context) noexcept nogil
        void (*SSL_free)(void* ssl) noexcept nogil
        void (*SSL_set_bio)(void* ssl, void* source, void* target) noexcept nogil
        void (*SSL_set_accept_state)(void* ssl) noexcept nogil
        void (*SSL_set_connect_state)(void* ssl) noexcept nogil
        int (*SSL_set_alpn_protos)(
            void* ssl, const uint8_t* names, unsigned int length) noexcept nogil
        int (*SSL_do_handshake)(void* ssl) noexcept nogil
        int (*SSL_read)(void* ssl, void* target, int room) noexcept nogil
        int (*SSL_write)(void* ssl, const void* source, int length) noexcept nogil
        int (*SSL_shutdown)(void* ssl) noexcept nogil
        int (*SSL_get_error)(void* ssl, int result) noexcept nogil
        long (*SSL_get_verify_result)(void* ssl) noexcept nogil
        void* (*SSL_get_peer_certificate)(void* ssl) noexcept nogil
        const void* (*SSL_get_current_cipher)(const void* ssl) noexcept nogil
        const char* (*SSL_CIPHER_get_name)(const void* cipher) noexcept nogil
        void (*SSL_get0_alpn_selected)(
            void* ssl, const uint8_t** name, unsigned int* length) noexcept nogil
        void* (*BIO_s_mem)() noexcept nogil
        void* (*BIO_new)(void* method) noexcept nogil
        void* (*BIO_new_mem_buf)(const void* source, int length) noexcept nogil
        int (*BIO_free)(void* bio) noexcept nogil
        int (*BIO_read)(void* bio, void* target, int room) noexcept nogil
        long (*BIO_set_mem_eof_return)(void* bio, int result) noexcept nogil
        long (*BIO_get_mem_data)(void* bio, char** data) noexcept nogil
        void (*ERR_clear_error)() noexcept nogil
        unsigned long (*ERR_peek_error)() noexcept nogil
        int (*ERR_GET_REASON)(unsigned long error) noexcept nogil
        void* (*EVP_get_digestbyname)(const char* name) noexcept nogil
        int (*X509_digest)(
            void* x509, void* digest, uint8_t* target, unsigned int* length) noexcept nogil
        void (*X509_free)(void* x509) noexcept nogil
        int (*i2d_X509_bio)(void* bio, void* x509) noexcept nogil
    openssl_t openssl "remora_openssl"
    const char** openssl_names "remora_openssl_names"
    int OPENSSL_COUNT "REMORA_OPENSSL_COUNT"
    void openssl_set "remora_openssl_set"(int i, void* function) nogil
    void listen_for_secrets "remora_listen"(
        uint8_t* client, uint8_t* client_bytes, uint8_t* server, uint8_t* server_bytes,
        uint8_t* is_special) nogil
    void* alpn_select "((void *)remora_alpn_select)"
    void* keylog "((void *)remora_keylog)"
    void* message_seen "((void *)remora_message)"
    const uint8_t* alpn_http "remora_alpn_http"
    const uint8_t* alpn_any "remora_alpn_any"
    const uint8_t* alpn_tcp "remora_alpn_tcp"
    unsigned int ALPN_HTTP_BYTES "(sizeof remora_alpn_http - 1)"
    unsigned int ALPN_ANY_BYTES "(sizeof remora_alpn_any - 1)"
    unsigned int ALPN_TCP_BYTES "(sizeof remora_alpn_tcp - 1)"

cdef enum:                  # openssl/ssl.h
    SSL_ERROR_SSL = 1
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_ZERO_RETURN = 6
