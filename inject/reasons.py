"""Why a pod is left alone. Each reason has a word for scripts and a sentence for people."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from inject import pods
from inject.pods import Raw
from inject.settings import CLASSIC, DISABLED, ENABLED, INJECT, SIDECAR, STATUS, Fault, Settings

PROXY_ID: Final = 1337
INIT: Final = "remora-init"
PROXY: Final = "remora-proxy"
OWN_PREFIX: Final = "remora-"
PORTS: Final = (15000, 15001, 15006, 15020)
SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")

# Containers by which other meshes are known.
_PEERS: Final = {
    "istio-proxy": "Istio",
    "istio-init": "Istio",
    "linkerd-proxy": "Linkerd",
    "linkerd-init": "Linkerd",
    "kuma-sidecar": "Kuma",
    "kuma-init": "Kuma",
    "consul-dataplane": "Consul",
    "consul-connect-inject-init": "Consul",
    "osm-init": "Open Service Mesh",
}
# Labels or annotations that ask another mesh's webhook for its proxy.
_ASKING: Final = {
    "sidecar.istio.io/inject": ("true", "Istio"),
    "linkerd.io/inject": ("enabled", "Linkerd"),
    "kuma.io/sidecar-injection": ("enabled", "Kuma"),
    "consul.hashicorp.com/connect-inject": ("true", "Consul"),
}


class Reason(NamedTuple):
    """Why not, as a word and as a sentence."""

    word: str
    text: str


Look = Callable[[Raw, Settings, str], str]


def _disabled(pod: Raw, _settings: Settings, _namespace: str) -> str:
    return f"{INJECT} is {DISABLED}" if wanted(pod) == DISABLED else ""


def _already(pod: Raw, _settings: Settings, _namespace: str) -> str:
    return "has the sidecar already" if STATUS in pods.annotations(pod) else ""


def _mirror_pod(pod: Raw, _settings: Settings, _namespace: str) -> str:
    if "kubernetes.io/config.mirror" not in pods.annotations(pod):
        return ""
    return "is the mirror of a static pod, which the kubelet runs from a file"


def _system_namespace(_pod: Raw, _settings: Settings, namespace: str) -> str:
    return f"is in {namespace}, on which the mesh depends" if namespace in SYSTEM_NAMESPACES else ""


def _host_network(pod: Raw, _settings: Settings, _namespace: str) -> str:
    if not pod["spec"].get("hostNetwork"):
        return ""
    return "hostNetwork: its rules would redirect the traffic of the whole node"


def _windows(pod: Raw, _settings: Settings, _namespace: str) -> str:
    system = pods.member(pod["spec"], "os").get("name")
    selected = pods.member(pod["spec"], "nodeSelector").get("kubernetes.io/os")
    names = (system, selected)
    return "runs on Windows" if "windows" in names else ""


def _other_mesh(pod: Raw, _settings: Settings, _namespace: str) -> str:
    for container in pods.containers(pod):
        if container["name"] in _PEERS:
            return f"has {container['name']} of {_PEERS[container['name']]}"
    for name, (word, mesh) in _ASKING.items():
        for words in (pods.labels(pod), pods.annotations(pod)):
            if str(words.get(name)).lower() == word:
                return f"asks for the proxy of {mesh} ({name})"
    return ""


def _name_taken(pod: Raw, _settings: Settings, _namespace: str) -> str:
    for thing in (*pods.containers(pod), *pods.items(pod, "volumes")):
        if thing["name"].startswith(OWN_PREFIX) and STATUS not in pods.annotations(pod):
            return f"{thing['name']} is there and {STATUS} is not: put in by hand?"
    return ""


def _proxy_uid(pod: Raw, _settings: Settings, _namespace: str) -> str:
    for thing in (pod["spec"], *pods.containers(pod)):
        for field in ("runAsUser", "runAsGroup"):
            if pods.member(thing, "securityContext").get(field) == PROXY_ID:
                return f"{field} {PROXY_ID} is the proxy's: its traffic would pass unseen"
    return ""


def _port_taken(pod: Raw, _settings: Settings, _namespace: str) -> str:
    for container in pods.containers(pod):
        for port in pods.ports(container):
            if port.get("containerPort") in PORTS and port.get("protocol", "TCP") == "TCP":
                return f"{container['name']} uses port {port['containerPort']}, the proxy's own"
    return ""


def _classic_job(pod: Raw, settings: Settings, _namespace: str) -> str:
    is_endless = pod["spec"].get("restartPolicy", "Always") == "Always"
    if is_endless or settings[SIDECAR.key] != CLASSIC:
        return ""
    return "ends by itself, and would not with a classic sidecar: use a native one"


# In this order; the first one that applies is told.
REASONS: Final[dict[str, Look]] = {
    "disabled": _disabled,
    "mirror_pod": _mirror_pod,
    "already": _already,
    "system_namespace": _system_namespace,
    "host_network": _host_network,
    "windows": _windows,
    "other_mesh": _other_mesh,
    "name_taken": _name_taken,
    "proxy_uid": _proxy_uid,
    "port_taken": _port_taken,
    "classic_job": _classic_job,
}


def wanted(pod: Raw) -> str:
    """Return what a pod says of injection, "" if nothing. Its label beats its annotation."""
    for words in (pods.labels(pod), pods.annotations(pod)):
        if INJECT in words:
            return str(words[INJECT])
    return ""


def word_faults(pod: Raw) -> list[Fault]:
    """Return a fault for a word that is neither enabled nor disabled."""
    return [
        Fault(f"metadata.{field}[{INJECT}]", f"{words[INJECT]!r} is none of {ENABLED}, {DISABLED}")
        for field, words in (("labels", pods.labels(pod)), ("annotations", pods.annotations(pod)))
        if INJECT in words and words[INJECT] not in (ENABLED, DISABLED)
    ]


def why_not(pod: Raw, settings: Settings, namespace: str) -> Reason | None:
    """Return why a pod of the right shape is left alone, or None."""
    for word, look in REASONS.items():
        text = look(pod, settings, namespace)
        if text:
            return Reason(word, text)
    return None


def notes(pod: Raw, settings: Settings) -> Iterator[str]:
    """Yield what an owner should know although the sidecar goes in."""
    udp = sorted(
        {
            port.get("containerPort", 0)
            for container in pods.containers(pod)
            for port in pods.ports(container)
            if port.get("protocol") == "UDP"
        }
    )
    if udp:
        yield f"UDP is not redirected: port {', '.join(map(str, udp))} stays as it is"
    if settings[SIDECAR.key] == CLASSIC and pods.items(pod, "initContainers"):
        yield "its init containers run outside of the mesh (classic)"
