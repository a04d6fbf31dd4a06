"""A pod and settings → a patch, or why there is none. Pure; the webhook and the command use it.

The patch only adds, so that whatever nobody here knows of stays as it was. What was made for it is
noted in the annotation `remora.dev/status`, and taking it out goes by that note.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from inject import parts, pods, reasons
from inject import settings as known
from inject.patch import APPEND, Operation, pointer
from inject.pods import Raw
from inject.reasons import INIT, OWN_PREFIX, Reason
from inject.settings import CLASSIC, INJECTED, SIDECAR, STATUS, Fault, Settings
from proxy import __version__

DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_NAMED: Final = ("initContainers", "containers", "volumes")


class Outcome(NamedTuple):
    """What is to be done with a pod. Without a patch there is a reason, or a fault."""

    patch: tuple[Operation, ...] = ()
    reason: Reason | None = None
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


class _Maker:
    """Gathers operations, and notes which parents had to be made for them."""

    def __init__(self, pod: Raw) -> None:
        self._pod = pod
        self.operations: list[Operation] = []
        self.made: dict[str, str] = {}  # pointer: what stood there, "absent" or "null"

    def parent(self, empty: object, *names: str) -> None:
        """Make sure that an object or a list is there to add to."""
        at: Any = self._pod
        for name in names[:-1]:
            at = at.get(name) or {}
        if at.get(names[-1]) is None:
            self.made[pointer(*names)] = "null" if names[-1] in at else "absent"
            self.add(empty, *names)

    def add(self, value: object, *names: str | int) -> None:
        """Add a member, or an item at an index."""
        self.operations.append(Operation("add", pointer(*names), value))


def inject(pod: Raw, settings: Settings, namespace: str = "") -> Outcome:
    """Plan how the sidecar gets into a pod: its raw `metadata` and `spec`."""
    faults = pods.shape_faults(pod) or reasons.word_faults(pod)
    if faults:
        return Outcome(faults=tuple(faults))
    reason = reasons.why_not(pod, settings, namespace)
    # What a pod says of settings is not looked at where none of them would count.
    if reason and reason.word != "classic_job":
        return Outcome(reason=reason)
    chosen, faults = known.read_annotations(pods.annotations(pod), settings)
    if faults:
        return Outcome(faults=tuple(faults))
    # Of the settings, reasons ask for the kind of sidecar alone.
    if reason or chosen[SIDECAR.key] != settings[SIDECAR.key]:
        reason = reasons.why_not(pod, chosen, namespace)
    if reason:
        return Outcome(reason=reason)
    hints = (parts.drain_note(pod, chosen), parts.probe_note(pod, chosen))
    notes = filter(None, (*reasons.notes(pod, chosen), *hints))
    return Outcome(tuple(_additions(pod, chosen)), notes=tuple(notes))


def _additions(pod: Raw, settings: Settings) -> list[Operation]:
    maker, lists = _Maker(pod), _lists(pod, settings)
    maker.parent({}, "metadata")
    maker.parent({}, "metadata", "labels")
    maker.parent({}, "metadata", "annotations")
    for name in lists:
        maker.parent([], "spec", name)
    labels, annotations = _missing(pod)
    for name, text in labels.items():
        maker.add(text, "metadata", "labels", name)
    status = {
        "version": __version__,
        **{name: [item["name"] for _, item in added] for name, added in lists.items()},
        "labels": list(labels),
        "annotations": list(annotations),
        "made": maker.made,
    }
    annotations[STATUS] = json.dumps(status, separators=(",", ":"))
    for name, text in annotations.items():
        maker.add(text, "metadata", "annotations", name)
    for name, added in lists.items():
        for index, item in added:
            maker.add(item, "spec", name, index)
    return maker.operations


def _lists(pod: Raw, settings: Settings) -> dict[str, list[tuple[int | str, dict[str, Any]]]]:
    """Return what is added to which list of the spec, and where."""
    init, proxy = parts.init_container(settings), parts.proxy_container(pod, settings)
    volumes: list[tuple[int | str, dict[str, Any]]] = [
        (APPEND, volume) for volume in parts.volumes(settings)
    ]
    if settings[SIDECAR.key] == CLASSIC:
        # Redirected last: other init containers still have the network that they expect.
        return {"initContainers": [(APPEND, init)], "containers": [(0, proxy)], "volumes": volumes}
    return {"initContainers": [(0, init), (1, proxy)], "volumes": volumes}


def _missing(pod: Raw) -> tuple[dict[str, str], dict[str, str]]:
    """Return the labels and annotations that are not there yet."""
    application = pods.items(pod, "containers")[0]["name"]
    labels, annotations = {INJECTED: "true"}, {DEFAULT_CONTAINER: application}
    return (
        {name: text for name, text in labels.items() if name not in pods.labels(pod)},
        {name: text for name, text in annotations.items() if name not in pods.annotations(pod)},
    )


def uninject(pod: Raw) -> Outcome:
    """Plan how everything that `inject` put into a pod gets out again."""
    faults = pods.shape_faults(pod)
    if faults:
        return Outcome(faults=tuple(faults))
    text = pods.annotations(pod).get(STATUS)
    if text is None:
        return Outcome(reason=Reason("absent", f"has no {STATUS}"))
    status = _read_status(text)
    if status is None:
        where = f"metadata.annotations[{STATUS}]"
        return Outcome(faults=(Fault(where, "is not what remora writes there"),))
    return Outcome(tuple(_removals(pod, status)))


def _removals(pod: Raw, status: dict[str, Any]) -> Iterator[Operation]:
    left: dict[str, int] = {}
    for name in _NAMED:
        items, ours = pods.items(pod, name), set(status.get(name, ()))
        found = [index for index, item in enumerate(items) if item["name"] in ours]
        for index in reversed(found):
            yield Operation("remove", pointer("spec", name, index))
        left[pointer("spec", name)] = len(items) - len(found)
    maps = {"labels": pods.labels(pod), "annotations": pods.annotations(pod)}
    for name, there in maps.items():
        ours = {*status.get(name, ()), *([STATUS] if name == "annotations" else [])}
        for key in sorted(ours & there.keys()):
            yield Operation("remove", pointer("metadata", name, key))
        left[pointer("metadata", name)] = len(there.keys() - ours)
    yield from _unmade(pod, status["made"], left)


def _unmade(pod: Raw, made: dict[str, str], left: dict[str, int]) -> Iterator[Operation]:
    """Yield how parents that were made go again, inner ones first, unless somebody uses them."""
    inner = [path for path in made if path in left and not left[path]]
    for path in reversed(inner):
        yield Operation("remove", path) if made[path] == "absent" else Operation("add", path)
    gone = {path for path in inner if made[path] == "absent"}
    others = {pointer("metadata", name) for name in pod.get("metadata") or {}} - gone
    if "/metadata" in made and not others:
        absent = made["/metadata"] == "absent"
        yield Operation("remove", "/metadata") if absent else Operation("add", "/metadata")


def _read_status(text: object) -> dict[str, Any] | None:
    """Return the note, or None: somebody else wrote it, and nothing is removed on its word."""
    try:
        status = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(status, dict) or not isinstance(status.get("made"), dict):
        return None
    lists = [status.get(name, []) for name in (*_NAMED, "labels", "annotations")]
    if not all(isinstance(each, list) and all(isinstance(n, str) for n in each) for each in lists):
        return None
    names = [name for field in _NAMED for name in status.get(field, [])]
    is_ours = INIT in names and all(name.startswith(OWN_PREFIX) for name in names)
    return status if is_ours else None
