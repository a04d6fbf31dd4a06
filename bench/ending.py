"""How each peer is told to end gracefully, and when it has ended."""

import http.client
import os
import select
import time
from collections.abc import Callable
from typing import Final

DRAIN_SECONDS_MAX: Final = 15.0  # for a peer that has ways to wait for its connections
POLL_SECONDS: Final = 0.02


def told(number: int) -> Callable[[int, int], None]:
    """Return what tells a process to end by that signal."""
    return lambda pid, _admin_port: os.kill(pid, number)


def drain_envoy(_pid: int, admin_port: int) -> None:
    """Tell Envoy to drain, wait until no downstream is left, then tell it to quit.

    So does Istio's agent, but for its pause of some seconds; Envoy alone would never end.
    """
    _admin(admin_port, "POST", "/drain_listeners?graceful&skip_exit")
    until = time.monotonic() + DRAIN_SECONDS_MAX / 2
    while time.monotonic() < until:
        left = _admin(admin_port, "GET", "/stats?filter=^http.proxy.downstream_cx_active$")
        if left.split() == ["http.proxy.downstream_cx_active:", "0"]:
            break
        time.sleep(POLL_SECONDS)
    _admin(admin_port, "POST", "/quitquitquit")


def _admin(port: int, method: str, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def ended(pid: int, seconds: float) -> bool:
    """Wait for the end of a process, which somebody else reaps; False if it still runs."""
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
