"""What the sidecar adds to the life of a pod: `python -m bench.lifecycle [ROUNDS]`, as root.

Injected pods run under the tests' emulator of the kubelet, in network namespaces of this machine,
with the real init step and the real proxy. Probes of the startup are asked each 100 ms instead of
each second, so that the times are those of the sidecar and not those of the probe.
"""

import datetime as dt
import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from typing import Any, Final

from bench import machine
from bench.table import Table
from tests.lifecycle.clients import Load
from tests.lifecycle.kubelet import Kubelet
from tests.lifecycle.node import Node
from tests.lifecycle.pods import INIT, PORT, PROXY, container, job, meshed, server, sleeping
from tests.netns.harness import reason_not_to_run
from tests.support.origins import Origins

ROUNDS: Final = 5
CLIENTS: Final = 6
LEARN_S: Final = 1.0
DELAY: Final = {"drain-delay": "2s"}
SLEEP_S: Final = 3.0
EXIT_UNAVAILABLE: Final = 69


def main(argv: list[str]) -> int:
    """Measure and print."""
    reason = reason_not_to_run()
    if reason:
        print(reason, file=sys.stderr)
        return EXIT_UNAVAILABLE
    rounds = int(argv[0]) if argv else ROUNDS
    described = ", ".join(f"{name} {value}" for name, value in machine.describe().items())
    print(f"command: `{shlex.join(['python', '-m', 'bench.lifecycle', *argv])}`")
    print(f"date: {dt.datetime.now(dt.UTC).date().isoformat()}\nmachine: {described}\n")
    found: dict[str, list[float]] = {}
    for work in (lived, worked) * rounds:
        for name, seconds in work().items():
            found.setdefault(name, []).append(seconds * 1000)
    print(Table("Times of a pod, ms", ["what", "least", "median", "most"], rows(found)).text())
    print()
    print(Table("Rolling update of three pods", ["what", "count"], rolled_out()).text())
    return 0


def rows(found: dict[str, list[float]]) -> list[list[str]]:
    """Return what was measured, line by line."""
    spread = {name: (min(ms), statistics.median(ms), max(ms)) for name, ms in found.items()}
    return [[name, *(f"{each:.0f}" for each in figures)] for name, figures in spread.items()]


def lived() -> dict[str, float]:
    """Run an idle pod until it is ready, and delete it."""
    with Node(is_quiet=True) as node:
        pod = node.run(meshed(server()))
        pod.delete()
        pod.wait_gone()
        ready = next(line for line in logged(pod) if line["event"] == "ready")
        return {
            "start: init step": pod.between(f"start {INIT}", f"exit {INIT} 0"),
            "start: proxy, exec to ready": ready["ms"] / 1000,
            "start: proxy, until the kubelet knows": pod.between(
                f"start {PROXY}", f"started {PROXY}"
            ),
            "start: all that comes before the application": pod.between(
                f"start {INIT}", "start app"
            ),
            "deletion: preStop hook": pod.between(f"preStop {PROXY}", f"preStop done {PROXY}"),
            "deletion: SIGTERM to exit of the proxy": ended(pod),
        }


def worked() -> dict[str, float]:
    """Run a Job that asks somebody outside, to its end."""
    with Node(is_quiet=True) as node, Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))  # noqa: S104 - a namespace
        pod = node.start(job(container("work", "call", f"http://{node.host}:{PORT}/")))
        pod.wait_gone()
        return {
            "Job: end of its container to end of the pod": pod.between("exit work 0", "gone"),
            "Job: SIGTERM to exit of the proxy": ended(pod),
        }


def logged(pod: Kubelet) -> Iterator[dict[str, Any]]:
    """Yield the lines of the proxy's log."""
    return (json.loads(line) for line in pod.log(PROXY).splitlines())


def ended(pod: Kubelet) -> float:
    """Return how long the proxy took to exit."""
    return pod.between(f"term {PROXY}", f"exit {PROXY} 0")


def rolled_out() -> list[list[str]]:
    """Replace three pods under load."""

    def version(number: int, index: int) -> dict[str, Any]:
        app = server(**sleeping(SLEEP_S))
        return meshed(app, name=f"web-{number}-{index}", annotations=DELAY)

    with Node(is_quiet=True) as node:
        old = [node.run(version(1, index)) for index in range(3)]
        with Load(node, CLIENTS, LEARN_S) as load:
            load.wait_answers(100)
            node.roll_out(old, [version(2, index) for index in range(3)])
            load.wait_answers(100)
    score = load.score
    return [
        ["requests answered", str(score.answered)],
        ["requests lost", str(len(score.lost))],
        ["sent again, because a kept connection had ended", str(score.resent)],
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
