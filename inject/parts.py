"""What goes into a pod: two containers and their volumes, as raw JSON."""

from typing import Any, Final

from inject import pods
from inject import settings as chosen
from inject.pods import Raw
from inject.reasons import INIT, PROXY, PROXY_ID
from inject.settings import AUTO, CLASSIC, CSI, INJECTED, NO_IDENTITY, SECRET, Settings
from proxy import values
from proxy.mesh_options import probe_paths

Json = dict[str, Any]

ADMIN_PORT: Final = 15020
RUN_VOLUME: Final = "remora-run"
LOCK_VOLUME: Final = "remora-xtables-lock"
IDENTITY_VOLUME: Final = "remora-identity"
MANIFESTS_VOLUME: Final = "remora-manifests"
CONTROL_DIRECTORY: Final = "/run/remora"
IDENTITY_DIRECTORY: Final = "/var/run/secrets/remora.dev/identity"
MANIFESTS_DIRECTORY: Final = "/etc/remora/manifests"

GRACE_S: Final = 30  # terminationGracePeriodSeconds where a pod says nothing
# What is still open is reset so long before the kubelet kills: then the logs get out.
RESET_BEFORE_END_S: Final = 2
DRAIN_DELAY: Final = "5s"  # how long endpoints take to be known everywhere, with a margin

_INIT_FLAGS: Final = (
    (chosen.SKIP_INBOUND, "--inbound-exclude-ports"),
    (chosen.SKIP_OUTBOUND, "--outbound-exclude-ports"),
    (chosen.SKIP_SUBNETS, "--outbound-exclude-cidrs"),
)
_VARIABLES: Final = (
    (chosen.LOG_LEVEL, "REMORA_LOG_LEVEL"),
    (chosen.ACCESS_LOG, "REMORA_ACCESS_LOG"),
    (chosen.OPAQUE, "REMORA_OPAQUE_PORTS"),
)
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HOOKS: Final = ("postStart", "preStop")
# What the kubelet knows of the pod. The proxy's own namespace is a setting of its.
_DOWNWARD: Final = (
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("NODE_NAME", "spec.nodeName"),
    ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ("REMORA_NAMESPACE", "metadata.namespace"),
)


def init_container(settings: Settings) -> Json:
    """Return the step that redirects the pod's traffic: root with two capabilities, and done."""
    flags = [
        word
        for option, flag in _INIT_FLAGS
        if settings[option.key]
        for word in (flag, settings[option.key])
    ]
    return {
        "name": INIT,
        "image": settings[chosen.IMAGE.key],
        "imagePullPolicy": "IfNotPresent",
        "command": ["remora"],
        "args": ["init", *flags],
        "resources": _resources(settings),
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": LOCK_VOLUME, "mountPath": "/run"}],
    }


def proxy_container(pod: Raw, settings: Settings) -> Json:
    """Return the proxy: native ones live in `initContainers` and say that they stay."""
    is_classic = settings[chosen.SIDECAR.key] == CLASSIC
    drain = ["remora", "ctl", "drain"]
    hooks: Json = {"preStop": {"exec": {"command": drain}}}
    if is_classic:
        # Containers start in turn, each after the postStart of the one before.
        hooks["postStart"] = {"exec": {"command": ["remora", "ctl", "wait"]}}
        # They end at once, and SIGTERM cuts the drain's delay short: it comes after the hook.
        drain.append("--wait")
    made: Json = {"name": PROXY, "image": settings[chosen.IMAGE.key]}
    if not is_classic:
        made["restartPolicy"] = "Always"
    return {
        **made,
        "imagePullPolicy": "IfNotPresent",
        "command": ["remora"],
        "args": ["proxy"],
        "env": _environment(pod, settings),
        "ports": [{"name": "remora-metrics", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        "resources": _resources(settings),
        **_probes(),
        "lifecycle": hooks,
        "securityContext": {
            "runAsUser": PROXY_ID,
            "runAsGroup": PROXY_ID,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(settings),
    }


def volumes(settings: Settings) -> list[Json]:
    """Return the volumes of both containers. No application mounts them."""
    made: list[Json] = [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": LOCK_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    source = settings[chosen.IDENTITY_SOURCE.key]
    if source == SECRET:
        secret = {"secretName": settings[chosen.IDENTITY_SECRET.key]}
        made.append({"name": IDENTITY_VOLUME, "secret": secret})
    if source == CSI:
        csi = {
            "driver": "spiffe.csi.cert-manager.io",
            "readOnly": True,
            "volumeAttributes": {"spiffe.csi.cert-manager.io/fs-group": str(PROXY_ID)},
        }
        made.append({"name": IDENTITY_VOLUME, "csi": csi})
    if settings[chosen.MANIFESTS.key]:
        config_map = {"name": settings[chosen.MANIFESTS.key]}
        made.append({"name": MANIFESTS_VOLUME, "configMap": config_map})
    return made


def _probes() -> Json:
    def get(path: str, **times: int) -> Json:
        return {"httpGet": {"path": path, "port": ADMIN_PORT}, **times}

    return {
        "startupProbe": get("/ready", periodSeconds=1, failureThreshold=120),
        "readinessProbe": get("/ready", periodSeconds=5, failureThreshold=4),
        # Who hangs does not drain: the pod's grace would only keep it away from its restart.
        "livenessProbe": get(
            "/live", initialDelaySeconds=10, timeoutSeconds=3, terminationGracePeriodSeconds=5
        ),
    }


def _environment(pod: Raw, settings: Settings) -> list[Json]:
    made: list[Json] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _DOWNWARD
    ]
    texts = {"REMORA_CONTROL": f"{CONTROL_DIRECTORY}/control.sock", **_drain(pod, settings)}
    texts |= {name: settings[option.key] for option, name in _VARIABLES if settings[option.key]}
    has_identity = settings[chosen.IDENTITY_SOURCE.key] != NO_IDENTITY
    has_manifests = bool(settings[chosen.MANIFESTS.key])
    if has_identity:
        texts["REMORA_IDENTITY"] = IDENTITY_DIRECTORY
        texts["REMORA_MTLS"] = settings[chosen.MTLS.key]
    if has_manifests:
        texts |= _who_among_manifests(pod)
    if (has_identity or has_manifests) and (good := asked_by_kubelet(pod)[0]):
        texts["REMORA_PROBES"] = ",".join(good)
    made += [{"name": name, "value": text} for name, text in texts.items()]
    if settings[chosen.CPU_LIMIT.key]:
        # Without a limit the kubelet would tell of the whole node's cores. It rounds up.
        field = {"resource": "limits.cpu", "divisor": "1"}
        made.append({"name": "REMORA_WORKERS", "valueFrom": {"resourceFieldRef": field}})
    return made


def _who_among_manifests(pod: Raw) -> dict[str, str]:
    """Return where the objects are, and who the proxy is among them.

    Its labels are told here: a new pod is in no ConfigMap yet, and its policies must hold at once.
    """
    labels = {**pods.labels(pod), INJECTED: "true"}
    words = [f"{name}={text}" for name, text in labels.items() if isinstance(text, str)]
    return {
        "REMORA_MANIFESTS": MANIFESTS_DIRECTORY,
        "REMORA_POD": "$(POD_NAMESPACE)/$(POD_NAME)",  # the kubelet puts them in
        "REMORA_LABELS": ",".join(words),
    }


def asked_by_kubelet(pod: Raw) -> tuple[list[str], list[str]]:
    """Return what the kubelet asks containers over HTTP, as the proxy's flag has it.

    The second list has what cannot be said so, and will be refused on strict ports.
    """
    good, bad = dict[str, None](), dict[str, None]()
    for container in pods.containers(pod):
        named = {port.get("name"): port.get("containerPort") for port in pods.ports(container)}
        hooks = pods.member(container, "lifecycle")
        callers = [pods.member(container, name) for name in _PROBES]
        callers += [pods.member(hooks, name) for name in _HOOKS]
        for get in (pods.member(caller, "httpGet") for caller in callers):
            # The proxy looks at plaintext only; TLS of the application's own is none.
            if not get or get.get("scheme") == "HTTPS":
                continue
            port, path = get.get("port"), str(get.get("path") or "/")
            text = f"{named.get(str(port), port)}/{path.removeprefix('/')}"
            try:
                is_good = len(probe_paths(text)) == 1
            except ValueError:
                is_good = False
            (good if is_good else bad)[text] = None
    return list(good), list(bad)


def probe_note(pod: Raw, settings: Settings) -> str:
    """Return what to say of probes that strict mutual TLS refuses, or ""."""
    bad = asked_by_kubelet(pod)[1] if settings[chosen.MTLS.key] == "strict" else []
    if not bad:
        return ""
    return f"mtls is strict, and refuses the probes {', '.join(bad)}"


def drain_note(pod: Raw, settings: Settings) -> str:
    """Return what to say of a delay that does not fit into the pod's grace period, or ""."""
    wish, delay = settings[chosen.DRAIN_DELAY.key], _drain(pod, settings)["REMORA_DRAIN_DELAY"]
    if wish in (AUTO, delay):
        return ""
    return f"its grace period leaves room for a drain delay of {delay}, not of {wish}"


def _drain(pod: Raw, settings: Settings) -> dict[str, str]:
    spec = pod.get("spec") or {}
    grace = spec.get("terminationGracePeriodSeconds")
    grace_s = grace if isinstance(grace, int) else GRACE_S
    deadline_s = max(1, grace_s - RESET_BEFORE_END_S)
    delay = settings[chosen.DRAIN_DELAY.key]
    if delay == AUTO:
        # Nobody sends requests to a Job, and its end waits for ours.
        delay = DRAIN_DELAY if spec.get("restartPolicy", "Always") == "Always" else "0s"
    if values.duration_between("0", "1h")(delay) >= deadline_s * 1000:
        delay = f"{deadline_s * 500}ms"  # half of it: the rest is for what is in flight
    return {"REMORA_DRAIN_DELAY": delay, "REMORA_DRAIN_DEADLINE": f"{deadline_s}s"}


def _resources(settings: Settings) -> Json:
    def block(cpu: str, memory: str) -> Json:
        return {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}

    requests = block(settings[chosen.CPU_REQUEST.key], settings[chosen.MEMORY_REQUEST.key])
    limits = block(settings[chosen.CPU_LIMIT.key], settings[chosen.MEMORY_LIMIT.key])
    made = {"requests": requests, "limits": limits}
    return {name: amounts for name, amounts in made.items() if amounts}


def _mounts(settings: Settings) -> list[Json]:
    made: list[Json] = [{"name": RUN_VOLUME, "mountPath": CONTROL_DIRECTORY}]
    if settings[chosen.IDENTITY_SOURCE.key] != NO_IDENTITY:
        made.append({"name": IDENTITY_VOLUME, "mountPath": IDENTITY_DIRECTORY, "readOnly": True})
    if settings[chosen.MANIFESTS.key]:
        made.append({"name": MANIFESTS_VOLUME, "mountPath": MANIFESTS_DIRECTORY, "readOnly": True})
    return made
