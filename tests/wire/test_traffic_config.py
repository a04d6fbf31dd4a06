"""Manifests of traffic on a running proxy: what is in force, what is refused, who is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import control
from tests.support.policy import Manifests, wait_loaded
from tests.support.process import EXIT_USAGE, Proxy, ctl
from tests.support.rig import Rig
from tests.support.traffic import endpoint, endpoints, route, rule, service, to
from tests.support.waiting import eventually

WEB = service("web", trafficDistribution="PreferClose")
BEHIND = endpoints("web", endpoint("10.0.0.7", zone="a"), endpoint("10.0.0.8", zone="b"))
ROUTE = route("canary", rule(to("web"), path="/cart"))
BROKEN = service("web", annotations={"rate-limit": "much"})


@pytest.fixture
def manifests(tmp_path: Path) -> Manifests:
    return Manifests(tmp_path)


def start(rig: Rig, manifests: Manifests, *flags: str) -> Proxy:
    where = ("--manifests", str(manifests.directory), "--namespace", "shop")
    listen = ("--no-interception", "--listen", "127.0.0.1:0=127.0.0.1:9")
    return rig.start(*listen, *where, *flags)


def page_of(proxy: Proxy) -> dict[str, Any]:
    return control.ask(proxy.control_path, "/traffic?limit=1")


def config(proxy: Proxy, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ctl(proxy, "config", *words, "-o", "json").stdout)
    return answer


def test_what_is_in_force_is_shown(rig: Rig, manifests: Manifests) -> None:
    manifests.write(WEB, BEHIND, ROUTE)
    proxy = start(rig, manifests, "--zone", "b")
    (row,) = config(proxy)["services"]
    assert row["endpoints"] == ["10.0.0.8:8080", "10.0.0.7:8080"]
    assert (row["local_count"], row["routes"][0]["match"]) == (1, "path below /cart")
    assert "shop/web" in ctl(proxy, "config", "shop/web").stdout
    refused = ctl(proxy, "config", "shop/gone")
    assert (refused.returncode, refused.stderr) == (
        1,
        "remora ctl: there is no Service shop/gone here\n",
    )


def test_why_tells_what_would_become_of_a_request(rig: Rig, manifests: Manifests) -> None:
    manifests.write(WEB, BEHIND, ROUTE)
    proxy = start(rig, manifests)
    done = ctl(proxy, "why", "GET", "http://web/cart?x=1&y=a%20b", "--header", "x-team: red & blue")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "GET web:80/cart?x=1&y=a%20b"
    assert "shop/canary: path below /cart" in done.stdout
    words = ("why", "GET", "http://web/", "--header", "a: b & c", "--header", "d: é", "--json")
    answer = json.loads(ctl(proxy, *words).stdout)
    assert answer["asked"]["headers"] == ["host: web", "a: b & c", "d: é"]
    done = ctl(proxy, "why", "GET", "http://web/a%2fb")
    assert (done.returncode, "path_ambiguous" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [("why",), ("why", "GET"), ("why", "GET", "http://a/", "b")])
def test_why_needs_a_method_and_a_url(
    words: tuple[str, ...], rig: Rig, manifests: Manifests
) -> None:
    manifests.write(WEB)
    assert ctl(start(rig, manifests), *words).returncode == EXIT_USAGE


def test_a_change_is_in_force_and_counted(rig: Rig, manifests: Manifests) -> None:
    manifests.write(WEB, BEHIND)
    proxy = start(rig, manifests)
    assert proxy.metrics()("remora_traffic_objects", kind="endpoints") == 2
    manifests.write(WEB, endpoints("web", endpoint("10.0.0.7")), ROUTE)
    wait_loaded(proxy)
    metrics = proxy.metrics()
    assert metrics("remora_traffic_objects", kind="endpoints") == 1
    assert metrics("remora_traffic_objects", kind="routes") == 1
    assert metrics("remora_manifests_objects", kind="HTTPRoute") == 1


def test_a_broken_change_keeps_the_last_good_state_and_says_so(
    rig: Rig, manifests: Manifests
) -> None:
    manifests.write(WEB, BEHIND)
    proxy = start(rig, manifests)
    since = config(proxy)["loaded"]
    manifests.write(BROKEN, BEHIND)
    wait_loaded(proxy)
    page = config(proxy)
    assert (page["loaded"], page["loads"]) == (since, {"good": 1, "bad": 1})
    (fault,) = page["faults"]
    assert (fault["file"], fault["object"]) == ("all.json", "Service shop/web")
    assert proxy.metrics()("remora_manifests_faults") == 1
    assert proxy.metrics()("remora_traffic_objects", kind="endpoints") == 2
    manifests.write(WEB, BEHIND, ROUTE)
    eventually("the mended state is in force", lambda: not config(proxy)["faults"])


def test_a_large_change_is_read_while_everybody_is_answered(rig: Rig, manifests: Manifests) -> None:
    manifests.write(WEB, BEHIND)
    proxy = start(rig, manifests)
    many = range(1000)
    addresses = [f"10.1.{n // 250}.{n % 250}" for n in many]
    services = [service(f"s{n}", f"10.97.{n // 250}.{n % 250}") for n in many]
    slices = [endpoints(f"s{n}", *(endpoint(each) for each in addresses[:20])) for n in many]
    manifests.write(*services, *slices)
    eventually("the reading", lambda: page_of(proxy)["is_reading"])
    assert control.fetch(proxy.admin_address(), "/live")[0] == 200
    assert proxy.metrics()("remora_traffic_objects", kind="services") == 1
    assert page_of(proxy)["is_reading"]
    wait_loaded(proxy)
    assert page_of(proxy)["counts"]["services"] == 1000


def test_a_proxy_that_reads_may_end(rig: Rig, manifests: Manifests) -> None:
    manifests.write(WEB, BEHIND)
    proxy = start(rig, manifests)
    manifests.write(*(service(f"s{n}", f"10.97.{n // 250}.{n % 250}") for n in range(5000)))
    eventually("the reading", lambda: page_of(proxy)["is_reading"])
    proxy.stop()
    assert proxy.logged("manifests_loaded") is None


def test_without_manifests_there_is_nothing_to_show(rig: Rig) -> None:
    proxy = rig.start("--no-interception", "--listen", "127.0.0.1:0=127.0.0.1:9")
    for words in (("config",), ("why", "GET", "http://a/")):
        done = ctl(proxy, *words)
        text = "remora ctl: the proxy was started without --manifests\n"
        assert (done.returncode, done.stderr) == (1, text)
