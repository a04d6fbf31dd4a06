# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""Parts of proxy/fast with a Python handle: test-only, built on demand, never shipped.

The same .pxd files as in the proxy, compiled with assertions and with undefined behaviour trapped.
Memory calls go through faults.c, so that a test can let the n-th one fail.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cpython.mem cimport PyMem_Calloc, PyMem_Free

from guarded cimport ROOM_BYTES, guarded_place, guarded_room

from proxy.fast.addr cimport (
    ADDR_TEXT_BYTES, addr_from_sockaddr, addr_from_text, addr_is_loopback, addr_is_same_ip,
    addr_is_wildcard, addr_to_sockaddr, addr_to_text,
)
from proxy.fast.buf cimport (
    buf_append, buf_at, buf_consume, buf_give, buf_length, buf_pool_free, buf_take,
)
from proxy.fast.detect cimport (
    DETECT_DONE, detect_feed, detect_finish, detect_upstream_first,
)
from proxy.fast.golden cimport (
    GOLDEN_ENDINGS, golden_begun, golden_count_ending, golden_find, golden_free, golden_group,
    golden_init, golden_next, golden_read_ending,
)
from proxy.fast.limits cimport (
    BUF_BYTES, BUFS_FREE_MAX, ENDINGS_MAX, GROUPS_MAX, PIPES_FREE_MAX, PIPES_MAX,
)
from proxy.fast.lookup cimport (
    lookup_add, lookup_is_opaque, lookup_mark_opaque, lookup_place_count, lookup_service,
)
from proxy.fast.pipes cimport pipe_give, pipe_pool_free, pipe_take
from proxy.fast.platform cimport sockaddr_storage, socklen_t
from proxy.fast.ring cimport (
    ring_free, ring_init, ring_peek, ring_post, ring_reserve, ring_take,
)
from proxy.fast.slab cimport (
    slab_at, slab_find, slab_free, slab_give, slab_init, slab_slot_count, slab_take,
)
from proxy.fast.stats cimport bucket_us, count, count_many, observe, uncount
from proxy.fast.timer cimport (
    timer_advance, timer_arm, timer_cancel, timer_next_due, timer_wait_ms, wheel_init,
)
from proxy.fast.address cimport addr_t
from proxy.fast.snapshot cimport service_address_t, snapshot_t
from proxy.fast.types cimport (
    HISTOGRAM_BUCKETS, buf_pool_t, buf_t, detect_t, ending_t, golden_key_t, golden_t, pipe_pool_t,
    pipe_t, ring_t, slab_head_t, slab_t, sni_t, timer_node_t, wheel_t, worker_t,
)

PROTOCOLS = ("pending", "http1", "http2", "tls", "opaque", "none")

# ---- detection --------------------------------------------------------------------------------

cdef char* _room = guarded_room()
if _room == NULL:
    raise MemoryError


cdef const uint8_t* place(bytes text, bint is_low) except NULL:
    if len(text) > ROOM_BYTES:
        raise ValueError("too long for the guarded room")
    return <const uint8_t*>guarded_place(_room, text, <uint32_t>len(text), is_low)


cdef class Look:
    """detect_t: a look at the first bytes of a connection.

    `is_low`: the bytes lie behind the lower guard page instead of before the upper one.
    `keeps_name`: there is a place for the server name; in the proxy there may be none.
    """

    cdef detect_t detect
    cdef sni_t sni_
    cdef uint32_t bytes_max
    cdef bint is_low
    cdef bint keeps_name

    def __init__(self, bytes_max=1024, *, is_low=False, keeps_name=True):
        memset(&self.detect, 0, sizeof(detect_t))
        memset(&self.sni_, 0, sizeof(sni_t))
        self.bytes_max = bytes_max
        self.is_low = is_low
        self.keeps_name = keeps_name

    @property
    def protocol(self):
        if self.detect.state != DETECT_DONE:
            return "pending"
        return PROTOCOLS[self.detect.protocol]

    @property
    def sni(self):
        """The server name as a record of the connection would carry it."""
        if self.sni_.length > sizeof(self.sni_.name):
            raise AssertionError("a length beyond the name")
        return (<const char*>self.sni_.name)[:<uint8_t>self.sni_.length]

    def feed(self, bytes text):
        """Look at more bytes, unless there is a verdict already. Returns the protocol so far."""
        cdef bint is_decided
        if self.detect.state != DETECT_DONE:
            is_decided = detect_feed(
                &self.detect, place(text, self.is_low), <uint32_t>len(text),
                self.bytes_max, &self.sni_ if self.keeps_name else NULL)
            if is_decided != (self.detect.state == DETECT_DONE):
                raise AssertionError("detect_feed() and detect_t disagree")
        return self.protocol

    def finish(self):
        detect_finish(&self.detect, &self.sni_ if self.keeps_name else NULL)
        return self.protocol

    def upstream_first(self, bytes text):
        detect_upstream_first(
            &self.detect, place(text, self.is_low), <uint32_t>len(text))
        return self.protocol


def overread(bytes text):
    """A planted bug: reads the byte behind `text`, as a parser with a wrong bound would."""
    cdef const volatile uint8_t* at = place(text, False)
    return at[<size_t>len(text)]


# ---- timers -----------------------------------------------------------------------------------

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
        self.timers = <numbered_t*>PyMem_Calloc(count, sizeof(numbered_t))
        if self.timers == NULL:
            raise MemoryError
        wheel_init(&self.wheel, now_ms)
        for i in range(self.count):
            self.timers[i].number = i
            self.timers[i].node.owner = &self.timers[i]

    def __dealloc__(self):
        PyMem_Free(self.timers)

    def arm(self, int number, at_ms):
        timer_arm(&self.wheel, &self.timers[number].node, at_ms)

    def cancel(self, int number):
        timer_cancel(&self.wheel, &self.timers[number].node)

    def is_armed(self, int number):
        return self.timers[number].node.next != NULL

    def advance(self, now_ms):
        """Return the numbers of the timers that fired, in order."""
        timer_advance(&self.wheel, now_ms)
        return list(iter(self.next_due, None))

    def gather(self, now_ms):
        """Only the first half of advance(): what expired waits for next_due()."""
        timer_advance(&self.wheel, now_ms)

    def next_due(self):
        cdef timer_node_t* node = timer_next_due(&self.wheel)
        return None if node == NULL else (<numbered_t*>node.owner).number

    @property
    def armed_count(self):
        return self.wheel.armed_count

    def wait_ms(self, now_ms):
        return timer_wait_ms(&self.wheel, now_ms)


# ---- memory -----------------------------------------------------------------------------------

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
        for slot in range(slab_slot_count(&self.slab)):
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

    @property
    def slot_count(self):
        return slab_slot_count(&self.slab)

    def address(self, uint32_t slot):
        return <size_t>slab_at(&self.slab, slot)


cdef class Bufs:
    """buf_pool_t, and the buffers lent from it by number."""

    cdef buf_pool_t pool
    cdef buf_t* lent[256]

    SIZE = BUF_BYTES
    FREE_MAX = BUFS_FREE_MAX

    def __dealloc__(self):
        for number in range(256):
            if self.lent[number] != NULL:
                self.give(number)
        buf_pool_free(&self.pool)

    def take(self, uint8_t number, *, capacity=0):
        """Lend a buffer; False without memory."""
        self.lent[number] = buf_take(&self.pool, capacity)
        return self.lent[number] != NULL

    def give(self, uint8_t number):
        buf_give(&self.pool, self.lent[number])
        self.lent[number] = NULL

    def append(self, uint8_t number, bytes text):
        """Append, lending a buffer first if there is none; False without memory."""
        return bool(buf_append(&self.pool, &self.lent[number], text, <uint32_t>len(text)))

    def consume(self, uint8_t number, length):
        buf_consume(&self.pool, &self.lent[number], length)

    def held(self, uint8_t number):
        """The bytes that wait, None when no buffer is lent."""
        cdef buf_t* buf = self.lent[number]
        return None if buf == NULL else buf_at(buf, buf.start)[:buf_length(buf)]

    def capacity(self, uint8_t number):
        return self.lent[number].capacity

    @property
    def counts(self):
        """(free, live)."""
        return (self.pool.free_count, self.pool.live_count)


cdef class Pipes:
    """pipe_pool_t, and the pipes lent from it by number."""

    cdef pipe_pool_t pool
    cdef pipe_t* lent[256]

    MAX = PIPES_MAX
    FREE_MAX = PIPES_FREE_MAX

    def __dealloc__(self):
        for number in range(256):
            if self.lent[number] != NULL:
                self.give(number)
        pipe_pool_free(&self.pool)

    def take(self, uint8_t number):
        """Lend a pipe; False when there are too many, or no descriptor, or no memory."""
        self.lent[number] = pipe_take(&self.pool)
        return self.lent[number] != NULL

    def give(self, uint8_t number, *, uint32_t held_bytes=0):
        self.lent[number].held_bytes = held_bytes
        pipe_give(&self.pool, self.lent[number])
        self.lent[number] = NULL

    def ends(self, uint8_t number):
        return (self.lent[number].read_fd, self.lent[number].write_fd)

    @property
    def counts(self):
        """(free, live, open)."""
        return (self.pool.free_count, self.pool.live_count, self.pool.open_count)


cdef class Ring:
    """ring_t of integers, both of its ends on one thread."""

    cdef ring_t ring

    def __cinit__(self, item_count):
        if not ring_init(&self.ring, sizeof(uint64_t), item_count):
            raise MemoryError

    def __dealloc__(self):
        ring_free(&self.ring)

    def post(self, number):
        """Post; False when the ring refuses."""
        cdef uint64_t* place = <uint64_t*>ring_reserve(&self.ring)
        if place == NULL:
            return False
        place[0] = number
        ring_post(&self.ring)
        return True

    def peek(self):
        """The oldest number, or None."""
        cdef const uint64_t* place = <const uint64_t*>ring_peek(&self.ring)
        return None if place == NULL else place[0]

    def take(self):
        number = self.peek()
        if number is not None:
            ring_take(&self.ring)
        return number


# ---- numbers ----------------------------------------------------------------------------------

BUCKETS_US = tuple([bucket_us[i] for i in range(HISTOGRAM_BUCKETS - 1)])


def observed(values_us):
    """Return (buckets, sum) of a histogram that saw these values."""
    cdef uint64_t buckets[HISTOGRAM_BUCKETS]
    cdef uint64_t sum_us = 0
    memset(buckets, 0, sizeof(buckets))
    for value_us in values_us:
        observe(buckets, &sum_us, value_us)
    return ([buckets[i] for i in range(HISTOGRAM_BUCKETS)], sum_us)


def gauged(ups, downs):
    """A gauge after so many up and so many down."""
    cdef uint64_t gauge = 0
    count_many(&gauge, ups)
    for _ in range(downs):
        uncount(&gauge)
    return gauge


cdef class Addr:
    """addr_t, made from the bytes of a sockaddr."""

    cdef addr_t addr

    def __init__(self, bytes raw):
        cdef sockaddr_storage storage
        if len(raw) > sizeof(storage):
            raise ValueError("too long for a sockaddr")
        memset(&storage, 0xee, sizeof(storage))
        memcpy(&storage, <const char*>raw, len(raw))
        memset(&self.addr, 0xee, sizeof(addr_t))
        addr_from_sockaddr(&self.addr, &storage)

    @property
    def fields(self):
        """(family, the 16 bytes, port, scope)."""
        return (self.addr.family, bytes(self.addr.ip[:16]), self.addr.port, self.addr.scope)

    def raw(self):
        """The bytes of the sockaddr that it is turned into."""
        cdef sockaddr_storage storage
        memset(&storage, 0xee, sizeof(storage))
        cdef socklen_t length = addr_to_sockaddr(&self.addr, &storage)
        return (<const char*>&storage)[:length]

    @property
    def is_loopback(self):
        return bool(addr_is_loopback(&self.addr))

    @property
    def is_wildcard(self):
        return bool(addr_is_wildcard(&self.addr))

    def is_same_ip(self, Addr other):
        return bool(addr_is_same_ip(&self.addr, &other.addr))


def from_text(bytes text):
    """The fields of an address that was written down, and its text again; None: it is none."""
    cdef addr_t address
    cdef char again[ADDR_TEXT_BYTES]
    if not addr_from_text(&address, text):
        return None
    return (address.family, bytes(address.ip[:16]), <bytes>addr_to_text(&address, again))


# ---- services ---------------------------------------------------------------------------------

cdef class Known:
    """The services of a snapshot_t: (address as text, port, service), ports that are opaque."""

    cdef snapshot_t snapshot

    def __cinit__(self, services, opaque_ports=()):
        cdef uint32_t places = lookup_place_count(len(services))
        cdef uint32_t i
        memset(&self.snapshot, 0, sizeof(snapshot_t))
        self.snapshot.services = <service_address_t*>PyMem_Calloc(
            len(services) + 1, sizeof(service_address_t))
        self.snapshot.service_index = <uint32_t*>PyMem_Calloc(places, sizeof(uint32_t))
        self.snapshot.service_mask = places - 1
        for i, (text, port, service) in enumerate(services):
            addr_from_text(&self.snapshot.services[i].address, text)
            self.snapshot.services[i].address.port = port
            self.snapshot.services[i].service = service
            if not lookup_add(&self.snapshot, i):
                raise ValueError("given before")
        for port in opaque_ports:
            lookup_mark_opaque(&self.snapshot, port)

    def __dealloc__(self):
        PyMem_Free(self.snapshot.services)
        PyMem_Free(self.snapshot.service_index)

    def find(self, bytes text, port, *, scope=0):
        """The service that has this address, or None."""
        cdef addr_t address
        cdef const service_address_t* found
        addr_from_text(&address, text)
        address.port = port
        address.scope = scope
        found = lookup_service(&self.snapshot, &address)
        return None if found == NULL else found.service

    def is_opaque(self, port):
        return bool(lookup_is_opaque(&self.snapshot, port))


cdef class Groups:
    """The groups of a worker, counted and read by one thread."""

    cdef worker_t* worker

    MAX = GROUPS_MAX
    ENDINGS = ENDINGS_MAX

    def __cinit__(self):
        self.worker = <worker_t*>PyMem_Calloc(1, sizeof(worker_t))
        if self.worker == NULL:
            raise MemoryError
        golden_init(self.worker)

    def __dealloc__(self):
        golden_free(self.worker)
        PyMem_Free(self.worker)

    def begin(self, service, *, direction=0, mesh=False):
        """Count a request; returns the service under which it was counted."""
        cdef golden_key_t key = golden_key_t(
            service=service, route=0, direction=direction, is_mesh=mesh)
        cdef golden_t* group
        group = golden_group(self.worker, &key)
        count(&group.requests[1])
        return group.key.service

    def end(self, service, status, flag):
        cdef golden_key_t key = golden_key_t(service=service, route=0, direction=0, is_mesh=0)
        golden_count_ending(golden_group(self.worker, &key), status, flag)

    def endings(self, service):
        """(status, flag) -> count."""
        cdef golden_key_t key = golden_key_t(service=service, route=0, direction=0, is_mesh=0)
        cdef ending_t ending
        result = {}
        for place in range(GOLDEN_ENDINGS):
            golden_read_ending(golden_find(self.worker, &key), place, &ending)
            if ending.count:
                result[ending.status, ending.flag] = ending.count
        return result

    def begun(self):
        """(direction, service, over mesh TLS) -> requests, of all groups in the order in which they are met."""
        cdef golden_t* group = golden_next(self.worker, NULL)
        result = {}
        while group != NULL:
            key = (group.key.direction, group.key.service, bool(group.key.is_mesh))
            if key in result:
                raise AssertionError("a group was met twice")
            result[key] = golden_begun(group)
            group = golden_next(self.worker, group)
        return result


# ---- faults -----------------------------------------------------------------------------------

cdef extern from *:
    """
    void faults_arm(const char *name, long n, int error);
    int faults_disarm(void);
    long faults_held(void);
    """
    void faults_arm(const char* name, long n, int error)
    int faults_disarm()
    long faults_held()


def arm(name, n):
    """Let the n-th memory call of that name from now on fail."""
    faults_arm(name.encode(), n, 12)


def disarm():
    """Return whether the call has failed."""
    return bool(faults_disarm())


def held_memory():
    """Allocations that were not freed."""
    return faults_held()
