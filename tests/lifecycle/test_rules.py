"""The kubelet's rules, one by one; each would fail if the rule were left out."""

import pytest

from tests.lifecycle.rules import (
    ALWAYS,
    FAILED,
    NEVER,
    ON_FAILURE,
    SUCCEEDED,
    Conditions,
    Ending,
    Kind,
    Part,
    Seen,
    Step,
    Tally,
    Times,
    backoff_s,
    conditions,
    grace_s,
    next_start,
    outcome,
    prerequisites,
    restarts,
)

INIT, PROXY, TAIL = Part("i", Kind.INIT), Part("p", Kind.SIDECAR), Part("t", Kind.SIDECAR)
APP, OTHER = Part("a", Kind.MAIN), Part("o", Kind.MAIN)
PARTS = (INIT, PROXY, TAIL, APP, OTHER)

NEW = Seen()
RUNS = Seen(is_running=True)
STARTED = Seen(is_running=True, has_started=True)
DONE = Seen(exit_code=0)
BROKEN = Seen(exit_code=1)


def seen(**states: Seen) -> dict[str, Seen]:
    return {part.name: states.get(part.name, NEW) for part in PARTS}


def starts(*, now: float = 0.0, policy: str = ALWAYS, **states: Seen) -> str | None:
    part = next_start(PARTS, seen(**states), policy, now)
    return part.name if part else None


# ---- the order of starting ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "next_one"),
    [
        ({}, "i"),
        ({"i": RUNS}, None),
        ({"i": DONE}, "p"),
        ({"i": DONE, "p": RUNS}, None),
        ({"i": DONE, "p": STARTED}, "t"),
        ({"i": DONE, "p": STARTED, "t": STARTED}, "a"),
        ({"i": DONE, "p": STARTED, "t": STARTED, "a": RUNS}, "o"),
        ({"i": DONE, "p": STARTED, "t": STARTED, "a": RUNS, "o": RUNS}, None),
    ],
)
def test_containers_start_in_the_order_of_the_lists(
    states: dict[str, Seen], next_one: str | None
) -> None:
    part = next_start(PARTS, seen(**states), ALWAYS, 0.0)
    assert (part.name if part else None) == next_one


def test_a_container_in_its_hook_holds_back_all_others() -> None:
    hooked = Seen(is_running=True, is_in_hook=True)
    assert starts(i=DONE, p=STARTED, t=STARTED, a=hooked) is None


def test_a_failed_init_container_is_tried_again_and_nothing_else_starts() -> None:
    assert starts(i=BROKEN) == "i"
    assert starts(policy=NEVER, i=BROKEN) is None
    assert starts(i=Seen(exit_code=1, not_before=5.0), now=4.9) is None


def test_a_sidecar_that_crashed_holds_back_what_never_ran() -> None:
    crashed = Seen(exit_code=137, not_before=5.0)
    assert starts(i=DONE, p=crashed) is None
    assert starts(i=DONE, p=crashed, now=5.0) == "p"


def test_a_sidecar_that_crashed_does_not_hold_back_what_ran_before() -> None:
    crashed = Seen(exit_code=137, not_before=5.0)
    assert starts(i=DONE, p=crashed, t=STARTED, a=BROKEN, o=RUNS) == "a"


@pytest.mark.parametrize(
    ("kind", "policy", "code", "again"),
    [
        (Kind.SIDECAR, NEVER, 0, True),
        (Kind.SIDECAR, NEVER, 1, True),
        (Kind.INIT, ALWAYS, 0, False),
        (Kind.INIT, ON_FAILURE, 1, True),
        (Kind.INIT, NEVER, 1, False),
        (Kind.MAIN, ALWAYS, 0, True),
        (Kind.MAIN, ON_FAILURE, 0, False),
        (Kind.MAIN, ON_FAILURE, 1, True),
        (Kind.MAIN, NEVER, 1, False),
    ],
)
def test_who_runs_again(kind: Kind, policy: str, code: int, *, again: bool) -> None:
    assert restarts(kind, policy, code) is again


def test_the_back_off_begins_at_the_second_crash_and_has_an_end() -> None:
    assert [backoff_s(n) for n in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]


# ---- pods that end by themselves ----------------------------------------------------------------


def test_a_pod_is_over_when_all_main_containers_are_and_sidecars_do_not_count() -> None:
    assert outcome(PARTS, seen(i=DONE, p=STARTED, a=DONE, o=RUNS), NEVER) is None
    assert outcome(PARTS, seen(i=DONE, p=STARTED, a=DONE, o=DONE), NEVER) == SUCCEEDED
    assert outcome(PARTS, seen(i=DONE, p=BROKEN, a=DONE, o=DONE), NEVER) == SUCCEEDED
    assert outcome(PARTS, seen(i=DONE, p=STARTED, a=DONE, o=BROKEN), NEVER) == FAILED


def test_a_container_that_runs_again_keeps_its_pod() -> None:
    assert outcome(PARTS, seen(i=DONE, a=DONE, o=BROKEN), ON_FAILURE) is None
    assert outcome(PARTS, seen(i=DONE, a=DONE, o=DONE), ALWAYS) is None
    again = Seen(is_running=True, exit_code=0)
    assert outcome(PARTS, seen(i=DONE, a=DONE, o=again), NEVER) is None


def test_an_init_container_that_may_not_fail_fails_the_pod() -> None:
    assert outcome(PARTS, seen(i=BROKEN), NEVER) == FAILED
    assert outcome(PARTS, seen(i=BROKEN), ON_FAILURE) is None


# ---- the order of ending ------------------------------------------------------------------------


def test_sidecars_wait_for_all_applications_and_for_the_next_sidecar() -> None:
    waits = prerequisites(PARTS, ["p", "t", "a", "o"])
    assert waits == {
        "i": frozenset(),
        "p": {"a", "o", "t"},
        "t": {"a", "o"},
        "a": frozenset(),
        "o": frozenset(),
    }


def test_nobody_waits_for_who_does_not_run() -> None:
    assert prerequisites(PARTS, ["p", "o"])["p"] == {"o"}


class Clock:
    """An ending, stepped with a clock of the test."""

    def __init__(self, budget_s: float, *, has_hook: bool = False) -> None:
        self.ending = Ending(budget_s, has_hook=has_hook)

    def at(self, now: float, *, is_hook_over: bool = False, is_turn: bool = True) -> Step:
        return self.ending.step(now, is_hook_over=is_hook_over, is_turn=is_turn)


def test_without_a_hook_sigterm_comes_at_once_and_sigkill_when_the_grace_is_over() -> None:
    clock = Clock(30)
    assert [clock.at(now) for now in (0, 1, 29.9, 30, 31)] == [
        "term",
        "wait",
        "wait",
        "kill",
        "wait",
    ]


def test_the_hook_comes_first_and_its_time_is_taken_from_the_grace() -> None:
    clock = Clock(30, has_hook=True)
    assert clock.at(0) is Step.HOOK
    assert clock.at(9) is Step.WAIT
    assert clock.at(10, is_hook_over=True) is Step.TERM
    assert clock.at(29.9) is Step.WAIT
    assert clock.at(30) is Step.KILL


def test_a_hook_that_never_ends_leaves_two_seconds() -> None:
    clock = Clock(5, has_hook=True)
    assert clock.at(0) is Step.HOOK
    assert clock.at(4.9) is Step.WAIT
    assert clock.at(5) is Step.TERM
    assert clock.at(6.9) is Step.WAIT
    assert clock.at(7) is Step.KILL


def test_waiting_for_a_turn_is_taken_from_the_grace_too_and_leaves_two_seconds() -> None:
    clock = Clock(5)
    assert clock.at(0, is_turn=False) is Step.WAIT
    assert clock.at(4.9, is_turn=False) is Step.WAIT
    assert clock.at(5, is_turn=False) is Step.TERM
    assert clock.at(6.9) is Step.WAIT
    assert clock.at(7) is Step.KILL


def test_hook_and_turn_share_one_budget() -> None:
    clock = Clock(10, has_hook=True)
    clock.at(0)
    assert clock.at(4, is_hook_over=True, is_turn=False) is Step.WAIT
    assert clock.at(9.9, is_hook_over=True, is_turn=False) is Step.WAIT
    assert clock.at(10, is_hook_over=True, is_turn=False) is Step.TERM


def test_the_kubelet_forgets_parts_of_seconds() -> None:
    clock = Clock(10, has_hook=True)
    clock.at(0)
    assert clock.at(1.9, is_hook_over=True) is Step.TERM
    assert clock.at(10.8) is Step.WAIT
    assert clock.at(10.9) is Step.KILL


def test_without_any_grace_there_is_neither_hook_nor_order() -> None:
    clock = Clock(0, has_hook=True)
    assert clock.at(0, is_turn=False) is Step.TERM
    assert clock.at(1.9) is Step.WAIT
    assert clock.at(2) is Step.KILL


def test_a_pod_has_a_second_of_grace_whatever_it_asks_for() -> None:
    assert [grace_s(wanted) for wanted in (-1, 0, 1, 30)] == [1, 1, 1, 30]


# ---- probes and endpoints -----------------------------------------------------------------------


def test_a_probe_waits_for_its_delay_and_then_for_its_period() -> None:
    tally = Tally(Times(delay_s=2, period_s=5), began=10)
    assert [tally.is_due(now) for now in (10, 11.9, 12)] == [False, False, True]
    tally.asked(12)
    assert [tally.is_due(now) for now in (16.9, 17)] == [False, True]


def test_a_verdict_needs_its_number_of_answers_in_a_row() -> None:
    tally = Tally(Times(successes=2, failures=3), began=0)
    verdicts = []
    for is_good in (True, True, False, False, True, False, False, False, True, True):
        tally.answered(is_good=is_good)
        verdicts.append(tally.verdict)
    assert verdicts == [None, *[True] * 6, False, False, True]


def test_an_endpoint_that_ends_serves_and_is_not_ready() -> None:
    assert conditions(is_ready=True, is_ending=False) == Conditions(True, True, False)  # noqa: FBT003 - a record
    assert conditions(is_ready=True, is_ending=True) == Conditions(False, True, True)  # noqa: FBT003 - a record
    assert conditions(is_ready=False, is_ending=True) == Conditions(False, False, True)  # noqa: FBT003 - a record
