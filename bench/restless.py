"""Measurements while a proxy ends, or takes another configuration: what becomes of the requests.

CPU is not read: processes end in the measured time and take their clocks with them.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bench.ending import DRAIN_SECONDS_MAX, ended
from bench.generator import Generator, Timing, generator
from bench.manifests import changing
from bench.measure import Bench, Sample, settle
from bench.peer import Peer
from bench.proc import cpu
from bench.pulse import once_a_second
from bench.running import RunError, Running, deployed, upstream
from bench.workloads import Workload

SECONDS_MIN: Final = 3.0  # of a drain: a second before it, one to tell clients, one after
TOLD_AFTER: Final = 1 / 3  # of the measured time


def measure_restless(bench: Bench, peer: Peer, workload: Workload, timing: Timing) -> Sample:
    """Run `workload` through `peer` as measure.measure() does, and unsettle the peer meanwhile."""
    if workload.drained:
        timing = replace(timing, seconds=max(SECONDS_MIN, timing.seconds))
    core = bench.cores.load
    with contextlib.ExitStack() as stack:
        upstream_port, upstream_pid = stack.enter_context(upstream(core, workload.family))
        place = bench.place(upstream_port, workload)
        proxy = stack.enter_context(deployed(peer, workload, place))
        after = proxy
        if workload.drained:
            after = stack.enter_context(deployed(peer, workload, place))
        warm = stack.enter_context(
            generator(proxy.port, workload, timing, core, next_port=after.port)
        )
        settle(proxy.pids + after.pids)
        load_before, began_at = cpu(upstream_pid, warm.pid).total_ns, time.time()
        exit_ms = None
        warm.begin()
        if workload.drained:
            time.sleep(timing.seconds * TOLD_AFTER)
            exit_ms = _drain(peer, proxy, warm)
            outcome = warm.end()
        else:
            with _reloading(peer, proxy), changing(proxy.manifests, upstream_port):
                outcome = warm.end()
        return Sample(
            *(workload.name, peer.name, timing.seed),
            load_ns=cpu(upstream_pid, warm.pid).total_ns - load_before,
            offered_rate=timing.rate,
            connections=workload.connections,
            requests=outcome.requests,
            unsent=outcome.unsent,
            bytes=outcome.bytes,
            elapsed_seconds=outcome.elapsed_seconds,
            latency=outcome.latency,
            lag=outcome.lag,
            ends=outcome.ends,
            exit_ms=exit_ms,
            began_at=began_at,
        )


def _drain(peer: Peer, proxy: Running, warm: Generator) -> float:
    """Tell the proxy to end; return the milliseconds until it did."""
    if peer.drain is None:
        raise RunError(f"nobody knows how {peer.name} is told to end")
    (pid,) = proxy.pids
    warm.tell()
    began = time.monotonic()
    peer.drain(pid, proxy.admin_port)
    if not ended(pid, DRAIN_SECONDS_MAX):
        raise RunError(f"{peer.name} did not end within {DRAIN_SECONDS_MAX:.0f} s of being told")
    return (time.monotonic() - began) * 1000


@contextlib.contextmanager
def _reloading(peer: Peer, proxy: Running) -> Iterator[None]:
    """Signal the proxy once a second, if that is how it is told."""
    number = peer.reload_signal
    if number is None:
        yield
        return
    (pid,) = proxy.pids
    with once_a_second(lambda _: os.kill(pid, number)):
        yield
