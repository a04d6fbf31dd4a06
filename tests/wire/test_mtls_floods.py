"""Peers in mesh TLS that ask for much and take nothing: bounded memory, bounded turns."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from proxy import _fastpath
from tests.support.key_updates import UPDATE_REQUESTED, Updater
from tests.support.mesh_stepper import MeshStepper, World
from tests.support.waiting import PATIENCE_S

SMALL: Final = 4_096
UPDATES: Final = 60_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World(_fastpath)
    yield made
    made.close()


def connected(stepper: MeshStepper, world: World, directory: Path) -> tuple[socket.socket, Updater]:
    """Shake hands over a socket that keeps next to nothing for who does not read."""
    (directory / "tls.crt").write_bytes(world.svid.chain_pem())
    (directory / "tls.key").write_bytes(world.svid.key_pem())
    sock = socket.socket()
    sock.settimeout(PATIENCE_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.connect(stepper.door)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(Updater, sock, directory, b"remora-tcp")
        stepper.tick_until("a handshake", made.done)
        stepper.tick_until("its other side", lambda: stepper.handshakes() == 1)
        return sock, made.result()


def test_answers_to_a_flood_of_key_updates_are_bounded(world: World, tmp_path: Path) -> None:
    """Whoever asks for new keys and reads no answer is cut, before its answers fill the memory."""
    stepper = MeshStepper(world, send_bytes=SMALL).begin()
    sock, updater = connected(stepper, world, tmp_path)
    for number in range(UPDATES):
        if not updater.update(UPDATE_REQUESTED):
            break
        if number % 100 == 0:
            stepper.tick()
    else:
        raise AssertionError(f"{UPDATES} updates were taken")
    stepper.tick_until("its end", stepper.is_empty)
    assert stepper.closed("tls_broken") == 1
    updater.close()
    sock.close()
    stepper.stop()
