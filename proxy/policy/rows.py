"""What the data plane is told of policies. Light: whoever has no manifests loads only this."""

from typing import Final, NamedTuple

PROBE_BYTES_MAX: Final = 512  # fast/rules.pxd: probe_t
PROBES_MAX: Final = 256  # fast/limits.pxd

Value = tuple[int, bytes, int]  # form, text, number: see policy/table.py
MatchRow = tuple[int, bool, bytes, list[Value]]  # field, is_not, name of a header, values
RuleRow = tuple[list[list[MatchRow]], list[list[MatchRow]], list[MatchRow]]  # from, to, when


class PolicyRow(NamedTuple):
    """A policy as the data plane takes it, but for its place of counters: it goes by `name`."""

    name: str
    action: int
    is_dry_run: bool
    rules: list[RuleRow]


class Judgement(NamedTuple):
    """Policies and probes of our own pod. `generation` changes whenever the policies do."""

    policies: list[PolicyRow]
    generation: int
    probes: list[tuple[int, bytes]]


NOTHING: Final = Judgement([], 0, [])
