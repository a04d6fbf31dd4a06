"""What the default rules do to each kind of connection, with real tools and a real kernel."""

import socket

import pytest

from tests.netns.harness import Pods
from tests.netns.stage import (
    ADMIN_PORT,
    APP_GID,
    APP_PORT,
    APP_UID,
    PROXY_GID,
    PROXY_UID,
    REMOTE_PORT,
    Stage,
)
from tests.support import sockets
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.root


@pytest.fixture
def stage(pods: Pods, family: str, backend: str) -> Stage:
    """The stage, with the default rules in place."""
    pods.left.init("--backend", backend, check=True)
    return Stage(pods, family)


def test_an_outbound_connection_arrives_at_the_proxy_with_its_destination(stage: Stage) -> None:
    landing = stage.from_left(stage.remote, REMOTE_PORT)
    assert (landing.place, landing.destination) == ("outbound", (stage.remote, REMOTE_PORT))


def test_an_outbound_connection_beyond_the_pods_own_network_is_redirected(stage: Stage) -> None:
    landing = stage.from_left(stage.elsewhere, REMOTE_PORT)
    assert (landing.place, landing.destination) == ("outbound", (stage.elsewhere, REMOTE_PORT))


def test_a_connection_of_root_is_redirected(stage: Stage) -> None:
    assert stage.place_from_left(stage.remote, REMOTE_PORT, uid=0) == "outbound"


def test_an_inbound_connection_arrives_at_the_proxy_with_its_destination(stage: Stage) -> None:
    landing = stage.from_right(stage.pod, APP_PORT)
    assert (landing.place, landing.destination) == ("inbound", (stage.pod, APP_PORT))


def test_an_inbound_connection_keeps_its_source(stage: Stage) -> None:
    assert stage.from_right(stage.pod, APP_PORT).source == stage.remote


def test_the_admin_port_is_reached_from_outside_without_the_proxy(stage: Stage) -> None:
    assert stage.from_right(stage.pod, ADMIN_PORT).place == "admin"


def test_the_proxys_user_dials_out_untouched(stage: Stage) -> None:
    landing = stage.from_left(stage.remote, REMOTE_PORT, uid=PROXY_UID, gid=APP_GID)
    assert landing.place == "remote"


def test_the_proxys_group_dials_out_untouched(stage: Stage) -> None:
    landing = stage.from_left(stage.remote, REMOTE_PORT, uid=APP_UID, gid=PROXY_GID)
    assert landing.place == "remote"


def test_the_proxys_call_of_its_own_pod_goes_through_its_inbound_side(stage: Stage) -> None:
    landing = stage.from_left(stage.pod, APP_PORT, uid=PROXY_UID)
    assert (landing.place, landing.destination) == ("inbound", (stage.pod, APP_PORT))


def test_a_call_of_the_own_pod_by_the_proxys_group_goes_through_inbound_too(stage: Stage) -> None:
    landing = stage.from_left(stage.pod, APP_PORT, uid=APP_UID, gid=PROXY_GID)
    assert landing.place == "inbound"


def test_the_proxys_call_of_localhost_is_untouched(stage: Stage) -> None:
    assert stage.place_from_left(stage.localhost, APP_PORT, uid=PROXY_UID) == "app"


def test_the_proxys_call_of_its_own_admin_port_is_untouched(stage: Stage) -> None:
    assert stage.place_from_left(stage.pod, ADMIN_PORT, uid=PROXY_UID) == "admin"


def test_the_delivery_to_the_app_passes(stage: Stage) -> None:
    landing = stage.from_left(stage.pod, APP_PORT, uid=PROXY_UID, source=stage.delivery)
    assert (landing.place, landing.source) == ("app", stage.delivery)


def test_an_app_calls_another_over_localhost_untouched(stage: Stage) -> None:
    assert stage.place_from_left(stage.localhost, APP_PORT) == "app"


def test_an_app_calls_its_own_pods_address_untouched(stage: Stage) -> None:
    assert stage.place_from_left(stage.pod, APP_PORT) == "app"


def test_nobody_answers_for_a_proxy_that_is_dead(stage: Stage) -> None:
    for name in ("outbound", "inbound"):
        stage.listeners.pop(name).close()
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "refused"
    assert stage.from_right(stage.pod, APP_PORT).place == "refused"


def test_a_datagram_passes_in_both_directions(stage: Stage) -> None:
    every = stage.listeners["inbound"].getsockname()[0]
    there = stage.right.call(_datagram_socket, every, REMOTE_PORT)
    here = stage.left.call(_datagram_socket, every, APP_PORT)
    with there, here:
        here.sendto(b"out", (stage.remote, REMOTE_PORT))
        data, source = there.recvfrom(64)
        assert (data, source[:2]) == (b"out", (stage.pod, APP_PORT))
        there.sendto(b"in", source)
        assert here.recvfrom(64)[0] == b"in"


def _datagram_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(sockets.family_of(host), socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE_S)
    sock.bind((host, port))
    return sock
