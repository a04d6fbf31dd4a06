"""One worker without its thread that speaks mesh TLS to both sides; a test drives every tick.

Whoever comes to `door` must speak mesh TLS and gets `app`; whoever comes to `gate` speaks plaintext
and gets `peer`, an endpoint of the mesh. The identity of the test's own ends is `svid`.
"""

import socket
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from cryptography.hazmat.primitives import serialization

from proxy import _fastpath, symbols
from proxy.engine import TLS_FAILURES, TLS_MODES
from proxy.identity import contexts, material, peers
from tests.support.sockets import LOOPBACK, Address, address_of, listening
from tests.support.stepper import SETTINGS
from tests.support.svids import GOOD, WEB, Signer, Svid

EXPLICIT: Final = _fastpath.DIRECTIONS.index("explicit")
TICKS_MAX: Final = 3_000
TRUST_DOMAIN: Final = "cluster.local"


class World:
    """What lives longer than an engine: certificates, contexts, listeners of the test's own."""

    def __init__(self, module: ModuleType, *, own_records: bool = True) -> None:
        self.module = module
        missing = module.load_openssl(symbols.addresses(module.openssl_functions()))
        assert not missing, missing
        root = Signer.root("root of a test")
        self._signer = root.below("intermediate of a test")
        self.svid: Svid = self._signer.issue()
        web = self._signer.issue(GOOD.but(uris=(WEB,)))
        bundle = root.certificate.public_bytes(serialization.Encoding.PEM)
        own = material.load(web.key_pem(), web.chain_pem(), bundle)
        self.contexts = contexts.build(
            own, 1, symbols.Callbacks(*module.openssl_callbacks(own_records))
        )
        self.app, self.peer = (listening(LOOPBACK["ipv4"]) for _ in range(2))
        for listener in (self.app, self.peer):
            listener.settimeout(0)

    def snapshot(
        self, version: int, *, door: str = "strict", mesh: bool = True, **changed: int
    ) -> Any:  # noqa: ANN401 - of any build
        """`door`: the TLS mode of whoever comes to that. `mesh`: `peer` is meshed."""
        app, peer = address_of(self.app), address_of(self.peer)
        return self.module.Snapshot(
            *(version, SETTINGS | changed, [app, peer]),
            tls=self.contexts,
            mesh=[(*peer, GOOD.uris[0].encode())] if mesh else [],
            target_modes=[TLS_MODES.index(door), TLS_MODES.index("disable")],
        )

    def renew(self) -> None:
        """Give the test's own ends another certificate."""
        self.svid = self._signer.issue()

    def close(self) -> None:
        self.app.close()
        self.peer.close()


class MeshStepper:
    """An engine of a world."""

    def __init__(self, world: World, *, connections_max: int = 64, send_bytes: int = 0) -> None:
        """`send_bytes`: what the kernel keeps for a downstream that does not read; 0: much."""
        self.world = world
        self._send_bytes = send_bytes
        self.engine = world.module.Engine(1, connections_max, records=16)
        self.door: Address = LOOPBACK["ipv4"], 0
        self.gate: Address = LOOPBACK["ipv4"], 0

    def begin(self) -> "MeshStepper":
        """Publish and listen: what may fail where calls are made to fail."""
        self.engine.publish(self.world.snapshot(1))
        self.door, self.gate = (self._listen(target) for target in range(2))
        self.tick()
        return self

    def _listen(self, target: int) -> Address:
        listener = listening(LOOPBACK["ipv4"])
        listener.setblocking(False)  # noqa: FBT003 - the name of the standard library
        if self._send_bytes:  # who is accepted inherits it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_bytes)
        address = address_of(listener)
        fd = listener.detach()
        try:
            self.engine.listen(0, fd, EXPLICIT, target, target + 1)
        except Exception:
            socket.socket(fileno=fd).close()  # still ours
            raise
        return address

    def stop(self) -> None:
        self.engine.stop()

    # --- ticks ---

    def tick(self, wait_ms: int = 0) -> None:
        """One tick, and Python's answers to what the worker asked in it."""
        self.engine.tick(0, wait_ms)
        for worker, generation, digest, der in self.engine.read_questions(100):
            verdict = peers.judge(der, TRUST_DOMAIN)
            identity = verdict.identity
            places = peers.places(identity) if identity else peers.Places(0)
            failure = TLS_FAILURES.index(verdict.failure) if verdict.failure else 0
            name = str(identity) if identity else ""
            self.engine.answer(worker, generation, digest, name, places, failure)

    def tick_until(self, what: str, state: Callable[[], bool]) -> None:
        for _ in range(TICKS_MAX):
            if state():
                return
            self.tick(1)
        raise AssertionError(f"{TICKS_MAX} ticks did not bring {what}")

    # --- counters ---

    def handshakes(self) -> int:
        return sum(self.engine.stats()["tls_handshakes"])

    def failed(self) -> int:
        return sum(self.engine.stats()["tls_failed"])

    def closed(self, reason: str) -> int:
        """Connections closed for that reason, whatever they spoke."""
        names = self.world.module.REASONS
        return sum(self.engine.stats()["closed"][names.index(reason) :: len(names)])

    def is_empty(self) -> bool:
        """Whether every connection has ended; the listeners stay."""
        stats = self.engine.stats()
        if any(stats["tls_open"]) or sum(stats["opened"]) != sum(stats["closed"]):
            return False
        connections, buffers, pipes, _, upstreams, exchanges, in_flight = stats["live"]
        return not (connections or buffers or pipes or upstreams or exchanges or in_flight)
