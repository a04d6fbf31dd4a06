"""The shop as Kubernetes objects: what is there, and the policies that are tried."""

from typing import Any

from bench.shop.places import CATALOG, CLUSTER_IPS, NAMESPACE, PORT, STOCK, replicas

Object = dict[str, Any]


def world(ports: dict[str, int]) -> list[Object]:
    """Return Services and their endpoints: `ports` are those where each replica is reached."""
    made = []
    for service, ip in CLUSTER_IPS.items():
        spec = {"clusterIP": ip, "ports": [{"port": PORT, "targetPort": 8080}]}
        made.append(_object("v1", "Service", service, spec=spec))
        # A slice has one port, and on one machine each replica has its own.
        for replica in (each for each in replicas() if each.service == service):
            made.append(
                {
                    **_object("discovery.k8s.io/v1", "EndpointSlice", replica.name),
                    "addressType": "IPv4",
                    "ports": [{"port": ports[replica.name]}],
                    "endpoints": [{"addresses": [replica.host], "conditions": {"ready": True}}],
                }
            )
            made[-1]["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    return made


def turns() -> list[Object]:
    """Return what makes sidecars as simple as a client without one: each endpoint in turn."""
    return [_rule(service, {"loadBalancer": {"simple": "ROUND_ROBIN"}}) for service in CLUSTER_IPS]


def policies() -> list[Object]:
    """Return what is tried: two more tries for what may be repeated, and time limits for each."""
    retry = {"codes": [502, 503, 504], "attempts": 2, "backoff": "25ms"}
    rule = {"timeouts": {"request": "2s", "backendRequest": "250ms"}, "retry": retry}
    return [_route(CATALOG, rule), _route(STOCK, rule)]


def _route(service: str, rule: Object) -> Object:
    ref = {"group": "", "kind": "Service", "name": service}
    rules = [{**rule, "backendRefs": [{"name": service, "port": PORT}]}]
    spec = {"parentRefs": [ref], "rules": rules}
    return _object("gateway.networking.k8s.io/v1", "HTTPRoute", service, spec=spec)


def _rule(service: str, policy: Object) -> Object:
    spec = {"host": service, "trafficPolicy": policy}
    return _object("networking.istio.io/v1", "DestinationRule", service, spec=spec)


def _object(version: str, kind: str, name: str, **more: object) -> Object:
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **more}
