"""docs/install.md speaks of what there is."""

import re

import yaml

from deploy import rendering
from deploy.kind import steps
from inject.settings import OPTIONS
from tests.unit.deploy.charts import ROOT, asked_about, leaves

PAGE = (ROOT / "docs" / "install.md").read_text()
CHART = (rendering.CHART / "README.md").read_text()
VALUES = yaml.safe_load((rendering.CHART / "values.yaml").read_text())


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """Return the commands of a section that stand on one line each."""
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [command for line in lines for command in line.split("&&")]


def test_a_cluster_has_the_sidecar_after_six_commands() -> None:
    assert 1 <= len(commands(section("Quick start"))) <= 6


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]*\w", PAGE + CHART))
    assert named
    absent = {name for name in named if not (ROOT / name).exists()}
    assert absent <= {"deploy/web", "deploy/Dockerfile"}  # a Deployment, and what others bring


def test_every_value_that_is_set_is_one_of_the_chart() -> None:
    known = {name for name, _ in leaves(VALUES)} | {f"inject.{each.flag[2:]}" for each in OPTIONS}
    ours = re.findall(r"deploy/chart.*?(?:\n\n|\Z)", PAGE, re.DOTALL)
    told = {name for text in ours for name in re.findall(r"--set ([\w.-]+)=", text)}
    told |= set(re.findall(r"`(?:--set )?(webhook\.[\w.]+|podMonitor\.\w+)", PAGE))
    assert told
    assert told <= known


def test_the_versions_that_can_be_tried_are_told() -> None:
    newest, *_, oldest = [node.version for node in steps.nodes()]
    assert f"({oldest} to {newest})" in section("Try all of it")


def test_every_way_to_a_certificate_is_told() -> None:
    schema = (rendering.CHART / "values.schema.json").read_text()
    for word in ("self-signed", "cert-manager", "provided"):
        assert f'"{word}"' in schema
        assert f"| `{word}`" in section("The certificate of the webhook")


def test_the_table_of_labels_says_what_the_selectors_do() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section("Which pods"), re.MULTILINE)
    told: dict[tuple[str, str], bool] = {}
    for namespace, pods, outcome in rows:
        every = "none enabled disabled" if pods == "any" else pods
        told |= {
            (namespace.strip("`"), pod): outcome == "gets the sidecar"
            for pod in re.findall(r"none|enabled|disabled", every)
        }
    words = ("none", "enabled", "disabled")
    assert told.keys() == {(namespace, pod) for namespace in words for pod in words}
    for (namespace, pod), is_injected in told.items():
        labels = [word.replace("none", "") for word in (namespace, pod)]
        assert bool(asked_about("default", "shop", *labels)) == is_injected
