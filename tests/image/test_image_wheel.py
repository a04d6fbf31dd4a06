"""The wheel by itself: a bare virtual environment, an empty folder, and nothing of the tree."""

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import build
from tests.support import sockets
from tests.support.echo import Echo
from tests.support.rig import Rig
from tests.support.sockets import Address, address_of, parsed, written
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.image, pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def remora(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed with what the image has it with and from no registry."""
    if f"cp{sys.version_info[0]}{sys.version_info[1]}" not in wheel.name:
        pytest.skip(f"{wheel.name} is not for the Python of these tests")
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    dependencies = build.make_wheels() / "run-wheels"
    words = ["install", "-q", "--no-index", "--find-links", str(dependencies), str(wheel)]
    subprocess.run([str(folder / "bin/python"), "-m", "pip", *words], check=True)
    return folder / "bin/remora"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder to be in, so that nothing is imported from where the tests are."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def served(remora: Path, empty: Path, rig: Rig) -> Iterator[Address]:
    """The address of a proxy in front of an upstream."""
    target = written(address_of(Echo(rig).listener))
    log = empty / "log"
    words = ["proxy", "--no-interception", "--listen", f"127.0.0.1:0={target}", "--admin", "off"]
    with log.open("w") as output:
        places = ["--control", str(empty / "control.sock"), "--control-listen", "off"]
        started = [str(remora), *words, *places]
        process = subprocess.Popen(started, cwd=empty, env={}, stderr=output)
    with process:
        found = eventually("the proxy to be ready", lambda: _listener(log))
        assert found
        yield found
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def _listener(log: Path) -> Address | None:
    rows = (json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))
    found = [row["listeners"][0]["address"] for row in rows if row["event"] == "ready"]
    return parsed(found[0]) if found else None


def test_it_says_its_version(remora: Path, empty: Path) -> None:
    words = [str(remora), "version"]
    said = subprocess.run(words, cwd=empty, env={}, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("remora 0.1.0 (extension release")


def test_its_proxy_relays(served: Address) -> None:
    with sockets.connected(served) as downstream:
        downstream.sendall(b"\0hello")
        assert sockets.receive_exactly(downstream, 6) == b"\0hello"
