"""Policy in numbers: what was allowed and denied by which policy; what the manifests hold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import Metric

from proxy.engine import Stats
from proxy.families import Row, counter, gauge

if TYPE_CHECKING:
    from proxy.policy.watch import PolicyWatch

_TEXTS: Final = {
    "allowed": "Let in, by the ALLOW policy that matched; none: there is no ALLOW policy.",
    "denied": "Refused, by the DENY policy that matched; none: no ALLOW policy did.",
    "dry_run_denied": "Let in though a dry-run policy would have refused.",
    "audited": "Matched by an AUDIT policy.",
}
_VERDICTS: Final = {"dry_run_denied": "dry_run"}


def policy_families(stats: Stats, watch: "PolicyWatch | None") -> Iterator[Metric]:
    """Yield every family of policy from one reading of the counters."""
    decided = list(stats.policies())
    for name, text in _TEXTS.items():
        wanted = _VERDICTS.get(name, name)
        rows = [((policy, unit), n) for policy, verdict, unit, n in decided if verdict == wanted]
        yield counter(f"remora_policy_{name}", text, ["policy", "unit"], rows)
    counts = watch.objects.counts() if watch else {}
    objects: list[Row] = [((kind,), count) for kind, count in counts.items()]
    yield gauge("remora_manifests_objects", "Objects in use.", ["kind"], objects)
    loads = watch.loads if watch else {}
    read: list[Row] = [((result,), count) for result, count in loads.items()]
    text = "Times that the manifests were read; bad ones change nothing."
    yield counter("remora_manifests_loads", text, ["result"], read)
    text = "Faults of the last reading: not 0 means that an older state is in force."
    yield gauge("remora_manifests_faults", text, [], [((), len(watch.faults))] if watch else [])
    text = "When what is in force was read."
    moment: list[Row] = [((), watch.loaded_unix_s)] if watch else []
    yield gauge("remora_manifests_loaded_timestamp_seconds", text, [], moment)
    text = "Notes on what is in force: objects that are ignored, and why."
    yield gauge("remora_manifests_notes", text, [], [((), len(watch.notes))] if watch else [])
