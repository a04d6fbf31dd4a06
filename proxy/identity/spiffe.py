"""SPIFFE IDs: parsed strictly, compared whole.

Source: SPIFFE-ID.md sections 2.1 to 2.3. What is not exactly of that form is refused: two parsers
that disagree on an identity are a way around authorization (CVE-2026-47778 was a NUL in a name).
"""

import re
from typing import Final, NamedTuple

ID_BYTES_MAX: Final = 2048  # SPIFFE-ID.md section 2.3: what everybody must accept, and enough
TRUST_DOMAIN_BYTES_MAX: Final = 255

_SCHEME: Final = "spiffe://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT: Final = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)
_KUBERNETES: Final = re.compile(r"/ns/([^/]+)/sa/([^/]+)", re.ASCII)


class SpiffeError(ValueError):
    """Not a SPIFFE ID; the text is the end of a sentence that begins with the ID."""


class SpiffeId(NamedTuple):
    """An identity. `path` is empty (the trust domain itself) or begins with a slash."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        """Return the URI."""
        return f"{_SCHEME}{self.trust_domain}{self.path}"

    @property
    def principal(self) -> str:
        """The form of Istio's policies: the URI without its scheme."""
        return f"{self.trust_domain}{self.path}"

    @property
    def namespace(self) -> str | None:
        """The Kubernetes namespace, where the path has Istio's form."""
        found = _KUBERNETES.fullmatch(self.path)
        return found[1] if found else None

    @property
    def service_account(self) -> str | None:
        """The Kubernetes ServiceAccount, where the path has Istio's form."""
        found = _KUBERNETES.fullmatch(self.path)
        return found[2] if found else None


def of_service_account(trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
    """Return Istio's form of an identity; raises SpiffeError if a part cannot be in one."""
    for name in (namespace, service_account):
        _check_segment(name)
    return parse(f"{_SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}")


def parse(text: str) -> SpiffeId:
    """Read a SPIFFE ID; raises SpiffeError.

    The scheme and the trust domain compare without case (lower case comes out), the path with.
    """
    if len(text.encode("utf-8", "surrogatepass")) > ID_BYTES_MAX:
        raise SpiffeError(f"is longer than {ID_BYTES_MAX} bytes")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise SpiffeError("does not begin with spiffe://")
    authority, slash, rest = text[len(_SCHEME) :].partition("/")
    return SpiffeId(parse_trust_domain(authority), _path(rest) if slash else "")


def parse_trust_domain(text: str) -> str:
    """Read the name of a trust domain; raises SpiffeError."""
    # Only ASCII letters may be folded: str.lower() maps others (the Kelvin sign) onto them.
    name = text.lower() if text.isascii() else text
    if not _TRUST_DOMAIN.fullmatch(name):
        raise SpiffeError(
            f"has a bad trust domain {text!r} (a to z, 0 to 9, dot, dash, underscore)"
        )
    if len(name) > TRUST_DOMAIN_BYTES_MAX:
        raise SpiffeError(f"has a trust domain of more than {TRUST_DOMAIN_BYTES_MAX} bytes")
    return name


def _path(rest: str) -> str:
    for segment in rest.split("/"):
        _check_segment(segment)
    return f"/{rest}"


def _check_segment(text: str) -> None:
    if text in {".", ".."} or not _SEGMENT.fullmatch(text):
        raise SpiffeError(f"has a bad path segment {text!r}")
