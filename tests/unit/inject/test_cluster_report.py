"""What is printed of checks, and docs/check.md, which explains each of them."""

import json
import re
from pathlib import Path

from inject.cluster import before, installed, live
from inject.cluster.command import GROUPS, MODES, PRE
from inject.cluster.report import as_json, as_text, report
from inject.cluster.snapshot import FAILURE, OK, WARNING, Look, Mode, Refusal, Result
from tests.unit.inject.clusters import forbidden, snapshot, version

PAGE = (Path(__file__).parents[3] / "docs" / "check.md").read_text()
ANSWERS = {"version": version("v1.33.6"), "nodes": forbidden(), "pods": Refusal("", "timed out")}


def mode(**looks: Look) -> Mode:
    named = {name.replace("_", "-"): look for name, look in looks.items()}
    return Mode(lambda _: (), {"Things": named})


def saying(*result: object) -> Look:
    return lambda _: Result(*result)  # type: ignore[arg-type] # of its fields


def text(*, has_colours: bool = False, **looks: Look) -> str:
    return as_text(report([mode(**looks)], snapshot(ANSWERS)), has_colours=has_colours)


def test_a_check_has_a_line_and_a_failure_says_what_to_do_and_where_it_is_explained() -> None:
    page = text(
        all_well=saying(OK, "it is there"),
        not_well=saying(FAILURE, "it is not there", "make one", ("shop/a", "shop/b")),
    )
    assert page == (
        "Things\n"
        "  ok       all-well  it is there\n"
        "  FAILURE  not-well  it is not there\n"
        "             shop/a\n"
        "             shop/b\n"
        "           hint: make one\n"
        "           see docs/check.md#not-well\n"
        "\n"
        "1 failure"
    )


def test_a_warning_is_no_failure() -> None:
    page = text(hm=saying(WARNING, "old", "update"))
    assert page.endswith("\nno failure, 1 warning")
    assert report([mode(hm=saying(WARNING, "old"))], snapshot(ANSWERS)).is_good


def test_a_long_list_is_cut_for_people_and_whole_for_machines() -> None:
    look = saying(FAILURE, "many", "less", tuple(f"pod-{n}" for n in range(25)))
    page = text(x=look)
    assert "and 15 more (-o json has all)" in page
    assert "pod-10" not in page
    found = json.loads(as_json(report([mode(x=look)], snapshot(ANSWERS))))
    assert len(found["checks"][0]["things"]) == 25


def test_machines_get_everything() -> None:
    found = json.loads(as_json(report([mode(a_b=saying(OK, "yes"))], snapshot(ANSWERS))))
    assert found == {
        "good": True,
        "kubernetes": "v1.33.6",
        "checks": [
            {
                "category": "Things",
                "check": "a-b",
                "state": "ok",
                "text": "yes",
                "hint": "",
                "things": [],
                "docs": "docs/check.md#a-b",
            }
        ],
    }


def test_colours_are_for_terminals() -> None:
    assert "\x1b" not in text(x=saying(FAILURE, "no", "hint"))
    assert "\x1b[31mFAILURE\x1b[0m" in text(has_colours=True, x=saying(FAILURE, "no", "hint"))


def test_a_name_from_a_cluster_cannot_steer_the_terminal() -> None:
    assert "pod?[2J" in text(x=saying(FAILURE, "no", "hint", ("pod\x1b[2J",)))


def test_who_may_not_look_is_warned_and_a_server_that_fails_is_a_failure() -> None:
    page = text(nodes=before.node_versions, pods=live.restart_policy)
    assert "warning  nodes  could not be looked at: nodes is forbidden" in page
    assert "hint: ask for the right to read nodes" in page
    assert "FAILURE  pods   could not be looked at: timed out" in page


def test_every_check_is_explained_under_its_mode_and_nothing_else_is() -> None:
    parts = re.split(r"^## remora check (--\S+)$", PAGE, flags=re.MULTILINE)[1:]
    told = {
        flag: re.findall(r"^### (\S+)$", part, re.MULTILINE)
        for flag, part in zip(parts[::2], parts[1::2], strict=True)
    }
    checks = {
        flag: [name for looks in mode.categories.values() for name in looks]
        for flag, mode in MODES.items()
    }
    assert told == checks


def test_every_explanation_says_what_to_do() -> None:
    sections = re.split(
        r"^### ", PAGE.partition(f"## remora check {PRE.flag}")[2], flags=re.MULTILINE
    )[1:]
    assert not [each.splitlines()[0] for each in sections if "**Do:**" not in each]


def test_every_flag_is_explained() -> None:
    flags = [option.flag for group in GROUPS for option in group.options]
    assert not [flag for flag in flags if f"`{flag}" not in PAGE and f"check {flag}" not in PAGE]


def test_checks_have_names_of_their_own() -> None:
    names = [
        name
        for mode in (before.MODE, installed.MODE, live.MODE)
        for looks in mode.categories.values()
        for name in looks
    ]
    assert len(names) == len(set(names))


def test_the_levels_and_limits_in_the_explanations_are_those_of_the_code() -> None:
    assert f"{live.PATIENCE.seconds} s" in PAGE.partition("### init-step")[2].partition("###")[0]
    assert "60 days" in PAGE.partition("### webhook-certificate")[2].partition("###")[0]
    missing = [f"{v} {r}" for v, _, r in before.RIGHTS if f"`{r}`" not in PAGE]
    assert not missing
