"""The shop three times, as buyers saw it: `python -m bench.shop [--users 20] [--seconds 30]`.

`none`: applications call each other directly, replicas in turn. `sidecars`: each pod has remora in
front and behind, endpoints in turn, too. `policies`: the same with remora's balancing, and with
retries and time limits (bench/shop/objects.py). Locust plays the buyers and tells what they saw.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench import BENCH, ROOT, machine, record
from bench.running import READY, RunError, announced, free_ports
from bench.shop import objects
from bench.shop.places import FRONT, NAMESPACE, Replica, replicas
from bench.table import Table

MODES: Final = ("none", "sidecars", "policies")
PERCENTILES: Final = (50, 90, 99, 99.9)
EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69


def sidecar(replica: Replica, app: int, inbound: int, door: int, directory: Path) -> list[str]:
    """Return the command of one: `inbound` leads to the application, `door` is its way out."""
    return [
        *(sys.executable, "-m", "proxy", "proxy", "--no-interception", "--admin", "off"),
        *("--listen-inbound", f"{replica.host}:{inbound}={replica.host}:{app}"),
        *("--listen-hosts", f"{replica.host}:{door}", "--namespace", NAMESPACE),
        *("--manifests", str(directory / "manifests"), "--control-listen", "off"),
        *("--control", str(directory / f"{replica.name}.sock")),
    ]


@contextmanager
def shop(mode: str) -> Iterator[str]:
    """Run the shop; yield where its front is asked."""
    pods = replicas()
    ports = free_ports(3 * len(pods))
    apps, inbound, doors = (
        dict(zip((pod.name for pod in pods), ports[start::3], strict=True)) for start in range(3)
    )
    front = next(pod for pod in pods if pod.service == FRONT)
    with tempfile.TemporaryDirectory(prefix="remora-shop-") as name, ExitStack() as stack:
        directory = Path(name)
        wiring: dict[str, Any] = {"ports": apps, "doors": {}}
        if mode != "none":
            items = objects.world(inbound)
            items += objects.turns() if mode == "sidecars" else objects.policies()
            (directory / "manifests").mkdir()
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            (directory / "manifests" / "shop.json").write_text(text)
            wiring["doors"] = {pod.name: (pod.host, doors[pod.name]) for pod in pods}
            for pod in pods:
                of_pod = (apps[pod.name], inbound[pod.name], doors[pod.name])
                stack.enter_context(announced(sidecar(pod, *of_pod, directory), READY))
        words = [sys.executable, "-m", "bench.shop.apps"]
        stack.enter_context(announced(words, "ready", json.dumps(wiring) + "\n"))
        port = (apps if mode == "none" else inbound)[front.name]
        yield f"http://{front.host}:{port}"


def asked(url: str, users: int, seconds: int) -> list[dict[str, Any]]:
    """Let locust ask; return its statistics of each kind of request."""
    words = [
        *(sys.executable, "-m", "locust", "-f", str(BENCH / "locustfile.py"), "--headless"),
        *("--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s"),
        *("--host", url, "--json", "--loglevel", "ERROR"),
    ]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        raise RunError(f"locust failed:\n{done.stderr[-2000:]}") from None
    return found


def row(mode: str, kinds: Sequence[dict[str, Any]]) -> list[str]:
    """Sum up one run."""
    found = summed(kinds)
    requests, failures = found["requests"], found["failures"]
    good = 100 * (requests - failures) / requests
    cells = [f"{_percentile(found['times_ms'], share):.0f}" for share in PERCENTILES]
    return [mode, str(requests), str(failures), f"{good:.2f} %", *cells]


def summed(kinds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up all kinds of requests of one run: counts, and how often each time was taken."""
    times: Counter[float] = Counter()
    for kind in kinds:
        times.update({float(ms): count for ms, count in kind["response_times"].items()})
    return {
        "requests": sum(kind["num_requests"] for kind in kinds),
        "failures": sum(kind["num_failures"] for kind in kinds),
        "times_ms": times,
    }


def _percentile(times: Counter[float], percent: float) -> float:
    wanted, seen = sum(times.values()) * percent / 100, 0
    for ms in sorted(times):
        seen += times[ms]
        if seen >= wanted:
            return ms
    return max(times)


def main() -> int:
    """Run the shop in each mode and print what buyers saw."""
    parser = argparse.ArgumentParser("python -m bench.shop", description=__doc__)
    parser.add_argument(
        "--users", type=int, default=20, help="default: 20, each asks about four times a second"
    )
    parser.add_argument("--seconds", type=int, default=30, help="of each mode; default: 30")
    record.add_option(parser)
    chosen = parser.parse_args()
    if find_spec("locust") is None:
        sys.stderr.write("locust is missing: pip install locust\n")
        return EXIT_UNAVAILABLE
    top = record.Top("A shop behind sidecars", ["bench.shop", *sys.argv[1:]])
    seen: dict[str, list[dict[str, Any]]] = {}
    try:
        for mode in MODES:
            sys.stderr.write(f"{mode}: {chosen.seconds} s\n")
            with shop(mode) as url:
                seen[mode] = asked(url, chosen.users, chosen.seconds)
    except RunError as fault:
        sys.stderr.write(f"{fault}\n")
        return EXIT_FAILED
    headers = ["shop", "requests", "failed", "good", *(f"p{each} ms" for each in PERCENTILES)]
    found = Table("What buyers saw", headers, [row(*each) for each in seen.items()])
    sys.stdout.write(f"machine: {machine.line(top.machine)}\n\n{found.markdown()}\n")
    if chosen.save:
        data = {"modes": {mode: summed(kinds) for mode, kinds in seen.items()}}
        record.save(record.name_of("shop", chosen), record.files_of(top, [found], data))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
