"""Traffic policy on redirected traffic: cluster IPs, slow and dead endpoints in another namespace.

What `tc netem` would do to packets is done by other means, because not every kernel has it: a slow
endpoint answers late, and an endpoint dies with its address, so that packets to it are lost.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.netns.harness import Pods
from tests.netns.mesh import Mesh, running
from tests.netns.stage import APP_PORT, REMOTE_PORT
from tests.support.http import Message, Stream, request, response
from tests.support.mtls import Identities
from tests.support.origins import Origins
from tests.support.policy import Manifests
from tests.support.sockets import Address, expect_reset, receive_exactly
from tests.support.svids import SHOP, WEB
from tests.support.traffic import Object, destination_rule, endpoint, endpoints, service
from tests.support.waiting import eventually

pytestmark = pytest.mark.root

CLUSTER_IP: Final = {"ipv4": "10.96.0.1", "ipv6": "fd96::1"}
SLICE: Final = {"ipv4": "IPv4", "ipv6": "IPv6"}
NEVER_OUT: Final[Object] = {
    "outlierDetection": {"consecutive5xxErrors": 0, "consecutiveLocalOriginFailures": 0}
}


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins() as made:
        yield made


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    tmp_path.chmod(0o755)
    folder = tmp_path / "manifests"
    folder.mkdir()
    return Manifests(folder)


def flags(manifests: Manifests) -> list[str]:
    return ["--manifests", str(manifests.directory), "--namespace", "shop", "--workers", "1"]


def ask(mesh: Mesh, address: Address, count: int = 1) -> list[Message]:
    """Send requests as an app of `left`, one after the other on one connection."""
    stream = Stream(mesh.left.dial(address))
    answers = []
    for number in range(count):
        stream.send(request(f"/{number}"))
        answers.append(stream.response())
    stream.sock.close()
    return answers


def ask_at_once(mesh: Mesh, address: Address, clients: int, count: int) -> Counter[int]:
    """Do that from several clients; return the statuses."""
    futures = [mesh.background(ask, mesh, address, count) for _ in range(clients)]
    return Counter(answer.status for future in futures for answer in future.result())


# ---- slow and dead endpoints ---------------------------------------------------------------------


def place(pods: Pods, number: int) -> str:
    """Give `right` one more address, which is that of an endpoint."""
    host = f"10.71.0.{11 + number}"
    pods.right.run(["ip", "address", "add", f"{host}/24", "dev", "eth0"])
    return host


def lose(pods: Pods, host: str) -> None:
    """From now on nobody answers for the address, not even that it is gone."""
    pods.right.run(["ip", "address", "del", f"{host}/24", "dev", "eth0"])


def slice_of(name: str, hosts: list[str]) -> Object:
    return endpoints(name, *map(endpoint, hosts), ports=(REMOTE_PORT,))


def test_a_slow_endpoint_gets_less_than_its_turn(
    pods: Pods, origins: Origins, manifests: Manifests
) -> None:
    """One of five takes 100 ms. Round robin gives it a fifth of the requests."""
    hosts = [place(pods, number) for number in range(5)]
    for number, host in enumerate(hosts):
        delay_s = 0.1 if number == 0 else 0.0
        origins.serve(host, pods.right.listen(host, REMOTE_PORT), delay_s=delay_s)
    turns = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    manifests.write(
        *(service("measured", "10.96.0.1"), slice_of("measured", hosts)),
        *(service("turns", "10.96.0.2"), slice_of("turns", hosts)),
        destination_rule("turns", "turns", turns),
    )
    with running(pods, "ipv4", left_flags=flags(manifests)) as mesh:
        assert ask_at_once(mesh, ("10.96.0.2", 80), 4, 100) == {200: 400}
        by_turns = origins.counts[hosts[0]]
        assert origins.counts.total() == 400
        assert ask_at_once(mesh, ("10.96.0.1", 80), 4, 100) == {200: 400}
        measured = origins.counts[hosts[0]] - by_turns
    assert 70 <= by_turns <= 90
    assert measured * 3 < by_turns
    assert all(origins.counts[host] > 100 for host in hosts[1:])


def test_an_endpoint_that_dies_is_taken_out_and_comes_back_when_it_is_healed(
    pods: Pods, origins: Origins, manifests: Manifests
) -> None:
    hosts = [place(pods, number) for number in range(3)]
    for host in hosts:
        origins.serve(host, pods.right.listen(host, REMOTE_PORT))
    policy: Object = {
        "connectionPool": {"tcp": {"connectTimeout": "0.3s"}},
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "outlierDetection": {
            "consecutiveLocalOriginFailures": 2,
            "splitExternalLocalOriginErrors": True,
            "consecutiveGatewayErrors": 2,
            "baseEjectionTime": "1s",
            "maxEjectionPercent": 50,
        },
    }
    # Connections that were open when it died say nothing: only the limit of a try ends them.
    patience = {"try-timeout": "300ms", "retry-budget": "100% min=100"}
    manifests.write(
        service("web", "10.96.0.1", annotations=patience),
        slice_of("web", hosts),
        destination_rule("web", "web", policy),
    )
    with running(pods, "ipv4", left_flags=flags(manifests)) as mesh:
        web = "10.96.0.1", 80

        def out() -> float:
            return mesh.left.sidecar.metrics()("remora_traffic_ejected_endpoints")

        assert {answer.status for answer in ask(mesh, web, 30)} == {200}
        assert out() == 0
        lose(pods, hosts[1])
        statuses: Counter[int] = Counter()

        def is_out() -> bool:
            statuses.update(answer.status for answer in ask(mesh, web, 5))
            return out() == 1

        eventually("the dead one to be taken out", is_out)
        assert {*statuses} == {200}
        place(pods, 1)
        before = origins.counts[hosts[1]]

        def is_back() -> bool:
            statuses.update(answer.status for answer in ask(mesh, web, 5))
            return origins.counts[hosts[1]] > before + 5 and out() == 0

        eventually("the healed one to come back", is_back)
        assert {*statuses} == {200}


def test_a_service_that_fails_is_not_asked_much_more_than_by_its_load(
    pods: Pods, origins: Origins, manifests: Manifests
) -> None:
    hosts = [place(pods, number) for number in range(2)]
    for host in hosts:
        listener = pods.right.listen(host, REMOTE_PORT)
        origins.serve(host, listener, status="503 Service Unavailable")
    eager = {"retry-attempts": "5", "retry-codes": "503", "retry-backoff": "1ms"}
    manifests.write(
        service("web", "10.96.0.1", annotations=eager),
        slice_of("web", hosts),
        destination_rule("web", "web", NEVER_OUT),
    )
    with running(pods, "ipv4", left_flags=flags(manifests)) as mesh:
        begun = time.monotonic()
        assert ask_at_once(mesh, ("10.96.0.1", 80), 4, 500) == {503: 2_000}
        seconds = time.monotonic() - begun
    tries = origins.counts.total()
    # A fifth more, ten a second, and what the budget holds at the start.
    assert 2_000 < tries <= 1.2 * 2_000 + 10 * (seconds + 1) + 10


# ---- mutual TLS behind a cluster IP --------------------------------------------------------------


def pod(pods: Pods, family: str, account: str) -> Object:
    """Return the Pod that `right` is."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop"},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "app"}, {"name": "remora-proxy"}],
        },
        "status": {"podIP": pods.right.addresses[family]},
    }


def meshed(
    manifests: Manifests, identities: Identities, pods: Pods, family: str, account: str = "web"
) -> dict[str, list[str]]:
    """Write a service of one endpoint, the Pod `right`; return the flags of both sidecars."""
    host = pods.right.addresses[family]
    manifests.write(
        service("web", CLUSTER_IP[family]),
        endpoints("web", endpoint(host), ports=(APP_PORT,), family=SLICE[family]),
        pod(pods, family, account),
    )
    return {
        "left_flags": ["--identity", str(identities.directory(SHOP)), *flags(manifests)],
        "right_flags": ["--identity", str(identities.directory(WEB)), "--mtls", "strict"],
    }


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


def test_requests_to_a_cluster_ip_reach_a_pod_by_mutual_tls(
    pods: Pods, family: str, manifests: Manifests, identities: Identities
) -> None:
    with running(pods, family, **meshed(manifests, identities, pods, family)) as mesh:
        down = Stream(mesh.left.dial((CLUSTER_IP[family], 80)))
        down.send(request("/item"))
        up = Stream(mesh.right.accept(mesh.app))
        assert up.request().get(b"remora-client-id") == SHOP.encode()
        up.send(response(b"here"))
        assert down.response().body == b"here"
        for side, role in ((mesh.left, "dialled"), (mesh.right, "accepted")):
            assert side.sidecar.metrics()("remora_tls_handshakes_total", role=role) == 1
        (row,) = mesh.left.sidecar.requests()
        assert row["service"] == "shop/web"


def test_a_connection_to_a_cluster_ip_reaches_a_pod_by_mutual_tls(
    pods: Pods, family: str, manifests: Manifests, identities: Identities
) -> None:
    with running(pods, family, **meshed(manifests, identities, pods, family)) as mesh:
        down = mesh.left.dial((CLUSTER_IP[family], 80))
        down.sendall(b"\0opaque")
        up = mesh.right.accept(mesh.app)
        assert receive_exactly(up, 7) == b"\0opaque"
        up.sendall(b"\0answer")
        assert receive_exactly(down, 7) == b"\0answer"
        handshakes = mesh.right.sidecar.metrics()("remora_tls_handshakes_total", role="accepted")
        assert handshakes == 1


def test_a_pod_that_proves_another_account_gets_nothing(
    pods: Pods, family: str, manifests: Manifests, identities: Identities
) -> None:
    wrong = meshed(manifests, identities, pods, family, account="other")
    with running(pods, family, **wrong) as mesh:
        (answer,) = ask(mesh, (CLUSTER_IP[family], 80))
        assert answer.status == 503
        opaque = mesh.left.dial((CLUSTER_IP[family], 80))
        opaque.sendall(b"\0opaque")
        expect_reset(opaque)
        failures = mesh.left.sidecar.metrics()("remora_tls_handshake_failures_total")
        assert failures >= 2
        assert mesh.right.sidecar.metrics()("request_total") == 0
