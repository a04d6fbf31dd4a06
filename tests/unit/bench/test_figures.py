"""Pages say what the committed reports say."""

import re
from pathlib import Path

import pytest

from bench import ROOT, quoted
from bench.budgets import PAGE
from bench.figures import PAGES, changed, rendered
from bench.recorded import all_reports
from tests.unit.bench import reports

REPORT = re.compile(r"(?:bench/)?reports/([\w.-]+\.\w+)")
LINK = re.compile(r"\]\(((?:[\w./-]*/)?(?:reports/|LIMITS|BUDGETS)[\w./-]*)")
QUOTED = "<!-- figure http cpu http-64 remora -->"


def test_every_page_says_what_the_committed_reports_say() -> None:
    assert not [str(path) for path in changed(all_reports())], "make figures"


@pytest.mark.parametrize("path", [*PAGES, PAGE], ids=lambda path: str(path.relative_to(ROOT)))
def test_each_report_that_a_page_names_is_there(path: Path) -> None:
    text = path.read_text()
    missing = [
        name for name in REPORT.findall(text) if not (ROOT / "bench/reports" / name).exists()
    ]
    assert not missing
    assert not [link for link in LINK.findall(text) if not (path.parent / link).exists()]


def test_a_figure_in_prose_is_that_of_its_report() -> None:
    text = f"It takes {QUOTED}nothing<!-- / --> a request."
    made = rendered(text, {"http": reports.of("http-64")})
    assert made == f"It takes {QUOTED}30.0 us<!-- / --> a request."


def test_a_figure_of_a_report_that_is_not_there_is_left() -> None:
    text = f"It takes {QUOTED}30 us<!-- / -->."
    assert rendered(text, {}) == text


@pytest.mark.parametrize("words", ["cpu http-64 envoy", "cpu http-65 remora", "speed", "cpu"])
def test_a_figure_that_a_report_lacks_is_an_error_that_names_it(words: str) -> None:
    text = f"<!-- figure http {words} -->1<!-- / -->"
    with pytest.raises(quoted.LackingError, match=f"http has no `{words}"):
        rendered(text, {"http": reports.of("http-64")})


@pytest.mark.parametrize(
    ("words", "figure"),
    [
        ("kernel http-64 remora", "22.5 us"),
        ("user http-64 remora", "7.50 us"),
        ("ratio http-64 remora haproxy", "0.50"),
        ("p99 http-half remora", "1,100 us"),
        ("p99s http-half remora", "99.0..99.0 us"),
        ("stolen http-half remora", "20.0..20.0 ms"),
        ("held http-64 remora", "1,000 B"),
        ("moved http-scrape http-half", "1.00"),
        ("moved_cpu http-64 http-half", "1.00"),
        ("load http-64 remora", "4.00 us"),
        ("load_moved http-half http-64", "1.00"),
    ],
)
def test_each_kind_of_figure_can_be_quoted(words: str, figure: str) -> None:
    report = reports.of("http-64", "http-half", "http-scrape")
    made = rendered(f"<!-- figure http {words} --><!-- / -->", {"http": report})
    assert made == f"<!-- figure http {words} -->{figure}<!-- / -->"


@pytest.mark.parametrize(
    ("words", "figure"),
    [
        ("wall_ms proxy, identity", "300 ms"),
        ("cpu_ms proxy, identity", "280 ms"),
        ("pss proxy, identity", "37.5 MB"),
        ("own proxy, identity", "21.4 MB"),
    ],
)
def test_what_a_step_of_the_start_takes_can_be_quoted(words: str, figure: str) -> None:
    each = {"wall_ms": 300, "cpu_ms": 280, "pss": 37_500_000, "mapped": {"": 21_400_000}}
    start = reports.other("start", steps={"proxy, identity": [each]})
    made = rendered(f"<!-- figure start step {words} --><!-- / -->", {"start": start})
    assert made == f"<!-- figure start step {words} -->{figure}<!-- / -->"


def test_what_buyers_saw_can_be_quoted() -> None:
    times = {"5.0": 90, "400.0": 10}
    shop = reports.other(
        "shop", modes={"none": {"requests": 100, "failures": 9, "times_ms": times}}
    )
    text = "<!-- figure shop failed none --><!-- / --> <!-- figure shop p90 none --><!-- / -->"
    assert re.findall(r"-->([^<]+)<!-- / -->", rendered(text, {"shop": shop})) == ["9.0 %", "5 ms"]


def test_the_table_has_what_remora_takes_and_its_ratios() -> None:
    made = rendered("<!-- figures cost --><!-- /figures -->", {"http": reports.of("http-64")})
    first = next(line for line in made.splitlines() if line.startswith("| HTTP/1.1"))
    assert first.endswith("| 30.0 us | 0.50 | - | - |")
    assert "`python -m bench`; processor a fast one, cores 2" in made
    assert "half load" not in made


def test_the_table_is_left_where_there_is_no_report() -> None:
    text = "<!-- figures cost -->as it was<!-- /figures -->"
    assert rendered(text, {}) == text


def test_what_a_pod_waits_for_is_the_median_of_each_step() -> None:
    start = reports.other("start", steps={"proxy": [{"wall_ms": n} for n in (200, 210, 400)]})
    made = rendered("<!-- figures start --><!-- /figures -->", {"start": start})
    assert "proxy 0.21 s (`python -m bench`, [report](bench/reports/start.md))" in made
