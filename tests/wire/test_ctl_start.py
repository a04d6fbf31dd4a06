"""The start of a proxy as its log tells it."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.process import Proxy
from tests.support.rig import Rig, Route
from tests.support.sockets import address_of, written
from tests.support.waiting import PATIENCE_S


def line(proxy: Proxy, event: str) -> dict[str, Any]:
    found = proxy.logged(event)
    assert found, f"no {event} in the log"
    return found


def test_the_effective_configuration_is_logged_with_who_set_it(route: Route) -> None:
    starting = line(route.proxy, "starting")
    assert starting["pid"] == route.proxy.pid
    assert starting["config"]["drain_deadline"] == "25s"
    assert starting["set_by"]["no_interception"] == "flag"


def test_ready_tells_the_ports_that_the_system_chose(route: Route) -> None:
    ready, status = line(route.proxy, "ready"), route.proxy.status()
    (listener,) = ready["listeners"]
    assert listener["target"] == written(address_of(route.upstream))
    assert ready["admin"] == status["admin"]
    told = ("direction", "address", "target")
    assert [listener[name] for name in told] == [status["listeners"][0][name] for name in told]
    assert len(status["listeners"]) == 1


def test_ready_tells_how_long_it_took(route: Route) -> None:
    assert 0 < line(route.proxy, "ready")["ms"] < PATIENCE_S * 1000


def test_a_target_that_is_a_name_is_resolved_once_at_start(rig: Rig) -> None:
    upstream = rig.listen()
    listen = f"127.0.0.1:0=localhost:{address_of(upstream)[1]}"
    proxy = rig.start("--no-interception", "--listen", listen)
    (row,) = proxy.status()["listeners"]
    assert row["target"].startswith(("127.0.0.1:", "[::1]:"))


def test_an_interception_port_may_be_chosen_by_the_system(rig: Rig) -> None:
    proxy = rig.start("--outbound", "127.0.0.1:0", "--inbound", "127.0.0.1:0")
    directions = [row["direction"] for row in proxy.status()["listeners"]]
    assert directions == ["outbound", "inbound"]


def test_more_connections_than_files_are_warned_of(rig: Rig) -> None:
    proxy = rig.route("--connections-max", "1000000").proxy
    assert proxy.logged("connections_max_too_high")


@pytest.mark.parametrize(
    ("variables", "code"),
    [({"REMORA_WORKERS": "none"}, 64), ({"REMORA_DRAIN_DELAY": "1"}, 64)],
)
def test_a_bad_variable_ends_the_start_before_anything_is_opened(
    variables: dict[str, str], code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "proxy", "--control", "/proc/nowhere/s"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code
    (fault,) = done.stderr.splitlines()
    assert next(iter(variables)) in fault
