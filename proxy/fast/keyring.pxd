# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. What is kept of a TLS 1.3 connection once its handshake is over: data only, see keys.pxd.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from proxy.fast.limits cimport IV_BYTES, SECRET_BYTES_MAX

cdef struct keys_t:             # one direction of TLS 1.3: keys.pxd
    void*    context            # own: of libcrypto
    uint64_t sequence           # of the next record
    uint8_t  secret[SECRET_BYTES_MAX]   # the traffic secret
    uint8_t  secret_bytes       # 0: not known
    uint8_t  iv[IV_BYTES]
    uint8_t  cipher             # CIPHER_*
    uint8_t  is_ours            # we write with them

cdef struct records_t:          # TLS 1.3 after the handshake: records.pxd
    keys_t   read
    keys_t   write
    const uint8_t* fed          # borrow: records to read
    uint32_t fed_bytes
    uint32_t message_left       # bytes of a handshake message that are to come
    uint8_t  message[4]         # its head
    uint8_t  message_have       # bytes of its head
    uint8_t  cipher             # CIPHER_*
    uint8_t  empty_count        # records of data in a row without a word in them
    uint8_t  control_count      # records without data in what was fed
    uint8_t  update             # UPDATE_*
    uint8_t  alert              # what to say of a failure; 0: nothing
    uint8_t  is_mute            # nothing is said any more
