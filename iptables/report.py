"""What the step did, for a person and for a program."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from iptables.exits import Exit
from iptables.spec import Family, Network, Ports, Spec


@dataclass(frozen=True)
class Row:
    """One line of the report: something, and what became of it."""

    what: str
    state: str  # one word: added, replaced, removed, unchanged, kept, skipped, proven...
    detail: str = ""


@dataclass
class Report:
    """The result of one run."""

    result: str  # applied, unchanged, removed, nothing to remove, dry run, valid, not valid
    code: Exit = Exit.OK
    backend: str = ""
    reason: str = ""  # why this backend
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # of a dry run, with their input

    def as_json(self) -> str:
        """Give one JSON object in one line."""
        content: dict[str, Any] = {
            "result": self.result,
            "exit_code": int(self.code),
            "backend": self.backend,
            "reason": self.reason,
            "rows": [{"what": r.what, "state": r.state, "detail": r.detail} for r in self.rows],
            "notes": self.notes,
            "commands": self.commands,
        }
        return json.dumps(content)

    def as_text(self) -> str:
        """Give some lines to read."""
        through = f" ({self.backend}: {self.reason})" if self.backend else ""
        width = max((len(row.what) for row in self.rows), default=0)
        lines = [f"remora init: {self.result}{through}"]
        for row in self.rows:
            detail = f": {row.detail}" if row.detail else ""
            lines.append(f"  {row.what:<{width}}  {row.state}{detail}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def as_commands(self) -> str:
        """Give what would be run, as a script to read; everything else is a comment."""
        head = [f"# {line}" for line in self.as_text().splitlines()]
        return "\n".join([*head, *self.commands])


def _listed(ports: Ports) -> str:
    return ", ".join(map(str, ports))


def _blocks(networks: Sequence[Network]) -> str:
    return ", ".join(map(str, networks))


def redirection(spec: Spec, families: Sequence[Family]) -> list[Row]:
    """Say in words what the rules do."""
    if spec.inbound_include_ports is None:
        inbound = "every port"
    else:
        inbound = f"ports {_listed(spec.inbound_include_ports) or 'none'}"
    inbound += f", but not {_listed(spec.inbound_open_ports)}"
    if spec.redirects_all_outbound:
        outbound = "every address and port"
    else:
        included = [
            _listed(spec.outbound_include_ports or ()),
            _blocks(spec.outbound_include_cidrs or ()),
        ]
        outbound = "ports or addresses " + (", ".join(filter(None, included)) or "none")
    excluded = [_listed(spec.outbound_exclude_ports), _blocks(spec.outbound_exclude_cidrs)]
    if any(excluded):
        outbound += ", but not " + ", ".join(filter(None, excluded))
    passing = [f"uid {uid}" for uid in spec.uids] + [f"gid {gid}" for gid in spec.gids]
    words = " and ".join(family.word for family in families)
    return [
        Row("inbound TCP", f"to port {spec.inbound_port}", f"{inbound} ({words})"),
        Row("outbound TCP", f"to port {spec.outbound_port}", f"{outbound} ({words})"),
        Row("left alone", "UDP, loopback", ", ".join(passing)),
    ]
