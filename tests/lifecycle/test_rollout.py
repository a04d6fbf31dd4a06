"""A rolling update of three pods under steady load: every request is answered."""

import pytest

from tests.lifecycle.clients import Load
from tests.lifecycle.node import Node
from tests.lifecycle.pods import Raw, meshed, server, sleeping

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = 6
LEARN_S = 1.0  # how late the last client hears of a change
# Newcomers are taken in for longer than that, and kept connections closed while the application
# still answers: what docs/inject.md tells its owner to do.
DELAY = {"drain-delay": f"{2 * LEARN_S:g}s"}
SLEEP_S = 3 * LEARN_S


def version(number: int, index: int, sidecar: str = "native") -> Raw:
    app = server(**sleeping(SLEEP_S))
    return meshed(app, name=f"web-{number}-{index}", annotations={**DELAY, "sidecar": sidecar})


@pytest.mark.parametrize("sidecar", ["native", "classic"])
def test_no_request_is_lost(node: Node, sidecar: str) -> None:
    old = [node.run(version(1, index, sidecar)) for index in range(3)]
    with Load(node, CLIENTS, LEARN_S) as load:
        load.wait_answers(100)
        new = node.roll_out(old, [version(2, index, sidecar) for index in range(3)])
        load.wait_answers(100)
    assert load.score.lost == []
    for pod in old:
        assert pod.did("exit remora-proxy 0")
    answered = set(load.score.by)
    assert answered == {pod.pod.name for pod in (*old, *new)}
    print(f"{load.score.answered} answered, {load.score.resent} sent again")  # noqa: T201
