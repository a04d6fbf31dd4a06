"""Manifests of many Services, one of which stands for the upstream, and changes of it."""

import contextlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.pulse import once_a_second

NAMESPACE: Final = "bench"
CLUSTER_IP: Final = "10.96.255.1"
PORT: Final = 80
ENDPOINTS: Final = 10  # of each; those of the upstream are 127.0.0.1 to 127.0.0.10: upstream.c

Object = dict[str, Any]


def write(directory: Path, services: int, upstream_port: int) -> None:
    """Write so many Services with ten endpoints each, and a route at the one that is asked."""
    directory.mkdir()
    write_hot(directory, upstream_port, 0)
    others = [
        each
        for n in range(services - 1)
        for each in (
            _service(f"s{n}", f"10.96.{n // 250}.{n % 250 + 1}"),
            _slice(f"s{n}", [_host(n * ENDPOINTS + i) for i in range(ENDPOINTS)], 8080),
        )
    ]
    if others:
        (directory / "others.json").write_text(_text(others))


@contextlib.contextmanager
def changing(directory: Path | None, upstream_port: int) -> Iterator[None]:
    """Change the Service that is asked, in a way that no request sees, once a second."""
    if directory is None:
        yield
        return
    with once_a_second(partial(write_hot, directory, upstream_port)):
        yield


def write_hot(directory: Path, upstream_port: int, number: int) -> None:
    """Write the Service that is asked, its endpoints and route; `number` makes it another one."""
    hosts = [f"127.0.0.{n + 1}" for n in range(ENDPOINTS)]
    objects = [
        _service("hot", CLUSTER_IP),
        _slice("hot", hosts, upstream_port),
        _route("hot", f"{60 + number % 60}s"),
    ]
    (directory / ".hot").write_text(_text(objects))
    os.replace(directory / ".hot", directory / "hot.json")  # noqa: PTH105 - atomic, and says so


def _text(objects: list[Object]) -> str:
    return "\n---\n".join(map(json.dumps, objects))


def _host(number: int) -> str:
    return f"10.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def _meta(name: str) -> Object:
    return {"name": name, "namespace": NAMESPACE}


def _service(name: str, ip: str) -> Object:
    spec = {"clusterIP": ip, "ports": [{"name": "http", "port": PORT, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(name), "spec": spec}


def _slice(name: str, hosts: list[str], port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _meta(name) | {"labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host in hosts],
    }


def _route(name: str, timeout: str) -> Object:
    rule = {"backendRefs": [{"name": name, "port": PORT}], "timeouts": {"request": timeout}}
    parent = {"group": "", "kind": "Service", "name": name}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _meta(name),
        "spec": {"parentRefs": [parent], "rules": [rule]},
    }
