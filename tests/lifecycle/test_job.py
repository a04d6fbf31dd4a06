"""Pods that end by themselves: the sidecar goes after the last main container, and never counts."""

import signal

import pytest

from tests.lifecycle.node import Node
from tests.lifecycle.pods import PORT, PROXY, container, job, server
from tests.support.origins import Origins

pytestmark = pytest.mark.root


def test_a_job_ends_with_its_main_container(node: Node) -> None:
    with Origins() as origins:
        raw = job(container("work", "call", f"http://{node.host}:{PORT}/"))
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod = node.start(raw)
        pod.wait_gone()
    assert pod.phase == "Succeeded"
    assert "200 outside" in pod.log("work")
    pod.order(f"started {PROXY}", "start work", "exit work 0", f"term {PROXY}", f"exit {PROXY} 0")
    assert not pod.did(f"kill {PROXY}")


def test_a_job_does_not_wait_for_the_delay_of_a_drain(node: Node) -> None:
    """It has none unless its owner asks for one; and then there is nobody to wait for."""
    raw = job(
        container("work", "call", f"http://{node.host}:1/"),
        annotations={"drain-delay": "25s"},
        terminationGracePeriodSeconds=60,
    )
    pod = node.start(raw)
    pod.wait_gone()
    pod.order("exit work 1", f"preStop {PROXY}", f"term {PROXY}", f"exit {PROXY} 0")


def test_a_job_that_fails_has_failed_whatever_the_sidecar_says(node: Node) -> None:
    pod = node.start(job(container("work", "call", f"http://{node.host}:1/")))
    pod.wait_gone()
    assert pod.phase == "Failed"


def test_a_sidecar_that_was_killed_does_not_make_a_job_fail(node: Node) -> None:
    pod = node.start(job(container("work", "idle")))
    pod.wait_ready()
    pod.kill(PROXY)
    pod.wait_for(f"start {PROXY}", count=2)
    pod.wait_ready()
    pod.kill("work", signal.SIGTERM)
    pod.wait_gone()
    assert pod.phase == "Succeeded"


def test_on_failure_the_work_is_tried_again_beside_the_same_proxy(node: Node) -> None:
    with Origins() as origins:
        raw = job(container("work", "call", f"http://{node.host}:{PORT}/"), policy="OnFailure")
        pod = node.start(raw)
        pod.wait_for("exit work 1")
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod.wait_gone()
    assert pod.phase == "Succeeded"
    assert [each.what for each in pod.events].count(f"start {PROXY}") == 1
    pod.order("exit work 1", "exit work 0", f"term {PROXY}", f"exit {PROXY} 0")


def test_all_main_containers_have_to_end(node: Node) -> None:
    pod = node.start(job(container("short", "call", f"http://{node.host}:1/"), server("long")))
    pod.wait_for("exit short 1")
    pod.wait("the other one to serve", lambda: "serving" in pod.log("long"))
    assert not pod.did(f"term {PROXY}")
    pod.kill("long", signal.SIGTERM)
    pod.wait_gone()
    pod.order("exit short 1", "exit long 0", f"term {PROXY}")
