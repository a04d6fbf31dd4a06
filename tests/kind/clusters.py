"""A cluster of kind, by kubectl: what is put in, and what is waited for."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import pytest

from tests.kind import reading
from tests.kind.objects import Object
from tests.kind.reading import Tally
from tests.support.waiting import eventually

State = TypeVar("State")

KUBECONFIG: Final = "REMORA_KIND_KUBECONFIG"
INSTALL: Final = "REMORA_KIND_INSTALL"
# Nodes share the machine, and pods are started one after the other.
PATIENCE_S: Final = 180.0


def kubeconfig() -> str:
    """Return whose cluster it is, or skip: never the one that a developer works with."""
    path = os.environ.get(KUBECONFIG, "")
    if not path:
        pytest.skip("no cluster for tests (deploy/kind/run makes one)")
    return path


def wait(what: str, probe: Callable[[], State]) -> State:
    """Wait for a state of the cluster."""
    return eventually(what, probe, seconds=PATIENCE_S)


class Cluster:
    """What tests say to a cluster."""

    def __init__(self, path: str) -> None:
        self._environ = {**os.environ, "KUBECONFIG": path}

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a program that knows the cluster; it must end well."""
        done = self.attempt(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def attempt(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program, however it ends."""
        return subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._environ,
            timeout=PATIENCE_S,
        )

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl; it must end well."""
        return self.run("kubectl", *words, stdin=stdin)

    def apply(self, *objects: Object) -> None:
        """Put objects in."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, *words: str) -> Object:
        """Return an object, or a list of them, as raw JSON."""
        found: Object = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def pods(self, namespace: str, app: str) -> list[Object]:
        """Return the pods of an application that nobody deletes."""
        listed = self.get("pods", "-n", namespace, "-l", f"app={app}")["items"]
        return [each for each in listed if "deletionTimestamp" not in each["metadata"]]

    def pod(self, namespace: str, app: str) -> Object:
        """Return the only pod of an application, as soon as there is just one and it is ready."""

        def look() -> Object | None:
            found = self.pods(namespace, app)
            return found[0] if len(found) == 1 and reading.is_ready(found[0]) else None

        found = wait(f"one ready pod {namespace}/{app}", look)
        assert found is not None
        return found

    def ready(self, namespace: str, app: str) -> None:
        """Wait until a Deployment is rolled out."""
        words = ("rollout", "status", f"deployment/{app}", "-n", namespace)
        self.kubectl(*words, "--timeout", f"{PATIENCE_S:g}s")

    def log(self, namespace: str, pod: str, container: str = "app") -> str:
        """Return what a container has written, "" as long as it does not run."""
        return self.attempt("kubectl", "logs", "-n", namespace, pod, "-c", container).stdout

    def tally(self, namespace: str, pod: Object) -> Tally:
        """Return what a client has told so far."""
        return reading.tally(self.log(namespace, pod["metadata"]["name"]))

    def more(self, namespace: str, pod: Object, count: int = 30) -> Tally:
        """Wait until a client got so many more good answers."""
        before = self.tally(namespace, pod).good
        return wait(
            f"{count} more good answers for {pod['metadata']['name']}",
            lambda: found if (found := self.tally(namespace, pod)).good >= before + count else None,
        ) or Tally(0, 0, "")

    def metrics(self, namespace: str, pod: Object) -> str:
        """Return the metrics of a pod's proxy, by way of the API server."""
        place = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:15020"
        return self.kubectl("get", "--raw", f"{place}/proxy/metrics")

    def debug(self, namespace: str, pod: Object, container: Object) -> None:
        """Put an ephemeral container into a running pod."""
        name = pod["metadata"]["name"]
        now = self.get("pod", name, "-n", namespace)
        now["spec"].setdefault("ephemeralContainers", []).append(container)
        place = f"/api/v1/namespaces/{namespace}/pods/{name}/ephemeralcontainers"
        self.kubectl("replace", "--raw", place, "-f", "-", stdin=json.dumps(now))

    def kill(self, pod: Object, container: str) -> None:
        """Kill a container as the kernel would: by its node's runtime, which kind has in Docker."""
        name = reading.runtime_id(pod, container)
        node = pod["spec"]["nodeName"]
        self.run("docker", "exec", node, "crictl", "stop", "--timeout", "0", name)


def remora() -> Sequence[str]:
    """Return the command of a person at a terminal."""
    path = shutil.which("remora")
    return [path] if path else [os.environ.get("PYTHON", "python3"), "-m", "proxy"]
