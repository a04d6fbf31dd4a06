"""A pod's manifest, as injection left it: raw JSON in, what has to be run out.

A field that says how a container runs and is not played here is an error: a test that passed
because its rule was left out would show nothing.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from inject.settings import millicores
from tests.lifecycle.rules import ALWAYS, Kind, Part, Times

Raw = Mapping[str, Any]

# What containers of Docker and containerd may do if nobody says otherwise.
DEFAULT_CAPABILITIES: Final = frozenset(
    (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "AUDIT_WRITE"),
    )
)
GRACE_S: Final = 30

# Fields that are played, and those that change nothing for a process on this machine.
_CONTAINER: Final = {
    *("name", "command", "args", "env", "securityContext", "volumeMounts", "restartPolicy"),
    *("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "terminationMessagePolicy"),
    *("resources", "ports", "image", "imagePullPolicy"),
}
_SECURITY: Final = {
    *("runAsUser", "runAsGroup", "runAsNonRoot", "allowPrivilegeEscalation"),
    *("readOnlyRootFilesystem", "capabilities", "seccompProfile"),
}
_SPEC: Final = {
    *("initContainers", "containers", "volumes", "restartPolicy", "nodeName"),
    *("terminationGracePeriodSeconds", "serviceAccountName"),
}
_REFERENCE: Final = re.compile(r"\$(\$)?\(([A-Za-z0-9_.-]+)\)")


class NotPlayedError(Exception):
    """The manifest asks for what is not emulated, or for what no kubelet would run."""


@dataclass(frozen=True)
class Handler:
    """What a probe or a hook does: one of these."""

    command: tuple[str, ...] = ()
    path: str = ""  # httpGet
    port: int = 0  # httpGet, and tcpSocket where there is no path
    sleep_s: float = 0.0


@dataclass(frozen=True)
class Probe:
    """A handler, when it asks, and what the pod's end takes if it fails."""

    handler: Handler
    times: Times
    grace_s: int | None = None


class Mount(NamedTuple):
    """A volume in a container."""

    volume: str
    path: str
    is_read_only: bool


@dataclass(frozen=True)
class Container:
    """One container."""

    name: str
    kind: Kind
    words: tuple[str, ...]
    env: Mapping[str, str]
    uid: int = 0
    gid: int = 0
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES
    may_gain_rights: bool = True
    is_root_read_only: bool = False
    mounts: tuple[Mount, ...] = ()
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None
    post_start: Handler | None = None
    pre_stop: Handler | None = None
    is_message_from_log: bool = False

    @property
    def part(self) -> Part:
        """What rules know of it."""
        return Part(self.name, self.kind)


@dataclass(frozen=True)
class Facts:
    """What only the kubelet knows."""

    node: str
    addresses: tuple[str, ...]
    host: str
    cores: int = 2


@dataclass(frozen=True)
class Pod:
    """A pod: its containers in the order of starting."""

    name: str
    namespace: str
    containers: tuple[Container, ...]
    volumes: Mapping[str, Raw]
    policy: str = ALWAYS
    grace_s: int = GRACE_S
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What rules know of it."""
        return tuple(container.part for container in self.containers)


def read_pod(raw: Raw, facts: Facts) -> Pod:
    """Read a Pod; raises NotPlayedError."""
    spec = raw["spec"]
    _only(spec, _SPEC, "spec")
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    listed = [(each, Kind.INIT) for each in spec.get("initContainers") or ()]
    listed += [(each, Kind.MAIN) for each in spec["containers"]]
    containers = tuple(_container(each, kind, raw, facts) for each, kind in listed)
    for container in containers:
        for mount in container.mounts:
            if mount.volume not in volumes:
                raise NotPlayedError(f"{container.name} mounts {mount.volume}, which is not there")
    metadata = raw["metadata"]
    return Pod(
        metadata["name"],
        metadata.get("namespace", "default"),
        containers,
        volumes,
        spec.get("restartPolicy", ALWAYS),
        spec.get("terminationGracePeriodSeconds", GRACE_S),
        metadata.get("labels") or {},
    )


def _only(given: Raw, known: set[str], what: str) -> None:
    strange = sorted(given.keys() - known)
    if strange:
        raise NotPlayedError(f"{what}: {', '.join(strange)} is not played")


def _container(raw: Raw, kind: Kind, pod: Raw, facts: Facts) -> Container:
    _only(raw, _CONTAINER, raw["name"])
    if raw.get("restartPolicy"):
        if kind is Kind.MAIN or raw["restartPolicy"] != ALWAYS:
            raise NotPlayedError(f"{raw['name']}: restartPolicy {raw['restartPolicy']}")
        kind = Kind.SIDECAR
    env = _environment(raw, pod, facts)
    words = [*(raw.get("command") or ()), *(raw.get("args") or ())]
    if not raw.get("command"):
        raise NotPlayedError(f"{raw['name']}: no image is here that would know its command")
    hooks = raw.get("lifecycle") or {}
    named = {port["name"]: port["containerPort"] for port in raw.get("ports", ()) if "name" in port}
    mounts = [
        Mount(each["name"], each["mountPath"], bool(each.get("readOnly")))
        for each in raw.get("volumeMounts") or ()
    ]
    return Container(
        raw["name"],
        kind,
        tuple(expanded(word, env) for word in words),
        env,
        **_security(raw),
        mounts=tuple(mounts),
        startup=_probe(raw.get("startupProbe"), named),
        readiness=_probe(raw.get("readinessProbe"), named),
        liveness=_probe(raw.get("livenessProbe"), named),
        post_start=_handler(hooks.get("postStart"), named),
        pre_stop=_handler(hooks.get("preStop"), named),
        is_message_from_log=raw.get("terminationMessagePolicy") == "FallbackToLogsOnError",
    )


def _security(raw: Raw) -> dict[str, Any]:
    given = raw.get("securityContext") or {}
    _only(given, _SECURITY, f"{raw['name']}: securityContext")
    uid = given.get("runAsUser", 0)
    if given.get("runAsNonRoot") and uid == 0:
        raise NotPlayedError(f"{raw['name']}: runAsNonRoot, and its user is root")
    changes = given.get("capabilities") or {}
    dropped, added = set(changes.get("drop", ())), set(changes.get("add", ()))
    rights = set() if "ALL" in dropped else DEFAULT_CAPABILITIES - dropped
    return {
        "uid": uid,
        "gid": given.get("runAsGroup", 0),
        "capabilities": frozenset(rights | added),
        "may_gain_rights": given.get("allowPrivilegeEscalation", True),
        "is_root_read_only": given.get("readOnlyRootFilesystem", False),
    }


def expanded(text: str, env: Mapping[str, str]) -> str:
    """Put variables in the place of $(NAME); $$(NAME) stays $(NAME), and so do unknown names."""

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        return env.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def _environment(raw: Raw, pod: Raw, facts: Facts) -> dict[str, str]:
    env: dict[str, str] = {}
    for each in raw.get("env") or ():
        source = each.get("valueFrom") or {}
        if "fieldRef" in source:
            env[each["name"]] = _field(source["fieldRef"]["fieldPath"], pod, facts)
        elif "resourceFieldRef" in source:
            env[each["name"]] = _resource(source["resourceFieldRef"], raw, facts)
        elif source:
            raise NotPlayedError(f"{raw['name']}: env {each['name']} from {', '.join(source)}")
        else:
            env[each["name"]] = expanded(each.get("value", ""), env)
    return env


def _field(path: str, pod: Raw, facts: Facts) -> str:
    metadata, spec = pod["metadata"], pod["spec"]
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", "default"),
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": facts.host,
        "status.podIP": facts.addresses[0],
        "status.podIPs": ",".join(facts.addresses),
    }
    if path not in known:
        raise NotPlayedError(f"fieldPath {path}")
    return str(known[path])


def _resource(reference: Raw, raw: Raw, facts: Facts) -> str:
    if reference["resource"] != "limits.cpu":
        raise NotPlayedError(f"resource {reference['resource']}")
    limit = ((raw.get("resources") or {}).get("limits") or {}).get("cpu", str(facts.cores))
    divisor = millicores(str(reference.get("divisor", "1")))
    return str(math.ceil(Decimal(millicores(str(limit))) / divisor))


def _probe(raw: Raw | None, named: Mapping[str, int]) -> Probe | None:
    if raw is None:
        return None
    times = Times(
        raw.get("initialDelaySeconds", 0),
        raw.get("periodSeconds", 10),
        raw.get("timeoutSeconds", 1),
        raw.get("successThreshold", 1),
        raw.get("failureThreshold", 3),
    )
    handler = _handler(raw, named)
    assert handler, raw
    return Probe(handler, times, raw.get("terminationGracePeriodSeconds"))


def _handler(raw: Raw | None, named: Mapping[str, int]) -> Handler | None:
    if raw is None:
        return None
    if "exec" in raw:
        return Handler(command=tuple(raw["exec"]["command"]))
    if "sleep" in raw:
        return Handler(sleep_s=raw["sleep"]["seconds"])
    if "tcpSocket" in raw:
        return Handler(port=_port(raw["tcpSocket"], named))
    get = raw.get("httpGet") or {}
    if not get or get.get("scheme", "HTTP") != "HTTP" or "host" in get:
        raise NotPlayedError(f"{raw} is no handler that is played")
    return Handler(path=get.get("path", "/"), port=_port(get, named))


def _port(raw: Raw, named: Mapping[str, int]) -> int:
    port = raw["port"]
    return port if isinstance(port, int) else named[port]


def scaled(times: Times, factor: float) -> Times:
    """Return the same probe for a clock that runs faster. Time-outs stay: machines do not."""
    return Times(
        times.delay_s * factor,
        times.period_s * factor,
        times.timeout_s,
        times.successes,
        times.failures,
    )
