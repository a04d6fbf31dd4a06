"""How a pod ends: the whole timeline of a deletion, with every way an application may behave."""

from typing import Any

import pytest

from tests.lifecycle.clients import Stream, ask, asking
from tests.lifecycle.node import Node
from tests.lifecycle.pods import PORT, PROXY, container, meshed, server, sleeping
from tests.support.origins import Origins

pytestmark = pytest.mark.root

LATE = {"drain-delay": "25s"}  # longer than the tests' patience: nobody may wait for it


def test_an_application_that_exits_at_once_takes_the_proxy_with_it(node: Node) -> None:
    """The delay of the drain is for newcomers, and there is nobody left to take them in."""
    pod = node.run(meshed(server(), annotations=LATE, terminationGracePeriodSeconds=60))
    pod.delete()
    pod.wait_gone()
    pod.order(f"preStop {PROXY}", "exit app 0", f"term {PROXY}", f"exit {PROXY} 0")
    assert not pod.did(f"kill {PROXY}")


def test_an_application_that_ignores_sigterm_keeps_the_proxy_until_it_is_killed(node: Node) -> None:
    pod = node.run(meshed(server(on_term="ignore"), terminationGracePeriodSeconds=3))
    pod.delete()
    pod.wait_for("term app")
    pod.wait_gone()
    pod.order("term app", "kill app", "exit app 137", f"term {PROXY}", f"exit {PROXY} 0")


def test_an_application_calls_out_until_it_ends(node: Node) -> None:
    with Origins() as origins:
        url = f"http://{node.host}:{PORT}/"
        pod = node.run(meshed(server(on_term=f"call={url}")))
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod.delete()
        pod.wait_gone()
    calls = [line for line in pod.log("app").splitlines() if line.startswith("call ")]
    assert len(calls) == 10
    assert all(line.endswith("200 outside") for line in calls), calls
    pod.order("term app", "exit app 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_outbound_connections_outlive_the_deadline_of_the_drain(node: Node) -> None:
    """It is 2 s before the end of the grace period, and the application has until then."""
    with Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT), delay_s=3)
        app = server(on_term=f"once=http://{node.host}:{PORT}/")
        pod = node.run(meshed(app, terminationGracePeriodSeconds=4))
        pod.delete()
        pod.wait_gone()
    assert "answer: 200 outside" in pod.log("app")
    assert '"drain_deadline":"2s"' in pod.log(PROXY)
    pod.order("term app", "exit app 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_a_long_poll_is_answered(node: Node) -> None:
    pod = node.run(meshed(server(on_term="linger=2")))
    with asking(node, pod.host, "/slow?1.5") as answer:
        pod.wait("the request to be there", lambda: "slow begins" in pod.log("app"))
        pod.delete()
        assert answer.result() == (200, "web")
    pod.wait_gone()
    pod.order("exit app 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_a_stream_goes_on_as_long_as_the_application_does(node: Node) -> None:
    pod = node.run(meshed(server(on_term="linger=1.5")))
    stream = Stream(node, pod.host)
    assert stream.ticks()
    pod.delete()
    pod.wait_for("term app")
    while stream.ticks():
        last_tick_was_before_the_end = not pod.did(f"exit {PROXY} 0")
        assert last_tick_was_before_the_end
    stream.close()
    pod.wait_gone()
    pod.order("exit app 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_a_stream_that_never_ends_is_cut_before_the_kubelet_kills(node: Node) -> None:
    pod = node.run(meshed(server(on_term="ignore"), terminationGracePeriodSeconds=3))
    stream = Stream(node, pod.host)
    assert stream.ticks()
    pod.delete()
    while stream.ticks():
        pass
    stream.close()
    pod.wait_gone()
    pod.order("kill app", f"term {PROXY}", f"exit {PROXY} 0")
    assert '"event":"drain_deadline"' in pod.log(PROXY)


def test_a_client_that_reads_slowly_does_not_get_the_proxy_killed(node: Node) -> None:
    """It takes nothing of a stream; everybody else has gone."""
    pod = node.run(meshed(server(), terminationGracePeriodSeconds=4))
    stream = Stream(node, pod.host)
    pod.delete()
    pod.wait_gone()
    stream.close()
    pod.order("exit app 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_a_sidecar_of_the_user_after_ours_ends_before_it(node: Node) -> None:
    pod = node.run(with_sidecar(meshed(server())))
    pod.order(f"started {PROXY}", "start tail", "started tail", "start app")
    pod.delete()
    pod.wait_gone()
    pod.order("exit app 0", "term tail", "exit tail 0", f"term {PROXY}", f"exit {PROXY} 0")


def with_sidecar(raw: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = raw["spec"]
    tail = container("tail", "idle", restartPolicy="Always")
    return {**raw, "spec": {**spec, "initContainers": [*spec["initContainers"], tail]}}


@pytest.mark.parametrize("grace", [0, 1, 2])
def test_a_short_grace_period_is_enough_for_the_proxy(node: Node, grace: int) -> None:
    app = server(on_term="ignore")
    pod = node.run(meshed(app, terminationGracePeriodSeconds=grace))
    stream = Stream(node, pod.host)
    pod.delete()
    pod.wait_gone()
    stream.close()
    assert pod.did("kill app")
    assert pod.did(f"exit {PROXY} 0")
    assert not pod.did(f"kill {PROXY}")


def test_a_proxy_killed_while_the_pod_ends_refuses_and_the_pod_ends(node: Node) -> None:
    with Origins() as origins:
        url = f"http://{node.host}:{PORT}/"
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod = node.run(meshed(server(on_term=f"call={url}", **sleeping(0.5))))
        pod.delete()
        pod.wait_for("preStop app")
        pod.kill(PROXY)
        pod.wait_for(f"exit {PROXY} 137")
        with pytest.raises(ConnectionRefusedError):
            ask(node, pod.host)
        pod.wait_gone()
    calls = [line for line in pod.log("app").splitlines() if line.startswith("call ")]
    assert len(calls) == 10
    assert all("refused" in line for line in calls), calls
    assert origins.counts["outside"] == 0
    pod.order(f"exit {PROXY} 137", "term app", "exit app 0", "gone")
    assert [each.what for each in pod.events].count(f"start {PROXY}") == 1


def test_newcomers_are_served_while_the_application_waits_for_its_end(node: Node) -> None:
    """Clients that have not heard of it yet come for as long as the drain's delay."""
    app = server(**sleeping(2))
    pod = node.run(meshed(app, annotations={"drain-delay": "2500ms"}))
    pod.delete()
    assert node.endpoints.seen()[pod.host].terminating
    assert not node.endpoints.seen()[pod.host].ready
    pod.wait("the drain", lambda: '"event":"draining"' in pod.log(PROXY))
    while not pod.did("term app"):
        assert ask(node, pod.host) == (200, "web")
    pod.wait_gone()
    pod.order("preStop app", "term app", "exit app 0", f"term {PROXY}", f"exit {PROXY} 0")
