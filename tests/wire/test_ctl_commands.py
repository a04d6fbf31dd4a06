"""`remora ctl` as an operator types it, against a running proxy."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.process import Proxy, ctl
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_end, expect_refusal, expect_reset, written
from tests.support.waiting import eventually

Done = subprocess.CompletedProcess[str]


def ctl_json(proxy: Proxy, *words: str) -> dict[str, Any]:
    done = ctl(proxy, *words, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_status_shows_state_listeners_and_totals(route: Route) -> None:
    route.pair()
    page = ctl(route.proxy, "status").stdout
    assert "state:" in page
    assert "running" in page
    assert written(route.address) in page


def test_status_as_json_is_the_proxys_own_answer(route: Route) -> None:
    answer = ctl_json(route.proxy, "status")
    assert answer["pid"] == route.proxy.pid
    assert answer["state"] == "running"
    assert answer["listeners"][0]["address"] == written(route.address)


def test_wait_returns_when_a_proxy_that_just_starts_is_ready(rig: Rig) -> None:
    proxy = rig.launch("--no-interception", "--listen", "127.0.0.1:0=127.0.0.1:9")
    done = ctl(proxy, "wait")
    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr
    assert proxy.status()["ready"]


def test_open_connections_are_a_table(route: Route) -> None:
    pair = route.pair()
    lines = ctl(route.proxy, "connections").stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "DIRECTION"]
    assert written(pair.downstream.getsockname()) in lines[1]


def test_only_as_many_connections_are_shown_as_asked_for(route: Route) -> None:
    route.pairs(3)
    answer = ctl_json(route.proxy, "connections", "--limit", "2")
    assert len(answer["connections"]) == 2
    assert answer["truncated"]


def test_one_connection_is_reset_by_its_id_and_its_neighbour_is_not(route: Route) -> None:
    doomed, spared = route.pairs(2)
    name = written(doomed.downstream.getsockname())
    rows = ctl_json(route.proxy, "connections")["connections"]
    (row,) = [row for row in rows if row["downstream"] == name]
    assert ctl(route.proxy, "close", str(row["id"])).returncode == 0
    expect_reset(doomed.downstream)
    expect_reset(doomed.upstream)
    spared.downstream.sendall(b"?")
    assert spared.upstream.recv(1) == b"?"


def test_an_id_that_nobody_has_is_refused(route: Route) -> None:
    done = ctl(route.proxy, "close", "123456")
    assert done.returncode == 1
    assert "123456" in done.stderr


def test_closed_connections_are_shown_with_what_they_mean(rig: Rig) -> None:
    proxy = rig.start_to(rig.bind().getsockname(), "--recent", "10")
    with contextlib.suppress(ConnectionResetError):  # the reset may be quicker than the connect
        rig.connect(proxy.listeners("explicit")[0])
    proxy.wait_closed("connect_refused")
    page = eventually("the record", lambda: _text_with(proxy, "connect_refused"))
    assert "is the app listening" in page


def _text_with(proxy: Proxy, word: str) -> str:
    page = ctl(proxy, "connections", "--closed").stdout
    return page if word in page else ""


def test_closed_connections_that_nobody_kept_are_refused_with_the_flag_to_use(
    route: Route,
) -> None:
    done = ctl(route.proxy, "connections", "--closed")
    assert done.returncode == 1
    assert "--recent" in done.stderr


def test_the_log_level_changes_at_run_time(route: Route) -> None:
    assert ctl(route.proxy, "log-level").stdout == "info\n"
    assert ctl(route.proxy, "log-level", "debug").stdout == "debug\n"
    assert ctl(route.proxy, "log-level").stdout == "debug\n"


def test_an_unknown_log_level_is_refused(route: Route) -> None:
    done = ctl(route.proxy, "log-level", "loud")
    assert done.returncode == 1
    assert "'loud'" in done.stderr


def test_drain_closes_listeners_and_the_process_stays(route: Route) -> None:
    assert ctl(route.proxy, "drain", "--wait").stdout == "drained\n"
    expect_refusal(route.address)
    assert route.proxy.running()
    assert route.proxy.readiness() == (503, "not ready: draining\n")


def test_drain_without_waiting_returns_at_once(route: Route) -> None:
    pair = route.pair()
    assert ctl(route.proxy, "drain").stdout == "draining\n"
    pair.downstream.close()
    expect_end(pair.upstream)
    pair.upstream.close()
    eventually("the drain to end", lambda: route.proxy.status()["state"] == "drained")


def test_an_operator_who_gives_up_waiting_does_not_stop_the_drain(route: Route) -> None:
    pair = route.pair()
    command = [sys.executable, "-m", "proxy", "ctl", "drain", "--wait"]
    with subprocess.Popen([*command, "--control", str(route.proxy.control_path)]) as waiting:
        eventually("the drain", lambda: route.proxy.status()["state"] == "draining")
        waiting.kill()
    pair.downstream.close()
    expect_end(pair.upstream)
    pair.upstream.close()
    eventually("the drain to end", lambda: route.proxy.status()["state"] == "drained")


def test_a_drained_proxy_exits_on_the_first_signal(route: Route) -> None:
    ctl(route.proxy, "drain", "--wait")
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() == 0


@pytest.mark.parametrize("end", [Proxy.kill, Proxy.stop], ids=["killed", "stopped"])
def test_without_a_proxy_the_operator_is_told_where_it_was_looked_for(
    route: Route, end: Callable[[Proxy], None]
) -> None:
    end(route.proxy)
    done = ctl(route.proxy, "status")
    assert done.returncode == 69
    assert str(route.proxy.control_path) in done.stderr
