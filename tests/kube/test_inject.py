"""What `remora inject` makes is looked at by a real API server: accepted, stored, and undone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from inject import yamls
from inject.documents import split
from inject.kinds import places
from tests.support.kube import ApiServer
from tests.unit.inject.manifests import CORPUS, FOLDER, each_manifest

WEB = FOLDER / "corpus" / "deployment-web.yaml"
REMORA = (sys.executable, "-m", "proxy")
STRICT = ("--dry-run=server", "--validate=strict", "-f", "-")

# What the server does not take, with the sidecar or without it, and its words for it.
REJECTED: Final = {
    "crd-named-deployment.yaml": 'no matches for kind "Deployment" in version "example.org/v1"',
    "custom-resource.yaml": 'no matches for kind "Rollout"',
    "deployment-unknown-fields.yaml": "strict decoding error: unknown field",
    "list-empty.yaml": "no objects passed",
    "list-nested.yaml": "is not a list",
}


def remora(server: ApiServer, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return server.run([*REMORA, *words], given)


@pytest.fixture(scope="module")
def furnished(server: ApiServer) -> ApiServer:
    """The server, with all that the collection speaks of."""
    accounts = {
        (place.namespace or "default", account)
        for path in CORPUS
        for document in documents(path)
        for place in places(document)
        for account in ("default", place.pod["spec"].get("serviceAccountName", "default"))
    }
    for name in {namespace for namespace, _ in accounts}:
        server.namespace(name=name)
    server.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "gvisor"},
            "handler": "runsc",
            "overhead": {"podFixed": {"cpu": "10m", "memory": "20Mi"}},
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace},
            }
            for namespace, name in accounts
        ),
    )
    return server


def documents(path: Path) -> Iterator[Any]:
    """Yield what is in a file; JSON may have tabs, which YAML may not."""
    if path.suffix == ".json":
        yield json.loads(path.read_text())
    else:
        yield from (yamls.read(text)[0] for _, text in split(path.read_text()))


def names(said: str) -> list[str]:
    """Return what was made; a generated name is another one each time."""
    return [line.partition(" ")[0].partition("-")[0] for line in said.splitlines()]


@each_manifest
def test_what_the_server_takes_it_takes_with_the_sidecar_too(
    path: Path, furnished: ApiServer
) -> None:
    text = path.read_text()
    # What has no name yet can only be created.
    words = ("create" if "generateName" in text else "apply", *STRICT)
    before = furnished.kubectl(*words, given=text)
    done = remora(furnished, "inject", str(path))
    assert done.returncode == 0, done.stderr
    after = furnished.kubectl(*words, given=done.stdout)
    if path.name in REJECTED:
        assert REJECTED[path.name] in before.stderr
        assert after.stderr == before.stderr
        return
    assert before.returncode == 0, before.stderr
    assert after.returncode == 0, after.stderr
    assert names(after.stdout) == names(before.stdout)


def test_a_deployment_is_piped_in_and_taken_out_again(server: ApiServer, namespace: str) -> None:
    """The way of the README, both ways, with what the server made of it in between."""
    place = ("-n", namespace)
    text = WEB.read_text().replace("namespace: shop", f"namespace: {namespace}")
    server.said("apply", "-f", "-", given=text)
    (name,) = [each["metadata"]["name"] for each in server.get("deployments", *place)["items"]]
    bare = server.get("deployment", name, *place)["spec"]

    page = server.said("get", "deployment", name, *place, "-o", "yaml")
    done = remora(server, "inject", "-", given=page)
    assert done.returncode == 0, done.stderr
    server.said("apply", "-f", "-", given=done.stdout)
    meshed = server.get("deployment", name, *place)["spec"]
    first, second = meshed["template"]["spec"]["initContainers"][:2]
    assert (first["name"], second["name"]) == ("remora-init", "remora-proxy")
    assert second["restartPolicy"] == "Always"

    page = server.said("get", "deployment", name, *place, "-o", "yaml")
    out = remora(server, "uninject", "-", given=page)
    assert out.returncode == 0, out.stderr
    server.said("apply", "-f", "-", given=out.stdout)
    assert server.get("deployment", name, *place)["spec"] == bare


def test_what_the_server_returned_is_injected_anew_without_a_rollout(
    server: ApiServer, namespace: str
) -> None:
    """The server adds its defaults to the sidecar; with them the next one must end in the same."""
    place = ("-n", namespace)
    text = WEB.read_text().replace("namespace: shop", f"namespace: {namespace}")
    server.said("apply", "-f", "-", given=remora(server, "inject", "-", given=text).stdout)
    before = server.get("deployments", *place)["items"][0]
    again = remora(server, "inject", "-", given=json.dumps(before))
    server.said("apply", "-f", "-", given=again.stdout)
    after = server.get("deployments", *place)["items"][0]
    assert after["spec"] == before["spec"]


# ---- Pod Security --------------------------------------------------------------------------------


def pod(server: ApiServer, level: str) -> tuple[str, dict[str, Any]]:
    name = server.namespace(labels={"pod-security.kubernetes.io/enforce": level})
    modest = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "app", "image": "app:1", "securityContext": modest}
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": name},
        "spec": {"containers": [container]},
    }
    done = remora(server, "inject", "-", given=json.dumps(made))
    assert done.returncode == 0, done.stderr
    injected: dict[str, Any] = json.loads(done.stdout)
    return name, injected


def test_a_privileged_namespace_takes_the_sidecar(server: ApiServer) -> None:
    _, made = pod(server, "privileged")
    assert server.kubectl("create", "-f", "-", given=json.dumps(made)).returncode == 0


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_the_other_levels_reject_it_because_of_the_init_step_alone(
    level: str, server: ApiServer
) -> None:
    _, made = pod(server, level)
    said = server.kubectl("create", "-f", "-", given=json.dumps(made)).stderr
    assert f'violates PodSecurity "{level}:latest"' in said
    assert '"remora-init" must not include "NET_ADMIN", "NET_RAW"' in said
    assert "remora-proxy" not in said
    made["spec"]["initContainers"] = made["spec"]["initContainers"][1:]
    assert server.kubectl("create", "-f", "-", given=json.dumps(made)).returncode == 0


def test_restricted_objects_to_root_as_well(server: ApiServer) -> None:
    _, made = pod(server, "restricted")
    said = server.kubectl("create", "-f", "-", given=json.dumps(made)).stderr
    assert 'container "remora-init" must not set runAsUser=0' in said
    assert 'container "remora-init" must not set securityContext.runAsNonRoot=false' in said
