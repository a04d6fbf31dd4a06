"""How a pod starts: who waits for whom, and what is there when it runs."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.lifecycle.clients import ask
from tests.lifecycle.kubelet import Kubelet
from tests.lifecycle.node import Node
from tests.lifecycle.pods import APP_ID, INIT, PORT, PROXY, container, meshed, pod, server
from tests.support import control
from tests.support.origins import Origins
from tests.support.process import environment
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.root

URL = f"http://{{}}:{PORT}/"


def injected(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the command writes it, and not as its functions return it."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "inject", "-"],
        input=json.dumps(raw),
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def proxy_status(made: Kubelet) -> dict[str, Any]:
    return control.ask(made.volume("remora-run") / "control.sock", "/status")


def test_the_application_starts_after_the_proxy_is_ready(node: Node) -> None:
    made = node.run(injected(pod(server())))
    made.order(f"start {INIT}", f"exit {INIT} 0", f"start {PROXY}", f"started {PROXY}", "start app")
    assert ask(node, made.host) == (200, "web")


def test_what_comes_in_and_goes_out_passes_by_the_proxy(node: Node) -> None:
    with Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        made = node.run(meshed(server(), container("caller", "call", URL.format(node.host))))
        made.wait_for("exit caller 0")
        assert ask(node, made.host) == (200, "web")
        opened = {name: row["opened"] for name, row in proxy_status(made)["connections"].items()}
        assert opened["inbound"] >= 1
        assert opened["outbound"] >= 1


def test_an_init_container_of_the_user_has_the_network_of_the_mesh(node: Node) -> None:
    with Origins() as origins:
        origins.serve("outside", node.network.listen("0.0.0.0", PORT))
        schema = container("schema", "call", URL.format(node.host))
        made = node.run(meshed(server(), init=[schema]))
        made.order(f"started {PROXY}", "start schema", "exit schema 0", "start app")
        assert "200 outside" in made.log("schema")
        assert proxy_status(made)["connections"]["outbound"]["opened"] == 1


def test_a_failing_init_step_leaves_the_pod_in_init_with_a_clear_message(node: Node) -> None:
    raw = meshed(server())
    raw["spec"]["initContainers"][0]["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    made = node.start(raw)
    made.wait("the init step to be tried again", lambda: made.message(INIT))
    made.wait_for(f"start {INIT}", count=3)
    assert made.phase == "Pending"
    assert not made.did(f"start {PROXY}")
    assert "remora init: " in made.message(INIT)
    assert "CAP_NET_ADMIN" in made.message(INIT) or "permitted" in made.message(INIT).lower()


def test_with_restart_policy_never_a_failing_init_step_fails_the_pod(node: Node) -> None:
    raw = meshed(server(), restartPolicy="Never")
    raw["spec"]["initContainers"][0]["args"] += ["--nonsense"]
    made = node.start(raw)
    made.wait_gone()
    assert made.phase == "Failed"
    assert "--nonsense" in made.message(INIT)


def test_the_proxy_runs_as_its_own_user_with_no_rights_and_nothing_to_write_to(node: Node) -> None:
    made = node.run(meshed(server()))
    with open(f"/proc/{made.pid(PROXY)}/status") as lines:  # noqa: PTH123 - a file of the kernel
        status = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == ["1337"] * 4
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    with open(f"/proc/{made.pid(PROXY)}/mountinfo") as lines:  # noqa: PTH123 - as above
        mounts = {line.split()[4]: line.split()[5] for line in lines}
    assert mounts["/"].startswith("ro")
    assert mounts["/run/remora"].startswith("rw")


def test_the_application_keeps_the_user_that_it_asked_for(node: Node) -> None:
    made = node.run(meshed(server()))
    with open(f"/proc/{made.pid('app')}/status") as lines:  # noqa: PTH123 - a file of the kernel
        (uid,) = [line.split()[1] for line in lines if line.startswith("Uid:")]
    assert int(uid) == APP_ID


def test_a_pod_is_not_ready_before_its_application_is(node: Node) -> None:
    made = node.run(meshed(server()))
    made.order(f"readiness {PROXY} good", "readiness app good")
    assert node.endpoints.usable() == [made.host]
