"""`ctl why` and `ctl config`: what they tell, as JSON and as text."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy import ctl_config, ctl_why
from proxy.config import Config, read_config
from proxy.engine import Engine
from proxy.policy.watch import PolicyWatch
from proxy.traffic.describe import config as described
from proxy.traffic.why import Question, WhyError, why
from tests.support.policy import policy
from tests.support.traffic import (
    Object,
    destination_rule,
    endpoint,
    endpoints,
    route,
    rule,
    service,
    to,
)
from tests.unit.control.conftest import ReadableLog

FRONT = "spiffe://cluster.local/ns/front/sa/front"
WEB = service("web", annotations={"timeout": "10s", "rate-limit": "100/s"})
V2 = service("v2", "10.96.0.2")
BEHIND = endpoints("web", endpoint("10.0.0.7"), endpoint("10.0.0.8"))
RED = {"path": {"value": "/cart"}, "headers": [{"name": "x-team", "value": "red"}]}
CANARY = route(
    "canary",
    {"matches": [RED], "backendRefs": [to("web", weight=3), to("v2"), to("gone", weight=0)]},
    rule(to("web"), path="/cart", timeouts={"request": "2s"}, retry={"codes": [503]}),
)
ALL = (WEB, V2, BEHIND, CANARY)


class Told:
    """A watch over some objects, and the configuration beside it."""

    def __init__(
        self, directory: Path, log: ReadableLog, *objects: Object, flags: str = ""
    ) -> None:
        manifests = directory / "manifests"
        manifests.mkdir(exist_ok=True)
        (manifests / "all.json").write_text("\n---\n".join(map(json.dumps, objects)))
        words = ["--manifests", str(manifests), "--namespace", "shop", *flags.split()]
        self.config: Config = read_config(words, {})
        self.watch = PolicyWatch(
            self.config.policy, log.log, mesh=self.config.mesh, services=self.config.services
        )
        self.watch.start()

    def why(self, method: str, url: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        answer = why(self.watch, self.config, Question(method, url, **fields))
        decoded: dict[str, Any] = json.loads(json.dumps(answer))
        return decoded

    def page(self, service_name: str = "") -> dict[str, Any]:
        engine = Engine(1, 1)
        page = described(self.watch, engine, service_name, 1000)
        engine.stop()
        decoded: dict[str, Any] = json.loads(json.dumps(page))
        return decoded


@pytest.fixture
def told(tmp_path: Path, readable_log: ReadableLog) -> Told:
    return Told(tmp_path, readable_log, *ALL)


# ---- outbound -----------------------------------------------------------------------------------


def test_the_route_is_told_with_those_that_were_asked_before(told: Told) -> None:
    answer = told.why("GET", "http://web/cart/1")
    assert answer["destination"]["service"] == "shop/web"
    assert answer["route"]["match"] == "path below /cart"
    assert answer["route"]["why"] == "number 2 of 2 matches is the first that fits"
    (before,) = answer["route"]["stronger"]
    assert before["why_not"] == "there is no header x-team"


def test_backends_are_told_with_their_shares_and_endpoints(told: Told) -> None:
    answer = told.why("GET", "http://web.shop/cart", headers=("X-Team: red",))
    rows = [(each["service"], each["percent"], each["why"]) for each in answer["backends"]]
    assert rows == [
        ("shop/web", 75, "ewma over 2 ready"),
        ("shop/v2", 25, "no endpoint is ready: answered with 503"),
        (None, 0, "answered with 500: nobody is there"),
    ]
    addresses = [each["address"] for each in answer["backends"][0]["endpoints"]]
    assert addresses == ["10.0.0.7:8080", "10.0.0.8:8080"]


def test_times_and_retries_are_told_with_who_says_so(told: Told) -> None:
    times = told.why("GET", "http://web/cart")["times"]
    assert times["request"] == {"ms": 2000, "by": "HTTPRoute shop/canary"}
    assert times["connect"] == {"ms": 5000, "by": "--connect-timeout"}
    assert (times["retry"]["codes"], times["retry"]["by"]) == ([503], "HTTPRoute shop/canary")
    times = told.why("GET", "http://web/cart", headers=("x-team: red",))["times"]
    assert times["request"] == {"ms": 10_000, "by": "Service shop/web"}
    assert (times["retry"]["attempts"], times["retry"]["by"]) == (2, "the default")


def test_where_no_match_fits_it_is_a_404(told: Told) -> None:
    answer = told.why("GET", "http://web/other")
    assert answer["route"]["why"] == "none of 2 matches fits: answered with 404"
    assert answer["backends"] == []


def test_without_a_route_it_goes_to_the_service_itself(told: Told) -> None:
    answer = told.why("GET", "http://10.96.0.2/")
    assert answer["route"] == {"why": "no route is attached: to the Service itself"}
    assert [each["service"] for each in answer["backends"]] == ["shop/v2"]


@pytest.mark.parametrize(
    ("url", "kind", "service_name"),
    [
        ("http://10.0.0.7:8080/", "pod", "shop/web"),
        ("http://10.96.0.1/", "service", "shop/web"),
        ("http://10.96.0.1:81/", "unknown", "unknown"),
        ("http://web.shop.svc.cluster.local./", "service", "shop/web"),
        ("http://example.org/", "unknown", "unknown"),
        ("http://[fd00::1]/", "flag", "old"),
    ],
)
def test_a_host_leads_where_the_data_plane_finds_it(
    tmp_path: Path, readable_log: ReadableLog, url: str, kind: str, service_name: str
) -> None:
    told = Told(tmp_path, readable_log, *ALL, flags="--service old=[fd00::1]:80")
    place = told.why("GET", url)["destination"]
    assert (place["kind"], place["service"]) == (kind, service_name)


def test_where_host_decides_an_unknown_one_is_a_404(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    flags = "--no-interception --listen-hosts 127.0.0.1:8080"
    told = Told(tmp_path, readable_log, *ALL, flags=flags)
    answer = told.why("GET", "http://example.org/")
    assert answer["listener"]["addresses"] == ["127.0.0.1:8080"]
    text = "no Service is called example.org at port 80: answered with 404"
    assert answer["destination"]["why"] == text
    assert told.why("GET", "http://web/")["destination"]["service"] == "shop/web"


def test_a_port_that_is_no_http_has_no_route(tmp_path: Path, readable_log: ReadableLog) -> None:
    one = service("web")
    one["spec"]["ports"][0]["appProtocol"] = "mysql"
    told = Told(tmp_path, readable_log, one, BEHIND)
    answer = told.why("GET", "http://web/")
    assert "nobody looks for requests" in answer["route"]["why"]
    assert [each["service"] for each in answer["backends"]] == ["shop/web"]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Question("GET", "web/cart"), "'web/cart' is no URL of a host"),
        (Question("GET", "http://web:x/"), "is no URL"),
        (Question("GET", "http://web/a%2fb"), "path_ambiguous"),
        (Question("GET", "http://web/", headers=("red",)), "'red' is no header"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    told: Told, question: Question, text: str
) -> None:
    with pytest.raises(WhyError, match=text):
        why(told.watch, told.config, question)


# ---- inbound ------------------------------------------------------------------------------------


def test_what_comes_in_is_judged_and_limited(tmp_path: Path, readable_log: ReadableLog) -> None:
    spec = {"rules": [{"from": [{"source": {"namespaces": ["front"]}}]}]}
    told = Told(tmp_path, readable_log, *ALL, policy("p", spec))
    answer = told.why("GET", "http://web/", is_inbound=True, peer=FRONT)
    assert (answer["policies"]["is_allowed"], answer["policies"]["policy"]) == (True, "shop/p")
    assert answer["limits"] == {"rate": "100/s burst=100"}
    assert answer["application"] == {"port": 8080}
    answer = told.why("GET", "http://web/", is_inbound=True)
    assert not answer["policies"]["is_allowed"]


# ---- text ---------------------------------------------------------------------------------------


def test_the_page_of_why_tells_it_in_the_order_of_a_request(told: Told) -> None:
    text = ctl_why.why(told.why("GET", "http://web/cart?x=1"))
    lines = text.splitlines()
    assert lines[0] == "GET web:80/cart?x=1"
    heads = [line.partition(":")[0] for line in lines[1:] if line[0] != " "]
    assert heads == [
        *("listener", "destination", "route", "policies", "backend"),
        *("request time", "try time", "connect time", "retries"),
    ]
    assert "asked before: shop/canary: path below /cart, header x-team=red" in text


def test_the_page_of_config_has_a_row_for_each_port(told: Told) -> None:
    text = ctl_config.config(told.page(), is_detailed=False)
    rows = [line.split() for line in text.splitlines() if line.startswith("shop/")]
    assert [row[0] for row in rows] == ["shop/v2", "shop/web"]
    assert "shop/gone:80 is no port of a Service" in text
    text = ctl_config.config(told.page("shop/web"), is_detailed=True)
    assert "  name      web.shop.svc:80" in text.splitlines()
    assert "  match     shop/canary: path below /cart" in text.splitlines()


def test_what_is_said_of_a_service_is_shown(tmp_path: Path, readable_log: ReadableLog) -> None:
    pool = {"connectionPool": {"http": {"http2MaxRequests": 7}}}
    told = Told(tmp_path, readable_log, WEB, destination_rule("d", "web", pool))
    (row,) = told.page()["services"]
    assert row["settings"] == {"requests_max": 7, "request_ms": 10_000}
    assert row["limits"] == {"rate": "100/s burst=100"}
    assert row["endpoints"] == []


def test_faults_of_a_refused_change_are_shown_and_the_old_state_stays(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    told = Told(tmp_path, readable_log, *ALL)
    before = told.watch.traffic
    broken = service("web", annotations={"rate-limit": "much"})
    (tmp_path / "manifests" / "all.json").write_text(json.dumps(broken))
    told.watch.reload()
    assert told.watch.traffic is before
    page = told.page()
    assert page["loads"] == {"good": 1, "bad": 1}
    assert len(page["services"]) == 2
    assert "'much' is no rate" in ctl_config.config(page, is_detailed=False)


def test_what_the_data_plane_does_not_take_changes_nothing(
    tmp_path: Path, readable_log: ReadableLog
) -> None:
    told = Told(tmp_path, readable_log, *ALL)
    before = told.watch.traffic, told.watch.notes, told.watch.loaded_unix_s

    def refuse() -> None:
        raise ValueError("more than 3 fronts in the traffic policy")

    told.watch.on_change = refuse
    (tmp_path / "manifests" / "all.json").write_text(json.dumps(WEB))
    told.watch.reload()
    assert (told.watch.traffic, told.watch.notes, told.watch.loaded_unix_s) == before
    (fault,) = told.watch.faults
    assert fault.text == "more than 3 fronts in the traffic policy"


def test_a_note_is_logged_once(tmp_path: Path, readable_log: ReadableLog) -> None:
    told = Told(tmp_path, readable_log, *ALL)
    told.watch.reload()
    lines = [line for line in readable_log.lines if line["event"] == "manifests_note"]
    assert len(lines) == 1
