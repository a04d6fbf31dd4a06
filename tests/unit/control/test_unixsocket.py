"""The operator's Unix socket: whose it is, and what becomes of what a dead proxy left there."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from proxy import unixsocket
from proxy.errors import StartError
from proxy.unixsocket import UnixListener, open_at, open_first


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one: socket paths end at 107 bytes."""
    with TemporaryDirectory(prefix="remora-") as made:
        yield Path(made)


@pytest.fixture
def listener(directory: Path) -> Iterator[UnixListener]:
    made = open_at(str(directory / "s"))
    yield made
    made.remove()


def test_only_its_owner_may_open_the_socket(listener: UnixListener) -> None:
    assert stat.S_IMODE(os.lstat(listener.path).st_mode) == 0o600


def test_its_file_goes_with_the_proxy(listener: UnixListener) -> None:
    listener.remove()
    assert not Path(listener.path).exists()


def test_removing_it_twice_does_no_harm(listener: UnixListener) -> None:
    listener.remove()
    listener.remove()


def test_a_living_proxy_keeps_its_socket(listener: UnixListener) -> None:
    with pytest.raises(StartError, match="a running proxy has"):
        open_at(listener.path)
    assert Path(listener.path).exists()


def test_the_socket_of_a_dead_proxy_is_taken_over(directory: Path) -> None:
    path = str(directory / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    taken = open_at(path)
    with socket.socket(socket.AF_UNIX) as operator:
        operator.connect(path)
    taken.remove()


def test_a_file_that_is_no_socket_is_left_alone(directory: Path) -> None:
    precious = directory / "s"
    precious.write_text("precious")
    with pytest.raises(StartError, match="is no socket"):
        open_at(str(precious))
    assert precious.read_text() == "precious"


def test_a_socket_that_a_successor_put_there_is_left_alone(listener: UnixListener) -> None:
    Path(listener.path).unlink()
    successor = open_at(listener.path)
    listener.remove()
    assert Path(listener.path).exists()
    successor.remove()


def test_a_directory_that_is_missing_is_named(directory: Path) -> None:
    with pytest.raises(StartError, match="No such file") as caught:
        open_at(str(directory / "missing" / "s"))
    assert "--control" in caught.value.hint


def test_the_first_place_that_can_be_had_is_taken(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "file").touch()
    places = [str(directory / "file" / "s"), str(directory / "new" / "s")]
    monkeypatch.setattr(unixsocket, "candidates", lambda _: places)
    found = open_first({})
    assert found.path == places[1]
    assert stat.S_IMODE(os.lstat(directory / "new").st_mode) == 0o700
    found.remove()


def test_a_link_in_a_shared_directory_is_not_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "elsewhere").mkdir()
    (directory / "link").symlink_to(directory / "elsewhere")
    monkeypatch.setattr(unixsocket, "candidates", lambda _: [str(directory / "link" / "s")])
    with pytest.raises(StartError, match="not a directory of ours"):
        open_first({})


def test_a_runtime_directory_comes_before_the_shared_one() -> None:
    places = unixsocket.candidates({"XDG_RUNTIME_DIR": "/run/user/1"})
    assert places == [
        "/run/remora/control.sock",
        "/run/user/1/remora/control.sock",
        f"/tmp/remora-{os.getuid()}/control.sock",  # noqa: S108 - the place is what is tested
    ]


def test_a_relative_runtime_directory_is_ignored() -> None:
    assert len(unixsocket.candidates({"XDG_RUNTIME_DIR": "here"})) == 2
