"""`make image ARGS=measure`: the memory of an idle proxy in the image, and of the init step."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from deploy.image import build, container
from inject.patch import apply
from inject.plan import inject
from inject.reasons import INIT, PROXY
from inject.settings import DEFAULTS

POD: Final[dict[str, Any]] = {
    "metadata": {},
    "spec": {"containers": [{"name": "app", "image": "app"}]},
}
# How much memory the init step had at most, in KiB; the programs that it starts are smaller.
INIT_PEAK: Final = """
import resource, sys
from proxy.cli import main
code = main(["init"])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def injected(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a container as injection writes it by default, and the volumes of the pod."""
    spec = apply(POD, inject(POD, DEFAULTS).patch)["spec"]
    (found,) = [each for each in spec["initContainers"] if each["name"] == name]
    return found, spec["volumes"]


def memory(pid: int) -> dict[str, float]:
    """Return resident and proportional memory of a process, in MiB."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    words = {row.split(":")[0]: int(row.split()[1]) for row in rows}
    return {name: words[name] / 1024 for name in ("Rss", "Pss")}


def main() -> int:
    """Print a line for each."""
    tree = build.FOLDER / "tree"
    if reason := container.reason_not_to_run():
        print(f"measure: {reason}", file=sys.stderr)
        return 1
    if not tree.exists():
        print("measure: no image here; `make image` builds it", file=sys.stderr)
        return 1
    config = json.loads((build.FOLDER / "config.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        place = container.Place(tree, config, Path(folder), env={"REMORA_NAMESPACE": "default"})
        init, volumes = injected(INIT)
        init |= {"command": ["/usr/bin/python3.11", "-IBc", INIT_PEAK], "args": []}
        done = container.run(init, volumes, place)
        rows = [row.split() for row in done.stdout.splitlines() if row.startswith("peak ")]
        for _, peak in rows:
            print(f"init step: {int(peak) / 1024:.1f} MiB resident at most")
        proxy, volumes = injected(PROXY)
        with container.running(proxy, volumes, place) as made:
            made.execute("remora", "ctl", "wait").check_returncode()
            found = memory(made.state()["pid"])
            print(f"idle proxy: {found['Rss']:.1f} MiB resident (PSS {found['Pss']:.1f} MiB)")
    return 0
