"""Services, routes and endpoints change without end under load, and no answer is a wrong one."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final, Self

import pytest

from proxy.config import read_config
from proxy.engine import Engine
from proxy.listeners import close_all, open_listeners
from proxy.logs import Log
from proxy.policy.watch import PolicyWatch
from proxy.publisher import Publisher
from tests.support.http import Stream, request
from tests.support.memory import allowance, private_bytes
from tests.support.origins import Origins
from tests.support.policy import Manifests
from tests.support.process import Proxy
from tests.support.rig import Rig
from tests.support.shuffle import BEHIND, PATHS, Judge, Shuffle
from tests.support.sockets import Address, address_of
from tests.support.transfers import MIB
from tests.support.waiting import PATIENCE_S, eventually

DOOR_IP: Final = "127.1.0.1"
PERIOD_S: Final = 0.01
LOADS: Final = 4
# A connection of a client lives for so many requests.
KEPT_REQUESTS: Final = 50
FLAGS: Final = ("--no-interception", f"--listen=127.0.0.1:0={DOOR_IP}:80", "--namespace", "shop")


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins() as made:
        yield made


@pytest.fixture
def shuffle(rig: Rig, origins: Origins, tmp_path: Path) -> Shuffle:
    places: dict[str, list[Address]] = {}
    for name in BEHIND:
        for number in range(3):
            listener = rig.listen()
            origins.serve(f"{name}{number}", listener)
            places.setdefault(name, []).append(address_of(listener))
    made = Shuffle(Manifests(tmp_path), places, DOOR_IP, seed=5)
    made.write(good=True)
    return made


class Load:
    """Clients that ask without a pause until they are told to end."""

    def __init__(self, rig: Rig, judge: Judge, door: Address) -> None:
        self._rig = rig
        self._judge = judge
        self._door = door
        self._is_over = threading.Event()
        self._futures = [rig.background(self._ask, number) for number in range(LOADS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def end(self) -> None:
        """Raises what went wrong."""
        self._is_over.set()
        for future in self._futures:
            future.result(PATIENCE_S)

    def is_well(self) -> bool:
        return not any(future.done() for future in self._futures)

    def _ask(self, client: int) -> None:
        for number in count():
            if number % KEPT_REQUESTS == 0:
                stream = Stream(self._rig.connect(self._door))
            path = PATHS[(number * 7 + client) % len(PATHS)]
            oldest = self._judge.newest
            last = self._is_over.is_set()
            close = ["Connection: close"] if last or (number + 1) % KEPT_REQUESTS == 0 else []
            stream.send(request(f"{path}/{number}", f"x-user: {number}", *close))
            self._judge.check(path, oldest, stream.response())
            if close:
                stream.sock.close()
            if last:
                return


def settle(shuffle: Shuffle, judge: Judge) -> None:
    """Write one that is good, and see it decide."""
    shuffle.write(good=True)
    eventually("the last configuration", lambda: judge.newest == shuffle.good)


# ---- a process, and files ------------------------------------------------------------------------


def write_often(shuffle: Shuffle, load: Load, seconds: float) -> None:
    """Write files 100 times a second."""
    pause = threading.Event()
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds and load.is_well():
        shuffle.write()
        pause.wait(max(begun + passed + PERIOD_S - time.monotonic(), 0))


def check_files(rig: Rig, shuffle: Shuffle, seconds: float) -> None:
    where = f"--manifests={shuffle.directory}"
    proxy = rig.start(*FLAGS, "--workers", "1", where)
    judge = Judge(shuffle)
    with Load(rig, judge, proxy.listeners("explicit")[0]) as load:
        write_often(shuffle, load, seconds / 2)
        settle(shuffle, judge)
        middle = proxy.private_bytes()
        write_often(shuffle, load, seconds / 2)
        settle(shuffle, judge)
        grown = proxy.private_bytes() - middle
        load.end()
    assert judge.missed > 0
    assert grown < allowance(4 * MIB), f"{grown / MIB:.1f} MiB"
    check_process(proxy, judge, seconds)


def check_process(proxy: Proxy, judge: Judge, seconds: float) -> None:
    loads = {
        result: proxy.metrics()("remora_manifests_loads_total", result=result)
        for result in ("good", "bad")
    }
    assert loads["good"] >= seconds / 4, loads
    total = judge.answered + judge.missed
    eventually("the last request", lambda: proxy.metrics()("response_total") == total)
    assert proxy.metrics()("response_total", status_code="404") == judge.missed
    assert proxy.closed_by_reason().keys() <= {"ok"}


@pytest.mark.slow
def test_files_change_without_a_pause_and_every_answer_is_one_that_they_allow(
    rig: Rig, shuffle: Shuffle
) -> None:
    check_files(rig, shuffle, 5.0)


@pytest.mark.soak
def test_files_change_without_a_pause_for_a_minute(rig: Rig, shuffle: Shuffle) -> None:
    check_files(rig, shuffle, 60.0)


# ---- a snapshot every 10 ms ----------------------------------------------------------------------


async def reload_often(
    shuffle: Shuffle, watch: PolicyWatch, is_on: Callable[[], bool], seconds: float
) -> None:
    """Write, read, model and publish 100 times a second, as a change of the directory would."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds and is_on():
        due_s = time.monotonic() + PERIOD_S
        shuffle.write()
        watch.reload()
        await asyncio.sleep(max(due_s - time.monotonic(), 0))


async def publish_often(rig: Rig, shuffle: Shuffle, seconds: float) -> Judge:
    config = read_config([*FLAGS, "--workers", "1", f"--manifests={shuffle.directory}"], {})
    judge = Judge(shuffle)
    with ExitStack() as stack:
        null = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, null)
        log = Log("error", "json", fd=null)
        watch = PolicyWatch(config.policy, log)
        watch.start()
        listeners = open_listeners(config, log)
        stack.callback(close_all, listeners)
        door = listeners[0].address
        engine = Engine(1, 1_000)
        stack.callback(engine.stop)
        Publisher(config, listeners, engine, None, watch).follow(log)
        engine.listen(listeners)
        engine.start()
        with Load(rig, judge, (door.host, door.port)) as load:
            await reload_often(shuffle, watch, load.is_well, seconds / 2)
            middle = private_bytes(os.getpid())
            await reload_often(shuffle, watch, load.is_well, seconds / 2)
            grown = private_bytes(os.getpid()) - middle
            shuffle.write(good=True)
            watch.reload()
            settled = lambda: judge.newest == shuffle.good  # noqa: E731
            await asyncio.to_thread(eventually, "the last configuration", settled)
            load.end()
        assert watch.loads["bad"] > 0
        assert watch.loads["good"] + watch.loads["bad"] == shuffle.written
        assert engine.version == watch.loads["good"]
        assert grown < allowance(4 * MIB), f"{grown / MIB:.1f} MiB"
        engine.stop()
        assert not any(engine.stats().live().values())
    return judge


def check_publishing(rig: Rig, shuffle: Shuffle, seconds: float) -> None:
    judge = asyncio.run(publish_often(rig, shuffle, seconds))
    assert judge.answered > judge.missed > 0


@pytest.mark.slow
def test_a_snapshot_every_ten_milliseconds_disturbs_nobody(rig: Rig, shuffle: Shuffle) -> None:
    check_publishing(rig, shuffle, 5.0)


@pytest.mark.soak
def test_a_snapshot_every_ten_milliseconds_for_a_minute(rig: Rig, shuffle: Shuffle) -> None:
    check_publishing(rig, shuffle, 60.0)
