"""docs/webhook.md names what there is, and nothing else."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from inject.reasons import REASONS
from inject.settings import OPTIONS
from inject.webhook import door, handler, issuer, review, serve
from inject.webhook.metrics import Metrics
from inject.webhook.options import GROUPS, SELF_SIGNED

PAGE = (Path(__file__).parents[3] / "docs" / "webhook.md").read_text()
SOURCES = Path(review.__file__).parent
ROW = re.compile(r"^\| `([\w./-]+)` \| *(.*?) *\|", re.MULTILINE)
MIB = 1 << 20


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_flag_is_documented_with_its_default() -> None:
    rows = dict(ROW.findall(section("Flags")))
    own = [option for group in GROUPS for option in group.options if option not in OPTIONS]
    defaults = {option.flag: f"`{option.default}`" if option.default else "" for option in own}
    defaults[SELF_SIGNED.flag] = ""  # a switch
    assert rows == defaults


def test_every_reason_of_its_own_is_documented_and_is_none_of_injections() -> None:
    assert [word for word, _ in ROW.findall(section("Answers"))] == list(review.REASONS)
    assert not review.REASONS.keys() & REASONS.keys()


def test_every_metric_is_documented_with_its_labels() -> None:
    rows = {name: text.replace("`", "") for name, text in ROW.findall(section("Metrics"))}
    text = Metrics().text("")[0].decode()
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(text)
        if family.name.startswith("remora_webhook_") and not family.name.endswith("_created")
    }
    assert rows.keys() == families.keys()
    for name, family in families.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(rows[name].split(", ")), name


def test_every_bound_is_documented() -> None:
    text = section("Bounds")
    for bound in (
        f"| {handler.BODY_BYTES_MAX // MIB} MiB:",
        f"| {review.NODES_MAX}, then 413",
        f"| {handler.HELD_BYTES_MAX // MIB} MiB, then 503",
        f"| {handler.IN_FLIGHT_MAX}, then 503",
        f"| {handler.CONNECTIONS_MAX};",
        f"| {door.HANDSHAKES_MAX}, of {door.HANDSHAKE_S_MAX:g} s each",
        f"| {handler.IDLE_S_MAX:g} s:",
        f"({handler.LIMITS.request_s:g} s at most)",
    ):
        assert bound in text, bound
    assert f"({serve.FINISH_S_MAX:g} s at most)" in section("The end")


def test_the_lives_of_certificates_are_documented() -> None:
    assert (issuer.CA_LIFE.days, issuer.LEAF_LIFE.days) == (3650, 365)
    assert issuer.RENEW_AT * 3 == issuer.LEAF_LIFE


def test_every_word_of_the_log_that_is_named_is_written() -> None:
    written = "\n".join(path.read_text() for path in SOURCES.glob("*.py"))
    named = re.findall(r"log `(\w+)`", PAGE) + re.findall(r"then `(\w+)`", PAGE)
    assert len(named) >= 4
    assert not [word for word in named if f'"{word}"' not in written]
