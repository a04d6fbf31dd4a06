"""The chart as tests see it: what it renders to, and Helm where it is."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy import rendering
from inject.settings import INJECT

Object = dict[str, Any]

ROOT: Final = rendering.DEPLOY.parent
# By their names: the defaults are the plain manifests.
RENDERED: Final = {
    "default": rendering.PLAIN,
    **{name: rendering.TESTS / "rendered" / f"{name}.yaml" for name in rendering.SETS},
}
each_set = pytest.mark.parametrize("name", RENDERED)


def objects(name: str) -> list[Object]:
    """Return the objects of a set of values."""
    return [each for each in yaml.safe_load_all(RENDERED[name].read_text()) if each]


def one(name: str, kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = [each for each in objects(name) if each["kind"] == kind]
    return found


def template(name: str) -> Object:
    """Return the pod template of the webhook."""
    found: Object = one(name, "Deployment")["spec"]["template"]
    return found


def webhook(name: str) -> Object:
    """Return the container of the webhook."""
    (found,) = template(name)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def holds(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector chooses something with these labels, as the API server decides."""
    for each in selector.get("matchExpressions", []):
        there, values = each["key"] in labels, each.get("values", [])
        verdict = {
            "In": there and labels.get(each["key"]) in values,
            "NotIn": not there or labels[each["key"]] not in values,
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not verdict[each["operator"]]:
            return False
    return all(labels.get(key) == text for key, text in selector.get("matchLabels", {}).items())


def asked_about(name: str, namespace: str, of_namespace: str, of_pod: str) -> list[str]:
    """Return the entries of the webhook that are called for a pod; "" is no label."""
    words = {"kubernetes.io/metadata.name": namespace}
    outer = words | ({INJECT: of_namespace} if of_namespace else {})
    inner = {INJECT: of_pod} if of_pod else {}
    return [
        entry["name"]
        for entry in one(name, "MutatingWebhookConfiguration")["webhooks"]
        if holds(entry["namespaceSelector"], outer) and holds(entry["objectSelector"], inner)
    ]


def leaves(value: object, *above: str) -> Iterator[tuple[str, object]]:
    """Yield everything that a file of values says, by its name with dots."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from leaves(each, *above, name)
    else:
        yield ".".join(above), value


def helm() -> str:
    """Return the path of Helm, or skip the test."""
    path = shutil.which("helm", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}")
    if path is None:
        pytest.skip("no helm on this machine (`make helm` brings it where Go is)")
    return path


def said_by_helm(
    *words: str | Path, chart: Path = rendering.CHART
) -> subprocess.CompletedProcess[str]:
    """Run Helm on a chart without a cluster."""
    flags = ["--namespace", rendering.NAMESPACE, "--kube-version", rendering.KUBERNETES]
    return subprocess.run(
        [helm(), "template", "remora", str(chart), *flags, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
