"""The values of the chart: each explained, each tried, and a wrong one refused by its name."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy import rendering
from inject.settings import OPTIONS
from tests.unit.deploy.charts import leaves, said_by_helm

DEFAULTS = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
SCHEMA = json.loads((rendering.CHART / "values.schema.json").read_text())
README = (rendering.CHART / "README.md").read_text()

# A wrong value, and the field that must be named.
WRONG: list[tuple[str, object]] = [
    ("webhook.certificate", "vault"),
    ("webhook.failurePolicy", "ignore"),
    ("webhook.timeoutSeconds", 31),
    ("webhook.replicas", 0),
    ("webhook.reinvocationPolicy", "Always"),
    ("webhook.maxUnavailable", "all"),
    ("webhook.excludedNamespaces.0", "Not_A_Name"),
    ("webhook.spread", "Maybe"),
    ("webhook.resources.requests.cpu", True),
    ("webhook.certManager.duration", "90 days"),
    ("image.name", "not an image"),
    ("image.pullPolicy", "Sometimes"),
    ("inject.mtls", "maybe"),
    ("inject.sidecar", "ambient"),
    ("inject.access-log", "xml"),
    ("inject.identity-secret", "Not_A_Name"),
    ("inject.skip-inbound-ports", "http"),
    ("inject.proxy-memory-limit", "64MB"),
    ("podMonitor.enabled", "yes, please"),
    ("podMonitor.interval", "often"),
    ("networkPolicy.apiServerPorts.0", 70000),
]
UNKNOWN = ["replicas", "webhook.replica", "inject.proxy-loglevel", "image.tag", "podMonitor.on"]


def nested(name: str, value: object) -> dict[str, Any]:
    """Return values that say one thing: a number in a name is the index of a list."""
    for word in reversed(name.split(".")):
        value = [value] if word.isdigit() else {word: value}
    assert isinstance(value, dict)
    return value


def faults(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the fields that the schema refuses, and why."""
    found = jsonschema.Draft7Validator(SCHEMA).iter_errors(values)
    return [(".".join(map(str, each.absolute_path)), each.message) for each in found]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_defaults_and_every_set_that_is_tried_are_good() -> None:
    assert faults(DEFAULTS) == []
    for path in rendering.SETS.values():
        assert faults(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_its_name(name: str, value: object) -> None:
    ((field, _),) = faults(nested(name, value))
    assert field == name


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_value_that_there_is_not_is_refused_by_its_name(name: str) -> None:
    ((field, text),) = faults(nested(name, 1))
    above, _, last = name.rpartition(".")
    assert field == above
    assert f"'{last}' was unexpected" in text


def test_a_certificate_that_is_provided_needs_its_authority() -> None:
    assert faults(nested("webhook.certificate", "provided"))
    bundle = {"certificate": "provided", "provided": {"caBundle": "LS0t"}}
    assert faults({"webhook": bundle}) == []


def test_every_object_of_the_schema_is_closed_or_a_map_of_texts() -> None:
    def opened(schema: object, where: str) -> list[str]:
        if isinstance(schema, list):
            return [each for item in schema for each in opened(item, where)]
        if not isinstance(schema, dict):
            return []
        found = [each for key, item in schema.items() for each in opened(item, f"{where}.{key}")]
        is_open = schema.get("type") == "object" and "additionalProperties" not in schema
        return [*found, where] if is_open else found

    assert opened(SCHEMA, "") == [".properties.global"]


def test_the_chart_takes_the_settings_of_inject_and_no_others() -> None:
    assert list(SCHEMA["properties"]["inject"]["properties"]) == [
        option.flag.removeprefix("--") for option in OPTIONS
    ]


def test_the_schema_takes_the_defaults_of_the_settings() -> None:
    assert (
        faults({"inject": {each.flag[2:]: each.default for each in OPTIONS if each.default}}) == []
    )


def test_one_set_says_something_else_of_every_value() -> None:
    values = yaml.safe_load((rendering.TESTS / "values" / "everything.yaml").read_text())
    said, defaults = dict(leaves(values)), dict(leaves(DEFAULTS))
    of_certificates = {"webhook.certificate", "webhook.certManager", "webhook.provided"}
    for name, value in defaults.items():
        if not name.startswith(tuple(of_certificates)) and name != "inject":
            assert any(each == name or each.startswith(f"{name}.") for each in said), name
            assert said.get(name) != value or name.startswith("webhook.nodeSelector"), name


def test_the_readme_has_the_values_as_they_are() -> None:
    assert rendering.with_table(README) == README, "make manifests"
    assert [row.name for row in rendering.rows()]


def test_a_value_without_an_explanation_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "values.yaml").write_text("told:\n  # -- why\n  a: 1\nuntold: 2\n")
    monkeypatch.setattr(rendering, "CHART", tmp_path)
    with pytest.raises(ValueError, match="untold"):
        rendering.rows()


@pytest.mark.parametrize(("name", "value"), WRONG[:3])
def test_helm_refuses_a_wrong_value_by_its_name(name: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(nested(name, value)))
    done = said_by_helm("--values", path)
    assert done.returncode != 0
    assert name.replace(".", "/") in done.stderr
