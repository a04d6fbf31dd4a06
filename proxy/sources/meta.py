"""The metadata of objects, and how they choose pods."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.sources.strict import Value

DEFAULT_NAMESPACE: Final = "default"
# The whole object once more, for kubectl.
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Meta(NamedTuple):
    """Who an object is and where it was read."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created: str  # RFC 3339 in UTC: sorts by time; "" when it is not told
    file: str
    line: int

    def __str__(self) -> str:
        """Return it as faults and people call it."""
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"


def read_meta(kind: str, value: Value) -> Meta:
    """Read the metadata of an object."""
    found = value.members().get("metadata")
    if found is None:
        raise value.fault("has no metadata")
    fields = found.members()
    if "name" not in fields:
        raise found.fault("has no name")
    texts = {
        key: fields[key].text() if key in fields else ""
        for key in ("name", "namespace", "creationTimestamp")
    }
    maps = {key: fields[key].texts() if key in fields else {} for key in ("labels", "annotations")}
    maps["annotations"].pop(_LAST_APPLIED, None)
    return Meta(
        kind,
        texts["namespace"] or DEFAULT_NAMESPACE,
        texts["name"],
        maps["labels"],
        maps["annotations"],
        texts["creationTimestamp"],
        value.file,
        value.line,
    )


def read_selector(value: Value | None) -> dict[str, str] | None:
    """Read `spec.selector`; None: it chooses every pod."""
    if value is None:
        return None
    labels = value.members(("matchLabels",)).get("matchLabels")
    chosen = labels.texts() if labels else {}
    for name, text in chosen.items():
        if "*" in name or "*" in text:
            raise value.fault("has a * in its labels")
    return chosen or None
