"""A port that is taken: one clear line, exit code 71, and nothing half started."""

import pytest

from tests.support.process import EXIT_OS_ERROR, Proxy
from tests.support.rig import Rig
from tests.support.sockets import LOOPBACK, address_of, connected, written


def start_on(rig: Rig, *flags: str) -> Proxy:
    proxy = rig.launch(*flags)
    proxy.ended_as_planned = True
    return proxy


@pytest.mark.parametrize("family", list(LOOPBACK))
def test_a_taken_explicit_port_is_named_and_ends_the_start(rig: Rig, family: str) -> None:
    taken = written(address_of(rig.listen(LOOPBACK[family])))
    proxy = start_on(rig, "--no-interception", "--listen", f"{taken}=127.0.0.1:9")
    assert proxy.wait_exit() == EXIT_OS_ERROR
    assert taken in proxy.take_last_words()


@pytest.mark.parametrize("flag", ["--outbound", "--inbound", "--admin"])
def test_every_kind_of_port_is_named_when_it_is_taken(rig: Rig, flag: str) -> None:
    taken = written(address_of(rig.listen()))
    flags = {"--outbound": "127.0.0.1:0", "--inbound": "127.0.0.1:0", "--admin": "127.0.0.1:0"}
    flags[flag] = taken
    proxy = start_on(rig, *(word for pair in flags.items() for word in pair))
    assert proxy.wait_exit() == EXIT_OS_ERROR
    assert taken in proxy.take_last_words()


def test_ports_opened_before_the_conflict_was_found_are_closed_again(rig: Rig) -> None:
    taken = written(address_of(rig.listen()))
    free = rig.bind()
    address = address_of(free)
    free.close()
    listens = (f"{written(address)}=127.0.0.1:9", f"{taken}=127.0.0.1:9")
    proxy = start_on(rig, "--no-interception", "--listen", listens[0], "--listen", listens[1])
    assert proxy.wait_exit() == EXIT_OS_ERROR
    proxy.take_last_words()
    with pytest.raises(ConnectionRefusedError):
        connected(address)


def test_a_second_proxy_on_the_same_port_is_refused(rig: Rig) -> None:
    """SO_REUSEPORT would let it in, to take every other connection away from the first."""
    route = rig.route()
    listen = f"{written(route.address)}=127.0.0.1:9"
    second = start_on(rig, "--no-interception", "--listen", listen)
    assert second.wait_exit() == EXIT_OS_ERROR
    assert written(route.address) in second.take_last_words()
    route.pair()
