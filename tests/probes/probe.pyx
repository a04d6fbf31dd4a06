# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""Parts of proxy/fast with a Python handle: test-only, built on demand, never shipped.

The same .pxd files as in the proxy, compiled with assertions and with undefined behaviour trapped.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from proxy.fast.detect cimport (
    DETECT_DONE, detect_feed, detect_finish, detect_upstream_first,
)
from proxy.fast.slab cimport slab_find, slab_free, slab_at, slab_give, slab_init, slab_take
from proxy.fast.timer cimport (
    timer_advance, timer_arm, timer_cancel, timer_is_armed, timer_next_due, timer_wait_ms,
    wheel_init,
)
from proxy.fast.types cimport detect_t, slab_head_t, slab_t, sni_t, timer_node_t, wheel_t

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void* MAP_FAILED
    void* mmap(void* at, size_t length, int protection, int flags, int fd, long offset)
    int mprotect(void* at, size_t length, int protection)
    int munmap(void* at, size_t length)

PROTOCOLS = ("pending", "http1", "http2", "tls", "opaque", "none")

cdef enum:
    PAGE_BYTES = 4096
    ROOM_BYTES = 65536


cdef class Guarded:
    """Memory that ends where reading ends the process: what lies behind it may not be touched."""

    cdef char* start

    def __cinit__(self):
        cdef void* start = mmap(
            NULL, ROOM_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
            -1, 0)
        if start == MAP_FAILED:
            raise MemoryError
        self.start = <char*>start
        if mprotect(self.start + ROOM_BYTES, PAGE_BYTES, PROT_NONE) < 0:
            raise MemoryError

    def __dealloc__(self):
        if self.start != NULL:
            munmap(self.start, ROOM_BYTES + PAGE_BYTES)

    # `text` with its last byte right before the guard.
    cdef const uint8_t* place(self, bytes text) except NULL:
        if len(text) > ROOM_BYTES:
            raise ValueError("too long for the guarded room")
        cdef char* at = self.start + ROOM_BYTES - <size_t>len(text)
        memcpy(at, <const char*>text, len(text))
        return <const uint8_t*>at


cdef Guarded _guarded = Guarded()


cdef class Look:
    """detect_t: a look at the first bytes of a connection."""

    cdef detect_t detect
    cdef sni_t sni_
    cdef uint32_t bytes_max

    def __init__(self, bytes_max=1024):
        memset(&self.detect, 0, sizeof(detect_t))
        memset(&self.sni_, 0, sizeof(sni_t))
        self.bytes_max = bytes_max

    @property
    def protocol(self):
        if self.detect.state != DETECT_DONE:
            return "pending"
        return PROTOCOLS[self.detect.protocol]

    @property
    def sni(self):
        return (<const char*>self.sni_.name)[:self.sni_.length]

    def feed(self, bytes text):
        """Look at more bytes, unless there is a verdict already. Returns the protocol so far."""
        if self.detect.state != DETECT_DONE:
            detect_feed(
                &self.detect, _guarded.place(text), <uint32_t>len(text), self.bytes_max, &self.sni_)
        return self.protocol

    def finish(self):
        detect_finish(&self.detect)
        return self.protocol

    def upstream_first(self, bytes text):
        detect_upstream_first(&self.detect, _guarded.place(text), <uint32_t>len(text))
        return self.protocol


cdef struct numbered_t:
    timer_node_t node
    int number


cdef class Wheel:
    """wheel_t with `count` timers, known by their numbers."""

    cdef wheel_t wheel
    cdef numbered_t* timers
    cdef int count

    def __cinit__(self, count, now_ms):
        cdef int i
        self.count = count
        self.timers = <numbered_t*>calloc(count, sizeof(numbered_t))
        if self.timers == NULL:
            raise MemoryError
        wheel_init(&self.wheel, now_ms)
        for i in range(self.count):
            self.timers[i].number = i
            self.timers[i].node.owner = &self.timers[i]

    def __dealloc__(self):
        free(self.timers)

    def arm(self, int number, at_ms):
        timer_arm(&self.wheel, &self.timers[number].node, at_ms)

    def cancel(self, int number):
        timer_cancel(&self.wheel, &self.timers[number].node)

    def is_armed(self, int number):
        return bool(timer_is_armed(&self.timers[number].node))

    def advance(self, now_ms):
        """Return the numbers of the timers that fired, in order."""
        cdef timer_node_t* node
        fired = []
        timer_advance(&self.wheel, now_ms)
        while True:
            node = timer_next_due(&self.wheel)
            if node == NULL:
                return fired
            fired.append((<numbered_t*>node.owner).number)

    def wait_ms(self, now_ms):
        return timer_wait_ms(&self.wheel, now_ms)


cdef struct item_t:
    slab_head_t head
    uint8_t body[40]


cdef class Slab:
    """slab_t of small items; a life is named by (slot, generation)."""

    cdef slab_t slab

    def __cinit__(self, live_max):
        slab_init(&self.slab, sizeof(item_t), live_max)

    def __dealloc__(self):
        # Items that a test kept are given back: slab_free() insists.
        cdef uint32_t slot
        for slot in range(self.slab.chunk_count * 64):
            if slab_at(&self.slab, slot).is_live:
                slab_give(&self.slab, slab_at(&self.slab, slot))
        slab_free(&self.slab)

    def take(self):
        """Return (slot, generation, whether the body was zeroed), or None when there is no more."""
        cdef item_t* item = <item_t*>slab_take(&self.slab)
        cdef int i
        cdef int dirt = 0
        if item == NULL:
            return None
        for i in range(40):
            dirt |= item.body[i]
            item.body[i] = 0xee
        return (item.head.slot, item.head.generation, dirt == 0)

    def give(self, uint32_t slot):
        slab_give(&self.slab, slab_at(&self.slab, slot))

    def finds(self, uint32_t slot, uint32_t generation):
        return slab_find(&self.slab, slot, generation) != NULL

    @property
    def live_count(self):
        return self.slab.live_count
