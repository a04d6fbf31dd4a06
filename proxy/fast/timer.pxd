# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Timers: a hierarchical wheel (Varghese and Lauck, 1987), arming and cancelling in O(1).
#
# Level 0 has one slot a tick, each level above 64 times as much; a slot of a higher level is dealt
# out to the levels below when its time begins. A bit a slot says whether it is empty, so that the
# next deadline and long sleeps cost nothing.
#
# Rule 1: a node lives in its owner and is cancelled before the owner's memory goes.
# Rule 2: a timer never fires early. Idle timers are lazy: whoever handles one looks at the time of
#         the last activity and arms again; a byte moved never touches the wheel.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset

from proxy.fast.check cimport FP_ASSERT
from proxy.fast.limits cimport TIMER_LEVELS, TIMER_SLOTS, TIMER_TICK_MS
from proxy.fast.types cimport timer_node_t, wheel_t

cdef extern from *:
    """
    #define remora_first_bit(word) ((unsigned)__builtin_ctzll(word))   /* word must not be 0 */
    """
    unsigned int first_bit "remora_first_bit"(uint64_t word) nogil

cdef enum:
    SLOT_MASK = 63
    SLOT_BITS = 6
    LEVEL_DUE = 255         # node.level of a node in wheel.due


cdef inline void list_init(timer_node_t* head) noexcept nogil:
    head.next = head
    head.previous = head


cdef inline void list_append(timer_node_t* head, timer_node_t* node) noexcept nogil:
    node.previous = head.previous
    node.next = head
    head.previous.next = node
    head.previous = node


cdef inline void list_remove(timer_node_t* node) noexcept nogil:
    node.previous.next = node.next
    node.next.previous = node.previous
    node.next = NULL
    node.previous = NULL


cdef inline void wheel_init(wheel_t* wheel, uint64_t now_ms) noexcept nogil:
    cdef int level, slot
    memset(wheel, 0, sizeof(wheel_t))
    for level in range(TIMER_LEVELS):
        for slot in range(TIMER_SLOTS):
            list_init(&wheel.slots[level][slot])
    list_init(&wheel.due)
    wheel.current_tick = now_ms // TIMER_TICK_MS


# Link a node by its distance from now. Beyond the reach of the wheel it waits in the last slot
# of the top level and is dealt out again from there.
cdef inline void timer_link(wheel_t* wheel, timer_node_t* node) noexcept nogil:
    cdef uint64_t distance = node.expires_tick - wheel.current_tick
    cdef uint64_t at = node.expires_tick
    cdef int level = 0
    while level < TIMER_LEVELS - 1 and distance >= (<uint64_t>1 << (SLOT_BITS * (level + 1))):
        level += 1
    if distance >= (<uint64_t>1 << (SLOT_BITS * TIMER_LEVELS)):
        at = wheel.current_tick + (<uint64_t>1 << (SLOT_BITS * TIMER_LEVELS)) - 1
    node.level = <uint8_t>level
    node.slot = <uint8_t>((at >> (SLOT_BITS * level)) & SLOT_MASK)
    list_append(&wheel.slots[level][node.slot], node)
    wheel.occupied[level] |= <uint64_t>1 << node.slot


cdef inline void timer_unlink(wheel_t* wheel, timer_node_t* node) noexcept nogil:
    cdef timer_node_t* head
    list_remove(node)
    if node.level != LEVEL_DUE:
        head = &wheel.slots[node.level][node.slot]
        if head.next == head:
            wheel.occupied[node.level] &= ~(<uint64_t>1 << node.slot)


cdef inline bint timer_is_armed(const timer_node_t* node) noexcept nogil:
    return node.next != NULL


cdef inline void timer_cancel(wheel_t* wheel, timer_node_t* node) noexcept nogil:
    if node.next != NULL:
        timer_unlink(wheel, node)
        wheel.armed_count -= 1


# Fire at `at_ms` (monotonic) or up to one tick later. An armed node is moved.
cdef inline void timer_arm(wheel_t* wheel, timer_node_t* node, uint64_t at_ms) noexcept nogil:
    timer_cancel(wheel, node)
    node.expires_tick = (at_ms + TIMER_TICK_MS - 1) // TIMER_TICK_MS
    if node.expires_tick <= wheel.current_tick:
        node.expires_tick = wheel.current_tick + 1
    timer_link(wheel, node)
    wheel.armed_count += 1


# Deal the slot of `level` that begins at the current tick out to the levels below.
cdef inline void timer_cascade(wheel_t* wheel, int level) noexcept nogil:
    cdef int slot = <int>((wheel.current_tick >> (SLOT_BITS * level)) & SLOT_MASK)
    cdef timer_node_t* head = &wheel.slots[level][slot]
    cdef timer_node_t* node
    cdef timer_node_t batch
    if not (wheel.occupied[level] >> slot) & 1:
        return
    # Take the whole list first: a node beyond the wheel's reach may land in this slot again.
    batch.next = head.next
    batch.previous = head.previous
    batch.next.previous = &batch
    batch.previous.next = &batch
    list_init(head)
    wheel.occupied[level] &= ~(<uint64_t>1 << slot)
    while batch.next != &batch:
        node = batch.next
        list_remove(node)
        timer_link(wheel, node)


# Move everything that expired up to `now_ms` to wheel.due; timer_next_due() hands it out.
cdef inline void timer_advance(wheel_t* wheel, uint64_t now_ms) noexcept nogil:
    cdef uint64_t now_tick = now_ms // TIMER_TICK_MS
    cdef timer_node_t* head
    cdef timer_node_t* node
    cdef int level, slot
    while wheel.current_tick < now_tick:
        if wheel.armed_count == 0:
            wheel.current_tick = now_tick
            return
        if wheel.occupied[0] == 0 and (wheel.current_tick | SLOT_MASK) < now_tick:
            wheel.current_tick |= SLOT_MASK         # nothing fires before the next deal
        elif wheel.occupied[0] == 0 and (wheel.current_tick | SLOT_MASK) > now_tick:
            wheel.current_tick = now_tick
            return
        wheel.current_tick += 1
        slot = <int>(wheel.current_tick & SLOT_MASK)
        level = 1
        while slot == 0 and level < TIMER_LEVELS:
            timer_cascade(wheel, level)
            if (wheel.current_tick >> (SLOT_BITS * level)) & SLOT_MASK:
                break
            level += 1
        head = &wheel.slots[0][slot]
        while head.next != head:
            node = head.next
            FP_ASSERT(node.expires_tick <= now_tick)
            list_remove(node)
            node.level = LEVEL_DUE
            list_append(&wheel.due, node)
        wheel.occupied[0] &= ~(<uint64_t>1 << slot)


# The next expired node, no longer armed, or NULL.
cdef inline timer_node_t* timer_next_due(wheel_t* wheel) noexcept nogil:
    cdef timer_node_t* node = wheel.due.next
    if node == &wheel.due:
        return NULL
    list_remove(node)
    wheel.armed_count -= 1
    return node


# Milliseconds until the wheel wants to be advanced again, 0 when it is late; -1: nothing is armed.
# For a timer in a higher level that is the time of the deal: at most 64 wake-ups for the longest.
cdef inline int64_t timer_wait_ms(const wheel_t* wheel, uint64_t now_ms) noexcept nogil:
    cdef uint64_t best = ~<uint64_t>0
    cdef uint64_t base, at, ahead
    cdef int level, slot
    if wheel.armed_count == 0:
        return -1
    if wheel.due.next != &wheel.due:
        return 0
    for level in range(TIMER_LEVELS):
        if wheel.occupied[level] == 0:
            continue
        base = (wheel.current_tick >> (SLOT_BITS * level)) + 1
        slot = <int>(base & SLOT_MASK)
        # Rotate so that bit 0 is the slot that comes next.
        ahead = wheel.occupied[level] >> slot
        if slot:
            ahead |= wheel.occupied[level] << (64 - slot)
        at = (base + first_bit(ahead)) << (SLOT_BITS * level)
        if at < best:
            best = at
    best *= TIMER_TICK_MS
    return <int64_t>(best - now_ms) if best > now_ms else 0
