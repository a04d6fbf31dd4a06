# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L4. Which rule is a request's, and which backend? Nothing is allocated, no byte is looked
# at more often than there are conditions on it; regular expressions take one step a byte.
#
# Rule 1: the routes of a front stand in the order in which they are asked; the first one all of
#         whose conditions hold decides.
# Rule 2: paths, values and methods are compared byte by byte. The path is in its one form
#         (path.pxd). A prefix is one of whole segments, a slash at its end means nothing.
# Rule 3: a header that stands there several times has one value: all of them in their order, with
#         ", " between them (RFC 9110 section 5.3). Names of headers have no case.
# Rule 4: of a query parameter the first one counts. Name and value are compared decoded: %HH, and
#         + for a space, as forms write it. What is no escape stands for itself.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from proxy.fast.chars cimport chars_equal
from proxy.fast.dfa cimport DFA_START, dfa_accepts, dfa_matches, dfa_step
from proxy.fast.path cimport path_hex
from proxy.fast.random cimport random_next
from proxy.fast.reasons cimport (
    METHOD_COUNT, ROUTE_PATH_ANY, ROUTE_PATH_EXACT, ROUTE_PATH_PREFIX,
)
from proxy.fast.states cimport fleet_t
from proxy.fast.traffic cimport field_t, front_t, route_t, rule_t, traffic_t
from proxy.fast.types cimport h1_field_t, h1_head_t

cdef struct asked_route_t:      # the request; all of it borrowed
    const h1_head_t* head
    const char* text            # what the head's offsets count from
    const char* path            # in its one form
    uint32_t path_bytes
    const char* query           # without the question mark
    uint32_t query_bytes

cdef struct route_word_t:       # a value being compared, as it comes in pieces
    const traffic_t* traffic
    const field_t* field
    uint32_t at                 # bytes of the value that fitted so far
    uint16_t state              # of the DFA
    uint8_t  differs


cdef inline void route_word_begin(
    route_word_t* word, const traffic_t* t, const field_t* field,
) noexcept nogil:
    word.traffic = t
    word.field = field
    word.at = 0
    word.state = DFA_START
    word.differs = False


cdef inline void route_word_add(route_word_t* word, uint8_t byte) noexcept nogil:
    cdef const field_t* field = word.field
    if field.dfa >= 0:
        word.state = dfa_step(word.traffic, field.dfa, word.state, byte)
    elif word.at < field.value.bytes and (
            <uint8_t>word.traffic.text[field.value.at + word.at] == byte):
        word.at += 1
    else:
        word.differs = True


cdef inline bint route_word_fits(const route_word_t* word) noexcept nogil:
    if word.field.dfa >= 0:
        return dfa_accepts(word.traffic, word.field.dfa, word.state)
    return not word.differs and word.at == word.field.value.bytes


cdef inline bint route_header_holds(
    const traffic_t* t, const field_t* field, const asked_route_t* asked,
) noexcept nogil:
    cdef const h1_field_t* header
    cdef route_word_t word
    cdef uint32_t i, j
    cdef bint is_there = False
    route_word_begin(&word, t, field)
    for i in range(asked.head.field_count):
        header = &asked.head.fields[i]
        if not chars_equal(asked.text + header.name, header.name_bytes, t.text + field.name.at,
                           field.name.bytes):
            continue
        if is_there:
            route_word_add(&word, c',')
            route_word_add(&word, c' ')
        is_there = True
        for j in range(header.value_bytes):
            route_word_add(&word, <uint8_t>asked.text[header.value + j])
    return is_there and route_word_fits(&word)


# The byte of a query that begins at `at`, decoded; `at` moves behind it.
cdef inline uint8_t route_query_byte(const asked_route_t* asked, uint32_t* at) noexcept nogil:
    cdef const uint8_t* byte = <const uint8_t*>asked.query + at[0]
    cdef int32_t high, low
    at[0] += 1
    if byte[0] == c'+':
        return c' '
    if byte[0] == c'%' and at[0] + 2 <= asked.query_bytes:
        high = path_hex(byte[1])
        low = path_hex(byte[2])
        if high >= 0 and low >= 0:
            at[0] += 2
            return <uint8_t>(high * 16 + low)
    return byte[0]


# Does a parameter that begins at `at` have this name? `at` moves to what ends the name.
cdef inline bint route_query_name(
    const asked_route_t* asked, const char* name, uint32_t name_bytes, uint32_t* at,
) noexcept nogil:
    cdef uint32_t fitted = 0
    cdef uint8_t byte
    cdef bint fits = True
    while at[0] < asked.query_bytes and asked.query[at[0]] not in (c'&', c'='):
        byte = route_query_byte(asked, at)
        fits = fits and fitted < name_bytes and byte == <uint8_t>name[fitted]
        fitted += 1
    return fits and fitted == name_bytes


cdef inline bint route_query_holds(
    const traffic_t* t, const field_t* field, const asked_route_t* asked,
) noexcept nogil:
    cdef route_word_t word
    cdef uint32_t at = 0
    cdef bint is_it
    route_word_begin(&word, t, field)
    while at < asked.query_bytes:
        is_it = route_query_name(asked, t.text + field.name.at, field.name.bytes, &at)
        if at < asked.query_bytes and asked.query[at] == c'=':
            at += 1
        while at < asked.query_bytes and asked.query[at] != c'&':
            if is_it:
                route_word_add(&word, route_query_byte(asked, &at))
            else:
                at += 1
        if is_it:
            return route_word_fits(&word)
        at += 1
    return False


# Is a path below a prefix, or the prefix itself?
cdef inline bint route_is_below(
    const char* prefix, uint32_t prefix_bytes, const asked_route_t* asked,
) noexcept nogil:
    while prefix_bytes and prefix[prefix_bytes - 1] == c'/':
        prefix_bytes -= 1
    if asked.path_bytes < prefix_bytes or memcmp(asked.path, prefix, prefix_bytes) != 0:
        return False
    return asked.path_bytes == prefix_bytes or asked.path[prefix_bytes] == c'/'


cdef inline bint route_path_holds(
    const traffic_t* t, const route_t* route, const asked_route_t* asked,
) noexcept nogil:
    cdef const char* path = t.text + route.path.at
    if route.path_form == ROUTE_PATH_ANY:
        return True
    if route.path_form == ROUTE_PATH_PREFIX:
        return route_is_below(path, route.path.bytes, asked)
    if route.path_form == ROUTE_PATH_EXACT:
        return asked.path_bytes == route.path.bytes and memcmp(
            asked.path, path, asked.path_bytes) == 0
    return dfa_matches(t, route.dfa, asked.path, asked.path_bytes)


cdef inline bint route_holds(
    const traffic_t* t, const route_t* route, const asked_route_t* asked,
) noexcept nogil:
    cdef const field_t* field
    cdef uint32_t i
    if route.method != METHOD_COUNT and route.method != asked.head.method:
        return False
    if not route_path_holds(t, route, asked):
        return False
    for i in range(route.fields.first, route.fields.first + route.fields.count):
        field = &t.fields[i]
        if field.is_query and not route_query_holds(t, field, asked):
            return False
        if not field.is_query and not route_header_holds(t, field, asked):
            return False
    return True


# The route that decides: index in traffic_t.routes (its path is what URLRewrite replaces a prefix
# of); -1: none matches.
cdef inline int32_t route_match(
    const traffic_t* t, const front_t* front, const asked_route_t* asked,
) noexcept nogil:
    cdef uint32_t i
    for i in range(front.routes.first, front.routes.first + front.routes.count):
        if route_holds(t, &t.routes[i], asked):
            return <int32_t>i
    return -1


# One of a rule's shares, by weight: index in traffic_t.shares; -1: it has none.
cdef inline int32_t route_share(
    const traffic_t* t, const rule_t* rule, fleet_t* f,
) noexcept nogil:
    cdef uint64_t drawn
    cdef uint32_t i
    if rule.weight_sum == 0:
        return -1
    drawn = ((random_next(f.random) >> 32) * rule.weight_sum) >> 32
    for i in range(rule.shares.first, rule.shares.first + rule.shares.count):
        if drawn < t.shares[i].weight:
            return <int32_t>i
        drawn -= t.shares[i].weight
    return -1
