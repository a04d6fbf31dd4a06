"""A Service of Kubernetes objects, one of whose two endpoints is sick, and a route with a retry."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from deploy.demo.acts import expect
from deploy.demo.apps import free_port
from deploy.demo.pods import APP_ID, Address, Pod
from deploy.demo.programs import Program, eventually, run
from deploy.demo.sidecar import Sidecar
from deploy.demo.stage import Stage

_REQUESTS: Final = 20
_FAILURES: Final = 5  # in a row: then an endpoint is out
_LOOPBACK: Final = "127.0.0.1"  # what the rules never redirect
_CLUSTER_IP: Final = "10.96.0.10:80"

_NGINX: Final = """\
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen {well}; return 200 "well\\n"; }}
    server {{ listen {sick}; return 503 "sick\\n"; }}
}}
"""


def sick_endpoint(stage: Stage, directory: Path) -> None:
    """Ask a Service with a sick endpoint; nobody may notice."""
    stage.story.step(
        "A Service with a sick endpoint",
        "One more sidecar, on an explicit port in shop, reads Kubernetes objects: a Service with"
        " two endpoints that take turns, and an HTTPRoute that allows another try after a 503."
        " One endpoint answers everything with 503.",
    )
    with ExitStack() as stack:
        pod = stage.shop.pod
        endpoints = _start_endpoints(pod, directory / "endpoints", stack)
        client = _start_client(pod, directory / "client", endpoints, stack)
        door = Address.parse(client.explicit_listeners()[0])
        report = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}\\n"]
        statuses = run(pod.as_app("curl", *report, f"http://{door}/[1-{_REQUESTS}]")).split()
        stage.story.line(f"curl http://{door}/[1-{_REQUESTS}]: {len(statuses)} answers")
        _tell(stage, client, statuses)


def _tell(stage: Stage, client: Sidecar, statuses: list[str]) -> None:
    metrics = client.metrics()
    events = ("retried", "retry_helped", "ejected")
    counts = {name: metrics("remora_traffic_events_total", event=name) for name in events}
    for name, count in counts.items():
        stage.story.line(
            f'remora_traffic_events_total{{service="demo/web",event="{name}"}} {count:.0f}'
        )
    expect(holds=statuses == ["200"] * _REQUESTS, claim="every answer is 200", seen=statuses)
    expect(
        holds=counts == {"retried": _FAILURES, "retry_helped": _FAILURES, "ejected": 1},
        claim=f"{_FAILURES} failures put an endpoint out",
        seen=counts,
    )
    stage.story.proved(
        f"curl saw no 503: {_FAILURES} requests were sent again to the other endpoint, then the"
        " sick one was taken out."
    )


def _start_endpoints(pod: Pod, directory: Path, stack: ExitStack) -> list[Address]:
    """Start both; the sick one is the second."""
    directory.mkdir()
    if pod.namespace:
        os.chown(directory, APP_ID, APP_ID)
    endpoints = [Address(_LOOPBACK, free_port(_LOOPBACK)) for _ in range(2)]
    well, sick = endpoints
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, well=well, sick=sick))
    log = directory / "nginx.log"
    nginx = Program("the endpoints' nginx", pod.as_app("nginx", "-c", str(config)), log, log)
    stack.callback(nginx.stop)

    def listens() -> bool:
        nginx.check_alive()
        rows = run(pod.as_root("ss", "-Hltn")).splitlines()
        return {str(each) for each in endpoints} <= {row.split()[3] for row in rows}

    eventually("both endpoints to listen", listens)
    return endpoints


def _start_client(pod: Pod, directory: Path, endpoints: list[Address], stack: ExitStack) -> Sidecar:
    manifests = directory / "manifests"
    manifests.mkdir(parents=True)
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(endpoints)})
    (manifests / "demo.json").write_text(objects)
    flags = [
        *("--no-interception", "--admin", f"{_LOOPBACK}:0", "--control-listen", "off"),
        *("--listen", f"{_LOOPBACK}:0={_CLUSTER_IP}"),
        *("--manifests", str(manifests), "--namespace", "demo"),
    ]
    client = Sidecar(pod, directory, flags)
    client.settle_powers()
    stack.callback(client.stop)
    client.start()
    return client


def _objects(endpoints: list[Address]) -> list[dict[str, Any]]:
    """Give what `kubectl get -o json` would: a slice for each port, as Kubernetes does it."""
    host, _, port = _CLUSTER_IP.partition(":")
    ports = [{"port": int(port)}]
    parents = [{"group": "", "kind": "Service", "name": "web"}]
    rule = {"retry": {"codes": [503], "attempts": 1}, "backendRefs": [{"name": "web", "port": 80}]}
    turns = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    return [
        _object("v1", "Service", "web", spec={"clusterIP": host, "ports": ports}),
        _object(
            *("gateway.networking.k8s.io/v1", "HTTPRoute", "web"),
            spec={"parentRefs": parents, "rules": [rule]},
        ),
        _object(
            *("networking.istio.io/v1", "DestinationRule", "web"),
            spec={"host": "web", "trafficPolicy": turns},
        ),
        *(_slice(f"web-{number}", each) for number, each in enumerate(endpoints)),
    ]


def _slice(name: str, endpoint: Address) -> dict[str, Any]:
    made = _object(
        *("discovery.k8s.io/v1", "EndpointSlice", name),
        addressType="IPv4",
        ports=[{"port": endpoint.port}],
        endpoints=[{"addresses": [endpoint.host]}],
    )
    made["metadata"]["labels"] = {"kubernetes.io/service-name": "web"}
    return made


def _object(version: str, kind: str, name: str, **fields: object) -> dict[str, Any]:
    named = {"name": name, "namespace": "demo"}
    return {"apiVersion": version, "kind": kind, "metadata": named, **fields}
