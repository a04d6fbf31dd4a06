# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Authorization: may this connection, or this request, come in? Policies in, verdict out.
#
# Rule 1: the order of Istio: a DENY policy that matches denies; else, where there is an ALLOW
#         policy, one must match. AUDIT and dry-run policies never change the verdict.
# Rule 2: where a connection has no requests, an ALLOW rule that looks at one is dropped, of a DENY
#         rule only that field is: both on the safe side. Where its request is not known any more (a
#         tunnel), it is the other way round: only what no request could have changed denies.
# Rule 3: every value is looked at once at most, for headers once a field; limits.pxd bounds them.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from proxy.fast.address cimport addr_t
from proxy.fast.chars cimport chars_equal
from proxy.fast.peer cimport peer_account, peer_namespace, peer_principal, peer_trust_domain
from proxy.fast.reasons cimport (
    ACTION_ALLOW, ACTION_AUDIT, ACTION_DENY, FIELD_ACCOUNT, FIELD_DESTINATION_IP, FIELD_HEADER,
    FIELD_HOST, FIELD_METHOD, FIELD_NAMESPACE, FIELD_PATH, FIELD_PORT, FIELD_PRINCIPAL, FIELD_SNI,
    FIELD_SOURCE_IP, FIELD_TRUST_DOMAIN, FORM_BLOCK4, FORM_BLOCK6, FORM_EXACT, FORM_PREFIX,
    FORM_PRESENT, FORM_SUFFIX, FORM_TEMPLATE, SLOT_NONE,
)
from proxy.fast.rules cimport (
    group_t, match_t, policies_t, policy_t, probe_t, rule_t, value_t, word_t,
)
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.types cimport h1_field_t, h1_head_t, peer_t

cdef enum:                      # asked_t.how
    ASK_REQUEST = 0
    ASK_CONNECTION = 1
    ASK_TUNNEL = 2              # what was its request is not known any more

cdef struct asked_t:            # what is to be judged; all of it borrowed
    const peer_t* peer          # NULL: nobody proved anything
    const addr_t* source
    const addr_t* destination   # of the connection, with the workload's port
    word_t   sni
    word_t   method             # from here on: of a request
    word_t   host
    word_t   path               # in its one form (path.pxd)
    const h1_head_t* head
    const char* text            # what the head's offsets count from
    uint8_t  how                # ASK_*

cdef struct verdict_t:
    uint64_t audited            # bit s: the AUDIT policy of slot s matched
    uint8_t  is_denied
    uint8_t  slot               # of the policy that decided, or SLOT_NONE
    uint8_t  has_dry_denied     # a dry-run policy would have denied what is allowed
    uint8_t  dry_slot           # that policy's

cdef enum:
    TEMPLATE_SEGMENT = 1        # {*}: one segment that is not empty
    TEMPLATE_REST = 2           # {**}: anything, then what follows it to the end


# Does a path fit a template? Its operators are the bytes above; there is one TEMPLATE_REST at most,
# and no operator behind it, so that one walk decides.
cdef inline bint policy_template(
    const char* template, uint32_t template_bytes, const word_t* path,
) noexcept nogil:
    cdef uint32_t i, start
    cdef uint32_t at = 0
    for i in range(template_bytes):
        if template[i] == TEMPLATE_REST:
            i += 1                          # what is behind it must be the end of the path
            return path.bytes - at >= template_bytes - i and memcmp(
                template + i, path.at + path.bytes - (template_bytes - i), template_bytes - i) == 0
        if template[i] == TEMPLATE_SEGMENT:
            start = at
            while at < path.bytes and path.at[at] != c'/':
                at += 1
            if at == start:
                return False
        elif at == path.bytes or path.at[at] != template[i]:
            return False
        else:
            at += 1
    return at == path.bytes


# Does a word fit a value? `folds`: its letters have no case, and the value's are small.
cdef inline bint policy_fits(
    const policies_t* p, const value_t* value, const word_t* word, bint folds,
) noexcept nogil:
    cdef const char* text = p.text + value.at
    cdef const char* part = word.at
    if value.form == FORM_PRESENT:
        return word.bytes > 0
    if value.form == FORM_TEMPLATE:
        return policy_template(text, value.bytes, word)
    if word.bytes < value.bytes or value.form == FORM_EXACT and word.bytes != value.bytes:
        return False
    if value.form == FORM_SUFFIX:
        part += word.bytes - value.bytes
    if folds:
        return chars_equal(part, value.bytes, text, value.bytes)
    return memcmp(part, text, value.bytes) == 0


cdef inline bint policy_any(
    const policies_t* p, const match_t* match, const word_t* word, bint folds,
) noexcept nogil:
    cdef uint32_t i
    for i in range(match.value_first, match.value_first + match.value_count):
        if policy_fits(p, &p.values[i], word, folds):
            return True
    return False


# Is an address in one of the blocks?
cdef inline bint policy_any_block(
    const policies_t* p, const match_t* match, const addr_t* address,
) noexcept nogil:
    cdef uint32_t i, whole
    cdef uint8_t rest
    cdef const value_t* value
    cdef const uint8_t* block
    for i in range(match.value_first, match.value_first + match.value_count):
        value = &p.values[i]
        if address.family != (4 if value.form == FORM_BLOCK4 else 6):
            continue
        block = <const uint8_t*>p.text + value.at
        whole = value.bytes // 8
        rest = <uint8_t>(0xFF00 >> (value.bytes % 8))
        if memcmp(block, address.ip, whole) == 0 and (
                rest == 0 or (block[whole] ^ address.ip[whole]) & rest == 0):
            return True
    return False


cdef inline bint policy_any_port(
    const policies_t* p, const match_t* match, uint16_t port,
) noexcept nogil:
    cdef uint32_t i
    for i in range(match.value_first, match.value_first + match.value_count):
        if p.values[i].bytes == port:
            return True
    return False


# A Host may carry a port, and a value that names none means any.
cdef inline bint policy_any_host(
    const policies_t* p, const match_t* match, word_t host,
) noexcept nogil:
    cdef uint32_t end = host.bytes
    if policy_any(p, match, &host, True):
        return True
    while end > 0 and c'0' <= host.at[end - 1] <= c'9':
        end -= 1
    if end == 0 or host.at[end - 1] != c':':
        return False
    host.bytes = end - 1
    return policy_any(p, match, &host, True)


# A field may come several times, and nobody knows which one the application reads. To let somebody
# in all of them must fit, to keep somebody out one of them is enough.
cdef inline bint policy_header(
    const policies_t* p, const match_t* match, const asked_t* asked, bint is_allow,
) noexcept nogil:
    cdef const h1_field_t* field
    cdef word_t word
    cdef uint32_t i
    cdef bint is_there = False
    for i in range(asked.head.field_count):
        field = &asked.head.fields[i]
        if not chars_equal(asked.text + field.name, field.name_bytes, p.text + match.name_at,
                           match.name_bytes):
            continue
        is_there = True
        word.at = asked.text + field.value
        word.bytes = field.value_bytes
        if (policy_any(p, match, &word, False) != match.is_not) != is_allow:
            return not is_allow
    return is_allow if is_there else match.is_not


# The word that a field stands for.
cdef inline word_t policy_word(const asked_t* asked, uint8_t field) noexcept nogil:
    if field == FIELD_PRINCIPAL:
        return peer_principal(asked.peer)
    if field == FIELD_NAMESPACE:
        return peer_namespace(asked.peer)
    if field == FIELD_ACCOUNT:
        return peer_account(asked.peer)
    if field == FIELD_TRUST_DOMAIN:
        return peer_trust_domain(asked.peer)
    if field == FIELD_SNI:
        return asked.sni
    return asked.method if field == FIELD_METHOD else asked.path


cdef inline bint policy_match_holds(
    const policies_t* p, const match_t* match, const asked_t* asked, bint is_allow,
) noexcept nogil:
    cdef word_t word
    cdef bint fits
    if match.field == FIELD_HEADER:
        return policy_header(p, match, asked, is_allow)
    if match.field == FIELD_SOURCE_IP:
        fits = policy_any_block(p, match, asked.source)
    elif match.field == FIELD_DESTINATION_IP:
        fits = policy_any_block(p, match, asked.destination)
    elif match.field == FIELD_PORT:
        fits = policy_any_port(p, match, asked.destination.port)
    elif match.field == FIELD_HOST:
        fits = policy_any_host(p, match, asked.host)
    else:
        word = policy_word(asked, match.field)
        fits = policy_any(p, match, &word, False)
    return fits != match.is_not


# Do all matches of a group hold, of those that can be asked?
cdef inline bint policy_group_holds(
    const policies_t* p, const group_t* group, const asked_t* asked, bint is_allow,
) noexcept nogil:
    cdef uint32_t i
    for i in range(group.first, group.first + group.count):
        if asked.how != ASK_REQUEST and p.matches[i].field >= FIELD_HOST:
            continue
        if not policy_match_holds(p, &p.matches[i], asked, is_allow):
            return False
    return True


cdef inline bint policy_any_group(
    const policies_t* p, uint32_t first, uint32_t group_count, const asked_t* asked, bint is_allow,
) noexcept nogil:
    cdef uint32_t i
    for i in range(first, first + group_count):
        if policy_group_holds(p, &p.groups[i], asked, is_allow):
            return True
    return group_count == 0


cdef inline bint policy_matches(
    const policies_t* p, const policy_t* policy, const asked_t* asked,
) noexcept nogil:
    cdef const rule_t* rule
    cdef bint is_allow = policy.action == ACTION_ALLOW
    cdef uint32_t i
    for i in range(policy.rule_first, policy.rule_first + policy.rule_count):
        rule = &p.rules[i]
        if rule.needs_request and asked.how != ASK_REQUEST and (
                (asked.how == ASK_CONNECTION) == is_allow):
            continue
        if policy_any_group(p, rule.from_first, rule.from_count, asked, is_allow) and (
                policy_any_group(p, rule.to_first, rule.to_count, asked, is_allow)) and (
                policy_group_holds(p, &rule.conditions, asked, is_allow)):
            return True
    return False


# Judge. Where a dry-run policy would have denied what is allowed, the verdict names it.
cdef inline void policy_judge(
    const policies_t* p, const asked_t* asked, verdict_t* verdict,
) noexcept nogil:
    cdef const policy_t* policy
    cdef uint32_t i
    cdef int denied = -1
    cdef int allowed = -1
    cdef int dry_denied = -1
    cdef int dry_allow = -1         # some dry-run ALLOW policy
    cdef bint has_allow = False
    cdef bint is_dry_allowed = False
    verdict.audited = 0
    for i in range(p.policy_count):
        policy = &p.policies[i]
        if policy.action == ACTION_ALLOW:
            if not policy.is_dry_run:
                has_allow = True
            elif dry_allow < 0:
                dry_allow = policy.slot
            if allowed >= 0:
                continue                    # one is enough
        elif policy.action == ACTION_DENY and denied >= 0:
            continue
        if not policy_matches(p, policy, asked):
            continue
        if policy.action == ACTION_AUDIT:
            verdict.audited |= 1ULL << policy.slot
        elif policy.action == ACTION_ALLOW and policy.is_dry_run:
            is_dry_allowed = True
        elif policy.action == ACTION_ALLOW:
            allowed = policy.slot
        elif not policy.is_dry_run:
            denied = policy.slot
        elif dry_denied < 0:
            dry_denied = policy.slot
    verdict.is_denied = denied >= 0 or has_allow and allowed < 0
    verdict.slot = SLOT_NONE
    if denied >= 0:
        verdict.slot = <uint8_t>denied
    elif allowed >= 0:
        verdict.slot = <uint8_t>allowed
    if dry_denied < 0 and allowed < 0 and not is_dry_allowed:
        dry_denied = dry_allow
    verdict.has_dry_denied = dry_denied >= 0 and not verdict.is_denied
    verdict.dry_slot = <uint8_t>dry_denied if dry_denied >= 0 else SLOT_NONE


# Does a probe of our own pod ask for this path (in its one form) at this port?
cdef inline bint policy_is_probe(
    const snapshot_t* s, uint16_t port, const char* path, uint32_t path_bytes,
) noexcept nogil:
    cdef const probe_t* probe
    cdef uint32_t i
    for i in range(s.probe_count):
        probe = &s.probes[i]
        if probe.port == port and probe.path_bytes == path_bytes and memcmp(
                probe.path, path, path_bytes) == 0:
            return True
    return False


# Is any path of this port a probe's?
cdef inline bint policy_has_probe(const snapshot_t* s, uint16_t port) noexcept nogil:
    cdef uint32_t i
    for i in range(s.probe_count):
        if s.probes[i].port == port:
            return True
    return False
