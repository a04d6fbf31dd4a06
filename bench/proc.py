"""What the kernel says a process cost: CPU and memory of sessions, read from /proc."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")
STEAL: Final = 7  # its place among the counters of a core
ANONYMOUS: Final = ""
MAPPING_WORDS: Final = 5  # before the path


@dataclass(frozen=True)
class Cpu:
    """CPU time so far. The total counts nanoseconds; user and system are sampled by the tick."""

    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0

    def __add__(self, other: "Cpu") -> "Cpu":
        """Sum two processes."""
        return Cpu(
            self.total_ns + other.total_ns,
            self.user_ns + other.user_ns,
            self.system_ns + other.system_ns,
        )

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        """Tell what was used between two readings."""
        return Cpu(
            self.total_ns - earlier.total_ns,
            self.user_ns - earlier.user_ns,
            self.system_ns - earlier.system_ns,
        )


@dataclass(frozen=True)
class Thread:
    """Time that a thread ran, and that it could have run but waited for its core; ns so far."""

    run_ns: int = 0
    waited_ns: int = 0


@dataclass(frozen=True)
class Memory:
    """Bytes. PSS shares pages mapped by several processes out among them; RSS counts them whole."""

    pss: int = 0
    rss: int = 0
    private: int = 0


def _stat_fields(process: Path) -> list[str]:
    """Return the fields of a `stat` from the third (state) on; the second may hold blanks."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def session(*leaders: int) -> list[int]:
    """List the living processes of the sessions of `leaders`: proxies and what they forked."""
    members = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = _stat_fields(entry)
            if fields[0] != "Z" and int(fields[3]) in leaders:
                members.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return members


def _tasks(leaders: tuple[int, ...]) -> Iterator[Path]:
    for pid in session(*leaders):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from (PROC / str(pid) / "task").iterdir()


def cpu(*leaders: int) -> Cpu:
    """CPU of all threads of the sessions: scheduler's run time, exact to the last switch.

    User and system are taken from each thread, too: the kernel splits run time by all ticks that
    it ever saw of whom it is asked about, so a process would carry its start into its work.
    """
    total = Cpu()
    for task in _tasks(leaders):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            run_ns = int((task / "schedstat").read_text().split()[0])
            fields = _stat_fields(task)
            total += Cpu(run_ns, int(fields[11]) * TICK_NS, int(fields[12]) * TICK_NS)
    return total


def threads(*leaders: int) -> dict[int, Thread]:
    """All threads of the sessions, by their ids."""
    found = {}
    for task in _tasks(leaders):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            run_ns, waited_ns, _slices = map(int, (task / "schedstat").read_text().split())
            found[int(task.name)] = Thread(run_ns, waited_ns)
    return found


def busiest(before: dict[int, Thread], after: dict[int, Thread]) -> Thread:
    """Tell what the thread that ran most between two readings did meanwhile."""
    spent = []
    for number, now in after.items():
        then = before.get(number, Thread())
        spent.append(Thread(now.run_ns - then.run_ns, now.waited_ns - then.waited_ns))
    return max(spent, key=lambda thread: thread.run_ns, default=Thread())


def memory(*leaders: int) -> Memory:
    """Memory of the sessions."""
    kib = {"Pss": 0, "Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for pid in session(*leaders):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            name, _, value = line.partition(":")
            if name in kib:
                kib[name] += int(value.split()[0])
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Pss"] * 1024, kib["Rss"] * 1024, private * 1024)


def mapped(pid: int) -> dict[str, int]:
    """PSS in bytes of what a process has mapped, by the name of the file; ANONYMOUS is the rest.

    Pages of a file that were written to (relocations, variables) are the process's own and count as
    anonymous: another process with the same file does not share them.
    """
    found = {ANONYMOUS: 0}
    name = ANONYMOUS
    for line in (PROC / str(pid) / "smaps").read_text().splitlines():
        word, _, value = line.partition(":")
        if word in {"Pss", "Anonymous"}:
            own = int(value.split()[0]) * 1024
            found[name] = found.get(name, 0) + (own if word == "Pss" else -own)
            found[ANONYMOUS] += own if word == "Anonymous" else 0
        elif "-" in word:  # the head of a mapping: addresses, rights, offset, device, inode, path
            fields = line.split(maxsplit=5)
            is_file = len(fields) > MAPPING_WORDS and fields[MAPPING_WORDS].startswith("/")
            name = Path(fields[MAPPING_WORDS]).name if is_file else ANONYMOUS
    return found


def busy_ns(cores: tuple[int, ...]) -> int:
    """Time that these cores spent on anything, interrupts included, in steps of one tick."""
    ticks = 0
    for fields in _ticks(cores):
        user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
        ticks += user + nice + system + irq + softirq
    return ticks * TICK_NS


def stolen_ns(cores: tuple[int, ...]) -> int:
    """Time that these cores had work and no processor: the hypervisor had given it to others.

    In steps of one tick; see proc(5), "steal". 0 for ever where there is no hypervisor.
    """
    return sum(fields[STEAL] for fields in _ticks(cores)) * TICK_NS


def _ticks(cores: tuple[int, ...]) -> Iterator[list[int]]:
    """Yield what the kernel counted of these cores, in the order of proc(5)."""
    wanted = {f"cpu{core}" for core in cores}
    for line in (PROC / "stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            yield [int(field) for field in fields]
