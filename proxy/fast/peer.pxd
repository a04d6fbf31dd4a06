# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Who the other side of a connection is.
#
# Rule 1: an identity is compared with its length, never up to a NUL (CVE-2026-47778).
from libc.stdint cimport uint32_t

from proxy.fast.rules cimport word_t
from proxy.fast.types cimport conn_t, peer_t

cdef enum:
    PEER_DOMAIN_AT = 9          # behind "spiffe://"


# Who the downstream proved to be; NULL: it is plaintext.
cdef inline const peer_t* conn_peer(const conn_t* c) noexcept nogil:
    return NULL


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
