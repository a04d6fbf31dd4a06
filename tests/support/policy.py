"""A proxy with manifests in front of an application, and the objects that a test writes there."""

import json
import os
from pathlib import Path
from typing import Any, Final

from tests.support.process import Proxy
from tests.support.rig import Rig, Route
from tests.support.sockets import address_of, written
from tests.support.waiting import eventually

Object = dict[str, Any]
EVERYTHING: Final[Object] = {"rules": [{}]}


def policy(name: str, spec: Object, *, is_dry_run: bool = False) -> Object:
    """Return an AuthorizationPolicy in the namespace `shop`."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "annotations": {"istio.io/dry-run": "true"} if is_dry_run else {},
        },
        "spec": spec,
    }


def denying(*paths: str) -> Object:
    """Return a spec that denies paths."""
    return {"action": "DENY", "rules": [{"to": [{"operation": {"paths": list(paths)}}]}]}


def allowing(**operation: list[str]) -> Object:
    """Return a spec that lets in one operation and nothing else."""
    return {"rules": [{"to": [{"operation": operation}]}]}


class Manifests:
    """A directory of objects, written as a careful person would: whole files, swapped in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, *objects: Object, name: str = "all.json") -> None:
        self.write_text("\n---\n".join(map(json.dumps, objects)), name)

    def write_text(self, text: str, name: str = "all.json") -> None:
        new = self.directory / f".{name}"
        new.write_text(text)
        os.replace(new, self.directory / name)  # noqa: PTH105 - atomic, and says so

    def route(self, rig: Rig, *flags: str) -> Route:
        """Start a proxy whose explicit listener is judged like inbound traffic."""
        upstream = rig.listen()
        listen = f"127.0.0.1:0={written(address_of(upstream))}"
        where = ["--manifests", str(self.directory)]
        if "--pod" not in flags:
            where += ["--namespace", "shop"]
        proxy = rig.start("--no-interception", "--listen-inbound", listen, *where, *flags)
        return Route(rig, proxy, proxy.listeners("explicit")[0], upstream)


def wait_loaded(proxy: Proxy, count: int = 1) -> None:
    """Wait until so many changes of the manifests are in force, or were refused."""
    events = {"manifests_loaded", "manifests_refused"}
    eventually(
        f"{count} changes read",
        lambda: len([line for line in proxy.log if line.get("event") in events]) >= count,
    )
