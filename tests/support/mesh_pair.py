"""Two proxies with identities of one authority: shop's dials web's, which takes mesh TLS only."""

import socket
from datetime import timedelta
from pathlib import Path

from proxy.identity.authority import Authority, write_svid
from proxy.identity.spiffe import of_service_account
from tests.support import sockets
from tests.support.rig import Pair, Rig
from tests.support.sockets import Address, address_of, written

TRUST_DOMAIN = "cluster.local"
SHOP = f"spiffe://{TRUST_DOMAIN}/ns/store/sa/shop"
WEB = f"spiffe://{TRUST_DOMAIN}/ns/store/sa/web"
LIFETIME = timedelta(hours=1)


class MeshPair:
    """downstream → shop ═ mesh TLS ═ web → upstream; `expected` is whom shop wants to meet."""

    def __init__(self, rig: Rig, directory: Path, *flags: str, expected: str = WEB) -> None:
        self.rig = rig
        self.authority = Authority.create(directory / "ca", TRUST_DOMAIN)
        self.folders = {name: directory / name for name in ("shop", "web")}
        for name in self.folders:
            self.issue(name)
        self.upstream = rig.listen()
        target = written(address_of(self.upstream))
        common = ("--no-interception", "--recent", "10", *flags)
        self.web = rig.start(
            *(*common, "--identity", str(self.folders["web"])),
            *("--mtls", "strict", "--listen-mtls", f"127.0.0.1:0={target}"),
        )
        (self.door,) = self.web.listeners("explicit")
        self.shop = rig.start(
            *(*common, "--identity", str(self.folders["shop"])),
            *("--listen", f"127.0.0.1:0={written(self.door)}"),
            *("--mesh", f"{written(self.door)}={expected}"),
        )

    @property
    def address(self) -> Address:
        """Where downstreams dial."""
        return self.shop.listeners("explicit")[0]

    def issue(self, name: str, lifetime: timedelta = LIFETIME) -> None:
        """Give one of the two a new certificate, as its issuer does."""
        identity = of_service_account(TRUST_DOMAIN, "store", name)
        write_svid(self.folders[name], self.authority.issue(identity, lifetime))

    def connect(self) -> socket.socket:
        return self.rig.connect(self.address)

    def talking(self) -> Pair:
        """One connection all the way, over which a word has gone."""
        downstream = self.connect()
        downstream.sendall(b"hello")
        upstream = self.rig.keep(sockets.accepted(self.upstream))
        assert upstream.recv(5) == b"hello"
        return Pair(downstream, upstream)
