"""A peer that changes keys all the time and reads none of the answers: memory stays bounded."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.memory import allowance
from tests.support.mtls import FarProxy, MeshKit
from tests.support.rig import Rig
from tests.support.svids import SHOP
from tests.support.system_tls import Client
from tests.support.transfers import MIB

FLOOD = 30_000
UPDATES_MAX = 1_000_000  # far more than what both kernels hold of their answers


def flooded(far: FarProxy, updates_max: int) -> int:
    """Change keys as often as the proxy bears it, reading nothing; return how often."""
    sock = far.dial()
    sock.settimeout(None)
    client = Client(sock.fileno(), far.kit.directory(SHOP))
    up = far.accept()
    heard = threading.Thread(target=_drain, args=[up])
    heard.start()
    count = 0
    while count < updates_max and client.change():
        count += 1
    client.free()
    sock.close()
    heard.join()
    return count


def test_a_peer_that_changes_keys_and_reads_nothing_is_answered_once_for_many(
    rig: Rig, tmp_path: Path
) -> None:
    far = FarProxy(MeshKit(rig, tmp_path))
    before = far.proxy.private_bytes()
    assert flooded(far, FLOOD) == FLOOD
    assert far.proxy.private_bytes() - before < allowance(2 * MIB)
    far.check_serves()


@pytest.mark.slow
def test_one_that_openssl_answers_each_time_is_cut_off(rig: Rig, tmp_path: Path) -> None:
    far = FarProxy(MeshKit(rig, tmp_path), "--tls-records", "openssl")
    before = far.proxy.private_bytes()
    assert 1_000 < flooded(far, UPDATES_MAX) < UPDATES_MAX
    assert far.proxy.private_bytes() - before < allowance(4 * MIB)
    far.proxy.wait_closed("tls_broken")
    far.check_serves()


def _drain(sock: Any) -> None:  # noqa: ANN401 - a socket
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
