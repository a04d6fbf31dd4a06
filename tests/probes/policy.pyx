# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
"""Paths and authorization of proxy/fast with a Python handle: test-only, built on demand.

The same .pxd files as in the proxy, compiled with assertions and with undefined behaviour trapped.
Paths and requests lie right before a guard page.
"""
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset

from guarded cimport ROOM_BYTES, guarded_place, guarded_room

from proxy._policy cimport policies_free, snapshot_set_policies, snapshot_set_probes
from proxy.fast.addr cimport addr_from_text
from proxy.fast.address cimport addr_t
from proxy.fast.http1 cimport H1_OK, h1_parse_request
from proxy.fast.path cimport PATH_OK, path_normalize
from proxy.fast.policy cimport (
    ASK_CONNECTION, ASK_REQUEST, ASK_TUNNEL, asked_t, policy_is_probe, policy_judge, verdict_t,
)
from proxy.fast.rules cimport word_t
from proxy.fast.snapshot cimport snapshot_t
from proxy.fast.types cimport h1_head_t, peer_t

WAYS = {"request": ASK_REQUEST, "connection": ASK_CONNECTION, "tunnel": ASK_TUNNEL}

cdef char* _room = guarded_room()
cdef char* _out_room = guarded_room()
if _room == NULL or _out_room == NULL:
    raise MemoryError


cdef const char* place(bytes text) except NULL:
    if len(text) > ROOM_BYTES:
        raise ValueError("too long for the guarded room")
    return guarded_place(_room, text, <uint32_t>len(text), False)


def normalize(bytes path):
    """The one form of a path, written to as much room as it came in; None: refused."""
    cdef char* target = _out_room + ROOM_BYTES - len(path)
    cdef uint32_t length = 0
    if path_normalize(place(path), <uint32_t>len(path), target, &length) != PATH_OK:
        return None
    if length > len(path):
        raise AssertionError("the one form is longer than the path")
    return target[:length]


cdef word_t word_of(bytes text):
    cdef word_t word
    word.at = text
    word.bytes = <uint32_t>len(text)
    return word


cdef class Judge:
    """Policies, rows of proxy/policy/table.py with a slot in place of the name, and probes."""

    cdef snapshot_t c

    def __cinit__(self, rows, probes=()):
        memset(&self.c, 0, sizeof(snapshot_t))
        snapshot_set_policies(&self.c, list(rows))
        snapshot_set_probes(&self.c, list(probes))

    def __dealloc__(self):
        policies_free(&self.c)

    def judge(self, str way, bytes peer_id, tuple parts, str source, str destination, int port,
              bytes sni, bytes method, bytes host, bytes path, bytes fields):
        """(is denied, slot, slot of a dry-run denial or None, slots of audits).

        `parts` of `peer_id`: bytes of the trust domain, then where namespace and account begin and
        how long they are. `fields`: header lines.
        """
        cdef asked_t asked
        cdef verdict_t verdict
        cdef peer_t peer
        cdef addr_t source_address, destination_address
        cdef h1_head_t head
        cdef bytes text = b"GET / HTTP/1.0\r\n" + fields + b"\r\n"
        memset(&asked, 0, sizeof(asked_t))
        memset(&head, 0, sizeof(h1_head_t))
        if not addr_from_text(&source_address, source.encode()) or not addr_from_text(
                &destination_address, destination.encode()):
            raise ValueError("no address")
        destination_address.port = <uint16_t>port
        asked.how = WAYS[way]
        asked.source = &source_address
        asked.destination = &destination_address
        if peer_id is not None:
            peer.id = <char*>peer_id
            peer.id_bytes = <uint16_t>len(peer_id)
            (peer.trust_domain_bytes, peer.namespace_at, peer.namespace_bytes, peer.account_at,
             peer.account_bytes) = parts
            asked.peer = &peer
        asked.sni = word_of(sni)
        if way == "request":
            asked.method, asked.host, asked.path = word_of(method), word_of(host), word_of(path)
            asked.text = place(text)
            if h1_parse_request(&head, asked.text, <uint32_t>len(text)) != H1_OK:
                raise ValueError("no request")
            asked.head = &head
        policy_judge(self.c.policies, &asked, &verdict)
        audits = {slot for slot in range(64) if (verdict.audited >> slot) & 1}
        return (bool(verdict.is_denied), verdict.slot,
                verdict.dry_slot if verdict.has_dry_denied else None, audits)

    def is_probe(self, int port, bytes path):
        return bool(policy_is_probe(&self.c, <uint16_t>port, place(path), <uint32_t>len(path)))
