"""A connection belongs to the service that has its destination, and to none if nobody has."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.support.http import Stream
from tests.support.process import Proxy
from tests.support.rig import Rig
from tests.support.shop import Shop
from tests.support.sockets import Address, accepted, address_of, written
from tests.support.waiting import eventually


@pytest.fixture
def shop(rig: Rig) -> Shop:
    return Shop(rig, "--recent=10")


def test_two_services_behind_one_proxy_have_series_of_their_own(shop: Shop) -> None:
    shop.ask("shop/web")
    shop.ask("shop/web", "503 Service Unavailable")
    shop.ask("cart")
    metrics = shop.ended(3)
    assert metrics("request_total", service="shop/web") == 2
    assert metrics("response_total", service="shop/web", classification="failure") == 1
    assert metrics("response_total", service="cart", classification="success") == 1
    for family in ("request_duration_seconds", "first_byte_seconds"):
        assert metrics(f"remora_http_{family}_count", service="cart") == 1
    assert metrics("remora_http_response_bytes_total", service="shop/web") == 10


def test_a_destination_that_nobody_named_is_unknown(shop: Shop) -> None:
    shop.ask("unknown")
    metrics = shop.ended(1)
    services = {s.labels["service"] for s in metrics.samples if "service" in s.labels}
    assert services == {"unknown"}


def test_requests_and_connections_tell_their_service(shop: Shop) -> None:
    shop.ask("cart")
    shop.ask("unknown")
    shop.ended(2)

    for what in ("requests", "connections"):
        eventually(f"both {what}", partial(shop.told, what, ["cart", "unknown"]))


def test_status_shows_each_service(shop: Shop) -> None:
    shop.ask("shop/web")
    shop.ask("shop/web")
    shop.ask("cart", "500 Internal Server Error")
    shop.ended(3)
    rows = shop.proxy.status()["services"]
    assert [(row["service"], row["begun"], row["success_rate"]) for row in rows] == [
        ("shop/web", 2, 1.0),
        ("cart", 1, 0.0),
    ]
    assert shop.proxy.status()["requests"]["explicit"]["begun"] == 3


def test_requests_of_a_service_are_one_sum_over_workers(rig: Rig) -> None:
    shop = Shop(rig, "--workers=3")
    for _ in range(8):
        shop.ask("cart")
    metrics = shop.ended(8)
    assert metrics("request_total", service="cart") == 8
    assert metrics("response_total", service="cart", status_code="200") == 8


def test_services_without_room_share_a_series_and_no_request_is_lost(rig: Rig) -> None:
    shop = Shop(rig, "--metrics-series-max=1150")
    shop.ask("shop/web")
    shop.ask("cart")
    shop.ask("cart")
    metrics = shop.ended(3)
    assert (metrics("request_total", service="cart"), len(metrics.samples) <= 1_150) == (2, True)
    shop.ask("unknown")
    shop.ask_in_vain()
    metrics = shop.ended(5)
    assert metrics("request_total", service="other") == 2
    assert metrics("response_total", service="other", classification="failure") == 1
    assert len(metrics.samples) <= 1_150


def test_a_service_without_requests_is_put_away_and_comes_back_with_its_count(rig: Rig) -> None:
    shop = Shop(rig, "--metrics-idle=1ms")
    shop.ask("cart")
    shop.ended(1)
    eventually("cart to be put away", lambda: not shop.proxy.metrics().has("request_total"))
    shop.ask("cart")
    assert shop.ended(2)("request_total", service="cart") == 2


# --- what is declared not to be HTTP -------------------------------------------------------------

Declare = Callable[[Address], str]
OPAQUE = {
    "port": lambda target: f"--opaque-ports={target[1]}",
    "range": lambda target: f"--opaque-ports=1-1,{target[1]}-{target[1]}",
    "service": lambda target: f"--service=db={written(target)}/mysql",
}
# Nothing in here may be touched: a parser would refuse all of it, or change it.
NOT_TO_BE_TOUCHED = b"GET / HTTP/1.1\r\nHost : x\r\nConnection: x-gone\r\nX-Gone: 1\r\n\r\n"


def proxy_to(rig: Rig, target: Address, *flags: str) -> tuple[Proxy, Stream]:
    proxy = rig.start_to(target, *flags)
    return proxy, Stream(rig.connect(proxy.listeners("explicit")[0]))


@pytest.mark.parametrize("declare", OPAQUE.values(), ids=OPAQUE)
def test_an_opaque_port_relays_what_looks_like_http_untouched(rig: Rig, declare: Declare) -> None:
    upstream = rig.listen()
    proxy, down = proxy_to(rig, address_of(upstream), declare(address_of(upstream)))
    up = Stream(rig.keep(accepted(upstream)))  # dialled before a byte was said
    down.send(NOT_TO_BE_TOUCHED)
    assert up.exactly(len(NOT_TO_BE_TOUCHED)) == NOT_TO_BE_TOUCHED
    assert [row["protocol"] for row in proxy.connections()] == ["opaque"]
    metrics = proxy.metrics()
    assert metrics("remora_detect_total", protocol="opaque", speaker="none") == 1
    assert metrics("request_total") == 0


def test_an_opaque_port_holds_nothing_back(rig: Rig) -> None:
    upstream = rig.listen()
    target = address_of(upstream)
    _, down = proxy_to(rig, target, f"--opaque-ports={target[1]}", "--detect-timeout=1h")
    up = Stream(rig.keep(accepted(upstream)))
    down.send(b"GE")  # elsewhere these wait for the rest of a request line
    assert up.exactly(2) == b"GE"


def test_an_opaque_port_is_opaque_though_its_service_is_http(rig: Rig) -> None:
    upstream = rig.listen()
    target = address_of(upstream)
    flags = (f"--opaque-ports={target[1]}", f"--service=web={written(target)}/http")
    proxy, down = proxy_to(rig, target, *flags)
    down.send(NOT_TO_BE_TOUCHED)
    up = Stream(rig.keep(accepted(upstream)))
    assert up.exactly(len(NOT_TO_BE_TOUCHED)) == NOT_TO_BE_TOUCHED
    assert [(row["protocol"], row["service"]) for row in proxy.connections()] == [("opaque", "web")]


def test_a_service_of_tls_is_labelled_by_its_bytes_and_never_parsed(rig: Rig) -> None:
    upstream = rig.listen()
    target = address_of(upstream)
    proxy, down = proxy_to(rig, target, f"--service=web={written(target)}/https")
    down.send(NOT_TO_BE_TOUCHED)
    up = Stream(rig.keep(accepted(upstream)))
    assert up.exactly(len(NOT_TO_BE_TOUCHED)) == NOT_TO_BE_TOUCHED
    assert [row["protocol"] for row in proxy.connections()] == ["http1"]
    assert proxy.metrics()("request_total") == 0


# --- words ---------------------------------------------------------------------------------------


def test_an_address_in_two_services_is_refused_before_any_port_opens(rig: Rig) -> None:
    proxy = rig.launch("--service=a=10.0.0.1:80", "--service=b=10.0.0.1:80")
    assert proxy.wait_exit() == 64
    proxy.ended_as_planned = True
    assert "'10.0.0.1:80' of 'b' is taken by 'a'" in proxy.take_last_words()
