"""AdmissionReview in, AdmissionReview out. Pure: bytes and settings in, bytes and words out.

The pod is looked at as raw JSON by the same code that `remora inject` runs, and never written
again: the patch adds to what the API server has, so fields that nobody here knows stay.
"""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, NoReturn

from inject import plan, pods
from inject.plan import Outcome
from inject.reasons import Reason
from inject.settings import Fault, Settings
from proxy.ctl_table import printable
from proxy.httpserver import RequestError

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"
INJECTED: Final = "injected"
LEFT_ALONE: Final = "left_alone"
FAULTY: Final = "faulty"

# What only the webhook meets: the others are those of `inject.reasons`.
REASONS: Final = {
    "not_a_new_pod": "only the creation of pods is looked at",
    "own_namespace": "is where the webhook runs, which must not wait for itself",
    "malformed": "is no pod that Kubernetes would take, which will say why",
}
# Nobody is told of these: they are what the owner said, or what must be.
_SILENT: Final = ("disabled", "mirror_pod", "already", "system_namespace", *REASONS)

_PODS: Final = {"group": "", "version": "v1", "resource": "pods"}
# Objects and lists of a body: two bytes of text are a hundred of memory. Large pods have thousands.
NODES_MAX: Final = 200_000

_UID_CHARACTERS_MAX: Final = 256
_SHOWN_CHARACTERS_MAX: Final = 64  # of somebody's word in a message
# AdmissionResponse.warnings: "warnings over 256 characters may be truncated".
_WARNING_CHARACTERS_MAX: Final = 256
_MESSAGE_CHARACTERS_MAX: Final = 4096
# Kubernetes refuses a pod with more (TotalAnnotationSizeLimitB), but only after webhooks saw it.
_ANNOTATION_CHARACTERS_MAX: Final = 256 << 10

Json = Mapping[str, Any]

_encode: Final = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class Review(NamedTuple):
    """What became of a review. `reason` is a word, or the fields that are faulty."""

    uid: str
    pod: str  # "namespace/name"
    result: str  # INJECTED, LEFT_ALONE or FAULTY
    reason: str
    text: str
    is_dry_run: bool
    answer: bytes


def review(body: bytes, settings: Settings, own_namespace: str) -> Review:
    """Answer one AdmissionReview. Raises RequestError for what is none."""
    request = _request_of(_json_of(body))
    reason, pod = _why_not_looked_at(request), request.get("object")
    namespace = str(request.get("namespace") or "")
    if reason:
        return _reviewed(request, {}, Outcome(reason=reason))
    if not isinstance(pod, dict):
        _refuse("request.object must be an object: the pod to be made")
    return _reviewed(request, pod, _planned(pod, settings, namespace, own_namespace))


def _planned(pod: Json, settings: Settings, namespace: str, own_namespace: str) -> Outcome:
    # Whatever the API server itself will refuse, with better words than ours, is its own.
    faults = pods.shape_faults(pod)
    if faults:
        text = "; ".join(f"{fault.field} {fault.text}" for fault in faults[:3])
        return Outcome(reason=Reason("malformed", f"{REASONS['malformed']} ({text})"))
    annotations = pods.annotations(pod).items()
    if sum(len(name) + len(str(text)) for name, text in annotations) > _ANNOTATION_CHARACTERS_MAX:
        return Outcome(reason=_reason("malformed"))
    if namespace == own_namespace:
        return Outcome(reason=_reason("own_namespace"))
    return plan.inject(pod, settings, namespace)


def _reviewed(request: Json, pod: Json, outcome: Outcome) -> Review:
    uid, name = str(request["uid"]), _name_of(request, pod)
    is_dry_run = request.get("dryRun") is True
    if outcome.faults:
        fields = ", ".join(fault.field for fault in outcome.faults)
        answer = _denied(uid, name, outcome.faults)
        return Review(uid, name, FAULTY, fields, _message(outcome.faults), is_dry_run, answer)
    said: dict[str, Any] = {"uid": uid, "allowed": True}
    warnings = list(outcome.notes)
    if outcome.reason:
        word, text = outcome.reason
        result = LEFT_ALONE
        if word not in _SILENT:
            warnings.append(f"the pod gets no sidecar: {text}")
    else:
        word, text, result = "", "", INJECTED
        patch = _encode([each.as_json() for each in outcome.patch])
        said["patchType"] = "JSONPatch"
        said["patch"] = base64.b64encode(patch.encode()).decode()
    if warnings:
        said["warnings"] = [_cut(f"remora: {each}", _WARNING_CHARACTERS_MAX) for each in warnings]
    why = {"reason": _cut(f"{word}: {text}", _WARNING_CHARACTERS_MAX)} if word else {}
    said["auditAnnotations"] = {"result": result, **why}
    return Review(uid, name, result, word, text, is_dry_run, _answer(said))


def _denied(uid: str, name: str, faults: tuple[Fault, ...]) -> bytes:
    """Refuse the pod: without the sidecar it would not be what its owner asked for."""
    causes = [
        {
            "reason": "FieldValueInvalid",
            "field": _cut(fault.field, _WARNING_CHARACTERS_MAX),
            "message": _cut(fault.text, _WARNING_CHARACTERS_MAX),
        }
        for fault in faults
    ]
    status = {
        "status": "Failure",
        "code": HTTPStatus.BAD_REQUEST.value,
        "reason": "BadRequest",
        "message": _message(faults),
        "details": {"kind": "Pod", "name": name.rpartition("/")[2], "causes": causes},
    }
    said = {"uid": uid, "allowed": False, "status": status, "auditAnnotations": {"result": FAULTY}}
    return _answer(said)


def _message(faults: tuple[Fault, ...]) -> str:
    text = "; ".join(f"{fault.field}: {fault.text}" for fault in faults)
    return _cut(text, _MESSAGE_CHARACTERS_MAX)


def _answer(said: Json) -> bytes:
    whole = {"apiVersion": API_VERSION, "kind": KIND, "response": said}
    return _encode(whole).encode()


# ---- what came in --------------------------------------------------------------------------------


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


_decode: Final = json.JSONDecoder(parse_constant=_no_number).decode


def _json_of(body: bytes) -> object:
    if body.count(b"{") + body.count(b"[") > NODES_MAX:
        text = f"the body has more than {NODES_MAX} objects and lists"
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    try:
        return _decode(body.decode())
    except (ValueError, RecursionError) as fault:
        text = f"the body is no JSON: {_cut(str(fault), _WARNING_CHARACTERS_MAX)}"
        raise RequestError(HTTPStatus.BAD_REQUEST, text) from fault


def _request_of(value: object) -> Json:
    if not isinstance(value, dict) or value.get("kind") != KIND:
        kind = value.get("kind") if isinstance(value, dict) else type(value).__name__
        _refuse(f"this is {_shown(kind)}, and no {KIND}")
    if value.get("apiVersion") != API_VERSION:
        _refuse(f"apiVersion {_shown(value.get('apiVersion'))} is not spoken here: {API_VERSION}")
    request = value.get("request")
    if not isinstance(request, dict):
        _refuse("request must be an object")
    uid = request.get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= _UID_CHARACTERS_MAX:
        _refuse(f"request.uid must be a text of 1 to {_UID_CHARACTERS_MAX} characters")
    return request


def _why_not_looked_at(request: Json) -> Reason | None:
    is_new = request.get("operation") == "CREATE" and not request.get("subResource")
    return None if is_new and request.get("resource") == _PODS else _reason("not_a_new_pod")


def _name_of(request: Json, pod: Json) -> str:
    """Return what a pod is known by. While it is made it often has but the start of a name."""
    metadata = pods.member(pod, "metadata")
    name = metadata.get("name") or request.get("name") or f"{metadata.get('generateName') or ''}*"
    return _cut(f"{request.get('namespace') or ''}/{name}", _WARNING_CHARACTERS_MAX)


def _reason(word: str) -> Reason:
    return Reason(word, REASONS[word])


def _refuse(text: str) -> NoReturn:
    raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, text)


def _shown(value: object) -> str:
    return _cut(repr(value), _SHOWN_CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    """Return a text of one line and of bounded length."""
    shown = text[: characters_max + 1]
    shown = shown if shown.isprintable() else printable(shown)
    return shown if len(shown) <= characters_max else f"{shown[: characters_max - 3]}..."
