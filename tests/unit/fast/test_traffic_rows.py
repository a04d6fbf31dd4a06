"""Rows of services, routes and endpoints become C memory, or an error that names what is wrong."""

import errno
import random
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from proxy.traffic import rows as words
from proxy.traffic.rows import (
    Backend,
    Dfa,
    Direct,
    Edit,
    Endpoint,
    Field,
    Front,
    Injected,
    Limit,
    Mirror,
    Outlier,
    Retry,
    Rewrite,
    Route,
    Rule,
    Share,
    Traffic,
)
from tests.probes.faulty import Faulty
from tests.support.stepper import SETTINGS

GOOD_DFA = Dfa(bytes(256), 1, (0,), b"\1")


def backend(**more: Any) -> Backend:  # noqa: ANN401 - fields of Backend
    return Backend(**{"number": 0, "service": "shop/web", "port": 80, **more})


def front(**more: Any) -> Front:  # noqa: ANN401 - fields of Front
    plain = {"service": "shop/web", "handling": "detect", "addresses": (), "names": ()}
    return Front(**{**plain, "backend": 0, "number": 0, **more})


def endpoint(**more: Any) -> Endpoint:  # noqa: ANN401 - fields of Endpoint
    return Endpoint(**{"host": "10.0.0.1", "port": 80, "slot": 0, "generation": 0, **more})


def traffic(**more: Any) -> Traffic:  # noqa: ANN401 - fields of Traffic
    return Traffic(**{"backends": (backend(),), **more})


def with_backend(**more: Any) -> Traffic:  # noqa: ANN401 - fields of Backend
    return traffic(backends=(backend(**more),))


def with_rule(**more: Any) -> Traffic:  # noqa: ANN401 - fields of Rule
    return traffic(rules=(Rule(**{"number": 0, "route": "shop/r", **more}),))


def with_front(**more: Any) -> Traffic:  # noqa: ANN401 - fields of Front
    return traffic(fronts=(front(**more),), rules=(Rule(0, "shop/r"),), dfas=(GOOD_DFA,))


def with_route(**more: Any) -> Traffic:  # noqa: ANN401 - fields of Route
    return with_front(routes=(Route(**{"rule": 0, **more}),))


BAD = {
    "number of shop/web:80": with_backend(number=2**20),
    "between 0 and 1048575, not -1": with_backend(number=-1),
    "number 0 is given to two backends": traffic(backends=(backend(), backend())),
    "not an IP address: 'web'": with_backend(endpoints=(endpoint(host="web"),)),
    "not a port: 0": with_backend(endpoints=(endpoint(port=0),)),
    "slot of an endpoint of shop/web:80": with_backend(endpoints=(endpoint(slot=2**20),)),
    "slot 0 is given to two": with_backend(endpoints=(endpoint(), endpoint(host="10.0.0.2"))),
    "generation of an endpoint": with_backend(endpoints=(endpoint(generation=2**32),)),
    "2 local ones of 1 endpoints": with_backend(endpoints=(endpoint(),), local_count=2),
    "balancing of shop/web:80: 'best'": with_backend(balance="best"),
    "hash of shop/web:80: 'cookie'": with_backend(hash_by="cookie"),
    "name to hash by: b'X' is not in": with_backend(hash_by=words.HEADER, hash_name=b"X"),
    "4 is no prime": with_backend(balance=words.MAGLEV, table_size=4),
    "table size of shop/web:80": with_backend(balance=words.RING, table_size=2**30),
    "connect timeout of shop/web:80": with_backend(connect_ms=-1),
    "request timeout of shop/web:80": with_backend(request_ms=10**12 + 1),
    "most connections of shop/web:80": with_backend(connections_max=2**32),
    "budget of retries of shop/web:80": with_backend(budget_percent=101),
    "least retries per second": with_backend(budget_min_per_s=10**6 + 1),
    "share of ejected": with_backend(outlier=Outlier(ejected_percent_max=101)),
    "codes worth a retry of shop/web:80: 200": with_backend(retry=Retry(codes=(200,))),
    "attempts of shop/web:80": with_backend(retry=Retry(attempts=255)),
    "classes of regular expression 0": traffic(dfas=(GOOD_DFA._replace(classes=bytes(255)),)),
    "classes of regular expression 0: not": traffic(dfas=(GOOD_DFA._replace(class_count=0),)),
    "states of regular expression 0": traffic(dfas=(GOOD_DFA._replace(accepting=b""),)),
    "states of regular expression 0: 2": traffic(dfas=(GOOD_DFA._replace(accepting=b"\1\1"),)),
    "a step of regular expression 0": traffic(dfas=(GOOD_DFA._replace(steps=(1,)),)),
    "backend of a rule of shop/r: there is no 1": with_rule(shares=(Share(1),)),
    "backend of a rule of shop/r: there is no -2": with_rule(shares=(Share(-2),)),
    "sum of weights": with_rule(shares=(Share(0, 2**31), Share(0, 2**31))),
    "mirror of a rule of shop/r: there is no -1": with_rule(mirrors=(Mirror(-1),)),
    "part to be mirrored": with_rule(mirrors=(Mirror(0, 10**6 + 1),)),
    "change of a header of a rule of shop/r": with_rule(request_edits=(Edit("move", b"a"),)),
    "value of a header: 'a' are no bytes": with_rule(
        response_edits=(Edit("set", b"a", "a"),)  # type: ignore[arg-type]
    ),
    "headers of a rule of shop/r must be between 0 and 4096, not 4097": with_rule(
        request_edits=(Edit("set", b"a", bytes(4088)), Edit("remove", b""))
    ),
    "headers of a rule of shop/r must be between 0 and 4096, not 4100": with_rule(
        shares=(Share(0, 1, (), (Edit("add", b"abc", bytes(4093)),)),)
    ),
    "host of a rewrite of a rule of shop/r": with_rule(rewrite=Rewrite(host=b"a" * 254)),
    "status of a redirect of a rule of shop/r: 304": with_rule(rewrite=Rewrite(status=304)),
    "scheme of a rule of shop/r": with_rule(rewrite=Rewrite(scheme="ftp")),
    "burst of the limit of a rule of shop/r": with_rule(limit=Limit(1000, 0)),
    "rate of the limit of a rule of shop/r": with_rule(limit=Limit(10**12 + 1, 1)),
    "part to be delayed": with_rule(fault=Injected(delay_per_million=10**6 + 1)),
    "status of aborts of a rule of shop/r: 0": with_rule(fault=Injected(abort_per_million=1)),
    "backend of shop/web: there is no 3": with_front(backend=3),
    "rule of shop/web: there is no 1": with_route(rule=1),
    "form of a path of shop/web": with_route(path_form="suffix"),
    "regular expression of shop/web: there is no -1": with_route(path_form=words.REGEX),
    "regular expression of shop/web: there is no 1": with_route(path_form=words.REGEX, dfa=1),
    "method of shop/web: 'get'": with_route(method="get"),
    "name of a header: b'X' is not in": with_route(fields=(Field(False, b"X", b""),)),  # noqa: FBT003
    "4097 routes of shop/web": with_front(routes=(Route(0),) * 4097),
    "host name: b'Web' is not in small": with_front(names=((b"Web", 80),)),
    "a host name that was given before: b'a'": with_front(names=((b"a", 80), (b"a", 80))),
    "handling of shop/web: 'guess'": with_front(handling="guess"),
    "an address that was given before: 10.0.0.1": with_front(addresses=(("10.0.0.1", 80),) * 2),
    "front of shop/web: there is no 0": traffic(
        directs=(Direct("10.0.0.1", 80, "shop/web", "detect", 0),)
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_rows_that_mean_nothing_are_refused_by_name(decisions: ModuleType, fault: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        decisions.Policy(BAD[fault])
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    "rows", [traffic(), with_backend(endpoints=(endpoint(),)), with_rule(), with_route()]
)
def test_what_the_bad_rows_are_made_of_is_good(decisions: ModuleType, rows: Traffic) -> None:
    assert decisions.Policy(rows).backend(0) == "shop/web"


def test_backends_are_found_by_number(decisions: ModuleType) -> None:
    numbers = random.Random(1).sample(range(5000), 300)  # noqa: S311 - no secret
    rows = tuple(Backend(number, f"shop/s{number}", 80) for number in numbers)
    policy = decisions.Policy(Traffic(backends=rows))
    for number in range(5001):
        assert policy.backend(number) == (f"shop/s{number}" if number in numbers else None)
    assert decisions.Policy(Traffic()).backend(0) is None


def test_endpoints_stand_in_the_order_of_their_slots_ours_first(decisions: ModuleType) -> None:
    slots = [7, 3, 9, 8, 1, 2]
    rows = tuple(Endpoint(f"10.0.0.{slot}", 80 + slot, slot, 5) for slot in slots)
    policy = decisions.Policy(with_backend(endpoints=rows, local_count=3))
    assert policy.endpoints(0) == [(slot, 5, 80 + slot) for slot in (3, 7, 9, 1, 2, 8)]


def test_addresses_lead_to_fronts_and_to_pods_as_they_are(decisions: ModuleType) -> None:
    rows = traffic(
        fronts=(front(), front(service="shop/api", addresses=(("10.9.0.1", 80), ("fd00::1", 80)))),
        directs=(
            Direct("10.1.0.1", 8080, "shop/web", "detect", 0),
            Direct("10.1.0.2", 8080, "shop/db", "opaque"),
        ),
    )
    policy = decisions.Policy(rows)
    assert policy.find("10.9.0.1", 80) == ("shop/api", 1, False)
    assert policy.find("fd00::1", 80) == ("shop/api", 1, False)
    assert policy.find("10.1.0.1", 8080) == ("shop/web", 0, True)
    assert policy.find("10.1.0.2", 8080) == ("shop/db", -1, True)
    assert policy.find("10.9.0.1", 81) is None


def test_flags_win_over_manifests_on_the_same_address(decisions: ModuleType) -> None:
    rows = traffic(
        fronts=(front(addresses=(("10.9.0.1", 80), ("10.9.0.2", 80))),),
        directs=(Direct("10.9.0.3", 80, "shop/web", "detect"),),
    )
    policy = decisions.Policy(rows, [("10.9.0.1", 80, "flag"), ("10.9.0.3", 80, "flag")])
    assert policy.find("10.9.0.1", 80) == ("flag", -1, False)
    assert policy.find("10.9.0.2", 80) == ("shop/web", 0, False)
    assert policy.find("10.9.0.3", 80) == ("flag", -1, False)


@pytest.mark.parametrize(
    ("host", "port", "found"),
    [
        (b"web", 80, 0),
        (b"WEB.Shop", 80, 0),
        (b"web.shop.svc.cluster.local", 80, 0),
        (b"web.shop.svc.cluster.local.", 80, 0),
        (b"web:80", 8080, 0),
        (b"web:", 80, 0),
        (b"web:8080", 80, 1),
        (b"web", 8080, 1),
        (b"web.:8080", 80, 1),
        (b"web:0080", 8080, 0),
        (b"web:81", 80, None),
        (b"web:65616", 80, None),  # 80 and 2^16
        (b"web:99999999999999", 80, None),
        (b"web:8o", 80, None),
        (b"web:80:80", 80, None),
        (b"we", 80, None),
        (b"webb", 80, None),
        (b"web..", 80, None),
        (b"", 80, None),
        (b".", 80, None),
        (b":80", 80, None),
        (b"[::1]:80", 80, None),
    ],
)
def test_a_host_leads_to_a_front_in_any_case_with_its_port(
    decisions: ModuleType, host: bytes, port: int, found: int | None
) -> None:
    names = (b"web", b"web.shop", b"web.shop.svc.cluster.local")
    rows = traffic(
        fronts=(
            front(names=tuple((name, 80) for name in names)),
            front(names=((b"web", 8080),)),
        )
    )
    assert decisions.Policy(rows).host(host, port) == found


def test_every_word_of_the_rows_has_its_number(decisions: ModuleType) -> None:
    for balance in words.BALANCES:
        decisions.Policy(with_backend(balance=balance))
    for hash_by in words.HASHES:
        decisions.Policy(with_backend(hash_by=hash_by))
    for form in words.PATH_FORMS:
        decisions.Policy(with_route(path_form=form, dfa=0))
    for kind in words.EDITS:
        decisions.Policy(with_rule(request_edits=(Edit(kind, b"x", b"1"),)))
    for kind in words.REWRITES:
        for scheme in words.SCHEMES:
            decisions.Policy(with_rule(rewrite=Rewrite(path_kind=kind, scheme=scheme)))
    lengths = [len(each) for each in (words.BALANCES, words.HASHES, words.PATH_FORMS, words.EDITS)]
    assert [*lengths, len(words.REWRITES), len(words.SCHEMES)] == decisions.WORD_COUNTS


def test_five_thousand_services_are_all_found(decisions: ModuleType) -> None:
    many = range(5000)
    rows = Traffic(
        backends=tuple(
            Backend(n, f"shop/s{n}", 80, (Endpoint(f"10.{n // 250}.{n % 250}.1", 80, n, 1),))
            for n in many
        ),
        fronts=tuple(
            Front(
                *(f"shop/s{n}", "detect"),
                ((f"10.100.{n // 250}.{n % 250}", 80),),
                ((b"s%d.shop" % n, 80), (b"s%d" % n, 80)),
                *(n, n),
            )
            for n in many
        ),
    )
    policy = decisions.Policy(rows)
    assert all(policy.host(b"S%d.shop" % n, 80) == n for n in many)
    assert all(policy.host(b"s%d.shops" % n, 80) is None for n in many)
    assert all(policy.find(f"10.100.{n // 250}.{n % 250}", 80)[1] == n for n in many)
    assert all(decisions.Fleet(1).pick(policy, n, 1000) == (n, 1) for n in range(0, 5000, 500))


def snapshot_of(faulty: Faulty, rows: Traffic) -> object:
    return faulty.module.Snapshot(1, SETTINGS, [], traffic=(rows, lambda _: 2, lambda _: 2))


EVERYTHING = Traffic(
    fronts=(
        front(
            addresses=(("10.9.0.1", 80),),
            names=((b"web", 80), (b"web.shop", 80)),
            routes=(Route(0, words.REGEX, dfa=0, fields=(Field(True, b"q", b"1"),)),),  # noqa: FBT003
        ),
    ),
    backends=tuple(
        backend(
            number=number,
            balance=balance,
            hash_by=words.HEADER,
            hash_name=b"x-user",
            table_size=101,
            endpoints=tuple(endpoint(slot=slot) for slot in range(40)),
        )
        for number, balance in enumerate(words.BALANCES)
    ),
    rules=(
        Rule(
            *(0, "shop/r", (Share(0, 1, (Edit("set", b"a", b"1"),)),)),
            mirrors=(Mirror(0),),
            rewrite=Rewrite(host=b"other"),
        ),
    ),
    dfas=(GOOD_DFA,),
    directs=(Direct("10.1.0.1", 80, "shop/web", "detect", 0),),
)


def test_no_failed_allocation_of_a_snapshot_leaves_anything_behind(faulty: Faulty) -> None:
    memory = faulty.held_memory()
    n = 0
    faulty.has_failed = True
    while faulty.has_failed:
        n += 1
        with faulty.failing("PyMem_RawCalloc", n, errno.ENOMEM), suppress(MemoryError):
            snapshot_of(faulty, EVERYTHING)
        assert faulty.held_memory() == memory
    assert n > 25, "each array, and some of them again because they grow"


@pytest.mark.parametrize("fault", BAD)
def test_rows_that_are_refused_leave_nothing_behind(faulty: Faulty, fault: str) -> None:
    memory = faulty.held_memory()
    with pytest.raises(ValueError, match=r"."):
        snapshot_of(faulty, BAD[fault])
    assert faulty.held_memory() == memory


def test_a_snapshot_is_built_once(faulty: Faulty) -> None:
    memory = faulty.held_memory()
    snapshot: Any = snapshot_of(faulty, EVERYTHING)
    with pytest.raises(ValueError, match="built once"):
        snapshot.__init__(1, SETTINGS, [], traffic=(EVERYTHING, lambda _: 2, lambda _: 2))
    del snapshot
    assert faulty.held_memory() == memory
