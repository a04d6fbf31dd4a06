"""Pods that are tried with the API server and never made: `--dry-run=server`."""

import json
from typing import Any, Final

from inject import plan
from inject.cluster.snapshot import Query, Wanted
from inject.patch import apply
from inject.settings import DEFAULTS, DISABLED, ENABLED, IMAGE, INJECT

STAYS: Final = "stays"  # the init container of a pod that needs no rights
_CREATE: Final = ("create", "-f", "-", "-o", "json")
# What `restricted` asks of a container.
_MODEST: Final = {
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def native(wanted: Wanted) -> Query:
    """Try a pod with a native sidecar that any namespace takes."""
    pod = _pod(wanted, DISABLED)
    stays = {**pod["spec"]["containers"][0], "name": STAYS, "restartPolicy": "Always"}
    pod["spec"]["initContainers"] = [stays]
    return _tried("trial of a native sidecar", wanted, pod)


def injected(wanted: Wanted) -> Query:
    """Try a pod with the whole sidecar in it, as `remora inject` makes it."""
    pod = _pod(wanted, ENABLED)
    outcome = plan.inject(pod, {**DEFAULTS, IMAGE.key: wanted.image}, wanted.trial_namespace)
    return _tried("trial of an injected pod", wanted, apply(pod, outcome.patch))


def labelled(wanted: Wanted) -> Query:
    """Try a pod that asks for the sidecar and has none."""
    return _tried("trial of a labelled pod", wanted, _pod(wanted, ENABLED))


def rights(asked: tuple[tuple[str, str, str], ...], wanted: Wanted) -> Query:
    """Ask whether somebody may do all of it: verb, group and resource of each."""
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": verb,
                    "group": group,
                    "resource": resource,
                    # What belongs to no namespace is asked about in all of them.
                    **({"namespace": wanted.system} if _has_namespace(resource) else {}),
                }
            },
        }
        for verb, group, resource in asked
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": reviews}
    return Query("rights", _CREATE, json.dumps(listed))


def _has_namespace(resource: str) -> bool:
    is_above = resource.startswith("cluster") or resource.endswith("webhookconfigurations")
    return not is_above and resource != "namespaces"


def _tried(key: str, wanted: Wanted, pod: object) -> Query:
    words = (*_CREATE, "--dry-run=server", "-n", wanted.trial_namespace)
    return Query(key, words, json.dumps(pod))


def _pod(wanted: Wanted, word: str) -> dict[str, Any]:
    app = {"name": "app", "image": wanted.image, "securityContext": _MODEST}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "remora-check", "labels": {INJECT: word}},
        "spec": {"restartPolicy": "Never", "containers": [app]},
    }
