"""Metrics → text for Prometheus: its own format 0.0.4, or OpenMetrics 1.0 for who asks for it.

Sources: prometheus.io/docs/instrumenting/exposition_formats; OpenMetrics 1.0 section 4. A test
reads both texts as prometheus_client does, and compares them with what its encoders write.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import Metric

from proxy.families import ESCAPES, Family, Labels

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Types that the older format lacks, and what they are called there.
_PLAIN_TYPES: Final = {"info": ("_info", "gauge"), "counter": ("_total", "counter")}
_TEXT_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def content_type_for(accept: str) -> str:
    """Return PLAIN or OPENMETRICS: the first of both in an Accept header, else PLAIN."""
    for word in accept.split(","):
        media_type = word.partition(";")[0].strip().lower()
        if media_type == "application/openmetrics-text":
            return OPENMETRICS
        if media_type == "text/plain":
            return PLAIN
    return PLAIN


class Writer:
    """Writes families. It remembers the text of label sets: as many as there are series."""

    def __init__(self) -> None:
        self._texts: dict[Labels, dict[Labels, str]] = {}  # names → values → text

    def write(self, families: Iterable[Metric], content_type: str) -> bytes:
        """Return the body of a scrape."""
        is_open = content_type == OPENMETRICS
        parts: list[str] = []
        for family in families:
            suffix, kind = ("", family.type)
            if not is_open:
                suffix, kind = _PLAIN_TYPES.get(family.type, ("", family.type))
            text = family.documentation.translate(ESCAPES if is_open else _TEXT_ESCAPES)
            parts.append(
                f"# HELP {family.name}{suffix} {text}\n# TYPE {family.name}{suffix} {kind}\n"
            )
            if isinstance(family, Family):
                parts.extend(family.lines(self._texts.setdefault(family.labels, {})))
            else:
                parts.extend(_lines_of(family))
        if is_open:
            parts.append("# EOF\n")
        return "".join(parts).encode()


def _lines_of(family: Metric) -> Iterator[str]:
    """Write a family of somebody else's making: the process's, and infos."""
    for sample in family.samples:
        pairs = [f'{k}="{v.translate(ESCAPES)}"' for k, v in sample.labels.items()]
        labels = f"{{{','.join(pairs)}}}" if pairs else ""
        yield f"{sample.name}{labels} {sample.value}\n"
