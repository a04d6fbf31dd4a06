"""Why handshakes of mesh TLS fail: what each reason means, and what to do about it.

Words are those of `remora_tls_handshake_failures_total`. "Peer" is the other side of the handshake:
the upstream of what we dialled, the downstream of what we accepted.
"""

from typing import Final, NamedTuple


class Failure(NamedTuple):
    """What a reason means. An empty hint marks one that is never counted."""

    text: str
    hint: str = ""


_UNKNOWN: Final = Failure("unknown", "this reason has no description: report it as a bug")

# Every reason of the data plane, in its order.
FAILURES: Final = {
    "none": Failure("no failure"),
    "no_certificate": Failure(
        "the peer showed no certificate",
        "is it a mesh proxy at all? a strict port lets nobody else in: see --mtls-ports",
    ),
    "untrusted": Failure(
        "no root of our trust bundle signed the peer's certificate",
        "is it of another CA, or was a root replaced before every ca.crt had the new one? an"
        " intermediate that is missing in its tls.crt looks the same",
    ),
    "expired": Failure(
        "the peer's certificate, or one above it, has ended",
        "does its renewal run? `remora ctl identity` there shows the last error; also compare the"
        " clocks",
    ),
    "not_yet_valid": Failure(
        "the peer's certificate is not valid yet", "compare the clocks of both nodes"
    ),
    "usage": Failure(
        "the peer's certificate is that of a CA, or its key may not be used for this",
        "a workload needs CA:FALSE, digitalSignature and, if there are extended usages, both"
        " serverAuth and clientAuth: look at the template of its issuer",
    ),
    "identity": Failure(
        "the peer's certificate does not name exactly one SPIFFE ID",
        "a workload needs one URI among its names, spiffe://TRUST-DOMAIN/PATH: look at the template"
        " of its issuer",
    ),
    "trust_domain": Failure(
        "the peer's SPIFFE ID is of another trust domain",
        "trust domains are not federated: both sides need one and the same",
    ),
    "unexpected": Failure(
        "the upstream proved to be somebody else than --mesh says",
        "was its address given to another pod, or does --mesh name the wrong service account? of an"
        " HTTP request `remora ctl requests` shows who was found instead",
    ),
    "version": Failure(
        "no version, cipher or key exchange in common",
        "the peer must speak TLS 1.3: nothing older is taken",
    ),
    "refused": Failure(
        "the peer refused us with an alert",
        "its own log and counters say why: most often it lacks our root, or expected somebody else",
    ),
    "protocol": Failure(
        "what the peer sent is not TLS, or broken",
        "is what --mesh names a mesh endpoint, and does nothing on the way change the bytes?",
    ),
    "closed": Failure(
        "the peer went away in the middle of the handshake",
        "a port scan or TCP health check does that; else look whether the peer crashed or gave up",
    ),
    "timeout": Failure(
        "the handshake was not over within --tls-timeout",
        "is the peer overloaded, or no mesh endpoint that just waits for us to speak?",
    ),
    "resources": Failure(
        "no memory, or too many new certificates at once",
        "raise the container's memory limit; new peers that come all at once succeed when they try"
        " again",
    ),
}


def explain_failure(reason: str) -> Failure:
    """Return what a reason means; never fails."""
    return FAILURES.get(reason, _UNKNOWN)
