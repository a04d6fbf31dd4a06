"""The judge of the data plane, asked with objects in and names out."""

import json
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from proxy.policy.table import table
from proxy.sources.authorization_policy import AuthorizationPolicy, read_authorization_policy
from proxy.sources.meta import read_meta
from proxy.sources.nodes import compose
from proxy.sources.strict import Value
from tests.unit.policy.reference import PEER, Asked, Spec, Verdict

FIRST_SLOT = 2


def policy(name: str, spec: Spec, *, is_dry_run: bool = False, namespace: str = "shop") -> Spec:
    annotations = {"istio.io/dry-run": "true"} if is_dry_run else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": spec,
    }


def value_of(thing: Any) -> Value:  # noqa: ANN401 - JSON
    (found,) = compose(json.dumps(thing).encode())
    return Value(found.node, "file.json")


def read(spec: Spec) -> AuthorizationPolicy:
    value = value_of(spec)
    return read_authorization_policy(value, read_meta("AuthorizationPolicy", value))


class Judge:
    """The compiled policies."""

    def __init__(self, probe: ModuleType, policies: Iterable[Spec]) -> None:
        read_ones = [read(each) for each in policies]
        for each in read_ones:
            assert not each.faults, str(each.faults[0])
        rows = table(read_ones)
        self._names = [row.name.partition("/")[2] for row in rows]
        self._judge = probe.Judge(
            [(FIRST_SLOT + i, row.action, row.is_dry_run, row.rules) for i, row in enumerate(rows)]
        )

    def __call__(self, asked: Asked) -> Verdict:
        is_denied, slot, dry_slot, audits = self._judge.judge(
            asked.way,
            asked.peer.encode() or None,
            parts(asked.peer),
            asked.source,
            asked.destination,
            asked.port,
            asked.sni.encode(),
            asked.method.encode(),
            asked.host.encode(),
            asked.path.encode(),
            b"".join(f"{name}: {text}\r\n".encode() for name, text in asked.fields),
        )
        dry = None if dry_slot is None else self._name(dry_slot)
        return Verdict(is_denied, self._name(slot), dry, frozenset(map(self._name, audits)))

    def _name(self, slot: int) -> str:
        return self._names[slot - FIRST_SLOT] if slot >= FIRST_SLOT else ""


def parts(peer: str) -> Sequence[int]:
    """Where the parts of an identity are, as the data plane wants them."""
    domain_at = len("spiffe://")
    match = PEER.fullmatch(peer)
    if not match:
        return (len(peer[domain_at:].partition("/")[0]) if peer else 0, 0, 0, 0, 0)
    namespace, account = match.span(2), match.span(3)
    return (
        match.end(1) - domain_at,
        namespace[0],
        namespace[1] - namespace[0],
        account[0],
        account[1] - account[0],
    )
