"""The documentation names what there is, and nothing else."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from proxy import answers, engine, services
from proxy.config import GROUPS, read_config
from proxy.drain import Drain
from proxy.engine import Engine
from proxy.errors import REASONS
from proxy.events import Events
from proxy.identity import command as identity_command
from proxy.identity.authority import Authority, write_svid
from proxy.identity.keeper import Keeper
from proxy.identity.spiffe import of_service_account
from proxy.metrics import Exposition
from proxy.readiness import Readiness
from proxy.snapshot import draft
from proxy.state import Running
from proxy.tls_failures import FAILURES
from tests.unit.control.conftest import ReadableLog

DOCS = Path(__file__).parents[3] / "docs"
METRICS = (DOCS / "metrics.md").read_text()
HTTP = (DOCS / "http.md").read_text()
MTLS = (DOCS / "mtls.md").read_text()
POLICY = (DOCS / "policy.md").read_text()


@pytest.fixture
def running(readable_log: ReadableLog, tmp_path: Path) -> Iterator[Running]:
    """A proxy that never started, with an identity."""
    log, settings = readable_log.log, read_config([], {})
    signer = Authority.create(tmp_path / "ca", "cluster.local")
    issued = signer.issue(of_service_account("cluster.local", "a", "b"), timedelta(hours=1))
    write_svid(tmp_path / "svid", issued)
    keeper = Keeper(tmp_path / "svid", engine.load_openssl(own_records=True), log)
    made = Engine(1, 1)
    made.publish(draft(settings, []))
    readiness = Readiness(log, ())
    drain = Drain(settings, made, readiness, log)
    events = Events("off", 0)
    yield Running(
        *(settings, log, [], made, events, readiness, drain, 1, time.monotonic()), keeper=keeper
    )
    made.stop()


def test_every_family_of_a_scrape_is_documented(running: Running) -> None:
    text = Exposition(running).text("", 0.0)[0].decode()
    exposed = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    ours = {name for name in exposed if not name.startswith("process_")}
    row = re.compile(r"^\| `(\w+)` \| (?:counter|gauge|histogram)", re.MULTILINE)
    assert set(row.findall(METRICS)) == ours


def test_every_event_is_documented() -> None:
    (row,) = [line for line in METRICS.splitlines() if line.startswith("| `remora_events_total`")]
    assert set(re.findall(r"`(\w+)`", row)) - {"remora_events_total", "event"} == set(engine.EVENTS)


def test_every_method_is_documented() -> None:
    (row,) = [line for line in METRICS.splitlines() if line.startswith("| `method`")]
    assert set(re.findall(r"`([A-Z]+)`", row)) == set(engine.METHODS)


def test_the_buckets_are_documented() -> None:
    match = re.search(r"in seconds: ([\d., \n]+)\. For", METRICS)
    assert match
    assert [float(bound) * 1e6 for bound in match[1].split(",")] == pytest.approx(engine.BUCKETS_US)


def test_every_answer_is_documented_with_its_status_and_flag() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (\w+) \|", HTTP, re.MULTILINE)
    assert rows == [(word, str(each.status), each.flag) for word, each in answers.ANSWERS.items()]


def test_every_flag_is_documented_with_what_it_counts_as() -> None:
    rows = re.findall(r"^\| `?([A-Z]+|-)`? \| .+ \| (.+) \|$", HTTP, re.MULTILINE)
    assert [flag for flag, _ in rows] == list(answers.FLAGS)
    failures = {flag for flag, counts_as in rows if counts_as == "failure"}
    assert failures == {name for name, flag in answers.FLAGS.items() if flag.is_failure}


def test_every_flag_of_the_command_line_that_is_named_exists() -> None:
    groups = (*GROUPS, *identity_command.GROUPS)
    known = {option.flag for group in groups for option in group.options}
    assert set(re.findall(r"--[a-z][a-z-]+", HTTP + METRICS + MTLS)) <= known


def test_every_protocol_that_is_not_opaque_is_documented() -> None:
    table = HTTP[HTTP.index("| declared |") : HTTP.index("any other word")]
    words = re.findall(r"`([\w./]+)`", table)
    assert sorted(words) == sorted(word for word in services._HANDLING)


def test_every_failure_of_a_handshake_is_documented_with_what_it_means_and_what_to_do() -> None:
    table = MTLS[MTLS.index("| reason |") : MTLS.index("| close reason |")]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", table, re.MULTILINE)
    counted = [(name, each.text, each.hint) for name, each in FAILURES.items() if each.hint]
    assert rows == counted


def test_every_close_reason_of_mesh_tls_is_documented() -> None:
    table = MTLS[MTLS.index("| close reason |") :]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert {name for name in REASONS if "tls" in name} <= named <= REASONS.keys()


def test_every_flag_of_mesh_tls_is_documented() -> None:
    (group,) = [group for group in GROUPS if group.title == "Mesh TLS"]
    assert {option.flag for option in group.options} <= set(re.findall(r"--[a-z-]+", MTLS))


def test_every_metric_that_the_page_of_mesh_tls_names_exists() -> None:
    names = set(re.findall(r"\bremora_[a-z_]+", MTLS))
    assert names <= set(re.findall(r"\w+", METRICS))


def test_every_flag_of_http_is_documented() -> None:
    (group,) = [group for group in GROUPS if group.title == "HTTP"]
    assert {option.flag for option in group.options} <= set(re.findall(r"--[a-z-]+", HTTP))


def test_every_flag_of_policy_is_documented() -> None:
    (group,) = [group for group in GROUPS if group.title == "Policy"]
    named = set(re.findall(r"--[a-z][a-z-]+", POLICY))
    assert {option.flag for option in group.options} <= named
    known = {option.flag for group in GROUPS for option in group.options}
    assert named - {"--json"} <= known
