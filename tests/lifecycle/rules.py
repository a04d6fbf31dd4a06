"""The kubelet's rules as decisions: what is seen of a pod goes in, what is to be done comes out.

No process, no socket and no clock is in here: `now` is a number of seconds. The rules are those of
KEP-753 and of the kubelet's pod_workers.go, kuberuntime_container.go and
kuberuntime_termination_order.go.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

GRACE_S_MIN: Final = 1  # what a pod has at least, whatever it asks for
TERM_S_MIN: Final = 2  # what a container has between SIGTERM and SIGKILL, whatever is left
BACKOFF_S: Final = 10.0
BACKOFF_S_MAX: Final = 300.0
BACKOFF_FORGOTTEN_S: Final = 600.0  # a container that ran so long begins anew

ALWAYS: Final = "Always"
ON_FAILURE: Final = "OnFailure"
NEVER: Final = "Never"

SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"


class Kind(StrEnum):
    """What a container is: where it stands in the spec, and whether it stays."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


class Part(NamedTuple):
    """A container, as far as its order matters."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Seen:
    """What is seen of a container."""

    is_running: bool = False
    is_in_hook: bool = False  # postStart runs
    has_started: bool = False  # its startup probe has passed and its postStart is done
    exit_code: int | None = None  # of the run before this one; None: it never ended
    not_before: float = 0.0  # back-off

    @property
    def has_begun(self) -> bool:
        """Whether it ever ran."""
        return self.is_running or self.exit_code is not None


def restarts(kind: Kind, policy: str, exit_code: int) -> bool:
    """Whether a container that ended so runs again. A plain init container is done with 0."""
    if kind is Kind.SIDECAR:
        return True
    if kind is Kind.INIT:
        return exit_code != 0 and policy != NEVER
    return policy == ALWAYS or (policy == ON_FAILURE and exit_code != 0)


def next_start(
    parts: Sequence[Part], seen: Mapping[str, Seen], policy: str, now: float
) -> Part | None:
    """Return the container that is to be started now: the first in order that may run.

    Init containers hold back all that comes after them, until they have ended well or, if they
    stay, have started. One that stays and has crashed holds back only what never ran.
    """
    # Whoever starts one waits for its postStart before it looks at the next.
    if any(state.is_in_hook for state in seen.values()):
        return None
    is_held = False
    for part in parts:
        state = seen[part.name]
        if is_held and not state.has_begun:
            continue
        if not state.is_running and _may_run(part, state, policy) and now >= state.not_before:
            return part
        is_held = is_held or _holds(part, state)
    return None


def _may_run(part: Part, state: Seen, policy: str) -> bool:
    return state.exit_code is None or restarts(part.kind, policy, state.exit_code)


def _holds(part: Part, state: Seen) -> bool:
    if part.kind is Kind.INIT:
        return state.is_running or state.exit_code != 0
    return part.kind is Kind.SIDECAR and not (state.is_running and state.has_started)


def outcome(parts: Sequence[Part], seen: Mapping[str, Seen], policy: str) -> str | None:
    """Return how the pod ended by itself, None while it goes on. Sidecars are not asked."""
    for part in parts:
        code = seen[part.name].exit_code
        if part.kind is Kind.INIT and code not in (None, 0) and policy == NEVER:
            return FAILED
    ended = [seen[part.name] for part in parts if part.kind is Kind.MAIN]
    codes = [state.exit_code for state in ended if not state.is_running]
    final = [c for c in codes if c is not None and not restarts(Kind.MAIN, policy, c)]
    if len(final) < len(ended):
        return None
    return FAILED if any(final) else SUCCEEDED


def grace_s(wanted: int) -> int:
    """Return the seconds that a pod's end may take."""
    return max(GRACE_S_MIN, wanted)


def prerequisites(parts: Sequence[Part], running: Collection[str]) -> dict[str, frozenset[str]]:
    """Return for each container who must be gone before it gets SIGTERM.

    A sidecar waits for all main containers and for the next sidecar; the others wait for nobody.
    """
    mains = {part.name for part in parts if part.kind is Kind.MAIN and part.name in running}
    waits: dict[str, frozenset[str]] = {}
    later: set[str] = set()
    for part in reversed(parts):
        if part.kind is Kind.SIDECAR:
            waits[part.name] = frozenset(mains | later)
            later = {part.name} & set(running)
        else:
            waits[part.name] = frozenset()
    return waits


class Step(StrEnum):
    """What is to be done with a container that is being ended."""

    HOOK = "hook"
    WAIT = "wait"
    TERM = "term"
    KILL = "kill"


class _Stage(StrEnum):
    BEGUN = "begun"
    HOOK = "hook"
    TURN = "turn"
    TERM = "term"
    KILLED = "killed"


class Ending:
    """A container's way to its end: preStop, its turn, SIGTERM, SIGKILL; all of one budget.

    The kubelet counts whole seconds, and rounds what was used down.
    """

    def __init__(self, budget_s: float, *, has_hook: bool) -> None:
        self._left_s = budget_s
        self._has_hook = has_hook
        self._stage = _Stage.BEGUN
        self._since = 0.0

    @property
    def is_in_hook(self) -> bool:
        """Whether preStop runs."""
        return self._stage is _Stage.HOOK

    def step(self, now: float, *, is_hook_over: bool, is_turn: bool) -> Step:
        """Return what is due now. HOOK, TERM and KILL are said once."""
        if self._stage is _Stage.BEGUN:
            if self._has_hook and self._left_s > 0:
                self._enter(_Stage.HOOK, now)
                return Step.HOOK
            self._enter(_Stage.TURN, now)
        if self._stage is _Stage.HOOK:
            if not is_hook_over and not self._is_used_up(now):
                return Step.WAIT
            self._left_s -= int(now - self._since)
            self._enter(_Stage.TURN, now)
        if self._stage is _Stage.TURN:
            if not is_turn and not self._is_used_up(now):
                return Step.WAIT
            self._left_s = max(TERM_S_MIN, self._left_s - int(now - self._since))
            self._enter(_Stage.TERM, now)
            return Step.TERM
        if self._stage is _Stage.TERM and self._is_used_up(now):
            self._enter(_Stage.KILLED, now)
            return Step.KILL
        return Step.WAIT

    def _enter(self, stage: _Stage, now: float) -> None:
        self._stage, self._since = stage, now

    def _is_used_up(self, now: float) -> bool:
        return now - self._since >= self._left_s


def backoff_s(restarts_before: int) -> float:
    """Return how long after its end a container is started again: at once, 10 s, 20 s, 40 s..."""
    if restarts_before == 0:
        return 0.0
    return float(min(BACKOFF_S * 2 ** (restarts_before - 1), BACKOFF_S_MAX))


@dataclass(frozen=True)
class Times:
    """When a probe asks, and how many answers make a verdict."""

    delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    successes: int = 1
    failures: int = 3


class Tally:
    """A probe's answers, and the verdict of the last ones in a row; None before there is any."""

    def __init__(self, times: Times, began: float) -> None:
        self.verdict: bool | None = None
        self._times = times
        self._next = began + times.delay_s
        self._last: bool | None = None
        self._count = 0

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask."""
        return now >= self._next

    def asked(self, now: float) -> None:
        """Note that it was asked."""
        self._next = now + self._times.period_s

    def answered(self, *, is_good: bool) -> None:
        """Note the answer."""
        self._count = self._count + 1 if is_good is self._last else 1
        self._last = is_good
        if self._count >= (self._times.successes if is_good else self._times.failures):
            self.verdict = is_good


class Conditions(NamedTuple):
    """An endpoint, as its EndpointSlice tells it."""

    ready: bool
    serving: bool
    terminating: bool


def conditions(*, is_ready: bool, is_ending: bool) -> Conditions:
    """Return what clients are told of a pod. One that ends is not ready, whatever it serves."""
    return Conditions(is_ready and not is_ending, is_ready, is_ending)
