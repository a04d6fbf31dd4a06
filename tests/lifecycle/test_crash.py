"""A proxy that dies or hangs while the pod runs: nothing goes past it, and it comes back."""

import signal

import pytest

from tests.lifecycle.clients import ask
from tests.lifecycle.node import Node
from tests.lifecycle.pods import PORT, PROXY, container, meshed, server
from tests.support import control
from tests.support.origins import Origins

pytestmark = pytest.mark.root

# Slow enough that a test has all the time it wants between a crash and the start after it.
PATIENT = 2.0


def test_while_the_proxy_is_away_nothing_gets_in_or_out(node: Node) -> None:
    with Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod = node.start(meshed(server()), clock=PATIENT)
        pod.wait("the application", lambda: "serving" in pod.log("app"))
        pod.kill(PROXY)
        pod.wait_for(f"start {PROXY}", count=2)
        pod.kill(PROXY)  # the second time it has to wait
        pod.wait_for(f"exit {PROXY} 137", count=2)
        with pytest.raises(ConnectionRefusedError):
            ask(node, pod.host)
        with pytest.raises(ConnectionRefusedError):
            pod.network.connect((node.host, PORT), uid=1000, gid=1000)
    assert origins.counts["outside"] == 0


def test_it_comes_back_behind_the_same_rules(node: Node) -> None:
    pod = node.run(meshed(server()))
    for turn in range(2, 4):
        pod.kill(PROXY)
        pod.wait_for(f"start {PROXY}", count=turn)
        pod.wait_for(f"started {PROXY}", count=turn)
        pod.wait_ready()
        assert ask(node, pod.host) == (200, "web")
        status = control.ask(pod.volume("remora-run") / "control.sock", "/status")
        assert status["connections"]["inbound"]["opened"] >= 1
    assert [each.what for each in pod.events].count("start app") == 1
    assert [each.what for each in pod.events].count("start remora-init") == 1


def test_a_pod_whose_proxy_crashed_gets_no_requests_until_it_is_back(node: Node) -> None:
    pod = node.run(meshed(server()))
    pod.kill(PROXY)
    pod.wait("the endpoint to be told", lambda: not node.endpoints.usable())
    pod.wait_ready()
    assert node.endpoints.usable() == [pod.host]


def test_a_proxy_that_hangs_is_replaced(node: Node) -> None:
    """It hears no SIGTERM, has to be killed, and the pod's own grace does not delay that."""
    pod = node.run(meshed(server(), terminationGracePeriodSeconds=3600))
    pod.kill(PROXY, signal.SIGSTOP)
    pod.wait_for(f"liveness {PROXY} bad")
    pod.wait_for(f"started {PROXY}", count=2)
    pod.wait_ready()
    pod.order(f"liveness {PROXY} bad", f"term {PROXY}", f"kill {PROXY}", f"exit {PROXY} 137")
    assert ask(node, pod.host) == (200, "web")


def test_an_application_that_is_sick_is_replaced_and_the_proxy_stays(node: Node) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1}
    pod = node.run(meshed(server(livenessProbe=probe)))
    assert ask(node, pod.host, "/sicken") == (200, "web")
    pod.wait_for("liveness app bad")
    pod.wait_for("start app", count=2)
    pod.wait_ready()
    assert [each.what for each in pod.events].count(f"start {PROXY}") == 1


def test_a_crash_while_the_user_s_init_container_runs_starts_the_proxy_again(node: Node) -> None:
    raw = meshed(server())
    slow = container("schema", "idle")
    raw["spec"]["initContainers"].append(slow)
    pod = node.start(raw)
    pod.wait("the init container", lambda: "idle" in pod.log("schema"))
    pod.kill(PROXY)
    pod.wait_for(f"started {PROXY}", count=2)
    pod.kill("schema", signal.SIGTERM)
    pod.wait_ready()
    pod.order("exit schema 0", "start app")
