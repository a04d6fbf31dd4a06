"""Two workers share the listening address: both get connections, and the sums are right."""

from tests.support.rig import Rig
from tests.support.sockets import receive_exactly
from tests.support.transfers import MIB, Payload, receive_all, send_all
from tests.support.waiting import eventually

CONNECTIONS = 64


def test_both_workers_get_connections(rig: Rig) -> None:
    route = rig.route("--workers", "2")
    route.pairs(CONNECTIONS)
    rows = route.proxy.connections()
    assert len(rows) == CONNECTIONS
    assert {row["worker"] for row in rows} == {0, 1}
    assert len({row["id"] for row in rows}) == CONNECTIONS


def test_the_counters_are_sums_over_both(rig: Rig) -> None:
    route = rig.route("--workers", "2")
    for pair in route.pairs(CONNECTIONS):
        pair.downstream.sendall(b"12345")
        assert receive_exactly(pair.upstream, 5) == b"12345"
        pair.downstream.close()
        pair.upstream.close()
    eventually("all closed", lambda: route.proxy.closed("ok") == CONNECTIONS)
    metrics = route.proxy.metrics()
    assert metrics("tcp_open_total") == CONNECTIONS
    assert metrics("tcp_read_bytes_total", peer="src") == CONNECTIONS * 5


def test_bulk_on_both_workers_at_once_arrives_whole(rig: Rig) -> None:
    route = rig.route("--workers", "2")
    payloads = [Payload(seed, 8 * MIB) for seed in range(8)]
    sends, receives = [], []
    for payload, pair in zip(payloads, route.pairs(8), strict=True):
        sends.append(rig.background(send_all, pair.downstream, payload))
        receives.append(rig.background(receive_all, pair.upstream))
    for payload, received in zip(payloads, receives, strict=True):
        assert received.result() == payload.digest()
    for sent in sends:
        sent.result()
