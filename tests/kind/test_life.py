"""The pod's life: its start, its jobs, its rollouts, and what a crash does."""

from tests.kind import objects, reading
from tests.kind.clusters import Cluster, wait


def test_an_init_container_has_the_network(cluster: Cluster, meshed: str) -> None:
    cluster.apply(objects.service(meshed, "web"))
    cluster.apply(*objects.deployment(meshed, "web", objects.server()))
    cluster.ready(meshed, "web")
    first = {**objects.client("http://web/", count=1), "name": "first"}
    account, made = objects.deployment(meshed, "late", objects.server())
    made["spec"]["template"]["spec"]["initContainers"] = [first]
    cluster.apply(account, made)
    pod = cluster.pod(meshed, "late")
    names = [each["name"] for each in pod["spec"]["initContainers"]]
    assert names == ["remora-init", "remora-proxy", "first"]
    assert reading.exit_code(pod, "first") == 0


def test_a_job_completes_and_its_proxy_ends_well(cluster: Cluster, meshed: str) -> None:
    cluster.apply(objects.service(meshed, "web"))
    cluster.apply(*objects.deployment(meshed, "web", objects.server()))
    cluster.ready(meshed, "web")
    cluster.apply(*objects.job(meshed, "once", objects.client("http://web/", count=5)))
    words = ("--for=condition=complete", "job/once", "-n", meshed, "--timeout=180s")
    cluster.kubectl("wait", *words)
    (pod,) = cluster.pods(meshed, "once")
    assert reading.has_sidecar(pod)
    assert pod["status"]["phase"] == "Succeeded"
    assert reading.exit_code(pod, "app") == reading.exit_code(pod, "remora-proxy") == 0


def test_a_rollout_loses_no_request(cluster: Cluster, meshed: str) -> None:
    cluster.apply(objects.service(meshed, "web"))
    cluster.apply(*objects.deployment(meshed, "web", objects.server(), replicas=3))
    cluster.ready(meshed, "web")
    cluster.apply(*objects.deployment(meshed, "client", objects.client("http://web/")))
    client = cluster.pod(meshed, "client")
    cluster.more(meshed, client)
    before = {pod["metadata"]["uid"] for pod in cluster.pods(meshed, "web")}
    cluster.kubectl("rollout", "restart", "deployment/web", "-n", meshed)
    cluster.ready(meshed, "web")
    # The last of the old ones is still going when the rollout is said to be done.
    wait(
        "the old pods are gone",
        lambda: (
            not before
            & {
                pod["metadata"]["uid"]
                for pod in cluster.get("pods", "-n", meshed, "-l", "app=web")["items"]
            }
        ),
    )
    told = cluster.more(meshed, client)
    assert told.bad == 0, told.last


def crash(cluster: Cluster, namespace: str, name: str) -> None:
    """Kill the proxy of a pod, and wait until the kubelet has started it again."""

    def count() -> int:
        return reading.restarts(cluster.get("pod", name, "-n", namespace), "remora-proxy")

    before = count()
    cluster.kill(cluster.get("pod", name, "-n", namespace), "remora-proxy")
    wait("the proxy is started again", lambda: count() > before)


def test_a_proxy_that_crashes_closes_the_traffic_of_its_pod_and_comes_back(
    cluster: Cluster, meshed: str
) -> None:
    cluster.apply(objects.service(meshed, "web"))
    cluster.apply(*objects.deployment(meshed, "web", objects.server()))
    cluster.ready(meshed, "web")
    cluster.apply(*objects.deployment(meshed, "client", objects.client("http://web/")))
    client = cluster.pod(meshed, "client")
    cluster.more(meshed, client)
    name = client["metadata"]["name"]
    # The first restart is immediate; from the second on the kubelet waits, long enough to be seen.
    for _ in range(2):
        crash(cluster, meshed, name)
    assert cluster.more(meshed, client).bad > 0, "traffic went on without a proxy"
    # The application was never restarted.
    assert reading.restarts(cluster.get("pod", name, "-n", meshed), "app") == 0
