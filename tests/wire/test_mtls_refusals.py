"""Who may not come in, and who is not dialled: each with its own word, and nobody else suffers."""

import contextlib
import select
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.support import tls
from tests.support.http import Talk, request
from tests.support.mtls import (
    FarProxy,
    MeshKit,
    NearProxy,
    TwoProxies,
    check_talk,
    failures,
    wait_failure,
)
from tests.support.sockets import accepted, expect_reset
from tests.support.svids import CLIENT, GOOD, SERVER, SHOP, WEB, Shape, Signer, Svid
from tests.support.tls import TlsRefused
from tests.support.waiting import eventually

MINUTE = timedelta(minutes=1)


# What is wrong with a leaf that the right authority signed, and the word for it.
BAD_SHAPES: dict[str, tuple[str, Shape]] = {
    "expired": ("expired", GOOD.but(begins=-60 * MINUTE, ends=-MINUTE)),
    "not yet valid": ("not_yet_valid", GOOD.but(begins=30 * MINUTE)),
    "no URI": ("identity", GOOD.but(uris=(), dns=("web.shop",))),
    "no name at all": ("identity", GOOD.but(uris=())),
    "two URIs": ("identity", GOOD.but(uris=(SHOP, "spiffe://cluster.local/ns/shop/sa/admin"))),
    "the same URI twice": ("identity", GOOD.but(uris=(SHOP, SHOP))),
    "a NUL behind a good name": ("identity", GOOD.but(uris=(f"{SHOP}\0.evil.example",))),
    "a NUL before a good name": ("identity", GOOD.but(uris=(f"\0{SHOP}",))),
    "another scheme": ("identity", GOOD.but(uris=("https://cluster.local/ns/shop/sa/web",))),
    "a trust domain only": ("identity", GOOD.but(uris=("spiffe://cluster.local",))),
    "dot segments": ("identity", GOOD.but(uris=("spiffe://cluster.local/ns/../sa/web",))),
    "a slash at the end": ("identity", GOOD.but(uris=(f"{SHOP}/",))),
    "a query": ("identity", GOOD.but(uris=(f"{SHOP}?a=b",))),
    "a name that is too long": ("identity", GOOD.but(uris=(f"{SHOP}/{'x' * 2048}",))),
    "another trust domain": ("trust_domain", GOOD.but(uris=("spiffe://other.local/ns/a/sa/b",))),
    "a CA": ("usage", GOOD.but(is_ca=True)),
    "may sign certificates": ("usage", GOOD.but(uses=("digital_signature", "key_cert_sign"))),
    "may sign lists": ("usage", GOOD.but(uses=("digital_signature", "crl_sign"))),
    "may not sign": ("usage", GOOD.but(uses=("key_encipherment",))),
    "no key usage": ("usage", GOOD.but(uses=())),
    "clients only": ("usage", GOOD.but(extended=(CLIENT,))),
    "servers only": ("usage", GOOD.but(extended=(SERVER,))),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_downstream_with_a_bad_certificate_is_refused(
    kit: MeshKit, far: FarProxy, name: str
) -> None:
    reason, shape = BAD_SHAPES[name]
    assert refused_by(far, kit.svid(shape))
    wait_failure(far.proxy, "accepted", reason)
    assert far.proxy.closed_by_reason() == {"tls_failed": 1}
    far.check_serves()


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_an_upstream_with_a_bad_certificate_is_not_served(
    kit: MeshKit, near: NearProxy, name: str
) -> None:
    reason, shape = BAD_SHAPES[name]
    if shape.uris == (SHOP,):
        shape = shape.but(uris=(WEB,))
    down = near.dial()
    up = near.accept(kit.svid(shape))
    refused_in(up)
    expect_reset(down)
    wait_failure(near.proxy, "dialled", reason)
    near.check_serves()


def refused_by(far: FarProxy, svid: Svid) -> str:
    """Show `svid`; return the word of the refusal."""
    end = far.end(svid)
    try:
        end.shake()
    except TlsRefused as fault:
        return fault.word
    return end.refusal()


def refused_in(up: tls.TlsEnd) -> str:
    try:
        up.shake()
        return up.refusal()
    except TlsRefused as fault:
        return fault.word


def of_stranger(kit: MeshKit) -> Svid:
    del kit
    return Signer.root("stranger").below("its intermediate").issue()


def self_signed(kit: MeshKit) -> Svid:
    del kit
    return Signer.root("alone").issue()


def without_intermediate(kit: MeshKit) -> Svid:
    svid = kit.svid()
    return Svid(svid.key, svid.chain[:1])


def below_a_leaf(kit: MeshKit) -> Svid:
    """A workload that signs another one with its own certificate."""
    mid = kit.svid()
    return Signer(mid.key, mid.leaf, mid.chain).issue(GOOD.but(uris=(WEB,)))


UNTRUSTED = {
    "another root": (of_stranger, {"untrusted"}),
    "self-signed": (self_signed, {"untrusted"}),
    "no intermediate": (without_intermediate, {"untrusted"}),
    "signed by a workload": (below_a_leaf, {"untrusted", "usage"}),
}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_chain_that_does_not_hold_is_refused_on_either_side(kit: MeshKit, name: str) -> None:
    make, reasons = UNTRUSTED[name]
    far, near = FarProxy(kit), NearProxy(kit)
    word = refused_by(far, make(kit))
    assert "alert" in word, word
    down = near.dial()
    assert "alert" in refused_in(near.accept(make(kit)))
    expect_reset(down)
    assert sum(failures(far.proxy, "accepted", reason) for reason in reasons) == 1
    assert sum(failures(near.proxy, "dialled", reason) for reason in reasons) == 1
    far.check_serves()
    near.check_serves()


def test_a_root_of_the_same_name_with_another_key_is_refused(kit: MeshKit, far: FarProxy) -> None:
    name = kit.signer().certificate.subject.rfc4514_string().removeprefix("CN=")
    assert "alert" in refused_by(far, Signer.root(name).issue())
    wait_failure(far.proxy, "accepted", "untrusted")
    far.check_serves()


def test_a_downstream_without_a_certificate_is_refused(far: FarProxy) -> None:
    end = far.end(made=tls.context(None))
    end.shake()
    assert "certificate required" in end.refusal()
    wait_failure(far.proxy, "accepted", "no_certificate")
    assert far.proxy.closed_by_reason() == {"tls_failed": 1}
    far.check_serves()


def test_tls_1_2_is_refused(kit: MeshKit, far: FarProxy) -> None:
    made = tls.context(kit.svid(), version=SSL.TLS1_2_VERSION)
    with pytest.raises(TlsRefused, match="version"):
        far.end(made=made).shake()
    wait_failure(far.proxy, "accepted", "version")
    far.check_serves()


def test_an_upstream_of_tls_1_2_is_refused(kit: MeshKit, near: NearProxy) -> None:
    made = tls.context(kit.svid(GOOD.but(uris=(WEB,))), version=SSL.TLS1_2_VERSION)
    down = near.dial()
    with pytest.raises(TlsRefused):
        near.accept(made=made).shake()
    expect_reset(down)
    assert near.failures("version") + near.failures("refused") == 1
    near.check_serves()


def test_another_identity_than_the_expected_one_is_not_served(
    kit: MeshKit, near: NearProxy
) -> None:
    down = near.dial()
    near.accept(kit.svid(GOOD.but(uris=(SHOP,)))).shake()
    expect_reset(down)
    wait_failure(near.proxy, "dialled", "unexpected")
    assert near.proxy.closed_by_reason() == {"tls_failed": 1}
    near.check_serves()


@pytest.mark.parametrize("wrong", [WEB + "x", WEB[:-1], WEB.replace("web", "Web")])
def test_a_name_that_is_almost_the_expected_one_is_not_it(
    kit: MeshKit, near: NearProxy, wrong: str
) -> None:
    down = near.dial()
    near.accept(kit.svid(GOOD.but(uris=(wrong,)))).shake()
    expect_reset(down)
    wait_failure(near.proxy, "dialled", "unexpected")


def test_a_request_to_somebody_else_than_expected_is_answered_with_503(kit: MeshKit) -> None:
    upstream = kit.rig.listen()
    far = kit.far(upstream.getsockname()[:2], directory=kit.directory(SHOP))
    address = far.listeners("explicit")[0]
    near = kit.near(address, expected=WEB)
    down = kit.rig.connect(near.listeners("explicit")[0])
    down.sendall(request("/secret"))
    said = tls_free_answer(down)
    assert said.startswith(b"HTTP/1.1 503 "), said
    assert b"\r\nremora-error: tls_failed\r\n" in said
    assert failures(near, "dialled", "unexpected") >= 1
    # The far side, which knows whom it let in, may have dialled the app: it has nothing to say.
    eventually("its connections to end", lambda: far.live()["connections"] == 0)
    upstream.settimeout(0.2)
    with contextlib.suppress(TimeoutError, ConnectionResetError), accepted(upstream) as sock:
        assert sock.recv(64) == b""


def tls_free_answer(sock: socket.socket) -> bytes:
    said = b""
    while b"\r\n\r\n" not in said:
        text = sock.recv(65536)
        assert text, said
        said += text
    return said


def test_an_upstream_that_speaks_no_tls_gets_no_plaintext(near: NearProxy) -> None:
    down = near.dial()
    down.sendall(request("/secret"))
    up = near.accept().sock
    up.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    assert b"remora-error: tls_failed" in tls_free_answer(down)
    said = b""
    try:
        while text := up.recv(65536):
            said += text
    except ConnectionResetError:
        pass
    assert b"secret" not in said
    wait_failure(near.proxy, "dialled", "protocol")
    near.check_serves()


# --- plaintext -----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\0", b"\x17\3\3\0\1x"])
def test_plaintext_is_refused_where_tls_is_a_must(far: FarProxy, said: bytes) -> None:
    sock = far.dial()
    sock.sendall(said)
    expect_reset(sock)
    far.proxy.wait_closed("plaintext_refused")
    far.check_serves()


def test_who_says_nothing_and_leaves_is_no_failure(far: FarProxy) -> None:
    far.dial().close()
    far.proxy.wait_closed("ok")
    assert far.proxy.metrics()("remora_tls_handshake_failures_total") == 0


# --- hostile handshakes --------------------------------------------------------------------------


def test_a_client_hello_in_pieces_of_one_byte_is_understood(far: FarProxy) -> None:
    end = far.end()
    for byte in end.hello():
        end.sock.sendall(bytes([byte]))
    end.shake()
    check_talk(end, far.accept())


def test_a_whole_handshake_in_pieces_of_one_byte_is_understood(far: FarProxy) -> None:
    end = far.end()
    end.piece_bytes = 1
    end.shake()
    check_talk(end, far.accept())


def test_an_upstream_may_answer_in_pieces_of_one_byte(near: NearProxy) -> None:
    down = near.dial()
    end = near.accept()
    end.piece_bytes = 1
    end.shake()
    check_talk(end, down)


GARBAGE = {
    "a record of zeros": b"\x16\3\1\0\x20" + bytes(32),
    "a ServerHello": b"\x16\3\3\0\4\2\0\0\0",
    "a record that is too long": b"\x16\3\1\xff\xff" + b"\1" * 2_000,
    "an empty record": b"\x16\3\1\0\0",
    "a hello of 16 MiB": b"\x16\3\1\x40\0\1\xff\xff\xff" + b"\x3f" * 20_000,
    "noise": b"\x16" + bytes(range(7, 256)) * 9,
    "SSL 2": b"\x16\x80\x2e\1\0\2",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_in_place_of_a_client_hello_is_refused(far: FarProxy, name: str) -> None:
    sock = far.dial()
    sock.sendall(GARBAGE[name])
    sock.shutdown(socket.SHUT_WR)
    drain(sock)
    far.proxy.wait_closed("tls_failed")
    assert far.failures("protocol") + far.failures("closed") + far.failures("version") == 1
    far.check_serves()


def drain(sock: socket.socket) -> None:
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass


def cut_off(far: FarProxy, at: Callable[[int], int]) -> None:
    end = far.end()
    hello = end.hello()
    end.sock.sendall(hello[: at(len(hello))])
    end.sock.shutdown(socket.SHUT_WR)
    drain(end.sock)


@pytest.mark.parametrize("share", [1, 5, 6, 40])
def test_a_client_hello_that_is_cut_off_is_a_failed_handshake(far: FarProxy, share: int) -> None:
    cut_off(far, lambda _: share)
    wait_failure(far.proxy, "accepted", "closed")
    assert far.proxy.closed_by_reason() == {"tls_failed": 1}
    far.check_serves()


def test_a_downstream_that_leaves_in_mid_handshake_is_counted(far: FarProxy) -> None:
    cut_off(far, lambda length: length)
    wait_failure(far.proxy, "accepted", "closed")


def test_an_upstream_that_leaves_in_mid_handshake_is_counted(near: NearProxy) -> None:
    down = near.dial()
    up = near.accept()
    up.hear()
    up.sock.close()
    expect_reset(down)
    wait_failure(near.proxy, "dialled", "closed")


def test_a_downstream_that_stalls_is_given_up(kit: MeshKit) -> None:
    far = FarProxy(kit, "--tls-timeout", "200ms")
    end = far.end()
    end.sock.sendall(end.hello()[:50])
    drain(end.sock)
    far.proxy.wait_closed("tls_timeout")
    wait_failure(far.proxy, "accepted", "timeout")
    far.check_serves()


def test_a_downstream_that_never_finishes_is_given_up(kit: MeshKit) -> None:
    far = FarProxy(kit, "--tls-timeout", "200ms")
    end = far.end()
    end.sock.sendall(end.hello())
    drain(end.sock)
    far.proxy.wait_closed("tls_timeout")
    wait_failure(far.proxy, "accepted", "timeout")


def test_a_downstream_that_says_nothing_at_all_is_given_up(kit: MeshKit) -> None:
    far = FarProxy(kit, "--tls-timeout", "200ms")
    drain(far.dial())
    far.proxy.wait_closed("tls_timeout")


def test_an_upstream_that_stalls_is_given_up(kit: MeshKit) -> None:
    near = NearProxy(kit, "--tls-timeout", "200ms")
    down = near.dial()
    down.sendall(request("/"))
    near.accept()
    assert b"remora-error: tls_timeout" in tls_free_answer(down)
    wait_failure(near.proxy, "dialled", "timeout")
    near.check_serves()


def test_a_byte_now_and_then_does_not_move_the_deadline(kit: MeshKit) -> None:
    far = FarProxy(kit, "--tls-timeout", "300ms")
    end = far.end()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for byte in end.hello():
            end.sock.sendall(bytes([byte]))
            if select.select([end.sock], [], [], 0.02)[0]:
                break
    far.proxy.wait_closed("tls_timeout")


def test_a_chain_of_many_certificates_is_refused(kit: MeshKit, far: FarProxy) -> None:
    signer = kit.signer()
    for number in range(12):
        signer = signer.below(f"level {number}")
    svid = signer.issue()
    assert refused_by(far, svid)
    eventually_one_failure(far, {"untrusted", "usage", "protocol"})
    far.check_serves()


def test_a_chain_of_a_megabyte_is_refused(kit: MeshKit, far: FarProxy) -> None:
    svid = kit.svid()
    long = Svid(svid.key, (*svid.chain, *[svid.chain[-1]] * 2_000))
    assert refused_by(far, long)
    eventually_one_failure(far, {"untrusted", "protocol"})
    far.check_serves()


def eventually_one_failure(far: FarProxy, reasons: set[str]) -> None:
    far.proxy.wait_closed("tls_failed")
    assert sum(far.failures(reason) for reason in reasons) == 1


def test_a_flood_of_alerts_in_the_handshake_ends_it(far: FarProxy) -> None:
    end = far.end()
    end.sock.sendall(end.hello())
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(1_000):
            end.sock.sendall(b"\x15\3\3\0\2\1\x5a")  # warning: user_canceled
    drain(end.sock)
    far.proxy.wait_closed("tls_failed")
    far.check_serves()


def test_a_peer_that_says_no_is_counted_as_that(far: FarProxy) -> None:
    end = far.end()
    end.sock.sendall(end.hello())
    end.hear()
    end.sock.sendall(b"\x15\3\3\0\2\2\x28")  # fatal: handshake_failure
    drain(end.sock)
    wait_failure(far.proxy, "accepted", "refused")
    far.check_serves()


def test_a_thousand_failed_handshakes_leave_nothing_alive(far: FarProxy) -> None:
    for number in range(300):
        sock = far.dial()
        sock.sendall(list(GARBAGE.values())[number % len(GARBAGE)])
        sock.close()
    for _ in range(100):
        end = far.end()
        end.sock.sendall(end.hello())
        end.sock.close()
    far.check_serves()


def test_two_proxies_that_trust_different_roots_do_not_meet(kit: MeshKit, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = MeshKit(kit.rig, tmp_path / "other")
    two: TwoProxies = kit.two(far_directory=other.directory(WEB))
    talk = Talk(two.route)
    talk.down.send(request("/"))
    assert talk.down.response().get(b"remora-error") == b"tls_failed"
    # Once when the connection came, once more for the request.
    dials = failures(two.near, "dialled", "untrusted")
    assert dials in (1, 2)

    def refused() -> bool:
        return failures(two.far, "accepted", "refused") == dials

    eventually("the far side to hear of it", refused)
