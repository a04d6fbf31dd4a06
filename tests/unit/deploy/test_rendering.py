"""Helm and the files that are made of the chart say the same."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy import rendering
from proxy import __version__
from tests.unit.deploy.charts import RENDERED, ROOT, each_set, helm, objects, said_by_helm

MANIFESTS = rendering.PLAIN.parent


@each_set
def test_what_is_kept_is_what_helm_makes(name: str) -> None:
    values = [rendering.SETS[name]] if name in rendering.SETS else []
    assert rendering.rendered(helm(), *values) == RENDERED[name].read_text(), "make manifests"


def test_nothing_else_is_kept() -> None:
    kept = {path.stem for path in (rendering.TESTS / "rendered").iterdir()}
    assert kept == rendering.SETS.keys()


def test_helm_has_nothing_to_object_to() -> None:
    words = [helm(), "lint", "--strict", str(rendering.CHART)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_cluster_without_native_sidecars_is_refused() -> None:
    done = said_by_helm("--kube-version", "1.28.0")
    assert done.returncode != 0
    assert "1.28.0" in done.stderr


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("", ["remora.dev/inject=enabled", "no mutual TLS yet", "failurePolicy Ignore"]),
        ("ha", ["kubectl delete mutatingwebhookconfiguration remora-webhook"]),
        ("provided", ["create secret tls remora-webhook-tls"]),
        ("cert-manager", ["get certificate remora-webhook"]),
    ],
)
def test_the_notes_say_what_comes_next(values: str, words: list[str], tmp_path: Path) -> None:
    """Helm prints them only after an installation: here they are a member of an object."""
    chart = tmp_path / "chart"
    shutil.copytree(rendering.CHART, chart)
    notes = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "_notes.tpl").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}')
    (chart / "templates" / "notes.yaml").write_text('notes: {{ include "notes" . | toJson }}')
    path = ["--values", str(rendering.SETS[values])] if values else []
    done = said_by_helm(*path, "--show-only", "templates/notes.yaml", chart=chart)
    said = yaml.safe_load(done.stdout)["notes"]
    assert not [word for word in words if word not in said]


def test_the_versions_of_chart_image_and_program_are_one() -> None:
    chart = yaml.safe_load((rendering.CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    values = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
    assert values["image"]["name"] == f"remora:{__version__}"


def test_the_plain_manifests_come_with_their_namespace() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    assert all((MANIFESTS / name).is_file() for name in kustomization["resources"])
    assert rendering.PLAIN.name in kustomization["resources"]
    namespace = yaml.safe_load((MANIFESTS / "namespace.yaml").read_text())
    assert namespace["metadata"]["name"] == rendering.NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_kubectl_builds_the_kustomization() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on this machine")
    words = ["kubectl", "kustomize", str(MANIFESTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    made = list(yaml.safe_load_all(done.stdout))
    assert made[0]["kind"] == "Namespace"
    plain = {(each["kind"], each["metadata"]["name"]): each for each in objects("default")}
    built = {(each["kind"], each["metadata"]["name"]): each for each in made[1:]}
    assert built == plain


def test_the_chart_has_everything_that_helm_reads() -> None:
    names = {path.name for path in Path(rendering.CHART).iterdir()}
    assert names >= {
        "Chart.yaml",
        "values.yaml",
        "values.schema.json",
        "values-ha.yaml",
        "README.md",
    }
