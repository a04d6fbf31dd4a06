"""Proxies that speak mesh TLS with each other, or with a raw end of the test's."""

import json
import shutil
import socket
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from OpenSSL import SSL

from proxy.identity import spiffe
from proxy.identity.authority import Authority, write_svid
from tests.support import tls
from tests.support.process import Proxy
from tests.support.rig import Pair, Rig, Route
from tests.support.sockets import Address, accepted, address_of, written
from tests.support.svids import GOOD, SHOP, WEB, Shape, Signer, Svid
from tests.support.tls import TlsEnd
from tests.support.waiting import eventually

LIFETIME: Final = timedelta(hours=1)
TRUST_DOMAIN: Final = "cluster.local"


class TwoProxies(NamedTuple):
    """An app dials `near`, which speaks mesh TLS to `far`, which dials the upstream."""

    near: Proxy
    far: Proxy
    route: Route  # of near; its upstream is that of far

    def pair(self) -> Pair:
        return self.route.pair()

    def live(self) -> list[dict[str, int]]:
        return [each.live() for each in (self.near, self.far)]


class Identities:
    """An authority in a folder, and directories with identities of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca"
        self.authority = Authority.create(self.ca, TRUST_DOMAIN)
        self._count = 0

    def directory(self, identity: str, lifetime: timedelta = LIFETIME) -> Path:
        """Write an identity as the kubelet does; each call another directory."""
        self._count += 1
        made = self.folder / f"identity-{self._count}"
        self.renew(made, identity, lifetime)
        return made

    def renew(self, directory: Path, identity: str, lifetime: timedelta = LIFETIME) -> None:
        write_svid(directory, self.authority.issue(spiffe.parse(identity), lifetime))

    def signer(self) -> Signer:
        return Signer.of_authority(self.ca)

    def svid(self, shape: Shape = GOOD) -> Svid:
        """Make a certificate of any shape, signed by the authority."""
        return self.signer().issue(shape)


class MeshKit(Identities):
    """The same, and proxies that use them."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(folder)
        self.rig = rig

    def far(self, target: Address, *flags: str, directory: Path | None = None) -> Proxy:
        """Start one that takes mesh TLS only, and dials `target` in plaintext."""
        listen = f"127.0.0.1:0={written(target)}"
        identity = str(directory or self.directory(WEB))
        return self.rig.start(
            *("--no-interception", "--identity", identity, "--listen-mtls", listen), *flags
        )

    def near(
        self, target: Address, *flags: str, expected: str = WEB, directory: Path | None = None
    ) -> Proxy:
        """Start one that speaks mesh TLS to `target`."""
        identity = str(directory or self.directory(SHOP))
        mesh = f"{written(target)}={expected}"
        return self.rig.start_to(target, "--identity", identity, "--mesh", mesh, *flags)

    def two(
        self,
        *flags: str,
        near_flags: Sequence[str] = (),
        far_flags: Sequence[str] = (),
        near_directory: Path | None = None,
        far_directory: Path | None = None,
        upstream: socket.socket | None = None,
    ) -> TwoProxies:
        upstream = upstream or self.rig.listen()
        far = self.far(address_of(upstream), *flags, *far_flags, directory=far_directory)
        near = self.near(door_of(far), *flags, *near_flags, directory=near_directory)
        return TwoProxies(near, far, Route(self.rig, near, door_of(near), upstream))


def door_of(proxy: Proxy) -> Address:
    return proxy.listeners("explicit")[0]


class FarProxy:
    """A proxy that takes mesh TLS, and the test as downstream (in TLS) and upstream (plain)."""

    def __init__(self, kit: MeshKit, *flags: str, directory: Path | None = None) -> None:
        self.kit = kit
        self.upstream = kit.rig.listen()
        self.proxy = kit.far(address_of(self.upstream), *flags, directory=directory)

    def dial(self) -> socket.socket:
        return self.kit.rig.connect(door_of(self.proxy))

    def end(
        self,
        svid: Svid | None = None,
        *,
        alpn: Sequence[bytes] = tls.ALPN_ANY,
        made: SSL.Context | None = None,
    ) -> TlsEnd:
        """Connect, nothing said yet. Without `svid` a good one is shown."""
        made = made or tls.context(svid or self.kit.svid())
        return TlsEnd(self.dial(), made, alpn=alpn)

    def accept(self) -> socket.socket:
        return self.kit.rig.keep(accepted(self.upstream))

    def pair(self, *, alpn: Sequence[bytes] = tls.ALPN_ANY) -> tuple[TlsEnd, socket.socket]:
        return self.end(alpn=alpn).shake(), self.accept()

    def failures(self, reason: str) -> float:
        return failures(self.proxy, "accepted", reason)

    def check_serves(self) -> None:
        """A good peer is still served."""
        down, up = self.pair(alpn=tls.ALPN_TCP)
        check_talk(down, up)


class NearProxy:
    """A proxy that speaks mesh TLS to the test, which plays the far end and the app behind us."""

    def __init__(self, kit: MeshKit, *flags: str, expected: str = WEB) -> None:
        self.kit = kit
        self.upstream = kit.rig.listen()
        self.proxy = kit.near(address_of(self.upstream), *flags, expected=expected)

    def dial(self) -> socket.socket:
        return self.kit.rig.connect(door_of(self.proxy))

    def accept(self, svid: Svid | None = None, *, made: SSL.Context | None = None) -> TlsEnd:
        """Take the proxy's connection, nothing said yet. Without `svid` a good one is shown."""
        shape = GOOD.but(uris=(WEB,))
        made = made or tls.context(svid or self.kit.svid(shape))
        return TlsEnd(self.kit.rig.keep(accepted(self.upstream)), made, is_server=True)

    def pair(self) -> tuple[socket.socket, TlsEnd]:
        down = self.dial()
        return down, self.accept().shake()

    def failures(self, reason: str) -> float:
        return failures(self.proxy, "dialled", reason)

    def check_serves(self) -> None:
        down, up = self.pair()
        check_talk(up, down)


def failures(proxy: Proxy, role: str, reason: str) -> float:
    return proxy.metrics()("remora_tls_handshake_failures_total", role=role, reason=reason)


def wait_failure(proxy: Proxy, role: str, reason: str) -> None:
    """Wait for a failed handshake; it must be the only one, and counted for that reason alone."""

    def all_failures() -> float:
        return proxy.metrics()("remora_tls_handshake_failures_total")

    eventually("a failed handshake", all_failures)
    by_reason = {
        (sample.labels["role"], sample.labels["reason"]): sample.value
        for sample in proxy.metrics().samples
        if sample.name == "remora_tls_handshake_failures_total"
    }
    assert by_reason == {(role, reason): 1}, by_reason


def check_talk(tls_end: TlsEnd, plain: socket.socket) -> None:
    """A word each way."""
    tls_end.sendall(b"\0to plain")
    assert _exactly(plain, 9) == b"\0to plain"
    plain.sendall(b"\0to tls")
    assert tls_end.exactly(7) == b"\0to tls"


def _exactly(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        text = sock.recv(size - len(received))
        assert text, f"ended after {received!r}"
        received += text
    return received


def put(directory: Path, key: bytes, chain: bytes, bundle: bytes) -> None:
    """Change all three files at once, as the kubelet does."""
    directory.mkdir(exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, text in (("tls.key", key), ("tls.crt", chain), ("ca.crt", bundle)):
        (data / name).write_bytes(text)
        if not (directory / name).exists():
            (directory / name).symlink_to(f"..data/{name}")
    link = directory / "..data"
    before = link.resolve() if link.is_symlink() else None
    (directory / "..fresh").symlink_to(data.name)
    (directory / "..fresh").replace(link)
    if before is not None:
        shutil.rmtree(before)


def forgive(proxy: Proxy, *events: str) -> None:
    """Errors that the test brought about are not held against the log."""
    proxy.stderr_lines[:] = [
        line
        for line in proxy.stderr_lines
        if not line.startswith("{") or json.loads(line).get("event") not in events
    ]
