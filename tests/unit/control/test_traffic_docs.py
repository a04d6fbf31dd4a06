"""docs/traffic.md shows what the commands print: its manifests are read, its questions asked."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy import ctl_config, ctl_why
from proxy.config import GROUPS, Config, read_config
from proxy.ctl import GROUPS as CTL_GROUPS
from proxy.engine import Engine
from proxy.policy.watch import PolicyWatch
from proxy.traffic.describe import config as described
from proxy.traffic.why import Question, why
from tests.unit.control.conftest import ReadableLog

PAGE = (Path(__file__).parents[3] / "docs" / "traffic.md").read_text()
METRICS = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
FRONT = "spiffe://cluster.local/ns/front/sa/front"
# What is another time and another place at every run.
PASSING = re.compile(r"^(manifests|in force since|read): .*", re.MULTILINE)


def shown(command: str) -> str:
    """Return what the page shows below a command."""
    after = PAGE.partition(f"    $ remora ctl {command}\n")[2]
    lines = []
    for line in after.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line.removeprefix("    "))
    return "\n".join(lines).strip()


def decoded(answer: dict[str, object]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(answer))
    return found


@pytest.fixture
def told(tmp_path: Path, readable_log: ReadableLog) -> tuple[PolicyWatch, Config]:
    """The manifests of the page, in force."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "all.yaml").write_text(block)
    (words,) = re.findall(r"`remora proxy --manifests ./manifests (.*)` has this", PAGE)
    settings = read_config(["--manifests", str(tmp_path), *words.split()], {})
    watch = PolicyWatch(settings.policy, readable_log.log, mesh=settings.mesh)
    watch.start()
    return watch, settings


def test_what_is_in_force_looks_as_the_page_shows_it(told: tuple[PolicyWatch, Config]) -> None:
    engine = Engine(1, 1)
    page = ctl_config.config(decoded(described(told[0], engine, "", 1000)), is_detailed=False)
    engine.stop()
    assert PASSING.sub("", page) == PASSING.sub("", shown("config"))


@pytest.mark.parametrize(
    ("command", "question"),
    [
        ("why GET http://web/cart/1", Question("GET", "http://web/cart/1")),
        (
            f"why POST http://web/cart --inbound --from {FRONT}",
            Question("POST", "http://web/cart", FRONT, is_inbound=True),
        ),
    ],
)
def test_why_looks_as_the_page_shows_it(
    told: tuple[PolicyWatch, Config], command: str, question: Question
) -> None:
    assert ctl_why.why(decoded(why(*told, question))) == shown(command)


def test_every_flag_that_the_page_names_exists() -> None:
    groups = (*GROUPS, *CTL_GROUPS)
    known = {option.flag for group in groups for option in group.options}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known


def test_every_metric_that_the_page_names_exists() -> None:
    assert set(re.findall(r"\bremora_[a-z_]+", PAGE)) <= set(re.findall(r"\w+", METRICS))
