# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L1. What workers and Python tell each other: items of the rings, and what commands point to.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t
from proxy.fast.limits cimport LOG_PEER_BYTES_MAX, SHA256_BYTES, SNI_BYTES_MAX
from proxy.fast.types cimport request_log_t


cdef struct request_record_t:   # a finished exchange as Python gets to see it
    request_log_t log
    uint64_t duration_us
    uint64_t sent_after_us      # request head went upstream; 0: it never did
    uint64_t first_byte_after_us    # of the response; 0: there was none
    uint64_t request_bytes
    uint64_t response_bytes
    uint16_t status
    uint8_t  flag
    uint8_t  minor
    uint8_t  direction
    uint8_t  attempt_count
    uint8_t  worker

cdef struct record_t:           # a connection as Python gets to see it
    uint64_t id
    uint64_t received_bytes
    uint64_t sent_bytes
    uint64_t opened_unix_us
    int64_t  connect_us
    uint64_t duration_us
    addr_t   downstream
    addr_t   original_dst
    addr_t   upstream
    uint32_t service
    uint8_t  worker
    uint8_t  direction
    uint8_t  phase
    uint8_t  protocol
    uint8_t  speaker
    uint8_t  reason
    uint8_t  is_spliced
    uint8_t  is_mesh
    uint8_t  sni_length
    uint8_t  peer_bytes         # 0: plaintext, or nobody is known yet
    char     sni[SNI_BYTES_MAX + 1]
    char     peer[LOG_PEER_BYTES_MAX]       # SPIFFE ID: peer_beyond()

cdef struct dump_t:             # the worker's answer to COMMAND_DUMP; Python owns it
    record_t* rows              # own
    uint32_t row_capacity
    uint32_t row_count          # valid once is_done
    uint64_t is_done            # release store by the worker

cdef enum:                      # command_t.op
    COMMAND_LISTEN = 1
    COMMAND_STOP_ACCEPTING = 2  # a: direction bits, b: not yet, but no answer keeps alive
    COMMAND_CLOSE_ALL = 3       # a: direction bits, b: reason
    COMMAND_CLOSE_ONE = 4       # id
    COMMAND_RECORDS = 5         # a: on or off
    COMMAND_DUMP = 6            # pointer: dump_t
    COMMAND_PEER = 7            # pointer: peer_answer_t, the worker's to free

cdef struct command_t:
    uint32_t op
    int32_t  a
    int32_t  b
    int32_t  c
    int32_t  d
    uint64_t id
    void*    pointer

cdef struct peer_question_t:    # worker to Python: whose certificate is this?
    void*    certificate        # own, whoever has the record: X509 with a reference
    uint32_t bundle_generation
    uint8_t  digest[SHA256_BYTES]

cdef struct peer_answer_t:      # Python to worker; `id_bytes` of SPIFFE ID follow in memory
    uint32_t bundle_generation
    uint16_t id_bytes
    uint16_t namespace_at
    uint16_t namespace_bytes
    uint16_t account_at
    uint16_t account_bytes
    uint16_t trust_domain_bytes
    uint8_t  failure            # TLS_FAILED_*; 0: this is who it is
    uint8_t  digest[SHA256_BYTES]
