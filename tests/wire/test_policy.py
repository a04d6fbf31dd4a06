"""Authorization policies on the wire: what is denied never reaches the application."""

import contextlib
from pathlib import Path

import pytest

from tests.support.control import ask
from tests.support.http import Stream, Talk, refusal, request, response
from tests.support.policy import (
    EVERYTHING,
    Manifests,
    Object,
    allowing,
    denying,
    policy,
    wait_loaded,
)
from tests.support.process import EXIT_USAGE, Proxy
from tests.support.rig import Rig, Route
from tests.support.sockets import expect_silence
from tests.support.waiting import eventually

DENIED = refusal(403, b"denied")
STAYS = refusal(403, b"denied", closes=False)


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    return Manifests(tmp_path)


def read(down: Stream, text: bytes) -> bytes:
    return down.exactly(len(text))


def expect_denied(route: Route, text: bytes) -> None:
    down = Stream(route.connect())
    down.send(text)
    assert read(down, STAYS) == STAYS


def expect_served(route: Route, text: bytes) -> bytes:
    """Return the first line as the application got it, on a connection of its own."""
    talk = Talk(route)
    asked, up = talk.ask(text)
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"
    return asked.line


def denied_lines(proxy: Proxy, count: int = 1, event: str = "denied") -> list[dict[str, object]]:
    return eventually(
        f"{count} lines {event}",
        lambda: (
            found
            if len(found := [row for row in proxy.log if row.get("event") == event]) >= count
            else []
        ),
    )


# ---- requests -----------------------------------------------------------------------------------


def test_a_denied_request_gets_403_and_the_application_nothing(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    route = manifests.route(rig)
    down = Stream(route.connect())
    down.send(request("/admin"))
    assert read(down, STAYS) == STAYS
    Stream(route.accept()).expect_gone()  # dialled at accept, and never used


def test_what_no_policy_denies_is_served(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    assert expect_served(manifests.route(rig), request("/shop")) == b"GET /shop HTTP/1.1"


def test_the_connection_stays_for_the_next_request(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    route = manifests.route(rig)
    talk = Talk(route)
    talk.down.send(request("/admin") + request("/admin") + request("/shop"))
    assert read(talk.down, STAYS + STAYS) == STAYS + STAYS
    talk.accept().expect_gone()
    up = talk.accept()
    assert up.request().line == b"GET /shop HTTP/1.1"
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"


def test_a_denied_request_with_a_body_ends_the_connection(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    down = Stream(manifests.route(rig).connect())
    down.send(request("/admin", method="POST", body=b"x" * 100))
    assert down.rest() == DENIED


def test_with_an_allow_policy_everything_else_is_denied(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("reads", allowing(methods=["GET"], paths=["/a/{*}"])))
    route = manifests.route(rig)
    assert expect_served(route, request("/a/b?q=/c")) == b"GET /a/b?q=/c HTTP/1.1"
    down = Stream(route.connect())
    down.send(request("/a/b", method="DELETE"))
    assert read(down, STAYS) == STAYS


@pytest.mark.parametrize(
    "target",
    ["/x/../admin", "//admin", "/%61dmin", "/./admin/", "/%2e/admin", "http://a.example//admin"],
)
def test_a_path_in_disguise_is_denied_as_well(rig: Rig, manifests: Manifests, target: str) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    expect_denied(manifests.route(rig), request(target))


def test_the_application_gets_the_path_that_was_judged(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    line = expect_served(manifests.route(rig), request("/admin/..//shop/%7ejo?a=/../%2f"))
    assert line == b"GET /shop/~jo?a=/../%2f HTTP/1.1"


@pytest.mark.parametrize("target", ["/a%2fb", "/a%5Cb", "/a\\b", "/..;/b", "/%zz", "/%00"])
def test_a_path_that_servers_read_differently_is_refused(
    rig: Rig, manifests: Manifests, target: str
) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    down = Stream(manifests.route(rig).connect())
    down.send(request(target))
    assert down.rest() == refusal(400, b"path_ambiguous")


def test_without_a_policy_that_looks_at_paths_they_pass_as_they_come(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("reads", allowing(methods=["GET"])))
    line = expect_served(manifests.route(rig), request("/a/..//%2f%41"))
    assert line == b"GET /a/..//%2f%41 HTTP/1.1"


def test_a_header_and_a_source_address_decide(rig: Rig, manifests: Manifests) -> None:
    rule: Object = {
        "from": [{"source": {"ipBlocks": ["127.0.0.0/8"]}}],
        "when": [{"key": "request.headers[x-team]", "values": ["red"]}],
    }
    manifests.write(policy("red", {"rules": [rule]}))
    route = manifests.route(rig)
    assert expect_served(route, request("/", "X-Team: red")) == b"GET / HTTP/1.1"
    down = Stream(route.connect())
    down.send(request("/", "X-Team: red", "X-Team: blue"))
    assert read(down, STAYS) == STAYS


def test_a_denial_is_counted_and_logged_with_its_policy(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("no-admin", denying("/admin*")))
    route = manifests.route(rig)
    expect_denied(route, request("/admin?secret=1"))
    (line,) = denied_lines(route.proxy)
    assert line["policy"] == "shop/no-admin"
    assert (line["method"], line["target"], line["source"]) == ("GET", "/admin?secret=1", None)
    metrics = route.proxy.metrics()
    assert metrics("remora_policy_denied_total", policy="shop/no-admin", unit="request") == 1
    assert metrics("response_total", status_code="403", flag="UAEX") == 1


def test_a_storm_of_denials_is_counted_whole_and_told_in_part(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("nobody", {}))
    route = manifests.route(rig)
    down = Stream(route.connect())
    for _ in range(200):
        down.send(request("/"))
        assert read(down, STAYS) == STAYS
    assert route.proxy.metrics()("remora_policy_denied_total", policy="none") == 200
    assert 16 <= len(denied_lines(route.proxy, 16)) < 200


def test_a_dry_run_and_an_audit_are_told_and_let_in(rig: Rig, manifests: Manifests) -> None:
    audit: Object = {"action": "AUDIT", **EVERYTHING}
    manifests.write(
        policy("dry", denying("/*"), is_dry_run=True),
        policy("audit", audit),
    )
    route = manifests.route(rig)
    assert expect_served(route, request("/a")) == b"GET /a HTTP/1.1"
    assert denied_lines(route.proxy, event="denied_dry_run")[0]["policy"] == "shop/dry"
    assert denied_lines(route.proxy, event="audited")[0]["policy"] == "shop/audit"
    metrics = route.proxy.metrics()
    assert metrics("remora_policy_dry_run_denied_total", policy="shop/dry") == 1
    assert metrics("remora_policy_audited_total", policy="shop/audit") == 1


def test_a_plain_listener_is_not_judged(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("nobody", {}))
    flags = ("--manifests", str(manifests.directory), "--namespace", "shop")
    assert expect_served(rig.route(*flags), request("/")) == b"GET / HTTP/1.1"


def test_a_policy_of_another_namespace_or_pod_is_not_ours(rig: Rig, manifests: Manifests) -> None:
    other = policy("other", {"selector": {"matchLabels": {"app": "db"}}})
    foreign = policy("foreign", {})
    foreign["metadata"]["namespace"] = "cart"
    manifests.write(other, foreign)
    route = manifests.route(rig, "--labels", "app=web")
    assert expect_served(route, request("/")) == b"GET / HTTP/1.1"


POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {"serviceAccountName": "web", "containers": [{"name": "app"}]},
}


def test_a_probe_of_our_own_pod_is_let_in(rig: Rig, manifests: Manifests) -> None:
    def pod(port: int) -> Object:
        probe = {"httpGet": {"path": "/healthz?full", "port": port}}
        return {**POD, "spec": {"containers": [{"name": "app", "livenessProbe": probe}]}}

    manifests.write(POD, policy("nobody", {}))
    route = manifests.route(rig, "--pod", "shop/web-1")
    expect_denied(route, request("/healthz"))
    route.accept()
    manifests.write(pod(route.upstream.getsockname()[1]), policy("nobody", {}))
    wait_loaded(route.proxy)
    assert expect_served(route, request("/healthz?x")) == b"GET /healthz?x HTTP/1.1"
    down = Stream(route.connect())
    down.send(request("/healthz/more"))
    assert read(down, STAYS) == STAYS


# ---- connections --------------------------------------------------------------------------------


def test_a_denied_connection_is_reset_before_a_byte_passes(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("nobody", {}))
    route = manifests.route(rig)
    down = Stream(route.connect())
    down.send(b"\0binary")
    down.expect_gone()
    Stream(route.accept()).expect_gone()
    route.proxy.wait_closed("denied")
    (line,) = denied_lines(route.proxy)
    assert (line["unit"], line["policy"]) == ("connection", "none")


def test_a_server_that_speaks_first_tells_nothing_to_who_is_denied(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("nobody", {}))
    route = manifests.route(rig)
    down = Stream(route.connect())
    route.accept().sendall(b"220 secret\r\n")
    down.expect_gone()


def test_an_opaque_port_is_not_even_dialled_for_who_is_denied(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("nobody", {}))
    route = manifests.route(rig, "--opaque-ports", "1-65535")
    with contextlib.suppress(ConnectionResetError):  # as early as that
        Stream(route.connect()).expect_gone()
    route.proxy.wait_closed("denied")
    expect_silence(route.upstream, 0.05)


def test_a_rule_about_requests_is_on_the_safe_side_for_connections(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("paths", denying("/admin")))
    route = manifests.route(rig)
    down = Stream(route.connect())
    down.send(b"\0binary")
    down.expect_gone()


def test_a_connection_that_is_let_in_is_relayed_and_counted(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("local", {"rules": [{"when": [
        {"key": "source.ip", "values": ["127.0.0.1"]}]}]}))  # fmt: skip
    route = manifests.route(rig)
    pair = route.pair()
    pair.downstream.sendall(b"\0binary")
    assert pair.upstream.recv(100) == b"\0binary"
    metrics = route.proxy.metrics()
    assert metrics("remora_policy_allowed_total", policy="shop/local", unit="connection") == 1


# ---- changes ------------------------------------------------------------------------------------


def test_a_change_closes_connections_that_are_denied_now(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("all", EVERYTHING))
    route = manifests.route(rig)
    pair = route.pair()
    pair.downstream.sendall(b"\0binary")
    assert pair.upstream.recv(100) == b"\0binary"
    manifests.write(policy("all", {}))
    wait_loaded(route.proxy)
    Stream(pair.downstream).expect_gone()
    Stream(pair.upstream).expect_gone()
    assert route.proxy.metrics()("remora_events_total", event="policy_closed") == 1
    route.proxy.wait_closed("denied")


def test_a_change_that_keeps_the_policies_closes_nothing(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("all", EVERYTHING))
    route = manifests.route(rig)
    pair = route.pair()
    pair.downstream.sendall(b"\0binary")
    assert pair.upstream.recv(100) == b"\0binary"
    manifests.write(policy("all", EVERYTHING), POD)
    wait_loaded(route.proxy)
    pair.downstream.sendall(b"more")
    assert pair.upstream.recv(100) == b"more"


def test_the_next_request_of_an_open_connection_meets_the_new_policy(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(policy("no-admin", denying("/admin")))
    route = manifests.route(rig)
    talk = Talk(route)
    _, up = talk.ask(request("/a"))
    up.send(response(b"ok"))
    assert talk.down.response().body == b"ok"
    manifests.write(policy("no-admin", denying("/a")))
    wait_loaded(route.proxy)
    talk.down.send(request("/a"))
    assert read(talk.down, STAYS) == STAYS


@pytest.mark.parametrize(("spec", "survives"), [({}, False), (allowing(paths=["/other"]), True)])
def test_a_tunnel_is_closed_when_no_request_could_have_opened_it(
    rig: Rig, manifests: Manifests, spec: Object, *, survives: bool
) -> None:
    manifests.write(policy("all", EVERYTHING))
    route = manifests.route(rig)
    talk = Talk(route)
    _, up = talk.ask(request("/chat", "Connection: upgrade", "Upgrade: chat"))
    up.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
    assert talk.down.response().status == 101
    manifests.write(policy("all", spec))
    wait_loaded(route.proxy)
    if survives:
        talk.down.send(b"hello")
        assert up.exactly(5) == b"hello"
    else:
        talk.down.expect_gone()


# ---- faults -------------------------------------------------------------------------------------


UNSUPPORTED = """
kind: AuthorizationPolicy
apiVersion: security.istio.io/v1
metadata: {name: x, namespace: shop}
spec: {targetRefs: [{kind: Service}]}
"""


@pytest.mark.parametrize("text", ["{", UNSUPPORTED], ids=["no YAML", "unsupported"])
def test_a_bad_change_keeps_what_was_and_says_why(
    rig: Rig, manifests: Manifests, text: str
) -> None:
    manifests.write(policy("no-admin", denying("/admin")))
    route = manifests.route(rig)
    manifests.write_text(text, "bad.yaml")
    wait_loaded(route.proxy)
    expect_denied(route, request("/admin"))
    fault = route.proxy.logged("manifests_fault")
    assert fault
    assert fault["file"] == "bad.yaml"
    metrics = route.proxy.metrics()
    assert metrics("remora_manifests_faults") == 1
    assert metrics("remora_manifests_loads_total", result="bad") == 1
    shown = ask(route.proxy.control_path, "/policy")
    assert shown["faults"][0]["file"] == "bad.yaml"
    assert [each["name"] for each in shown["policies"]] == ["shop/no-admin"]
    (manifests.directory / "bad.yaml").unlink()
    wait_loaded(route.proxy, 2)
    assert route.proxy.metrics()("remora_manifests_faults") == 0


def test_a_proxy_does_not_start_on_bad_manifests(rig: Rig, manifests: Manifests) -> None:
    manifests.write(policy("custom", {"action": "CUSTOM", "provider": {"name": "x"}}))
    proxy = rig.launch(
        *("--no-interception", "--listen-inbound", "127.0.0.1:0=127.0.0.1:9"),
        *("--manifests", str(manifests.directory), "--namespace", "shop"),
    )
    assert proxy.wait_exit() == EXIT_USAGE
    proxy.ended_as_planned = True
    words = proxy.take_last_words()
    assert "all.json:1: AuthorizationPolicy shop/custom: spec.provider: is not supported" in words
