"""Kubernetes' Pod Security Standard "restricted", which includes "baseline", as a table.

https://kubernetes.io/docs/concepts/security/pod-security-standards/, for Linux pods.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Raw = Mapping[str, Any]

_VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
_SECCOMP: Final = {"RuntimeDefault", "Localhost"}
_GROUPS: Final = ("initContainers", "containers", "ephemeralContainers")
_SHARED: Final = ("hostNetwork", "hostPID", "hostIPC")


def _of_container(spec: Raw, container: Raw) -> Raw:
    """Return the security context that counts: what a container does not say, its pod does."""
    return {**spec.get("securityContext", {}), **container.get("securityContext", {})}


# Each rule of a container, by its field: whether its security context keeps it.
RULES: Final[dict[str, Callable[[Raw], bool]]] = {
    "privileged": lambda context: not context.get("privileged"),
    "procMount": lambda context: context.get("procMount", "Default") == "Default",
    "allowPrivilegeEscalation": lambda c: c.get("allowPrivilegeEscalation") is False,
    "runAsNonRoot": lambda context: context.get("runAsNonRoot") is True,
    "runAsUser": lambda context: context.get("runAsUser") != 0,
    "seccompProfile": lambda c: c.get("seccompProfile", {}).get("type") in _SECCOMP,
    "appArmorProfile": lambda c: c.get("appArmorProfile", {}).get("type") != "Unconfined",
    "capabilities.drop": lambda c: "ALL" in c.get("capabilities", {}).get("drop", []),
    "capabilities.add": lambda context: (
        set(context.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"}
    ),
}


def faults(pod: Raw) -> Iterator[str]:
    """Yield every field of a pod that "restricted" forbids."""
    spec = pod["spec"]
    yield from (f"spec.{name}" for name in _SHARED if spec.get(name))
    if spec.get("securityContext", {}).get("sysctls"):
        yield "spec.securityContext.sysctls"
    for volume in spec.get("volumes", []):
        if not volume.keys() & _VOLUMES:
            yield f"spec.volumes[{volume['name']}]"
    for container in (each for group in _GROUPS for each in spec.get(group, [])):
        name, context = container["name"], _of_container(spec, container)
        yield from (f"{name}.{field}" for field, keeps in RULES.items() if not keeps(context))
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{name}.ports.hostPort"
