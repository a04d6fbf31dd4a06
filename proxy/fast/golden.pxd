# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Golden metrics: counters of requests, for each group (golden_key_t) apart.
#
# Rule 1: a group is made with its first request and lives as long as its worker, so whoever found
#         it may keep the pointer. Above GROUPS_MAX, or without memory, a direction's other group
#         takes its place: nothing goes uncounted.
# Rule 2: one writer, the worker. Python reads at any time (golden_next, golden_read_ending): a
#         group can be found only once it is whole, an ending once its status and flag are there.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free

from proxy.fast.atomics cimport (
    load_acquire, load_pointer, load_relaxed, store_pointer, store_release,
)
from proxy.fast.limits cimport ENDINGS_MAX, GROUPS_MAX, GROUP_BUCKETS
from proxy.fast.platform cimport aligned_zeroed
from proxy.fast.reasons cimport (
    DIRECTION_COUNT, FLAG_COUNT, METHOD_COUNT, ROUTE_OTHER, SERVICE_OTHER, STATUS_ERROR_MIN,
    STATUS_REST, STATUS_REST_ERROR,
)
from proxy.fast.stats cimport count
from proxy.fast.types cimport HISTOGRAM_BUCKETS, conn_t, ending_t, golden_key_t, golden_t, worker_t

cdef enum:
    GOLDEN_ENDINGS = ENDINGS_MAX + 2 * FLAG_COUNT


cdef inline void golden_init(worker_t* w) noexcept nogil:
    cdef uint8_t i
    for i in range(DIRECTION_COUNT * 2):
        w.other_groups[i].key.direction = i // 2
        w.other_groups[i].key.is_mesh = i % 2
        w.other_groups[i].key.service = SERVICE_OTHER
        w.other_groups[i].key.route = ROUTE_OTHER


cdef inline uint32_t golden_bucket(const golden_key_t* key) noexcept nogil:
    return (((key.service + key.route * 31) * DIRECTION_COUNT + key.direction) * 2
            + key.is_mesh) % GROUP_BUCKETS


# The place of a key's direction and TLS among the groups of the others.
cdef inline uint32_t golden_other(const golden_key_t* key) noexcept nogil:
    return key.direction * 2 + key.is_mesh


# The group of a key; NULL: it has none of its own. For either thread.
cdef inline golden_t* golden_find(worker_t* w, const golden_key_t* key) noexcept nogil:
    cdef golden_t* group = <golden_t*>load_pointer(<void**>&w.groups[golden_bucket(key)])
    if key.service == SERVICE_OTHER:
        return &w.other_groups[golden_other(key)]
    while group != NULL:
        if group.key.service == key.service and group.key.route == key.route and (
                golden_other(&group.key) == golden_other(key)):
            return group
        group = group.next_in_bucket
    return NULL


# All groups, one after the other: NULL is before the first and behind the last one. For Python's
# thread; one that is made meanwhile may be left out.
cdef inline golden_t* golden_next(worker_t* w, const golden_t* group) noexcept nogil:
    cdef uint32_t at = 0
    if group != NULL and group.key.service == SERVICE_OTHER:
        at = GROUP_BUCKETS + golden_other(&group.key) + 1
    elif group != NULL:
        if group.next_in_bucket != NULL:
            return group.next_in_bucket
        at = golden_bucket(&group.key) + 1
    while at < GROUP_BUCKETS:
        if load_pointer(<void**>&w.groups[at]) != NULL:
            return w.groups[at]
        at += 1
    if at == GROUP_BUCKETS + DIRECTION_COUNT * 2:
        return NULL
    return &w.other_groups[at - GROUP_BUCKETS]


# The group of a key, made when it is missing. Never NULL.
cdef inline golden_t* golden_group(worker_t* w, const golden_key_t* key) noexcept nogil:
    cdef uint32_t bucket = golden_bucket(key)
    cdef golden_t* group = golden_find(w, key)
    if group != NULL:
        return group
    if w.group_count < GROUPS_MAX:
        group = <golden_t*>aligned_zeroed(sizeof(golden_t))
    if group == NULL:
        return &w.other_groups[golden_other(key)]
    group.key = key[0]
    group.next_in_bucket = w.groups[bucket]
    store_pointer(<void**>&w.groups[bucket], group)
    w.group_count += 1
    return group


# Where a request of a connection is counted.
cdef inline golden_t* golden_of(worker_t* w, conn_t* c, uint32_t route) noexcept nogil:
    cdef golden_key_t key
    if c.group == NULL or c.group.key.route != route or c.group.key.is_mesh != c.is_mesh or (
            c.group.key.service != c.service):
        key.service = c.service
        key.route = route
        key.direction = c.direction
        key.is_mesh = c.is_mesh
        c.group = golden_group(w, &key)
    return c.group


# Count how a request ended.
cdef inline void golden_count_ending(
    golden_t* group, uint16_t status, uint8_t flag,
) noexcept nogil:
    cdef uint64_t i
    cdef ending_t* ending
    for i in range(group.ending_count):
        ending = &group.endings[i]
        if ending.status == status and ending.flag == flag:
            count(&ending.count)
            return
    if group.ending_count == ENDINGS_MAX:
        count(&group.rest[1 if status >= STATUS_ERROR_MIN else 0][flag])
        return
    ending = &group.endings[group.ending_count]
    ending.status = status
    ending.flag = flag
    ending.count = 1
    store_release(&group.ending_count, group.ending_count + 1)


# Read one of GOLDEN_ENDINGS places; its count is 0 where there is nothing.
cdef inline void golden_read_ending(
    golden_t* group, uint32_t place, ending_t* target,
) noexcept nogil:
    target.count = 0
    if place < load_acquire(&group.ending_count):
        target.status = group.endings[place].status
        target.flag = group.endings[place].flag
        target.count = load_relaxed(&group.endings[place].count)
    elif place >= ENDINGS_MAX:
        place -= ENDINGS_MAX
        target.status = STATUS_REST if place < FLAG_COUNT else STATUS_REST_ERROR
        target.flag = place % FLAG_COUNT
        target.count = load_relaxed(&group.rest[place // FLAG_COUNT][target.flag])


# Add what a group has counted, but for its endings, to `total`, which nobody else sees.
cdef inline void golden_add(golden_t* total, const golden_t* group) noexcept nogil:
    cdef int i
    for i in range(METHOD_COUNT):
        total.requests[i] += load_relaxed(&group.requests[i])
    total.in_flight += load_relaxed(&group.in_flight)
    for i in range(HISTOGRAM_BUCKETS):
        total.request_bucket[i] += load_relaxed(&group.request_bucket[i])
        total.first_byte_bucket[i] += load_relaxed(&group.first_byte_bucket[i])
    total.request_sum_us += load_relaxed(&group.request_sum_us)
    total.first_byte_sum_us += load_relaxed(&group.first_byte_sum_us)
    for i in range(2):
        total.body_bytes[i] += load_relaxed(&group.body_bytes[i])


cdef inline uint64_t golden_begun(const golden_t* group) noexcept nogil:
    cdef uint64_t total = 0
    cdef int i
    for i in range(METHOD_COUNT):
        total += load_relaxed(&group.requests[i])
    return total


cdef inline void golden_free(worker_t* w) noexcept nogil:
    cdef uint32_t i
    cdef golden_t* group
    for i in range(GROUP_BUCKETS):
        while w.groups[i] != NULL:
            group = w.groups[i]
            w.groups[i] = group.next_in_bucket
            free(group)
