"""JSONPatch (RFC 6902): the three operations that are needed, and how they change a value."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

APPEND: Final = "-"


class Operation(NamedTuple):
    """`add` or `remove` at a JSON pointer (RFC 6901)."""

    op: str
    path: str
    value: Any = None

    def as_json(self) -> dict[str, Any]:
        """Return it as AdmissionReview and `kubectl patch` want it."""
        shown = {"op": self.op, "path": self.path}
        return shown if self.op == "remove" else {**shown, "value": self.value}


def pointer(*names: str | int) -> str:
    """Return the pointer to a member: `~` and `/` in names are escaped."""
    return "".join(f"/{str(name).replace('~', '~0').replace('/', '~1')}" for name in names)


def names_of(path: str) -> list[str]:
    """Return the names that a pointer is made of."""
    parts = path.split("/")[1:]
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def apply(document: Any, patch: Sequence[Operation]) -> Any:  # noqa: ANN401 - any JSON
    """Return a document as a patch changes it. The one given stays as it was.

    Only what lies on a path is copied. What YAML anchors share is not shared any more where it
    changes, so that a label for a pod does not become one of its selector.
    """
    for operation in patch:
        document = _changed(document, names_of(operation.path), operation)
    return document


def _changed(value: Any, names: Sequence[str], operation: Operation) -> Any:  # noqa: ANN401
    name, *rest = names
    if isinstance(value, dict):
        made: Any = dict(value)
        key: Any = name
    elif isinstance(value, list):
        made = list(value)
        key = len(made) if name == APPEND else int(name)
    else:
        raise TypeError(f"{operation.path}: there is nothing to change")
    if rest:
        made[key] = _changed(made[key], rest, operation)
    elif operation.op == "remove":
        del made[key]
    elif isinstance(made, list):
        made.insert(key, operation.value)
    else:
        made[key] = operation.value
    return made
