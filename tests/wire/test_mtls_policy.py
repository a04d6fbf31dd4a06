"""Policies and modes over real mesh TLS: judged is who the handshake proved to be."""

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import tls
from tests.support.control import ask
from tests.support.http import Stream, refusal, request, response
from tests.support.mtls import MeshKit, check_talk
from tests.support.policy import EVERYTHING, Manifests, Object, policy, wait_loaded
from tests.support.process import Proxy
from tests.support.rig import Route
from tests.support.sockets import address_of, expect_silence, written
from tests.support.svids import GOOD, SHOP, WEB
from tests.support.tls import TlsEnd, TlsRefused
from tests.support.waiting import eventually

OTHER = "spiffe://cluster.local/ns/cart/sa/other"
DENIED = refusal(403, b"denied", closes=False)
PLAINTEXT = refusal(403, b"plaintext_refused", closes=False)


def strict(mode: str = "STRICT") -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "shop"},
        "spec": {"mtls": {"mode": mode}},
    }


def pod(port: int, name: str = "web-1", **more: object) -> Object:
    probe = {"httpGet": {"path": "/healthz", "port": port}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "web",
            "containers": [{"name": "app", "livenessProbe": probe}, {"name": "remora-proxy"}],
        },
        **more,
    }


def denying(**source: list[str]) -> Object:
    return {"action": "DENY", "rules": [{"from": [{"source": source}]}]}


class Judged:
    """A proxy in front of an application, judged like inbound traffic, with an identity."""

    def __init__(self, kit: MeshKit, manifests: Manifests) -> None:
        self.kit, self.manifests = kit, manifests
        self.upstream = kit.rig.listen()
        self.port: int = address_of(self.upstream)[1]

    def start(self, *flags: str, identity: bool = True, door: str = "--listen-inbound") -> Route:
        listen = f"127.0.0.1:0={written(address_of(self.upstream))}"
        if identity:
            flags = ("--identity", str(self.kit.directory(WEB)), *flags)
        who = () if "--pod" in flags else ("--namespace", "shop")
        where = ("--manifests", str(self.manifests.directory), *who)
        proxy = self.kit.rig.start("--no-interception", door, listen, *where, *flags)
        return Route(self.kit.rig, proxy, proxy.listeners("explicit")[0], self.upstream)

    def end(self, route: Route, uri: str = SHOP, alpn: tuple[bytes, ...] = tls.ALPN_ANY) -> TlsEnd:
        svid = self.kit.svid(GOOD.but(uris=(uri,)))
        return TlsEnd(route.connect(), tls.context(svid), alpn=alpn)


@pytest.fixture
def judged(kit: MeshKit, tmp_path: Path) -> Judged:
    directory = tmp_path / "manifests"
    directory.mkdir()
    return Judged(kit, Manifests(directory))


def expect_reset(sock: socket.socket) -> None:
    Stream(sock).expect_gone()


def logged(proxy: Proxy, event: str) -> dict[str, Any]:
    return eventually(f"a line {event}", lambda: proxy.logged(event) or {})


def serve_plain(route: Route, text: bytes) -> bytes:
    """Ask in plaintext and be served; return the head as the application got it."""
    down = Stream(route.connect())
    down.send(text)
    up = Stream(route.accept())
    head = up.request()
    up.send(response(b"ok"))
    assert down.response().body == b"ok"
    return head.line


# ---- who is judged ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        {"principals": ["cluster.local/ns/cart/sa/other"]},
        {"principals": ["cluster.local/ns/cart/*"]},
        {"namespaces": ["cart"]},
        {"serviceAccounts": ["cart/other"]},
    ],
)
def test_a_request_is_judged_by_who_the_handshake_proved(
    judged: Judged, source: dict[str, list[str]]
) -> None:
    judged.manifests.write(policy("no-cart", denying(**source)))
    route = judged.start(door="--listen-mtls")
    bad = judged.end(route, OTHER, tls.ALPN_HTTP).shake()
    bad.sendall(request("/a"))
    assert bad.exactly(len(DENIED)) == DENIED
    line = logged(route.proxy, "denied")
    assert (line["source"], line["destination"]) == (OTHER, WEB)
    assert (line["policy"], line["method"], line["target"]) == ("shop/no-cart", "GET", "/a")
    good = judged.end(route, SHOP, tls.ALPN_HTTP).shake()
    good.sendall(request("/a"))
    up = Stream(route.accept())
    assert up.request().line == b"GET /a HTTP/1.1"
    up.send(response(b"ok"))
    assert good.recv().startswith(b"HTTP/1.1 200 ")


def test_a_connection_of_who_is_denied_is_not_even_dialled(judged: Judged) -> None:
    judged.manifests.write(policy("no-cart", denying(namespaces=["cart"])))
    route = judged.start(door="--listen-mtls")
    end = judged.end(route, OTHER, tls.ALPN_TCP).shake()
    assert end.refusal() == "reset"
    route.proxy.wait_closed("denied")
    expect_silence(route.upstream, 0.05)
    good = judged.end(route, SHOP, tls.ALPN_TCP).shake()
    check_talk(good, route.accept())


def test_plaintext_has_no_principal(judged: Judged) -> None:
    allow = {"rules": [{"from": [{"source": {"principals": ["*"]}}]}]}
    judged.manifests.write(policy("known", allow))
    route = judged.start()
    down = Stream(route.connect())
    down.send(request("/a"))
    assert down.exactly(len(DENIED)) == DENIED
    route.accept()
    end = judged.end(route, SHOP, tls.ALPN_HTTP).shake()
    end.sendall(request("/a"))
    Stream(route.accept()).request()


def test_a_change_closes_the_connections_of_who_is_denied_now(judged: Judged) -> None:
    judged.manifests.write(policy("no-cart", denying(namespaces=["nobody"])))
    route = judged.start(door="--listen-mtls")
    ends = []
    for uri in (OTHER, SHOP):
        end = judged.end(route, uri, tls.ALPN_TCP).shake()
        ends.append((end, route.accept()))
        check_talk(*ends[-1])
    judged.manifests.write(policy("no-cart", denying(namespaces=["cart"])))
    wait_loaded(route.proxy)
    assert ends[0][0].refusal() == "reset"
    expect_reset(ends[0][1])
    check_talk(*ends[1])
    route.proxy.wait_closed("denied")


# ---- PeerAuthentication -------------------------------------------------------------------------


def test_strict_by_a_manifest_refuses_plaintext_and_takes_tls(judged: Judged) -> None:
    judged.manifests.write(strict())
    route = judged.start("--mtls", "permissive")
    down = route.connect()
    down.sendall(request("/a"))
    expect_reset(down)
    route.proxy.wait_closed("plaintext_refused")
    expect_silence(route.upstream, 0.05)
    check_talk(judged.end(route, alpn=tls.ALPN_TCP).shake(), route.accept())


def test_a_flag_is_what_holds_where_no_manifest_says(judged: Judged) -> None:
    judged.manifests.write(policy("all", EVERYTHING))
    route = judged.start("--mtls", "strict")
    down = route.connect()
    down.sendall(request("/a"))
    expect_reset(down)
    route.proxy.wait_closed("plaintext_refused")


def test_live_plaintext_ends_when_its_port_becomes_strict(judged: Judged) -> None:
    judged.manifests.write(strict("PERMISSIVE"))
    route = judged.start()
    plain = route.pair()
    plain.downstream.sendall(b"\0binary")
    assert plain.upstream.recv(100) == b"\0binary"
    end = judged.end(route, alpn=tls.ALPN_TCP).shake()
    inside = route.accept()
    check_talk(end, inside)
    judged.manifests.write(strict())
    wait_loaded(route.proxy)
    expect_reset(plain.downstream)
    expect_reset(plain.upstream)
    check_talk(end, inside)
    route.proxy.wait_closed("plaintext_refused")


def test_strict_without_an_identity_lets_nobody_in_and_says_so(judged: Judged) -> None:
    judged.manifests.write(strict("PERMISSIVE"))
    route = judged.start(identity=False)
    assert serve_plain(route, request("/a")) == b"GET /a HTTP/1.1"
    judged.manifests.write(strict())
    wait_loaded(route.proxy)
    assert logged(route.proxy, "no_identity")["mode"] == "strict"
    with contextlib.suppress(ConnectionResetError):  # as early as that
        expect_reset(route.connect())
    # The connection of before was plaintext on a port that takes none any more.
    closed = {"plaintext_refused": 1, "no_identity": 1}
    eventually("both closed", lambda: route.proxy.closed_by_reason() == closed)


def test_the_pages_show_the_mode_that_is_in_force(judged: Judged) -> None:
    judged.manifests.write(strict())
    route = judged.start()
    assert ask(route.proxy.control_path, "/identity")["mode"] == "strict"
    assert ask(route.proxy.control_path, "/policy")["mtls"]["default"] == "strict"


# ---- probes -------------------------------------------------------------------------------------


@pytest.fixture
def probed(judged: Judged) -> Route:
    judged.manifests.write(strict(), pod(judged.port), policy("nobody", {}))
    return judged.start("--pod", "shop/web-1")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_probe_of_our_pod_comes_in_through_strict(probed: Route, method: str) -> None:
    down = Stream(probed.connect())
    claim = "remora-client-id: spiffe://cluster.local/ns/shop/sa/admin"
    down.send(request("/x/../healthz", claim, method=method))
    head = Stream(probed.accept()).request()
    assert head.line == f"{method} /healthz HTTP/1.1".encode()
    assert head.get(b"remora-client-id") is None
    assert head.get(b"x-forwarded-client-cert") is None


def test_a_probe_needs_no_identity_of_ours_and_nothing_else_comes_in(judged: Judged) -> None:
    judged.manifests.write(strict(), pod(judged.port))
    route = judged.start("--pod", "shop/web-1", identity=False)
    assert serve_plain(route, request("/healthz")) == b"GET /healthz HTTP/1.1"
    with pytest.raises(TlsRefused):
        judged.end(route).shake()
    down = Stream(route.connect())
    down.send(request("/"))
    assert down.exactly(len(PLAINTEXT)) == PLAINTEXT


def test_a_probe_of_the_flags_comes_in_through_strict_and_nothing_else(judged: Judged) -> None:
    judged.manifests.write(strict())
    route = judged.start("--probes", f"{judged.port}/healthz?full=1,1/other")
    assert serve_plain(route, request("/healthz")) == b"GET /healthz HTTP/1.1"
    down = Stream(route.connect())
    down.send(request("/other"))
    assert down.exactly(len(PLAINTEXT)) == PLAINTEXT


@pytest.mark.parametrize(
    "text",
    [
        request("/healthz/more"),
        request("/healthz%2f"),
        request("/healthz", "Connection: upgrade", "Upgrade: chat"),
        request("/"),
    ],
)
def test_any_other_request_in_plaintext_is_refused(probed: Route, text: bytes) -> None:
    down = Stream(probed.connect())
    down.send(text)
    assert down.exactly(len(PLAINTEXT)) == PLAINTEXT


def test_each_request_behind_a_probe_is_looked_at(probed: Route) -> None:
    down = Stream(probed.connect())
    down.send(request("/healthz") + request("/admin"))
    up = Stream(probed.accept())
    assert up.request().line == b"GET /healthz HTTP/1.1"
    up.send(response(b"ok"))
    assert down.response().body == b"ok"
    assert down.exactly(len(PLAINTEXT)) == PLAINTEXT


def test_what_is_no_http_on_a_probed_port_is_refused(probed: Route) -> None:
    down = probed.connect()
    down.sendall(b"\0binary")
    expect_reset(down)
    probed.proxy.wait_closed("plaintext_refused")


def test_tls_on_a_probed_port_is_terminated_as_elsewhere(judged: Judged) -> None:
    judged.manifests.write(strict(), pod(judged.port))
    route = judged.start("--pod", "shop/web-1")
    check_talk(judged.end(route, alpn=tls.ALPN_TCP).shake(), route.accept())


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_a_knock_at_the_port_is_nobodys_denial(judged: Judged, mode: str) -> None:
    judged.manifests.write(strict(mode), policy("nobody", {}))
    route = judged.start()
    with route.connect():
        pass
    route.proxy.wait_closed("ok")
    assert not [line for line in route.proxy.log if line.get("event") == "denied"]
    assert route.proxy.metrics()("remora_policy_denied_total") == 0


# ---- the mesh -----------------------------------------------------------------------------------


def test_a_meshed_pod_of_the_manifests_is_spoken_to_in_tls(judged: Judged) -> None:
    rig = judged.kit.rig
    far = judged.start(door="--listen-mtls")
    judged.manifests.write(pod(1, status={"podIP": "127.0.0.1"}))
    near = near_of(judged, far.address)
    pair = Route(rig, near, near.listeners("explicit")[0], far.upstream).pair()
    pair.downstream.sendall(b"\0through")
    assert pair.upstream.recv(100) == b"\0through"
    assert near.metrics()("remora_tls_handshakes_total", role="dialled") == 1


def test_a_meshed_pod_that_is_somebody_else_gets_nothing(judged: Judged) -> None:
    far = judged.start(door="--listen-mtls")
    impostor = pod(1, status={"podIP": "127.0.0.1"})
    impostor["spec"]["serviceAccountName"] = "somebody"
    judged.manifests.write(impostor)
    near = near_of(judged, far.address)
    Stream(judged.kit.rig.connect(near.listeners("explicit")[0])).expect_gone()
    near.wait_closed("tls_failed")


def test_a_port_of_it_that_is_disabled_gets_plaintext(judged: Judged) -> None:
    rig = judged.kit.rig
    upstream = rig.listen()
    plain = strict()
    plain["spec"] = {
        "selector": {"matchLabels": {"app": "web"}},
        "portLevelMtls": {str(address_of(upstream)[1]): {"mode": "DISABLE"}},
    }
    judged.manifests.write(pod(1, status={"podIP": "127.0.0.1"}), plain)
    near = near_of(judged, address_of(upstream))
    pair = Route(rig, near, near.listeners("explicit")[0], upstream).pair()
    pair.downstream.sendall(b"\0plain")
    assert pair.upstream.recv(100) == b"\0plain"


def test_a_flag_wins_over_a_pod_of_the_same_address(judged: Judged) -> None:
    far = judged.start(door="--listen-mtls")
    wrong = pod(1, status={"podIP": "127.0.0.1"})
    wrong["spec"]["serviceAccountName"] = "somebody"
    judged.manifests.write(wrong)
    near = near_of(judged, far.address, "--mesh", f"127.0.0.1={WEB}")
    pair = Route(judged.kit.rig, near, near.listeners("explicit")[0], far.upstream).pair()
    pair.downstream.sendall(b"\0through")
    assert pair.upstream.recv(100) == b"\0through"


def near_of(judged: Judged, target: tuple[str, int], *flags: str) -> Proxy:
    kit = judged.kit
    where = ("--manifests", str(judged.manifests.directory), "--namespace", "cart")
    identity = ("--identity", str(kit.directory(SHOP)))
    return kit.rig.start_to(target, *where, *identity, *flags)


def test_a_refused_handshake_is_no_denial(judged: Judged) -> None:
    judged.manifests.write(policy("nobody", {}))
    route = judged.start(door="--listen-mtls")
    end = TlsEnd(route.connect(), tls.context(None), alpn=tls.ALPN_TCP)
    with pytest.raises(TlsRefused):
        end.shake().recv()
    route.proxy.wait_closed("tls_failed")
    assert route.proxy.metrics()("remora_policy_denied_total") == 0
