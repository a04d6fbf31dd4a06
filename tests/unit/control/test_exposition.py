"""The text of metrics is what prometheus_client would have written, in both formats."""

from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from prometheus_client.registry import Collector

from proxy.engine import BUCKETS_US
from proxy.exposition import OPENMETRICS, PLAIN, Writer, content_type_for
from proxy.families import counter, gauge, histogram

HOSTILE = 'a\\b"c\nd,e="f"}'


def families() -> list[Metric]:
    counts = list(range(len(BUCKETS_US) + 1))
    info = InfoMetricFamily("build", "Which.")
    info.add_metric([], {"version": "1", "odd": HOSTILE})
    return [
        counter("request", "Requests: a \\ and a\nline.", ["b", "a"], [(("x", HOSTILE), 3)]),
        counter("ticks", "No labels.", [], [((), 1 << 53)]),
        gauge("open", "Gauges.", ["direction"], [(("in",), 0), (("out",), 2.5), (("x",), 1e-9)]),
        gauge("nothing", "No rows.", ["direction"], []),
        histogram("took_seconds", "Times.", ["a", "z"], [(("1", "2"), counts, 1_500_000)]),
        histogram("bare_seconds", "No labels.", [], [((), counts, 0)]),
        info,
    ]


class _Registered(Collector):
    def collect(self) -> Iterable[Metric]:
        return families()


@pytest.mark.parametrize(
    ("content_type", "encode", "parse"),
    [
        (PLAIN, generate_latest, parse_plain),
        (OPENMETRICS, generate_openmetrics, parse_openmetrics),
    ],
    ids=["plain", "openmetrics"],
)
def test_what_is_written_reads_like_the_librarys_own_text(
    content_type: str,
    encode: Callable[[CollectorRegistry], bytes],
    parse: Callable[[str], Iterable[Metric]],
) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Registered())
    ours = Writer().write(families(), content_type).decode()
    assert list(parse(ours)) == list(parse(encode(registry).decode()))


def test_a_writer_writes_the_same_again() -> None:
    writer = Writer()
    first = writer.write(families(), PLAIN)
    assert writer.write(families(), PLAIN) == first


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4", OPENMETRICS),
        ("text/html, Application/OpenMetrics-Text; version=1.0.0", OPENMETRICS),
        ("text/plain, application/openmetrics-text", PLAIN),
    ],
)
def test_the_first_format_that_is_asked_for_and_known_is_spoken(
    accept: str, content_type: str
) -> None:
    assert content_type_for(accept) == content_type
