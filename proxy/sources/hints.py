"""What to do about a fault."""

import re
from typing import Final

from proxy.sources.strict import Fault

# By the last word of the field that is not supported.
_FIELDS: Final = {
    "subsets": "make a Service for each subset, and share requests by an HTTPRoute's weights",
    "tls": "who speaks mesh TLS is found out by itself; PeerAuthentication says who must",
    "tunnel": "nothing is tunnelled: remove it",
    "proxyProtocol": "PROXY headers are not sent: remove it",
    "workloadSelector": "it holds for every client: put it into the clients' namespace instead",
    "httpCookie": "stick to a header (httpHeaderName) or to the client (useSourceIp)",
    "sessionPersistence": "a DestinationRule's consistentHash makes sessions sticky",
    "tcpKeepalive": "the proxy's flag --keepalive says it for all connections",
    "maxConnectionDuration": "idleTimeout is the limit that there is",
    "consecutiveErrors": "Istio calls it consecutive5xxErrors now",
    "distribute": "only `enabled` is understood: those of our zone first, or not",
    "failover": "only `enabled` is understood: those of our zone first, or not",
    "failoverPriority": "only `enabled` is understood: those of our zone first, or not",
    "minRetryConcurrency": "remora.dev/retry-budget, of the Service, has a minimum a second",
    "budgetInterval": "remora.dev/retry-budget, of the Service, has a minimum a second",
    "internalTrafficPolicy": "trafficDistribution: PreferSameZone is the nearest that there is",
}
_TEXTS: Final = (
    (r"is an alias", "write the value out where it is used: kubectl prints no aliases, either"),
    (r"is no Kubernetes object", "only manifests belong into the directory: move others away"),
    (r"^(expected|found|while|did not|could not|mapping values|unacceptable|.*did not find)",
     "the file is no YAML: look at the indentation and quotes above this line"),
    (r"stands in .*, too", "one object, one place: remove one of the two"),
    (r"is larger than|files; .* are the most", "split it, or keep out what remora does not read"),
    (r"is not among the manifests", "kubectl get pod NAME -o yaml > DIR/pod.yaml"),
    (r"of '.*' is not supported \(", "kubectl get prints the newest version that the cluster has"),
    (r"is not supported", "docs/manifests.md has the fields that are understood: remove this one"),
    (r"duration", "docs/manifests.md: durations of Gateway API and of Istio differ"),
)  # fmt: skip


def hint(fault: Fault) -> str:
    """Return what to do, "" where the fault says it."""
    word = re.split(r"[.\[\]]", fault.field.rstrip("]0123456789["))[-1]
    if "not supported" in fault.text and word in _FIELDS:
        return _FIELDS[word]
    return next((text for pattern, text in _TEXTS if re.search(pattern, fault.text)), "")
