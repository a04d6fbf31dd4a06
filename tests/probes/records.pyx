# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""The record layer of proxy/fast with a Python handle: test-only, built on demand, never shipped."""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from cpython.mem cimport PyMem_Calloc, PyMem_Free

from guarded cimport guarded_place, guarded_room

from proxy.fast.buf cimport buf_pool_free
from proxy.fast.crypto cimport CIPHER_AES_128_GCM, crypto_open
from proxy.fast.limits cimport KEY_RECORDS_MAX, SCRATCH_BYTES
from proxy.fast.records cimport (
    TLS_READ_AGAIN, TLS_READ_END, records_begin, records_feed, records_free, records_output, records_read,
    records_write,
)
from proxy.fast.types cimport tls_t, worker_t

if crypto_open() == NULL:
    raise ImportError("no libcrypto of the system (.ci/packages names it)")

RECORDS_MAX = KEY_RECORDS_MAX

cdef char* _room = guarded_room()
if _room == NULL:
    raise MemoryError


cdef class Records:
    """One end: AES-128-GCM, secrets of 32 bytes."""
    cdef worker_t* w
    cdef tls_t tls

    def __cinit__(self, bytes read, bytes write, bint is_server=True):
        self.w = <worker_t*>PyMem_Calloc(1, sizeof(worker_t))
        if self.w == NULL:
            raise MemoryError
        self.tls.is_server = is_server
        memcpy(self.tls.records.read.secret, <const char*>read, 32)
        memcpy(self.tls.records.write.secret, <const char*>write, 32)
        self.tls.records.read.secret_bytes = self.tls.records.write.secret_bytes = 32
        self.tls.records.cipher = CIPHER_AES_128_GCM
        if not records_begin(&self.tls):
            raise MemoryError

    def __dealloc__(self):
        if self.w != NULL:
            records_free(self.w, &self.tls)
            buf_pool_free(&self.w.bufs)
            PyMem_Free(self.w)

    def feed(self, bytes text):
        """Return what was said, and how it ended: None, "end" or the alert that it is worth."""
        cdef uint32_t length = <uint32_t>len(text)
        cdef int n = 1
        said = []
        records_feed(
            &self.tls,
            <const uint8_t*>guarded_place(_room, <const char*>text, length, False), length)
        while n > 0:
            n = records_read(self.w, &self.tls, <uint8_t*>self.w.scratch, SCRATCH_BYTES)
            if n > 0:
                said.append((<char*>self.w.scratch)[:n])
        if n == TLS_READ_AGAIN:
            return said, None
        return said, "end" if n == TLS_READ_END else int(self.tls.records.alert)

    def write(self, bytes text):
        """Encrypt; False when it cannot."""
        return bool(records_write(self.w, &self.tls, <const char*>text, <uint32_t>len(text)))

    def output(self):
        """Take the records that wait."""
        cdef char* data = NULL
        cdef uint32_t n = records_output(self.w, &self.tls, &data)
        return data[:n] if n else b""

    @property
    def is_waiting(self):
        """Whether the beginning of a record is kept."""
        return self.tls.partial != NULL

    @property
    def written(self):
        """Records under the keys of now."""
        return self.tls.records.write.sequence

    @written.setter
    def written(self, count):
        self.tls.records.write.sequence = count
