"""All applications of the shop in one process: `python -m bench.shop.apps`, told the rest by JSON.

It reads one line: {"ports": {replica: port}, "doors": {replica: [host, port]}}. A replica that has
a door calls others through it, by the name of the Service, as an application beside a sidecar
does. Without one it picks their replicas in turn, as a client that knows of nothing better.
"""

import asyncio
import json
import random
import sys
from itertools import cycle
from typing import Any, Final

import aiohttp
from aiohttp import web

from bench.shop.places import CART, CATALOG, FLAKY_SHARE, FRONT, SLOW_S, STOCK, Replica, replicas

SEED: Final = 7
CALL_S_MAX: Final = 5.0  # what an application waits for another one
ITEMS: Final = 50


class App:
    """One replica."""

    def __init__(
        self, replica: Replica, wiring: dict[str, Any], session: aiohttp.ClientSession
    ) -> None:
        self._replica = replica
        self._session = session
        self._door = wiring["doors"].get(replica.name)
        self._turns = {
            service: cycle(_bases(service, wiring)) for service in (CATALOG, CART, STOCK)
        }
        self._dice = random.Random(f"{SEED} {replica.name}")  # noqa: S311 - as planned as bad luck can be

    def application(self) -> web.Application:
        """Return what serves its requests."""
        answer = {FRONT: self._front, CATALOG: self._catalog, CART: self._cart, STOCK: self._stock}
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", answer[self._replica.service])
        return made

    async def _front(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            return await self._call("POST", CART, "/items", await request.read())
        return await self._call("GET", CATALOG, request.path)

    async def _catalog(self, request: web.Request) -> web.Response:
        if self._replica.is_flaky and self._dice.random() < FLAKY_SHARE:
            return web.Response(status=503, text="the catalog is not well")
        if request.path == "/":
            return web.json_response([{"id": n, "name": f"item {n}"} for n in range(ITEMS)])
        return await self._call("GET", STOCK, request.path)

    async def _cart(self, request: web.Request) -> web.Response:
        await request.read()
        return await self._call("GET", STOCK, "/item/1")

    async def _stock(self, request: web.Request) -> web.Response:
        if self._replica.is_slow:
            await asyncio.sleep(SLOW_S)
        return web.json_response({"path": request.path, "left": 3})

    async def _call(
        self, method: str, service: str, path: str, body: bytes | None = None
    ) -> web.Response:
        headers = {}
        base = next(self._turns[service])
        if self._door:
            host, port = self._door
            base, headers = f"http://{host}:{port}", {"Host": f"{service}.shop"}
        try:
            async with self._session.request(
                method, base + path, data=body, headers=headers
            ) as answer:
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    content_type=answer.content_type,
                )
        except (aiohttp.ClientError, TimeoutError) as fault:
            return web.Response(status=502, text=f"{service}: {fault!r}")


def _bases(service: str, wiring: dict[str, Any]) -> list[str]:
    found = (each for each in replicas() if each.service == service)
    return [f"http://{each.host}:{wiring['ports'][each.name]}" for each in found]


async def main() -> None:
    """Serve until stdin ends."""
    wiring = json.loads(sys.stdin.readline())
    timeout = aiohttp.ClientTimeout(total=CALL_S_MAX)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        runners = []
        for replica in replicas():
            app = App(replica, wiring, session).application()
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, replica.host, wiring["ports"][replica.name]).start()
            runners.append(runner)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        for runner in runners:
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
