"""Kubernetes objects of traffic policy for tests, as dictionaries."""

import json
from pathlib import Path
from typing import Any

from proxy.sources.loading import load_files
from proxy.sources.objects import Objects

Object = dict[str, Any]


def service(
    name: str,
    ip: str = "10.96.0.1",
    *,
    ports: tuple[int, ...] = (80,),
    annotations: dict[str, str] | None = None,
    **spec: object,
) -> Object:
    """Return a Service; its ports are called p0, p1, ..."""
    named = [{"name": f"p{i}", "port": port, "targetPort": 8080} for i, port in enumerate(ports)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(name, annotations=prefixed(annotations)),
        "spec": {"clusterIP": ip, "ports": named, **spec},
    }


def prefixed(annotations: dict[str, str] | None) -> dict[str, str]:
    return {f"remora.dev/{name}": text for name, text in (annotations or {}).items()}


def endpoint(ip: str, state: str = "ready", **fields: object) -> Object:
    """Return one of a slice. States: ready, not, ending (and serving), gone (and not serving)."""
    conditions = {
        "ready": state == "ready",
        "serving": state in {"ready", "ending"},
        "terminating": state in {"ending", "gone"},
    }
    return {"addresses": [ip], "conditions": conditions, **fields}


def endpoints(
    of: str, *each: Object, name: str = "", ports: tuple[int, ...] = (8080,), family: str = "IPv4"
) -> Object:
    """Return an EndpointSlice."""
    path = of if "/" in of else f"shop/{of}"
    namespace, _, service_name = path.partition("/")
    labels = {"kubernetes.io/service-name": service_name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _meta(name or f"{service_name}-1", namespace, labels=labels),
        "addressType": family,
        "ports": [{"name": f"p{i}", "port": port} for i, port in enumerate(ports)],
        "endpoints": list(each),
    }


def route(
    name: str,
    *rules: Object,
    to: str = "web",
    namespace: str = "shop",
    parent: Object | None = None,
    annotations: dict[str, str] | None = None,
    **spec: object,
) -> Object:
    """Return an HTTPRoute at a Service."""
    ref = {"group": "", "kind": "Service", "name": to, "namespace": "shop", **(parent or {})}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _meta(name, namespace, annotations=prefixed(annotations)),
        "spec": {"parentRefs": [ref], "rules": list(rules), **spec},
    }


def rule(*backends: Object, path: str = "", **fields: object) -> Object:
    """Return a rule of a route."""
    matches = {"matches": [{"path": {"value": path}}]} if path else {}
    return {"backendRefs": list(backends), **matches, **fields}


def to(name: str, port: int = 80, **fields: object) -> Object:
    """Return a backend of a rule."""
    return {"name": name, "port": port, **fields}


def destination_rule(
    name: str, host: str, policy: Object, namespace: str = "shop", created: str = "", **spec: object
) -> Object:
    """Return a DestinationRule."""
    meta = _meta(name, namespace)
    if created:
        meta["creationTimestamp"] = created
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": meta,
        "spec": {"host": host, "trafficPolicy": policy, **spec},
    }


def load(directory: Path, *objects: Object) -> Objects:
    """Read objects as the proxy reads them."""
    file = directory / "objects.json"
    file.write_text("\n---\n".join(map(json.dumps, objects)))
    return load_files([file])


def _meta(name: str, namespace: str = "shop", **fields: object) -> Object:
    return {"name": name, "namespace": namespace, **fields}
