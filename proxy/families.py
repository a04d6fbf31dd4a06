"""Families of metrics: rows of labels and values, as Prometheus' library sees them and as text.

A sidecar is scraped on the core that moves bytes, so a scrape must be short. prometheus_client
makes an object and a dictionary of each sample and checks every name of it: 20 us a series. Ours
keep their rows; samples are made only for who asks for them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from proxy import engine

Labels: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[Labels, float]  # values of the labels, value
HistogramRow: TypeAlias = tuple[Labels, Sequence[int], int]  # counts of buckets, sum in us

_BOUNDS: Final = [*(repr(bound / 1e6) for bound in engine.BUCKETS_US), "+Inf"]
# Written as the last label of a bucket, with the end of the set.
_BOUND_LABELS: Final = [f'le="{bound}"}} ' for bound in _BOUNDS]
ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Family(Metric):
    """A family whose samples are made on demand; `lines` writes it without them."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__(name, text, kind)
        self.labels = tuple(labels)

    @property
    def samples(self) -> list[Sample]:
        """What prometheus_client and its tests expect of a metric."""
        return list(self._samples())

    @samples.setter
    def samples(self, _made: list[Sample]) -> None:
        """Metric's constructor sets an empty list."""

    def lines(self, texts: dict[Labels, str]) -> Iterator[str]:
        """Yield lines of text. `texts` keeps what was written of labels, from scrape to scrape."""
        raise NotImplementedError

    def _samples(self) -> Iterator[Sample]:
        raise NotImplementedError

    def _label_text(self, texts: dict[Labels, str], values: Labels) -> str:
        """Return the labels without the closing brace, ready for one more."""
        text = texts.get(values)
        if text is None:
            pairs = zip(self.labels, values, strict=True)
            text = "{" + "".join(f'{name}="{word.translate(ESCAPES)}",' for name, word in pairs)
            texts[values] = text
        return text


class _Plain(Family):
    """A counter or a gauge: one sample a row."""

    def __init__(
        self, kind: str, name: str, text: str, labels: Sequence[str], rows: Iterable[Row]
    ) -> None:
        super().__init__(kind, name, text, labels)
        self.rows = list(rows)
        self._sample_name = f"{name}_total" if kind == "counter" else name

    def lines(self, texts: dict[Labels, str]) -> Iterator[str]:
        name = self._sample_name
        for values, value in self.rows:
            text = self._label_text(texts, values)
            yield f"{name}{text[:-1]}}} {value}\n" if values else f"{name} {value}\n"

    def _samples(self) -> Iterator[Sample]:
        name = self._sample_name
        for values, value in self.rows:
            yield Sample(name, dict(zip(self.labels, values, strict=True)), value)


class _Histogram(Family):
    """A histogram in seconds: a sample for each bucket, the count, the sum."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], rows: Iterable[HistogramRow]
    ) -> None:
        super().__init__("histogram", name, text, labels)
        self.rows = list(rows)

    def lines(self, texts: dict[Labels, str]) -> Iterator[str]:
        name = self.name
        for values, counts, sum_us in self.rows:
            text = self._label_text(texts, values)
            begin = f"{name}_bucket{text}"
            total = 0
            for bound, count in zip(_BOUND_LABELS, counts, strict=True):
                total += count
                yield f"{begin}{bound}{total}\n"
            end = f"{text[:-1]}}}" if values else ""
            yield f"{name}_count{end} {total}\n{name}_sum{end} {sum_us / 1e6}\n"

    def _samples(self) -> Iterator[Sample]:
        for values, counts, sum_us in self.rows:
            labels = dict(zip(self.labels, values, strict=True))
            for bound, total in zip(_BOUNDS, accumulate(counts), strict=True):
                yield Sample(f"{self.name}_bucket", {**labels, "le": bound}, total)
            yield Sample(f"{self.name}_count", labels, sum(counts))
            yield Sample(f"{self.name}_sum", labels, sum_us / 1e6)


def counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Family:
    """Return a counter; its samples are called `name`_total."""
    return _Plain("counter", name, text, labels, rows)


def gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Family:
    """Return a gauge."""
    return _Plain("gauge", name, text, labels, rows)


def histogram(name: str, text: str, labels: Sequence[str], rows: Iterable[HistogramRow]) -> Family:
    """Return a histogram in seconds, of (labels, counts of each bucket, sum in microseconds)."""
    return _Histogram(name, text, labels, rows)
