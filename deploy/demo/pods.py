"""Two pods: network namespaces with their own addresses, joined by a veth pair.

Without root a pod is only a name, its addresses are the machine's loopback ones, and its programs
run as whoever runs the demo.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.demo.programs import TIED_TO_US, attempt, run
from deploy.demo.story import DemoError

IPV4: Final = "IPv4"
IPV6: Final = "IPv6"

# Every namespace of this name is the demo's own: what a killed run has left behind is removed.
PREFIX: Final = "remora-demo-"

PROXY_ID: Final = (
    1337  # the sidecar's user and group: how the rules tell its traffic from the app's
)
APP_ID: Final = 65534  # nobody: the apps and their downstreams are no one special

# One right beside none: to files, see `Pod.as_sidecar`.
POWER_OVER_FILES: Final = 1 << 1  # CAP_DAC_OVERRIDE, as /proc/PID/status shows it
_KINDS: Final = ("bounding-set", "inh-caps", "ambient-caps")
_NO_POWERS: Final = tuple(f"--{kind}=-all" for kind in _KINDS)
_POWER_OVER_FILES: Final = tuple(f"--{kind}=-all,+dac_override" for kind in _KINDS)

# A root user's checkout may be unreadable for others (/root is), and a container's image is
# read-only: so the sidecar finds the checkout at a place of its own. The mount lives in the mount
# namespace that `ip netns exec` has made, and is gone with the process.
_IN_IMAGE: Final = (
    'mount --bind "$1" "$2" && mount -o remount,bind,ro "$2" && cd "$2" && shift 2 && exec "$@"'
)


@dataclass(frozen=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Spell it as a URL and remora's flags do."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read what `str` gives."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))


@dataclass(frozen=True)
class Pod:
    """Where programs run. `addresses` by family; no `namespace` means here, without root."""

    name: str
    addresses: dict[str, str]
    namespace: str = ""

    def as_root(self, *words: str) -> list[str]:
        """Give the command that runs `words` in the pod."""
        return ["ip", "netns", "exec", self.namespace, *words] if self.namespace else [*words]

    def as_app(self, *words: str) -> list[str]:
        """Give the command that runs `words` in the pod as an ordinary user."""
        return self.as_root(*TIED_TO_US, *self._user(APP_ID), *words)

    def past_sidecar(self, *words: str) -> list[str]:
        """Give the command that runs `words` in the pod as somebody whom no rule redirects."""
        return self.as_root(*TIED_TO_US, *self._user(PROXY_ID), *words)

    def as_sidecar(
        self, image: Path, mountpoint: Path, *words: str, may_open_files: bool = False
    ) -> list[str]:
        """Give the command that runs `words` as the sidecar runs: 1337:1337, no capability.

        `may_open_files` leaves it one, for a Python that lies where only root may look.
        """
        powers = _POWER_OVER_FILES if may_open_files else _NO_POWERS
        command = [*TIED_TO_US, *self._user(PROXY_ID, powers), *words]
        if not self.namespace:
            return command
        return self.as_root("sh", "-c", _IN_IMAGE, "sh", str(image), str(mountpoint), *command)

    def _user(self, number: int, powers: Sequence[str] = _NO_POWERS) -> list[str]:
        if not self.namespace:
            return []
        who = ["--reuid", str(number), "--regid", str(number), "--clear-groups"]
        return [*who, "--no-new-privs", *powers]


def may_make_namespaces() -> bool:
    """Tell whether network namespaces are allowed here; root in a plain container may not."""
    if os.geteuid():
        return False
    name = f"{PREFIX}probe"
    made = attempt(["ip", "netns", "add", name]).returncode == 0
    if made:
        run(["ip", "netns", "del", name])
    return made


def remove_namespaces() -> list[str]:
    """Remove every namespace of the demo, ours or a killed run's; return their names.

    No process of a killed run is left: each was tied to it (see `TIED_TO_US`).
    """
    listed = run(["ip", "netns", "list"]).splitlines()
    names = [line.split()[0] for line in listed if line.startswith(PREFIX)]
    for name in names:
        run(["ip", "netns", "del", name])
    return names


def has_ipv6() -> bool:
    """Tell whether the kernel speaks IPv6."""
    return Path("/proc/sys/net/ipv6").is_dir()


def make_pods(*names: str) -> list[Pod]:
    """Make two pods in one network: 10.83.0.0/24 and, where there is IPv6, fd83::/64."""
    families = [IPV4, IPV6] if has_ipv6() else [IPV4]
    pods = []
    for number, name in enumerate(names, 1):
        addresses = {IPV4: f"10.83.0.{number}", IPV6: f"fd83::{number}"}
        pods.append(Pod(name, {family: addresses[family] for family in families}, PREFIX + name))
    for pod in pods:
        run(["ip", "netns", "add", pod.namespace])
    first, second = (pod.namespace for pod in pods)
    # Born inside the namespaces: nothing of it is ever seen in the machine's own network.
    peer = ["peer", "name", "eth0", "netns", second]
    run(["ip", "link", "add", "eth0", "netns", first, "type", "veth", *peer])
    for pod in pods:
        _bring_up(pod)
    return pods


def _bring_up(pod: Pod) -> None:
    inside = ["ip", "-n", pod.namespace]
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "link", "set", "eth0", "up"])
    run([*inside, "address", "add", f"{pod.addresses[IPV4]}/24", "dev", "eth0"])
    if IPV6 in pod.addresses:
        # nodad: usable at once, because nobody else can have it.
        run([*inside, "address", "add", f"{pod.addresses[IPV6]}/64", "dev", "eth0", "nodad"])


def loopback_pods(*names: str) -> list[Pod]:
    """Give pods that are names only, on the loopback addresses."""
    addresses = {IPV4: "127.0.0.1"}
    if _has_loopback_ipv6():
        addresses[IPV6] = "::1"
    return [Pod(name, addresses) for name in names]


def _has_loopback_ipv6() -> bool:
    try:
        return "0" * 31 + "1" in Path("/proc/net/if_inet6").read_text()
    except OSError:
        return False


def capabilities(pid: int) -> int:
    """Return the effective capabilities of a process, a bit each; raise DemoError without it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as fault:
        raise DemoError(f"process {pid} is gone") from fault
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
