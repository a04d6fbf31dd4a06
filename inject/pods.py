"""A pod as raw JSON: `metadata` and `spec` of a Pod or of a pod template, unchecked by anybody."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from inject.settings import Fault

Raw = Mapping[str, Any]

_MAPS: Final = (("metadata", "labels"), ("metadata", "annotations"))
_LISTS: Final = ("containers", "initContainers", "volumes")


def shape_faults(pod: Raw) -> list[Fault]:
    """Return what is not even of the right shape, so that everything else may rely on it."""
    faults = [
        Fault(name, "must be an object")
        for name in ("metadata", "spec")
        if not isinstance(pod.get(name), dict | None)
    ]
    if faults:
        return faults
    faults = [
        Fault(f"{outer}.{name}", "must be an object")
        for outer, name in _MAPS
        if not isinstance((pod.get(outer) or {}).get(name), dict | None)
    ]
    spec = pod.get("spec") or {}
    for name in _LISTS:
        found = spec.get(name)
        if not isinstance(found, list | None):
            faults.append(Fault(f"spec.{name}", "must be a list"))
            continue
        faults += [
            Fault(f"spec.{name}[{index}]", "must be an object with a name")
            for index, item in enumerate(found or [])
            if not isinstance(item, dict) or not isinstance(item.get("name"), str)
        ]
    if not faults and not spec.get("containers"):
        faults.append(Fault("spec.containers", "is missing: a pod has at least one"))
    return faults


def labels(pod: Raw) -> Raw:
    """Return the labels of a pod."""
    return (pod.get("metadata") or {}).get("labels") or {}


def annotations(pod: Raw) -> Raw:
    """Return the annotations of a pod."""
    return (pod.get("metadata") or {}).get("annotations") or {}


def items(pod: Raw, name: str) -> list[Raw]:
    """Return a list of its spec."""
    return (pod.get("spec") or {}).get(name) or []


def containers(pod: Raw) -> Iterator[Raw]:
    """Yield all of its containers, those that run before the others too."""
    yield from items(pod, "initContainers")
    yield from items(pod, "containers")


def ports(container: Raw) -> Iterator[Raw]:
    """Yield the ports that a container declares, those that Kubernetes would take."""
    found = container.get("ports")
    for port in found if isinstance(found, list) else ():
        if not isinstance(port, dict) or not isinstance(port.get("name"), str | None):
            continue
        if isinstance(port.get("containerPort"), int):
            yield port


def member(thing: Raw, name: str) -> Raw:
    """Return a member that is an object, as `securityContext`; an empty one if it is not."""
    found = thing.get(name)
    return found if isinstance(found, dict) else {}
