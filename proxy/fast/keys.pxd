# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. The keys of one direction of TLS 1.3, and one record under them (RFC 8446 sections 5 and 7).
# Sans-I/O.
#
# Rule 1: plaintext is nobody's before its tag was compared: record_open() wipes it when that fails.
# Rule 2: a sequence number is used once. After a failure the keys are not used again.
# Rule 3: secrets are wiped where they end: here, and in keys_free().
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset, strlen

from proxy.fast.crypto cimport (
    CIPHER_AES_128_GCM, EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG, crypto, explicit_bzero,
)
from proxy.fast.keyring cimport keys_t
from proxy.fast.limits cimport IV_BYTES, RECORD_PLAIN_BYTES_MAX, SECRET_BYTES_MAX

cdef enum:
    RECORD_HEAD_BYTES = 5
    TAG_BYTES = 16
    HKDF_INFO_BYTES_MAX = 32

cdef enum:                          # what a record holds: RFC 8446 section 5.1
    CONTENT_ALERT = 21
    CONTENT_HANDSHAKE = 22
    CONTENT_DATA = 23


# HKDF-Expand-Label of a secret without a context, for results that one HMAC is long enough for
# (sections 7.1 and 7.3; RFC 5869 section 2.3).
cdef inline bint keys_expand(
    const keys_t* keys, const char* label, uint8_t* target, uint32_t length,
) noexcept nogil:
    cdef uint8_t info[HKDF_INFO_BYTES_MAX]
    cdef uint8_t block[SECRET_BYTES_MAX]
    cdef uint32_t label_bytes = <uint32_t>strlen(label)
    cdef unsigned int made = SECRET_BYTES_MAX
    cdef bint is_there
    info[0] = 0
    info[1] = <uint8_t>length
    info[2] = <uint8_t>(6 + label_bytes)
    memcpy(info + 3, b"tls13 ", 6)
    memcpy(info + 9, label, label_bytes)
    info[9 + label_bytes] = 0                           # no context
    info[10 + label_bytes] = 1                          # the first block of HKDF-Expand
    is_there = crypto.HMAC(
        crypto.EVP_sha256() if keys.secret_bytes == 32 else crypto.EVP_sha384(),
        keys.secret, keys.secret_bytes, info, 11 + label_bytes, block, &made) != NULL
    if is_there:
        memcpy(target, block, length)
    explicit_bzero(block, SECRET_BYTES_MAX)
    return is_there and made >= length


# Key and IV out of the secret; the next record is number 0.
cdef inline bint keys_derive(keys_t* keys) noexcept nogil:
    cdef uint8_t key[32]
    cdef uint32_t key_bytes = 16 if keys.cipher == CIPHER_AES_128_GCM else 32
    cdef bint is_done = (
        keys_expand(keys, b"key", key, key_bytes) and keys_expand(keys, b"iv", keys.iv, IV_BYTES)
        and crypto.EVP_CipherInit_ex(
            keys.context, crypto.ciphers[keys.cipher], NULL, key, NULL, keys.is_ours) == 1)
    explicit_bzero(key, 32)
    keys.sequence = 0
    return is_done


# The keys of a direction whose traffic secret is there already. `is_ours`: we write with them.
# False: no memory; keys_free() is due all the same.
cdef inline bint keys_begin(keys_t* keys, uint8_t cipher, bint is_ours) noexcept nogil:
    keys.cipher = cipher
    keys.is_ours = is_ours
    keys.context = crypto.EVP_CIPHER_CTX_new()
    return keys.context != NULL and keys_derive(keys)


# The next keys of this direction (section 7.2). False: no memory.
cdef inline bint keys_update(keys_t* keys) noexcept nogil:
    cdef uint8_t secret[SECRET_BYTES_MAX]
    cdef bint is_done = keys_expand(keys, b"traffic upd", secret, keys.secret_bytes)
    if is_done:
        memcpy(keys.secret, secret, keys.secret_bytes)
        is_done = keys_derive(keys)
    explicit_bzero(secret, SECRET_BYTES_MAX)
    return is_done


cdef inline void keys_free(keys_t* keys) noexcept nogil:
    if keys.context != NULL:
        crypto.EVP_CIPHER_CTX_free(keys.context)
        keys.context = NULL
    explicit_bzero(keys.secret, SECRET_BYTES_MAX)
    explicit_bzero(keys.iv, IV_BYTES)


# The nonce of the next record (section 5.3), and what is authenticated beside it: its head.
cdef inline bint keys_next(keys_t* keys, const uint8_t* head) noexcept nogil:
    cdef uint8_t nonce[IV_BYTES]
    cdef uint32_t i
    cdef int n = 0
    memcpy(nonce, keys.iv, IV_BYTES)
    for i in range(8):
        nonce[IV_BYTES - 1 - i] ^= <uint8_t>(keys.sequence >> (8 * i))
    keys.sequence += 1
    return (crypto.EVP_CipherInit_ex(keys.context, NULL, NULL, NULL, nonce, -1) == 1
            and crypto.EVP_CipherUpdate(keys.context, NULL, &n, head, RECORD_HEAD_BYTES) == 1)


# Write a record of at most RECORD_PLAIN_BYTES_MAX. Returns its length: what it holds and
# RECORD_EXTRA_BYTES. 0: it cannot.
cdef inline uint32_t record_seal(
    keys_t* keys, uint8_t content, const uint8_t* source, uint32_t length, uint8_t* target,
) noexcept nogil:
    cdef uint32_t inner = length + 1 + TAG_BYTES
    cdef uint8_t* at = target + RECORD_HEAD_BYTES
    cdef int n = 0
    if length > RECORD_PLAIN_BYTES_MAX:
        return 0
    target[0] = CONTENT_DATA
    target[1] = 3
    target[2] = 3
    target[3] = <uint8_t>(inner >> 8)
    target[4] = <uint8_t>inner
    if not keys_next(keys, target):
        return 0
    if crypto.EVP_CipherUpdate(keys.context, at, &n, source, <int>length) != 1:
        return 0
    if crypto.EVP_CipherUpdate(keys.context, at + length, &n, &content, 1) != 1:
        return 0
    at += length + 1
    if crypto.EVP_CipherFinal_ex(keys.context, at, &n) != 1 or crypto.EVP_CIPHER_CTX_ctrl(
            keys.context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at) != 1:
        return 0
    return RECORD_HEAD_BYTES + inner


# Read a whole record, head and `length` bytes behind it, of which there must be more than a tag.
# `target` has room for as many. Returns how much it held, and `content`, 0 when it names none; -1:
# it is damaged, or not from whom the keys are shared with.
cdef inline int record_open(
    keys_t* keys, const uint8_t* record, uint32_t length, uint8_t* target, uint8_t* content,
) noexcept nogil:
    cdef const uint8_t* source = record + RECORD_HEAD_BYTES
    cdef uint32_t inner = length - TAG_BYTES
    cdef uint8_t tag[TAG_BYTES]
    cdef int n = 0
    memcpy(tag, source + inner, TAG_BYTES)
    if (not keys_next(keys, record)
            or crypto.EVP_CipherUpdate(keys.context, target, &n, source, <int>inner) != 1
            or crypto.EVP_CIPHER_CTX_ctrl(
                keys.context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1
            or crypto.EVP_CipherFinal_ex(keys.context, target + inner, &n) != 1):
        memset(target, 0, inner)
        return -1
    while inner > 0 and target[inner - 1] == 0:         # padding
        inner -= 1
    content[0] = target[inner - 1] if inner > 0 else 0
    return <int>inner - 1 if inner > 0 else 0
