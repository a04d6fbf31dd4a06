"""System calls a request, as strace counts them."""

import pytest

from bench import calls, peer
from bench.calls import Calls, parse
from bench.measure import Bench
from bench.running import Cores
from bench.tables import system_calls
from bench.workloads import HTTP_64

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


@pytest.mark.root
def test_a_proxy_receives_and_sends_at_least_twice_for_a_request() -> None:
    bench = Bench(Cores.allowed(), connections_allowed=1000)
    each = calls.count(bench, peer.REMORA, HTTP_64).each()
    assert sum(count for name, count in each.items() if "recv" in name or "read" in name) >= 2
    assert sum(count for name, count in each.items() if "send" in name or "write" in name) >= 2
