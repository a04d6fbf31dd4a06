"""remora of another tree than this one, under a load of the benchmark."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.peer import REMORA, Job, Peer
from bench.running import Cores, Place, Running, deployed, upstream
from bench.workloads import Workload

CONNECTIONS_MAX: Final = 500


def remora_of(root: Path, prefix: Sequence[str] = ()) -> Peer:
    """Return remora as it is in a tree whose extension is built there; `prefix` runs it."""
    made = REMORA.command
    assert made is not None

    def command(binary: str, job: Job) -> list[str]:
        where = ["env", f"PYTHONPATH={root}", "PYTHONSAFEPATH=1"]
        return [*where, *prefix, *made(binary, job)]

    return replace(REMORA, command=command)


@contextmanager
def placed(peer: Peer, workload: Workload, cores: Cores, issued: Path) -> Iterator[Running]:
    """Run a peer in front of an upstream, for one work."""
    with ExitStack() as stack:
        port, _ = stack.enter_context(upstream(cores.load, workload.family))
        place = Place(
            *(port, CONNECTIONS_MAX, cores.proxy, workload.family),
            manifests=workload.services,
            identities=issued,
        )
        yield stack.enter_context(deployed(peer, workload, place))
