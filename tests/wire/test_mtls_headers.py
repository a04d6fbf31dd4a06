"""What the application is told of its peer: by the proxy alone, whatever came in."""

import hashlib

import pytest

from tests.support import tls
from tests.support.http import Message, Stream, Talk, request, response
from tests.support.mtls import FarProxy, MeshKit
from tests.support.svids import GOOD, SHOP, WEB

CERT, ID = b"x-forwarded-client-cert", b"remora-client-id"
LIES = (
    "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/kube-system/sa/admin",
    "remora-client-id: spiffe://cluster.local/ns/kube-system/sa/admin",
)


def asked(kit: MeshKit, *fields: str, uri: str = SHOP) -> tuple[Message, bytes]:
    """Ask through a proxy as `uri`; return what the app gets and our certificate."""
    far = FarProxy(kit)
    svid = kit.svid(GOOD.but(uris=(uri,)))
    end = far.end(svid, alpn=tls.ALPN_HTTP).shake()
    end.sendall(request("/who", *fields))
    up = Stream(far.accept())
    message = up.request()
    up.send(response(b"ok"))
    assert end.recv().startswith(b"HTTP/1.1 200 ")
    return message, svid.der


def test_the_app_is_told_who_asks(kit: MeshKit) -> None:
    message, der = asked(kit)
    assert message.get(ID) == SHOP.encode()
    digest = hashlib.sha256(der).hexdigest()
    assert message.get(CERT) == f"By={WEB};Hash={digest};URI={SHOP}".encode()


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("Connection: x-forwarded-client-cert, remora-client-id",),
        ("Connection: close, Remora-Client-Id",),
        ("X-FORWARDED-CLIENT-CERT: again", "Remora-Client-ID: again"),
    ],
)
def test_what_the_peer_says_of_itself_is_thrown_away(kit: MeshKit, more: tuple[str, ...]) -> None:
    message, _ = asked(kit, *LIES, *more)
    assert message.get(ID) == SHOP.encode()
    certs = message.all(CERT)
    assert len(certs) == 1
    assert certs[0].endswith(f"URI={SHOP}".encode())
    assert b"kube-system" not in repr(message.fields).encode()


def test_a_name_of_two_kilobytes_is_told_in_whole(kit: MeshKit) -> None:
    uri = f"{SHOP}/{'x' * (2048 - len(SHOP) - 1)}"
    message, _ = asked(kit, uri=uri)
    assert message.get(ID) == uri.encode()


def test_each_request_of_a_connection_is_told(kit: MeshKit) -> None:
    far = FarProxy(kit)
    end = far.end(alpn=tls.ALPN_HTTP).shake()
    end.sendall(request("/1", *LIES) + request("/2", LIES[1]) + request("/3"))
    up = Stream(far.accept())
    for _ in range(3):
        message = up.request()
        assert message.get(ID) == SHOP.encode()
        assert len(message.all(CERT)) == 1
        up.send(response(b""))


def test_two_peers_on_one_pooled_connection_are_told_apart(kit: MeshKit) -> None:
    far = FarProxy(kit)
    first = far.end(alpn=tls.ALPN_HTTP).shake()
    first.sendall(request("/first"))
    up = Stream(far.accept())
    assert up.request().get(ID) == SHOP.encode()
    up.send(response(b"1"))
    assert first.recv().startswith(b"HTTP/1.1 200 ")
    other = kit.svid(GOOD.but(uris=(WEB,)))
    second = far.end(other, alpn=tls.ALPN_HTTP).shake()
    second.sendall(request("/second"))
    assert up.request().get(ID) == WEB.encode()


def test_the_near_proxy_passes_no_claim_of_its_app_on(kit: MeshKit) -> None:
    two = kit.two()
    talk = Talk(two.route)
    message, _ = talk.ask(request("/", *LIES))
    assert message.get(ID) == SHOP.encode()
    assert len(message.all(CERT)) == 1
    assert b"kube-system" not in repr(message.fields).encode()
