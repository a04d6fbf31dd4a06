"""Certificates with damaged DER: no exception, and no identity that a strict reader refuses.

The reference reads DER by hand and knows nothing of `cryptography`. It is asked only about what was
taken: what it cannot read should have been refused.
"""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final

from cryptography import x509

from proxy.identity import peers
from proxy.identity.spiffe import SpiffeError, SpiffeId, parse
from tests.support.mesh_stepper import TRUST_DOMAIN

Judge = Callable[[bytes, str], peers.Verdict]

SEQUENCE, BOOLEAN, OCTETS, OID, BITS = 0x30, 0x01, 0x04, 0x06, 0x03
URI: Final = 0x86
EXTENSIONS: Final = 0xA3
SAN, CONSTRAINTS, KEY_USAGE, EXTENDED = (bytes([0x55, 0x1D, n]) for n in (17, 19, 15, 37))
SERVER, CLIENT = (bytes([0x2B, 6, 1, 5, 5, 7, 3, n]) for n in (1, 2))
_NAME: Final = re.compile(
    rb"(?i:spiffe)://(?P<domain>[a-zA-Z0-9._-]{1,255})(?P<path>(/(?!\.{1,2}(/|\Z))[a-zA-Z0-9._-]+)+)\Z"
)


def elements(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content); whatever is not DER is an AssertionError."""
    at = 0
    while at < len(text):
        tag, first, at = text[at], text[at + 1], at + 2
        assert tag & 0x1F != 0x1F, "a tag of several bytes"
        size = first
        if first & 0x80:
            count = first & 0x7F
            assert 1 <= count <= 4, "a length of no or many bytes"
            size = int.from_bytes(text[at : at + count])
            at += count
            assert size >= 0x80, "a length that is too long"
        assert at + size <= len(text), "ends early"
        yield tag, text[at : at + size]
        at += size


def only(text: bytes, tag: int) -> bytes:
    found = list(elements(text))
    assert len(found) == 1, f"{len(found)} elements"
    assert found[0][0] == tag, f"tag {found[0][0]:#x}"
    return found[0][1]


def extensions(der: bytes) -> dict[bytes, tuple[bool, bytes]]:
    """Return OID → (critical, content)."""
    certificate = list(elements(only(der, SEQUENCE)))
    rows = [content for tag, content in elements(certificate[0][1]) if tag == EXTENSIONS]
    assert len(rows) == 1, "no extensions"
    found: dict[bytes, tuple[bool, bytes]] = {}
    for _, row in elements(only(rows[0], SEQUENCE)):
        (_, oid), *flag, (tag, content) = elements(row)
        assert tag == OCTETS, "an extension that is none"
        assert oid not in found, "an extension twice"
        found[oid] = bool(flag and flag[0][1] != b"\0"), content
    return found


def reference(der: bytes) -> tuple[bytes, bytes]:
    """Return (trust domain in lower case, path); an AssertionError says why there is none."""
    found = extensions(der)
    uris = [text for tag, text in elements(only(found[SAN][1], SEQUENCE)) if tag == URI]
    assert len(uris) == 1, f"{len(uris)} URIs"
    name = _NAME.match(uris[0])
    assert name, f"no SPIFFE ID: {uris[0]!r}"
    assert len(uris[0]) <= 2048, "too long"
    if CONSTRAINTS in found:
        rows = list(elements(only(found[CONSTRAINTS][1], SEQUENCE)))
        assert not rows or rows[0] != (BOOLEAN, b"\xff"), "a CA"
    critical, usage = found[KEY_USAGE]
    bits = only(usage, BITS)
    assert critical, "key usage is not critical"
    assert bits[1] & 0x80, "may not sign"
    assert not bits[1] & 0x06, "may sign certificates or lists"
    if EXTENDED in found:
        uses = {oid for _, oid in elements(only(found[EXTENDED][1], SEQUENCE))}
        assert {SERVER, CLIENT} <= uses, "not for both sides"
    return name["domain"].lower(), name["path"]


def check_svid(_: ModuleType, der: bytes) -> None:
    check(peers.judge, der)


def check_lax_svid(_: ModuleType, der: bytes) -> None:
    """Like a proxy that takes the first URI, as some do."""
    check(lax, der)


def lax(der: bytes, trust_domain: str) -> peers.Verdict:
    try:
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        identity = parse(names.value.get_values_for_type(x509.UniformResourceIdentifier)[0])
    except (ValueError, IndexError, SpiffeError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return peers.Verdict(None, peers.IDENTITY)
    return peers.Verdict(identity if identity.trust_domain == trust_domain else None)


def check(judge: Judge, der: bytes) -> None:
    try:
        verdict = judge(der, TRUST_DOMAIN)
    except Exception as fault:
        raise AssertionError(f"{type(fault).__name__}: {fault}") from fault
    if verdict.identity is None:
        return
    try:
        domain, path = reference(der)
    except (AssertionError, LookupError, ValueError) as fault:
        raise AssertionError(f"{verdict.identity} is taken: {fault}") from fault
    assert verdict.identity == SpiffeId(domain.decode(), path.decode())
    places = peers.places(verdict.identity)
    text = str(verdict.identity)
    if places.namespace_bytes:
        end = places.namespace_at + places.namespace_bytes
        assert text[places.namespace_at : end] == verdict.identity.namespace
        end = places.account_at + places.account_bytes
        assert text[places.account_at : end] == verdict.identity.service_account
