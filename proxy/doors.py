"""The control side's own sockets: the admin port, and the operator's two."""

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from proxy import config as flags
from proxy import unixsocket
from proxy.admin import Admin
from proxy.config import Config
from proxy.control import Control
from proxy.faults import Faults
from proxy.httpserver import Handler, HttpServer
from proxy.listeners import bound_address, open_tcp
from proxy.state import Places, Running

if TYPE_CHECKING:
    import socket


class Doors:
    """The sockets of the control side: opened first, served later, closed last."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self._admin: socket.socket | None = None
        self._control_tcp: socket.socket | None = None
        self._control: unixsocket.UnixListener | None = None

    def open(self, places: Places) -> None:
        """Bind and listen. Raises StartError; what was opened is left for `close`."""
        settings = self._settings
        if settings.admin:
            self._admin = open_tcp(settings.admin, flags.ADMIN.flag)
            places.admin = bound_address(self._admin)
        if settings.control_listen:
            self._control_tcp = open_tcp(settings.control_listen, flags.CONTROL_LISTEN.flag)
            places.control_listen = bound_address(self._control_tcp)
        if settings.control == flags.AUTO:
            self._control = unixsocket.open_first(os.environ)
        elif settings.control:
            self._control = unixsocket.open_at(settings.control)
        places.control = self._control.path if self._control else None

    async def serve(self, running: Running, stack: ExitStack) -> None:
        """Answer on every open door, until the stack unwinds."""
        loop = asyncio.get_running_loop()
        faults = Faults(running.log)

        def server_for(handler: Handler) -> Callable[[], asyncio.Protocol]:
            server = HttpServer(handler, faults.from_handler)
            stack.callback(server.close)
            return server.factory

        admin, control = Admin(running), Control(running)
        if self._admin:
            made = await loop.create_server(server_for(admin.handler), sock=self._admin)
            stack.callback(made.close)
        if self._control_tcp:
            made = await loop.create_server(server_for(control.guarded), sock=self._control_tcp)
            stack.callback(made.close)
        if self._control:
            factory = server_for(control.handler)
            made = await loop.create_unix_server(factory, sock=self._control.sock)
            stack.callback(made.close)

    def close(self) -> None:
        """Close what is open and remove the socket's file. Closing twice does no harm."""
        for sock in (self._admin, self._control_tcp):
            if sock:
                sock.close()
        if self._control:
            self._control.remove()
