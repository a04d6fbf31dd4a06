"""What the tests put into a cluster: raw objects, all with the image that is there anyway."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from inject.settings import IMAGE, PREFIX

Object = dict[str, Any]

PROGRAMS: Final = Path(__file__).parent / "programs"
PYTHON: Final = "python3.11"  # of the image, which has no shell and no sleep
PORT: Final = 8080
WORD: Final = "word-of-the-tests"
UID: Final = 65534
# How long an application goes on answering those who have not heard of its end.
GOING_ON_S: Final = 5


def program(name: str, *words: object) -> list[str]:
    """Return the command of a program of ours."""
    text = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    return [PYTHON, "-c", text, *map(str, words)]


def container(name: str, command: list[str], **more: object) -> Object:
    """Return a container that asks for nothing that `restricted` forbids."""
    return {
        "name": name,
        "image": IMAGE.default,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **more,
    }


def server(*, probed: bool = True) -> Object:
    """Return the container of the application; the kubelet asks it over HTTP."""
    get = {"httpGet": {"path": "/healthz", "port": PORT}}
    probes = {"readinessProbe": get | {"periodSeconds": 1}, "livenessProbe": get}
    wait = [PYTHON, "-c", f"import time; time.sleep({GOING_ON_S})"]
    return container(
        "app",
        program("serve", PORT, WORD),
        ports=[{"name": "http", "containerPort": PORT}],
        lifecycle={"preStop": {"exec": {"command": wait}}},
        **(probes if probed else {}),
    )


def client(url: str, count: int = 0) -> Object:
    """Return a container that asks an address; without `count` it never ends."""
    return container("app", program("load", url, WORD, *([count] if count else [])))


def pod_template(name: str, app: Object, notes: Mapping[str, str], **spec: object) -> Object:
    """Return a template whose pods belong to the service account of that name."""
    annotations = {PREFIX + key: text for key, text in notes.items()}
    return {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"serviceAccountName": name, "containers": [app], **spec},
    }


def deployment(
    namespace: str,
    name: str,
    app: Object,
    notes: Mapping[str, str] | None = None,
    *,
    replicas: int = 1,
) -> list[Object]:
    """Return a Deployment and its service account; `notes` are annotations of ours."""
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": pod_template(name, app, notes or {}),
    }
    return [
        account(namespace, name),
        {**_object("apps/v1", "Deployment", namespace, name), "spec": spec},
    ]


def job(namespace: str, name: str, app: Object, **spec: object) -> list[Object]:
    """Return a Job that is tried once, and its service account."""
    template = pod_template(name, app, {}, restartPolicy="Never", **spec)
    made = {"backoffLimit": 0, "template": template}
    return [
        account(namespace, name),
        {**_object("batch/v1", "Job", namespace, name), "spec": made},
    ]


def service(namespace: str, name: str) -> Object:
    """Return a Service of the pods of that name."""
    ports = [{"name": "http", "port": 80, "targetPort": PORT, "appProtocol": "http"}]
    return {
        **_object("v1", "Service", namespace, name),
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def config_map(namespace: str, name: str, files: Mapping[str, str]) -> Object:
    """Return a ConfigMap."""
    return {**_object("v1", "ConfigMap", namespace, name), "data": dict(files)}


def account(namespace: str, name: str) -> Object:
    """Return a service account."""
    return _object("v1", "ServiceAccount", namespace, name)


def namespace(name: str, *, injected: bool) -> Object:
    """Return a namespace that may hold the init step."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    labels |= {f"{PREFIX}inject": "enabled"} if injected else {}
    made = _object("v1", "Namespace", "", name)
    made["metadata"]["labels"] = labels
    return made


def sniffer(seconds: int) -> Object:
    """Return an ephemeral container that looks at what comes in to the application's port."""
    return {
        "name": "sniff",
        "image": IMAGE.default,
        "command": program("sniff", PORT, WORD, seconds),
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
        },
    }


def _object(version: str, kind: str, namespace: str, name: str) -> Object:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta}
