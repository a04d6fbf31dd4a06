"""Budgets: met, missed, or not measured."""

import pytest

from bench.histogram import Histogram
from bench.measure import Sample
from bench.proc import Cpu, Memory
from bench.scraper import Scrape
from bench.summary import Figure, Results
from bench.verdicts import Verdict, of_starts, verdicts
from bench.workloads import (
    BULK_DOWN,
    HTTP,
    HTTP_64,
    HTTP_5000,
    HTTP_HALF,
    HTTP_SCRAPE,
    HTTP_SERVICE,
    HTTP_SERVICES,
    MIB,
    MTLS,
    MTLS_64,
    MTLS_DOWN,
    MTLS_IDLE,
    SMALL,
    Workload,
)

VARIANTS = {"nginx-bulk": "nginx"}


def moved(peer: str, us: int) -> Sample:
    """One round of bulk at `us` a MiB."""
    return Sample(BULK_DOWN.name, peer, 1, proxy=Cpu(us * 1000), requests=1, bytes=MIB)


def asked(peer: str, us: int) -> Sample:
    """One round of small messages at `us` each."""
    return Sample(SMALL.name, peer, 1, proxy=Cpu(us * 1000), requests=1)


def verdict(samples: list[Sample], title: str) -> Verdict:
    return next(v for v in verdicts(Results(samples), VARIANTS) if title in v.title)


def test_a_median_at_the_limit_meets_it() -> None:
    assert Verdict("CPU", 1.0, "x", Figure(1.0, 1.0, 1.0)).word == "met"


def test_a_median_above_the_limit_misses_it() -> None:
    assert Verdict("CPU", 1.0, "x", Figure(1.01, 1.01, 1.01)).word == "missed"


def test_a_budget_without_figures_is_not_measured_rather_than_met() -> None:
    assert Verdict("CPU", 1.0, "x", None).word == "not measured"


def test_rounds_on_both_sides_of_the_limit_are_told() -> None:
    assert Verdict("CPU", 1.0, "x", Figure(0.9, 0.8, 1.2)).close
    assert not Verdict("CPU", 1.0, "x", Figure(0.9, 0.8, 1.0)).close


def test_small_messages_are_held_against_haproxy_whoever_else_is_cheaper() -> None:
    found = verdict([asked("haproxy", 20), asked("nginx", 10), asked("remora", 19)], SMALL.title)
    assert found.word == "met"


def test_bulk_is_held_against_the_best_peer_with_its_own_buffers() -> None:
    samples = [moved("haproxy", 700), moved("nginx", 600), moved("remora", 301)]
    found = verdict(samples, f"{BULK_DOWN.title}: CPU a MiB against the best peer, own buffers")
    assert (found.word, found.note) == ("missed", "nginx")


def test_a_peer_tuned_for_bulk_counts_in_a_line_of_its_own() -> None:
    samples = [moved("nginx", 600), moved("nginx-bulk", 400), moved("remora", 290)]
    own = verdict(samples, f"{BULK_DOWN.title}: CPU a MiB against the best peer, own buffers")
    tuned = verdict(samples, f"{BULK_DOWN.title}: CPU a MiB against the best peer, tuned for bulk")
    assert (own.word, own.note) == ("met", "nginx")
    assert (tuned.word, tuned.note) == ("missed", "nginx-bulk")


def test_a_run_without_remora_measures_no_budget() -> None:
    found = verdicts(Results([asked("haproxy", 20)]), VARIANTS)
    assert {v.word for v in found} == {"not measured"}


def requested(peer: str, us: int) -> Sample:
    """One round of HTTP requests at `us` each."""
    return Sample(HTTP_64.name, peer, 1, proxy=Cpu(us * 1000), requests=1)


def waited(workload: str, number: int, ns: int, series: int = 0) -> Sample:
    """One round of remora in which every answer took that long."""
    latency = Histogram([[ns - 1, ns + 1, 100]])
    return Sample(workload, "remora", number, latency=latency, scrape=Scrape(series=series))


def http_verdict(samples: list[Sample], title: str) -> Verdict:
    found = verdicts(Results(samples), VARIANTS, HTTP)
    return next(v for v in found if title in v.title)


def test_http_requests_are_held_against_haproxy_and_envoy() -> None:
    samples = [requested("haproxy", 30), requested("envoy", 100), requested("remora", 24)]
    assert http_verdict(samples, "against HAProxy").word == "met"
    assert http_verdict(samples, "against Envoy").word == "missed"


def test_scraping_is_held_against_all_rounds_without_it_whatever_a_single_round_says() -> None:
    samples = [waited(HTTP_HALF.name, 1, 1000), waited(HTTP_HALF.name, 2, 4000)]
    samples += [waited(HTTP_SCRAPE.name, 1, 4200, series=1), waited(HTTP_SCRAPE.name, 2, 1000)]
    found = http_verdict(samples, "scraped")
    assert (found.word, found.close) == ("met", True)


def test_scraping_is_held_against_the_same_work_without_it() -> None:
    samples = [waited(HTTP_HALF.name, 1, 1000), waited(HTTP_HALF.name, 2, 4000)]
    samples += [waited(HTTP_SCRAPE.name, 1, 1050), waited(HTTP_SCRAPE.name, 2, 4200, series=1100)]
    found = http_verdict(samples, "scraped")
    assert (found.word, found.note) == ("met", "1,100 series")


def test_a_scrape_that_moves_the_p99_by_more_than_a_tenth_misses_its_budget() -> None:
    samples = [waited(HTTP_HALF.name, 1, 1000), waited(HTTP_SCRAPE.name, 1, 1200)]
    assert http_verdict(samples, "scraped").word == "missed"


def through_two(peer: str, us: int, workload: str = MTLS_64.name) -> Sample:
    """One round in which a request of 1 MiB cost both sides `us` together."""
    return Sample(workload, peer, 1, proxy=Cpu(us * 1000), requests=1, bytes=MIB)


def held(peer: str, each: int) -> Sample:
    """A thousand connections of so many bytes."""
    loaded = Memory(pss=1_000_000 + 1000 * each)
    return Sample(
        MTLS_IDLE.name,
        peer,
        1,
        memory=Memory(pss=1_000_000),
        memory_loaded=loaded,
        connections=1000,
    )


def served(work: Workload, us: int, number: int) -> Sample:
    return Sample(work.name, "remora", number, proxy=Cpu(us * 1000), requests=1)


def test_many_services_are_held_against_one_within_a_round() -> None:
    costs = [(1, 20, 21), (2, 40, 40), (3, 30, 36)]
    samples = [
        sample
        for number, one, many in costs
        for sample in (served(HTTP_SERVICE, one, number), served(HTTP_SERVICES, many, number))
    ]
    found = http_verdict(samples, "with 5,000 Services against one")
    assert found.value == Figure(1.05, 1.0, 1.2)
    assert (found.word, found.close) == ("met", True)


def mtls_verdict(samples: list[Sample], title: str) -> Verdict:
    found = verdicts(Results(samples), VARIANTS, MTLS)
    return next(v for v in found if title in v.title)


@pytest.mark.parametrize(("us", "haproxy", "envoy"), [(50, "met", "met"), (61, "missed", "missed")])
def test_two_sides_are_held_against_two_of_haproxy_and_two_of_envoy(
    us: int, haproxy: str, envoy: str
) -> None:
    samples = [through_two("haproxy", 100), through_two("envoy", 240), through_two("remora", us)]
    assert mtls_verdict(samples, "against HAProxy").word == haproxy
    assert mtls_verdict(samples, "against Envoy").word == envoy


@pytest.mark.parametrize(("us", "word"), [(900, "met"), (901, "missed")])
def test_bodies_through_tls_are_held_against_nine_tenths_of_the_best_peer(
    us: int, word: str
) -> None:
    down = MTLS_DOWN.name
    samples = [through_two("haproxy", 1000, down), through_two("envoy", 1500, down)]
    found = mtls_verdict([*samples, through_two("remora", us, down)], "best peer, own buffers")
    assert (found.word, found.note) == (word, "haproxy")


@pytest.mark.parametrize(("each", "word"), [(16_000, "met"), (16_001, "missed")])
def test_an_idle_tls_connection_may_take_sixteen_kilobytes(each: int, word: str) -> None:
    assert mtls_verdict([held("remora", each)], "idle").word == word


def test_mutual_tls_without_remora_measures_no_budget() -> None:
    found = verdicts(Results([through_two("haproxy", 10), held("haproxy", 1)]), VARIANTS, MTLS)
    assert {v.word for v in found} == {"not measured"}


def test_more_connections_are_held_against_64_of_the_same_round() -> None:
    samples = [served(HTTP_64, 20, 1), served(HTTP_5000, 25, 1)]
    found = http_verdict(samples, "with 5,000 connections against 64")
    assert found.value == Figure(1.25, 1.25, 1.25)
    assert found.word == "missed"


def test_what_knows_many_services_is_not_at_rest() -> None:
    plain = Sample(HTTP_64.name, "remora", 1, ready_ms=200, memory=Memory(pss=20_000_000))
    full = Sample(HTTP_SERVICES.name, "remora", 1, ready_ms=900, memory=Memory(pss=80_000_000))
    assert http_verdict([plain, full], "PSS at rest").value == Figure(20, 20, 20)
    assert http_verdict([plain, full], "/ready").value == Figure(200, 200, 200)


def test_each_step_of_a_start_is_held_against_its_own_time() -> None:
    steps = {
        "init step": [{"wall_ms": 310, "pss": 0}],
        "proxy": [{"wall_ms": 310, "pss": 33_000_000}],
    }
    words = {verdict.title: verdict.word for verdict in of_starts(steps)}
    assert words == {
        "init step: ready": "missed",
        "proxy: ready": "met",
        "proxy: PSS at rest": "missed",
    }
