"""What an operator is told of mesh TLS, by two proxies that really speak it."""

import contextlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import sockets
from tests.support.http import Stream, request, response
from tests.support.mesh_pair import SHOP, WEB, MeshPair
from tests.support.process import Proxy
from tests.support.process import ctl as run_ctl
from tests.support.rig import Rig
from tests.support.waiting import eventually


def ctl(proxy: Proxy, *words: str) -> str:
    done = run_ctl(proxy, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ctl_json(proxy: Proxy, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ctl(proxy, *words, "--json"))
    return answer


def told(proxy: Proxy, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the identity until the answer fits."""
    seen: list[dict[str, Any]] = []

    def asked() -> bool:
        seen[:] = [ctl_json(proxy, "identity")]
        return fits(seen[0])

    eventually("the identity to be told", asked)
    return seen[0]


@pytest.fixture
def pair(rig: Rig, tmp_path: Path) -> MeshPair:
    return MeshPair(rig, tmp_path)


def ask(pair: MeshPair) -> None:
    """One HTTP request through both."""
    down = Stream(pair.connect())
    down.send(request("/", "Connection: close"))
    up = Stream(pair.rig.keep(sockets.accepted(pair.upstream)))
    assert up.request().line == b"GET / HTTP/1.1"
    up.send(response(b"hello", "Connection: close"))
    assert down.response().body == b"hello"
    down.expect_end()


def ended(proxy: Proxy, *words: str) -> list[dict[str, Any]]:
    """Return the rows of `ctl requests` or `ctl connections --closed`, once there are any."""
    rows: list[dict[str, Any]] = []

    def are_told() -> bool:
        rows[:] = ctl_json(proxy, *words)[words[0]]
        return bool(rows)

    eventually("something to have ended", are_told)
    return rows


def show_no_certificate(pair: MeshPair) -> None:
    """Shake hands with web as somebody who has none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        contextlib.suppress(OSError),
        sockets.connected(pair.door) as plain,
        context.wrap_socket(plain) as sock,
    ):
        sock.recv(1)  # TLS 1.3 tells a client of its refusal after the client's own handshake


def test_each_tells_its_own_identity_chain_and_roots(pair: MeshPair) -> None:
    answer = ctl_json(pair.web, "identity")
    assert (answer["identity"], answer["trust_domain"]) == (WEB, "cluster.local")
    assert 3_000 < answer["seconds_left"] < 3_600
    assert len(answer["chain"]) == 2
    assert len(answer["roots"]) == 1
    assert answer["mode"] == "strict"
    assert ctl_json(pair.shop, "identity")["identity"] == SHOP


def test_the_page_says_who_and_until_when(pair: MeshPair) -> None:
    page = ctl(pair.web, "identity")
    assert f"identity   {WEB}" in page
    assert "(59m " in page
    assert "trusted roots\n" in page


def test_handshakes_and_open_connections_are_told_by_role(pair: MeshPair) -> None:
    pair.talking()
    dialled, accepted = (ctl_json(each, "identity")["handshakes"] for each in (pair.shop, pair.web))
    assert dialled["dialled"] == accepted["accepted"] == {"open": 1, "done": 1, "failed": 0}
    assert dialled["accepted"] == accepted["dialled"] == {"open": 0, "done": 0, "failed": 0}


def test_a_failed_handshake_is_told_with_its_reason_and_what_to_do(pair: MeshPair) -> None:
    show_no_certificate(pair)
    answer = told(pair.web, lambda answer: bool(answer["failures"]))
    assert answer["failures"] == [{"role": "accepted", "reason": "no_certificate", "count": 1}]
    assert answer["handshakes"]["accepted"]["failed"] == 1
    page = ctl(pair.web, "identity")
    assert "no_certificate  accepted  1" in page
    assert "is it a mesh proxy at all?" in page


def test_a_rotation_is_told_and_a_new_root_beside_the_old_one(pair: MeshPair) -> None:
    before = ctl_json(pair.web, "identity")
    pair.authority.rotate()
    pair.issue("web")
    after = told(pair.web, lambda answer: answer["rotations"] == 1)
    assert after["chain"][0]["fingerprint"] != before["chain"][0]["fingerprint"]
    assert [len(each["roots"]) for each in (before, after)] == [1, 2]
    assert after["bundle_generation"] == before["bundle_generation"]


def test_a_root_that_is_trusted_no_more_begins_a_new_generation(pair: MeshPair) -> None:
    before = ctl_json(pair.web, "identity")
    pair.authority.rotate()
    pair.authority.retire()
    pair.issue("web")
    after = told(pair.web, lambda answer: answer["rotations"] == 1)
    assert after["bundle_generation"] == before["bundle_generation"] + 1


def test_a_broken_update_is_told_and_the_identity_before_stays(pair: MeshPair) -> None:
    (pair.folders["web"] / "tls.crt").unlink()
    (pair.folders["web"] / "tls.crt").write_text("no certificate")
    answer = told(pair.web, lambda answer: answer["update_failures"] == 1)
    assert answer["identity"] == WEB
    assert "PEM" in answer["last_update_failure"]
    assert answer["last_update_failure_at"]
    pair.talking()
    assert "identity_update_failed" in pair.web.take_last_words()


def test_without_an_identity_the_operator_is_told_what_to_do(rig: Rig) -> None:
    proxy = rig.start_to(rig.bind().getsockname())
    assert "start the proxy\n  with --identity" in ctl(proxy, "identity")
    assert ctl_json(proxy, "identity") == {"identity": None}


def test_open_connections_show_mesh_tls_and_who_is_beyond(pair: MeshPair) -> None:
    pair.talking()
    for proxy, peer in ((pair.shop, WEB), (pair.web, SHOP)):
        (row,) = ctl_json(proxy, "connections")["connections"]
        assert (row["tls"], row["peer_identity"]) == (True, peer)
        assert ctl(proxy, "connections").splitlines()[1].split()[-2:] == ["mesh", peer]


def test_closed_connections_still_know_who_it_was(pair: MeshPair) -> None:
    both = pair.talking()
    for end in both:
        end.close()
    for proxy, peer in ((pair.shop, WEB), (pair.web, SHOP)):
        (row,) = ended(proxy, "connections", "--closed")
        assert (row["tls"], row["peer_identity"]) == (True, peer)


def test_plaintext_has_no_peer(rig: Rig) -> None:
    route = rig.route()
    route.pair()
    (row,) = ctl_json(route.proxy, "connections")["connections"]
    assert (row["tls"], row["peer_identity"]) == (False, "")


def test_requests_show_who_is_beyond(pair: MeshPair) -> None:
    ask(pair)
    for proxy, peer in ((pair.shop, WEB), (pair.web, SHOP)):
        (row,) = ended(proxy, "requests")
        assert (row["tls"], row["peer_identity"]) == (True, peer)


def test_somebody_else_than_expected_is_told_by_name(rig: Rig, tmp_path: Path) -> None:
    pair = MeshPair(rig, tmp_path, expected=f"{WEB}2")
    down = Stream(pair.connect())
    down.send(request("/", "Connection: close"))
    assert down.response().status == 503
    (row,) = ended(pair.shop, "requests")
    assert (row["flag"], row["peer_identity"]) == ("UF", WEB)
    failures = ctl_json(pair.shop, "identity")["failures"]
    assert failures == [{"role": "dialled", "reason": "unexpected", "count": 1}]


def test_status_has_a_line_of_mesh_tls(pair: MeshPair) -> None:
    pair.talking()
    short = ctl_json(pair.web, "status")["identity"]
    assert (short["identity"], short["mode"], short["mesh_share"]) == (WEB, "strict", 1)
    (line,) = [line for line in ctl(pair.web, "status").splitlines() if "mesh tls" in line]
    assert f"{WEB}, strict, ends in 59m" in line
    assert "100% in mesh TLS" in line


def test_status_says_that_there_is_no_mesh_tls(rig: Rig) -> None:
    proxy = rig.start_to(rig.bind().getsockname())
    assert ctl_json(proxy, "status")["identity"] is None
    assert "off (no --identity)" in ctl(proxy, "status")
