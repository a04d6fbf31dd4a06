"""Manifests of a ConfigMap: what the kubelet mounts is links to links, swapped all at once.

As injection starts it: the proxy knows its own labels, and its Pod is not among the objects.
"""

import json
import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.support.http import Stream, Talk, refusal, request, response
from tests.support.policy import Manifests, Object, denying, policy, wait_loaded
from tests.support.rig import Rig, Route

DENIED = refusal(403, b"denied", closes=False)
WHO = ("--pod", "shop/web-1", "--labels", "app=web,remora.dev/injected=true")


class MountedConfigMap(Manifests):
    """A volume as the kubelet writes it: the data, then the links to it, then what is gone."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._numbers = count()

    def update(self, files: Mapping[str, str]) -> None:
        fresh = self.directory / f"..2026_11_21_{next(self._numbers)}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text)
        old = (self.directory / "..data").resolve()
        (self.directory / "..data_tmp").symlink_to(fresh.name)
        os.replace(self.directory / "..data_tmp", self.directory / "..data")  # noqa: PTH105
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        for link in self.directory.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        if old.name.startswith("..2026"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()


@pytest.fixture
def mounted(tmp_path: Path) -> MountedConfigMap:
    return MountedConfigMap(tmp_path)


def for_web(name: str, *paths: str) -> str:
    """Return a policy for pods of the label app=web."""
    made: Object = policy(name, {"selector": {"matchLabels": {"app": "web"}}, **denying(*paths)})
    return json.dumps(made)


def answer(route: Route, path: str) -> bytes:
    down = Stream(route.connect())
    down.send(request(path))
    said = down.exactly(len(DENIED))
    Stream(route.accept()).expect_gone()  # dialled at accept, and never used
    return said


def is_served(route: Route, path: str) -> bool:
    talk = Talk(route)
    _, up = talk.ask(request(path))
    up.send(response(b"ok"))
    return talk.down.response().body == b"ok"


def test_policies_of_a_config_map_hold_for_a_pod_that_it_does_not_list(
    rig: Rig, mounted: MountedConfigMap
) -> None:
    mounted.update({"policies.json": for_web("no-admin", "/admin*")})
    route = mounted.route(rig, *WHO)
    assert answer(route, "/admin") == DENIED
    assert is_served(route, "/shop")


def test_a_config_map_that_changes_is_in_force_without_a_restart(
    rig: Rig, mounted: MountedConfigMap
) -> None:
    mounted.update({"policies.json": for_web("no-admin", "/admin*")})
    route = mounted.route(rig, *WHO)
    mounted.update({"policies.json": for_web("no-shop", "/shop*")})
    wait_loaded(route.proxy)
    assert answer(route, "/shop") == DENIED
    assert is_served(route, "/admin")


def test_keys_come_and_go(rig: Rig, mounted: MountedConfigMap) -> None:
    mounted.update({"a.json": for_web("no-admin", "/admin*")})
    route = mounted.route(rig, *WHO)
    mounted.update({"a.json": for_web("no-admin", "/admin*"), "b.json": for_web("b", "/b*")})
    wait_loaded(route.proxy)
    assert answer(route, "/b") == DENIED
    mounted.update({"b.json": for_web("b", "/b*")})
    wait_loaded(route.proxy, 2)
    assert answer(route, "/b") == DENIED
    assert is_served(route, "/admin")


def test_a_config_map_that_is_broken_changes_nothing(rig: Rig, mounted: MountedConfigMap) -> None:
    mounted.update({"policies.json": for_web("no-admin", "/admin*")})
    route = mounted.route(rig, *WHO)
    mounted.update({"policies.json": "{"})
    wait_loaded(route.proxy)
    assert answer(route, "/admin") == DENIED
