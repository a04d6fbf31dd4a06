"""The operator's Unix socket: where it is, how it is taken over from a dead proxy, how it goes.

Used by the proxy, which makes it, and by `remora ctl`, which looks for it.
"""

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from proxy.errors import StartError

_BACKLOG: Final = 64
_OWNER_ONLY: Final = 0o600
_DIRECTORY_MODE: Final = 0o700


def candidates(environ: Mapping[str, str]) -> list[str]:
    """Return the places of a socket that nobody named, best first."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return [
        "/run/remora/control.sock",
        *([f"{runtime}/remora/control.sock"] if runtime.startswith("/") else []),
        f"/tmp/remora-{os.getuid()}/control.sock",  # noqa: S108 - the directory is checked to be ours
    ]


class UnixListener:
    """A bound, listening Unix socket and its file."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        self.sock = sock
        self.path = path
        self._inode = os.lstat(path).st_ino

    def remove(self) -> None:
        """Close the socket and remove its file, unless another proxy has put its own there."""
        self.sock.close()
        try:
            if os.lstat(self.path).st_ino == self._inode:
                Path(self.path).unlink()
        except FileNotFoundError:
            return


def open_first(environ: Mapping[str, str]) -> UnixListener:
    """Listen at the first candidate whose directory can be had. Raises StartError."""
    why = []
    for path in candidates(environ):
        try:
            _make_directory(Path(path).parent)
        except OSError as fault:
            why.append(f"{fault.filename}: {fault.strerror}")
        else:
            return open_at(path)
    raise StartError(
        f"no place for the operator's socket: {'; '.join(why)}",
        "name a writable one with --control, or say --control off",
    )


def open_at(path: str) -> UnixListener:
    """Listen at `path`, mode 0600, in place of what a dead proxy left there. Raises StartError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        # The mode must hold from the first moment, so it comes from the umask and not from chmod.
        umask = os.umask(0o777 & ~_OWNER_ONLY)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
        sock.listen(_BACKLOG)
        return UnixListener(sock, path)
    except StartError:
        sock.close()
        raise
    except OSError as fault:
        sock.close()
        raise StartError(
            f"cannot listen on {path}: {os.strerror(fault.errno or 0)}",
            "name a writable place with --control, or say --control off",
        ) from fault


def _remove_stale(path: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise StartError(
            f"{path} exists and is no socket", "remove it, or name another place with --control"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody lives
    raise StartError(f"a running proxy has {path}", "stop it, or name another place with --control")


def _make_directory(path: Path) -> None:
    """Make sure that a directory exists, is ours and is writable. Raises OSError."""
    path.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
    status = path.lstat()
    # In a shared directory such as /tmp somebody else could have put it there, or a link to it.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "not a directory of ours", str(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
