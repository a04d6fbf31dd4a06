"""Mutual TLS with identities of the development CA: who is let in, and what is on the wire."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kind import objects, reading
from tests.kind.clusters import Cluster, remora, wait
from tests.kind.objects import Object

MESH = "mesh"  # the ConfigMap
LOOKING_S = 10


class Shop(NamedTuple):
    """Two applications that trust each other and nobody else."""

    namespace: str
    web: Object
    client: Object


def give_identities(cluster: Cluster, namespace: str, folder: Path, *accounts: str) -> None:
    """Put a Secret with a certificate for each service account into the namespace."""
    command = remora()
    cluster.run(*command, "identity", "ca", str(folder / "ca"))
    for account in accounts:
        place = str(folder / account)
        words = ("--ca", str(folder / "ca"), "--namespace", namespace, "--service-account", account)
        cluster.run(*command, "identity", "issue", place, *words)
        secret = cluster.run(*command, "identity", "secret", place)
        cluster.kubectl("apply", "-f", "-", stdin=secret)


def tell_the_mesh(cluster: Cluster, namespace: str) -> None:
    """Do what a pipeline does: put what there is into the ConfigMap."""
    kinds = "services,endpointslices,pods"
    now = cluster.kubectl("get", kinds, "-n", namespace, "-o", "json")
    cluster.apply(objects.config_map(namespace, MESH, {"cluster.json": now}))


@pytest.fixture
def shop(cluster: Cluster, meshed: str, tmp_path: Path) -> Shop:
    """`web` is strict, `client` has a certificate and knows who is meshed."""
    give_identities(cluster, meshed, tmp_path, "web", "client")
    cluster.apply(objects.service(meshed, "web"))
    web = {"identity-source": "secret", "identity-secret": "remora-web", "mtls": "strict"}
    cluster.apply(*objects.deployment(meshed, "web", objects.server(), web))
    # Ready although strict: the kubelet, which has no certificate, was let in for its probes.
    pod = cluster.pod(meshed, "web")
    tell_the_mesh(cluster, meshed)
    known = {"identity-source": "secret", "identity-secret": "remora-client", "manifests": MESH}
    cluster.apply(*objects.deployment(meshed, "client", objects.client("http://web/"), known))
    return Shop(meshed, pod, cluster.pod(meshed, "client"))


def test_two_sidecars_speak_mutual_tls_and_the_wire_shows_nothing_else(
    cluster: Cluster, shop: Shop
) -> None:
    cluster.more(shop.namespace, shop.client)
    cluster.debug(shop.namespace, shop.web, objects.sniffer(LOOKING_S))
    name = shop.web["metadata"]["name"]
    log = wait(
        "the look at the wire",
        lambda: found if "packets" in (found := cluster.log(shop.namespace, name, "sniff")) else "",
    )
    seen = json.loads(log.splitlines()[-1])
    assert seen["packets"] > 0
    assert not seen["seen"], "the application's word was on the wire"
    told = cluster.metrics(shop.namespace, shop.client)
    assert reading.total(told, "remora_tls_bytes_total") > 0
    own = cluster.tally(shop.namespace, shop.client)
    assert own.bad == 0, own.last


def test_whoever_has_no_certificate_gets_nothing(cluster: Cluster, shop: Shop, bare: str) -> None:
    address = f"http://web.{shop.namespace}/"
    cluster.apply(*objects.deployment(bare, "stranger", objects.client(address)))
    stranger = cluster.pod(bare, "stranger")
    wait("refusals", lambda: cluster.tally(bare, stranger).bad > 10)
    assert cluster.tally(bare, stranger).good == 0


def test_probes_go_on_under_strict_and_the_pod_is_never_restarted(
    cluster: Cluster, shop: Shop
) -> None:
    cluster.more(shop.namespace, shop.client, count=200)
    pod = cluster.pod(shop.namespace, "web")
    assert pod["metadata"]["uid"] == shop.web["metadata"]["uid"]
    assert reading.restarts(pod, "app") == reading.restarts(pod, "remora-proxy") == 0
    told = cluster.metrics(shop.namespace, pod)
    assert reading.total(told, "remora_tls_handshakes_total", role="accepted") > 0
