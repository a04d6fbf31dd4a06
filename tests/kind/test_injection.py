"""Into pods: by the label, by the pipe, and out again."""

from tests.kind import objects, reading
from tests.kind.clusters import Cluster, remora, wait


def test_the_api_server_knows_who_signed_for_the_webhook(cluster: Cluster) -> None:
    found = cluster.get("mutatingwebhookconfiguration", "remora-webhook")
    assert all(entry["clientConfig"].get("caBundle") for entry in found["webhooks"])


def test_a_namespace_with_the_label_has_pods_with_the_sidecar(
    cluster: Cluster, meshed: str
) -> None:
    cluster.apply(*objects.deployment(meshed, "web", objects.server(), replicas=2))
    cluster.ready(meshed, "web")
    pods = cluster.pods(meshed, "web")
    assert len(pods) == 2
    assert all(map(reading.has_sidecar, pods))


def test_a_pod_that_says_no_is_left_alone(cluster: Cluster, meshed: str) -> None:
    account, made = objects.deployment(meshed, "web", objects.server())
    made["spec"]["template"]["metadata"]["labels"]["remora.dev/inject"] = "disabled"
    cluster.apply(account, made)
    assert reading.residue(cluster.pod(meshed, "web")) == []


def test_a_pod_of_another_namespace_that_says_yes_gets_the_sidecar(
    cluster: Cluster, bare: str
) -> None:
    account, made = objects.deployment(bare, "web", objects.server())
    made["spec"]["template"]["metadata"]["labels"]["remora.dev/inject"] = "enabled"
    cluster.apply(account, made)
    assert reading.has_sidecar(cluster.pod(bare, "web"))


def test_a_pipe_puts_the_sidecar_in_and_another_takes_it_out(cluster: Cluster, bare: str) -> None:
    cluster.apply(*objects.deployment(bare, "web", objects.server()))
    assert reading.residue(cluster.pod(bare, "web")) == []
    for word in ("inject", "uninject"):
        live = cluster.kubectl("get", "deployment", "web", "-n", bare, "-o", "yaml")
        changed = cluster.run(*remora(), word, "-", stdin=live)
        cluster.kubectl("apply", "-f", "-", stdin=changed)
        cluster.ready(bare, "web")
        assert reading.has_sidecar(cluster.pod(bare, "web")) == (word == "inject")
    assert reading.residue(cluster.pod(bare, "web")) == []


def test_a_pod_whose_words_are_wrong_is_refused_with_the_word(
    cluster: Cluster, meshed: str
) -> None:
    cluster.apply(*objects.deployment(meshed, "web", objects.server(), {"mtls": "maybe"}))

    def told() -> str:
        events = cluster.get("events", "-n", meshed)["items"]
        texts = [each["message"] for each in events if each["reason"] == "FailedCreate"]
        return next((text for text in texts if "remora.dev/mtls" in text), "")

    assert "maybe" in wait("an event of the ReplicaSet", told)
