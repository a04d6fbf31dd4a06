# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Does the libcrypto that was found do what keys.pxd wants of it? Asked once, before anybody
# depends on the answer: a library that was built or configured strangely leaves records to OpenSSL.
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset

from proxy.fast.crypto cimport CIPHER_AES_128_GCM, CIPHER_AES_256_GCM, CIPHER_COUNT
from proxy.fast.keyring cimport keys_t
from proxy.fast.keys cimport (
    CONTENT_DATA, RECORD_HEAD_BYTES, keys_begin, keys_free, record_open, record_seal,
)
from proxy.fast.limits cimport RECORD_EXTRA_BYTES

cdef extern from *:
    """
    /* RFC 8448 section 3: the client's application traffic secret, and the word "remora" as its
       first record (AES-128-GCM). */
    static const unsigned char remora_check_secret[48] = {
        0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a, 0xf8, 0x88, 0x9b, 0xce, 0x65,
        0x52, 0x87, 0x5a, 0xfa, 0x0b, 0x06, 0xdf, 0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7, 0xc1, 0x75,
        0x04, 0xa5,
    };
    static const unsigned char remora_check_record[28] = {
        0x17, 0x03, 0x03, 0x00, 0x17, 0xd0, 0x5b, 0x1f, 0x38, 0xc0, 0x48, 0x85, 0x08, 0xc8, 0xe2,
        0x03, 0xe0, 0x5b, 0x5f, 0xbe, 0x93, 0x63, 0x63, 0x25, 0x43, 0x2d, 0xba, 0x75,
    };
    """
    const uint8_t* check_secret "remora_check_secret"
    const uint8_t* check_record "remora_check_record"

cdef enum:
    CHECK_WORD_BYTES = 6
    CHECK_RECORD_BYTES = 28


# A record there and back under keys that both have. `is_damaged`: it must not come back.
cdef inline bint keys_pass(
    keys_t* ours, keys_t* theirs, uint8_t* record, bint is_damaged,
) noexcept nogil:
    cdef uint8_t room[CHECK_RECORD_BYTES]
    cdef uint8_t content = 0
    cdef int n
    if record_seal(ours, CONTENT_DATA, <const uint8_t*>b"remora", CHECK_WORD_BYTES,
                   record) != CHECK_WORD_BYTES + RECORD_EXTRA_BYTES:
        return False
    record[CHECK_RECORD_BYTES - 1] ^= is_damaged
    n = record_open(theirs, record, CHECK_RECORD_BYTES - RECORD_HEAD_BYTES, room, &content)
    if is_damaged:
        return n == -1
    return (n == CHECK_WORD_BYTES and content == CONTENT_DATA
            and memcmp(room, b"remora", CHECK_WORD_BYTES) == 0)


cdef inline bint keys_work_with(uint8_t cipher, keys_t* ours, keys_t* theirs) noexcept nogil:
    cdef uint8_t record[CHECK_RECORD_BYTES]
    ours.secret_bytes = theirs.secret_bytes = 48 if cipher == CIPHER_AES_256_GCM else 32
    memcpy(ours.secret, check_secret, ours.secret_bytes)
    memcpy(theirs.secret, check_secret, theirs.secret_bytes)
    if not keys_begin(ours, cipher, True) or not keys_begin(theirs, cipher, False):
        return False
    if not keys_pass(ours, theirs, record, False):
        return False
    if cipher == CIPHER_AES_128_GCM and memcmp(record, check_record, CHECK_RECORD_BYTES) != 0:
        return False
    return keys_pass(ours, theirs, record, False) and keys_pass(ours, theirs, record, True)


cdef inline bint keys_work() noexcept nogil:
    cdef keys_t ours, theirs
    cdef bint is_good = True
    cdef uint8_t cipher
    for cipher in range(CIPHER_COUNT):
        memset(&ours, 0, sizeof(keys_t))
        memset(&theirs, 0, sizeof(keys_t))
        is_good = is_good and keys_work_with(cipher, &ours, &theirs)
        keys_free(&ours)
        keys_free(&theirs)
    return is_good
