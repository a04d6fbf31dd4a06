"""The operator's doors: who may come in, and what may be done how."""

import stat
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support import control
from tests.support.control import Refused
from tests.support.process import EXIT_OS_ERROR, Proxy
from tests.support.rig import Rig, Route
from tests.support.sockets import parsed
from tests.support.waiting import PATIENCE_S

CHANGES = ("/drain", "/log-level", "/close")


@pytest.fixture
def tcp(rig: Rig) -> Proxy:
    """A proxy that takes commands over TCP too."""
    return rig.route("--control-listen", "127.0.0.1:0").proxy


def ask_tcp(proxy: Proxy, method: str, target: str, headers: dict[str, str]) -> int:
    operator = HTTPConnection(*parsed(proxy.status()["control_listen"]), timeout=PATIENCE_S)
    operator.request(method, target, body=b"{}", headers=headers)
    status = operator.getresponse().status
    operator.close()
    return status


def test_only_the_proxys_own_user_may_open_the_socket(route: Route) -> None:
    assert stat.S_IMODE(route.proxy.control_path.stat().st_mode) == 0o600


def test_the_sockets_file_goes_with_the_proxy(route: Route) -> None:
    route.proxy.stop()
    assert not route.proxy.control_path.exists()


def test_the_socket_of_a_killed_proxy_is_taken_over(rig: Rig) -> None:
    first = rig.route().proxy
    first.kill()
    assert first.control_path.exists()
    listen = "127.0.0.1:0=127.0.0.1:9"
    second = rig.start(
        "--no-interception", "--listen", listen, "--control", str(first.control_path)
    )
    assert control.ask(first.control_path, "/status")["pid"] == second.pid


def test_a_second_proxy_is_refused_the_socket_of_a_living_one(rig: Rig, route: Route) -> None:
    path = str(route.proxy.control_path)
    listen = "127.0.0.1:0=127.0.0.1:9"
    second = rig.launch("--no-interception", "--listen", listen, "--control", path)
    second.ended_as_planned = True
    assert second.wait_exit() == EXIT_OS_ERROR
    assert path in second.take_last_words()
    assert route.proxy.status()["pid"] == route.proxy.pid


def test_a_socket_that_cannot_be_made_ends_the_start(rig: Rig) -> None:
    listen = "127.0.0.1:0=127.0.0.1:9"
    flags = ("--no-interception", "--listen", listen, "--control", "/proc/nowhere/control.sock")
    proxy = rig.launch(*flags)
    proxy.ended_as_planned = True
    assert proxy.wait_exit() == EXIT_OS_ERROR
    assert "/proc/nowhere/control.sock" in proxy.take_last_words()
    assert not Path("/proc/nowhere").exists()


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_changes_by_get(route: Route, path: str) -> None:
    with pytest.raises(Refused) as refused:
        control.ask(route.proxy.control_path, path)
    assert refused.value.status == 405
    assert route.proxy.status()["state"] == "running"


@pytest.mark.parametrize("body", [{}, {"id": "7"}, {"id": True}, {"id": None}])
def test_a_body_of_another_shape_is_refused(route: Route, body: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        control.ask(route.proxy.control_path, "/close", body)
    assert refused.value.status == 400


def test_every_setting_is_told_with_its_value_and_where_it_came_from(rig: Rig) -> None:
    proxy = rig.route("--drain-delay", "1ms").proxy
    settings = control.ask(proxy.control_path, "/config")
    assert settings["drain_delay"] == {"value": "1ms", "source": "flag"}
    assert settings["idle_timeout"] == {"value": "1h", "source": "default"}


def test_tools_on_this_host_may_ask_over_tcp(tcp: Proxy) -> None:
    assert ask_tcp(tcp, "GET", "/status", {}) == 200


def test_a_web_page_may_not(tcp: Proxy) -> None:
    assert ask_tcp(tcp, "POST", "/drain", {"Origin": "http://page.example"}) == 403
    assert tcp.status()["state"] == "running"


def test_a_name_that_was_made_to_resolve_to_this_host_may_not(tcp: Proxy) -> None:
    assert ask_tcp(tcp, "POST", "/drain", {"Host": "page.example:15000"}) == 403
    assert tcp.status()["state"] == "running"
