# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L0. Ciphers by function pointers: the system's libcrypto, opened at the start if it is there.
#
# The OpenSSL that makes our handshakes (openssl.pxd) is inside the wheel of cryptography and shows
# no ciphers to others. What a record needs is the same in any libcrypto since 3.0; where there is
# none, records stay with the OpenSSL of the handshake: that works, for more memory and CPU.
#
# Rule 1: a pointer is called only after crypto_open() said that they are there.
# Rule 2: `crypto` never changes once workers run, and is never closed.
from libc.stdint cimport uint8_t

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* target, size_t length)

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <string.h>
    /* name, result, arguments: in the order of the table */
    #define REMORA_CRYPTO(F) \\
        F(EVP_CIPHER_fetch, void *, (void *, const char *, const char *)) \\
        F(EVP_CIPHER_CTX_new, void *, (void)) \\
        F(EVP_CIPHER_CTX_free, void, (void *)) \\
        F(EVP_CIPHER_CTX_ctrl, int, (void *, int, int, void *)) \\
        F(EVP_CipherInit_ex, int, (void *, const void *, void *, const unsigned char *, \\
                                   const unsigned char *, int)) \\
        F(EVP_CipherUpdate, int, (void *, unsigned char *, int *, const unsigned char *, int)) \\
        F(EVP_CipherFinal_ex, int, (void *, unsigned char *, int *)) \\
        F(EVP_sha256, const void *, (void)) \\
        F(EVP_sha384, const void *, (void)) \\
        F(HMAC, unsigned char *, (const void *, const void *, int, const unsigned char *, size_t, \\
                                  unsigned char *, unsigned int *)) \\
        F(OpenSSL_version, const char *, (int))
    #define REMORA_CRYPTO_FIELD(name, result, arguments) result (*name) arguments;
    #define REMORA_CRYPTO_NAME(name, result, arguments) #name,
    typedef struct {
        REMORA_CRYPTO(REMORA_CRYPTO_FIELD)
        const void *ciphers[3];         /* in the order of CIPHER_* */
    } remora_crypto_t;
    static remora_crypto_t remora_crypto;

    /* Fill the table; NULL: this machine has none that fits, and the table must not be used. */
    __attribute__((unused))
    static const char *remora_crypto_open(void) {
        static const char *const libraries[] = {"libcrypto.so.3", "libcrypto.so.4"};
        static const char *const names[] = { REMORA_CRYPTO(REMORA_CRYPTO_NAME) };
        static const char *const ciphers[] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
        void *library = NULL;
        for (unsigned i = 0; library == NULL && i < sizeof libraries / sizeof *libraries; i++)
            library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            return NULL;
        for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
            void *function = dlsym(library, names[i]);
            if (function == NULL)
                return NULL;            /* the library stays open: it may have begun something */
            memcpy((char *)&remora_crypto + i * sizeof(void *), &function, sizeof(void *));
        }
        for (unsigned i = 0; i < sizeof ciphers / sizeof *ciphers; i++) {
            if (remora_crypto.ciphers[i] == NULL)
                remora_crypto.ciphers[i] = remora_crypto.EVP_CIPHER_fetch(NULL, ciphers[i], NULL);
            if (remora_crypto.ciphers[i] == NULL)
                return NULL;            /* a FIPS provider has no ChaCha20 */
        }
        return remora_crypto.OpenSSL_version(0);
    }
    """
    ctypedef struct crypto_t "remora_crypto_t":
        void* (*EVP_CIPHER_CTX_new)() noexcept nogil
        void (*EVP_CIPHER_CTX_free)(void* context) noexcept nogil
        int (*EVP_CIPHER_CTX_ctrl)(void* context, int what, int length, void* value) noexcept nogil
        int (*EVP_CipherInit_ex)(
            void* context, const void* cipher, void* engine, const uint8_t* key, const uint8_t* iv,
            int encrypt) noexcept nogil
        int (*EVP_CipherUpdate)(
            void* context, uint8_t* target, int* written, const uint8_t* source, int length,
        ) noexcept nogil
        int (*EVP_CipherFinal_ex)(void* context, uint8_t* target, int* written) noexcept nogil
        const void* (*EVP_sha256)() noexcept nogil
        const void* (*EVP_sha384)() noexcept nogil
        uint8_t* (*HMAC)(
            const void* digest, const void* key, int key_bytes, const uint8_t* source,
            size_t length, uint8_t* target, unsigned int* written) noexcept nogil
        const void* ciphers[3]
    crypto_t crypto "remora_crypto"
    const char* crypto_open "remora_crypto_open"() nogil

cdef enum:                      # crypto.ciphers
    CIPHER_AES_128_GCM = 0
    CIPHER_AES_256_GCM = 1
    CIPHER_CHACHA20_POLY1305 = 2
    CIPHER_COUNT = 3

cdef enum:                      # openssl/evp.h
    EVP_CTRL_AEAD_GET_TAG = 0x10
    EVP_CTRL_AEAD_SET_TAG = 0x11
