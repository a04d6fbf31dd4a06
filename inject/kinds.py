"""Where the pods are in an object: itself, its template, or the items of a list."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

PODS: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_GROUPS: Final = {
    **dict.fromkeys(("Pod", "ReplicationController"), ""),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "apps"),
    **dict.fromkeys(("Job", "CronJob"), "batch"),
}


class Place(NamedTuple):
    """A pod within a document. `path` leads to it; `field` is where faults count from."""

    name: str  # "Deployment shop/web"
    namespace: str
    path: tuple[str | int, ...]
    field: str
    pod: Any


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[Place]:  # noqa: ANN401
    """Yield the pods of a document: none of what has none, or is no object of Kubernetes."""
    if not isinstance(document, dict):
        return
    kind = document.get("kind")
    items = document.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            implied = {"kind": kind.removesuffix("List"), "apiVersion": document.get("apiVersion")}
            whole = {**implied, **item} if kind != "List" and isinstance(item, dict) else item
            yield from places(whole, (*path, "items", index))
        return
    if not isinstance(kind, str) or not _is_known(kind, document.get("apiVersion")):
        return
    at: Any = document
    for name in PODS[kind]:
        at = at.get(name) if isinstance(at, dict) else None
    yield Place(*_names(kind, document), (*path, *PODS[kind]), ".".join(PODS[kind]), at)


def _is_known(kind: str, version: object) -> bool:
    if kind not in PODS or not isinstance(version, str):
        return False
    group, slash, _ = version.partition("/")
    return (group if slash else "") == _GROUPS[kind]


def _names(kind: str, document: Mapping[str, Any]) -> tuple[str, str]:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    namespace = metadata.get("namespace") or ""
    name = metadata.get("name") or f"{metadata.get('generateName', '')}*"
    shown = f"{namespace}/{name}" if namespace else name
    return f"{kind} {shown}", str(namespace)
