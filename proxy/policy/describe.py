"""What applies to this pod, as `remora ctl policy` shows it."""

from proxy.logs import timestamp
from proxy.policy.watch import PolicyWatch
from proxy.sources.authorization_policy import AuthorizationPolicy

Fields = dict[str, object]


def policy(watch: PolicyWatch, counts: dict[str, dict[str, int]]) -> Fields:
    """Return the page. `counts`: by policy, what was decided how often."""
    found = watch.effective
    assert found is not None, "a watch that started has something"  # noqa: S101
    return {
        "manifests": watch.directory,
        "loaded": timestamp(int(watch.loaded_unix_s * 1e6)),
        "objects": watch.objects.counts(),
        "skipped": dict(watch.objects.skipped),
        "faults": [{**fault._asdict(), "sentence": str(fault)} for fault in watch.faults],
        "notes": list(found.notes),
        "me": {**found.me._asdict(), "labels": dict(found.me.labels)},
        "mtls": {
            "default": found.mtls_default,
            "ports": {str(port): mode for port, mode in found.mtls_ports.items()},
            "from": list(found.mtls_from),
        },
        "policies": [_policy(each, counts) for each in found.policies],
        "decided_by_none": counts.get("none", {}),
        "probes": [probe._asdict() for probe in found.probes],
        "mesh": found.mesh,
    }


def _policy(each: AuthorizationPolicy, counts: dict[str, dict[str, int]]) -> Fields:
    return {
        "name": each.meta.path,
        "action": each.action,
        "dry_run": each.is_dry_run,
        "rules": len(each.rules),
        "selector": None if each.selector is None else dict(each.selector),
        "file": each.meta.file,
        "line": each.meta.line,
        "counts": counts.get(each.meta.path, {}),
    }
