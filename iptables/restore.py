"""From the rules that are there to the rules that should be: all of it, or nothing.

A change of one place is one transaction of the kernel, which either happens or does not. Several
places (IPv4 and IPv6, or an earlier backend that must let go) are changed one after the other,
each read back; if one fails, those before it are led back to what they held. A pod is never left
half redirected: IPv6 without redirection would pass all policy by.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iptables import tools
from iptables.backends import Backend
from iptables.exits import Exit, InitError
from iptables.held import Held, differences, same
from iptables.spec import Family
from iptables.stores import Rules, Store
from iptables.tools import Command, ToolError


@dataclass(frozen=True)
class Step:
    """One place that has to change."""

    store: Store
    before: Held
    after: Held

    @property
    def commands(self) -> list[Command]:
        """Give the calls that make the change."""
        return self.store.commands(self.before, self.after)


class NotAsWantedError(Exception):
    """The tool was content, and yet reading back shows other rules."""


def plan(chosen: Backend, backends: Iterable[Backend], rules: Rules) -> list[Step]:
    """Give the changes that are needed; none if everything is as it should be.

    The chosen backend comes first and others let go after it: between the two, a connection
    meets the old or the new redirection, never none.
    """
    steps = []
    for store, found in chosen.readable:
        wanted = store.wanted(rules, found)
        if not same(found, wanted, store.key):
            steps.append(Step(store, found, wanted))
    others = [backend for backend in backends if backend is not chosen]
    return steps + removal(others)


def removal(backends: Iterable[Backend]) -> list[Step]:
    """Give the changes that take everything of ours out."""
    return [
        Step(store, found, Held())
        for backend in backends
        for store, found in backend.readable
        if found
    ]


def carry_out(steps: Sequence[Step]) -> list[str]:
    """Make every change, or none of them; then InitError names the cause.

    Returns notes about harmless things that did not work out.
    """
    notes = []
    for index, step in enumerate(steps):
        try:
            notes += _change(step)
        except (ToolError, NotAsWantedError) as error:
            left = _undo(steps[: index + 1])
            raise _failure(step, error, left) from error
    return notes


def _run(commands: Iterable[Command]) -> list[str]:
    """Run them in order; the failure of one that only tidies is a note."""
    notes = []
    for command in commands:
        try:
            tools.run(command)
        except ToolError as error:
            if not command.is_tidying:
                raise
            notes.append(f"an empty table nat stays: {error}")
    return notes


def _change(step: Step) -> list[str]:
    notes = _run(step.commands)
    wrong = differences(step.store.read(), step.after, step.store.key)
    if wrong:
        raise NotAsWantedError("; ".join(wrong))
    return notes


def _undo(attempted: Sequence[Step]) -> list[str]:
    """Lead every place back to what it held; give what did not work, which should be nothing.

    The last one is read first, too: its transaction may have happened or not.
    """
    left = []
    for step in reversed(attempted):
        try:
            now = step.store.read()
            if not same(now, step.before, step.store.key):
                _run(step.store.commands(now, step.before))
        except ToolError as error:
            left.append(f"could not be taken back: {error}")
    return left


def _failure(step: Step, error: ToolError | NotAsWantedError, left: Sequence[str]) -> InitError:
    name = step.store.name
    state = "rules of the attempt are left" if left else "nothing of the attempt is left"
    main = f"{name}: the rules were not applied, {state}: {error}"
    if isinstance(error, NotAsWantedError):
        return InitError(Exit.NOT_APPLIED, main, *left)
    from iptables.causes import explain  # noqa: PLC0415 - for failures only

    code, causes = explain(name, error)
    if step.store.families == (Family.IPV6,):
        causes.append(
            "to leave IPv6 alone on purpose, and let it pass the proxy by: --families ipv4"
        )
    return InitError(code, main, *left, *causes)
