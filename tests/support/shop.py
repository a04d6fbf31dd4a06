"""Services by name: one proxy, several upstreams, and what is told of them."""

from tests.support import control
from tests.support.control import Metrics
from tests.support.http import Stream, request, response
from tests.support.rig import Rig
from tests.support.sockets import accepted, address_of, written
from tests.support.waiting import eventually


class Shop:
    """One proxy in front of the services shop/web and cart, of mail, and of one without a name.

    Nobody listens at mail.
    """

    def __init__(self, rig: Rig, *flags: str) -> None:
        self.rig = rig
        self.upstreams = {name: rig.listen() for name in ("shop/web", "cart", "unknown")}
        sockets = {**self.upstreams, "mail": rig.bind()}
        targets = {name: written(address_of(sock)) for name, sock in sockets.items()}
        self.proxy = rig.start(
            "--no-interception",
            *(f"--listen=127.0.0.1:0={target}" for target in targets.values()),
            *(f"--service={name}={targets[name]}" for name in ("shop/web", "cart", "mail")),
            *flags,
        )
        self.doors = dict(zip(targets, self.proxy.listeners("explicit"), strict=True))

    def ask(self, name: str, status: str = "200 OK") -> None:
        down = Stream(self.rig.connect(self.doors[name]))
        down.send(request("/", "Connection: close"))
        up = Stream(self.rig.keep(accepted(self.upstreams[name])))
        assert up.request().line == b"GET / HTTP/1.1"
        up.send(response(b"hello", "Connection: close", status=status))
        assert down.response().body == b"hello"
        down.expect_end()

    def ask_in_vain(self) -> None:
        down = Stream(self.rig.connect(self.doors["mail"]))
        down.send(request("/", "Connection: close"))
        assert down.response().status == 503
        down.expect_end()

    def told(self, what: str, services: list[str]) -> bool:
        """Whether `ctl` shows what has ended (requests, connections), of exactly these services."""
        rows = control.ask(self.proxy.control_path, f"/{what}?closed=1")[what]
        return sorted(row["service"] for row in rows) == services

    def ended(self, count: int) -> Metrics:
        found: list[Metrics] = []

        def enough() -> bool:
            found[:] = [self.proxy.metrics()]
            return found[0]("response_total") == count

        eventually(f"{count} requests to end", enough)
        return found[0]
