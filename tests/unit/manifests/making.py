"""Objects of traffic for tests: `spec` is YAML in flow style."""

from pathlib import Path
from typing import Final

from proxy.sources.destination_rule import DestinationRule
from proxy.sources.loading import load_files
from proxy.sources.objects import Objects
from proxy.sources.route import HttpRoute
from proxy.sources.service import Service
from tests.unit.policy.objects import loaded

SAMPLES: Final = Path(__file__).parent / "samples"
TO_WEB: Final = 'parentRefs: [{group: "", kind: Service, name: web}]'
_VERSIONS: Final = {
    "Service": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "DestinationRule": "networking.istio.io/v1",
}


def sample(name: str) -> Objects:
    return load_files([SAMPLES / name])


def thing(kind: str, body: str, name: str = "web", annotations: str = "") -> str:
    return (
        f"apiVersion: {_VERSIONS[kind]}\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: shop, annotations: {{{annotations}}}}}\n"
        f"{body}\n---\n"
    )


def service(tmp_path: Path, spec: str = "", annotations: str = "") -> Service:
    text = thing("Service", f"spec: {{{spec}}}", annotations=annotations)
    return loaded(tmp_path, text).services[0]


def route(tmp_path: Path, rule: str, kind: str = "HTTPRoute", annotations: str = "") -> HttpRoute:
    spec = f"spec: {{{TO_WEB}, rules: [{rule}]}}"
    objects = loaded(tmp_path, thing(kind, spec, annotations=annotations))
    return (objects.http_routes + objects.grpc_routes)[0]


def destination(tmp_path: Path, policy: str) -> DestinationRule:
    spec = f"spec: {{host: web, trafficPolicy: {{{policy}}}}}"
    return loaded(tmp_path, thing("DestinationRule", spec)).destination_rules[0]


def said(each: Service | HttpRoute | DestinationRule) -> list[str]:
    """Return the faults as "field: text"."""
    return [f"{fault.field}: {fault.text}" for fault in each.faults]
