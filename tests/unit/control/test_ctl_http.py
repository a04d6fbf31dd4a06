"""HTTP on a terminal."""

from typing import Any

from proxy import ctl_http, describe
from tests.unit.control.records import request


def answer(**changes: object) -> dict[str, Any]:
    totals = {"begun": 10, "in_flight": 1, "success_rate": 0.99999, "p50_ms": 0.5, "p99_ms": 12.0}
    none = dict.fromkeys(totals, 0)
    pool = {"idle": 3, "busy": 1, "waiting": 0, "reused": 6}
    made: dict[str, Any] = {
        "requests": {"inbound": totals, "outbound": none},
        "services": [{"direction": "inbound", "service": "shop/web", **totals}],
        "pools": {"inbound": pool, "outbound": pool},
        "flags": {},
    }
    return made | changes


def page_of(**changes: object) -> list[str]:
    rows = [describe.request(request(**changes))]
    return ctl_http.requests({"requests": rows, "truncated": False}).splitlines()


def test_a_direction_without_requests_is_left_out() -> None:
    page = ctl_http.totals(answer())
    assert "inbound" in page
    assert "outbound" not in page


def test_without_requests_there_is_no_table() -> None:
    idle = answer()
    idle["requests"]["inbound"]["begun"] = 0
    assert ctl_http.totals(idle) == ""


def test_all_is_well_is_said_only_of_what_is() -> None:
    row = ctl_http.totals(answer()).splitlines()[1]
    assert row.split() == ["inbound", "10", "1", "99.99%", "~0.5ms", "~12.0ms"]


def test_before_the_first_answer_there_is_no_rate() -> None:
    young = answer()
    young["requests"]["inbound"] |= {"success_rate": None, "p50_ms": None, "p99_ms": None}
    assert ctl_http.totals(young).splitlines()[1].split() == ["inbound", "10", "1", "-", "-", "-"]


def test_flags_are_shown_with_what_they_mean() -> None:
    page = ctl_http.totals(answer(flags={"inbound": {"UF": 2}}))
    assert "UF    inbound    2" in page
    assert "is the app up" in page


def test_a_service_has_a_row_of_its_own() -> None:
    page = ctl_http.totals(answer()).splitlines()
    (row,) = [line for line in page if "shop/web" in line]
    assert row.split() == ["shop/web", "inbound", "10", "1", "99.99%", "~0.5ms", "~12.0ms"]


def test_a_request_is_a_row() -> None:
    head, row = page_of()
    assert dict(zip(head.split(), row.split("  "), strict=False))["TIME"].startswith("2023-11-14T")
    assert "/cart?item=3" in row
    assert "shop.example" in row
    assert "shop/cart" in row


def test_a_request_without_an_answer_has_no_status() -> None:
    row = page_of(status=0, flag="DC")[1]
    assert row.split()[3:5] == ["-", "DC"]


def test_a_target_cannot_command_the_terminal() -> None:
    assert "\x1b" not in page_of(target="/\x1b[2J")[1]


def test_no_request_is_said_in_words() -> None:
    assert ctl_http.requests({"requests": [], "truncated": False}) == "no request"


def test_what_was_left_out_is_said() -> None:
    rows = [describe.request(request())]
    assert "--limit" in ctl_http.requests({"requests": rows, "truncated": True})
