"""The page of budgets: held against the committed reports, and each miss is explained."""

import re

from bench import BENCH
from bench.budgets import PAGE, Line, lines, page, summary
from bench.recorded import Report, all_reports
from bench.summary import Figure
from bench.verdicts import Budget, Verdict
from tests.unit.bench import reports

MET = "CPU a request against HAProxy"


def start(*wall_ms: float, pss: int = 20_000_000) -> Report:
    rounds = [{"wall_ms": each, "pss": pss} for each in wall_ms]
    return reports.other("start", steps={"proxy": rounds})


def test_the_committed_page_says_what_the_committed_reports_say() -> None:
    assert PAGE.read_text() == page(all_reports()), "make figures"


def test_each_explanation_that_a_miss_may_point_to_is_there() -> None:
    titles = re.findall(r"^## (.*)$", (BENCH / "LIMITS.md").read_text(), re.MULTILINE)
    known = {title.lower().replace(" ", "-") for title in titles}
    for name in ("small", "http-64", "mtls-64", "http"):
        report = reports.of(name)
        for line in (*lines(report), *lines(start(1.0))):
            assert line.why in known


def test_a_line_has_the_figure_its_spread_the_work_and_the_report() -> None:
    (line,) = [line for line in lines(reports.of("http-64")) if MET in line.verdict.title][:1]
    cells = line.row()
    assert cells[1:4] == ["0.80 x", "0.50 x", "0.50..0.50"]
    assert cells[4:8] == ["met", "http-64", "[http](reports/http.md)", ""]


def test_a_missed_one_points_to_why() -> None:
    (ready, _) = lines(start(410.0, 420.0, 390.0))
    assert ready.row()[4] == "**missed**, rounds differ"
    assert ready.row()[7] == "[why](LIMITS.md#start-and-memory-at-rest)"


def test_another_word_of_the_report_itself_is_told() -> None:
    report = reports.of("http-64")
    said = {"title": "CPU", "value": {"median": 2.03}, "verdict": "missed"}
    report.document["budgets"] = [said]
    line = Line(report, Verdict("CPU", 1.1, "x", Figure(1.0, 0.9, 1.2), "", Budget.HTTP))
    assert "its report says missed (2.03), by the rule of then" in line.row()[-1]


def test_runs_beside_the_whole_do_not_count() -> None:
    whole, beside = reports.of("http-64"), reports.of("http-64", name="http-evening")
    counted = summary({"http": whole})
    assert summary({"http": whole, "http-evening": beside}) == counted
    assert "## Other runs that are kept" in page({"http": whole, "http-evening": beside})


def test_a_disturbed_run_is_told() -> None:
    report = reports.of("http-64")
    for each in report.document["samples"]:
        each["others_ns"] = 500_000_000
    assert all("a disturbed run" in line.row()[-1] for line in lines(report))
    assert "6 of 6 measurements were disturbed" in page({"http": report})
