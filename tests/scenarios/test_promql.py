"""The queries of docs/metrics.md, asked of two scrapes by Prometheus' own promtool."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.control import Metrics
from tests.support.rig import Rig
from tests.support.shop import Shop
from tests.support.tools import needed, said_by

INTERVAL_S: Final = 30
TEXT: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
# A title, an empty line, and the query with four spaces before it.
QUERIES: Final = {
    title.split(",")[0].split(" (")[0]: query
    for title, query in re.findall(r"^(\w.*):\n\n    (\S.*)$", TEXT, re.MULTILINE)
}

Expected = dict[str, float]  # labels → value


def one_round(shop: Shop) -> None:
    """Let shop/web fail once in four requests, cart never, mail always."""
    for status in ("200 OK", "201 Created", "404 Not Found", "503 Service Unavailable"):
        shop.ask("shop/web", status)
    shop.ask("cart")
    shop.ask("cart")
    shop.ask_in_vain()


@pytest.fixture
def scrapes(rig: Rig) -> tuple[Metrics, Metrics]:
    """Two scrapes with the same traffic before each."""
    needed("promtool")
    shop = Shop(rig)
    one_round(shop)
    first = shop.ended(7)
    one_round(shop)
    return first, shop.ended(14)


def series(first: Metrics, second: Metrics) -> list[dict[str, str]]:
    """Return what Prometheus would have stored."""

    def keyed(metrics: Metrics) -> dict[str, str]:
        return {
            f"{s.name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in s.labels.items())}}}": str(
                s.value
            )
            for s in metrics.samples
        }

    before, after = keyed(first), keyed(second)
    return [
        {"series": name, "values": f"{before.get(name, '_')} {value}"}
        for name, value in after.items()
    ]


def check(folder: Path, scrapes: tuple[Metrics, Metrics], query: str, expected: Expected) -> None:
    check_series(folder, series(*scrapes), query, expected)


def check_series(
    folder: Path, stored: list[dict[str, str]], query: str, expected: Expected
) -> None:
    asked: dict[str, Any] = {
        "expr": query,
        "eval_time": f"{INTERVAL_S}s",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
    }
    interval = f"{INTERVAL_S}s"
    test = {"interval": interval, "input_series": stored, "promql_expr_test": [asked]}
    file = folder / "test.json"  # every JSON is YAML
    file.write_text(json.dumps({"evaluation_interval": interval, "tests": [test]}))
    said_by("promtool", "test", "rules", str(file))


def by_service(web: float, cart: float, mail: float) -> Expected:
    values = {"shop/web": web, "cart": cart, "mail": mail}
    return {f'{{service="{name}"}}': value for name, value in values.items()}


def test_every_query_of_the_documentation_is_asked_here() -> None:
    assert list(QUERIES) == [
        "Success rate",
        "Requests a second",
        "Latency",
        "What the proxy answered itself",
        "Share of requests that found an open connection",
        "Retries",
        "What traffic policy kept from happening",
        "Share of traffic that is in mesh TLS",
        "Hours until the certificate ends",
    ]


def test_the_success_rate_of_a_service_is_known_though_none_or_all_of_it_fails(
    tmp_path: Path, scrapes: tuple[Metrics, Metrics]
) -> None:
    check(tmp_path, scrapes, QUERIES["Success rate"], by_service(0.75, 1, 0))


def test_the_rate_of_a_service_is_in_requests_a_second(
    tmp_path: Path, scrapes: tuple[Metrics, Metrics]
) -> None:
    query = f"round({INTERVAL_S} * {QUERIES['Requests a second']}, 0.001)"
    check(tmp_path, scrapes, query, by_service(4, 2, 1))


def test_the_latency_of_a_service_is_below_the_time_that_the_test_took(
    tmp_path: Path, scrapes: tuple[Metrics, Metrics]
) -> None:
    check(tmp_path, scrapes, f"{QUERIES['Latency']} > bool 0", by_service(1, 1, 1))
    check(tmp_path, scrapes, f"{QUERIES['Latency']} < bool 60", by_service(1, 1, 1))


def test_answers_of_the_proxys_own_are_told_by_flag(
    tmp_path: Path, scrapes: tuple[Metrics, Metrics]
) -> None:
    query = f"round({INTERVAL_S} * {QUERIES['What the proxy answered itself']}, 0.001)"
    check(tmp_path, scrapes, query, {'{service="mail", flag="UF", status_code="503"}': 1})


def events(**counts: int) -> list[dict[str, str]]:
    """Return series of what traffic policy did to the service shop/web between two scrapes."""
    row = 'remora_traffic_events_total{{service="shop/web",event="{}"}}'
    return [
        {"series": row.format(event), "values": f"{count} {2 * count}"}
        for event, count in counts.items()
    ]


def test_retries_are_a_share_of_requests(tmp_path: Path) -> None:
    asked = 'request_total{service="shop/web",direction="outbound",method="GET"}'
    stored = [*events(retried=15, ejected=1), {"series": asked, "values": "100 200"}]
    check_series(tmp_path, stored, QUERIES["Retries"], {'{service="shop/web"}': 0.15})


def test_what_traffic_policy_refused_is_told_by_event(tmp_path: Path) -> None:
    stored = events(retried=15, shed=3, overflow_requests=6)
    query = QUERIES["What traffic policy kept from happening"]
    expected = {
        '{service="shop/web", event="shed"}': 3.0,
        '{service="shop/web", event="overflow_requests"}': 6.0,
    }
    check_series(tmp_path, stored, f"round({INTERVAL_S} * {query}, 0.001)", expected)


def test_half_of_the_traffic_in_mesh_tls_is_a_share_of_one_half(tmp_path: Path) -> None:
    """Bytes are counted on both sides of the proxy; those inside mesh TLS are on one."""
    counted = {
        'remora_tls_bytes_total{flow="received"}': 600,
        'remora_tls_bytes_total{flow="sent"}': 200,
        'tcp_read_bytes_total{peer="src"}': 1_000,
        'tcp_read_bytes_total{peer="dst"}': 1_000,
        'tcp_write_bytes_total{peer="src"}': 600,
        'tcp_write_bytes_total{peer="dst"}': 600,
    }
    stored = [{"series": name, "values": f"0 {value}"} for name, value in counted.items()]
    query = QUERIES["Share of traffic that is in mesh TLS"]
    check_series(tmp_path, stored, query, {"{}": 0.5})


def test_the_hours_that_a_certificate_has_left_are_known(tmp_path: Path) -> None:
    ends = INTERVAL_S + 7_200
    name = "remora_identity_expiry_timestamp_seconds"
    stored = [{"series": name, "values": f"{ends} {ends}"}]
    check_series(tmp_path, stored, QUERIES["Hours until the certificate ends"], {"{}": 2})


def test_the_share_of_connections_that_were_open_already_is_known(
    tmp_path: Path, scrapes: tuple[Metrics, Metrics]
) -> None:
    query = QUERIES["Share of requests that found an open connection"]
    check(tmp_path, scrapes, query, {"{}": 0})
