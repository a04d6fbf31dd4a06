"""What the kubelet asks: is it alive, is it ready, and if not, why."""

import signal

import pytest

from tests.support import control
from tests.support.rig import Rig, Route
from tests.support.sockets import connected, expect_refusal
from tests.support.waiting import eventually


def test_a_ready_proxy_says_so(route: Route) -> None:
    assert route.proxy.readiness() == (200, "ready\n")


def test_a_proxy_whose_workers_answer_is_alive(rig: Rig) -> None:
    proxy = rig.route("--workers", "3").proxy
    assert control.fetch(proxy.admin_address(), "/live") == (200, "live\n")


def test_a_draining_proxy_is_alive_but_not_ready(rig: Rig) -> None:
    route = rig.route("--drain-delay", "10s", "--drain-deadline", "11s")
    route.proxy.ended_as_planned = True  # a second signal will force the end
    admin = route.proxy.admin_address()
    route.proxy.signal(signal.SIGTERM)
    eventually("the drain", lambda: route.proxy.logged("draining"))
    assert control.fetch(admin, "/ready") == (503, "not ready: draining\n")
    assert control.fetch(admin, "/live")[0] == 200
    route.pair()
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() == 1


def test_probes_are_answered_to_many_askers_at_once(rig: Rig, route: Route) -> None:
    admin = route.proxy.admin_address()
    asking = [rig.background(control.fetch, admin, "/live") for _ in range(50)]
    assert {each.result() for each in asking} == {(200, "live\n")}


def test_nothing_can_be_changed_through_the_admin_port(route: Route) -> None:
    assert control.fetch(route.proxy.admin_address(), "/drain")[0] == 404


def test_the_admin_port_can_be_switched_off(rig: Rig) -> None:
    proxy = rig.route("--admin", "off").proxy
    assert proxy.status()["admin"] is None


def test_the_admin_port_closes_with_the_proxy(route: Route) -> None:
    admin = route.proxy.admin_address()
    connected(admin).close()
    route.proxy.signal(signal.SIGTERM)
    assert route.proxy.wait_exit() == 0
    expect_refusal(admin)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_admin_port_is_reachable_over_both_families(rig: Rig, host: str) -> None:
    proxy = rig.route("--admin", f"{host}:0").proxy
    assert control.fetch(proxy.admin_address(), "/ready")[0] == 200
