"""Mesh TLS on a terminal, and what is advised about it."""

from typing import Any

import pytest

from proxy import ctl_identity, engine
from proxy.identity.page import left
from proxy.tls_failures import FAILURES, explain_failure

CERTIFICATE = {
    "fingerprint": "0123456789abcdef",
    "subject": "CN=a root",
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2026-01-02T00:00:00Z",
    "seconds_left": 7_260.0,
}


def answer(**changes: object) -> dict[str, Any]:
    idle = {"open": 0, "done": 0, "failed": 0}
    made: dict[str, Any] = {
        "identity": "spiffe://cluster.local/ns/shop/sa/web",
        "trust_domain": "cluster.local",
        "not_after": "2026-01-02T00:00:00Z",
        "seconds_left": 7_260.0,
        "key": "ECDSA secp256r1",
        "chain": [CERTIFICATE],
        "roots": [CERTIFICATE],
        "bundle_generation": 2,
        "since": "2026-01-01T00:00:00Z",
        "rotations": 3,
        "update_failures": 0,
        "last_update_failure": "",
        "last_update_failure_at": None,
        "mode": "permissive",
        "ports": {},
        "endpoints": [],
        "handshakes": {"dialled": idle, "accepted": idle},
        "failures": [],
        "mesh_share": None,
    }
    return made | changes


def in_short(**changes: object) -> str:
    return ctl_identity.in_short(answer(**changes))


def test_every_failure_of_a_handshake_is_explained_and_none_is_made_up() -> None:
    assert tuple(FAILURES) == engine.TLS_FAILURES


def test_every_failure_but_none_says_what_to_do() -> None:
    assert [name for name, failure in FAILURES.items() if not failure.hint] == ["none"]


def test_a_failure_without_an_explanation_does_not_break_the_page() -> None:
    assert "report it" in explain_failure("new").hint


def test_the_page_names_the_ports_with_another_mode() -> None:
    page = ctl_identity.identity(answer(ports={"8080": "strict"}))
    assert "permissive, 8080 strict" in page


def test_the_page_tells_of_an_update_that_failed() -> None:
    failed = {"update_failures": 2, "last_update_failure": "torn\x1b[2J"}
    page = ctl_identity.identity(answer(**failed, last_update_failure_at="2026-01-01T00:00:01Z"))
    assert "2, the last one at 2026-01-01T00:00:01Z: torn?[2J" in page


def test_failures_are_shown_with_what_they_mean_and_what_to_do() -> None:
    rows = [{"role": "dialled", "reason": "untrusted", "count": 4}]
    page = ctl_identity.identity(answer(failures=rows))
    assert "untrusted  dialled  4" in page
    assert "untrusted: no root of our trust bundle signed the peer's certificate: is it" in page


def test_an_expired_identity_comes_first() -> None:
    page = ctl_identity.identity(answer(seconds_left=-60.0))
    assert page.startswith("EXPIRED: no mesh connection is made or let in")


def test_a_subject_cannot_command_the_terminal() -> None:
    hostile = CERTIFICATE | {"subject": "CN=\x1b[2J"}
    assert "\x1b" not in ctl_identity.identity(answer(chain=[hostile]))


def test_a_line_says_who_how_strict_until_when_and_how_much() -> None:
    assert in_short(mesh_share=0.5) == (
        "spiffe://cluster.local/ns/shop/sa/web, permissive, ends in 2h 1m, 50% in mesh TLS"
    )


def test_all_of_it_is_said_only_of_what_is() -> None:
    assert "99.9% in mesh TLS" in in_short(mesh_share=0.99999)


def test_the_line_says_that_the_identity_has_expired() -> None:
    assert "EXPIRED 1m 5s ago" in in_short(seconds_left=-65.0)


def test_before_any_traffic_there_is_no_share() -> None:
    assert "no traffic yet" in in_short()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "0m 59s left"), (3_600, "1h 0m left"), (90_000, "1d 1h left"), (-61, "1m 1s ago")],
)
def test_times_are_told_in_the_two_units_that_matter(seconds: float, text: str) -> None:
    assert left(seconds) == text
