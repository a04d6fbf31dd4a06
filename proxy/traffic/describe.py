"""What is in force of the manifests, as `remora ctl config` shows it."""

import time
from typing import TYPE_CHECKING, Final

from proxy.logs import timestamp
from proxy.traffic.matching import match_text
from proxy.traffic.rows import Backend, Front, Limit, Traffic
from proxy.traffic.settings import DEFAULT_RETRY
from proxy.values import Address

if TYPE_CHECKING:
    from proxy.engine import Engine
    from proxy.policy.watch import PolicyWatch

Fields = dict[str, object]

_DEFAULT: Final = Backend(0, "", 0, retry=DEFAULT_RETRY)
_NOT_SETTINGS: Final = frozenset({"number", "service", "port", "endpoints", "local_count"})


def config(watch: "PolicyWatch", engine: "Engine", service: str, limit: int) -> Fields:
    """Return the page. `service` "": all of them, up to `limit`, without what they do now."""
    rows = watch.traffic
    fronts = _fronts(rows)
    wanted = [
        (each, fronts.get(i))
        for i, each in enumerate(rows.backends)
        if service in {"", each.service}
    ]
    return {
        "manifests": watch.directory,
        "loaded": timestamp(int(watch.loaded_unix_s * 1e6)),
        "age_s": round(time.time() - watch.loaded_unix_s, 1),
        "loads": dict(watch.loads),
        "is_reading": watch.is_reading,
        "objects": watch.objects.counts(),
        "skipped": dict(watch.objects.skipped),
        "zone": watch.zone,
        "faults": [{**fault._asdict(), "sentence": str(fault)} for fault in watch.faults],
        "notes": list(watch.notes),
        "counts": dict(watch.counts),
        "services": [
            {**_service(rows, *each), **(_now(engine, each[0]) if service else {})}
            for each in wanted[:limit]
        ],
        "truncated": len(wanted) > limit,
    }


def _fronts(rows: Traffic) -> dict[int, Front]:
    return {front.backend: front for front in rows.fronts}


def _service(rows: Traffic, backend: Backend, front: Front | None) -> Fields:
    return {
        "service": backend.service,
        "port": backend.port,
        "addresses": [str(Address(*each)) for each in front.addresses] if front else [],
        "names": [name.decode() for name, _ in front.names] if front else [],
        "handling": front.handling if front else None,
        "endpoints": [str(Address(each.host, each.port)) for each in backend.endpoints],
        "local_count": backend.local_count,
        "balance": backend.balance,
        "settings": settings(backend),
        "limits": limits(front) if front else {},
        "routes": [
            {"route": rows.rules[each.rule].route, "match": match_text(each)}
            for each in (front.routes if front else ())
        ],
    }


def _now(engine: "Engine", backend: Backend) -> Fields:
    """Return what the workers know of a backend, and think of its endpoints."""
    state = engine.backend(backend.number)
    if state is None:
        return {"now": None, "endpoints_now": {}}
    known = {each: engine.endpoint(each.slot, each.generation) for each in backend.endpoints}
    return {
        "now": {**state._asdict(), "events": {k: n for k, n in state.events.items() if n}},
        "endpoints_now": {
            str(Address(each.host, each.port)): {
                "in_flight": found.in_flight,
                "latency_ms": round(found.latency_us / 1000, 3) or None,
                "ejected": bool(found.ejected),
                "ejections": found.ejections,
            }
            for each, found in known.items()
            if found
        },
    }


def settings(backend: Backend) -> Fields:
    """Return what is said of a backend, and is not the default anyway."""
    said = backend._asdict()
    default = _DEFAULT._asdict()
    found: Fields = {}
    for name, value in said.items():
        if name in _NOT_SETTINGS or value == default[name]:
            continue
        if isinstance(value, bytes):
            found[name] = value.decode("latin-1")
        else:
            found[name] = value._asdict() if hasattr(value, "_asdict") else value
    return found


def limits(front: Front) -> Fields:
    """Return what limits what comes in."""
    found: Fields = {}
    if front.limit.rate_per_ks:
        found["rate"] = rate(front.limit)
    if front.peer_limit.rate_per_ks:
        found["rate_of_each_peer"] = rate(front.peer_limit)
    if front.requests_max:
        found["concurrency"] = front.requests_max
    if any(front.fault):
        found["fault"] = front.fault._asdict()
    return found


def rate(limit: Limit) -> str:
    """Return a limit as its annotation has it."""
    return f"{limit.rate_per_ks / 1000:g}/s burst={limit.burst}"
