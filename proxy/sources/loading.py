"""Files → objects: YAML or JSON, as `kubectl get -o yaml` prints it, read whole or not at all."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from proxy.sources.kinds import KINDS, Object, kind_of
from proxy.sources.meta import Meta, read_meta
from proxy.sources.objects import Objects
from proxy.sources.strict import Fault, FaultsError, Value

FILE_BYTES_MAX: Final = 16 << 20
# libyaml's parser where the wheel has it: twenty times as fast.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Found(NamedTuple):
    """What is in a file. Nothing of it changes, so that it may be used again."""

    objects: tuple[Object, ...]
    skipped: Mapping[str, int]
    faults: tuple[Fault, ...]


def read_file(path: Path) -> Found:
    """Read every object of a file."""
    faults: list[Fault] = []
    skipped: Counter[str] = Counter()
    found: list[Object] = []
    try:
        for value in _documents(path):
            _read(value, found, skipped, faults)
    except FaultsError as wrong:
        faults += wrong.faults
    return Found(tuple(found), skipped, tuple(faults))


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


def _documents(path: Path) -> Iterator[Value]:
    """Yield the objects of a file, those in lists one by one."""
    name = path.name
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as fault:
        raise FaultsError([Fault(name, 0, "", "", fault.strerror or str(fault))]) from fault
    if len(text) > FILE_BYTES_MAX:
        raise FaultsError([Fault(name, 0, "", "", f"is larger than {FILE_BYTES_MAX} bytes")])
    try:
        roots = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 0
        text_of_fault = " ".join(filter(None, (fault.context, fault.problem)))
        raise FaultsError([Fault(name, line, "", "", text_of_fault)]) from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        first = str(fault).partition("\n")[0]
        raise FaultsError([Fault(name, 0, "", "", first)]) from fault
    for root in roots:
        value = Value(root, name)
        if not value.is_null:
            _refuse_aliases(value)
            yield from _unlisted(value)


def _refuse_aliases(value: Value) -> None:
    """Refuse YAML's anchors: Kubernetes prints none, and a few of them can mean millions."""
    waiting: list[Node] = [value.node]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            raise Value(node, value.file).fault("is used by an alias (*name), which is not read")
        seen.add(id(node))
        if isinstance(node, MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, SequenceNode):
            waiting += node.value


def _unlisted(value: Value) -> Iterator[Value]:
    fields = value.members()
    kind = fields.get("kind")
    if kind is not None and kind.text().endswith("List") and "items" in fields:
        for item in fields["items"].items():
            # Its fields are told from the object's own top.
            yield Value(item.node, value.file)
    else:
        yield value


def _read(value: Value, found: list[Object], skipped: Counter[str], faults: list[Fault]) -> None:
    try:
        fields = value.members()
        if "kind" not in fields or "apiVersion" not in fields:
            raise value.fault("is no Kubernetes object: it has no kind and apiVersion")
        name, version = fields["kind"].text(), fields["apiVersion"].text()
        kind = kind_of(value, name, version)
        if kind is None:
            skipped[name] += 1
            return
        meta = read_meta(name, value)
        found.append(kind.read(Value(value.node, value.file, str(meta)), meta))
    except FaultsError as wrong:
        faults += wrong.faults


def _twins(metas: Iterable[Meta]) -> Iterator[Fault]:
    first: dict[str, Meta] = {}
    for meta in metas:
        other = first.setdefault(str(meta), meta)
        if other is not meta:
            text = f"stands in {other.file}:{other.line}, too"
            yield Fault(meta.file, meta.line, str(meta), "", text)
