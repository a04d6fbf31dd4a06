# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=False
#
# L2. Addresses: between the kernel's sockaddr and our addr_t.
#
# An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is IPv4 for us: what was dialled is an
# IPv4 destination, and only SOL_IP knows it by its original name.
from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from proxy.fast.address cimport addr_t
from proxy.fast.platform cimport (
    AF_INET, AF_INET6, htons, inet_ntop, inet_pton, ntohs, sockaddr_in, sockaddr_in6,
    sockaddr_storage, socklen_t,
)

cdef enum:
    ADDR_TEXT_BYTES = 46        # INET6_ADDRSTRLEN

cdef extern from *:
    """
    static const unsigned char remora_mapped[12] = {0,0,0,0,0,0,0,0,0,0,0xff,0xff};
    static const unsigned char remora_loopback6[16] = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1};
    """
    const unsigned char mapped_prefix "remora_mapped"[12]
    const unsigned char loopback6 "remora_loopback6"[16]


cdef inline void addr_from_sockaddr(addr_t* target, const sockaddr_storage* source) noexcept nogil:
    cdef const sockaddr_in* v4
    cdef const sockaddr_in6* v6
    memset(target, 0, sizeof(addr_t))
    if source.ss_family == AF_INET:
        v4 = <const sockaddr_in*>source
        memcpy(target.ip, &v4.sin_addr, 4)
        target.port = ntohs(v4.sin_port)
        target.family = 4
    elif source.ss_family == AF_INET6:
        v6 = <const sockaddr_in6*>source
        target.port = ntohs(v6.sin6_port)
        if memcmp(&v6.sin6_addr, mapped_prefix, 12) == 0:
            memcpy(target.ip, <const char*>&v6.sin6_addr + 12, 4)
            target.family = 4
        else:
            memcpy(target.ip, &v6.sin6_addr, 16)
            target.scope = v6.sin6_scope_id
            target.family = 6


# Fill a sockaddr; returns its length.
cdef inline socklen_t addr_to_sockaddr(
    const addr_t* source, sockaddr_storage* target,
) noexcept nogil:
    cdef sockaddr_in* v4
    cdef sockaddr_in6* v6
    memset(target, 0, sizeof(sockaddr_storage))
    if source.family == 4:
        v4 = <sockaddr_in*>target
        v4.sin_family = AF_INET
        v4.sin_port = htons(source.port)
        memcpy(&v4.sin_addr, source.ip, 4)
        return sizeof(sockaddr_in)
    v6 = <sockaddr_in6*>target
    v6.sin6_family = AF_INET6
    v6.sin6_port = htons(source.port)
    v6.sin6_scope_id = source.scope
    memcpy(&v6.sin6_addr, source.ip, 16)
    return sizeof(sockaddr_in6)


cdef inline bint addr_is_loopback(const addr_t* address) noexcept nogil:
    if address.family == 4:
        return address.ip[0] == 127
    return memcmp(address.ip, loopback6, 16) == 0


cdef inline bint addr_is_wildcard(const addr_t* address) noexcept nogil:
    cdef int i
    for i in range(16):
        if address.ip[i]:
            return False
    return True


cdef inline bint addr_is_same_ip(const addr_t* a, const addr_t* b) noexcept nogil:
    return a.family == b.family and memcmp(a.ip, b.ip, 16) == 0


# The same endpoint? Scopes are not compared: who writes a link-local address down has none.
cdef inline bint addr_is_same(const addr_t* a, const addr_t* b) noexcept nogil:
    return a.port == b.port and addr_is_same_ip(a, b)


cdef inline uint64_t addr_hash(const addr_t* address) noexcept nogil:
    cdef uint64_t hash = 0xCBF29CE484222325ULL ^ (<uint64_t>address.port << 8)      # FNV-1a
    cdef int i
    for i in range(16):
        hash = (hash ^ address.ip[i]) * 0x100000001B3ULL
    return hash ^ (hash >> 32)


# Fill ip and family from text without a scope; the rest is zeroed. False: this is no address.
cdef inline bint addr_from_text(addr_t* target, const char* text) noexcept nogil:
    cdef unsigned char packed[16]
    memset(target, 0, sizeof(addr_t))
    if inet_pton(AF_INET, text, target.ip) == 1:
        target.family = 4
    elif inet_pton(AF_INET6, text, packed) != 1:
        return False
    elif memcmp(packed, mapped_prefix, 12) == 0:
        memcpy(target.ip, packed + 12, 4)
        target.family = 4
    else:
        memcpy(target.ip, packed, 16)
        target.family = 6
    return True


# The text of an address, "" for none; `target` has room for ADDR_TEXT_BYTES.
cdef inline const char* addr_to_text(const addr_t* address, char* target) noexcept nogil:
    target[0] = 0
    if address.family:
        inet_ntop(AF_INET if address.family == 4 else AF_INET6, address.ip, target, ADDR_TEXT_BYTES)
    return target
