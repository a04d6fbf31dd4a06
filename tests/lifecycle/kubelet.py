"""The kubelet of one pod: looks, asks `rules` what is due, and does it; a thread of its own.

What happens is noted in `events`, in its order, as "start app", "started remora-proxy",
"term app", "exit app 0" and so on: most tests are about that order.
"""

import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Final, NamedTuple

from tests.lifecycle import handlers, rules
from tests.lifecycle.container import Run, Sandbox
from tests.lifecycle.endpoints import Endpoints
from tests.lifecycle.handlers import HOOK_S_MAX, Task
from tests.lifecycle.manifest import Container, Handler, NotPlayedError, Probe, scaled
from tests.lifecycle.rules import Conditions, Ending, Kind, Seen, Step, Tally
from tests.netns.harness import Namespace
from tests.support.waiting import PATIENCE_S, POLL_S, eventually

STARTUP: Final = "startup"
READINESS: Final = "readiness"
LIVENESS: Final = "liveness"


class Happened(NamedTuple):
    """Something that was done, or seen, and when."""

    at: float
    what: str


@dataclass
class State:
    """A container as its kubelet knows it."""

    container: Container
    run: Run | None = None
    began: float = 0.0
    exit_code: int | None = None
    exits: int = 0
    not_before: float = 0.0
    is_post_started: bool = False
    has_started: bool = False
    post_start: Task | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)
    asked: dict[str, Task] = field(default_factory=dict)
    ending: Ending | None = None
    pre_stop: Task | None = None

    def seen(self) -> Seen:
        """Return what rules look at."""
        return Seen(
            self.run is not None,
            self.post_start is not None,
            self.has_started,
            self.exit_code,
            self.not_before,
        )

    @property
    def is_ready(self) -> bool:
        """Whether it counts as ready."""
        if self.run is None or not self.has_started:
            return False
        tally = self.tallies.get(READINESS)
        return tally is None or tally.verdict is True

    def probes(self) -> dict[str, Probe]:
        """Return the probes that it has."""
        every = {
            STARTUP: self.container.startup,
            READINESS: self.container.readiness,
            LIVENESS: self.container.liveness,
        }
        return {name: probe for name, probe in every.items() if probe}

    def forget_run(self) -> None:
        """Give up what belongs to a run that is over."""
        for task in (self.post_start, self.pre_stop, *self.asked.values()):
            if task:
                task.cancel()
        self.run = self.post_start = self.pre_stop = self.ending = None
        self.is_post_started = self.has_started = False
        self.tallies, self.asked = {}, {}


class Kubelet:
    """Runs one pod. Start it, and look at it from any thread."""

    def __init__(
        self,
        sandbox: Sandbox,
        node: Namespace,
        endpoints: Endpoints,
        *,
        clock: float,
    ) -> None:
        self.pod = pod = sandbox.pod
        self.network = sandbox.network
        self.host = sandbox.network.addresses["ipv4"]
        self.events: list[Happened] = []
        self.phase = "Pending"
        self.is_gone = False
        self._node = node
        self._clock = clock
        self._endpoints = endpoints
        self._sandbox = sandbox
        self._states = {each.name: State(each) for each in pod.containers}
        self._told: Conditions | None = None
        self._messages: dict[str, str] = {}
        self._must_end = False
        self._waits: dict[str, frozenset[str]] | None = None
        self._lock = RLock()
        self._over = Event()
        self._fault: BaseException | None = None
        self._threads = ThreadPoolExecutor(thread_name_prefix=f"probes-{pod.name}")
        self._thread = Thread(target=self._work, name=f"kubelet-{pod.name}")

    # ---- what tests do with it -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to run the pod."""
        self._thread.start()

    def delete(self) -> None:
        """Delete the pod: the endpoint is told at once, the rest follows."""
        with self._lock:
            self._note("delete")
            self._must_end = True
            self._tell()

    def close(self) -> None:
        """End everything by force."""
        self._over.set()
        self._thread.join()
        for state in self._states.values():
            run = state.run
            state.forget_run()
            if run:
                run.process.end()
        self._threads.shutdown()
        if self._fault:
            raise self._fault

    def tell_all(self) -> None:
        """Print what its containers wrote, and what happened: pytest shows it if a test fails."""
        for name in self._states:
            print(f"--- {self.pod.name} {name}\n{self.log(name)}")  # noqa: T201
        print(f"--- {self.pod.name}\n{self.story()}")  # noqa: T201

    def wait_ready(self) -> None:
        """Wait until every container that counts is ready."""
        self.wait("the pod to be ready", lambda: self.is_ready)

    def wait_gone(self, *, seconds: float = PATIENCE_S) -> None:
        """Wait until nothing of it runs any more."""
        self.wait("the pod to be gone", lambda: self.is_gone, seconds=seconds)

    def wait_for(self, what: str, *, seconds: float = PATIENCE_S, count: int = 1) -> float:
        """Wait until that has happened, so many times; return when."""
        self.wait(what, lambda: len(self._times(what)) >= count, seconds=seconds)
        return self._times(what)[count - 1]

    def wait(self, what: str, look: Callable[[], object], *, seconds: float = PATIENCE_S) -> None:
        """Wait for a state of the pod."""

        def probe() -> object:
            if self._fault:
                raise self._fault
            return look()

        try:
            eventually(f"{self.pod.name}: {what}", probe, seconds=seconds)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.story()}") from None

    @property
    def is_ready(self) -> bool:
        """Whether the pod is Ready: main containers and sidecars alike."""
        with self._lock:
            counted = [s for s in self._states.values() if s.container.kind is not Kind.INIT]
            return not self.is_gone and all(state.is_ready for state in counted)

    def log(self, name: str) -> str:
        """Return what a container wrote, all its runs."""
        path = self._sandbox.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def message(self, name: str) -> str:
        """Return the termination message of a container's last end."""
        return self._messages.get(name, "")

    def volume(self, name: str) -> Path:
        """Return where a volume of the pod is on this machine."""
        return self._sandbox.volume(name)

    def pid(self, name: str) -> int:
        """Return the process of a container."""
        with self._lock:
            run = self._states[name].run
            return run.process.pid if run else 0

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a container's process, behind the kubelet's back."""
        with self._lock:
            run = self._states[name].run
            assert run, f"{name} does not run"
            run.process.signal(number)

    def did(self, what: str) -> bool:
        """Whether that has happened."""
        return bool(self._times(what))

    def order(self, *whats: str) -> None:
        """Check that all this has happened, in this order."""
        missing = [what for what in whats if not self.did(what)]
        assert not missing, f"{missing}\n{self.story()}"
        happened = [each.what for each in list(self.events)]
        indexes = [happened.index(what) for what in whats]
        assert indexes == sorted(indexes), f"{whats}\n{self.story()}"

    def between(self, first: str, second: str) -> float:
        """Return the seconds between two events."""
        return self._times(second)[0] - self._times(first)[0]

    def story(self) -> str:
        """Return all events, with their times."""
        begin = self.events[0].at if self.events else 0.0
        return "\n".join(f"{each.at - begin:8.3f} {each.what}" for each in self.events)

    def _times(self, what: str) -> list[float]:
        return [each.at for each in list(self.events) if each.what == what]

    # ---- volumes -------------------------------------------------------------------------------

    def make_volumes(self, secrets: Mapping[str, Mapping[str, bytes]]) -> None:
        """Make what the pod mounts."""
        for name, raw in self.pod.volumes.items():
            folder = self._sandbox.volume(name)
            folder.mkdir(parents=True)
            if "emptyDir" in raw:
                folder.chmod(0o777)
            elif "secret" in raw:
                _write_secret(folder, secrets[raw["secret"]["secretName"]])
            else:
                raise NotPlayedError(f"volume {name}")

    # ---- the loop ------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._over.wait(POLL_S):
                with self._lock:
                    self._tick(time.monotonic())
        except BaseException as fault:  # noqa: BLE001 - raised again in the test's thread
            self._fault = fault

    def _tick(self, now: float) -> None:
        for state in self._states.values():
            self._note_end(state, now)
        if not self._is_ending:
            self._look_for_end()
        if self._is_ending:
            self._go_on_ending(now)
        else:
            self._go_on(now)
        for state in self._states.values():
            self._end_one(state, now)
        self._tell()

    @property
    def _is_ending(self) -> bool:
        return self._waits is not None

    def _note(self, what: str) -> None:
        self.events.append(Happened(time.monotonic(), what))

    def _tell(self) -> None:
        is_ready = self.is_ready
        if self._told is None and not is_ready:
            return
        found = rules.conditions(is_ready=is_ready, is_ending=self._must_end)
        if found != self._told:
            self._told = found
            self._endpoints.tell(self.host, found)

    def _note_end(self, state: State, now: float) -> None:
        run, name = state.run, state.container.name
        code = run.process.exit_code if run else None
        if run is None or code is None:
            return
        self._messages[name] = run.message()
        if now - state.began >= rules.BACKOFF_FORGOTTEN_S * self._clock:
            state.exits = 0
        state.not_before = now + rules.backoff_s(state.exits) * self._clock
        state.exits += 1
        state.exit_code = code
        state.forget_run()
        self._note(f"exit {name} {code}")

    def _look_for_end(self) -> None:
        seen = {name: state.seen() for name, state in self._states.items()}
        outcome = rules.outcome(self.pod.parts, seen, self.pod.policy)
        if outcome:
            self.phase = outcome
        if outcome or self._must_end:
            running = [name for name, state in self._states.items() if state.run]
            self._waits = rules.prerequisites(self.pod.parts, running)
            self._note("ending")
            for name in running:
                state = self._states[name]
                budget = rules.grace_s(self.pod.grace_s)
                if state.ending is None:
                    state.ending = _ending(state, budget)

    def _go_on_ending(self, now: float) -> None:
        for state in self._states.values():
            self._ask(state, READINESS, now)
        if all(state.run is None for state in self._states.values()):
            self._note("gone")
            self._told = None
            self._endpoints.tell(self.host, None)
            self.is_gone = True
            self._over.set()

    def _go_on(self, now: float) -> None:
        for state in self._states.values():
            self._go_on_starting(state)
            for probe in (STARTUP, READINESS, LIVENESS):
                self._ask(state, probe, now)
        while True:
            seen = {name: state.seen() for name, state in self._states.items()}
            part = rules.next_start(self.pod.parts, seen, self.pod.policy, now)
            if part is None:
                break
            self._start(self._states[part.name])
        mains = [s for s in self._states.values() if s.container.kind is Kind.MAIN]
        if self.phase == "Pending" and all(state.run for state in mains):
            self.phase = "Running"

    def _start(self, state: State) -> None:
        container = state.container
        self._note(f"start {container.name}")
        state.run = Run(self._sandbox, container)
        state.run.process.wait_executed()
        state.began = now = time.monotonic()
        state.tallies = {
            name: Tally(scaled(probe.times, self._clock), now)
            for name, probe in state.probes().items()
        }
        if container.post_start:
            self._note(f"postStart {container.name}")
            state.post_start = self._begin(state, container.post_start, HOOK_S_MAX)
        else:
            state.is_post_started = True

    def _go_on_starting(self, state: State) -> None:
        if state.run is None or state.has_started:
            return
        if state.post_start and state.post_start.is_over:
            is_good, state.post_start = state.post_start.result, None
            state.is_post_started = True
            if not is_good:
                self._note(f"postStart failed {state.container.name}")
                state.ending = _ending(state, rules.grace_s(self.pod.grace_s))
                return
        startup = state.tallies.get(STARTUP)
        if state.is_post_started and (startup is None or startup.verdict):
            state.has_started = True
            self._note(f"started {state.container.name}")

    def _ask(self, state: State, name: str, now: float) -> None:
        tally = state.tallies.get(name)
        if tally is None or state.run is None or (state.ending and name != READINESS):
            return
        is_wanted = not tally.verdict if name == STARTUP else state.has_started
        task = state.asked.get(name)
        if task is None:
            if is_wanted and tally.is_due(now):
                tally.asked(now)
                probe = state.probes()[name]
                state.asked[name] = self._begin(state, probe.handler, probe.times.timeout_s)
            return
        if not task.is_over:
            return
        del state.asked[name]
        before = tally.verdict
        tally.answered(is_good=bool(task.result))
        if tally.verdict is not before:
            self._on_verdict(state, name, is_good=bool(tally.verdict))

    def _on_verdict(self, state: State, name: str, *, is_good: bool) -> None:
        self._note(f"{name} {state.container.name} {'good' if is_good else 'bad'}")
        if not is_good and name != READINESS:
            grace = state.probes()[name].grace_s
            state.ending = _ending(state, rules.grace_s(grace or self.pod.grace_s))

    def _end_one(self, state: State, now: float) -> None:
        if state.ending is None or state.run is None:
            return
        name = state.container.name
        waits = (self._waits or {}).get(name, frozenset[str]())
        is_turn = not any(self._states[other].run for other in waits)
        is_hook_over = state.pre_stop is not None and state.pre_stop.is_over
        was_in_hook = state.ending.is_in_hook
        step = state.ending.step(now, is_hook_over=is_hook_over, is_turn=is_turn)
        if was_in_hook and not state.ending.is_in_hook:
            self._note(f"preStop done {name}" if is_hook_over else f"preStop late {name}")
        if step is Step.HOOK and state.container.pre_stop:
            self._note(f"preStop {name}")
            state.pre_stop = self._begin(state, state.container.pre_stop, HOOK_S_MAX)
        elif step is Step.TERM:
            self._note(f"term {name}")
            state.run.process.signal(signal.SIGTERM)
        elif step is Step.KILL:
            self._note(f"kill {name}")
            state.run.process.signal(signal.SIGKILL)

    def _begin(self, state: State, handler: Handler, timeout_s: float) -> Task:
        run = state.run
        assert run

        def submit(work: Callable[[], bool]) -> Future[bool]:
            return self._threads.submit(self._node.call, work)

        return handlers.begin(handler, self.host, timeout_s, run.execute, submit)


def _ending(state: State, budget_s: float) -> Ending:
    return Ending(budget_s, has_hook=state.container.pre_stop is not None)


def _write_secret(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files as the kubelet does: a folder of this version, and links through ..data."""
    version = folder / "..2026_11_21"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
    (folder / "..data").symlink_to(version.name)
    for name in files:
        (folder / name).symlink_to(f"..data/{name}")
