"""Services and endpoints as rows: who is called what, and who may get requests."""

from pathlib import Path

import pytest

from proxy.policy.effective import Who
from proxy.sources.strict import FaultsError
from proxy.traffic.model import traffic
from proxy.traffic.numbers import Numbers
from proxy.traffic.rows import Backend, Limit, Traffic
from tests.support.traffic import Object, endpoint, endpoints, load, service

WHO = Who("shop")
READY = endpoint("10.0.0.1")


def rows_of(
    tmp_path: Path,
    *objects: Object,
    who: Who = WHO,
    numbers: Numbers | None = None,
    taken: frozenset[tuple[str, int]] = frozenset(),
) -> Traffic:
    return traffic(load(tmp_path, *objects), who, numbers or Numbers(), taken)[0]


def notes_of(tmp_path: Path, *objects: Object, who: Who = WHO) -> tuple[str, ...]:
    return traffic(load(tmp_path, *objects), who, Numbers())[1]


def hosts(backend: Backend) -> list[str]:
    return [each.host for each in backend.endpoints]


def test_a_port_of_a_service_has_a_front_and_a_backend(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, service("web", ports=(80, 81)), endpoints("web", READY))
    assert [front.addresses for front in rows.fronts] == [
        (("10.96.0.1", 80),),
        (("10.96.0.1", 81),),
    ]
    first, second = rows.backends
    assert (first.service, first.port, hosts(first)) == ("shop/web", 80, ["10.0.0.1"])
    assert first.endpoints[0].port == 8080
    assert second.endpoints == ()  # the slice has no port of that name
    assert [front.number for front in rows.fronts] == [first.number, second.number]


def test_a_service_has_its_bare_name_in_our_namespace_only(tmp_path: Path) -> None:
    names = [b"web", b"web.shop", b"web.shop.svc", b"web.shop.svc.cluster.local"]
    (front,) = rows_of(tmp_path, service("web")).fronts
    assert front.names == tuple((name, 80) for name in names)
    (front,) = rows_of(tmp_path, service("web"), who=Who("cart")).fronts
    assert front.names == tuple((name, 80) for name in names[1:])


def test_a_service_of_two_families_has_both_addresses_and_each_pod_once(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        service("web", "fd00::1", clusterIPs=["fd00::1", "10.96.0.1"]),
        endpoints("web", READY),
        endpoints("web", endpoint("fd00:0:0::7"), name="web-6", family="IPv6"),
    )
    assert rows.fronts[0].addresses == (("fd00::1", 80), ("10.96.0.1", 80))
    assert hosts(rows.backends[0]) == ["fd00::7"]
    assert {direct.host for direct in rows.directs} == {"10.0.0.1", "fd00::7"}


def test_a_headless_service_is_found_by_its_names_and_its_pods_by_their_addresses(
    tmp_path: Path,
) -> None:
    rows = rows_of(tmp_path, service("db", "None"), endpoints("db", READY))
    (front,) = rows.fronts
    assert (front.addresses, front.routes) == ((), ())
    assert (b"db.shop.svc", 80) in front.names
    assert hosts(rows.backends[0]) == ["10.0.0.1"]
    (direct,) = rows.directs
    assert direct == ("10.0.0.1", 8080, "shop/db", "detect", 0)


def test_an_external_name_is_nothing_here(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, service("far", "", type="ExternalName", externalName="a.example"))
    assert rows == Traffic()


def test_a_port_that_is_not_tcp_is_nothing_here(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path, service("dns") | {"spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}
    )
    assert rows == Traffic()


def test_the_declared_protocol_of_a_port_counts_at_its_pods_too(tmp_path: Path) -> None:
    one = service("db")
    one["spec"]["ports"][0]["appProtocol"] = "mysql"
    rows = rows_of(tmp_path, one, endpoints("db", READY))
    assert (rows.fronts[0].handling, rows.directs[0].handling) == ("opaque", "opaque")


# ---- endpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "chosen"),
    [
        (["ready", "ready", "ready"], "123"),
        (["ready", "not", "ready"], "13"),
        (["ready", "ending", "gone"], "1"),
        (["not", "ending", "gone"], "2"),  # better than nobody, as kube-proxy has it
        (["not", "not", "gone"], ""),
    ],
)
def test_the_ready_ones_get_requests(tmp_path: Path, states: list[str], chosen: str) -> None:
    each = [endpoint(f"10.0.0.{i}", state) for i, state in enumerate(states, 1)]
    rows = rows_of(tmp_path, service("web"), endpoints("web", *each))
    assert hosts(rows.backends[0]) == [f"10.0.0.{digit}" for digit in chosen]
    assert len(rows.directs) == 3  # whoever is there is known by name


def test_all_slices_of_a_service_count_and_nobody_counts_twice(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        service("web"),
        endpoints("web", endpoint("10.0.0.2"), endpoint("10.0.0.1", "not")),
        endpoints("web", READY, name="web-2"),
    )
    assert hosts(rows.backends[0]) == ["10.0.0.1", "10.0.0.2"]


def test_who_was_not_ready_keeps_its_slot(tmp_path: Path) -> None:
    numbers = Numbers()
    slots = []
    for state in ("ready", "not", "ready"):
        objects = (
            service("web"),
            endpoints("web", endpoint("10.0.0.1", state), endpoint("10.0.0.2")),
        )
        rows = rows_of(tmp_path, *objects, numbers=numbers)
        numbers.commit()
        slots.append([(each.slot, each.generation) for each in rows.backends[0].endpoints])
    assert slots == [[(0, 1), (1, 1)], [(1, 1)], [(0, 1), (1, 1)]]


ZONES = endpoints(
    "web",
    endpoint("10.0.0.1", zone="a"),
    endpoint("10.0.0.2", zone="b", targetRef={"kind": "Pod", "name": "web-2"}),
    endpoint("10.0.0.3", zone="b"),
)


def test_those_of_our_zone_come_first_where_the_service_asks_for_it(tmp_path: Path) -> None:
    one = service("web", trafficDistribution="PreferClose")
    (backend,) = rows_of(tmp_path, one, ZONES, who=Who("shop", zone="b")).backends
    assert (hosts(backend), backend.local_count) == (["10.0.0.2", "10.0.0.3", "10.0.0.1"], 2)
    (backend,) = rows_of(tmp_path, service("web"), ZONES, who=Who("shop", zone="b")).backends
    assert (hosts(backend), backend.local_count) == (["10.0.0.1", "10.0.0.2", "10.0.0.3"], 0)


def test_our_zone_is_that_of_our_pod_in_the_slices(tmp_path: Path) -> None:
    one = service("web", trafficDistribution="PreferSameZone")
    (backend,) = rows_of(tmp_path, one, ZONES, who=Who("shop", "web-2")).backends
    assert backend.local_count == 2


def test_hints_count_where_everybody_has_some(tmp_path: Path) -> None:
    one = service("web", trafficDistribution="PreferClose")
    hint = {"forZones": [{"name": "b"}]}
    hinted = endpoints(
        "web",
        endpoint("10.0.0.1", zone="a", hints=hint),
        endpoint("10.0.0.2", zone="b", hints=hint),
    )
    (backend,) = rows_of(tmp_path, one, hinted, who=Who("shop", zone="b")).backends
    assert backend.local_count == 2
    hinted["endpoints"].append(endpoint("10.0.0.3", zone="c"))
    (backend,) = rows_of(tmp_path, one, hinted, who=Who("shop", zone="b")).backends
    assert (hosts(backend)[0], backend.local_count) == ("10.0.0.2", 1)


# ---- addresses ----------------------------------------------------------------------------------


def test_a_pod_of_two_services_is_the_first_ones_by_name(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path,
        service("web", "10.96.0.2"),
        service("all", "10.96.0.1"),
        endpoints("web", READY),
        endpoints("all", READY, endpoint("10.0.0.2")),
    )
    assert [(each.host, each.service, each.front) for each in rows.directs] == [
        ("10.0.0.1", "shop/all", 0),
        ("10.0.0.2", "shop/all", 0),
    ]


def test_a_flag_wins_over_manifests_on_the_same_address(tmp_path: Path) -> None:
    taken = frozenset({("10.96.0.1", 80), ("10.0.0.1", 8080)})
    rows = rows_of(tmp_path, service("web"), endpoints("web", READY), taken=taken)
    assert rows.fronts[0].addresses == ()
    assert rows.directs == ()
    assert hosts(rows.backends[0]) == ["10.0.0.1"]


def test_an_address_of_two_services_is_the_first_ones_and_told(tmp_path: Path) -> None:
    objects = (service("a"), service("b"))
    assert [front.addresses for front in rows_of(tmp_path, *objects).fronts] == [
        (("10.96.0.1", 80),),
        (),
    ]
    (note,) = notes_of(tmp_path, *objects)
    assert note == "Service shop/b: 10.96.0.1:80 is Service shop/a's, and stays so"


def test_slices_without_a_service_are_told(tmp_path: Path) -> None:
    (note,) = notes_of(tmp_path, endpoints("gone", READY))
    assert note == "EndpointSlices without their Service are ignored: shop/gone"


# ---- all or nothing -----------------------------------------------------------------------------


def test_the_faults_of_all_objects_count(tmp_path: Path) -> None:
    one = service("web", annotations={"rate-limit": "much"})
    with pytest.raises(FaultsError, match="'much' is no rate"):
        rows_of(tmp_path, one, service("db", "10.96.0.2"))


def test_limits_of_a_service_stand_at_its_front(tmp_path: Path) -> None:
    one = service(
        "web",
        annotations={
            "rate-limit": "100/s burst=200",
            "peer-rate-limit": "30/m",
            "concurrency-limit": "64",
            "fault-abort": "5% 503",
        },
    )
    (front,) = rows_of(tmp_path, one).fronts
    assert front.limit == Limit(100_000, 200)
    assert front.peer_limit.rate_per_ks == 500
    assert front.requests_max == 64
    assert (front.fault.abort_per_million, front.fault.abort_status) == (50_000, 503)
