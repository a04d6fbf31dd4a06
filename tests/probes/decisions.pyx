# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""Routing, balancing and budgets of proxy/fast with a Python handle: test-only, built on demand.

The same .pxd files as in the proxy, compiled with assertions and with undefined behaviour trapped.
Time is what the test says it is. Paths, queries and heads lie right before guard pages.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from guarded cimport ROOM_BYTES, guarded_place, guarded_room

from proxy._snapshot cimport snapshot_free, snapshot_set_services
from proxy._traffic cimport snapshot_set_traffic, traffic_address_count, traffic_free
from proxy.fast.addr cimport addr_from_text
from proxy.fast.address cimport addr_t
from proxy.fast.balance cimport (
    balance_begin, balance_end, balance_hash_addr, balance_hash_bytes, balance_learn, balance_pick,
)
from proxy.fast.budget cimport bucket_take, budget_deposit, budget_withdraw
from proxy.fast.dfa cimport dfa_matches
from proxy.fast.fleet cimport (
    fleet_backend, fleet_endpoint, fleet_free, fleet_init, fleet_rule, fleet_seen_endpoint,
)
from proxy.fast.http1 cimport H1_OK, h1_parse_request
from proxy.fast.lookup cimport lookup_service, traffic_backend, traffic_front_of_host
from proxy.fast.reasons cimport (
    BALANCE_COUNT, EDIT_COUNT, HASH_COUNT, OUTCOME_ERROR, OUTCOME_GATEWAY, OUTCOME_LOCAL,
    OUTCOME_NONE, OUTCOME_OK, REWRITE_COUNT, ROUTE_PATH_COUNT, SCHEME_COUNT, TRAFFIC_EJECTED,
    TRAFFIC_RETURNED,
)
from proxy.fast.random cimport random_next
from proxy.fast.route cimport asked_route_t, route_match, route_share
from proxy.fast.snapshot cimport service_address_t, snapshot_t
from proxy.fast.states cimport backend_state_t, bucket_t, endpoint_state_t, fleet_t
from proxy.fast.traffic cimport backend_t, endpoint_t, front_t, name_t, traffic_t
from proxy.fast.types cimport h1_head_t

METHODS = (
    "OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
)
HANDLINGS = ("detect", "relay", "opaque")
OUTCOMES = {"none": OUTCOME_NONE, "ok": OUTCOME_OK, "error": OUTCOME_ERROR,
            "gateway": OUTCOME_GATEWAY, "local": OUTCOME_LOCAL}
# Of balances, hashes, forms of paths, changes of headers, rewrites and schemes.
WORD_COUNTS = [
    BALANCE_COUNT, HASH_COUNT, ROUTE_PATH_COUNT, EDIT_COUNT, REWRITE_COUNT, SCHEME_COUNT,
]

cdef char* _path_room = guarded_room()
cdef char* _query_room = guarded_room()
cdef char* _head_room = guarded_room()
if _path_room == NULL or _query_room == NULL or _head_room == NULL:
    raise MemoryError


cdef const char* place(char* room, bytes text) except NULL:
    if len(text) > ROOM_BYTES:
        raise ValueError("too long for the guarded room")
    return guarded_place(room, text, <uint32_t>len(text), False)


def hash_bytes(bytes text):
    return balance_hash_bytes(place(_path_room, text), <uint32_t>len(text))


def hash_addr(str host):
    cdef addr_t address
    if not addr_from_text(&address, host.encode()):
        raise ValueError("no address")
    return balance_hash_addr(&address)


cdef class Policy:
    """A snapshot with rows of proxy/traffic/rows.py. Numbers of names: their places in `names`."""

    cdef snapshot_t c
    cdef readonly list names
    cdef dict numbers
    cdef uint32_t address_count

    def __cinit__(self, rows, services=()):
        memset(&self.c, 0, sizeof(snapshot_t))
        self.names = ["unknown", "other"]
        self.numbers = {}
        traffic = (rows, self.number, self.number)
        flags = [(host, port, self.number(name), 0) for host, port, name in services]
        count = snapshot_set_services(&self.c, flags, traffic_address_count(traffic))
        snapshot_set_traffic(&self.c, traffic, count, METHODS, HANDLINGS)
        self.address_count = len(services) + traffic_address_count(traffic)

    def __dealloc__(self):
        traffic_free(&self.c)
        snapshot_free(&self.c)

    def number(self, name):
        found = self.numbers.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found

    def backend(self, uint32_t number):
        """Service of the backend of that number; None: it is gone."""
        cdef const backend_t* b = traffic_backend(self.c.traffic, number)
        return self.names[b.service] if b != NULL else None

    def endpoints(self, uint32_t number):
        """(slot, generation, port) of the endpoints of a backend, in the order of the snapshot."""
        cdef const backend_t* b = traffic_backend(self.c.traffic, number)
        cdef const endpoint_t* e
        rows = []
        for i in range(b.endpoints.count):
            e = &self.c.traffic.endpoints[b.endpoints.first + i]
            rows.append((e.slot, e.generation, e.address.port))
        return rows

    def table(self, uint32_t number):
        """(hash, slot) of each place of a backend."""
        cdef const backend_t* b = traffic_backend(self.c.traffic, number)
        cdef const endpoint_t* e = self.c.traffic.endpoints + b.endpoints.first
        return [(self.c.traffic.places[b.places.first + i].hash,
                 e[self.c.traffic.places[b.places.first + i].endpoint].slot)
                for i in range(b.places.count)]

    def find(self, str host, int port):
        """(service, front, is direct) of an address; None: nobody's."""
        cdef addr_t address
        cdef const service_address_t* found
        if not addr_from_text(&address, host.encode()):
            raise ValueError("no address")
        address.port = <uint16_t>port
        found = lookup_service(&self.c, &address)
        if found == NULL:
            return None
        return self.names[found.service], found.front, bool(found.is_direct)

    def host(self, bytes host, int port):
        """Index of the front that a Host field leads to, or None."""
        cdef const front_t* front = traffic_front_of_host(
            self.c.traffic, place(_path_room, host), <uint32_t>len(host), <uint16_t>port)
        return None if front == NULL else front - self.c.traffic.fronts

    def spin_addresses(self, uint32_t hot, uint32_t rounds):
        """Look up addresses, of which `hot` are in use; returns how many were found."""
        cdef uint64_t dice[2]
        cdef uint32_t at, found = 0
        cdef uint32_t address_count = self.address_count
        dice[0], dice[1] = 1, 1
        with nogil:
            for _ in range(rounds):
                at = <uint32_t>(random_next(dice) >> 40) % hot * 7919 % address_count
                found += lookup_service(&self.c, &self.c.services[at].address) != NULL
        return found

    def spin_names(self, uint32_t hot, uint32_t name_count, uint32_t rounds):
        """The same for host names."""
        cdef const traffic_t* t = self.c.traffic
        cdef const name_t* name
        cdef uint64_t dice[2]
        cdef uint32_t found = 0
        dice[0], dice[1] = 1, 1
        with nogil:
            for _ in range(rounds):
                name = &t.names[<uint32_t>(random_next(dice) >> 40) % hot * 7919 % name_count]
                found += traffic_front_of_host(
                    t, t.text + name.name.at, name.name.bytes, name.port) != NULL
        return found

    def dfa(self, int32_t index, bytes word):
        return bool(dfa_matches(
            self.c.traffic, index, place(_path_room, word), <uint32_t>len(word)))

    def route(self, uint32_t front, bytes method, bytes path, bytes query, bytes fields):
        """(index of the route, index of the rule) that decide, or None. `fields`: header lines."""
        cdef asked_route_t asked
        cdef h1_head_t head
        cdef int32_t found
        cdef bytes text = method + b" / HTTP/1.0\r\n" + fields + b"\r\n"
        memset(&head, 0, sizeof(h1_head_t))
        asked.text = place(_head_room, text)
        if h1_parse_request(&head, asked.text, <uint32_t>len(text)) != H1_OK:
            raise ValueError("no request")
        asked.head = &head
        asked.path = place(_path_room, path)
        asked.path_bytes = <uint32_t>len(path)
        asked.query = place(_query_room, query)
        asked.query_bytes = <uint32_t>len(query)
        found = route_match(self.c.traffic, &self.c.traffic.fronts[front], &asked)
        return None if found < 0 else (found, self.c.traffic.routes[found].rule)


cdef class Bucket:
    """A token bucket on its own."""

    cdef bucket_t c

    def take(self, uint64_t rate_per_ks, uint32_t burst, uint64_t now_us):
        """(whether there was a token, milliseconds until there is one)."""
        cdef uint64_t wait_ms = 0
        return bool(bucket_take(&self.c, rate_per_ks, burst, now_us, &wait_ms)), wait_ms


cdef class Fleet:
    """What one worker has learned. `seed` makes its choices repeatable."""

    cdef fleet_t c

    def __cinit__(self, uint64_t seed):
        if not fleet_init(&self.c):
            fleet_free(&self.c)
            raise MemoryError
        self.c.random[0] = seed * 0x9E3779B97F4A7C15 % 2**64 | 1
        self.c.random[1] = seed

    def __dealloc__(self):
        fleet_free(&self.c)

    def pick(self, Policy policy not None, uint32_t number, uint64_t now_us, uint64_t hash_=0,
             tried=()):
        """(slot, generation) of the endpoint that gets the next request; None: there is none."""
        cdef uint32_t slots[16]
        cdef const backend_t* b = traffic_backend(policy.c.traffic, number)
        cdef const endpoint_t* e
        cdef int32_t found
        for i, slot in enumerate(tried):
            slots[i] = slot
        found = balance_pick(
            policy.c.traffic, b, &self.c, now_us, hash_, slots, <uint32_t>len(tried))
        if found < 0:
            return None
        e = &policy.c.traffic.endpoints[found]
        if not b.endpoints.first <= <uint32_t>found < b.endpoints.first + b.endpoints.count:
            raise AssertionError("an endpoint of another backend")
        return e.slot, e.generation

    def begin(self, Policy policy not None, uint32_t number, uint32_t slot, uint64_t now_us):
        cdef const backend_t* b = traffic_backend(policy.c.traffic, number)
        cdef const endpoint_t* e
        for i in range(b.endpoints.count):
            e = &policy.c.traffic.endpoints[b.endpoints.first + i]
            if e.slot == slot:
                balance_begin(&self.c, e, now_us // 1000)

    def end(self, Policy policy, uint32_t number, uint32_t slot, uint32_t generation, str outcome,
            uint64_t latency_us, uint64_t now_us):
        balance_end(policy.c.traffic if policy is not None else NULL, &self.c, number, slot,
                    generation, OUTCOMES[outcome], latency_us, now_us)

    def learn(self, Policy policy not None, uint32_t number, uint32_t slot, uint32_t generation,
              str outcome, uint64_t latency_us, uint64_t now_us):
        balance_learn(policy.c.traffic, &self.c, number, slot, generation, OUTCOMES[outcome],
                      latency_us, now_us)

    def spin(self, Policy policy not None, uint32_t hot, uint32_t rounds):
        """Requests to `hot` of the backends, each picked, begun and ended."""
        cdef const traffic_t* t = policy.c.traffic
        cdef const backend_t* b
        cdef const endpoint_t* e
        cdef uint64_t now_us = 1000000
        cdef uint32_t at
        with nogil:
            for _ in range(rounds):
                now_us += 10
                at = <uint32_t>(random_next(self.c.random) >> 40) % hot * 7919 % t.backend_count
                b = &t.backends[at]
                e = &t.endpoints[balance_pick(t, b, &self.c, now_us, 0, NULL, 0)]
                balance_begin(&self.c, e, now_us // 1000)
                balance_end(t, &self.c, b.number, e.slot, e.generation, OUTCOME_OK, 1000, now_us)

    def endpoint(self, uint32_t slot, uint32_t generation):
        """What is known of an endpoint, or None."""
        cdef endpoint_state_t* state = fleet_seen_endpoint(&self.c, slot, generation)
        return None if state == NULL else state[0]

    def meet(self, uint32_t slot, uint32_t generation, uint64_t now_ms):
        """Ask for the state of an endpoint as the worker does; whether there is one."""
        return fleet_endpoint(&self.c, slot, generation, now_ms) != NULL

    def backend(self, uint32_t number):
        cdef backend_state_t* of = fleet_backend(&self.c, number)
        if of == NULL:
            return None
        return {"ejected": of.counts[TRAFFIC_EJECTED], "returned": of.counts[TRAFFIC_RETURNED],
                "ejected_count": of.ejected_count}

    def share(self, Policy policy not None, uint32_t rule):
        """Index of the share that gets the next request of a rule; -1: it has none."""
        return route_share(policy.c.traffic, &policy.c.traffic.rules[rule], &self.c)

    def deposit(self, Policy policy not None, uint32_t number, uint64_t now_us):
        budget_deposit(traffic_backend(policy.c.traffic, number),
                       fleet_backend(&self.c, number), now_us)

    def withdraw(self, Policy policy not None, uint32_t number, uint64_t now_us):
        return bool(budget_withdraw(traffic_backend(policy.c.traffic, number),
                                    fleet_backend(&self.c, number), now_us))

    def limit(self, uint32_t rule, uint64_t rate_per_ks, uint32_t burst, uint64_t now_us):
        """Take a token of a rule's limit."""
        return bool(bucket_take(
            &fleet_rule(&self.c, rule).limit, rate_per_ks, burst, now_us, NULL))
