"""`deploy/kind/run`: which commands, in which order, and what becomes of the cluster.

Standard library only. What is planned is data, so that it can be read, and tested, without Docker.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = ROOT / "deploy" / "kind"
NODES: Final = HERE / "nodes.txt"
LOGS: Final = ROOT / "build" / "kind-logs"
IMAGE: Final = "remora:0.1.0"
NAMESPACE: Final = "remora-system"
WAIT: Final = "5m"

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: a program that it needs is missing

_EPILOGUE: Final = """\
It needs a Docker engine, kind, kubectl, Helm (for --install chart), `make setup`, and some minutes.
Nothing outside of the cluster is changed: it has a kubeconfig of its own.

  deploy/kind/run                               build the image, newest Kubernetes, chart
  deploy/kind/run --kubernetes 1.29,1.33        one cluster after the other
  deploy/kind/run --install manifests --keep    and look around afterwards
  deploy/kind/run --archive remora.tar          an image that is there already
  deploy/kind/run --print                       what it would do
  deploy/kind/run -- -k job -x                  words for pytest

exit codes: 0 all is well; 1 something is not (logs are in build/kind-logs); 64 bad words; 69
skipped: a program is missing; 130 interrupted. The cluster is gone in any case, unless --keep.
"""


class Node(NamedTuple):
    """A version of Kubernetes, and the image that has it."""

    version: str
    kind: str  # the release of kind that it was built for
    image: str


class Wish(NamedTuple):
    """What is asked for, but for the version of Kubernetes."""

    name: str
    install: str
    archive: str
    keep: bool
    words: tuple[str, ...]


class Step(NamedTuple):
    """A command, and what it is for."""

    title: str
    words: tuple[str, ...]


def nodes() -> list[Node]:
    """Return the images that are pinned; the first one is the default."""
    lines = NODES.read_text(encoding="utf-8").splitlines()
    return [Node(*line.split()) for line in lines if line and not line.startswith("#")]


def cluster_name(wish: Wish, node: Node) -> str:
    """Return the name of the cluster, which tells of its version."""
    return f"{wish.name}-{node.version.replace('.', '-')}"


def creation(wish: Wish, node: Node) -> Step:
    """Return how the cluster is made. From here on there is something to tear down."""
    words = ["kind", "create", "cluster", "--name", cluster_name(wish, node)]
    words += ["--image", node.image, "--config", str(HERE / "cluster.yaml"), "--wait", WAIT]
    return Step(f"a cluster of Kubernetes {node.version}", tuple(words))


def work(wish: Wish, node: Node) -> list[Step]:
    """Return what is done with the cluster: image, installation, tests."""
    name = cluster_name(wish, node)
    build = ("docker", "buildx", "build", "--load", "-f", "deploy/Dockerfile", "-t", IMAGE, ".")
    image = [Step("the image", build), _load("docker-image", IMAGE, name)]
    if wish.archive:
        image = [_load("image-archive", wish.archive, name)]
    tests = (_python(), "-m", "pytest", "-ra", "tests/kind", *wish.words)
    return [*image, *_installation(wish), Step("the tests", tests)]


def _load(kind: str, image: str, name: str) -> Step:
    return Step("the image into the nodes", ("kind", "load", kind, image, "--name", name))


def _installation(wish: Wish) -> list[Step]:
    if wish.install == "chart":
        words = ["helm", "install", "remora", "deploy/chart", "--namespace", NAMESPACE]
        return [Step("the chart", (*words, "--create-namespace", "--wait", "--timeout", WAIT))]
    rollout = ("rollout", "status", "deployment/remora-webhook", "--timeout", WAIT)
    return [
        Step("the manifests", ("kubectl", "apply", "-k", "deploy/manifests")),
        Step("the webhook", ("kubectl", "-n", NAMESPACE, *rollout)),
    ]


def account(wish: Wish, node: Node) -> Step:
    """Return how everything that may explain a failure is kept."""
    words = ("kind", "export", "logs", str(LOGS), "--name", cluster_name(wish, node))
    return Step(f"logs into {LOGS.relative_to(ROOT)}", words)


def removal(wish: Wish, node: Node) -> Step:
    """Return how the cluster goes."""
    words = ("kind", "delete", "cluster", "--name", cluster_name(wish, node))
    return Step("the cluster goes", words)


def environment(wish: Wish, node: Node, kubeconfig: Path) -> dict[str, str]:
    """Return what all commands get: a kubeconfig of their own, and for the tests what there is."""
    return {
        **os.environ,
        "PATH": _path(),
        "KUBECONFIG": str(kubeconfig),
        "REMORA_KIND_CLUSTER": cluster_name(wish, node),
        "REMORA_KIND_KUBECONFIG": str(kubeconfig),
        "REMORA_KIND_INSTALL": wish.install,
    }


def missing(wish: Wish) -> str:
    """Return what is not there, "" if nothing is missing."""
    needed = ["docker", "kind", "kubectl", *(["helm"] if wish.install == "chart" else [])]
    absent = [name for name in needed if shutil.which(name, path=_path()) is None]
    if absent:
        return f"no {', no '.join(absent)} on this machine"
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if engine.returncode != 0:
        said = engine.stderr.strip().splitlines()
        return f"no Docker engine answers ({said[-1] if said else engine.returncode})"
    return "" if Path(_python()).exists() else "no .venv: run `make setup` first"


def _path() -> str:
    """Return where programs are looked for: `remora`, and Helm of `make helm`, come first."""
    return f"{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}"


def _python() -> str:
    return str(ROOT / ".venv" / "bin" / "python")


class _Teller:
    """Says what happens, and when."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def say(self, text: str) -> None:
        passed = int(time.monotonic() - self._began_s)
        print(f"==> {passed // 60}:{passed % 60:02} {text}", flush=True)

    def run(self, step: Step, environ: Mapping[str, str]) -> bool:
        self.say(step.title)
        done = subprocess.run(step.words, cwd=ROOT, env=dict(environ), check=False)
        if done.returncode != 0:
            self.say(f"failed with exit code {done.returncode}: {' '.join(step.words)}")
        return done.returncode == 0


def try_out(wish: Wish, node: Node, kubeconfig: Path, teller: _Teller) -> bool:
    """Make a cluster, use it, and tear it down whatever happens. Whether all went well."""
    environ = environment(wish, node, kubeconfig)
    good = False
    try:
        good = teller.run(creation(wish, node), environ)
        good = good and all(teller.run(step, environ) for step in work(wish, node))
        if not good:
            teller.run(account(wish, node), environ)
    finally:
        if wish.keep:
            teller.say(f"kept: export KUBECONFIG={kubeconfig}")
            teller.say(f"       {' '.join(removal(wish, node).words)}")
        else:
            teller.run(removal(wish, node), environ)
    return good


def read_words(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises SystemExit."""
    parser = argparse.ArgumentParser(
        prog="deploy/kind/run",
        description="Makes a cluster, installs remora, runs tests/kind, tears the cluster down.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [node.version for node in nodes()]
    versions = f"{', '.join(known)}, several with commas, or all (default {known[0]})"
    parser.add_argument("--kubernetes", default=known[0], metavar="VERSION", help=versions)
    parser.add_argument("--install", choices=("chart", "manifests"), default="chart")
    parser.add_argument("--archive", default="", metavar="FILE", help="an image, not built here")
    parser.add_argument("--name", default="remora-test", help="how clusters' names begin")
    parser.add_argument("--keep", action="store_true", help="leave the cluster")
    parser.add_argument("--print", action="store_true", help="print the commands, run none")
    parser.add_argument("words", nargs="*", metavar="-- WORDS", help="for pytest")
    return parser.parse_args(arguments)


def wanted(text: str) -> list[Node]:
    """Return the nodes of versions. Raises ValueError for one that there is no image of."""
    known = {node.version: node for node in nodes()}
    versions = list(known) if text == "all" else text.split(",")
    for version in versions:
        if version not in known:
            raise ValueError(f"--kubernetes: {version!r} is none of {', '.join(known)}")
    return [known[version] for version in versions]


def main(arguments: Sequence[str]) -> int:
    """Try all versions that are asked for; return the exit code."""
    words = read_words(arguments)
    archive = str(Path(words.archive).resolve()) if words.archive else ""
    wish = Wish(words.name, words.install, archive, words.keep, tuple(words.words))
    try:
        chosen = wanted(words.kubernetes)
    except ValueError as fault:
        return _complain(str(fault), EXIT_USAGE)
    if words.print:
        for node in chosen:
            for step in (creation(wish, node), *work(wish, node), removal(wish, node)):
                print(" ".join(step.words))
        return EXIT_OK
    if lack := missing(wish):
        return _complain(f"skipped: {lack}", EXIT_UNAVAILABLE)
    names = [cluster_name(wish, node) for node in chosen]
    running = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, check=True
    )
    if taken := set(names) & set(running.stdout.split()):
        return _complain(f"{', '.join(taken)} is there already: choose another --name", EXIT_USAGE)
    return _try_all(wish, chosen)


def _try_all(wish: Wish, chosen: Sequence[Node]) -> int:
    teller, good = _Teller(), True
    folder = Path(tempfile.mkdtemp(prefix="remora-kind-"))
    try:
        for node in chosen:
            kubeconfig = folder / f"{node.version}.kubeconfig"
            good = try_out(wish, node, kubeconfig, teller) and good
    except KeyboardInterrupt:
        return 130
    finally:
        if not wish.keep:
            shutil.rmtree(folder)
    teller.say("all is well" if good else "something is not")
    return EXIT_OK if good else EXIT_FAILED


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"deploy/kind/run: {text}\n")
    return code
