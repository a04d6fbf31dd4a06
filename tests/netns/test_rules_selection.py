"""What each option leaves alone or takes in, with real tools and a real kernel.

Every test dials once what the option names and once what it does not.
"""

import socket

import pytest

from tests.netns.harness import Pods
from tests.netns.stage import (
    APP_GID,
    APP_PORT,
    APP_UID,
    PROXY_UID,
    REMOTE_PORT,
    SECOND_APP_PORT,
    SECOND_REMOTE_PORT,
    Stage,
)
from tests.support import sockets

pytestmark = pytest.mark.root

# Enough numbers to need a second multiport match; the port of the test stands in the second one.
CROWD = ",".join(str(port) for port in range(1, 60, 2))


@pytest.fixture
def init(stage: Stage, backend: str) -> "Init":
    return Init(stage, backend)


class Init:
    """Runs init in the left pod with flags of the test."""

    def __init__(self, stage: Stage, backend: str) -> None:
        self._stage = stage
        self._backend = backend

    def __call__(self, *flags: str) -> None:
        self._stage.left.init("--backend", self._backend, *flags, check=True)


def test_an_excluded_inbound_port_is_reached_without_the_proxy(stage: Stage, init: Init) -> None:
    init("--inbound-exclude-ports", str(APP_PORT))
    assert stage.from_right(stage.pod, APP_PORT).place == "app"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "inbound"


def test_an_excluded_inbound_port_is_excluded_for_the_proxys_own_call(
    stage: Stage, init: Init
) -> None:
    init("--inbound-exclude-ports", str(APP_PORT))
    assert stage.place_from_left(stage.pod, APP_PORT, uid=PROXY_UID) == "app"
    assert stage.place_from_left(stage.pod, SECOND_APP_PORT, uid=PROXY_UID) == "inbound"


def test_every_port_of_an_excluded_range_is_left_alone(stage: Stage, init: Init) -> None:
    init("--inbound-exclude-ports", f"{APP_PORT - 100}-{APP_PORT}")
    assert stage.from_right(stage.pod, APP_PORT).place == "app"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "inbound"


def test_more_excluded_ports_than_one_match_holds_are_all_left_alone(
    stage: Stage, init: Init
) -> None:
    init("--inbound-exclude-ports", f"{CROWD},{APP_PORT}")
    assert stage.from_right(stage.pod, APP_PORT).place == "app"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "inbound"


def test_only_included_inbound_ports_are_redirected(stage: Stage, init: Init) -> None:
    init("--inbound-include-ports", f"{CROWD},{APP_PORT}")
    assert stage.from_right(stage.pod, APP_PORT).place == "inbound"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "second app"


def test_exclusion_wins_over_inclusion_inbound(stage: Stage, init: Init) -> None:
    init("--inbound-include-ports", "1-65535", "--inbound-exclude-ports", str(APP_PORT))
    assert stage.from_right(stage.pod, APP_PORT).place == "app"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "inbound"


def test_including_no_inbound_port_leaves_all_of_them_alone(stage: Stage, init: Init) -> None:
    init("--inbound-include-ports", "none")
    assert stage.from_right(stage.pod, APP_PORT).place == "app"
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"


def test_an_excluded_outbound_port_is_dialled_without_the_proxy(stage: Stage, init: Init) -> None:
    init("--outbound-exclude-ports", str(REMOTE_PORT))
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "remote"
    assert stage.place_from_left(stage.remote, SECOND_REMOTE_PORT) == "outbound"


def test_an_excluded_outbound_port_does_not_hide_the_proxys_own_call(
    stage: Stage, init: Init
) -> None:
    init("--outbound-exclude-ports", str(APP_PORT))
    assert stage.place_from_left(stage.pod, APP_PORT, uid=PROXY_UID) == "inbound"


def test_an_excluded_block_is_dialled_without_the_proxy(stage: Stage, init: Init) -> None:
    init("--outbound-exclude-cidrs", "198.51.100.0/24,2001:db8:51::/48")
    assert stage.place_from_left(stage.elsewhere, REMOTE_PORT) == "remote"
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"


def test_only_included_blocks_are_redirected(stage: Stage, init: Init) -> None:
    init("--outbound-include-cidrs", "198.51.100.7,2001:db8:51::7")
    assert stage.place_from_left(stage.elsewhere, REMOTE_PORT) == "outbound"
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "remote"


def test_a_block_excluded_inside_an_included_one_is_left_alone(stage: Stage, init: Init) -> None:
    init(
        "--outbound-include-cidrs",
        "0.0.0.0/0,::/0",
        "--outbound-exclude-cidrs",
        "198.51.100.7/32,2001:db8:51::7/128",
    )
    assert stage.place_from_left(stage.elsewhere, REMOTE_PORT) == "remote"
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"


def test_only_included_outbound_ports_are_redirected(stage: Stage, init: Init) -> None:
    init("--outbound-include-ports", str(REMOTE_PORT))
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"
    assert stage.place_from_left(stage.remote, SECOND_REMOTE_PORT) == "second remote"


def test_what_either_include_list_names_is_redirected(stage: Stage, init: Init) -> None:
    init(
        "--outbound-include-ports",
        str(REMOTE_PORT),
        "--outbound-include-cidrs",
        "198.51.100.0/24,2001:db8:51::/48",
    )
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"
    assert stage.place_from_left(stage.elsewhere, SECOND_REMOTE_PORT) == "outbound"
    assert stage.place_from_left(stage.remote, SECOND_REMOTE_PORT) == "second remote"


def test_including_nothing_outbound_leaves_everything_alone(stage: Stage, init: Init) -> None:
    init("--outbound-include-cidrs", "none")
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "remote"
    assert stage.from_right(stage.pod, APP_PORT).place == "inbound"


def test_each_of_several_proxy_users_is_known_in_both_roles(stage: Stage, init: Init) -> None:
    init("--proxy-uid", "2001,2002", "--proxy-gid", "none")
    for uid in (2001, 2002):
        assert stage.place_from_left(stage.remote, REMOTE_PORT, uid=uid) == "remote"
        assert stage.place_from_left(stage.pod, APP_PORT, uid=uid) == "inbound"
    assert stage.place_from_left(stage.remote, REMOTE_PORT, uid=PROXY_UID) == "outbound"


def test_a_group_alone_is_enough_to_be_the_proxy(stage: Stage, init: Init) -> None:
    init("--proxy-gid", "3001,3002")
    for gid in (3001, 3002):
        landing = stage.from_left(stage.remote, REMOTE_PORT, uid=APP_UID, gid=gid)
        assert landing.place == "remote"
    landing = stage.from_left(stage.remote, REMOTE_PORT, uid=APP_UID, gid=APP_GID)
    assert landing.place == "outbound"


def test_the_proxy_may_listen_on_other_ports(stage: Stage, init: Init) -> None:
    init("--outbound-port", "16001", "--inbound-port", "16006", "--admin-port", str(APP_PORT))
    stage.move_proxy(16001, 16006)
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == "outbound"
    assert stage.from_right(stage.pod, SECOND_APP_PORT).place == "inbound"
    assert stage.from_right(stage.pod, APP_PORT).place == "app"


def test_variables_do_what_the_flags_do(stage: Stage, backend: str) -> None:
    excluded = {"REMORA_INBOUND_EXCLUDE_PORTS": str(APP_PORT), "REMORA_BACKEND": backend}
    stage.left.init(check=True, env=excluded)
    assert stage.from_right(stage.pod, APP_PORT).place == "app"


def test_ipv4_alone_leaves_ipv6_alone(stage: Stage, init: Init) -> None:
    init("--families", "ipv4")
    expected = {"ipv4": "outbound", "ipv6": "remote"}[stage.family]
    assert stage.place_from_left(stage.remote, REMOTE_PORT) == expected


def test_a_link_local_destination_is_dialled_without_the_proxy(pods: Pods, backend: str) -> None:
    pods.left.init("--backend", backend, check=True)
    there = _link_local(pods)
    listener = pods.right.listen("::", REMOTE_PORT)
    zone = pods.left.call(socket.if_nametoindex, "eth0")
    with pods.left.call(socket.socket, socket.AF_INET6) as downstream:
        downstream.connect((there, REMOTE_PORT, 0, zone))
        with sockets.accepted(listener) as upstream:
            assert upstream.getpeername()[1] == downstream.getsockname()[1]


def _link_local(pods: Pods) -> str:
    listed = pods.right.run(["ip", "-o", "-6", "address", "show", "dev", "eth0", "scope", "link"])
    return listed.stdout.split()[3].partition("/")[0]
