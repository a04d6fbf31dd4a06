"""AdmissionReviews as an API server sends them, for the pods of the collection of manifests."""

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonpatch

from inject import documents, yamls
from inject.kinds import places

CORPUS: Final = sorted((Path(__file__).parents[1] / "unit" / "inject" / "corpus").iterdir())

Json = dict[str, Any]


def pods_of(path: Path) -> Iterator[Json]:
    """Yield the pods that the objects of a file stand for, as a controller would make them."""
    for _, text in documents.split(path.read_text()):
        for place in places(yamls.read(text)[0]):
            if isinstance(place.pod, dict):
                # Through JSON, as an API server has it: anchors are shared no more.
                pod: Json = json.loads(json.dumps(place.pod))
                yield {"apiVersion": "v1", "kind": "Pod", **pod}


def a_pod(annotations: dict[str, Any] | None = None, **spec: object) -> Json:
    """Return a pod that a ReplicaSet makes: it has the start of a name only, and no namespace."""
    metadata = {"generateName": "web-7d4b9-", "annotations": annotations or {}}
    containers = [{"name": "app", "image": "app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, **spec},
    }


def review_of(pod: Json | None, **request: object) -> Json:
    """Return the review of a pod that is to be made in the namespace `shop`."""
    pods = {"group": "", "version": "v1", "resource": "pods"}
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    asked = {
        "uid": str(uuid.uuid4()),
        "kind": kind,
        "resource": pods,
        "requestKind": kind,
        "requestResource": pods,
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {
            "username": "system:serviceaccount:kube-system:replicaset-controller",
            "uid": "c3b3",
            "groups": ["system:serviceaccounts", "system:authenticated"],
        },
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        **request,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}


def patched(pod: Json, response: Json) -> Json:
    """Return a pod as the API server makes it of an answer, by somebody else's JSONPatch."""
    assert response["allowed"] is True
    assert ("patch" in response) == (response.get("patchType") == "JSONPatch")
    if "patch" not in response:
        return pod
    patch = json.loads(base64.b64decode(response["patch"], validate=True))
    made: Json = jsonpatch.apply_patch(pod, patch)
    return made
