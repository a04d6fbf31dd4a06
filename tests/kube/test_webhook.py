"""The real webhook, asked by a real API server, with the rights that the chart gives it."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy import rendering
from tests.support.admission import a_pod
from tests.support.hooks import configuration
from tests.support.kube import ApiServer
from tests.support.svids import SERVER, Shape
from tests.support.webhook import Caller, Files, Webhook

NAME = "remora-webhook"
SYSTEM = "remora-system"
LOCALHOST = Shape(uris=(), dns=("localhost",), extended=(SERVER,))
LABELLED = {
    "name": "namespaces.remora.dev",
    "namespaceSelector": {"matchLabels": {"meshed": "yes"}},
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Whatever is on it is undone when the test is over, the last thing first."""
    with ExitStack() as made:
        yield made


def started(stack: ExitStack, folder: Path, *flags: str) -> Webhook:
    folder.mkdir()
    webhook = Webhook(folder, *flags)
    stack.callback(webhook.check_log)
    stack.callback(webhook.end)
    return webhook.wait_ready()


@pytest.fixture
def namespace(server: ApiServer, stack: ExitStack, tmp_path: Path) -> str:
    """A namespace whose pods the API server shows to a webhook."""
    files = Files(tmp_path / "tls")
    files.issue(LOCALHOST)
    webhook = started(stack, tmp_path / "webhook", "--tls-dir", str(files.folder))
    url = f"https://localhost:{webhook.address[1]}/inject"
    server.apply(configuration(NAME, url, files.roots.encode(), LABELLED))
    stack.callback(server.said, "delete", "mutatingwebhookconfiguration", NAME)
    return server.namespace(labels={"meshed": "yes"})


def made(server: ApiServer, namespace: str, **annotations: str) -> str:
    """Make a pod; return what kubectl says of it."""
    settings = {f"remora.dev/{name.replace('_', '-')}": text for name, text in annotations.items()}
    pod = json.dumps(a_pod(settings))
    done = server.kubectl("create", "-n", namespace, "-f", "-", "-o", "name", given=pod)
    return (done.stdout or done.stderr).strip()


def test_a_pod_gets_the_sidecar_when_it_is_made(server: ApiServer, namespace: str) -> None:
    pod = server.get(made(server, namespace), "-n", namespace)
    init, proxy = pod["spec"]["initContainers"]
    assert (init["name"], proxy["name"]) == ("remora-init", "remora-proxy")
    assert proxy["restartPolicy"] == "Always"
    assert "remora.dev/status" in pod["metadata"]["annotations"]


def test_annotations_of_the_pod_count(server: ApiServer, namespace: str) -> None:
    pod = server.get(made(server, namespace, proxy_cpu_limit="500m"), "-n", namespace)
    assert pod["spec"]["initContainers"][1]["resources"]["limits"]["cpu"] == "500m"


def test_a_bad_annotation_is_told_to_who_makes_the_pod(server: ApiServer, namespace: str) -> None:
    said = made(server, namespace, mtls="maybe")
    assert "namespaces.remora.dev" in said
    assert "metadata.annotations[remora.dev/mtls]: 'maybe'" in said


def test_who_says_no_is_left_alone(server: ApiServer, namespace: str) -> None:
    pod = server.get(made(server, namespace, inject="disabled"), "-n", namespace)
    assert "initContainers" not in pod["spec"]


def test_replicas_make_one_authority_with_the_rights_of_the_chart(
    server: ApiServer, stack: ExitStack, tmp_path: Path
) -> None:
    server.said("apply", "-k", str(rendering.PLAIN.parent))
    stack.callback(server.said, "delete", "--wait=false", "-k", str(rendering.PLAIN.parent))
    token = tmp_path / "token"
    token.write_text(server.token(SYSTEM, NAME))
    flags = ["--self-signed", "--api-server", server.url, "--api-ca", str(server.ca)]
    flags += ["--api-token", str(token)]
    replicas = [started(stack, tmp_path / f"replica-{n}", *flags) for n in (1, 2)]
    entries = server.get("mutatingwebhookconfiguration", NAME)["webhooks"]
    bundles = {entry["clientConfig"]["caBundle"] for entry in entries}
    assert len(bundles) == 1
    roots = base64.b64decode(bundles.pop()).decode()
    for replica in replicas:
        with_name = Caller(replica.address, roots, f"{NAME}.{SYSTEM}.svc")
        assert with_name.ask(b"{}").status == 422  # it is who the bundle says it is
        with_name.close()
