# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. What a worker has learned about endpoints, backends and rules, found by their numbers.
#
# Rule 1: a state is made, all zero, when it is first asked for; it never moves, and goes with the
#         worker. Which numbers there are is Python's business, snapshots bound them (limits.pxd).
# Rule 2: only the worker makes and writes states. The table of chunks has its full size from the
#         start and chunks are published with a release store, so that Python may look at any time.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from proxy.fast.atomics cimport load_pointer, store_pointer
from proxy.fast.limits cimport FLEET_CHUNK_LOG2, FLEET_NUMBERS_MAX
from proxy.fast.platform cimport getrandom
from proxy.fast.states cimport (
    backend_state_t, endpoint_state_t, fleet_t, rule_state_t, table_t,
)
from proxy.fast.stats cimport count

cdef enum:
    FLEET_CHUNK_ITEMS = 1 << FLEET_CHUNK_LOG2
    FLEET_CHUNK_MASK = FLEET_CHUNK_ITEMS - 1


# False: no memory; then the table holds nothing, ever.
cdef inline bint fleet_table_init(table_t* table, uint32_t item_bytes) noexcept nogil:
    table.item_bytes = item_bytes
    table.chunks = <char**>calloc(FLEET_NUMBERS_MAX >> FLEET_CHUNK_LOG2, sizeof(char*))
    table.chunk_capacity = FLEET_NUMBERS_MAX >> FLEET_CHUNK_LOG2 if table.chunks != NULL else 0
    return table.chunks != NULL


cdef inline void fleet_table_free(table_t* table) noexcept nogil:
    cdef uint32_t i
    if table.chunks == NULL:
        return
    for i in range(table.chunk_capacity):
        free(table.chunks[i])
    free(table.chunks)
    table.chunks = NULL
    table.chunk_capacity = 0


# False: no memory. fleet_free() is due in any case.
cdef inline bint fleet_init(fleet_t* f) noexcept nogil:
    memset(f, 0, sizeof(fleet_t))
    getrandom(f.random, sizeof(f.random), 0)
    f.random[0] |= 1                        # all zero would stay so
    return fleet_table_init(&f.endpoints, sizeof(endpoint_state_t)) and (
        fleet_table_init(&f.backends, sizeof(backend_state_t))) and (
        fleet_table_init(&f.rules, sizeof(rule_state_t)))


cdef inline void fleet_free(fleet_t* f) noexcept nogil:
    fleet_table_free(&f.endpoints)
    fleet_table_free(&f.backends)
    fleet_table_free(&f.rules)


# The state of that number; NULL: nobody asked for it, or for a neighbour, yet.
cdef inline void* fleet_seen(const table_t* table, uint32_t number) noexcept nogil:
    cdef char* chunk
    if number >> FLEET_CHUNK_LOG2 >= table.chunk_capacity:
        return NULL
    chunk = <char*>load_pointer(<void**>&table.chunks[number >> FLEET_CHUNK_LOG2])
    if chunk == NULL:
        return NULL
    return chunk + <size_t>(number & FLEET_CHUNK_MASK) * table.item_bytes


# The same, made if it is missing. NULL: no memory, or a number that no snapshot may have.
cdef inline void* fleet_made(table_t* table, uint32_t number) noexcept nogil:
    cdef void* state = fleet_seen(table, number)
    cdef void* chunk
    if state != NULL or number >> FLEET_CHUNK_LOG2 >= table.chunk_capacity:
        return state
    chunk = calloc(FLEET_CHUNK_ITEMS, table.item_bytes)
    if chunk == NULL:
        return NULL
    store_pointer(<void**>&table.chunks[number >> FLEET_CHUNK_LOG2], chunk)
    return fleet_seen(table, number)


# The state of an endpoint of the snapshot in use. What another generation left there is forgotten.
# NULL: no memory.
cdef inline endpoint_state_t* fleet_endpoint(
    fleet_t* f, uint32_t slot, uint32_t generation, uint64_t now_ms,
) noexcept nogil:
    cdef endpoint_state_t* state = <endpoint_state_t*>fleet_made(&f.endpoints, slot)
    if state != NULL and (not state.is_known or state.generation != generation):
        memset(state, 0, sizeof(endpoint_state_t))
        state.generation = generation
        state.since_ms = now_ms
        state.is_known = True
    return state


# The state of an endpoint that may have left. NULL: it is gone, and so is what it was.
cdef inline endpoint_state_t* fleet_seen_endpoint(
    fleet_t* f, uint32_t slot, uint32_t generation,
) noexcept nogil:
    cdef endpoint_state_t* state = <endpoint_state_t*>fleet_seen(&f.endpoints, slot)
    if state == NULL or not state.is_known or state.generation != generation:
        return NULL
    return state


cdef inline backend_state_t* fleet_backend(fleet_t* f, uint32_t number) noexcept nogil:
    return <backend_state_t*>fleet_made(&f.backends, number)


# Count what happened to the requests of a backend: TRAFFIC_*.
cdef inline void fleet_count(fleet_t* f, uint32_t number, int what) noexcept nogil:
    cdef backend_state_t* state = fleet_backend(f, number)
    if state != NULL:
        count(&state.counts[what])


cdef inline rule_state_t* fleet_rule(fleet_t* f, uint32_t number) noexcept nogil:
    return <rule_state_t*>fleet_made(&f.rules, number)


# Requests, connections and waits that are counted anywhere, of a worker that has ended everything:
# 0, or one was begun that never ended, or ended twice.
cdef inline uint64_t fleet_in_flight(const fleet_t* f) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t i, at
    cdef const endpoint_state_t* endpoint
    cdef const backend_state_t* backend
    for i in range(f.endpoints.chunk_capacity):
        endpoint = <const endpoint_state_t*>f.endpoints.chunks[i]
        if endpoint == NULL:
            continue
        for at in range(FLEET_CHUNK_ITEMS):
            total += endpoint[at].in_flight
    for i in range(f.backends.chunk_capacity):
        backend = <const backend_state_t*>f.backends.chunks[i]
        if backend == NULL:
            continue
        for at in range(FLEET_CHUNK_ITEMS):
            total += (<uint64_t>backend[at].in_flight + backend[at].retries_in_flight
                      + backend[at].connections + backend[at].idle + backend[at].pending
                      + backend[at].inbound_in_flight)
    return total
