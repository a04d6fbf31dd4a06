"""Starts processes on a chosen core, finds out when they answer, and always stops them."""

import contextlib
import os
import secrets
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from bench import ROOT, manifests
from bench.asking import item_request
from bench.build import program
from bench.identities import CLIENT, SERVER, context
from bench.peer import Job, Peer
from bench.proc import session
from bench.workloads import HTTP, MTLS, PAIR, TCP, Family, Workload

START_SECONDS_MAX: Final = 60.0  # of which 5,000 Services take ten
STOP_SECONDS_MAX: Final = 5.0
PORT_MIN: Final = 10_000
POLL_SECONDS: Final = 0.0005  # the resolution of the time to ready
# bench/c/framing.h: a head alone, which asks for 16 bytes. What must come first of the answer's
# bytes; filler is not looked at.
PROBES: Final = {
    TCP.name: (struct.pack("=IIQ", 16, 16, 0), 16, b""),
    HTTP.name: (item_request(16), 12, b"HTTP/1.1 200"),
    MTLS.name: (item_request(16), 12, b"HTTP/1.1 200"),
}
READY: Final = '"event":"ready"'  # of remora's log


class RunError(Exception):
    """A process did not do its part; the text holds the last lines that it wrote."""


@dataclass(frozen=True)
class Cores:
    """Generator and upstream share one core, the proxy has the other one for itself."""

    load: int
    proxy: int

    @classmethod
    def allowed(cls) -> "Cores":
        """First and last of the cores that we may use; the same one twice if there is but one."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[-1])


@dataclass(frozen=True)
class Running:
    """A peer that answers. Times are milliseconds after exec; nothing runs for peer `none`."""

    port: int
    admin_port: int = 0
    pids: tuple[int, ...] = ()  # leaders of sessions: one, or that of each side
    answer_ms: float | None = None
    ready_ms: float | None = None  # first 200 of its readiness endpoint, if it has one
    service_ports: tuple[int, ...] = ()  # where it listens for services, if it can
    manifests: Path | None = None  # what it reads its Services from


@dataclass(frozen=True)
class Place:
    """Where a peer is started, and for what."""

    upstream_port: int
    connections: int  # it must be able to hold these
    core: int
    family: Family = TCP
    services: int = 0  # how many named destinations it has besides, if it can name any
    manifests: int = 0  # how many Services it is to read, if it can
    reloads: bool = False  # see Job, as for the rest
    drains: bool = False
    side: str = ""
    identities: Path = Path()


def free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that nobody listens on, no two of them the same.

    They are below those that the system gives to connections, or one of ours might be given away
    before its listener is opened.
    """
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    asked = range(PORT_MIN, given)
    found: list[int] = []
    for port in secrets.SystemRandom().sample(asked, len(asked)):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    if len(found) < count:
        raise RunError(f"no {count} ports are free from {PORT_MIN} to {given - 1}")
    return found


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Give our core to processes started inside: no taskset stands before their exec."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def opened(pipe: IO[str] | None) -> IO[str]:
    """Return a pipe that Popen was asked for."""
    if pipe is None:
        raise RunError("a process was started without the pipe that it is read through")
    return pipe


def stop(process: subprocess.Popen[str]) -> None:
    """End the whole session of a process: politely, then for good."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while session(process.pid):  # killed, but not gone at once; init buries what was forked
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def announced(words: Sequence[str], word: str, first: str = "") -> Iterator[int]:
    """Run a process, from a line of it that has a word in it to the block's end; yield its id.

    `first` is what it is told on stdin. RunError with its own words if it ends before.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    with process:
        try:
            opened(process.stdin).write(first)
            opened(process.stdin).flush()
            said = []
            for line in opened(process.stdout):
                said.append(line)
                if word in line:
                    break
            else:
                raise RunError(f"{' '.join(words)} ended:\n{''.join(said)[-2000:]}")
            yield process.pid
        finally:
            stop(process)


@contextlib.contextmanager
def upstream(core: int, family: Family = TCP) -> Iterator[tuple[int, int]]:
    """(port, process id) of the upstream; it also ends by itself when our end of its stdin goes."""
    with pinned(core):
        process = subprocess.Popen(
            [str(program("upstream")), *(["--http"] if family != TCP else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield int(opened(process.stdout).readline()), process.pid
        finally:
            stop(process)


@contextlib.contextmanager
def deployed(peer: Peer, workload: Workload, place: Place) -> Iterator[Running]:
    """Run all processes of the peer that stand between the generator and the upstream."""
    if not workload.mtls or peer.command is None:
        with running(peer, place) as proxy:
            yield proxy
        return
    with running(peer, replace(place, side=SERVER)) as server:
        if workload.mtls != PAIR:
            yield server
            return
        beside = replace(place, side=CLIENT, upstream_port=server.port)
        with running(peer, beside) as client:
            yield replace(client, pids=client.pids + server.pids)


@contextlib.contextmanager
def running(peer: Peer, place: Place) -> Iterator[Running]:
    """Run the peer in front of an upstream, from its first answer to the block's end."""
    if peer.command is None:
        yield Running(place.upstream_port)
        return
    with (
        tempfile.TemporaryDirectory(prefix="remora-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)
        directory.chmod(0o755)
        port, admin_port, *service_ports = free_ports(2 + place.services)
        folder = None
        if place.manifests and peer.reads_manifests:
            folder = directory / "manifests"
            manifests.write(folder, place.manifests, place.upstream_port)
        job = Job(
            *(port, place.upstream_port, admin_port, place.connections, directory),
            family=place.family.name,
            service_ports=tuple(service_ports),
            reloads=place.reloads,
            drains=place.drains,
            side=place.side,
            identities=place.identities,
            manifests=folder,
        )
        command = peer.command(peer.binary(), job)
        log = stack.enter_context((directory / "log").open("w+"))
        with pinned(place.core):
            began = time.monotonic()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        stack.callback(stop, process)
        try:
            yield _await_ready(peer, job, process, began)
        except RunError as error:
            tail = (directory / "log").read_text()[-2000:]
            raise RunError(f"{peer.name}: {error}\n{' '.join(command)}\n{tail}") from error


def _await_ready(peer: Peer, job: Job, process: subprocess.Popen[str], began: float) -> Running:
    """Asks in turn for an answer through the proxy and for its readiness until both came."""
    answer_ms = ready_ms = None
    ours = job.identities / CLIENT
    tls = context(ours, ours) if job.side == SERVER else None
    probe, wanted, first = PROBES[job.family]
    while answer_ms is None or (peer.ready_path and ready_ms is None):
        if process.poll() is not None:
            raise RunError(f"exited with status {process.returncode} before it answered")
        if time.monotonic() - began > START_SECONDS_MAX:
            raise RunError(f"gave no answer within {START_SECONDS_MAX:.0f} s")
        answer = answers(job.port, probe, wanted, tls) if answer_ms is None else b""
        if answer and answer.startswith(first):
            answer_ms = (time.monotonic() - began) * 1000
        if peer.ready_path and ready_ms is None:
            request = f"GET {peer.ready_path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
            if answers(job.admin_port, request.encode(), 12).endswith(b" 200"):
                ready_ms = (time.monotonic() - began) * 1000
        time.sleep(POLL_SECONDS)
    ports = job.service_ports if peer.names_services else ()
    pids = (process.pid,)
    return Running(
        job.port, job.admin_port, pids, answer_ms, ready_ms, ports, manifests=job.manifests
    )


def answers(port: int, request: bytes, wanted: int, tls: ssl.SSLContext | None = None) -> bytes:
    """Ask, and return the first `wanted` bytes of the answer; b"" when there is none yet."""
    answer = b""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1) as plain,
            tls.wrap_socket(plain) if tls else contextlib.nullcontext(plain) as connection,
        ):
            connection.sendall(request)
            while len(answer) < wanted and (piece := connection.recv(wanted - len(answer))):
                answer += piece
    except OSError:
        return b""
    return answer if len(answer) == wanted else b""
