"""HTTP requests that did not go well: response flags, and the answers that the proxy makes itself.

Flags are Envoy's letters, one for each request in metrics and the access log. Words stand in
`remora-error` of an answer that no upstream made; a word means the same for ever. What either
usually means to the person who reads it stands here, once.
"""

from typing import Final, NamedTuple

# As the data plane writes it where there is nothing to say.
NO_FLAG: Final = "-"
SUCCESS: Final = "success"
FAILURE: Final = "failure"
_SERVER_ERROR: Final = 500


class Flag(NamedTuple):
    """What a response flag means. `is_failure`: the service is to blame, whatever the status."""

    text: str
    hint: str = ""
    is_failure: bool = False


class Answer(NamedTuple):
    """An answer of the proxy's own, as `remora-error: WORD` tells it."""

    status: int
    flag: str
    hint: str


# Every flag of the data plane, by name.
FLAGS: Final = {
    NO_FLAG: Flag("the upstream's own answer"),
    "DPE": Flag(
        "downstream protocol error",
        "the downstream's message is not HTTP that every parser reads alike: see remora-error in"
        " the answer",
    ),
    "DC": Flag(
        "downstream connection terminated",
        "the downstream left before the end of the answer: did it give up waiting?",
    ),
    "SI": Flag(
        "stream idle",
        "408: the downstream did not finish its request in time; 504: the upstream was asked and"
        " said nothing: see --http-header-timeout and --http-idle-timeout",
    ),
    "UF": Flag(
        "upstream connect failure",
        "no connection to the upstream: is the app up, and listening on the pod's address?",
        is_failure=True,
    ),
    "UO": Flag(
        "upstream overflow",
        "every connection to the upstream was busy for a whole connect timeout: is it slow? see"
        " --http-pool-max",
        is_failure=True,
    ),
    "UC": Flag(
        "upstream connection terminated",
        "the upstream closed or reset before the end of its answer: did it crash, or is its"
        " keep-alive shorter than --http-pool-idle-timeout?",
        is_failure=True,
    ),
    "UPE": Flag(
        "upstream protocol error",
        "the upstream's answer is not HTTP/1.1 that every parser reads alike",
        is_failure=True,
    ),
    "UT": Flag(
        "upstream request timeout",
        "the upstream said nothing within timeouts.backendRequest of the route; within an answer:"
        " for --http-idle-timeout",
        is_failure=True,
    ),
    "OM": Flag(
        "overload",
        "no memory or no file descriptor left: raise the container's limits",
        is_failure=True,
    ),
    "LR": Flag(
        "local reset",
        "the proxy ended the connection: a drain deadline, `remora ctl close`, a timeout, or its"
        " own end; see the connection's reason",
        is_failure=True,
    ),
    "UAEX": Flag(
        "unauthorized",
        "an authorization policy does not let it in: `remora ctl policy` shows which, and the log"
        " line `denied` who it was",
    ),
    "NR": Flag(
        "no route",
        "no route of the service matches, or the one that does leads to nobody: `remora ctl why`"
        " tells which",
    ),
    "UH": Flag(
        "no healthy upstream",
        "the service has no endpoint that is ready: `remora ctl config` lists them",
        is_failure=True,
    ),
    "RL": Flag(
        "rate limited",
        "above remora.dev/rate-limit of the service or route, or remora.dev/peer-rate-limit",
    ),
    "DI": Flag("delay injected", "remora.dev/fault-delay asks for it"),
    "FI": Flag("fault injected", "remora.dev/fault-abort asks for it"),
    "UMSDR": Flag(
        "upstream maximum duration",
        "the request took longer, with its retries, than timeouts.request of its route, or than the"
        " downstream's remora-timeout-ms",
        is_failure=True,
    ),
}
_UNKNOWN: Final = Flag("unknown", "this flag has no description: report it as a bug", True)  # noqa: FBT003 - a record

# Every word of `remora-error`.
ANSWERS: Final = {
    "request_malformed": Answer(
        400,
        "DPE",
        "two parsers could read this request differently: a bare LF, a space before a colon,"
        " Content-Length with Transfer-Encoding, two Hosts, a broken chunk",
    ),
    "path_ambiguous": Answer(
        400,
        "DPE",
        "policies look at paths, and servers read this one in several ways: an encoded slash or"
        " backslash, a broken escape",
    ),
    "denied": Answer(
        403, "UAEX", "an authorization policy does not let it in: see `remora ctl policy`"
    ),
    "plaintext_refused": Answer(
        403,
        "UAEX",
        "only mesh TLS may come in here (strict), and in plaintext only the probes that our own Pod"
        " names",
    ),
    "no_route": Answer(
        404, "NR", "the service has routes, and none matches: `remora ctl why` tells why"
    ),
    "unknown_host": Answer(
        404,
        "NR",
        "--listen-hosts: no Service has this name and port; `remora ctl config` lists them",
    ),
    "request_timeout": Answer(
        408,
        "SI",
        "the request was not whole in time: a slow or stalled downstream; see"
        " --http-header-timeout",
    ),
    "body_too_large": Answer(413, "DPE", "the request's body is larger than --http-body-max"),
    "request_line_too_long": Answer(414, "DPE", "the request line is longer than 16 KiB"),
    "rewrite_too_long": Answer(414, "NR", "what the route makes of the path is too long"),
    "expectation_unknown": Answer(417, "DPE", "Expect has another word than 100-continue"),
    "rate_limited": Answer(
        429, "RL", "above the limit that an annotation sets; Retry-After tells when there is room"
    ),
    "header_too_large": Answer(
        431, "DPE", "the head is larger than 64 KiB or has more than 100 fields: cookies?"
    ),
    "no_backend": Answer(
        500, "NR", "the route leads to no service that there is: `remora ctl why` tells which"
    ),
    "coding_unknown": Answer(501, "DPE", "Transfer-Encoding has more than chunked"),
    "response_malformed": Answer(
        502, "UPE", "two parsers could read the upstream's answer differently, or it is no HTTP"
    ),
    "connect_failed": Answer(
        503,
        "UF",
        "the upstream refused, or no route leads to it: is the app listening on the pod's address"
        " (or 0.0.0.0), and on this port?",
    ),
    "upstream_closed": Answer(
        503,
        "UC",
        "the upstream closed without an answer, and this request may not be sent twice: did it"
        " crash, or is its keep-alive shorter than --http-pool-idle-timeout?",
    ),
    "queue_full": Answer(
        503,
        "UO",
        "connectionPool.http.http1MaxPendingRequests wait for a connection already: is the service"
        " slow?",
    ),
    "too_many_requests": Answer(
        503, "UO", "connectionPool.http.http2MaxRequests are in flight to the service already"
    ),
    "no_endpoint": Answer(
        503, "UH", "the service has no endpoint that is ready: `remora ctl config` lists them"
    ),
    "overloaded": Answer(
        503, "OM", "remora.dev/concurrency-limit requests are in flight in this pod already"
    ),
    "fault_injected": Answer(503, "FI", "remora.dev/fault-abort asks for it"),
    "tls_failed": Answer(
        503,
        "UF",
        "no mesh TLS with the upstream: an identity that was not expected, a certificate that is"
        " not trusted? remora_tls_handshake_failures_total says why",
    ),
    "no_identity": Answer(
        503, "UF", "our own certificate has ended: see `remora ctl identity` and its issuer"
    ),
    "no_resources": Answer(
        503, "OM", "no memory or no file descriptor left: raise the container's limits"
    ),
    "connect_timeout": Answer(
        504,
        "UF",
        "no answer to SYN: a NetworkPolicy or firewall that drops, an address that is gone, or a"
        " full accept queue; see --connect-timeout",
    ),
    "tls_timeout": Answer(
        504, "UF", "the upstream accepted and did not finish its handshake in --tls-timeout"
    ),
    "queue_timeout": Answer(
        504,
        "UO",
        "every connection to the endpoint stayed busy for a connect timeout: is it slow? else raise"
        " --http-pool-max, or connectionPool.tcp.maxConnections of its DestinationRule",
    ),
    "upstream_timeout": Answer(
        504, "SI", "connected and asked, and then nothing for --http-idle-timeout"
    ),
    "try_timeout": Answer(
        504, "UT", "one try took longer than timeouts.backendRequest, and may not be repeated"
    ),
    "request_deadline": Answer(
        504,
        "UMSDR",
        "the whole request, with its retries, took longer than timeouts.request of its route, or"
        " than the downstream's remora-timeout-ms",
    ),
    "version_unknown": Answer(505, "DPE", "neither HTTP/1.0 nor HTTP/1.1"),
}


def explain_flag(flag: str) -> Flag:
    """Return what a flag means; never fails."""
    return FLAGS.get(flag, _UNKNOWN)


def classify(status: int, flag: str) -> str:
    """Return "success" or "failure", from the service's side, as Linkerd's dashboards count.

    A server error is a failure, and so is an answer that somebody but the downstream cut short. A
    downstream that was refused or left is no failure of the service: its flag finds it.
    """
    is_failure = status >= _SERVER_ERROR or explain_flag(flag).is_failure
    return FAILURE if is_failure else SUCCESS
