"""System calls a request, as strace counts them."""

import pytest

from bench import __main__ as command
from bench import calls, peer
from bench.calls import Calls, parse
from bench.measure import Bench
from bench.rounds import Plan
from bench.running import Cores
from bench.tables import system_calls
from bench.workloads import HTTP_64, HTTP_256, HTTP_HALF

SUMMARY = """\
syscall               calls
---------------- ----------
epoll_wait              120
recvfrom               2000
madvise                   1
---------------- ----------
total                  2121
"""


def test_the_sum_is_no_system_call() -> None:
    assert parse(SUMMARY) == {"epoll_wait": 120, "recvfrom": 2000, "madvise": 1}


def test_calls_are_divided_by_the_work_and_rare_ones_are_only_summed() -> None:
    table = system_calls([Calls("http-64", "request", "nginx", 1000, parse(SUMMARY))])
    assert table.rows == [["http-64", "nginx", "2.12/request", "recvfrom 2.00, epoll_wait 0.12"]]


def test_a_whole_run_traces_one_of_each_kind_of_work_and_others_on_demand() -> None:
    plan = Plan([peer.NONE, peer.REMORA], [HTTP_64, HTTP_256, HTTP_HALF], 1, 1.0, 0.1, 1)
    assert calls.steps(plan, every=False) == [(HTTP_64, peer.REMORA)]
    assert calls.steps(plan, every=True) == [(HTTP_64, peer.REMORA), (HTTP_256, peer.REMORA)]


@pytest.mark.parametrize(
    ("words", "traced"),
    [
        ([], True),
        (["--http"], True),
        (["--quick"], False),
        (["--workloads", "http-64"], False),
        (["--workloads", "http-64", "--syscalls"], True),
    ],
)
def test_parts_of_the_work_are_traced_only_when_asked_to(
    words: list[str], *, traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "is_there", lambda: True)
    options = command._parser().parse_args(words)
    assert any(command._counted(plan, options) for plan in command._plans(options)) == traced


@pytest.mark.root
def test_a_proxy_receives_and_sends_at_least_twice_for_a_request() -> None:
    bench = Bench(Cores.allowed(), connections_allowed=1000)
    each = calls.count(bench, peer.REMORA, HTTP_64).each()
    assert sum(count for name, count in each.items() if "recv" in name or "read" in name) >= 2
    assert sum(count for name, count in each.items() if "send" in name or "write" in name) >= 2
