"""A container of the image as the kubelet would have it run, by runc and with no cluster.

What a Kubernetes container says (command, env, securityContext, volumeMounts, resources) becomes
the configuration of an OCI runtime. Each container writes, if it may, to a layer of its own.
"""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

RUNTIME: Final = "runc"
# The profile of podman and CRI-O; those of Docker and containerd are of the same family.
SECCOMP: Final = Path("/usr/share/containers/seccomp.json")
NEEDED: Final = {RUNTIME: "runc", "umoci": "umoci", "skopeo": "skopeo"}

START_S_MAX: Final = 20.0
POLL_S: Final = 0.02

# What containers have of the kernel, as containerd has it.
_MASKED: Final = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SAFE: Final = ("nosuid", "noexec", "nodev")
_MOUNTS: Final = (
    ("/proc", "proc", "proc", _SAFE),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    ),
    ("/dev/shm", "tmpfs", "shm", (*_SAFE, "mode=1777", "size=65536k")),  # noqa: S108 - of the container
    ("/dev/mqueue", "mqueue", "mqueue", _SAFE),
    ("/sys", "sysfs", "sysfs", (*_SAFE, "ro")),
)
_SETS: Final = ("bounding", "effective", "permitted", "inheritable")
_UNITS: Final = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@dataclass(frozen=True)
class Place:
    """Where a container runs: its image, its network namespace (None: a new one), its files."""

    tree: Path
    image_config: Json
    folder: Path
    network: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # in the place of fields of the pod
    binds: Mapping[str, Path] = field(default_factory=dict)  # volumes that are folders of ours


def reason_not_to_run() -> str:
    """Say why no container can run here; empty if one can."""
    if os.geteuid() != 0:
        return "containers need root here"
    missing = [package for tool, package in NEEDED.items() if not shutil.which(tool)]
    if not SECCOMP.exists():
        missing.append("golang-github-containers-common")
    return f"containers need the Debian packages {' '.join(missing)}" if missing else ""


def bytes_of(quantity: str) -> int:
    """Return an amount of memory as Kubernetes writes it, in bytes."""
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) * _UNITS[unit]


def seccomp(profile: Json, capabilities: Sequence[str]) -> Json:
    """Return the default profile in the runtime's form, for these capabilities and this machine."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

    def matches(row: Json) -> bool:
        includes, excludes = row.get("includes") or {}, row.get("excludes") or {}
        if not set(includes.get("caps") or ()) <= set(capabilities):
            return False
        if set(excludes.get("caps") or ()) & set(capabilities):
            return False
        machines = includes.get("arches")
        return (not machines or machine in machines) and machine not in (
            excludes.get("arches") or ()
        )

    kept = ("names", "action", "args", "errnoRet")
    rows = [
        {key: row[key] for key in kept if row.get(key) not in (None, [])}
        for row in profile["syscalls"]
        if matches(row)
    ]
    known = profile["archMap"]
    names = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
    (mine,) = [each for each in known if each["architecture"] == names[machine]]
    architectures = [mine["architecture"], *(mine.get("subArchitectures") or ())]
    made = {"defaultAction": profile["defaultAction"], "architectures": architectures}
    if "defaultErrnoRet" in profile:
        made["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return {**made, "syscalls": rows}


def environment(container: Json, place: Place) -> list[str]:
    """Return its variables; those that the kubelet would fill in come from `place`."""
    texts = dict(row.split("=", 1) for row in place.image_config["config"]["Env"])
    for row in container.get("env", ()):
        if "value" in row:
            texts[row["name"]] = row["value"]
        elif row["name"] in place.env:
            texts[row["name"]] = place.env[row["name"]]
    return [f"{name}={text}" for name, text in texts.items()]


def process(container: Json, place: Place) -> Json:
    """Return who runs what, with which rights."""
    security = container["securityContext"]
    capabilities = [f"CAP_{name}" for name in security["capabilities"].get("add", ())]
    config = place.image_config["config"]
    command = container.get("command") or config["Entrypoint"]
    return {
        "terminal": False,
        "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"], "additionalGids": []},
        "args": [*command, *container.get("args", ())],
        "env": environment(container, place),
        "cwd": config["WorkingDir"],
        "capabilities": dict.fromkeys(_SETS, capabilities),
        "noNewPrivileges": not security["allowPrivilegeEscalation"],
        "oomScoreAdj": 900,
    }


def mounts(container: Json, sources: Mapping[str, Path]) -> list[Json]:
    """Return what is mounted: parents first, as the kubelet has it."""
    made = [
        {"destination": where, "type": kind, "source": source, "options": list(options)}
        for where, kind, source, options in _MOUNTS
    ]
    for row in sorted(container["volumeMounts"], key=lambda row: row["mountPath"].count("/")):
        options = ["rbind", "rprivate", "ro" if row.get("readOnly") else "rw"]
        source = str(sources[row["name"]])
        where = row["mountPath"]
        made.append({"destination": where, "type": "bind", "source": source, "options": options})
    return made


def configuration(container: Json, sources: Mapping[str, Path], place: Place, name: str) -> Json:
    """Return the config.json of a bundle; `sources` has the folder of each volume."""
    security = container["securityContext"]
    who = process(container, place)
    network = {"type": "network"} | ({"path": str(place.network)} if place.network else {})
    linux: Json = {
        "namespaces": [*({"type": kind} for kind in ("pid", "ipc", "uts", "mount")), network],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "cgroupsPath": f"/{name}",
    }
    if limit := container.get("resources", {}).get("limits", {}).get("memory"):
        linux["resources"] = {"memory": {"limit": bytes_of(limit)}}
    if security["seccompProfile"]["type"] == "RuntimeDefault":
        profile = json.loads(SECCOMP.read_text(encoding="utf-8"))
        linux["seccomp"] = seccomp(profile, who["capabilities"]["bounding"])
    return {
        "ociVersion": "1.0.2",
        "hostname": name,
        "process": who,
        "root": {"path": "rootfs", "readonly": security["readOnlyRootFilesystem"]},
        "mounts": mounts(container, sources),
        "linux": linux,
    }


class Container:
    """One that was started; `output` is what it wrote so far."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.output = folder / "output"
        self._root = folder / "state"
        self._runtime: subprocess.Popen[bytes] | None = None

    def words(self, *words: str) -> list[str]:
        """Return a call of the runtime."""
        return [RUNTIME, "--root", str(self._root), *words]

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with its rights."""
        return subprocess.run(
            self.words("exec", self.name, *words), capture_output=True, text=True, check=False
        )

    def state(self) -> Json:
        """Return what the runtime knows of it: `pid`, `status`; nothing before it is made."""
        done = subprocess.run(self.words("state", self.name), capture_output=True, check=False)
        found: Json = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def terminate(self) -> None:
        """Send SIGTERM."""
        subprocess.run(self.words("kill", self.name, "TERM"), check=True)

    def start(self) -> None:
        """Start it, and return when it runs."""
        words = self.words("run", "--bundle", str(self.output.parent), self.name)
        with self.output.open("wb") as output:
            self._runtime = subprocess.Popen(words, stdout=output, stderr=output)
        deadline = time.monotonic() + START_S_MAX
        while (state := self.state()).get("status") != "running":
            if self._runtime.poll() is not None or time.monotonic() > deadline:
                said = self.output.read_text(encoding="utf-8")
                raise RuntimeError(f"{self.name} does not run, but is {state}: {said}")
            time.sleep(POLL_S)

    def exit_code(self) -> int | None:
        """Return how it ended; None while it runs."""
        return None if self._runtime is None else self._runtime.poll()

    def end(self) -> None:
        """Kill it if it still runs."""
        words = self.words("kill", self.name, "KILL")
        subprocess.run(words, check=False, stderr=subprocess.DEVNULL)
        if self._runtime is not None:
            self._runtime.wait()


@contextlib.contextmanager
def volumes_of(pod: Sequence[Json], place: Place) -> Iterator[dict[str, Path]]:
    """Make the volumes that are memory, as the kubelet does; the others are the caller's."""
    with contextlib.ExitStack() as stack:
        made = dict(place.binds)
        for volume in pod:
            if memory := volume.get("emptyDir"):
                folder = place.folder / volume["name"]
                folder.mkdir(exist_ok=True)
                options = f"mode=0777,size={bytes_of(memory['sizeLimit'])}"
                _call("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)
                stack.callback(_call, "umount", folder)
                made[volume["name"]] = folder
        yield made


def _call(*words: str | Path) -> None:
    subprocess.run(words, check=True)


@contextlib.contextmanager
def prepared(container: Json, volumes: Sequence[Json], place: Place) -> Iterator[Container]:
    """Make the bundle of a container, and take it away with whatever runs in it."""
    name = f"remora-{uuid.uuid4().hex[:12]}"
    folder = place.folder / name
    rootfs = folder / "rootfs"
    for part in (rootfs, folder / "upper", folder / "work"):
        part.mkdir(parents=True)
    made = Container(name, folder)
    layers = f"lowerdir={place.tree},upperdir={folder}/upper,workdir={folder}/work"
    with contextlib.ExitStack() as stack:
        sources = stack.enter_context(volumes_of(volumes, place))
        config = configuration(container, sources, place, name)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        stack.callback(shutil.rmtree, folder)
        _call("mount", "-t", "overlay", "-o", layers, "overlay", rootfs)
        stack.callback(_call, "umount", rootfs)
        stack.callback(_call, *made.words("delete", "--force", name))
        yield made


def run(container: Json, volumes: Sequence[Json], place: Place) -> subprocess.CompletedProcess[str]:
    """Run a container to its end."""
    with prepared(container, volumes, place) as made:
        words = made.words("run", "--bundle", str(made.output.parent), made.name)
        return subprocess.run(words, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def running(container: Json, volumes: Sequence[Json], place: Place) -> Iterator[Container]:
    """Start a container, and end it."""
    with prepared(container, volumes, place) as made:
        try:
            made.start()
            yield made
        finally:
            made.end()
