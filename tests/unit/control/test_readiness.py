"""Readiness: held back by named tasks, withdrawn for good by a drain."""

from proxy.readiness import Readiness
from tests.unit.control.conftest import ReadableLog


def test_a_proxy_is_ready_once_every_task_is_done(readable_log: ReadableLog) -> None:
    readiness = Readiness(readable_log.log, ("workers", "servers"))
    readiness.done("servers")
    assert readiness.pending == ["workers"]
    readiness.done("workers")
    assert readiness.is_ready


def test_each_completion_is_logged(readable_log: ReadableLog) -> None:
    readiness = Readiness(readable_log.log, ("workers", "servers"))
    readiness.done("servers")
    (line,) = readable_log.lines
    assert (line["task"], line["pending"]) == ("servers", ["workers"])


def test_a_withdrawn_readiness_does_not_come_back(readable_log: ReadableLog) -> None:
    readiness = Readiness(readable_log.log, ("workers",))
    readiness.withdraw("draining")
    readiness.done("workers")
    assert readiness.pending == ["draining"]
    assert not readiness.is_ready
