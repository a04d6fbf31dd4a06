"""Measures the admission webhook alone on one core: reviews a second, CPU a review, latency.

    python -m bench.webhook [--seconds 5] [--rate 500] [--connections 25]

Closed loop: every connection sends its next review when it has the answer. At a rate: reviews come
at random, whether or not earlier ones were answered, and latency counts from the moment one was
due. The caller runs on another core, over TLS 1.3, with keep-alive as API servers do (a client of
Go keeps 25 idle connections to a host). Every answer is looked at: 200, and as long as the first.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import http.client
import json
import os
import random
import shlex
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from bench import ROOT, machine, proc
from bench.report import Header, text
from bench.running import Cores, RunError, free_ports, pinned, stop
from bench.table import Table
from inject.webhook import issuer
from proxy import __version__

NAME: Final = "remora-webhook.remora-system.svc"
WARMUP_SECONDS: Final = 1.0
START_SECONDS_MAX: Final = 20.0
TARGET_PER_S: Final = 500
_SEED: Final = 20  # of the moments at which reviews come

Json = dict[str, Any]


@dataclass
class Loop:
    """What one measurement saw."""

    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Reviews a second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of latency."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def pod(containers: int) -> Json:
    """Return a pod as a ReplicaSet makes it and as the API server shows it: defaults filled in."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10}
    resources = {"limits": {"memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "256Mi"}}
    variables = [{"name": f"SETTING_{n}", "value": f"value of setting {n}"} for n in range(12)]
    token = {"name": "kube-api-access-x7k2p", "readOnly": True}
    container = {
        "image": "registry.example.org/team/app:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": variables,
        "resources": resources,
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "volumeMounts": [{**token, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
    }
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9", "controller": True}
    fields: Json = {f"f:{name}": {} for name in container}
    managed = {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": "web-7d4b9-",
            "labels": {"app": "web", "pod-template-hash": "7d4b9"},
            "annotations": {"prometheus.io/scrape": "true", "remora.dev/access-log": "json"},
            "ownerReferences": [owner],
            "managedFields": [
                {**managed, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}}
            ],
        },
        "spec": {
            "volumes": [{"name": token["name"], "projected": {"defaultMode": 420}}],
            "containers": [{"name": f"app-{n}", **container} for n in range(containers)],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "web",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        },
    }


def request_of(containers: int) -> bytes:
    """Return a whole review as it goes over the wire."""
    asked = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod(containers),
        "oldObject": None,
        "dryRun": False,
    }
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}
    body = json.dumps(review, separators=(",", ":")).encode()
    head = (
        f"POST /inject?timeout=10s HTTP/1.1\r\nHost: {NAME}:443\r\n"
        f"Accept: application/json, */*\r\nUser-Agent: kube-apiserver-admission\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    return head.encode() + body


class _Call(asyncio.Protocol):
    """One connection, one review at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(RunError("the webhook closed a connection"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._got.clear()
            if not head.startswith(b"HTTP/1.1 200 ") or b'"patch":' not in body:
                self._answer.set_exception(RunError(f"no patch: {bytes(head[:200])!r}"))
            else:
                self._answer.set_result(length)

    async def ask(self, request: bytes) -> int:
        """Send a review; return the length of its answer."""
        if self._transport is None:
            raise RunError("there is no connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class Caller:
    """The API server of a measurement."""

    def __init__(self, port: int, roots: bytes, request: bytes, pid: int) -> None:
        self._port = port
        self._context = ssl.create_default_context(cadata=roots.decode())
        self._request = request
        self._pid = pid
        self._lengths: set[int] = set()

    async def _connect(self) -> _Call:
        loop = asyncio.get_running_loop()
        _, call = await loop.create_connection(
            _Call, "127.0.0.1", self._port, ssl=self._context, server_hostname=NAME
        )
        return call

    async def _ask(self, call: _Call, due_s: float, seen: Loop) -> None:
        self._lengths.add(await call.ask(self._request))
        seen.latencies_s.append(time.monotonic() - due_s)
        if len(self._lengths) > 1:
            raise RunError(f"answers of several lengths: {sorted(self._lengths)}")

    @contextlib.contextmanager
    def _measured(self, seen: Loop) -> Iterator[None]:
        began_s, before = time.monotonic(), proc.cpu(self._pid)
        yield
        seen.seconds = time.monotonic() - began_s
        seen.cpu_s = (proc.cpu(self._pid) - before).total_ns / 1e9

    async def closed(self, connections: int, seconds: float, *, again: bool = False) -> Loop:
        """Keep every connection busy; with `again`, each review has a connection of its own."""
        seen = Loop()
        calls = [await self._connect() for _ in range(connections)]

        async def work(call: _Call) -> None:
            while (now_s := time.monotonic()) < until_s:
                if again:
                    call.close()
                    call = await self._connect()
                await self._ask(call, now_s, seen)
            call.close()

        until_s = time.monotonic() + seconds
        with self._measured(seen):
            await asyncio.gather(*map(work, calls))
        return seen

    async def at_rate(self, per_s: float, connections: int, seconds: float) -> Loop:
        """Let reviews come at random; one that finds no connection free waits for one."""
        seen, chance = Loop(), random.Random(_SEED)  # noqa: S311 - no secret
        free: asyncio.Queue[_Call] = asyncio.Queue()
        calls = [await self._connect() for _ in range(connections)]
        for call in calls:
            free.put_nowait(call)

        async def one(due_s: float) -> None:
            call = await free.get()
            await self._ask(call, due_s, seen)
            free.put_nowait(call)

        with self._measured(seen):
            due_s = time.monotonic()
            until_s = due_s + seconds
            async with asyncio.TaskGroup() as group:
                while due_s < until_s:
                    await asyncio.sleep(due_s - time.monotonic())
                    group.create_task(one(due_s))
                    due_s += chance.expovariate(per_s)
        for call in calls:
            call.close()
        return seen


@contextlib.contextmanager
def webhook(core: int) -> Iterator[tuple[int, bytes, int]]:
    """(port, roots, process id) of a webhook on a core of its own."""
    port, admin = free_ports(2)
    kept = issuer.make([NAME], issuer.now_utc())
    with tempfile.TemporaryDirectory(prefix="remora-bench-") as name, pinned(core):
        folder = Path(name)
        (folder / "tls.crt").write_bytes(kept.pair.chain)
        (folder / "tls.key").write_bytes(kept.pair.key)
        own = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}")
        flags = (*own, "--tls-dir", name, "--shutdown-delay", "0")
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "webhook", *flags],
                stderr=log,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        try:
            _wait_ready(admin)
            yield port, kept.bundle, process.pid
        finally:
            stop(process)


def _wait_ready(port: int) -> None:
    until_s = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/ready")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.02)
    raise RunError("the webhook was not ready in time")


async def _measure(port: int, roots: bytes, pid: int, asked: argparse.Namespace) -> Table:
    rows = []
    for title, containers in (("pod of 1 container", 1), ("pod of 10 containers", 10)):
        request = request_of(containers)
        caller = Caller(port, roots, request, pid)
        await caller.closed(asked.connections, WARMUP_SECONDS)
        seen = await caller.closed(asked.connections, asked.seconds)
        rows.append(_row(f"{title}, closed loop", len(request), seen))
        if containers == 1:
            seen = await caller.at_rate(asked.rate, asked.connections, 2 * asked.seconds)
            rows.append(_row(f"{title}, {asked.rate:g}/s at random", len(request), seen))
            seen = await caller.closed(asked.connections, asked.seconds, again=True)
            rows.append(_row(f"{title}, a handshake each", len(request), seen))
    resident = proc.memory(pid).rss / 2**20
    heads = ["", "bytes", "reviews/s", "CPU us", "core %", "p50 ms", "p99 ms", "p99.9 ms"]
    notes = [
        f"{asked.connections} connections; the target is {TARGET_PER_S} reviews/s on one core",
        f"resident after it all: {resident:.0f} MiB",
    ]
    return Table("Admission webhook on one core", heads, rows, notes)


def _row(title: str, size: int, seen: Loop) -> list[str]:
    count = len(seen.latencies_s)
    cells = [f"{size}", f"{seen.per_s:.0f}", f"{seen.cpu_s * 1e6 / count:.0f}"]
    cells.append(f"{100 * seen.cpu_s / seen.seconds:.0f}")
    return [title, *cells, *(f"{seen.percentile_ms(p):.1f}" for p in (50, 99, 99.9))]


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m bench.webhook", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--rate", type=float, default=500.0, help="reviews a second, at random")
    parser.add_argument("--connections", type=int, default=25)
    asked = parser.parse_args(argv)
    cores = Cores.allowed()
    header = Header(
        *("The admission webhook", "", dt.datetime.now(dt.UTC).date().isoformat()),
        shlex.join(["python", "-m", "bench.webhook", *argv]),
        machine.describe(),
        {"remora": __version__, "uvloop": version("uvloop"), "OpenSSL": ssl.OPENSSL_VERSION},
    )
    try:
        with webhook(cores.proxy) as (port, roots, pid):
            os.sched_setaffinity(0, {cores.load})
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                table = runner.run(_measure(port, roots, pid, asked))
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    print(text(header, [table]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
