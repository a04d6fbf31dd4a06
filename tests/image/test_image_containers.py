"""The image in containers of runc: the rights that injection asks for, default seccomp."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from deploy.image.container import Container
from tests.image.sidecar import ContainerPod
from tests.support.waiting import eventually

pytestmark = [pytest.mark.image, pytest.mark.root, pytest.mark.slow]

# Tries to make a file in each folder that there is, and prints where that worked.
WRITE_EVERYWHERE = """
import os
for folder, names, _ in os.walk("/"):
    names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/sys")]
    try:
        open(os.path.join(folder, "written"), "x").close()
        print(folder)
    except OSError:
        pass
"""


def status(container: Container) -> dict[str, str]:
    """What the kernel says of the container's first process."""
    text = Path(f"/proc/{container.state()['pid']}/status").read_text()
    return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("backend", ["nft", "legacy", "nftables"])
def test_init_redirects_and_the_proxy_relays(pod: ContainerPod, backend: str) -> None:
    done = pod.init("--backend", backend)
    assert done.returncode == 0, done.stderr
    pod.start_app()
    with pod.proxy():
        assert pod.ask("/cart") == "/cart for 127.0.0.6"
        assert pod.metrics()("tcp_open_total", direction="inbound") == 1


def test_init_takes_the_nft_backend_where_nothing_else_is_there(pod: ContainerPod) -> None:
    done = pod.init()
    assert done.returncode == 0, done.stderr
    assert "(nft: it works here)" in done.stdout


def test_init_writes_nowhere_but_below_run(pod: ContainerPod) -> None:
    done = pod.init(command=["/usr/bin/python3.11", "-IBc", WRITE_EVERYWHERE], args=[])
    assert set(done.stdout.split()) == {"/run", "/dev", "/dev/shm", "/dev/mqueue"}  # noqa: S108


def test_the_proxy_writes_nowhere_but_below_run_remora(pod: ContainerPod) -> None:
    with pod.proxy() as container:
        done = container.execute("/usr/bin/python3.11", "-IBc", WRITE_EVERYWHERE)
    assert set(done.stdout.split()) == {"/run/remora", "/dev/shm", "/dev/mqueue"}  # noqa: S108


def test_the_proxy_has_no_rights_to_lose(pod: ContainerPod) -> None:
    with pod.proxy() as container:
        found = status(container)
    assert found["Uid"].split() == ["1337"] * 4
    assert found["Gid"].split() == ["1337"] * 4
    assert {found[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_an_operator_asks_and_drains_it_and_sigterm_ends_it(pod: ContainerPod) -> None:
    with pod.proxy() as container:
        told = container.execute("remora", "ctl", "status", "--json")
        assert json.loads(told.stdout)["state"] == "running", told.stderr
        assert container.execute("remora", "ctl", "drain").returncode == 0
        eventually("the pod to be taken out of its endpoints", lambda: pod.probe("/ready") == 503)
        assert pod.probe("/live") == 200
        container.terminate()
        assert eventually("the proxy to end", lambda: container.exit_code() is not None)
        assert container.exit_code() == 0
        last = json.loads(container.output.read_text().splitlines()[-1])
        assert last["event"] == "stopped"


def test_the_command_answers_without_a_pod(tree: Path) -> None:
    words = ["chroot", "--userspec=1337:1337", str(tree), "/usr/local/bin/remora", "--help"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.startswith("usage: remora COMMAND")
