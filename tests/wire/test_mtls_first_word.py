"""Who speaks first within mesh TLS: records that only TLS itself is about are nobody's word."""

import socket
import ssl
from pathlib import Path

import pytest

from proxy.identity.authority import Authority, write_svid
from proxy.identity.spiffe import of_service_account
from tests.support import sockets
from tests.support.http import Stream, request, response
from tests.support.mesh_pair import LIFETIME, TRUST_DOMAIN, WEB
from tests.support.rig import Rig
from tests.support.sockets import address_of, written
from tests.support.waiting import eventually


class Web:
    """A mesh endpoint made of OpenSSL: it sends session tickets behind its handshake."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        authority = Authority.create(directory / "ca", TRUST_DOMAIN)
        for name in ("shop", "web"):
            identity = of_service_account(TRUST_DOMAIN, "store", name)
            write_svid(directory / name, authority.issue(identity, LIFETIME))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "web" / "tls.crt", directory / "web" / "tls.key")
        self._context.load_verify_locations(directory / "web" / "ca.crt")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = rig.listen()
        target = written(address_of(self._listener))
        flags = ("--identity", str(directory / "shop"), "--mesh", f"{target}={WEB}")
        self.shop = rig.start_to(address_of(self._listener), *flags)

    def connect(self) -> socket.socket:
        return self._rig.connect(self.shop.listeners("explicit")[0])

    def accept(self) -> ssl.SSLSocket:
        """Shake hands; at its end our tickets are on their way."""
        done = int(self.shop.metrics()("remora_tls_handshakes_total"))
        sock = self._context.wrap_socket(sockets.accepted(self._listener), server_side=True)
        self._rig.keep(sock)
        eventually(
            "the other side of the handshake",
            lambda: self.shop.metrics()("remora_tls_handshakes_total") == done + 1,
        )
        return sock


@pytest.fixture
def web(rig: Rig, tmp_path: Path) -> Web:
    return Web(rig, tmp_path)


def ask(web: Web) -> None:
    """One request that comes only after the upstream's handshake is over."""
    down = Stream(web.connect())
    up = Stream(web.accept())
    down.send(request("/", "Connection: close"))
    assert up.request().line == b"GET / HTTP/1.1"
    up.send(response(b"hello", "Connection: close"))
    assert down.response().body == b"hello"


def test_http_after_a_handshake_is_http_still(web: Web) -> None:
    ask(web)
    eventually("the request", lambda: web.shop.metrics()("response_total") == 1)


def test_http_to_a_peer_that_is_known_already_is_http_too(web: Web) -> None:
    for _ in range(3):
        ask(web)
        eventually("its pool to be gone", lambda: web.shop.live()["upstreams"] == 0)
    eventually("the requests", lambda: web.shop.metrics()("response_total") == 3)


def test_a_server_that_speaks_first_within_tls_is_heard_at_once(web: Web) -> None:
    down = web.connect()
    up = web.accept()
    up.sendall(b"220 mail\r\n")
    assert sockets.receive_exactly(down, 10) == b"220 mail\r\n"
    down.sendall(b"QUIT\r\n")
    assert up.recv(6) == b"QUIT\r\n"
    (row,) = web.shop.connections()
    assert (row["speaker"], row["protocol"]) == ("upstream", "opaque")
