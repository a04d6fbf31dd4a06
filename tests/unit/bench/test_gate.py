"""The gate between a change and its cost: what is counted, and what is called dearer."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from bench import ROOT, callgrind
from bench.gate import Cost, dearer, table

# As callgrind writes: `tick` calls `read` twice, from two lines; names come once, then numbers.
COUNTED = """\
version: 1
events: Ir

fl=(1) fastpath.c
fn=(1) __pyx_f_5proxy_4fast_6worker_worker_tick
10 5
+2 7
cfn=(2) __pyx_f_5proxy_4fast_2h1_h1_pump
calls=2 40
* 600
-1 3
jcnd=1/2 20
* 1

fn=(2)
40 250
+1 350
cfn=(3) send
calls=1 0
+1 90

fn=(3)
0 90
summary: 706
""".splitlines()


def test_instructions_count_where_they_run_and_not_again_where_they_were_called() -> None:
    assert callgrind.counts(COUNTED) == {
        "worker.worker_tick": 16,
        "h1.h1_pump": 600,
        "send": 90,
    }


@pytest.mark.parametrize(
    ("after", "word"),
    [(100.0, "same"), (102.9, "same"), (103.1, "DEARER"), (97.2, "same"), (96.9, "cheaper")],
)
def test_three_percent_are_a_difference(after: float, word: str) -> None:
    found = table("instructions", {"http-64": (Cost(100.0, {}), Cost(after, {}))})
    assert [row[-1] for row in found.rows] == [word]


def test_what_is_dearer_is_named_the_most_first() -> None:
    before = Cost(300, {"parse": 100, "route": 100, "gone": 100})
    after = Cost(340, {"parse": 105, "route": 135, "new": 60, "gone": 40})
    assert dearer(before, after) == ["new +60", "route +35", "parse +5"]


def test_the_functions_stand_below_the_table_only_of_what_is_dearer() -> None:
    costs = {
        "small": (Cost(100, {"relay": 100}), Cost(101, {"relay": 101})),
        "http-64": (Cost(100, {"parse": 100}), Cost(150, {"parse": 150})),
    }
    assert table("instructions", costs).notes == ["http-64: parse +50"]


@pytest.mark.parametrize(
    ("words", "named"),
    [(["no-such-revision"], "no-such-revision"), (["--workloads", "http-65"], "http-65")],
)
def test_bad_words_are_named(words: Sequence[str], named: str) -> None:
    command = [sys.executable, "-m", "bench.gate", *words]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 64
    assert named in done.stderr
