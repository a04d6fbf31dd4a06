# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. What a service says of a request: its route, limits, faults, edits, deadlines. Asked once,
# when its head is here; what is needed later is copied into the exchange.
#
# Rule 1: h1_route() only looks, so that the request can be counted under its route;
#         h1_route_apply() does what was found. Between them the snapshot is the same.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from proxy.fast.addr cimport addr_is_same
from proxy.fast.address cimport addr_t
from proxy.fast.authz cimport authz_target_host, authz_target_path
from proxy.fast.balance cimport balance_hash_addr, balance_hash_bytes
from proxy.fast.budget cimport bucket_take, budget_deposit
from proxy.fast.chars cimport chars_equal
from proxy.fast.choose cimport choose_endpoint, choose_front, choose_original, choose_own_front
from proxy.fast.conn cimport conn_drop_upstream
from proxy.fast.edits cimport EDIT_HOST, EDIT_PATH, edits_add, edits_add_run
from proxy.fast.emit cimport emit_number, emit_text
from proxy.fast.fleet cimport fleet_backend, fleet_rule
from proxy.fast.h1_end cimport h1_reply_with
from proxy.fast.limits cimport H1_LINE_BYTES_MAX, HOST_BYTES_MAX, MIRRORS_MAX
from proxy.fast.lookup cimport traffic_backend, traffic_front_of_host
from proxy.fast.path cimport PATH_OK, path_normalize
from proxy.fast.peer cimport conn_peer, peer_bucket_of
from proxy.fast.pick cimport pick_end
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    BALANCE_MAGLEV, BALANCE_RING, BODY_NONE, FLAG_DI, FLAG_FI, FLAG_NONE, FLAG_NR, FLAG_OM,
    FLAG_RL, FLAG_UH, FLAG_UO, HASH_HEADER, HASH_QUERY, HEADER_TIMEOUT, METHOD_CONNECT,
    OUTCOME_NONE, REASON_OPEN, REWRITE_NONE, REWRITE_PREFIX, ROUTE_PATH_EXACT, ROUTE_PATH_PREFIX,
    ROUTE_UNKNOWN, SCHEME_HTTPS, SERVICE_UNKNOWN, TRAFFIC_FAULT_ABORT, TRAFFIC_FAULT_DELAY,
    TRAFFIC_OVERFLOW_REQUESTS, TRAFFIC_RATE_LIMITED, TRAFFIC_SHED,
)
from proxy.fast.route cimport asked_route_t, route_match, route_share
from proxy.fast.rules cimport word_t
from proxy.fast.states cimport backend_state_t, bucket_t, rule_state_t
from proxy.fast.stats cimport count
from proxy.fast.traffic cimport (
    backend_t, fault_t, front_t, mirror_t, rewrite_t, route_t, rule_t, share_t, traffic_t,
)
from proxy.fast.types cimport (
    REQUEST_DONE, conn_t, exchange_t, h1_field_t, h1_head_t, peer_t, worker_t,
)

cdef enum:
    HTTP_PORT = 80              # of a Host without a port

cdef struct routed_t:           # what h1_route() found: borrowed from the snapshot, for one call
    const front_t* front        # NULL: no service that we know
    const route_t* route        # NULL: it has no routes
    const rule_t* rule          # likewise
    const share_t* share        # likewise
    const backend_t* backend    # NULL: nobody
    uint64_t hash               # of what sticks to one of its endpoints; h1_choose() sets it
    uint8_t is_own              # it comes in, for our own pod
    uint16_t status             # of the answer, when nobody gets it; else 0
    asked_route_t asked


# The words of a request that routes look at. A path that can be read in several ways is looked at
# as it came.
cdef inline void h1_route_ask(
    worker_t* w, h1_head_t* head, const char* source, asked_route_t* asked,
) noexcept nogil:
    cdef word_t path = authz_target_path(head, source)
    cdef uint32_t end = head.target + head.target_bytes
    cdef uint32_t query = <uint32_t>(path.at - source) + path.bytes
    asked.head = head
    asked.text = source
    asked.path = path.at
    asked.path_bytes = path.bytes
    if path.bytes == 0 and head.method != METHOD_CONNECT:
        asked.path = b"/"
        asked.path_bytes = 1
    elif path.bytes and path_normalize(path.at, path.bytes, w.path, &w.path_bytes) == PATH_OK:
        asked.path = w.path
        asked.path_bytes = w.path_bytes
    asked.query = source + query
    asked.query_bytes = 0
    if query < end:                         # behind the question mark
        asked.query += 1
        asked.query_bytes = end - query - 1


# The service that a request's Host, or its target, names; NULL: none.
cdef inline const front_t* h1_front_of_host(
    const worker_t* w, const h1_head_t* head, const char* source,
) noexcept nogil:
    cdef word_t host = authz_target_host(head, source)
    return traffic_front_of_host(w.snapshot.traffic, host.at, host.bytes, HTTP_PORT)


# Whose request is this, and who is to get it? Nothing changes, nothing is answered.
cdef inline void h1_route(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, routed_t* to,
) noexcept nogil:
    cdef const traffic_t* t = w.snapshot.traffic
    cdef int32_t at
    memset(to, 0, sizeof(routed_t))
    if t == NULL:
        return
    if c.is_mirror:
        to.backend = traffic_backend(t, c.mirror_backend)
        to.status = 0 if to.backend != NULL else 500
        c.service = to.backend.service if to.backend != NULL else SERVICE_UNKNOWN
        return
    if c.is_by_host:
        to.front = h1_front_of_host(w, head, source)
        c.service = to.front.service if to.front != NULL else SERVICE_UNKNOWN
        if to.front == NULL:
            return
    else:
        to.front = choose_front(w, c)
    if to.front == NULL:
        to.front = choose_own_front(w, c)
        to.is_own = to.front != NULL
        return
    at = to.front.backend
    if to.front.routes.count:
        h1_route_ask(w, head, source, &to.asked)
        at = route_match(t, to.front, &to.asked)
        if at < 0:
            to.status = 404
            return
        to.route = &t.routes[at]
        to.rule = &t.rules[to.route.rule]
        if to.rule.rewrite.status:
            return
        at = route_share(t, to.rule, &w.fleet)
        if at >= 0:
            to.share = &t.shares[at]
            at = to.share.backend
    if at < 0:
        to.status = 500
    else:
        to.backend = &t.backends[at]


# The endpoint of the first try, so that the request can be counted under what carries it. One that
# was dialled at accept will do, if it is of the same backend.
cdef inline void h1_choose(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source, routed_t* to,
) noexcept nogil:
    cdef addr_t dialled = c.upstream
    cdef bint is_sticky
    if to.backend == NULL:
        if to.front == NULL:
            choose_original(w, c)
        elif not to.is_own:
            c.is_mesh = 0                   # we answer ourselves
        return
    to.hash = h1_hash(w, c, head, source, to)
    is_sticky = to.backend.balance in (BALANCE_RING, BALANCE_MAGLEV)
    if c.pick.is_made and c.pick.backend == to.backend.number and c.up != NULL and not is_sticky:
        return
    pick_end(w, c, OUTCOME_NONE, 0)
    if choose_endpoint(w, c, to.backend, to.hash) != REASON_OPEN:
        to.status = 503
    if c.up != NULL and (to.status or not addr_is_same(&dialled, &c.upstream)):
        conn_drop_upstream(w, c, False)


cdef inline uint32_t h1_route_number(const routed_t* to) noexcept nogil:
    return to.rule.route if to.rule != NULL else ROUTE_UNKNOWN


# Answer a request in the upstream's place. Returns the bytes used, when the next one can follow; -1
# when the connection ends with it.
cdef inline int64_t h1_refuse(
    worker_t* w, conn_t* c, const h1_head_t* head, uint16_t status, uint8_t flag,
    const char* reason, const char* fields, uint32_t fields_bytes,
) noexcept nogil:
    if head.body == BODY_NONE and head.method != METHOD_CONNECT:
        c.exchange.request_state = REQUEST_DONE     # nothing of it is left to be skipped
    h1_reply_with(w, c, status, flag, reason, fields, fields_bytes)
    return head.head_bytes if c.exchange == NULL and head.body == BODY_NONE else -1


# ---- limits and faults --------------------------------------------------------------------------

cdef inline bint h1_is_drawn(worker_t* w, uint32_t per_million) noexcept nogil:
    return per_million and random_next(w.random) % 1000000 < per_million


# 429, and when it is worth to come again (RFC 6585 section 4).
cdef inline int64_t h1_refuse_rate(
    worker_t* w, conn_t* c, const h1_head_t* head, backend_state_t* state, uint64_t wait_ms,
) noexcept nogil:
    cdef char field[48]
    cdef uint32_t at = emit_text(field, 0, b"retry-after: ", 13)
    at = emit_number(field, at, (wait_ms + 999) // 1000 if wait_ms else 1)
    at = emit_text(field, at, b"\r\n", 2)
    if state != NULL:
        count(&state.counts[TRAFFIC_RATE_LIMITED])
    return h1_refuse(w, c, head, 429, FLAG_RL, b"rate_limited", field, at)


# What comes in to our own pod: how many at once, how many a second, in all and of each peer.
# Returns 0 when it may go on, else as h1_refuse().
cdef inline int64_t h1_limit_own(
    worker_t* w, conn_t* c, const h1_head_t* head, const front_t* front,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef backend_state_t* state = fleet_backend(&w.fleet, front.number)
    cdef peer_t* peer = <peer_t*>conn_peer(c)
    cdef bucket_t* bucket = NULL
    cdef uint64_t wait_ms = 0
    if state == NULL:
        return 0
    if front.requests_max and state.inbound_in_flight >= front.requests_max:
        count(&state.counts[TRAFFIC_SHED])
        return h1_refuse(w, c, head, 503, FLAG_OM, b"overloaded", NULL, 0)
    if peer != NULL and front.peer_limit.rate_per_ks:
        bucket = peer_bucket_of(w, peer)
    if bucket != NULL and not bucket_take(
            bucket, front.peer_limit.rate_per_ks, front.peer_limit.burst, w.now_us, &wait_ms):
        return h1_refuse_rate(w, c, head, state, wait_ms)
    if front.limit.rate_per_ks and not bucket_take(
            &state.limit, front.limit.rate_per_ks, front.limit.burst, w.now_us, &wait_ms):
        return h1_refuse_rate(w, c, head, state, wait_ms)
    x.backend = front.number
    x.has_backend = 1
    x.is_inbound = 1
    state.inbound_in_flight += 1
    return 0


# Faults that users asked for, and the limit of a route. What is refused is not delayed. Returns 0
# when it may go on.
cdef inline int64_t h1_limit_route(
    worker_t* w, conn_t* c, const h1_head_t* head, const routed_t* to, backend_state_t* state,
) noexcept nogil:
    cdef const fault_t* fault = &to.rule.fault if to.rule != NULL else &to.front.fault
    cdef rule_state_t* rule
    cdef uint64_t wait_ms = 0
    if h1_is_drawn(w, fault.abort_per_million):
        if state != NULL:
            count(&state.counts[TRAFFIC_FAULT_ABORT])
        return h1_refuse(w, c, head, fault.abort_status, FLAG_FI, b"fault_injected", NULL, 0)
    if to.rule != NULL and to.rule.limit.rate_per_ks:
        rule = fleet_rule(&w.fleet, to.rule.number)
        if rule != NULL and not bucket_take(&rule.limit, to.rule.limit.rate_per_ks,
                                            to.rule.limit.burst, w.now_us, &wait_ms):
            return h1_refuse_rate(w, c, head, state, wait_ms)
    if h1_is_drawn(w, fault.delay_per_million):
        c.exchange.wake_ms = w.now_ms + fault.delay_ms
        c.exchange.flag = FLAG_DI
        if state != NULL:
            count(&state.counts[TRAFFIC_FAULT_DELAY])
    return 0


# ---- rewriting ----------------------------------------------------------------------------------

# The new path of a rewrite or redirect, with its query, into `out`, which has H1_LINE_BYTES_MAX.
# Returns its length; 0: it would be too long.
cdef inline uint32_t h1_new_path(
    const traffic_t* t, const routed_t* to, const rewrite_t* rewrite, char* out,
) noexcept nogil:
    cdef const asked_route_t* asked = &to.asked
    cdef const char* path = t.text + rewrite.path.at
    cdef uint32_t bytes = rewrite.path.bytes
    cdef uint32_t skip = 0
    cdef uint32_t at
    if rewrite.path_kind == REWRITE_NONE:
        path = asked.path
        bytes = asked.path_bytes
    elif rewrite.path_kind == REWRITE_PREFIX:
        while bytes and path[bytes - 1] == c'/':
            bytes -= 1
        if to.route.path_form in (ROUTE_PATH_PREFIX, ROUTE_PATH_EXACT):
            skip = to.route.path.bytes
            while skip and t.text[to.route.path.at + skip - 1] == c'/':
                skip -= 1
    if bytes + asked.path_bytes + asked.query_bytes + 2 > H1_LINE_BYTES_MAX - 32:
        return 0
    at = emit_text(out, 0, path, bytes)
    if rewrite.path_kind == REWRITE_PREFIX:
        at = emit_text(out, at, asked.path + skip, asked.path_bytes - skip)
    if at == 0:
        at = emit_text(out, at, b"/", 1)
    if asked.query_bytes:
        at = emit_text(out, at, b"?", 1)
        at = emit_text(out, at, asked.query, asked.query_bytes)
    return at


# Write Host as the request names it.
cdef inline uint32_t h1_put_host(
    const h1_head_t* head, const char* source, char* out, uint32_t at, bint without_port,
) noexcept nogil:
    cdef word_t host = authz_target_host(head, source)
    cdef uint32_t end = host.bytes
    if host.bytes > HOST_BYTES_MAX:         # names nobody
        return at
    while without_port and end and c'0' <= host.at[end - 1] <= c'9':
        end -= 1
    if without_port and end and host.at[end - 1] == c':':
        host.bytes = end - 1
    return emit_text(out, at, host.at, host.bytes)


# RFC 9110 section 15.4. Records land in w.cipher only while they are read: now it is free.
cdef inline int64_t h1_redirect(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source, const routed_t* to,
) noexcept nogil:
    cdef const traffic_t* t = w.snapshot.traffic
    cdef const rewrite_t* rewrite = &to.rule.rewrite
    cdef char* fields = w.cipher
    cdef uint32_t at = emit_text(fields, 0, b"location: ", 10)
    cdef uint32_t path_bytes
    cdef uint16_t port = rewrite.port
    if rewrite.scheme == SCHEME_HTTPS:
        at = emit_text(fields, at, b"https://", 8)
    else:
        at = emit_text(fields, at, b"http://", 7)
    if rewrite.host.bytes:
        at = emit_text(fields, at, t.text + rewrite.host.at, rewrite.host.bytes)
        if not port and not rewrite.scheme:
            port = c.original_dst.port      # that of the service, as it was asked
    else:
        at = h1_put_host(head, source, fields, at, rewrite.port or rewrite.scheme)
    if port and port != (443 if rewrite.scheme == SCHEME_HTTPS else 80):
        at = emit_text(fields, at, b":", 1)
        at = emit_number(fields, at, port)
    path_bytes = h1_new_path(t, to, rewrite, fields + at)
    if path_bytes == 0:
        return h1_refuse(w, c, head, 414, FLAG_NR, b"rewrite_too_long", NULL, 0)
    at = emit_text(fields, at + path_bytes, b"\r\n", 2)
    return h1_refuse(w, c, head, rewrite.status, FLAG_NONE, NULL, fields, at)


# Keep what the route changes in heads. 0: goes on.
cdef inline int64_t h1_keep_edits(
    worker_t* w, conn_t* c, const h1_head_t* head, const routed_t* to,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef const traffic_t* t = w.snapshot.traffic
    cdef const rewrite_t* rewrite = &to.rule.rewrite
    cdef uint32_t bytes
    cdef bint is_kept = (
        edits_add_run(&w.bufs, &x.edits, t, &to.rule.request_edits, False)
        and edits_add_run(&w.bufs, &x.edits, t, &to.share.request_edits, False)
        and edits_add_run(&w.bufs, &x.edits, t, &to.rule.response_edits, True)
        and edits_add_run(&w.bufs, &x.edits, t, &to.share.response_edits, True))
    # `*` is no path, and CONNECT names no other than whom to reach (RFC 9112 section 3.2).
    cdef bint has_path = to.asked.path_bytes and to.asked.path[0] == c'/'
    if is_kept and rewrite.host.bytes and head.method != METHOD_CONNECT:
        is_kept = edits_add(&w.bufs, &x.edits, EDIT_HOST, False, b"", 0,
                            t.text + rewrite.host.at, rewrite.host.bytes)
    if is_kept and rewrite.path_kind != REWRITE_NONE and has_path:
        bytes = h1_new_path(t, to, rewrite, w.cipher)
        if bytes == 0:
            return h1_refuse(w, c, head, 414, FLAG_NR, b"rewrite_too_long", NULL, 0)
        is_kept = edits_add(
            &w.bufs, &x.edits, EDIT_PATH, False, b"", 0, w.cipher, bytes)
    if not is_kept:
        return h1_refuse(w, c, head, 503, FLAG_OM, b"no_resources", NULL, 0)
    return 0


# ---- what the exchange keeps --------------------------------------------------------------------

# The deadline that the downstream names, when it is nearer than ours.
cdef inline void h1_obey_deadline(
    worker_t* w, exchange_t* x, const h1_head_t* head, const char* source,
) noexcept nogil:
    cdef const h1_field_t* field
    cdef uint64_t ms = 0
    cdef uint32_t i
    if head.first[HEADER_TIMEOUT] < 0:
        return
    field = &head.fields[head.first[HEADER_TIMEOUT]]
    if field.value_bytes == 0 or field.value_bytes > 9:
        return
    for i in range(field.value_bytes):
        if not c'0' <= source[field.value + i] <= c'9':
            return
        ms = ms * 10 + <uint64_t>(source[field.value + i] - c'0')
    ms += x.started_us // 1000
    if x.deadline_ms == 0 or ms < x.deadline_ms:
        x.deadline_ms = ms


cdef inline uint64_t h1_hash(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source, const routed_t* to,
) noexcept nogil:
    cdef const backend_t* b = to.backend
    cdef const char* name = w.snapshot.traffic.text + b.hash_name.at
    cdef const h1_field_t* field
    cdef word_t value
    cdef uint32_t i
    if b.hash_by == HASH_HEADER:
        for i in range(head.field_count):
            field = &head.fields[i]
            if chars_equal(source + field.name, field.name_bytes, name, b.hash_name.bytes):
                return balance_hash_bytes(source + field.value, field.value_bytes)
    elif b.hash_by == HASH_QUERY:
        value = h1_query_value(source, head, name, b.hash_name.bytes)
        if value.bytes:
            return balance_hash_bytes(value.at, value.bytes)
    return balance_hash_addr(&c.downstream)


# The first value of a query parameter, as it came; empty when there is none.
cdef inline word_t h1_query_value(
    const char* source, const h1_head_t* head, const char* name, uint32_t name_bytes,
) noexcept nogil:
    cdef word_t path = authz_target_path(head, source)
    cdef uint32_t at = <uint32_t>(path.at - source) + path.bytes + 1
    cdef uint32_t end = head.target + head.target_bytes
    cdef uint32_t stop
    cdef word_t value
    value.at = b""
    value.bytes = 0
    while at < end:
        stop = at
        while stop < end and source[stop] != c'&':
            stop += 1
        if stop - at > name_bytes and source[at + name_bytes] == c'=' and chars_equal(
                source + at, name_bytes, name, name_bytes):
            value.at = source + at + name_bytes + 1
            value.bytes = stop - at - name_bytes - 1
            return value
        at = stop + 1
    return value


# Requests in flight, deadlines, retries: the backend's, or the route's own.
cdef inline int64_t h1_begin_backend(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source, const routed_t* to,
    backend_state_t* state,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef const backend_t* b = to.backend
    cdef const rule_t* rule = to.rule
    cdef uint64_t request_ms = rule.request_ms if rule != NULL and rule.request_ms else b.request_ms
    if state == NULL:
        return h1_refuse(w, c, head, 503, FLAG_OM, b"no_resources", NULL, 0)
    if b.requests_max and state.in_flight >= b.requests_max:
        count(&state.counts[TRAFFIC_OVERFLOW_REQUESTS])
        return h1_refuse(w, c, head, 503, FLAG_UO, b"too_many_requests", NULL, 0)
    x.backend = b.number
    x.has_backend = 1
    state.in_flight += 1
    state.speaks_http = 1
    budget_deposit(b, state, w.now_us)
    if request_ms and (
            x.deadline_ms == 0 or x.started_us // 1000 + request_ms < x.deadline_ms):
        x.deadline_ms = x.started_us // 1000 + request_ms
    x.try_ms = rule.try_ms if rule != NULL and rule.try_ms else b.try_ms
    x.retry = rule.retry if rule != NULL and rule.retry.is_said else b.retry
    x.hash = to.hash
    return 0


# Who gets a copy? Numbers, because the answer may find another snapshot.
cdef inline void h1_draw_mirrors(
    worker_t* w, exchange_t* x, const rule_t* rule,
) noexcept nogil:
    cdef const traffic_t* t = w.snapshot.traffic
    cdef const mirror_t* mirror
    cdef uint32_t i
    for i in range(rule.mirrors.first, rule.mirrors.first + rule.mirrors.count):
        mirror = &t.mirrors[i]
        if x.mirror_count < MIRRORS_MAX and mirror.backend >= 0 and (
                h1_is_drawn(w, mirror.per_million)):
            x.mirrors[x.mirror_count] = t.backends[mirror.backend].number
            x.mirror_count += 1


# Do what h1_route() found. Returns 0 when the request goes on, else as h1_refuse().
cdef inline int64_t h1_route_apply(
    worker_t* w, conn_t* c, const h1_head_t* head, const char* source, const routed_t* to,
) noexcept nogil:
    cdef exchange_t* x = c.exchange
    cdef backend_state_t* state
    cdef int64_t n
    h1_obey_deadline(w, x, head, source)
    if c.is_mirror and to.backend != NULL and not to.status:
        return h1_begin_backend(
            w, c, head, source, to, fleet_backend(&w.fleet, to.backend.number))
    if c.is_mirror:
        return h1_refuse(w, c, head, 500, FLAG_NR, b"no_backend", NULL, 0)
    if to.front == NULL and c.is_by_host:
        return h1_refuse(w, c, head, 404, FLAG_NR, b"unknown_host", NULL, 0)
    if to.front == NULL:
        return 0
    if to.is_own:
        return h1_limit_own(w, c, head, to.front)
    if to.status == 404:
        return h1_refuse(w, c, head, 404, FLAG_NR, b"no_route", NULL, 0)
    state = fleet_backend(
        &w.fleet, to.backend.number if to.backend != NULL else to.front.number)
    if to.status == 503:
        return h1_refuse(w, c, head, 503, FLAG_UH, b"no_endpoint", NULL, 0)
    n = h1_limit_route(w, c, head, to, state)
    if n == 0 and to.rule != NULL and to.rule.rewrite.status:
        return h1_redirect(w, c, head, source, to)
    if n == 0 and to.status:
        return h1_refuse(w, c, head, to.status, FLAG_NR, b"no_backend", NULL, 0)
    if n == 0 and to.share != NULL:
        n = h1_keep_edits(w, c, head, to)
    if n == 0:
        n = h1_begin_backend(w, c, head, source, to, state)
    if n == 0 and to.rule != NULL:
        h1_draw_mirrors(w, c.exchange, to.rule)
    return n
