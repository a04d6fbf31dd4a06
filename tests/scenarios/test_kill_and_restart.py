"""kill -9 leaves no bytes pretended delivered, and the same ports are free for the next start."""

from tests.support.rig import Rig, Route
from tests.support.sockets import (
    address_of,
    connected,
    expect_reset,
    fill_until_blocked,
    receive_exactly,
    written,
)


def restart(route: Route) -> Route:
    listen = f"{written(route.address)}={written(address_of(route.upstream))}"
    proxy = route.rig.start("--no-interception", "--listen", listen)
    return Route(route.rig, proxy, route.address, route.upstream)


def test_a_killed_proxy_is_replaced_on_the_same_port_at_once(rig: Rig) -> None:
    route = rig.route()
    for _ in range(3):
        for pair in route.pairs(50):
            pair.downstream.sendall(b"ping")
            assert receive_exactly(pair.upstream, 4) == b"ping"
        route.proxy.kill()
        route = restart(route)
        pair = route.pair()
        pair.upstream.sendall(b"back again")
        assert receive_exactly(pair.downstream, 10) == b"back again"


def test_a_kill_with_bytes_in_the_buffers_is_a_reset_for_the_writer(rig: Rig) -> None:
    route = rig.route()
    pair = route.pair()
    fill_until_blocked(pair.downstream, b"x" * 65536)
    route.proxy.kill()
    expect_reset(pair.downstream)


def test_the_operator_socket_left_behind_does_not_hinder_the_next_start(rig: Rig) -> None:
    route = rig.route()
    socket_path = str(route.proxy.control_path)
    route.proxy.kill()
    assert route.proxy.control_path.exists()
    upstream = written(address_of(route.upstream))
    listen = f"{written(route.address)}={upstream}"
    proxy = rig.start("--no-interception", "--listen", listen, "--control", socket_path)
    proxy.control_path = route.proxy.control_path
    assert proxy.listeners("explicit") == [route.address]
    connected(route.address).close()
