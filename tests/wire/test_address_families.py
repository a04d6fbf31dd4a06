"""An explicit listener may be of one family and its target of the other."""

import pytest

from tests.support.rig import Rig
from tests.support.sockets import LOOPBACK, receive_exactly

FAMILIES = list(LOOPBACK)


@pytest.mark.parametrize("target", FAMILIES)
@pytest.mark.parametrize("listen", FAMILIES)
def test_every_family_reaches_every_family(rig: Rig, listen: str, target: str) -> None:
    pair = rig.route(host=LOOPBACK[listen], upstream_host=LOOPBACK[target]).pair()
    pair.downstream.sendall(b"ping")
    assert receive_exactly(pair.upstream, 4) == b"ping"
    pair.upstream.sendall(b"pong")
    assert receive_exactly(pair.downstream, 4) == b"pong"


def test_each_of_several_listeners_reaches_its_own_target(rig: Rig) -> None:
    upstreams = [rig.listen() for _ in range(8)]
    targets = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in upstreams]
    listens = [word for text in targets for word in ("--listen", f"127.0.0.1:0={text}")]
    proxy = rig.start("--no-interception", *listens)
    for upstream, address in zip(upstreams, proxy.listeners("explicit"), strict=True):
        downstream = rig.connect(address)
        accepted = rig.keep(upstream.accept()[0])
        downstream.sendall(b"mine")
        assert receive_exactly(accepted, 4) == b"mine"
