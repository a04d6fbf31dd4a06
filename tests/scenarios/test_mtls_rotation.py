"""Certificates and roots change while connections stand: nobody notices, or all is refused."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from proxy.identity import spiffe
from proxy.identity.authority import Issued
from tests.support.echo import Echo
from tests.support.http import Stream, Talk, request, response, talk_once
from tests.support.memory import allowance
from tests.support.mtls import (
    FarProxy,
    MeshKit,
    TwoProxies,
    check_talk,
    door_of,
    forgive,
    put,
)
from tests.support.process import Proxy
from tests.support.sockets import (
    accepted,
    address_of,
    expect_refusal,
    expect_reset,
    receive_exactly,
)
from tests.support.svids import SHOP, WEB, Svid
from tests.support.tls import TlsRefused
from tests.support.transfers import MIB
from tests.support.waiting import eventually

BAD_UPDATES = ("torn key", "garbage", "another key", "no bundle")


@dataclass
class Rolling:
    """Two proxies whose identities change step by step, so that each always trusts the other."""

    kit: MeshKit
    folders: dict[str, Path] = field(default_factory=dict)
    issued: dict[str, Issued] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)

    def begin(self) -> None:
        for identity in (SHOP, WEB):
            folder = self.kit.folder / identity.rpartition("/")[2]
            self.folders[identity] = folder
            self.issue(identity)
            self.write(identity)

    def issue(self, identity: str) -> None:
        self.issued[identity] = self.kit.authority.issue(spiffe.parse(identity), timedelta(hours=1))

    def write(self, identity: str) -> None:
        issued = self.issued[identity]
        put(self.folders[identity], issued.key, issued.chain, self.kit.authority.bundle)

    def spread(self) -> None:
        """Write what there is, and wait until both use it."""
        before = {name: taken_up(proxy) for name, proxy in self.proxies.items()}
        for identity in self.folders:
            self.write(identity)
        for name, proxy in self.proxies.items():
            wait_count("a new identity", partial(taken_up, proxy), before[name] + 1)

    def rotate(self) -> None:
        """New root, then new leaves of it, then the old root goes."""
        self.kit.authority.rotate()
        self.spread()
        for identity in self.folders:
            self.issue(identity)
        self.spread()
        self.kit.authority.retire()
        self.spread()

    def write_bad(self, kind: str) -> None:
        """Write what cannot be used, wait until both have said so, and put the good one back."""
        before = {name: not_taken_up(proxy) for name, proxy in self.proxies.items()}
        for identity, folder in self.folders.items():
            issued = self.issued[identity]
            other = self.kit.authority.issue(spiffe.parse(identity), timedelta(hours=1))
            bundle = self.kit.authority.bundle
            put(
                folder,
                *{
                    "torn key": (issued.key[: len(issued.key) // 2], issued.chain, bundle),
                    "garbage": (issued.key, b"no certificate" * 99, bundle),
                    "another key": (other.key, issued.chain, bundle),
                    "no bundle": (issued.key, issued.chain, b""),
                }[kind],
            )
        for name, proxy in self.proxies.items():
            wait_count("a refused update", partial(not_taken_up, proxy), before[name] + 1)
        for identity in self.folders:
            self.write(identity)
        for proxy in self.proxies.values():
            forgive(proxy, "identity_update_failed")


def wait_count(what: str, counter: Callable[[], float], count: float) -> None:
    eventually(what, lambda: counter() == count)


def taken_up(proxy: Proxy) -> float:
    return proxy.metrics()("remora_identity_rotations_total")


def not_taken_up(proxy: Proxy) -> float:
    return proxy.metrics()("remora_identity_update_failures_total")


def rolling_pair(kit: MeshKit) -> tuple[Rolling, TwoProxies]:
    rolling = Rolling(kit)
    rolling.begin()
    two = kit.two(
        upstream=Echo(kit.rig).listener,
        near_directory=rolling.folders[SHOP],
        far_directory=rolling.folders[WEB],
    )
    rolling.proxies = {SHOP: two.near, WEB: two.far}
    return rolling, two


class Load:
    """Connections that stand, requests on kept connections, and new connections all the time."""

    def __init__(self, two: TwoProxies) -> None:
        self._two = two
        self._is_over = threading.Event()
        self.counts = {"kept": 0, "standing": 0, "fresh": 0}
        rig = two.route.rig
        works: list[Callable[[], None]] = [self._kept, self._kept, self._standing, self._fresh]
        self._futures = [rig.background(work) for work in works]

    def end(self) -> None:
        self._is_over.set()
        for future in self._futures:
            future.result()

    def _kept(self) -> None:
        stream = Stream(self._two.route.connect())
        while not self._is_over.is_set():
            stream.send(request("/kept"))
            answer = stream.response()
            assert (answer.status, answer.body) == (200, b"served")
            self.counts["kept"] += 1
            self._is_over.wait(0.002)

    def _standing(self) -> None:
        sock = self._two.route.connect()
        while not self._is_over.is_set():
            text = b"\0%08d" % self.counts["standing"]
            sock.sendall(text)
            assert receive_exactly(sock, 9) == text
            self.counts["standing"] += 1
            self._is_over.wait(0.002)

    def _fresh(self) -> None:
        while not self._is_over.is_set():
            with self._two.route.connect() as sock:
                sock.sendall(b"\0fresh")
                assert receive_exactly(sock, 6) == b"\0fresh"
            self.counts["fresh"] += 1
            self._is_over.wait(0.005)


def check_rotation(kit: MeshKit, seconds: float, *, bad: bool) -> None:
    rolling, two = rolling_pair(kit)
    load = Load(two)
    eventually("the load", lambda: min(load.counts.values()) > 20)
    before = [proxy.private_bytes() for proxy in (two.near, two.far)]
    deadline = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < deadline:
        if bad:
            rolling.write_bad(BAD_UPDATES[rounds % len(BAD_UPDATES)])
        rolling.rotate()
        rounds += 1
    assert rounds >= 2
    load.end()
    for proxy, role, was in zip((two.near, two.far), ("dialled", "accepted"), before, strict=True):
        scrape = proxy.metrics()
        assert scrape("remora_tls_handshake_failures_total") == 0
        assert scrape("remora_tls_handshakes_total", role=role) >= load.counts["fresh"]
        assert proxy.closed_by_reason().keys() <= {"ok"}
        assert scrape("remora_trust_bundle_roots") == 1
        grown = proxy.private_bytes() - was
        assert grown < allowance(6 * MIB), f"{grown / MIB:.1f} MiB"
    for live in two.live():
        assert live["connections"] <= 4
        assert live["exchanges"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("bad", [False, True], ids=["good", "with bad updates"])
def test_leaf_and_root_rotate_under_load_and_nobody_notices(kit: MeshKit, bad: object) -> None:
    check_rotation(kit, 5.0, bad=bool(bad))


@pytest.mark.soak
def test_leaf_and_root_rotate_under_load_for_a_minute(kit: MeshKit) -> None:
    check_rotation(kit, 60.0, bad=True)


@pytest.mark.parametrize("kind", BAD_UPDATES)
def test_a_bad_update_leaves_the_identity_as_it_was(kit: MeshKit, kind: str) -> None:
    rolling, two = rolling_pair(kit)
    before = two.near.metrics()("remora_identity_expiry_timestamp_seconds")
    rolling.write_bad(kind)
    assert two.near.metrics()("remora_identity_expiry_timestamp_seconds") == before
    assert taken_up(two.near) == 0
    sock = two.route.connect()
    sock.sendall(b"\0on")
    assert receive_exactly(sock, 3) == b"\0on"


def test_an_idle_connection_of_a_withdrawn_root_is_closed(kit: MeshKit) -> None:
    rolling = Rolling(kit)
    rolling.begin()
    two = kit.two(near_directory=rolling.folders[SHOP], far_directory=rolling.folders[WEB])
    rolling.proxies = {SHOP: two.near, WEB: two.far}
    talk, up = talk_once(two.route)
    assert two.near.live()["upstreams"] == 1
    generation = two.near.metrics()("remora_trust_bundle_generation")
    rolling.rotate()
    assert two.near.metrics()("remora_trust_bundle_generation") == generation + 1
    eventually("the idle connection to go", lambda: two.near.live()["upstreams"] == 0)
    talk.down.send(request("/after"))
    eventually("a second handshake", lambda: two.near.metrics()("remora_tls_handshakes_total") == 2)
    up.sock.close()


def test_a_busy_connection_of_a_withdrawn_root_serves_no_second_request(kit: MeshKit) -> None:
    rolling = Rolling(kit)
    rolling.begin()
    two = kit.two(near_directory=rolling.folders[SHOP], far_directory=rolling.folders[WEB])
    rolling.proxies = {SHOP: two.near, WEB: two.far}
    talk = Talk(two.route)
    _, up = talk.ask(request("/slow"))
    rolling.rotate()
    up.send(response(b"at last"))
    assert talk.down.response().body == b"at last"
    talk.down.send(request("/next"))
    eventually("a second handshake", lambda: two.near.metrics()("remora_tls_handshakes_total") == 2)


def test_a_peer_of_a_withdrawn_root_is_refused(kit: MeshKit) -> None:
    directory = kit.directory(WEB)
    far = FarProxy(kit, directory=directory)
    old = kit.svid()
    check_talk(*far.pair())
    kit.authority.rotate()
    kit.authority.retire()
    kit.renew(directory, WEB)
    eventually("a new identity", lambda: taken_up(far.proxy) == 1)
    assert is_refused(far, old)
    assert far.failures("untrusted") == 1
    far.check_serves()


def test_a_peer_of_the_old_root_is_served_while_both_are_trusted(kit: MeshKit) -> None:
    directory = kit.directory(WEB)
    far = FarProxy(kit, directory=directory)
    old = kit.svid()
    kit.authority.rotate()
    kit.renew(directory, WEB)
    eventually("a new identity", lambda: taken_up(far.proxy) == 1)
    assert far.proxy.metrics()("remora_trust_bundle_roots") == 2
    check_talk(far.end(old).shake(), far.accept())
    check_talk(far.end().shake(), far.accept())


def is_refused(far: FarProxy, svid: Svid) -> str:
    end = far.end(svid)
    try:
        return end.shake().refusal()
    except TlsRefused as fault:
        return fault.word


# --- our own certificate ends --------------------------------------------------------------------


def wait_expired(proxy: Proxy) -> None:
    eventually("the certificate to end", lambda: proxy.logged("identity_expired"))
    forgive(proxy, "identity_expired")


def let_expire(kit: MeshKit, proxy: Proxy, directory: Path, identity: str) -> None:
    """Give it a certificate that ends soon: later where the machine is slow to take it up."""
    for seconds in (2, 4, 8, 16):
        kit.renew(directory, identity, timedelta(seconds=seconds))
        with contextlib.suppress(AssertionError):
            eventually("a short life", lambda: taken_up(proxy) >= 1, seconds=seconds)
            break
    wait_expired(proxy)


def test_a_proxy_whose_certificate_has_ended_dials_nobody_and_says_nothing_in_plaintext(
    kit: MeshKit,
) -> None:
    directory = kit.directory(SHOP)
    upstream = kit.rig.listen()
    near = kit.near(address_of(upstream), directory=directory)
    let_expire(kit, near, directory, SHOP)
    before = taken_up(near)
    down = Stream(kit.rig.connect(door_of(near)))
    down.send(request("/secret"))
    answer = down.response()
    assert (answer.status, answer.get(b"remora-error")) == (503, b"no_identity")
    opaque = kit.rig.connect(door_of(near))
    opaque.sendall(b"\0secret")
    expect_reset(opaque)
    kit.renew(directory, SHOP)
    eventually("a new identity", lambda: taken_up(near) == before + 1)
    # It dials before it knows that it cannot go on; whoever was dialled so far hears no word.
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError), accepted(upstream) as sock:
            assert sock.recv(64) == b""


def test_a_proxy_whose_certificate_has_ended_lets_nobody_in_until_it_is_renewed(
    kit: MeshKit,
) -> None:
    directory = kit.directory(WEB)
    far = FarProxy(kit, directory=directory)
    standing = far.pair()
    let_expire(kit, far.proxy, directory, WEB)
    before = taken_up(far.proxy)
    expect_refusal(door_of(far.proxy))
    eventually("it to be counted", lambda: far.proxy.closed("no_identity") == 1)
    check_talk(*standing)  # what stands goes on
    kit.renew(directory, WEB)
    eventually("a new identity", lambda: taken_up(far.proxy) == before + 1)
    far.check_serves()
