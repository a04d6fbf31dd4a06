"""Files → objects: YAML or JSON, as `kubectl get -o yaml` prints it, read whole or not at all."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from proxy.sources.kinds import KINDS, Object, kind_of
from proxy.sources.meta import Meta, read_meta
from proxy.sources.nodes import ITEMS, NodeError, compose
from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError, Value

# All EndpointSlices of a large cluster, 50,000 endpoints, are 20 MiB.
FILE_BYTES_MAX: Final = 64 << 20


class Found(NamedTuple):
    """What is in a file. Nothing of it changes, so that it may be used again."""

    objects: tuple[Object, ...]
    skipped: Mapping[str, int]
    faults: tuple[Fault, ...]


class _Finding:
    """What was found so far."""

    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.skipped: Counter[str] = Counter()
        self.faults: list[Fault] = []

    def add(self, other: "_Finding") -> None:
        """Take over what another one found."""
        self.objects += other.objects
        self.skipped.update(other.skipped)
        self.faults += other.faults

    def read(self, value: Value) -> None:
        """Read an object."""
        try:
            fields = value.members()
            if "kind" not in fields or "apiVersion" not in fields:
                raise value.fault("is no Kubernetes object: it has no kind and apiVersion")
            name, version = fields["kind"].text(), fields["apiVersion"].text()
            kind = kind_of(value, name, version)
            if kind is None:
                self.skipped[name] += 1
                return
            meta = read_meta(name, value)
            self.objects.append(kind.read(Value(value.node, value.file, str(meta)), meta))
        except FaultsError as wrong:
            self.faults += wrong.faults


def read_file(path: Path) -> Found:
    """Read every object of a file, those in lists one by one."""
    found, items = _Finding(), _Finding()
    try:
        for node, is_item in compose(_text(path)):
            # Its fields are told from the object's own top.
            value = Value(node, path.name)
            if is_item:
                items.read(value)
            elif not value.is_null:
                found.add(items) if _is_list(value) else found.read(value)
                items = _Finding()
    except FaultsError as wrong:
        found.faults += wrong.faults
    except NodeError as wrong:
        found.faults.append(Fault(path.name, wrong.line, "", "", str(wrong)))
    return Found(tuple(found.objects), found.skipped, tuple(found.faults))


def join(files: Iterable[Found]) -> tuple[Objects, list[Fault]]:
    """Return the objects of all files, and what is wrong with files and with all of them."""
    found: dict[str, list[Object]] = {kind: [] for kind in KINDS}
    skipped: Counter[str] = Counter()
    faults: list[Fault] = []
    for file in files:
        for each in file.objects:
            found[each.meta.kind].append(each)
        skipped.update(file.skipped)
        faults += file.faults
    faults += _twins(each.meta for objects in found.values() for each in objects)
    fields: dict[str, Any] = {KINDS[kind].field: tuple(each) for kind, each in found.items()}
    return Objects(skipped=dict(skipped), **fields), faults


def load_files(paths: Iterable[Path]) -> Objects:
    """Read every object of some files. Raises FaultsError with the faults of all of them."""
    objects, faults = join(map(read_file, paths))
    if faults:
        raise FaultsError(faults)
    return objects


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as fault:
        raise FaultsError([Fault(path.name, 0, "", "", fault.strerror or str(fault))]) from fault
    if len(text) > FILE_BYTES_MAX:
        raise FaultsError([Fault(path.name, 0, "", "", f"is larger than {FILE_BYTES_MAX} bytes")])
    return text


def _is_list(value: Value) -> bool:
    fields = value.members()
    kind = fields.get("kind")
    return kind is not None and kind.text().endswith("List") and ITEMS in fields


def _twins(metas: Iterable[Meta]) -> Iterator[Fault]:
    first: dict[str, Meta] = {}
    for meta in metas:
        other = first.setdefault(str(meta), meta)
        if other is not meta:
            text = f"stands in {other.file}:{other.line}, too"
            yield Fault(meta.file, meta.line, str(meta), "", text)
