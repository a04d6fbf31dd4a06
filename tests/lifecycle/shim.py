"""Between the kubelet and a container, as containerd's shim: makes its namespaces, waits for it.

    python shim.py JSON

Runs as the root of the machine, in the pod's network namespace. Makes a root filesystem out of this
machine's (read-only) and the pod's volumes, becomes the container's user with its capabilities, and
execs; or, with "join", does so inside a container that runs. The file `report` gets a line once
that has happened. Ends as the container does, with 128 plus the number of a signal; and ends it
when stdin is closed, so that nothing outlives the tests.

It stands alone: no module of the tree is imported, since every container pays for it.
"""

import ctypes
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS = 0x20000, 0x20000000, 0x4000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
START_FAILED = 128  # what container runtimes say of a program that could not be run

# linux/capability.h, in the order of their numbers.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source: str, target: str, kind: str = "none", flags: int = 0, data: str = "") -> None:
    words = (word.encode() for word in (source, target, kind))
    checked(libc.mount(*words, ctypes.c_ulong(flags), data.encode()))


def bind(source: str, target: str, *, is_read_only: bool) -> None:
    """Put a file or a folder at a place that is made for it."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    mount(source, target, flags=MS_BIND | MS_REC)
    if is_read_only:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_root(plan: dict[str, Any]) -> None:
    """Build the container's root filesystem and go there; the machine's own is out of sight."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    root = plan["root"]
    mount("tmpfs", root, "tmpfs", data="mode=755,size=64m")
    for name in ("run", "tmp", "var", "dev", "proc"):
        Path(root, name).mkdir()
    Path(root, "tmp").chmod(0o1777)
    # Relative, since mounts below it are made before this is the root.
    Path(root, "var/run").symlink_to("../run")
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            Path(root, name).symlink_to(Path("/", name).readlink())
        elif Path("/", name).is_dir():
            bind(f"/{name}", f"{root}/{name}", is_read_only=True)
    for path in plan["image"]:
        bind(path, root + path, is_read_only=True)
    mount("proc", f"{root}/proc", "proc")
    bind("/proc/sys", f"{root}/proc/sys", is_read_only=True)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}", is_read_only=False)
    Path(root, "dev/fd").symlink_to("/proc/self/fd")
    bind(plan["message"], f"{root}/dev/termination-log", is_read_only=False)
    for source, path, is_read_only in plan["mounts"]:
        bind(source, root + path, is_read_only=is_read_only)
    if plan["is_root_read_only"]:
        mount("none", root, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chdir(root)
    checked(libc.syscall(SYS_PIVOT_ROOT, b".", b"."))
    checked(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    socket.sethostname(plan["hostname"])


def become(plan: dict[str, Any]) -> None:
    """Take on the user and the rights of the container."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(each, signal.SIG_DFL)
    kept = set(plan["capabilities"])
    for number, name in enumerate(CAPABILITIES):
        if name not in kept:
            checked(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
    os.setgroups([])
    os.setresgid(plan["gid"], plan["gid"], plan["gid"])
    os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    if not plan["may_gain_rights"]:
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def run(plan: dict[str, Any], said: int) -> NoReturn:
    """In the child: never returns. What fails is said; a program that runs says nothing."""
    try:
        if plan["join"]:
            checked(libc.setns(plan["fds"]["mnt"], CLONE_NEWNS))
            checked(libc.setns(plan["fds"]["uts"], CLONE_NEWUTS))
            os.chdir("/")
        else:
            make_root(plan)
        stdin = os.open("/dev/null", os.O_RDONLY)
        os.dup2(stdin, 0)
        become(plan)
        os.execvpe(plan["words"][0], plan["words"], plan["env"])  # noqa: S606 - there is no shell
    except BaseException as fault:  # noqa: BLE001 - whatever it is, the kubelet must hear of it
        os.write(said, f"{plan['words'][0]}: {fault}".encode())
    os._exit(START_FAILED)


def prepare(plan: dict[str, Any]) -> None:
    """Leave this machine's namespaces, or enter those of a container, as far as children need."""
    if not plan["join"]:
        checked(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS))
        return
    names = ("pid", "mnt", "uts")
    plan["fds"] = {n: os.open(f"/proc/{plan['join']}/ns/{n}", os.O_RDONLY) for n in names}
    checked(libc.setns(plan["fds"]["pid"], CLONE_NEWPID))


def main() -> int:
    plan = json.loads(sys.argv[1])
    report = os.open(plan["report"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    prepare(plan)
    hears, said = os.pipe()  # closed by exec
    child = os.fork()
    if child == 0:
        run(plan, said)
    os.close(said)
    fault = os.read(hears, 4096).decode(errors="replace")
    os.write(report, json.dumps({"pid": child, "fault": fault}).encode() + b"\n")
    handle = os.pidfd_open(child)
    readable, _, _ = select.select([handle, 0], [], [])
    if handle not in readable:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


if __name__ == "__main__":
    # What is meant for the container goes to it alone.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(main())
