"""connections-max bounds what is open; one more is refused, counted, and not missed later."""

from tests.support.rig import Rig
from tests.support.sockets import expect_refusal, receive_exactly
from tests.support.waiting import eventually


def test_the_connection_beyond_the_limit_is_refused_and_counted(rig: Rig) -> None:
    route = rig.route("--connections-max", "4")
    route.pairs(4)
    expect_refusal(route.address)
    metrics = route.proxy.metrics()
    assert metrics("remora_events_total", event="limit_connections") == 1
    assert metrics("tcp_open_connections") == 4


def test_connections_within_the_limit_are_untouched_by_refusals(rig: Rig) -> None:
    route = rig.route("--connections-max", "4")
    pairs = route.pairs(4)
    for _ in range(50):
        expect_refusal(route.address)
    for pair in pairs:
        pair.downstream.sendall(b"still mine")
        assert receive_exactly(pair.upstream, 10) == b"still mine"


def test_a_place_that_became_free_is_given_away_again(rig: Rig) -> None:
    route = rig.route("--connections-max", "4")
    pairs = route.pairs(4)
    pairs[0].downstream.close()
    pairs[0].upstream.close()
    eventually("one place free", lambda: route.proxy.live()["connections"] == 3)
    pair = route.pair()
    pair.downstream.sendall(b"my turn")
    assert receive_exactly(pair.upstream, 7) == b"my turn"
