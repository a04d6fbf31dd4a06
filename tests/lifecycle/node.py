"""A node: pods in network namespaces of their own, which reach each other by the node's routes."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from tests.lifecycle.container import Sandbox
from tests.lifecycle.endpoints import Endpoints
from tests.lifecycle.kubelet import Kubelet
from tests.lifecycle.manifest import Facts, Raw, read_pod
from tests.netns.harness import Namespace

NAME: Final = "node-1"
_PREFIX: Final = "10.72"
_PREFIX6: Final = "fd72"
# Periods of probes and the back-off run so much faster than written; grace periods do not.
CLOCK: Final = 0.1


class Node:
    """A context manager: at its end all pods are gone, whatever they were doing.

    Its own namespace is where the kubelet's probes come from, and where clients outside of the
    mesh live.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._stack = ExitStack()
        self.network = self._stack.enter_context(Namespace("node"))
        self.network.sysctl("net/ipv4/ip_forward", "1")
        self.network.sysctl("net/ipv6/conf/all/forwarding", "1")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="remora-node-"))
        self._folder = Path(folder)
        self._folder.chmod(0o755)  # the users of containers go through it
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.endpoints = Endpoints()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def host(self) -> str:
        """An address that pods reach the node by, once there is a pod."""
        return f"{_PREFIX}.1.1"

    def start(self, raw: Raw, *, clock: float = CLOCK) -> Kubelet:
        """Run a pod; return at once. Where it stands, and what became of it, tells the result."""
        self._count += 1
        network = self._stack.enter_context(Namespace(raw["metadata"]["name"]))
        addresses = self._join(network, self._count)
        facts = Facts(NAME, addresses, f"{_PREFIX}.{self._count}.1")
        folder = self._folder / f"{self._count}-{raw['metadata']['name']}"
        folder.mkdir()
        sandbox = Sandbox(read_pod(raw, facts), network, folder)
        made = Kubelet(sandbox, self.network, self.endpoints, clock=clock)
        made.make_volumes(self.secrets)
        if not self._is_quiet:
            self._stack.callback(made.tell_all)
        self._stack.callback(made.close)
        made.start()
        return made

    def run(self, raw: Raw, *, clock: float = CLOCK) -> Kubelet:
        """Run a pod until it is ready."""
        made = self.start(raw, clock=clock)
        made.wait_ready()
        return made

    def roll_out(self, old: list[Kubelet], new: list[Raw]) -> list[Kubelet]:
        """Replace pods one by one: maxSurge 1, maxUnavailable 0."""
        made = []
        for before, raw in zip(old, new, strict=True):
            made.append(self.run(raw))
            before.delete()
        for before in old:
            before.wait_gone()
        return made

    def _join(self, pod: Namespace, number: int) -> tuple[str, str]:
        own, own6 = f"{_PREFIX}.{number}.2", f"{_PREFIX6}:{number}::2"
        gate, gate6 = f"{_PREFIX}.{number}.1", f"{_PREFIX6}:{number}::1"
        peer = f"veth peer name eth0 netns {pod.path}"
        self.network.run(["ip", "link", "add", f"veth{number}", "type", *peer.split()])
        self.network.run(
            ["ip", "-batch", "-"],
            text=f"""
address add {gate}/24 dev veth{number}
address add {gate6}/64 dev veth{number} nodad
link set veth{number} up
""",
        )
        pod.run(
            ["ip", "-batch", "-"],
            text=f"""
address add {own}/24 dev eth0
address add {own6}/64 dev eth0 nodad
link set eth0 up
route add 0.0.0.0/0 via {gate}
route add ::/0 via {gate6} dev eth0
""",
        )
        pod.addresses.update({"ipv4": own, "ipv6": own6})
        return own, own6
