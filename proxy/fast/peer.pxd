# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L3. Who is behind a certificate. OpenSSL has verified its chain; whether it names exactly one
# identity, and whose, Python says once for each certificate and bundle of trusted roots.
#
# Rule 1: a certificate is known by the SHA-256 of its DER and the generation of the bundle that
#         verified it: with other roots it is looked at again.
# Rule 2: bounded: what nobody uses is forgotten when the place is needed.
# Rule 3: an identity is compared with its length, never up to a NUL (CVE-2026-47778).
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from proxy.fast.check cimport FP_ASSERT
from proxy.fast.limits cimport LOG_PEER_BYTES_MAX, PEERS_MAX, PEER_BUCKETS, SHA256_BYTES
from proxy.fast.rules cimport word_t
from proxy.fast.slab cimport slab_at, slab_give, slab_slot_count, slab_take
from proxy.fast.states cimport bucket_t
from proxy.fast.types cimport (
    DOWNSTREAM, PEER_ASKED, PEER_KNOWN, TLS_OPEN, UPSTREAM, conn_t, peer_limit_t, peer_t, tls_t,
    worker_t,
)

cdef enum:
    PEER_DOMAIN_AT = 9          # behind "spiffe://"


cdef inline peer_t** peer_bucket(worker_t* w, const uint8_t* digest) noexcept nogil:
    return &w.peer_buckets[(digest[0] | <uint32_t>digest[1] << 8) % PEER_BUCKETS]


# What is known of a certificate; NULL: nothing.
cdef inline peer_t* peer_find(
    worker_t* w, const uint8_t* digest, uint32_t bundle_generation,
) noexcept nogil:
    cdef peer_t* peer = peer_bucket(w, digest)[0]
    while peer != NULL:
        if peer.bundle_generation == bundle_generation and memcmp(
                peer.digest, digest, SHA256_BYTES) == 0:
            return peer
        peer = peer.next_in_bucket
    return NULL


cdef inline void peer_free(worker_t* w, peer_t* peer) noexcept nogil:
    cdef peer_t** link = peer_bucket(w, peer.digest)
    FP_ASSERT(peer.use_count == 0 and peer.first_waiter == NULL)
    while link[0] != peer:
        link = &link[0].next_in_bucket
    link[0] = peer.next_in_bucket
    free(peer.id)
    if peer.limit != NULL:
        peer.limit.use_count -= 1
        if peer.limit.use_count == 0:
            free(peer.limit)
    slab_give(&w.peers, peer)


# Forget one that nobody uses, the next in turn.
cdef inline void peer_make_room(worker_t* w) noexcept nogil:
    cdef uint32_t slots = slab_slot_count(&w.peers)
    cdef peer_t* peer
    for _ in range(slots):
        w.peer_hand = (w.peer_hand + 1) % slots
        peer = <peer_t*>slab_at(&w.peers, w.peer_hand)
        if peer.head.is_live and peer.use_count == 0 and peer.state != PEER_ASKED:
            peer_free(w, peer)
            return


# A certificate that is met for the first time, to be asked about. NULL: no place.
cdef inline peer_t* peer_new(
    worker_t* w, const uint8_t* digest, uint32_t bundle_generation,
) noexcept nogil:
    cdef peer_t** bucket = peer_bucket(w, digest)
    cdef peer_t* peer
    if w.peers.live_count >= PEERS_MAX:
        peer_make_room(w)
    peer = <peer_t*>slab_take(&w.peers)
    if peer == NULL:
        return NULL
    memcpy(peer.digest, digest, SHA256_BYTES)
    peer.bundle_generation = bundle_generation
    peer.state = PEER_ASKED
    peer.next_in_bucket = bucket[0]
    bucket[0] = peer
    return peer


# Leave the list of those who wait for the verdict; it is short, and leaving early is rare.
cdef inline void peer_stop_waiting(tls_t* tls) noexcept nogil:
    cdef tls_t** link
    if tls.waiter == NULL:
        return
    link = &tls.peer.first_waiter
    while link[0] != tls:
        link = &link[0].next_waiter
    link[0] = tls.next_waiter
    tls.waiter = NULL


# The connection is over.
cdef inline void peer_forget(tls_t* tls) noexcept nogil:
    if tls.peer == NULL:
        return
    peer_stop_waiting(tls)
    tls.peer.use_count -= 1
    tls.peer = NULL


# Who the downstream has proved to be; NULL: it speaks plaintext.
cdef inline const peer_t* conn_peer(const conn_t* c) noexcept nogil:
    cdef const tls_t* tls = c.sides[DOWNSTREAM].tls
    if tls == NULL or tls.state != TLS_OPEN or tls.peer.state != PEER_KNOWN:
        return NULL
    return tls.peer


# Part of an identity; of nobody's it is empty.
cdef inline word_t peer_part(const peer_t* peer, uint32_t at, uint32_t length) noexcept nogil:
    cdef word_t part
    part.at = NULL
    part.bytes = 0
    if peer != NULL:
        part.at = peer.id + at
        part.bytes = length
    return part


# Istio's name of an identity: the URI without its scheme.
cdef inline word_t peer_principal(const peer_t* peer) noexcept nogil:
    return peer_part(peer, PEER_DOMAIN_AT, peer.id_bytes - PEER_DOMAIN_AT if peer != NULL else 0)


cdef inline word_t peer_trust_domain(const peer_t* peer) noexcept nogil:
    return peer_part(peer, PEER_DOMAIN_AT, peer.trust_domain_bytes if peer != NULL else 0)


cdef inline word_t peer_namespace(const peer_t* peer) noexcept nogil:
    if peer == NULL or peer.namespace_bytes == 0:
        return peer_part(NULL, 0, 0)
    return peer_part(peer, peer.namespace_at, peer.namespace_bytes)


# NAMESPACE/sa/ACCOUNT: the end of an identity in Istio's form.
cdef inline word_t peer_account(const peer_t* peer) noexcept nogil:
    if peer == NULL or peer.namespace_bytes == 0 or peer.account_bytes == 0:
        return peer_part(NULL, 0, 0)
    return peer_part(
        peer, peer.namespace_at, peer.account_at + peer.account_bytes - peer.namespace_at)


# Another certificate of the same identity that has a limit already; NULL: there is none. Asked once
# for each certificate.
cdef inline peer_t* peer_same(worker_t* w, const peer_t* peer) noexcept nogil:
    cdef uint32_t slot
    cdef peer_t* other
    for slot in range(slab_slot_count(&w.peers)):
        other = <peer_t*>slab_at(&w.peers, slot)
        if other.head.is_live and other.limit != NULL and other.id_bytes == peer.id_bytes and (
                memcmp(other.id, peer.id, peer.id_bytes) == 0):
            return other
    return NULL


# What counts the requests of an identity. NULL: no memory.
cdef inline bucket_t* peer_bucket_of(worker_t* w, peer_t* peer) noexcept nogil:
    cdef peer_t* other
    if peer.limit == NULL:
        other = peer_same(w, peer)
        peer.limit = other.limit if other != NULL else (
            <peer_limit_t*>calloc(1, sizeof(peer_limit_t)))
        if peer.limit == NULL:
            return NULL
        peer.limit.use_count += 1
    return &peer.limit.bucket


# Who is at the far end of mesh TLS: the downstream where it speaks TLS to us, else the upstream.
# NULL: it is plaintext, or nobody is known yet.
cdef inline const peer_t* peer_beyond(const conn_t* c) noexcept nogil:
    cdef const tls_t* tls = c.sides[DOWNSTREAM].tls
    if tls == NULL:
        tls = c.sides[UPSTREAM].tls
    if tls == NULL or tls.peer == NULL or tls.peer.id == NULL:
        return NULL
    return tls.peer


# Keep what records show of that identity, cut where it is very long; returns how many bytes.
cdef inline uint8_t peer_keep(const conn_t* c, char* target) noexcept nogil:
    cdef const peer_t* peer = peer_beyond(c)
    cdef uint32_t length
    if peer == NULL:
        return 0
    length = peer.id_bytes
    if length > LOG_PEER_BYTES_MAX:
        length = LOG_PEER_BYTES_MAX
    memcpy(target, peer.id, length)
    return <uint8_t>length


# Forget all of them: the worker ends.
cdef inline void peer_free_all(worker_t* w) noexcept nogil:
    cdef uint32_t slot
    cdef peer_t* peer
    for slot in range(slab_slot_count(&w.peers)):
        peer = <peer_t*>slab_at(&w.peers, slot)
        if peer.head.is_live:
            peer_free(w, peer)
