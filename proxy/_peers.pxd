# cython: language_level=3, cdivision=True
#
# Certificates on their way to Python, and its answers on their way back; what OpenSSL and the data
# plane know of each other. For _fastpath.pyx only.
from libc.stdint cimport uint32_t, uintptr_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

from proxy.fast.crypto cimport crypto_open
from proxy.fast.keys_check cimport keys_work
from proxy.fast.limits cimport SHA256_BYTES, SPIFFE_ID_BYTES_MAX
from proxy.fast.messages cimport peer_answer_t, peer_question_t
from proxy.fast.openssl cimport (
    OPENSSL_COUNT, alpn_select, keylog, message_seen, openssl, openssl_names, openssl_set,
)
from proxy.fast.ring cimport ring_peek, ring_take
from proxy.fast.types cimport worker_t
from proxy.fast.worker cimport worker_wake


# Take over the addresses of OpenSSL's functions, by name; returns the names that lack.
cdef inline list openssl_take(functions):
    cdef int i
    cdef list missing = []
    for i in range(OPENSSL_COUNT):
        name = openssl_names[i].decode("ascii")
        if name in functions:
            openssl_set(i, <void*><uintptr_t>functions[name])
        else:
            missing.append(name)
    return missing


# What contexts call of ours, and the libcrypto that is used with it: see _fastpath.pyi.
cdef inline tuple callbacks_new(bint wants_keys):
    cdef const char* version = crypto_open() if wants_keys else NULL
    if version == NULL or not keys_work():
        return <uintptr_t>alpn_select, 0, 0, ""
    return (<uintptr_t>alpn_select, <uintptr_t>keylog, <uintptr_t>message_seen,
            version.decode("ascii", "replace"))


# The DER of an X509.
cdef inline bytes certificate_to_python(void* certificate):
    cdef void* memory = openssl.BIO_new(openssl.BIO_s_mem())
    cdef char* data = NULL
    cdef long length
    if memory == NULL:
        raise MemoryError
    try:
        openssl.i2d_X509_bio(memory, certificate)
        length = openssl.BIO_get_mem_data(memory, &data)
        return data[:length]
    finally:
        openssl.BIO_free(memory)


# Take up to `limit` certificates that workers ask about: see _fastpath.pyi, Engine.read_questions.
cdef inline list questions_take(worker_t** workers, int worker_count, limit, int record_fd):
    cdef const peer_question_t* question
    cdef int i
    cdef list rows = []
    for i in range(worker_count):
        question = <const peer_question_t*>ring_peek(&workers[i].questions)
        while question != NULL and len(rows) < limit:
            try:
                rows.append((i, question.bundle_generation,
                             (<const char*>question.digest)[:SHA256_BYTES],
                             certificate_to_python(question.certificate)))
            finally:
                openssl.X509_free(question.certificate)
                ring_take(&workers[i].questions)
            question = <const peer_question_t*>ring_peek(&workers[i].questions)
        if question != NULL:
            worker_wake(workers[i], record_fd)      # there is more: come again
    return rows


# An answer for the worker, which frees it. `places`: see _fastpath.pyi, Engine.answer.
cdef inline peer_answer_t* answer_new(
    uint32_t generation, bytes digest, bytes spiffe_id, object places, int failure,
) except NULL:
    cdef peer_answer_t* answer
    if len(digest) != SHA256_BYTES or len(spiffe_id) > SPIFFE_ID_BYTES_MAX:
        raise ValueError("not a digest, or no SPIFFE ID")
    answer = <peer_answer_t*>calloc(1, sizeof(peer_answer_t) + len(spiffe_id))
    if answer == NULL:
        raise MemoryError
    answer.bundle_generation = generation
    memcpy(answer.digest, <const char*>digest, SHA256_BYTES)
    answer.failure = failure
    answer.id_bytes = len(spiffe_id)
    memcpy(<char*>answer + sizeof(peer_answer_t), <const char*>spiffe_id, len(spiffe_id))
    (answer.trust_domain_bytes, answer.namespace_at, answer.namespace_bytes, answer.account_at,
     answer.account_bytes) = places
    return answer
