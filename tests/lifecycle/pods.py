"""Plain pod manifests of the tests, and the same with the sidecar: what `remora inject` makes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inject.patch import apply
from inject.plan import inject
from inject.settings import DEFAULTS, PREFIX

Raw = dict[str, Any]

APP: Final = str(Path(__file__).parent / "programs" / "app.py")
PORT: Final = 8080
APP_ID: Final = 1000
PROXY: Final = "remora-proxy"
INIT: Final = "remora-init"
# Grace periods are real seconds, so tests keep them short, and the delay of a drain with them.
GRACE_S: Final = 6
QUICK: Final = {"drain-delay": "300ms"}


def container(name: str, *words: str, **more: object) -> Raw:
    """Return a container that runs the small application."""
    return {
        "name": name,
        "image": "app",
        "command": [sys.executable, APP],
        "args": list(words),
        "securityContext": {
            "runAsUser": APP_ID,
            "runAsGroup": APP_ID,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def server(name: str = "app", *, on_term: str = "exit", **more: object) -> Raw:
    """Return an application that serves, and is ready when it does."""
    probe = {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1}
    words = ("serve", str(PORT), "--on-term", on_term)
    return container(name, *words, **{"readinessProbe": probe, **more})


def sleeping(seconds: float) -> Raw:
    """Return the hook that most applications need: it lets clients learn of the end."""
    return {"lifecycle": {"preStop": {"exec": {"command": ["sleep", str(seconds)]}}}}


def pod(
    *containers: Raw,
    name: str = "web",
    init: Sequence[Raw] = (),
    annotations: Mapping[str, str] | None = None,
    **spec: object,
) -> Raw:
    """Return a pod without the sidecar."""
    notes = {PREFIX + key: text for key, text in (annotations or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "annotations": notes},
        "spec": {
            "containers": list(containers),
            "terminationGracePeriodSeconds": GRACE_S,
            **({"initContainers": list(init)} if init else {}),
            **spec,
        },
    }


def meshed(
    *containers: Raw,
    annotations: Mapping[str, str] | None = None,
    **words: Any,  # noqa: ANN401 - those of pod
) -> Raw:
    """Return a pod with the sidecar, as the webhook would make it."""
    made = pod(*containers, annotations={**QUICK, **(annotations or {})}, **words)
    outcome = inject(made, DEFAULTS, "shop")
    assert outcome.patch, outcome
    result: Raw = apply(made, outcome.patch)
    return result


def job(*containers: Raw, policy: str = "Never", **words: Any) -> Raw:  # noqa: ANN401 - as above
    """Return the pod of a Job with the sidecar."""
    return meshed(*containers, restartPolicy=policy, **words)
