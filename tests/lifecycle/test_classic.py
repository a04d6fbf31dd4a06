"""The classic sidecar: an ordinary container, for clusters that know no other."""

import pytest

from tests.lifecycle.clients import ask
from tests.lifecycle.node import Node
from tests.lifecycle.pods import INIT, PORT, PROXY, Raw, container, meshed, server, sleeping
from tests.support.origins import Origins

pytestmark = pytest.mark.root

CLASSIC = {"sidecar": "classic"}


def classic(*containers: Raw, delay: str = "300ms", **words: object) -> Raw:
    return meshed(*containers, annotations={**CLASSIC, "drain-delay": delay}, **words)


def test_the_application_waits_for_the_hook_that_waits_for_the_proxy(node: Node) -> None:
    pod = node.run(classic(server()))
    pod.order(f"exit {INIT} 0", f"start {PROXY}", f"postStart {PROXY}", "start app")
    assert pod.did(f"started {PROXY}")
    assert '"event":"ready"' in pod.log(PROXY)
    assert ask(node, pod.host) == (200, "web")


def test_init_containers_come_before_the_redirection(node: Node) -> None:
    with Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        url = f"http://{node.host}:{PORT}/"
        pod = node.start(classic(server(), init=[container("schema", "call", url)]))
        pod.wait_ready()
    pod.order("start schema", "exit schema 0", f"start {INIT}", f"start {PROXY}")


def test_newcomers_are_served_while_the_application_waits_for_its_end(node: Node) -> None:
    """The proxy gets SIGTERM when its own hook is over, and the application is still there."""
    pod = node.run(classic(server(**sleeping(2)), delay="2500ms"))
    pod.delete()
    pod.wait("the drain", lambda: '"event":"draining"' in pod.log(PROXY))
    while not pod.did("term app"):
        assert ask(node, pod.host) == (200, "web")
    pod.wait_gone()
    assert pod.did(f"exit {PROXY} 0")


def test_an_application_calls_out_while_it_ends(node: Node) -> None:
    with Origins() as origins:
        url = f"http://{node.host}:{PORT}/"
        pod = node.run(classic(server(on_term=f"call={url}"), delay="1500ms"))
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        pod.delete()
        pod.wait_gone()
    calls = [line for line in pod.log("app").splitlines() if line.startswith("call ")]
    assert [line for line in calls if not line.endswith("200 outside")] == []


def test_native_and_classic_differ_in_who_ends_first(node: Node) -> None:
    native = node.run(meshed(server(on_term="linger=1"), name="native"))
    other = node.run(classic(server(on_term="linger=1"), name="classic", delay="100ms"))
    for pod in (native, other):
        pod.delete()
    for pod in (native, other):
        pod.wait_gone()
    native.order("exit app 0", f"term {PROXY}")
    other.order(f"term {PROXY}", "exit app 0")
