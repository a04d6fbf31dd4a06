# cython: language_level=3, cdivision=True
#
# Authorization policies and probes, copied into the C memory of a snapshot, and what workers say of
# them: for _fastpath.pyx only.
#
# Rule 1: whatever is wrong with a value raises ValueError naming it; nothing is corrected.
# Rule 2: the memory belongs to the snapshot's Python object, which frees it by policies_free(),
#         also when a function here raised half-way.
#
# The rows come from proxy/policy/table.py: policies of (slot, action, is_dry_run, rules), rules of
# (from, to, when): lists of groups, and a group; groups of matches (field, is_not, name, values);
# values of (form, bytes, number).
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from proxy._words cimport address_to_python, text_to_python
from proxy.fast.authz cimport denial_t
from proxy.fast.limits cimport (
    LOG_TARGET_BYTES_MAX, POLICY_MATCHES_MAX, POLICY_SLOTS, POLICY_TEXT_BYTES_MAX,
    POLICY_VALUES_MAX, PROBES_MAX,
)
from proxy.fast.reasons cimport (
    ACTION_COUNT, FIELD_COUNT, FIELD_DESTINATION_IP, FIELD_HOST, FIELD_PATH, FIELD_PORT,
    FIELD_SOURCE_IP, FORM_BLOCK4, FORM_BLOCK6, FORM_COUNT, FORM_PORT, FORM_TEMPLATE,
)
from proxy.fast.ring cimport ring_peek, ring_take
from proxy.fast.rules cimport group_t, match_t, policies_t, policy_t, probe_t, rule_t, value_t
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.types cimport worker_t


cdef inline void* policy_room(size_t item_count, size_t item_bytes) except NULL:
    cdef void* room = PyMem_RawCalloc(item_count + 1, item_bytes)
    if room == NULL:
        raise MemoryError
    return room


cdef inline void policies_free(snapshot_t* s) noexcept:
    if s.policies != NULL:
        PyMem_RawFree(s.policies.policies)
        PyMem_RawFree(s.policies.rules)
        PyMem_RawFree(s.policies.groups)
        PyMem_RawFree(s.policies.matches)
        PyMem_RawFree(s.policies.values)
        PyMem_RawFree(s.policies.text)
        PyMem_RawFree(s.policies)
    PyMem_RawFree(s.probes)


# Room for all of it, counted before a thing is written.
cdef inline policies_t* policies_room(list rows) except NULL:
    cdef policies_t* p
    rules = [rule for row in rows for rule in row[3]]
    groups = [group for rule in rules for part in rule[:2] for group in part]
    matches = [match for group in [*groups, *[rule[2] for rule in rules]] for match in group]
    values = [value for match in matches for value in match[3]]
    text_bytes = sum([len(value[1]) for value in values]) + sum([len(m[2]) for m in matches])
    for name, number, most in (("fields", len(matches), POLICY_MATCHES_MAX),
                               ("values", len(values), POLICY_VALUES_MAX),
                               ("bytes", text_bytes, POLICY_TEXT_BYTES_MAX)):
        if number > most:
            raise ValueError(f"{number} {name} in the policies of this pod; {most} are the most")
    p = <policies_t*>policy_room(1, sizeof(policies_t))
    try:
        p.policies = <policy_t*>policy_room(len(rows), sizeof(policy_t))
        p.rules = <rule_t*>policy_room(len(rules), sizeof(rule_t))
        p.groups = <group_t*>policy_room(len(groups), sizeof(group_t))
        p.matches = <match_t*>policy_room(len(matches), sizeof(match_t))
        p.values = <value_t*>policy_room(len(values), sizeof(value_t))
        p.text = <char*>policy_room(text_bytes, 1)
    except MemoryError:
        PyMem_RawFree(p.policies)
        PyMem_RawFree(p.rules)
        PyMem_RawFree(p.groups)
        PyMem_RawFree(p.matches)
        PyMem_RawFree(p.values)
        PyMem_RawFree(p)
        raise
    return p


cdef inline uint32_t policy_add_text(policies_t* p, uint32_t* text_end, bytes text) except? 0:
    cdef uint32_t at = text_end[0]
    memcpy(p.text + at, <const char*>text, len(text))
    text_end[0] += <uint32_t>len(text)
    return at


cdef inline int policy_check_value(int field, int form, bytes text, number) except -1:
    cdef bint is_good
    if field in (FIELD_SOURCE_IP, FIELD_DESTINATION_IP):
        is_good = (form == FORM_BLOCK4 and len(text) == 4 and 0 <= number <= 32) or (
            form == FORM_BLOCK6 and len(text) == 16 and 0 <= number <= 128)
    elif field == FIELD_PORT:
        is_good = form == FORM_PORT and not text and 0 < number < 65536
    else:
        is_good = form < FORM_BLOCK4 and (form != FORM_TEMPLATE or field == FIELD_PATH)
    if not is_good or form >= FORM_COUNT:
        raise ValueError(f"no value of field {field}: {form}, {text!r}, {number}")
    return 0


cdef inline int policy_add_matches(
    policies_t* p, list rows, uint32_t* ends, group_t* group,
) except -1:
    cdef match_t* match
    cdef value_t* value
    group.first = ends[0]
    for field, is_not, name, values in rows:
        if not 0 <= field < FIELD_COUNT:
            raise ValueError(f"no field {field}")
        match = &p.matches[ends[0]]
        match.field = field
        match.is_not = is_not
        match.name_at = policy_add_text(p, &ends[2], name)
        match.name_bytes = <uint32_t>len(name)
        match.value_first = ends[1]
        for form, text, number in values:
            policy_check_value(field, form, text, number)
            value = &p.values[ends[1]]
            value.form = form
            value.at = policy_add_text(p, &ends[2], text)
            value.bytes = number if form >= FORM_BLOCK4 else <uint32_t>len(text)
            ends[1] += 1
        match.value_count = ends[1] - match.value_first
        p.has_paths |= field == FIELD_PATH
        ends[0] += 1
    group.count = ends[0] - group.first
    return 0


# Authorization policies of our own pod; none: everybody may do everything.
cdef inline int snapshot_set_policies(snapshot_t* s, list rows) except -1:
    cdef policies_t* p
    cdef rule_t* rule
    cdef uint32_t ends[3]               # of the matches, the values and the text
    cdef uint32_t rule_end = 0, group_end = 0
    if s.policies != NULL:
        raise ValueError("a snapshot is built once")
    if not rows:
        return 0
    s.policies = p = policies_room(rows)
    ends[0] = ends[1] = ends[2] = 0
    for slot, action, is_dry_run, rules in rows:
        if not (0 <= slot < POLICY_SLOTS and 0 <= action < ACTION_COUNT):
            raise ValueError(f"no slot and action of a policy: {slot}, {action}")
        p.policies[p.policy_count] = policy_t(
            rule_first=rule_end, rule_count=<uint32_t>len(rules), action=action,
            is_dry_run=is_dry_run, slot=slot)
        p.policy_count += 1
        for sources, operations, when in rules:
            rule = &p.rules[rule_end]
            rule_end += 1
            rule.from_first = group_end
            rule.from_count = <uint32_t>len(sources)
            rule.to_first = group_end + rule.from_count
            rule.to_count = <uint32_t>len(operations)
            for group in [*sources, *operations]:
                policy_add_matches(p, group, ends, &p.groups[group_end])
                group_end += 1
            policy_add_matches(p, when, ends, &rule.conditions)
            rule.needs_request = any([
                match[0] >= FIELD_HOST
                for group in [*sources, *operations, when] for match in group])
    return 0


# Probes of our own pod: (port, path in its one form).
cdef inline int snapshot_set_probes(snapshot_t* s, list probes) except -1:
    cdef probe_t* probe
    if s.probes != NULL or len(probes) > PROBES_MAX:
        raise ValueError(f"{len(probes)} probes; {PROBES_MAX} are the most")
    if not probes:
        return 0
    s.probes = <probe_t*>policy_room(len(probes), sizeof(probe_t))
    for port, path in probes:
        if not 0 < port < 65536 or len(path) > LOG_TARGET_BYTES_MAX:
            raise ValueError(f"no probe: port {port}, path {path!r}")
        probe = &s.probes[s.probe_count]
        probe.port = port
        probe.path_bytes = <uint32_t>len(path)
        memcpy(probe.path, <const char*>path, len(path))
        s.probe_count += 1
    return 0


# Take up to `limit` of what policies had to say, as rows of _fastpath.Denial. `names`: of
# directions, units and verdicts.
cdef inline list denials_take(worker_t** workers, int worker_count, limit, tuple names):
    cdef const denial_t* d
    cdef int i
    cdef list rows = []
    directions, units, verdicts = names
    for i in range(worker_count):
        d = <const denial_t*>ring_peek(&workers[i].denials)
        while d != NULL and len(rows) < limit:
            rows.append((
                d.connection_id, d.worker, directions[d.direction], units[d.unit],
                verdicts[d.verdict], d.slot, text_to_python(d.peer, d.peer_bytes),
                address_to_python(&d.downstream), address_to_python(&d.destination),
                text_to_python(d.method, d.method_bytes), text_to_python(d.host, d.host_bytes),
                text_to_python(d.target, d.target_bytes), d.untold,
            ))
            ring_take(&workers[i].denials)
            d = <const denial_t*>ring_peek(&workers[i].denials)
    return rows
