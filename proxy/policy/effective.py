"""Objects and who we are → what applies to this pod. Pure: the same objects, the same answer."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from proxy import values
from proxy.identity.spiffe import SpiffeError, of_service_account
from proxy.policy.paths import normalize
from proxy.policy.rows import PROBE_BYTES_MAX, PROBES_MAX
from proxy.sources.authorization_policy import AuthorizationPolicy
from proxy.sources.objects import Objects
from proxy.sources.peer_authentication import UNSET, PeerAuthentication
from proxy.sources.pod import Pod, Probe
from proxy.sources.strict import Fault, FaultsError
from proxy.values import Address

T = TypeVar("T", PeerAuthentication, AuthorizationPolicy)

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
DEFAULT_ROOT_NAMESPACE: Final = "istio-system"
PERMISSIVE: Final = "permissive"
DISABLE: Final = "disable"
# fast/limits.pxd, SERVICE_ADDRESSES_MAX; half of them, so that those of the flags find room.
MESH_MAX: Final = 524288


class Who(NamedTuple):
    """Who this proxy is told to be. With `pod` its labels come from that Pod, unless given."""

    namespace: str
    pod: str = ""
    labels: Mapping[str, str] | None = None
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    root_namespace: str = DEFAULT_ROOT_NAMESPACE
    mtls_default: str = PERMISSIVE  # where no object says, as the flags do
    mtls_ports: Mapping[int, str] = MappingProxyType({})
    zone: str = ""  # where we are; "": as the EndpointSlices tell of our Pod


class Me(NamedTuple):
    """Who this proxy is."""

    namespace: str
    pod: str
    labels: Mapping[str, str]
    service_account: str  # "" without a Pod
    identity: str  # SPIFFE ID, "" without a Pod


class Effective(NamedTuple):
    """What applies to this pod. Modes are "strict", "permissive" and "disable"."""

    me: Me
    mtls_default: str
    mtls_ports: dict[int, str]
    mtls_from: tuple[str, ...]  # the objects that say so, the strongest first
    mesh: dict[str, str]  # address of a meshed pod → the SPIFFE ID expected of it
    mesh_plain: frozenset[tuple[str, int]]  # (address, port) of them that take no mutual TLS
    probes: tuple[Probe, ...]  # paths in their one form
    policies: tuple[AuthorizationPolicy, ...]
    notes: tuple[str, ...]  # what an operator should know and no fault


class Mtls(NamedTuple):
    """How a pod takes connections."""

    default: str
    ports: dict[int, str]
    origin: tuple[str, ...]
    notes: tuple[str, ...]
    is_said: bool  # the default, by an object


def effective(objects: Objects, who: Who) -> Effective:
    """Return what applies to `who`. Raises FaultsError when something that does cannot be used."""
    me, own = _me(objects, who)
    policies = _applying(objects.authorization_policies, who, me.namespace, me.labels)
    ours = _applying(objects.peer_authentications, who, me.namespace, me.labels)
    faults = [fault for each in policies for fault in each.faults]
    faults += [fault for each in ours for fault in each.faults]
    probes, probe_faults = _probes(own)
    faults += probe_faults
    if len(probes) > PROBES_MAX:
        text = f"{len(probes)} probes of our own Pod; {PROBES_MAX} are the most"
        faults.append(Fault(f"Pod {me.namespace}/{me.pod}", 0, "", "", text))
    if faults:
        raise FaultsError(faults)
    mtls = mtls_of(objects.peer_authentications, who, me.namespace, me.labels)
    mesh, plain, notes = _mesh(objects, who)
    if len(mesh) + len(plain) > MESH_MAX:
        text = f"{len(mesh) + len(plain)} addresses of meshed pods; {MESH_MAX} are the most"
        raise FaultsError([Fault("Pod", 0, "", "", text)])
    return Effective(
        me,
        mtls.default,
        # What an object says of every port is said of those of the flags, too.
        mtls.ports if mtls.is_said else {**who.mtls_ports, **mtls.ports},
        mtls.origin,
        mesh,
        plain,
        probes,
        tuple(policies),
        (*mtls.notes, *notes, *_unused(objects)),
    )


def applies(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector chooses a pod with these labels; None chooses every pod."""
    return selector is None or all(labels.get(name) == text for name, text in selector.items())


def _applying(objects: Iterable[T], who: Who, namespace: str, labels: Mapping[str, str]) -> list[T]:
    """Return the objects of a pod's namespace and of the root namespace that choose it."""
    return [
        each
        for each in objects
        if each.meta.namespace in {namespace, who.root_namespace} and applies(each.selector, labels)
    ]


def _me(objects: Objects, who: Who) -> tuple[Me, Pod | None]:
    if not who.pod:
        return Me(who.namespace, "", who.labels or {}, "", ""), None
    path = f"{who.namespace}/{who.pod}"
    own = next((pod for pod in objects.pods if pod.meta.path == path), None)
    if own is None and who.labels is None:
        text = "is not among the manifests (--labels would do without it)"
        raise FaultsError([Fault(f"Pod {path}", 0, "", "", text)])
    labels = who.labels if who.labels is not None else own.meta.labels if own else {}
    account = own.service_account if own else ""
    identity = _identity(own, who) if own else ""
    return Me(who.namespace, who.pod, labels, account, identity), own


def _identity(pod: Pod, who: Who) -> str:
    """Return the SPIFFE ID of a pod, "" where its names make none."""
    try:
        return str(of_service_account(who.trust_domain, pod.meta.namespace, pod.service_account))
    except SpiffeError:
        return ""


def _probes(own: Pod | None) -> tuple[tuple[Probe, ...], list[Fault]]:
    probes: dict[Probe, None] = {}
    faults = []
    for port, path in own.probes if own else ():
        form = normalize(path.partition("?")[0].encode())
        if form is None or len(form) > PROBE_BYTES_MAX:
            text = f"the path {path!r} of a probe can be read in several ways, or is too long"
            meta = own.meta if own else None
            faults.append(Fault(meta.file, meta.line, str(meta), "", text)) if meta else None
        else:
            probes[Probe(port, form.decode())] = None
    return tuple(probes), faults


# ---- PeerAuthentication -------------------------------------------------------------------------


def mtls_of(
    policies: Iterable[PeerAuthentication], who: Who, namespace: str, labels: Mapping[str, str]
) -> Mtls:
    """Return how a pod takes connections: what its port says, or its workload, namespace, mesh."""
    notes: list[str] = []
    usable = [each for each in policies if not each.faults and applies(each.selector, labels)]
    own = [each for each in usable if each.meta.namespace == namespace]
    root = [each for each in usable if each.meta.namespace == who.root_namespace]
    # A selector in the root namespace chooses nobody elsewhere.
    levels = {
        "workload": [each for each in own if each.selector is not None],
        "namespace": [each for each in own if each.selector is None],
        "mesh": [each for each in root if each.selector is None],
    }
    if namespace == who.root_namespace:
        levels["workload"] = []
        levels["namespace"] = []
    notes += [
        f"{each.meta} is ignored: it has a selector in the root namespace"
        for each in root
        if each.selector is not None
    ]
    default, ports, origin = "", dict[int, str](), []
    for level, found in levels.items():
        first = _oldest(level, found, notes)
        if first is None:
            continue
        ports = ports or {port: mode.lower() for port, mode in first.ports.items() if mode != UNSET}
        if default or first.mode == UNSET:
            origin += [str(first.meta)] if first.ports else []
            continue
        default = first.mode.lower()
        origin.append(str(first.meta))
    return Mtls(
        default or who.mtls_default, ports, tuple(origin), tuple(notes), is_said=bool(default)
    )


def _oldest(
    level: str, found: list[PeerAuthentication], notes: list[str]
) -> PeerAuthentication | None:
    """Return the one that counts of several at one level; untold ages come last."""
    if not found:
        return None
    first, *others = sorted(
        found, key=lambda each: (not each.meta.created, each.meta.created, each.meta.path)
    )
    notes += [
        f"{each.meta} is ignored: {first.meta} is the older one for the same {level}"
        for each in others
    ]
    return first


# ---- the mesh -----------------------------------------------------------------------------------


def _mesh(
    objects: Objects, who: Who
) -> tuple[dict[str, str], frozenset[tuple[str, int]], list[str]]:
    """Return the meshed pods by address; an address of two identities is nobody's."""
    mesh: dict[str, str] = {}
    plain: set[tuple[str, int]] = set()
    doubtful: set[str] = set()
    notes: list[str] = []
    others = who._replace(mtls_default=PERMISSIVE)  # our flags are ours
    for pod in objects.pods:
        identity = _identity(pod, who) if pod.is_meshed else ""
        mtls = mtls_of(objects.peer_authentications, others, pod.meta.namespace, pod.meta.labels)
        if not identity or mtls.default == DISABLE:
            continue
        for word in pod.ips:
            ip = _address(word)
            if not ip:
                notes.append(f"{pod.meta} has {word!r} for an address: not meshed")
                continue
            if mesh.setdefault(ip, identity) != identity:
                doubtful.add(ip)
            plain |= {(ip, port) for port, mode in mtls.ports.items() if mode == DISABLE}
    notes += [f"{ip} belongs to pods of two identities: not meshed" for ip in sorted(doubtful)]
    kept = {ip: identity for ip, identity in mesh.items() if ip not in doubtful}
    return kept, frozenset(each for each in plain if each[0] in kept), notes


def _address(text: str) -> str:
    """Return an address in the spelling that flags have, too; "" for what is none."""
    return values.endpoint(str(Address(text, 1))).host if values.is_ip(text) else ""


def _unused(objects: Objects) -> list[str]:
    """Tell of faults in objects that do not apply here: somebody else stumbles over them."""
    faults = [fault for each in objects.authorization_policies for fault in each.faults]
    faults += [fault for each in objects.peer_authentications for fault in each.faults]
    return [f"does not apply to this pod, and could not: {fault}" for fault in faults]
