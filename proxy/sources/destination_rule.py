"""DestinationRule: how requests are spread over the endpoints of a host (Istio's)."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from proxy.sources.addresses import read_port
from proxy.sources.meta import Meta
from proxy.sources.strict import TOP, Fault, Fields, Value
from proxy.sources.times import of_istio
from proxy.traffic import rows
from proxy.traffic.rows import Outlier

RING_SIZE: Final = 1024
MAGLEV_SIZE: Final = 65537
# The largest of Envoy's, a prime as all of them are.
MAGLEV_SIZE_MAX: Final = 5_000_011
RING_SIZE_MAX: Final = 8_388_608
_COUNT_MAX: Final = (1 << 32) - 1

_SIMPLE: Final[Mapping[str, str | None]] = {
    "UNSPECIFIED": None,
    "LEAST_REQUEST": rows.LEAST_REQUEST,
    "LEAST_CONN": rows.LEAST_REQUEST,
    "ROUND_ROBIN": rows.ROUND_ROBIN,
    "RANDOM": rows.RANDOM,
}
_PARTS: Final = ("loadBalancer", "connectionPool", "outlierDetection")
_WARMUP: Final = {"minimumPercent": 10.0, "aggression": 1.0}


class Policy(NamedTuple):
    """Fields of `rows.Backend` that it sets; None: not said."""

    balance: str | None = None
    hash_by: str | None = None
    hash_name: bytes | None = None
    table_size: int | None = None
    is_local: bool | None = None  # whether those of our zone are preferred
    connect_ms: int | None = None
    idle_ms: int | None = None  # 0: no limit; likewise for all that follow
    tcp_idle_ms: int | None = None
    connections_max: int | None = None
    pending_max: int | None = None
    requests_max: int | None = None
    retries_max: int | None = None
    connection_requests_max: int | None = None
    slow_start_ms: int | None = None
    budget_percent: int | None = None
    outlier: Outlier | None = None


class DestinationRule(NamedTuple):
    """What a port says replaces the policy as a whole. With `faults` it must not be used."""

    meta: Meta
    host: str  # as it stands there, in small letters
    policy: Policy
    ports: Mapping[int, Policy]
    is_exported: bool  # to other namespaces
    faults: tuple[Fault, ...] = ()


def read_destination_rule(value: Value, meta: Meta) -> DestinationRule:
    """Read a DestinationRule."""
    faults: list[Fault] = []
    top = Fields(value, TOP, faults)
    spec = Fields(top.get("spec"), ("host", "trafficPolicy", "exportTo"), faults)
    if not spec.get("host"):
        faults += value.fault("has no host").faults
    ports: dict[int, Policy] = {}
    whole = Fields(spec.get("trafficPolicy"), (*_PARTS, "portLevelSettings", "retryBudget"), faults)
    whole.each("portLevelSettings", lambda at: _port(at, ports, faults))
    return DestinationRule(
        meta,
        spec.read("host", _host, ""),
        _policy(whole),
        ports,
        spec.read("exportTo", _is_exported, True),  # noqa: FBT003 - a default
        tuple(faults),
    )


def _host(value: Value) -> str:
    host = value.text().lower()
    if not host:
        raise value.fault("is empty")
    if "*" in host:
        raise value.fault(f"{host!r} has a *, which is not supported")
    return host


def _is_exported(value: Value) -> bool:
    words = [item.choice("*", ".") for item in value.items()]
    return "*" in words or not words


def _port(value: Value, ports: dict[int, Policy], faults: list[Fault]) -> None:
    number = value.get("port", "number")
    if number is None:
        raise value.fault("has no port.number")
    port = read_port(number)
    if port in ports:
        raise number.fault(f"{port} stands there twice")
    ports[port] = _policy(Fields(value, ("port", *_PARTS), faults))


def _policy(fields: Fields) -> Policy:
    said: dict[str, Any] = {}
    nothing: dict[str, Any] = {}
    for name, read in _READERS.items():
        said |= fields.read(name, read, nothing)
    return Policy(**said)


# ---- loadBalancer -------------------------------------------------------------------------------


def _load_balancer(value: Value) -> dict[str, Any]:
    known = ("simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs")
    fields = value.members(known)
    if "simple" in fields and "consistentHash" in fields:
        raise fields["consistentHash"].fault("cannot stand beside simple")
    said: dict[str, Any] = {}
    if "simple" in fields:
        said["balance"] = _SIMPLE[fields["simple"].choice(*_SIMPLE)]
    if "consistentHash" in fields:
        said |= _consistent_hash(fields["consistentHash"])
    if "localityLbSetting" in fields:
        enabled = fields["localityLbSetting"].members(("enabled",)).get("enabled")
        said["is_local"] = enabled.truth() if enabled else True
    if "warmup" in fields:
        said["slow_start_ms"] = _warmup(fields["warmup"])
    if "warmupDurationSecs" in fields:
        said["slow_start_ms"] = of_istio(fields["warmupDurationSecs"])
    return said


def _consistent_hash(value: Value) -> dict[str, Any]:
    keys = ("httpHeaderName", "useSourceIp", "httpQueryParameterName")
    fields = value.members((*keys, "ringHash", "maglev", "minimumRingSize"))
    if "useSourceIp" in fields and not fields["useSourceIp"].truth():
        del fields["useSourceIp"]
    given = [name for name in keys if name in fields]
    if len(given) != 1:
        raise value.fault(f"needs one of {', '.join(keys)}")
    said: dict[str, Any] = {"hash_by": rows.SOURCE, "hash_name": b""}
    if given[0] != "useSourceIp":
        name = fields[given[0]].text()
        is_header = given[0] == "httpHeaderName"
        said["hash_by"] = rows.HEADER if is_header else rows.QUERY
        said["hash_name"] = (name.lower() if is_header else name).encode("utf-8", "surrogatepass")
    return said | _table(value, fields)


def _table(value: Value, fields: Mapping[str, Value]) -> dict[str, Any]:
    sizes = [name for name in ("ringHash", "maglev", "minimumRingSize") if name in fields]
    if len(sizes) > 1:
        raise fields[sizes[1]].fault(f"cannot stand beside {sizes[0]}")
    if "maglev" in fields:
        at = fields["maglev"].members(("tableSize",)).get("tableSize")
        size = at.between(2, MAGLEV_SIZE_MAX) if at else MAGLEV_SIZE
        if at and any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)):
            raise at.fault(f"{size} is no prime number")
        return {"balance": rows.MAGLEV, "table_size": size}
    at = value.get("ringHash", "minimumRingSize") or fields.get("minimumRingSize")
    if "ringHash" in fields:
        fields["ringHash"].members(("minimumRingSize",))
    size = at.between(1, RING_SIZE_MAX) if at else RING_SIZE
    return {"balance": rows.RING, "table_size": size}


def _warmup(value: Value) -> int:
    fields = value.members(("duration", *_WARMUP))
    for name, only in _WARMUP.items():
        if name in fields and fields[name].number() != only:
            raise fields[name].fault(f"is not supported (but {only:g}, the default)")
    if "duration" not in fields:
        raise value.fault("has no duration")
    return of_istio(fields["duration"])


# ---- connectionPool, outlierDetection, retryBudget ----------------------------------------------


def _count(value: Value) -> int:
    return value.between(0, _COUNT_MAX)


def _percent(value: Value) -> int:
    return value.between(0, 100)


def _time(value: Value) -> int:
    """Read a time that cannot be none."""
    time_ms = of_istio(value)
    if time_ms == 0:
        raise value.fault("must be 1ms or more")
    return time_ms


def _each(value: Value, known: Mapping[str, tuple[str, Callable[[Value], Any]]]) -> dict[str, Any]:
    fields = value.members(known)
    return {known[name][0]: known[name][1](at) for name, at in fields.items()}


def _refuse_truth(value: Value) -> None:
    if value.truth():
        raise value.fault("true is not supported")


_TCP: Final = {
    "maxConnections": ("connections_max", _count),
    "connectTimeout": ("connect_ms", _time),
    "idleTimeout": ("tcp_idle_ms", of_istio),
}
_HTTP: Final = {
    "http1MaxPendingRequests": ("pending_max", _count),
    "http2MaxRequests": ("requests_max", _count),
    "maxRequestsPerConnection": ("connection_requests_max", _count),
    "maxRetries": ("retries_max", _count),
    "idleTimeout": ("idle_ms", of_istio),
}
# Nothing that has these values is changed by them.
_DEFAULTS_ONLY: Final = {
    "h2UpgradePolicy": ("", lambda at: at.choice("DEFAULT", "DO_NOT_UPGRADE")),
    "useClientProtocol": ("", _refuse_truth),
}
_OUTLIER: Final = {
    "consecutive5xxErrors": ("errors_max", _count),
    "consecutiveGatewayErrors": ("gateway_errors_max", _count),
    "consecutiveLocalOriginFailures": ("local_errors_max", _count),
    "splitExternalLocalOriginErrors": ("is_split", Value.truth),
    "interval": ("interval_ms", _time),
    "baseEjectionTime": ("ejection_ms", _time),
    "maxEjectionPercent": ("ejected_percent_max", _percent),
    "minHealthPercent": ("healthy_percent_min", _percent),
}


def _connection_pool(value: Value) -> dict[str, Any]:
    fields = value.members(("tcp", "http"))
    said = _each(fields["tcp"], _TCP) if "tcp" in fields else {}
    if "http" in fields:
        found = _each(fields["http"], {**_HTTP, **_DEFAULTS_ONLY})
        said |= {name: each for name, each in found.items() if name}
    return said


def _outlier(value: Value) -> dict[str, Any]:
    outlier = Outlier(**_each(value, _OUTLIER))
    # As in Envoy: the longest time is that, or the first one where it is longer.
    longest_ms = max(outlier.ejection_ms, outlier.ejection_ms_max)
    return {"outlier": outlier._replace(ejection_ms_max=longest_ms)}


def _retry_budget(value: Value) -> dict[str, Any]:
    return _each(value, {"percent": ("budget_percent", _percent)})


_READERS: Final[Mapping[str, Callable[[Value], dict[str, Any]]]] = {
    "loadBalancer": _load_balancer,
    "connectionPool": _connection_pool,
    "outlierDetection": _outlier,
    "retryBudget": _retry_budget,
}
