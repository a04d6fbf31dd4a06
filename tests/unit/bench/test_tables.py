"""Tables of a report: what a reader must not overlook."""

from collections.abc import Sequence

from bench.generator import Ends
from bench.histogram import Histogram
from bench.limits import REASONS
from bench.measure import Sample
from bench.proc import Cpu, Memory
from bench.summary import Results
from bench.table import Table
from bench.tables import all_tables
from bench.workloads import HTTP_DRAIN, IDLE, SMALL, Workload

SECOND_NS = 1_000_000_000


def table(work: Workload, samples: Sequence[Sample]) -> Table:
    return all_tables(Results(samples), [work], [])[0]


def saturated(peer: str, *, proxy_share: float, load_share: float) -> Sample:
    return Sample(
        SMALL.name,
        peer,
        1,
        memory=Memory(1, 1, 1),
        proxy=Cpu(int(proxy_share * SECOND_NS)),
        load_ns=int(load_share * SECOND_NS),
        requests=1000,
        elapsed_seconds=1.0,
        connections=SMALL.connections,
    )


def test_a_rate_that_is_the_limit_of_the_generator_has_a_star_and_says_whose_it_is() -> None:
    made = table(
        SMALL,
        [
            saturated("haproxy", proxy_share=0.98, load_share=0.95),
            saturated("remora", proxy_share=0.5, load_share=0.98),
        ],
    )
    assert [row[0] for row in made.rows] == ["haproxy", "remora*"]
    assert f"* remora: {REASONS['generator']}" in made.notes


def test_idle_connections_are_told_with_their_count_and_the_memory_of_the_proxy() -> None:
    rest, loaded = Memory(5_000_000, 9, 4_000_000), Memory(15_000_000, 9, 14_000_000)
    sample = Sample(IDLE.name, "remora", 1, memory=rest, memory_loaded=loaded, connections=10_000)
    made = table(IDLE, [sample])
    assert made.title.startswith("10,000 idle connections")
    named = dict(zip(made.headers, made.rows[0], strict=True))
    assert named["bytes/connection"] == "1,000"
    assert (named["PSS MB with all"], named["private MB with all"]) == ("15.0", "14.0")


def test_a_drain_tells_what_was_lost_and_of_what_kind() -> None:
    sample = Sample(
        HTTP_DRAIN.name,
        "nginx",
        1,
        requests=100,
        elapsed_seconds=1.0,
        offered_rate=100.0,
        latency=Histogram([[1000, 1001, 100]]),
        ends=Ends(resent=2, refused=3, cut=4, status=5, by_first=6),
        exit_ms=70.0,
    )
    made = table(HTTP_DRAIN, [sample])
    named = dict(zip(made.headers, made.rows[0], strict=True))
    assert [named[name] for name in ("lost", "refused", "cut", "status", "resent")] == [
        *("12", "3", "4", "5", "2")
    ]
    assert (named["by the old one"], named["exit ms"]) == ("6.00", "70.0")
