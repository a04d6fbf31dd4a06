"""How answers look on a terminal."""

import pytest

from proxy import ctl_table, ctl_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_are_in_the_unit_that_fits(count: int, text: str) -> None:
    assert ctl_table.size(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0.25, "0.2ms"), (999, "999.0ms"), (1500, "1.5s"), (61_000, "1m01s"), (7_260_000, "2h01m")],
)
def test_times_are_in_the_units_that_fit(milliseconds: float, text: str) -> None:
    assert ctl_table.span(milliseconds) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert ctl_table.table(("A", "B"), [("long", "1"), ("x", "22")]) == "A     B\nlong  1\nx     22"


def test_a_server_name_cannot_command_the_terminal() -> None:
    assert ctl_table.printable("a\x1b[2Jb\n") == "a?[2Jb?"


def row(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "id": 7,
        "direction": "inbound",
        "service": "shop/web",
        "protocol": "http1",
        "phase": "relaying",
        "reason": "open",
        "downstream": "10.0.0.1:40000",
        "original_dst": "10.0.0.2:80",
        "upstream": "10.0.0.2:80",
        "connect_ms": 0.5,
        "duration_ms": 1_500,
        "received_bytes": 10,
        "sent_bytes": 2_048,
        "sni": "",
        "tls": False,
        "peer_identity": "",
    }
    return made | changes


def test_an_open_connection_shows_its_phase() -> None:
    page = ctl_text.connections({"connections": [row()], "truncated": False}, closed=False)
    assert page.splitlines()[1].split()[:5] == ["7", "inbound", "shop/web", "http1", "relaying"]


def test_a_connection_in_mesh_tls_shows_who_is_beyond() -> None:
    meshed = row(tls=True, peer_identity="spiffe://a/b\x1b")
    page = ctl_text.connections({"connections": [meshed], "truncated": False}, closed=False)
    assert page.splitlines()[1].split()[-2:] == ["mesh", "spiffe://a/b?"]


def test_a_closed_connection_shows_its_reason_and_what_to_do() -> None:
    refused = row(reason="connect_refused", connect_ms=None, upstream=None)
    page = ctl_text.connections({"connections": [refused], "truncated": False}, closed=True)
    assert page.splitlines()[1].split()[4] == "connect_refused"
    assert "is the app listening" in page


def test_no_connection_is_said_in_words() -> None:
    assert ctl_text.connections({"connections": [], "truncated": False}, closed=False) == (
        "no connection"
    )


def test_what_was_left_out_is_said() -> None:
    page = ctl_text.connections({"connections": [row()], "truncated": True}, closed=False)
    assert "--limit" in page
