# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L5. Authorization of what comes in: asked of policy.pxd, counted, told, enforced.
#
# Rule 1: whoever may carry bytes to the application asks first: a connection before its first byte
#         is passed on, a request before an upstream is looked for. Without policies that is one
#         look at a pointer.
# Rule 2: everything is counted, by policy; denials are told one by one only as fast as people read
#         (DENIALS_PER_S_MAX), and Python is never waited for.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from proxy.fast.address cimport addr_t
from proxy.fast.conn cimport conn_close
from proxy.fast.limits cimport (
    DENIALS_PER_S_MAX, DENIAL_PEER_BYTES_MAX, LOG_HOST_BYTES_MAX, LOG_METHOD_BYTES_MAX,
    LOG_TARGET_BYTES_MAX, POLICY_SLOTS,
)
from proxy.fast.lookup cimport lookup_tls_mode
from proxy.fast.path cimport PATH_OK, path_normalize
from proxy.fast.peer cimport conn_peer
from proxy.fast.policy cimport (
    ASK_CONNECTION, ASK_REQUEST, ASK_TUNNEL, asked_t, policy_is_probe, policy_judge, verdict_t,
)
from proxy.fast.reasons cimport (
    EVENT_POLICY_CLOSED, HEADER_HOST, METHOD_CONNECT, METHOD_GET, METHOD_HEAD, PROTOCOL_HTTP1,
    REASON_DENIED, REASON_OK, REASON_OPEN, REASON_PLAINTEXT_REFUSED, SPEAKER_NONE,
    UNIT_CONNECTION, UNIT_REQUEST, VERDICT_ALLOWED, VERDICT_AUDITED, VERDICT_DENIED,
    VERDICT_DRY_RUN,
)
from proxy.fast.request_log cimport h1_keep
from proxy.fast.ring cimport ring_post, ring_reserve
from proxy.fast.rules cimport policies_t, word_t
from proxy.fast.slab cimport slab_at, slab_slot_count
from proxy.fast.snapshot cimport TLS_STRICT
from proxy.fast.stats cimport count
from proxy.fast.types cimport (
    DOWNSTREAM, MODE_RELAY, MODE_TLS, conn_t, h1_field_t, h1_head_t, worker_t,
)

cdef struct denial_t:           # what a policy had to say, as Python gets to see it
    uint64_t connection_id
    uint64_t untold             # denials that came too fast to be told before this one
    addr_t   downstream
    addr_t   destination
    uint16_t peer_bytes         # lengths of what was kept; longer words are cut
    uint16_t method_bytes
    uint16_t host_bytes
    uint16_t target_bytes
    uint8_t  worker
    uint8_t  direction
    uint8_t  unit               # UNIT_*
    uint8_t  verdict            # VERDICT_*
    uint8_t  slot
    char     peer[DENIAL_PEER_BYTES_MAX]
    char     method[LOG_METHOD_BYTES_MAX]
    char     host[LOG_HOST_BYTES_MAX]
    char     target[LOG_TARGET_BYTES_MAX]

cdef enum:
    AUTHZ_OK = 0
    AUTHZ_PLAINTEXT = 1         # no probe, and only TLS may bring anything else
    AUTHZ_DENIED = 403
    AUTHZ_AMBIGUOUS = 400       # its path has no form that everybody reads alike


# What is known of a connection; the words of a request are empty.
cdef inline void authz_ask(const conn_t* c, asked_t* asked, uint8_t how) noexcept nogil:
    asked.how = how
    asked.peer = conn_peer(c)
    asked.source = &c.downstream
    asked.destination = &c.original_dst
    asked.method.at = b""
    asked.method.bytes = 0
    asked.host = asked.method
    asked.path = asked.method
    asked.sni = asked.method
    if c.sni != NULL:
        asked.sni.at = c.sni.name
        asked.sni.bytes = c.sni.length
    asked.head = NULL
    asked.text = NULL


# The part of the target that policies call the path: without the query. Empty for CONNECT.
cdef inline word_t authz_target_path(const h1_head_t* head, const char* source) noexcept nogil:
    cdef uint32_t end = head.target + head.target_bytes
    cdef uint32_t at = head.target
    cdef uint32_t i
    cdef word_t path
    if head.authority_bytes:
        at = head.authority + head.authority_bytes
    if head.method == METHOD_CONNECT:
        at = end
    i = at
    while i < end and source[i] != c'?':
        i += 1
    path.at = source + at
    path.bytes = i - at
    return path


# The host that a request is for: its target's (RFC 9112 section 3.2.2), else Host; empty for none.
cdef inline word_t authz_target_host(const h1_head_t* head, const char* source) noexcept nogil:
    cdef const h1_field_t* field
    cdef word_t host
    host.at = b""
    host.bytes = 0
    if head.authority_bytes:
        host.at = source + head.authority
        host.bytes = head.authority_bytes
    elif head.first[HEADER_HOST] >= 0:
        field = &head.fields[head.first[HEADER_HOST]]
        host.at = source + field.value
        host.bytes = field.value_bytes
    return host


# What a request says. PATH_OK, or PATH_REFUSED when its path can be read in several ways; then it
# stands as it came. A path that has another form than it came in is marked to be replaced.
cdef inline int authz_ask_request(
    worker_t* w, asked_t* asked, h1_head_t* head, const char* source,
) noexcept nogil:
    cdef int status
    asked.head = head
    asked.text = source
    asked.method.at = source
    asked.method.bytes = head.method_bytes
    asked.host = authz_target_host(head, source)
    asked.path = authz_target_path(head, source)
    if asked.path.bytes == 0 and head.authority_bytes:      # http://host: the root
        asked.path.at = b"/"
        asked.path.bytes = 1
        return PATH_OK
    if asked.path.bytes == 0 or asked.path.at[0] != c'/':   # CONNECT, OPTIONS *
        return PATH_OK
    head.path = <uint32_t>(asked.path.at - source)
    head.path_bytes = asked.path.bytes
    status = path_normalize(asked.path.at, asked.path.bytes, w.path, &w.path_bytes)
    if status == PATH_OK:
        asked.path.at = w.path
        asked.path.bytes = w.path_bytes
    return status


# May one more denial be told in this second? If not, the next one tells of it.
cdef inline denial_t* authz_new_denial(worker_t* w) noexcept nogil:
    cdef denial_t* denial = NULL
    if w.now_ms - w.denials_ms >= 1000:
        w.denials_ms = w.now_ms
        w.denials_told = 0
    if w.denials_told < DENIALS_PER_S_MAX:
        denial = <denial_t*>ring_reserve(&w.denials)
    if denial == NULL:
        w.denials_untold += 1
        return NULL
    w.denials_told += 1
    denial.untold = w.denials_untold
    w.denials_untold = 0
    return denial


# Count what a policy said, and tell Python.
cdef inline void authz_tell(
    worker_t* w, const conn_t* c, const asked_t* asked, uint8_t slot, uint8_t verdict,
) noexcept nogil:
    cdef uint8_t unit = UNIT_REQUEST if asked.how == ASK_REQUEST else UNIT_CONNECTION
    cdef denial_t* denial
    count(&w.policy_counts[slot][verdict][unit])
    if verdict == VERDICT_ALLOWED:
        return
    denial = authz_new_denial(w)
    if denial == NULL:
        return
    denial.connection_id = c.id
    denial.downstream = c.downstream
    denial.destination = c.original_dst
    denial.worker = <uint8_t>w.index
    denial.direction = c.direction
    denial.unit = unit
    denial.verdict = verdict
    denial.slot = slot
    denial.peer_bytes = 0
    if asked.peer != NULL:
        denial.peer_bytes = h1_keep(
            denial.peer, DENIAL_PEER_BYTES_MAX, asked.peer.id, asked.peer.id_bytes)
    denial.target_bytes = 0
    if asked.head != NULL:
        denial.target_bytes = h1_keep(denial.target, LOG_TARGET_BYTES_MAX,
                                      asked.text + asked.head.target, asked.head.target_bytes)
    denial.method_bytes = h1_keep(
        denial.method, LOG_METHOD_BYTES_MAX, asked.method.at, asked.method.bytes)
    denial.host_bytes = h1_keep(denial.host, LOG_HOST_BYTES_MAX, asked.host.at, asked.host.bytes)
    ring_post(&w.denials)
    w.must_wake_python = 1


# Judge, count and tell. May it come in?
cdef inline bint authz_is_allowed(
    worker_t* w, const conn_t* c, const asked_t* asked,
) noexcept nogil:
    cdef verdict_t verdict
    cdef uint8_t slot
    policy_judge(w.snapshot.policies, asked, &verdict)
    if verdict.audited:
        for slot in range(POLICY_SLOTS):
            if (verdict.audited >> slot) & 1:
                authz_tell(w, c, asked, slot, VERDICT_AUDITED)
    if verdict.has_dry_denied:
        authz_tell(w, c, asked, verdict.dry_slot, VERDICT_DRY_RUN)
    authz_tell(w, c, asked, verdict.slot, VERDICT_DENIED if verdict.is_denied else VERDICT_ALLOWED)
    return not verdict.is_denied


# Would a connection whose downstream said nothing and left be denied? That is what a probe of the
# port looks like: it is closed in peace, and nobody is told.
cdef inline bint authz_is_knock(
    worker_t* w, const conn_t* c, const asked_t* asked,
) noexcept nogil:
    cdef verdict_t verdict
    if c.speaker != SPEAKER_NONE or not c.flows[DOWNSTREAM].has_eof:
        return False
    policy_judge(w.snapshot.policies, asked, &verdict)
    return verdict.is_denied


# May this connection be relayed? If not, it is closed. Call it once, when it is known who the
# downstream is and that nobody will look for requests in it.
cdef inline bint authz_connection(worker_t* w, conn_t* c) noexcept nogil:
    cdef asked_t asked
    if w.snapshot.policies == NULL or not c.is_judged:
        return True
    authz_ask(c, &asked, ASK_CONNECTION)
    if authz_is_knock(w, c, &asked):
        conn_close(w, c, REASON_OK)
        return False
    if authz_is_allowed(w, c, &asked):
        return True
    conn_close(w, c, REASON_DENIED)
    return False


# Does the kubelet ask for what the pod's own definition says it will? Nobody proves anything with
# that request, and a policy that would stop it would stop the pod.
cdef inline bint authz_is_probe(const worker_t* w, const asked_t* asked) noexcept nogil:
    if asked.peer != NULL or asked.head.has_upgrade or (
            asked.head.method != METHOD_GET and asked.head.method != METHOD_HEAD):
        return False
    return policy_is_probe(
        w.snapshot, asked.destination.port, asked.path.at, asked.path.bytes)


# Is there anything to be asked of the requests of this connection?
cdef inline bint authz_is_due(const worker_t* w, const conn_t* c) noexcept nogil:
    return c.is_judged and (w.snapshot.policies != NULL or c.is_probe_only)


# May this request come in? AUTHZ_OK, or why not. Ask authz_is_due() first. `is_new`: it is looked
# at for the first time; later only its path is made ready again.
cdef inline int authz_request(
    worker_t* w, conn_t* c, h1_head_t* head, const char* source, bint is_new,
) noexcept nogil:
    cdef const policies_t* policies = w.snapshot.policies
    cdef asked_t asked
    cdef bint is_plain
    authz_ask(c, &asked, ASK_REQUEST)
    is_plain = authz_ask_request(w, &asked, head, source) == PATH_OK
    if c.is_probe_only:
        if not is_plain or not authz_is_probe(w, &asked):
            return AUTHZ_PLAINTEXT
        head.has_new_path = asked.path.at == w.path
        return AUTHZ_OK
    if policies.has_paths:
        if not is_plain:
            return AUTHZ_AMBIGUOUS
        head.has_new_path = asked.path.at == w.path
    if not is_new or is_plain and authz_is_probe(w, &asked):
        return AUTHZ_OK
    return AUTHZ_OK if authz_is_allowed(w, c, &asked) else AUTHZ_DENIED


# Close what is relayed and would not be let in any more. A tunnel is closed when no request could
# have opened it; requests are asked about one by one anyway.
cdef inline void authz_judge_relayed(worker_t* w, conn_t* c) noexcept nogil:
    cdef asked_t asked
    cdef verdict_t verdict
    if w.snapshot.policies == NULL or c.mode != MODE_RELAY:
        return
    authz_ask(c, &asked, ASK_TUNNEL if c.protocol == PROTOCOL_HTTP1 else ASK_CONNECTION)
    policy_judge(w.snapshot.policies, &asked, &verdict)
    if verdict.is_denied:
        authz_tell(w, c, &asked, verdict.slot, VERDICT_DENIED)
        count(&w.stats.events[EVENT_POLICY_CLOSED])
        conn_close(w, c, REASON_DENIED)


# Close plaintext on a port that takes none any more; who has said nothing yet waits for it in
# MODE_TLS, and is asked for TLS anyway.
cdef inline void authz_judge_plaintext(worker_t* w, conn_t* c) noexcept nogil:
    if c.down.tls != NULL or c.mode == MODE_TLS:
        return
    if lookup_tls_mode(w.snapshot, c.original_dst.port) == TLS_STRICT and not c.is_probe_only:
        conn_close(w, c, REASON_PLAINTEXT_REFUSED)


# Policies or modes changed: everything that came in is looked at again.
cdef inline void authz_judge_again(worker_t* w) noexcept nogil:
    cdef uint32_t slot
    cdef conn_t* c
    w.policy_generation = w.snapshot.policy_generation
    for slot in range(slab_slot_count(&w.conns)):
        c = <conn_t*>slab_at(&w.conns, slot)
        if not c.head.is_live or c.close_reason != REASON_OPEN or not c.is_judged:
            continue
        authz_judge_plaintext(w, c)
        if c.close_reason == REASON_OPEN:
            authz_judge_relayed(w, c)
