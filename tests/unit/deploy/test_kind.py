"""The script for kind and what its tests are made of, as far as that needs no cluster."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.kind import steps
from inject.settings import IMAGE
from tests.kind import objects, reading
from tests.support.waiting import PATIENCE_S, eventually
from tests.unit.deploy import standards
from tests.unit.inject.manifests import injected

RUN = steps.HERE / "run"
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")


def ran(*words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **({"PATH": path} if path is not None else {})}
    command = [sys.executable, str(RUN), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environ
    )


def printed(*words: str) -> list[str]:
    done = ran("--print", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# ---- the script ---------------------------------------------------------------------------------


def test_the_script_is_a_program() -> None:
    assert RUN.stat().st_mode & stat.S_IXUSR


def test_node_images_are_pinned_by_their_digests_and_the_oldest_is_the_oldest_supported() -> None:
    found = steps.nodes()
    for node in found:
        assert re.fullmatch(
            rf"kindest/node:v{re.escape(node.version)}\.\d+@sha256:[0-9a-f]{{64}}", node.image
        )
        assert re.fullmatch(r"v0\.\d+\.\d+", node.kind)
    chart = yaml.safe_load((steps.ROOT / "deploy/chart/Chart.yaml").read_text())
    assert f">={found[-1].version}.0-0" == chart["kubeVersion"]
    assert len({node.image for node in found}) == len(found)


def test_it_makes_a_cluster_installs_tries_and_tears_down_in_this_order() -> None:
    lines = printed()
    verbs = [" ".join(Path(line.split()[0]).name.split() + line.split()[1:3]) for line in lines]
    assert verbs == [
        "kind create cluster",
        "docker buildx build",
        "kind load docker-image",
        "helm install remora",
        "python -m pytest",
        "kind delete cluster",
    ]
    assert steps.nodes()[0].image in lines[0]


def test_plain_manifests_and_an_archive_take_the_place_of_chart_and_build(tmp_path: Path) -> None:
    lines = printed("--install", "manifests", "--archive", str(tmp_path / "r.tar"))
    assert not [line for line in lines if line.startswith(("docker", "helm"))]
    assert f"kind load image-archive {tmp_path / 'r.tar'}" in lines[1]
    assert lines[2] == "kubectl apply -k deploy/manifests"


def test_several_versions_get_clusters_of_their_own() -> None:
    lines = printed("--kubernetes", "1.29,1.37", "--name", "x", "--", "-k", "job")
    assert [line for line in lines if "create cluster" in line][1].split()[4] == "x-1-37"
    assert len([line for line in lines if "tests/kind -k job" in line]) == 2
    assert len(printed("--kubernetes", "all")) == 6 * len(steps.nodes())


def test_a_version_without_an_image_is_refused() -> None:
    done = ran("--kubernetes", "1.28")
    assert done.returncode == 64
    assert "'1.28' is none of 1.37, " in done.stderr


def test_a_machine_without_the_programs_is_told_which_and_nothing_is_done() -> None:
    done = ran(path="/nonexistent")
    assert done.returncode == 69
    # Helm may be there all the same: `make helm` puts it where the script looks first.
    assert done.stderr.startswith("deploy/kind/run: skipped: no docker, no kind, no kubectl")


def test_no_cluster_of_a_developer_is_ever_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somebody/elses")
    wish = steps.Wish("x", "chart", "", keep=False, words=())
    environ = steps.environment(wish, steps.nodes()[0], Path("/own"))
    assert environ["KUBECONFIG"] == environ["REMORA_KIND_KUBECONFIG"] == "/own"


def test_the_help_has_examples_and_exit_codes() -> None:
    page = " ".join(ran("--help").stdout.split())
    assert "--keep" in page
    assert "69 skipped" in page


def test_the_image_is_the_one_that_is_installed() -> None:
    assert IMAGE.default == steps.IMAGE


# ---- what the tests put into a cluster ----------------------------------------------------------


def everything() -> list[objects.Object]:
    shop = objects.deployment("shop", "web", objects.server(), {"mtls": "permissive"}, replicas=3)
    load = objects.client("http://web/", count=5)
    return [
        *shop,
        *objects.job("shop", "once", load),
        objects.service("shop", "web"),
        objects.config_map("shop", "mesh", {"cluster.json": "{}"}),
        objects.namespace("shop", injected=True),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_what_the_tests_put_in(version: str) -> None:
    for each in everything():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_the_pods_with_their_sidecar_and_their_observer(version: str) -> None:
    notes = {"identity-source": "secret", "identity-secret": "remora-web", "mtls": "strict"}
    made = injected(objects.pod_template("web", objects.server(), notes))
    assert reading.has_sidecar(made)
    made["spec"]["ephemeralContainers"] = [objects.sniffer(5)]
    pod = {"apiVersion": "v1", "kind": "Pod", **made}
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_applications_of_the_tests_are_restricted_ones() -> None:
    template = objects.pod_template("web", objects.server(), {})
    assert list(standards.faults(template)) == []


# ---- what they read -----------------------------------------------------------------------------


def test_a_pod_is_told_by_what_is_in_it() -> None:
    bare = objects.pod_template("web", objects.server(), {})
    made = injected(bare)
    assert not reading.has_sidecar(bare)
    assert reading.residue(bare) == []
    assert set(reading.residue(made)) >= {
        *("remora-init", "remora-proxy", "remora-run"),
        *("remora.dev/injected", "remora.dev/status"),
    }


def test_states_of_containers_are_found_wherever_they_are_listed() -> None:
    proxy = {
        "name": "remora-proxy",
        "restartCount": 2,
        "containerID": "containerd://abc",
        "state": {"terminated": {"exitCode": 137}},
    }
    app = {"name": "app", "restartCount": 0, "state": {"running": {}}}
    pod = {
        "metadata": {},
        "status": {
            "initContainerStatuses": [proxy],
            "containerStatuses": [app],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    assert reading.is_ready(pod)
    assert not reading.is_ready({**pod, "metadata": {"deletionTimestamp": "now"}})
    assert reading.restarts(pod, "remora-proxy") == 2
    assert reading.runtime_id(pod, "remora-proxy") == "abc"
    assert reading.exit_code(pod, "remora-proxy") == 137
    assert reading.exit_code(pod, "app") is None
    assert reading.restarts(pod, "nobody") == 0


def test_the_last_whole_line_of_a_client_counts() -> None:
    log = '{"good": 1, "bad": 0, "last": ""}\n{"good": 2, "bad": 1, "last": "x"}\n{"good": 3, '
    assert reading.tally(log) == (2, 1, "x")
    assert reading.tally("") == (0, 0, "")


def test_metrics_are_summed_over_what_is_not_asked_for() -> None:
    text = (
        '# TYPE a counter\na_total{r="x",s="1"} 2\na_total{r="x",s="2"} 3\na_total{r="y",s="1"} 5\n'
    )
    assert reading.total(text, "a_total", r="x") == 5
    assert reading.total(text, "a_total") == 10


# ---- the programs, for real ---------------------------------------------------------------------


class Server:
    """The application of the tests."""

    def __init__(self) -> None:
        words = objects.program("serve", 0, objects.WORD)[1:]
        self.process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


def loaded(port: int, path: str = "/") -> reading.Tally:
    """Ask three times, and return what was told in the end."""
    words = objects.program("load", f"http://127.0.0.1:{port}{path}", objects.WORD, 3)[1:]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return reading.tally(done.stdout)


def test_the_client_counts_the_answers_of_the_server_and_both_end_well() -> None:
    server = Server()
    assert loaded(server.port) == (3, 0, "")
    assert server.stop() == 0


def test_the_client_counts_what_is_refused_and_what_is_not_the_applications() -> None:
    server = Server()
    words = objects.program("load", f"http://127.0.0.1:{server.port}/healthz", objects.WORD)[1:]
    client = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert reading.tally(client.stdout.readline()).bad == 1
    server.stop()
    lines = iter(client.stdout.readline, "")
    eventually("a refusal", lambda: "refused" in reading.tally(next(lines)).last)
    client.send_signal(signal.SIGTERM)
    client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0


@pytest.mark.root
def test_the_observer_sees_the_word_in_plaintext() -> None:
    server = Server()
    words = [*objects.program("sniff", server.port, objects.WORD, 2)[1:], "--loopback"]
    looking = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert looking.stdout is not None
    assert looking.stdout.readline() == "looking\n"
    assert loaded(server.port).good == 3
    seen = json.loads(looking.communicate(timeout=PATIENCE_S)[0])
    server.stop()
    assert seen["seen"] is True
    assert seen["packets"] >= 6
    assert seen["handshakes"] == 0
