# cython: language_level=3, cdivision=True
#
# Services, routes and endpoints, copied into the C memory of a snapshot: for _fastpath.pyx only.
#
# Rule 1: whatever is wrong with a value raises ValueError naming it; nothing is corrected.
# Rule 2: the memory belongs to the snapshot's Python object, which frees it by traffic_free(), also
#         when a function here raised half-way.
# Rule 3: what the data plane may index with is checked here, and nowhere else.
#
# The rows come from proxy/traffic/rows.py.
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from proxy._snapshot cimport address_from_python, snapshot_add_address
from proxy.fast.limits cimport (
    DFA_STATES_MAX, DFA_STEPS_MAX, EDITS_BYTES_MAX, FLEET_NUMBERS_MAX, FRONT_ROUTES_MAX,
    LIMIT_BURST_MAX, LIMIT_RATE_PER_S_MAX, PLACES_EACH_MAX, PLACES_MAX, REWRITE_HOST_BYTES_MAX,
    TRAFFIC_ROWS_MAX, TRAFFIC_TEXT_BYTES_MAX, TRAFFIC_TIME_S_MAX,
)
from proxy.fast.lookup cimport lookup_add_name, lookup_place_count
from proxy.fast.places cimport places_is_prime, places_maglev, places_ring, turn_t
from proxy.fast.reasons cimport (
    BALANCE_MAGLEV, BALANCE_RING, METHOD_COUNT, ROUTE_PATH_REGEX,
)
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.traffic cimport (
    backend_t, dfa_t, edit_t, endpoint_t, fault_t, field_t, front_t, limit_t, mirror_t, name_t,
    outlier_t, place_t, retry_t, rewrite_t, route_t, rule_t, run_t, share_t, text_t, traffic_t,
)

cdef enum:
    RING_PLACES_MIN = 1024          # Istio's minimumRingSize
    MAGLEV_PLACES = 65537           # Istio's tableSize

cdef struct shelf_t:                # an array that is being filled
    void**   items                  # in the traffic_t
    uint32_t count
    uint32_t capacity
    uint32_t item_bytes
    uint32_t most

cdef struct filling_t:              # a traffic_t that is being filled
    traffic_t* t
    shelf_t  fronts
    shelf_t  backends
    shelf_t  endpoints
    shelf_t  places
    shelf_t  routes
    shelf_t  fields
    shelf_t  rules
    shelf_t  shares
    shelf_t  edits
    shelf_t  mirrors
    shelf_t  dfas
    shelf_t  steps
    shelf_t  accepting
    shelf_t  names
    shelf_t  text


cdef inline void traffic_free(snapshot_t* s) noexcept:
    cdef traffic_t* t = s.traffic
    if t == NULL:
        return
    PyMem_RawFree(t.fronts)
    PyMem_RawFree(t.backends)
    PyMem_RawFree(t.endpoints)
    PyMem_RawFree(t.places)
    PyMem_RawFree(t.routes)
    PyMem_RawFree(t.fields)
    PyMem_RawFree(t.rules)
    PyMem_RawFree(t.shares)
    PyMem_RawFree(t.edits)
    PyMem_RawFree(t.mirrors)
    PyMem_RawFree(t.dfas)
    PyMem_RawFree(t.steps)
    PyMem_RawFree(t.accepting)
    PyMem_RawFree(t.names)
    PyMem_RawFree(t.name_index)
    PyMem_RawFree(t.backend_index)
    PyMem_RawFree(t.text)
    PyMem_RawFree(t)
    s.traffic = NULL


# ---- arrays, and what may stand in them ---------------------------------------------------------

cdef inline shelf_t shelf(void** items, size_t item_bytes, uint32_t most) noexcept:
    return shelf_t(items=items, count=0, capacity=0, item_bytes=<uint32_t>item_bytes, most=most)


cdef inline filling_t filling(traffic_t* t) noexcept:
    cdef filling_t f
    cdef uint32_t most = TRAFFIC_ROWS_MAX
    f.t = t
    f.fronts = shelf(<void**>&t.fronts, sizeof(front_t), most)
    f.backends = shelf(<void**>&t.backends, sizeof(backend_t), most)
    f.endpoints = shelf(<void**>&t.endpoints, sizeof(endpoint_t), most)
    f.places = shelf(<void**>&t.places, sizeof(place_t), PLACES_MAX)
    f.routes = shelf(<void**>&t.routes, sizeof(route_t), most)
    f.fields = shelf(<void**>&t.fields, sizeof(field_t), most)
    f.rules = shelf(<void**>&t.rules, sizeof(rule_t), most)
    f.shares = shelf(<void**>&t.shares, sizeof(share_t), most)
    f.edits = shelf(<void**>&t.edits, sizeof(edit_t), most)
    f.mirrors = shelf(<void**>&t.mirrors, sizeof(mirror_t), most)
    f.dfas = shelf(<void**>&t.dfas, sizeof(dfa_t), most)
    f.steps = shelf(<void**>&t.steps, sizeof(uint16_t), DFA_STEPS_MAX)
    f.accepting = shelf(<void**>&t.accepting, 1, DFA_STEPS_MAX)
    f.names = shelf(<void**>&t.names, sizeof(name_t), most)
    f.text = shelf(<void**>&t.text, 1, TRAFFIC_TEXT_BYTES_MAX)
    return f


# Room for some more items, all zero, next to each other. What was there may move.
cdef inline run_t shelf_add(shelf_t* s, object more, str what) except *:
    cdef run_t run
    cdef uint32_t capacity
    cdef void* items
    if more > s.most - s.count:
        raise ValueError(f"more than {s.most} {what} in the traffic policy")
    run.first = s.count
    run.count = more
    if s.items[0] == NULL or run.count > s.capacity - s.count:
        capacity = max(s.count + run.count, min(s.capacity * 2, s.most), 16)
        items = PyMem_RawCalloc(capacity, s.item_bytes)
        if items == NULL:
            raise MemoryError
        if s.items[0] != NULL:
            memcpy(items, s.items[0], <size_t>s.count * s.item_bytes)
        PyMem_RawFree(s.items[0])
        s.items[0] = items
        s.capacity = capacity
    s.count += run.count
    return run


cdef inline text_t text_add(filling_t* f, object text, str what) except *:
    cdef text_t place
    cdef run_t run
    if not isinstance(text, bytes):
        raise ValueError(f"{what}: {text!r} are no bytes")
    run = shelf_add(&f.text, len(text), "bytes of text")
    memcpy(f.t.text + run.first, <const char*><bytes>text, run.count)
    place.at = run.first
    place.bytes = run.count
    return place


cdef inline text_t text_add_name(filling_t* f, object text, str what) except *:
    if text != text.lower():
        raise ValueError(f"{what}: {text!r} is not in small letters")
    return text_add(f, text, what)


# A whole number up to `most`.
cdef inline uint64_t whole(object value, object most, str field, str owner) except? 999:
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{field} of {owner} must be between 0 and {most}, not {value!r}")
    return value


cdef inline uint8_t word_index(tuple words, object word, str field, str owner) except? 255:
    if word not in words:
        raise ValueError(f"{field} of {owner}: {word!r} is none of {', '.join(words)}")
    return words.index(word)


# An index into a list of that length, or -1 where `may_lack`.
cdef inline int32_t index_of(
    object value, object length, bint may_lack, str field, str owner,
) except? -2:
    if not isinstance(value, int) or not (-1 if may_lack else 0) <= value < length:
        raise ValueError(f"{field} of {owner}: there is no {value!r}")
    return value


cdef inline uint64_t time_ms(object value, str field, str owner) except? 999:
    return whole(value, <uint64_t>TRAFFIC_TIME_S_MAX * 1000, field, owner)


cdef inline uint32_t small(object value, str field, str owner) except? 999:
    return <uint32_t>whole(value, 0xFFFFFFFF, field, owner)


# ---- parts of several rows ----------------------------------------------------------------------

cdef inline limit_t limit_from(object row, str owner) except *:
    cdef limit_t limit
    limit.rate_per_ks = whole(
        row.rate_per_ks, <uint64_t>LIMIT_RATE_PER_S_MAX * 1000, "rate of the limit", owner)
    limit.burst = <uint32_t>whole(row.burst, LIMIT_BURST_MAX, "burst of the limit", owner)
    if limit.rate_per_ks and not limit.burst:
        raise ValueError(f"burst of the limit of {owner}: with 0 nothing would pass")
    return limit


cdef inline fault_t fault_from(object row, str owner) except *:
    cdef fault_t fault
    fault.delay_per_million = whole(row.delay_per_million, 1000000, "part to be delayed", owner)
    fault.delay_ms = small(row.delay_ms, "delay", owner)
    fault.abort_per_million = whole(row.abort_per_million, 1000000, "part to be aborted", owner)
    fault.abort_status = whole(row.abort_status, 599, "status of aborts", owner)
    if fault.abort_per_million and fault.abort_status < 200:
        raise ValueError(f"status of aborts of {owner}: {row.abort_status} is no answer")
    return fault


cdef inline retry_t retry_from(object row, str owner) except *:
    cdef retry_t retry
    memset(&retry, 0, sizeof(retry_t))
    for code in row.codes:
        if not 400 <= code <= 599:
            raise ValueError(f"codes worth a retry of {owner}: {code} is not from 400 to 599")
        retry.codes[(code - 400) // 64] |= 1ULL << ((code - 400) % 64)
    retry.backoff_ms = small(row.backoff_ms, "backoff", owner)
    retry.attempts = whole(row.attempts, 254, "attempts", owner)     # and the first: 8 bits
    retry.is_said = bool(row.is_said)
    return retry


cdef inline run_t edits_add(filling_t* f, tuple rows, tuple kinds, str owner) except *:
    cdef run_t run = shelf_add(&f.edits, len(rows), "changes of headers")
    cdef uint32_t i
    cdef edit_t edit
    whole(sum([len(row[1]) + len(row[2]) + 4 for row in rows]), EDITS_BYTES_MAX,    # ": ", CRLF
          "bytes of changed headers", owner)
    for i in range(run.count):
        kind, name, value = rows[i]
        edit.kind = word_index(kinds, kind, "change of a header", owner)
        edit.name = text_add(f, name, "name of a header")
        edit.value = text_add(f, value, "value of a header")
        f.t.edits[run.first + i] = edit
    return run


# ---- backends -----------------------------------------------------------------------------------

cdef inline outlier_t outlier_from(object row, str owner) except *:
    cdef outlier_t o
    o.errors_max = small(row.errors_max, "errors in a row", owner)
    o.gateway_errors_max = small(row.gateway_errors_max, "gateway errors in a row", owner)
    o.local_errors_max = small(row.local_errors_max, "local errors in a row", owner)
    o.is_split = bool(row.is_split)
    o.success_percent_min = whole(row.success_percent_min, 100, "success rate", owner)
    o.ejected_percent_max = whole(row.ejected_percent_max, 100, "share of ejected", owner)
    o.healthy_percent_min = whole(row.healthy_percent_min, 100, "share of healthy", owner)
    o.requests_min = small(row.requests_min, "requests of an interval", owner)
    o.interval_ms = small(row.interval_ms, "interval of outliers", owner)
    o.ejection_ms = time_ms(row.ejection_ms, "ejection time", owner)
    o.ejection_ms_max = time_ms(row.ejection_ms_max, "longest ejection time", owner)
    return o


# Endpoints in the order of their slots, those of our zone first: round robin goes by it.
cdef inline run_t endpoints_add(
    filling_t* f, tuple rows, uint32_t local_count, str owner,
) except *:
    cdef run_t run = shelf_add(&f.endpoints, len(rows), "endpoints")
    cdef endpoint_t* endpoint = &f.t.endpoints[run.first]
    cdef list order = sorted([(row[2], row) for row in rows[:local_count]])
    cdef uint32_t i = 0
    if local_count > run.count:
        raise ValueError(f"{local_count} local ones of {run.count} endpoints of {owner}")
    order += sorted([(row[2], row) for row in rows[local_count:]])
    for _, (host, port, slot, generation) in order:
        address_from_python(host, port, &endpoint.address)
        if not 0 <= slot < FLEET_NUMBERS_MAX:
            raise ValueError(f"slot of an endpoint of {owner}: {slot!r}")
        endpoint.slot = slot
        endpoint.generation = small(generation, "generation of an endpoint", owner)
        if i not in (0, local_count) and (endpoint - 1).slot == endpoint.slot:
            raise ValueError(f"slot {slot} is given to two endpoints of {owner}")
        endpoint += 1
        i += 1
    return run


# Places of each endpoint on a ring: a quarter of the size that was asked for, however many they
# are, or with each that comes or goes the places of all others, and their keys, would move, too.
cdef inline uint32_t ring_each(uint32_t size, uint32_t endpoint_count) noexcept:
    cdef uint32_t each = (size or RING_PLACES_MIN) // 4
    while each > 1 and <uint64_t>each * endpoint_count > PLACES_EACH_MAX:
        each //= 2
    return each or 1


# Places of Maglev's table: as many as were asked for, or the next prime that has one for each.
cdef inline uint32_t maglev_size(uint32_t size, uint32_t endpoint_count, str owner) except 0:
    size = size or MAGLEV_PLACES
    if not places_is_prime(size):
        raise ValueError(f"table size of {owner}: {size} is no prime")
    if size < endpoint_count:
        size = endpoint_count
    while not places_is_prime(size):
        size += 1
    return size


# The table of a ring or of Maglev over the endpoints of our zone, or over all where there are none.
cdef inline run_t places_add(filling_t* f, const backend_t* b, object size, str owner) except *:
    cdef uint32_t endpoint_count = b.local_count or b.endpoints.count
    cdef uint32_t least = <uint32_t>whole(size, PLACES_EACH_MAX, "table size", owner)
    cdef uint32_t each = ring_each(least, endpoint_count)
    cdef uint32_t places = each * endpoint_count
    cdef const endpoint_t* endpoints = f.t.endpoints + b.endpoints.first
    cdef run_t run
    cdef turn_t* turns
    if b.balance == BALANCE_MAGLEV:
        places = maglev_size(least, endpoint_count, owner)
    if endpoint_count == 0:
        places = 0
    run = shelf_add(&f.places, places, "places")
    turns = <turn_t*>PyMem_RawCalloc(endpoint_count + 1, sizeof(turn_t))
    if turns == NULL:
        raise MemoryError
    if b.balance == BALANCE_RING:
        places_ring(&f.t.places[run.first], each, endpoints, endpoint_count, turns)
    elif endpoint_count:
        places_maglev(&f.t.places[run.first], places, endpoints, endpoint_count, turns)
    PyMem_RawFree(turns)
    return run


cdef inline int backend_fill(
    filling_t* f, uint32_t index, object row, object service_number, object words,
) except -1:
    cdef backend_t* b = &f.t.backends[index]
    cdef str owner = f"{row.service}:{row.port}"
    b.number = whole(row.number, FLEET_NUMBERS_MAX - 1, "number", owner)
    b.service = service_number(row.service)
    b.local_count = small(row.local_count, "number of local endpoints", owner)
    b.endpoints = endpoints_add(f, row.endpoints, b.local_count, owner)
    b.balance = word_index(words.BALANCES, row.balance, "balancing", owner)
    b.hash_by = word_index(words.HASHES, row.hash_by, "hash", owner)
    b.hash_name = text_add_name(f, row.hash_name, "name to hash by") if (
        row.hash_by == words.HEADER) else text_add(f, row.hash_name, "name to hash by")
    if b.balance in (BALANCE_RING, BALANCE_MAGLEV):
        b.places = places_add(f, b, row.table_size, owner)
    b.connect_ms = time_ms(row.connect_ms, "connect timeout", owner)
    b.idle_ms = time_ms(row.idle_ms, "idle timeout", owner)
    b.tcp_idle_ms = time_ms(row.tcp_idle_ms, "idle timeout of TCP", owner)
    b.connections_max = small(row.connections_max, "most connections", owner)
    b.pending_max = small(row.pending_max, "most pending requests", owner)
    b.requests_max = small(row.requests_max, "most requests", owner)
    b.retries_max = small(row.retries_max, "most retries", owner)
    b.connection_requests_max = small(
        row.connection_requests_max, "most requests of a connection", owner)
    b.slow_start_ms = time_ms(row.slow_start_ms, "slow start", owner)
    b.budget_percent = whole(row.budget_percent, 100, "budget of retries", owner)
    b.budget_min_per_s = whole(row.budget_min_per_s, 1000000, "least retries per second", owner)
    b.outlier = outlier_from(row.outlier, owner)
    b.request_ms = time_ms(row.request_ms, "request timeout", owner)
    b.try_ms = time_ms(row.try_ms, "timeout of a try", owner)
    b.retry = retry_from(row.retry, owner)
    return 0


cdef inline int backends_index(traffic_t* t, uint32_t backend_count) except -1:
    cdef uint32_t i
    for i in range(backend_count):
        t.backend_index_count = max(t.backend_index_count, t.backends[i].number + 1)
    t.backend_index = <uint32_t*>PyMem_RawCalloc(t.backend_index_count + 1, sizeof(uint32_t))
    if t.backend_index == NULL:
        raise MemoryError
    for i in range(backend_count):
        if t.backend_index[t.backends[i].number]:
            raise ValueError(f"number {t.backends[i].number} is given to two backends")
        t.backend_index[t.backends[i].number] = i + 1
    t.backend_count = backend_count
    return 0


# ---- rules and routes ---------------------------------------------------------------------------

cdef inline int dfa_fill(filling_t* f, uint32_t index, object row) except -1:
    cdef dfa_t* dfa = &f.t.dfas[index]
    cdef str owner = f"regular expression {index}"
    cdef tuple steps = row.steps
    cdef uint32_t state_count = len(row.accepting)
    cdef uint32_t i
    dfa.class_count = whole(row.class_count, 256, "classes", owner)
    if len(row.classes) != 256 or max(row.classes) >= row.class_count:
        raise ValueError(f"classes of {owner}: not one of {row.class_count} for each byte")
    if not 0 < state_count <= DFA_STATES_MAX or len(steps) != state_count * dfa.class_count:
        raise ValueError(f"states of {owner}: {state_count} with {len(steps)} steps")
    memcpy(dfa.classes, <const char*><bytes>row.classes, 256)
    dfa.steps = shelf_add(&f.steps, len(steps), "steps of regular expressions")
    dfa.accepting = shelf_add(&f.accepting, state_count, "states of regular expressions")
    memcpy(f.t.accepting + dfa.accepting.first, <const char*><bytes>row.accepting, state_count)
    for i in range(dfa.steps.count):
        f.t.steps[dfa.steps.first + i] = whole(steps[i], state_count - 1, "a step", owner)
    return 0


cdef inline run_t shares_add(filling_t* f, tuple rows, object words, str owner) except *:
    cdef run_t run = shelf_add(&f.shares, len(rows), "backends of rules")
    cdef share_t share
    cdef uint32_t i
    for i in range(run.count):
        backend, weight, request_edits, response_edits = rows[i]
        share.backend = index_of(backend, f.backends.count, True, "backend", owner)
        share.weight = small(weight, "weight", owner)
        share.request_edits = edits_add(f, request_edits, words.EDITS, owner)
        share.response_edits = edits_add(f, response_edits, words.EDITS, owner)
        f.t.shares[run.first + i] = share
    return run


cdef inline run_t mirrors_add(filling_t* f, tuple rows, str owner) except *:
    cdef run_t run = shelf_add(&f.mirrors, len(rows), "mirrors")
    cdef mirror_t mirror
    cdef uint32_t i
    for i in range(run.count):
        backend, per_million = rows[i]
        mirror.backend = index_of(backend, f.backends.count, False, "mirror", owner)
        mirror.per_million = whole(per_million, 1000000, "part to be mirrored", owner)
        f.t.mirrors[run.first + i] = mirror
    return run


cdef inline rewrite_t rewrite_from(
    filling_t* f, object row, object words, str owner,
) except *:
    cdef rewrite_t rewrite
    whole(len(row.host), REWRITE_HOST_BYTES_MAX, "bytes of the host of a rewrite", owner)
    rewrite.host = text_add(f, row.host, "host of a rewrite")
    rewrite.path = text_add(f, row.path, "path of a rewrite")
    rewrite.path_kind = word_index(words.REWRITES, row.path_kind, "rewrite", owner)
    rewrite.scheme = word_index(words.SCHEMES, row.scheme, "scheme", owner)
    rewrite.port = whole(row.port, 65535, "port of a redirect", owner)
    rewrite.status = whole(row.status, 399, "status of a redirect", owner)
    if rewrite.status not in (0, 301, 302, 303, 307, 308):
        raise ValueError(f"status of a redirect of {owner}: {row.status}")
    return rewrite


cdef inline int rule_fill(
    filling_t* f, uint32_t index, object row, object route_number, object words,
) except -1:
    cdef rule_t* rule = &f.t.rules[index]
    cdef str owner = f"a rule of {row.route}"
    cdef uint64_t weight_sum = 0
    rule.number = whole(row.number, FLEET_NUMBERS_MAX - 1, "number", owner)
    rule.route = route_number(row.route)
    rule.shares = shares_add(f, row.shares, words, owner)
    for share in row.shares:
        weight_sum += share[1]
    rule.weight_sum = small(weight_sum, "sum of weights", owner)
    rule.request_edits = edits_add(f, row.request_edits, words.EDITS, owner)
    rule.response_edits = edits_add(f, row.response_edits, words.EDITS, owner)
    rule.mirrors = mirrors_add(f, row.mirrors, owner)
    rule.rewrite = rewrite_from(f, row.rewrite, words, owner)
    rule.request_ms = time_ms(row.request_ms, "request timeout", owner)
    rule.try_ms = time_ms(row.try_ms, "timeout of a try", owner)
    rule.retry = retry_from(row.retry, owner)
    rule.limit = limit_from(row.limit, owner)
    rule.fault = fault_from(row.fault, owner)
    return 0


cdef inline run_t fields_add(filling_t* f, tuple rows, str owner) except *:
    cdef run_t run = shelf_add(&f.fields, len(rows), "conditions")
    cdef field_t field
    cdef uint32_t i
    for i in range(run.count):
        is_query, name, value, dfa = rows[i]
        field.is_query = bool(is_query)
        field.name = text_add(f, name, "name of a query parameter") if (
            is_query) else text_add_name(f, name, "name of a header")
        field.value = text_add(f, value, "value of a condition")
        field.dfa = index_of(dfa, f.dfas.count, True, "regular expression", owner)
        f.t.fields[run.first + i] = field
    return run


cdef inline run_t routes_add(
    filling_t* f, tuple rows, tuple methods, object words, str owner,
) except *:
    cdef run_t run = shelf_add(&f.routes, len(rows), "routes")
    cdef route_t route
    cdef uint32_t i
    if run.count > FRONT_ROUTES_MAX:
        raise ValueError(f"{run.count} routes of {owner}; {FRONT_ROUTES_MAX} are the most")
    for i in range(run.count):
        rule, path_form, path, dfa, method, fields = rows[i]
        route.rule = index_of(rule, f.rules.count, False, "rule", owner)
        route.path_form = word_index(words.PATH_FORMS, path_form, "form of a path", owner)
        route.path = text_add(f, path, "path")
        route.dfa = index_of(
            dfa, f.dfas.count, route.path_form != ROUTE_PATH_REGEX, "regular expression", owner)
        route.method = word_index(methods, method, "method", owner) if method else METHOD_COUNT
        route.fields = fields_add(f, fields, owner)
        f.t.routes[run.first + i] = route
    return run


# ---- fronts, and what leads to them -------------------------------------------------------------

cdef inline int front_fill(
    filling_t* f, uint32_t index, object row, object service_number, tuple methods, object words,
) except -1:
    cdef front_t* front = &f.t.fronts[index]
    cdef str owner = row.service
    cdef run_t names
    cdef uint32_t i
    front.service = service_number(row.service)
    front.backend = index_of(row.backend, f.backends.count, True, "backend", owner)
    front.number = whole(row.number, FLEET_NUMBERS_MAX - 1, "number", owner)
    front.routes = routes_add(f, row.routes, methods, words, owner)
    front.limit = limit_from(row.limit, owner)
    front.peer_limit = limit_from(row.peer_limit, owner)
    front.requests_max = small(row.requests_max, "most requests", owner)
    front.fault = fault_from(row.fault, owner)
    names = shelf_add(&f.names, len(row.names), "host names")
    for i in range(names.count):
        name, port = row.names[i]
        f.t.names[names.first + i].name = text_add_name(f, name, "host name")
        f.t.names[names.first + i].port = whole(port, 65535, "port of a host name", owner)
        f.t.names[names.first + i].front = index
    return 0


cdef inline int names_index(traffic_t* t, uint32_t name_count) except -1:
    cdef uint32_t i
    cdef uint32_t places = lookup_place_count(name_count)
    t.name_index = <uint32_t*>PyMem_RawCalloc(places, sizeof(uint32_t))
    if t.name_index == NULL:
        raise MemoryError
    t.name_mask = places - 1
    for i in range(name_count):
        if not lookup_add_name(t, i):
            name = t.text[t.names[i].name.at:t.names[i].name.at + t.names[i].name.bytes]
            raise ValueError(f"a host name that was given before: {name!r}, port {t.names[i].port}")
    return 0


# Addresses that the flags have given, the first `flag_count`, stay as they are.
cdef inline int addresses_fill(
    snapshot_t* s, object rows, uint32_t flag_count, object service_number, tuple handlings,
) except -1:
    cdef uint32_t at = flag_count
    cdef int32_t index = 0
    for front in rows.fronts:
        handling = word_index(handlings, front.handling, "handling", front.service)
        for host, port in front.addresses:
            at += snapshot_add_address(
                s, at, flag_count, host, port, service_number(front.service), handling, index,
                False)
        index += 1
    for host, port, service, handling, front in rows.directs:
        at += snapshot_add_address(
            s, at, flag_count, host, port, service_number(service),
            word_index(handlings, handling, "handling", service),
            index_of(front, len(rows.fronts), True, "front", service), True)
    return 0


# How many addresses the traffic policy knows, for the table of addresses.
cdef inline object traffic_address_count(object traffic):
    if traffic is None:
        return 0
    rows = traffic[0]
    return len(rows.directs) + sum([len(front.addresses) for front in rows.fronts])


# `traffic`: the rows, and two functions from names of services and of routes to their numbers;
# None: no policy. `flag_count`: addresses that are there already. `methods` and `handlings`: the
# words of _fastpath.pyx.
cdef inline int snapshot_set_traffic(
    snapshot_t* s, object traffic, uint32_t flag_count, tuple methods, tuple handlings,
) except -1:
    cdef filling_t f
    cdef uint32_t i
    from proxy.traffic import rows as words
    if s.traffic != NULL:
        raise ValueError("a snapshot is built once")
    if traffic is None:
        return 0
    rows, service_number, route_number = traffic
    s.traffic = <traffic_t*>PyMem_RawCalloc(1, sizeof(traffic_t))
    if s.traffic == NULL:
        raise MemoryError
    f = filling(s.traffic)
    shelf_add(&f.backends, len(rows.backends), "backends")
    shelf_add(&f.dfas, len(rows.dfas), "regular expressions")
    shelf_add(&f.rules, len(rows.rules), "rules")
    shelf_add(&f.fronts, len(rows.fronts), "fronts")
    for i in range(f.backends.count):
        backend_fill(&f, i, rows.backends[i], service_number, words)
    backends_index(f.t, f.backends.count)
    for i in range(f.dfas.count):
        dfa_fill(&f, i, rows.dfas[i])
    for i in range(f.rules.count):
        rule_fill(&f, i, rows.rules[i], route_number, words)
    for i in range(f.fronts.count):
        front_fill(&f, i, rows.fronts[i], service_number, methods, words)
    f.t.front_count = f.fronts.count
    names_index(f.t, f.names.count)
    return addresses_fill(s, rows, flag_count, service_number, handlings)
