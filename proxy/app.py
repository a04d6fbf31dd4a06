"""One proxy process from its first socket to its last: the order of starting, and of stopping.

Everything that opens something pushes its closing onto one stack, so stopping is starting in
reverse, and a start that fails half-way closes exactly what it had opened. Read `_start` for the
order; what waits for what stands next to it.
"""

import asyncio
import gc
import os
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import uvloop

from proxy import __version__, config
from proxy.config import Config
from proxy.doors import Doors
from proxy.drain import Drain
from proxy.engine import Engine, load_openssl
from proxy.errors import EXIT_FORCED, EXIT_OK, EXIT_SOFTWARE, StartError
from proxy.events import Events
from proxy.faults import Faults
from proxy.listeners import Listener, close_all, open_listeners
from proxy.logs import Log
from proxy.mesh_options import AUTO
from proxy.pod import pod_facts
from proxy.process import (
    connections_for,
    hold_standard_descriptors,
    ms_since_exec,
    raise_fd_limit,
)
from proxy.publisher import Publisher
from proxy.readiness import Readiness
from proxy.state import Places, Running

if TYPE_CHECKING:
    from proxy.identity.keeper import Keeper
    from proxy.policy.watch import PolicyWatch

# Workers take their first snapshot and their listeners within a tick of starting.
_WORKERS_S_MAX: Final = 10.0
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_WORKERS: Final = "workers"
_SERVERS: Final = "servers"


def run(settings: Config) -> int:
    """Run a proxy until it is told to end; return the exit code."""
    hold_standard_descriptors()
    log = Log(settings.log_level, settings.log_format)
    log.info(
        "starting",
        version=__version__,
        pid=os.getpid(),
        **{name: text for name, text in pod_facts(os.environ).items() if text},
        config=settings.as_text(),
        set_by=dict(settings.set_by),
    )
    for name in config.unknown_variables(os.environ):
        log.warning(
            "unknown_variable",
            name=name,
            hint="no flag of `remora proxy` has this variable: a typing error?",
        )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(settings, log))
    except Exception as fault:  # noqa: BLE001 - whatever it is, the log's reader must see it
        return _failed(fault, log)


def _failed(fault: Exception, log: Log) -> int:
    if not isinstance(fault, StartError):
        Faults(log).from_handler(fault)
        return EXIT_SOFTWARE
    code = fault.exit_code
    log.error("start_failed", error=str(fault), hint=fault.hint, exit_code=code)
    return code


async def _main(settings: Config, log: Log) -> int:
    signals = _Signals(log)
    asyncio.get_running_loop().set_exception_handler(Faults(log).from_loop)
    with ExitStack() as stack:
        running = await _start(settings, log, stack)
        code = await _serve(running, signals)
    # The end is decided. Closing the loop gives both signals their default action back, and a late
    # one would turn a clean exit into a death by signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    live = running.engine.stats().live()
    log.info("stopped", exit_code=code, live=live)
    return code


async def _start(settings: Config, log: Log, stack: ExitStack) -> Running:
    """Start everything, in this order, which is also the order of who needs whom."""
    started = time.monotonic()
    fds = raise_fd_limit()
    connections_max = settings.connections_max or connections_for(fds)
    _warn_of_limit(settings, fds, log)

    keeper = _keeper(settings, log)
    policy = _policy(settings, log, keeper)

    # Every port before anything else: a conflict must leave no trace.
    places, doors = Places(), Doors(settings)
    listeners = open_listeners(settings, log)
    stack.callback(close_all, listeners)
    stack.callback(doors.close)
    doors.open(places)

    events = Events(settings.access_log, settings.recent)
    stack.callback(events.close)
    engine = _engine(settings, connections_max, events)
    stack.callback(engine.stop)
    Publisher(settings, listeners, engine, keeper, policy).follow(log)
    engine.listen(listeners)
    engine.start()
    if keeper is not None:
        stack.callback(keeper.stop)
        keeper.start()
    if policy is not None:
        stack.callback(policy.close)
        policy.watch()
    readiness = Readiness(log, (_WORKERS, _SERVERS))
    drain = Drain(settings, engine, readiness, log)
    stack.callback(drain.cancel)
    running = Running(
        *(settings, log, listeners, engine, events, readiness, drain, connections_max, started),
        places,
        keeper,
        policy,
    )

    # The kubelet may ask at once, and hears what is not done yet.
    await doors.serve(running, stack)
    readiness.done(_SERVERS)
    if not await engine.until(lambda: _has_taken_over(engine, listeners), _WORKERS_S_MAX):
        raise StartError(
            "the workers did not start", "this is a fault of remora: report it", EXIT_SOFTWARE
        )
    readiness.done(_WORKERS)

    # What lives now lives to the end: the collector need not look at it again, neither now (a start
    # makes hardly any garbage, and the look took 7 to 30 ms) nor later.
    gc.freeze()
    gc.enable()
    log.info(
        "ready",
        ms=ms_since_exec(),
        listeners=[listener.describe() for listener in listeners],
        **places.describe(),
        connections_max=connections_max,
    )
    return running


async def _serve(running: Running, signals: "_Signals") -> int:
    """Wait for the first signal, drain, and return; a second signal returns at once."""
    why = await signals.first
    drained = running.drain.end(why)
    await asyncio.wait((drained, signals.second), return_when=asyncio.FIRST_COMPLETED)
    if drained.done():
        drained.result()  # a fault of ours in there must not pass as a clean exit
        return EXIT_OK
    running.log.warning("forced", why=signals.second.result())
    return EXIT_FORCED


def _keeper(settings: Config, log: Log) -> "Keeper | None":
    if settings.mesh.identity is None:
        return None
    callbacks = load_openssl(own_records=settings.mesh.records == AUTO)
    from proxy.identity.keeper import Keeper  # noqa: PLC0415 - OpenSSL, only where it is wanted

    keeper = Keeper(settings.mesh.identity, callbacks, log)
    log.info(
        "identity",
        identity=str(keeper.material.identity),
        not_after=keeper.material.not_after.isoformat(),
        mode=settings.mesh.mode,
        records=callbacks.libcrypto or "as the handshake",
    )
    return keeper


def _policy(settings: Config, log: Log, keeper: "Keeper | None") -> "PolicyWatch | None":
    """Read the manifests before anything opens: without a good state there is none to keep."""
    if settings.policy.manifests is None:
        return None
    from proxy.policy.effective import DEFAULT_TRUST_DOMAIN  # noqa: PLC0415
    from proxy.policy.watch import PolicyWatch  # noqa: PLC0415 - PyYAML: only who has manifests

    domain = keeper.material.identity.trust_domain if keeper else DEFAULT_TRUST_DOMAIN
    watch = PolicyWatch(settings.policy, log, domain, settings.mesh, settings.services)
    watch.start()
    return watch


def _engine(settings: Config, connections_max: int, events: Events) -> Engine:
    try:
        engine = Engine(settings.workers, connections_max)
    except (OSError, MemoryError) as fault:
        raise StartError(f"cannot set up the workers: {fault}") from fault
    engine.on_records = events.on_connections
    engine.on_requests = events.on_requests
    if events.is_wanted:
        engine.record_connections(enabled=True)
    return engine


def _has_taken_over(engine: Engine, listeners: list[Listener]) -> bool:
    return all(
        state.snapshot_version == engine.version and state.listeners == len(listeners)
        for state in engine.states()
    )


def _warn_of_limit(settings: Config, fds: int, log: Log) -> None:
    asked = settings.connections_max
    if asked is not None and 2 * asked > fds:
        log.warning(
            "connections_max_too_high",
            connections_max=asked,
            open_files_max=fds,
            hint="each connection takes two files: raise `ulimit -n`, or lower --connections-max",
        )


class _Signals:
    """SIGTERM and SIGINT as two futures: the first one, and the second."""

    def __init__(self, log: Log) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[str] = loop.create_future()
        self.second: asyncio.Future[str] = loop.create_future()
        self._log = log
        for number in _ENDING:
            loop.add_signal_handler(number, self._on_signal, number.name)

    def _on_signal(self, name: str) -> None:
        self._log.info("signal", name=name)
        for future in (self.first, self.second):
            if not future.done():
                future.set_result(name)
                return
