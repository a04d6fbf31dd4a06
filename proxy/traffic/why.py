"""`remora ctl why`: what would become of a request, and for which reasons. It sends nothing."""

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from proxy.config import Config
from proxy.policy.explain import Asked as Judged
from proxy.policy.explain import judge, read
from proxy.policy.paths import normalize
from proxy.traffic.describe import limits, rate, settings
from proxy.traffic.matching import Asked, match_text, misfit
from proxy.traffic.rows import NOBODY, Backend, Front, Rule, Traffic
from proxy.traffic.where import Place, place_of
from proxy.values import Address

if TYPE_CHECKING:
    from proxy.policy.watch import PolicyWatch

Fields = dict[str, object]

_PORTS: Final = {"http": 80, "https": 443}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Of the matches that were asked in vain so many are told, the last ones asked first.
_TOLD_MAX: Final = 50
# Settings that are told apart from the others, with who says so.
_TIMES: Final = frozenset({"request_ms", "try_ms", "connect_ms", "retry"})


class WhyError(Exception):
    """The question cannot be answered; the text says why."""


class Question(NamedTuple):
    """What somebody asks for. Headers are `name: value`."""

    method: str
    url: str
    peer: str = ""
    headers: tuple[str, ...] = ()
    is_inbound: bool = False


def why(watch: "PolicyWatch", config: Config, question: Question) -> Fields:
    """Return the answer, part by part. Raises WhyError."""
    url, port = _url(question.url)
    host = url.hostname or ""
    asked = _asked(question, url, port)
    place = place_of(watch.traffic, config.services, host, port)
    is_by_host = not question.is_inbound and _is_by_host(config)
    if is_by_host and place.kind == "unknown":
        text = f"no Service is called {host} at port {port}: answered with 404"
        place = place._replace(why=text)
    answer: Fields = {
        "asked": {
            "method": asked.method,
            "host": host,
            "port": port,
            "path": asked.path.decode("latin-1"),
            "query": asked.query.decode("latin-1"),
            "headers": [f"{name.decode()}: {value.decode()}" for name, value in asked.headers],
            "from": question.peer,
        },
        "listener": _listener(config, host, port, is_inbound=question.is_inbound),
        "destination": {
            "kind": place.kind,
            "service": place.service,
            "handling": place.handling,
            "why": place.why,
        },
    }
    if question.is_inbound:
        return answer | _inbound(watch, place, question, asked, port)
    return answer | _outbound(watch, config, place, asked)


def _url(text: str) -> tuple[SplitResult, int]:
    try:
        url = urlsplit(text)
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError as wrong:
        raise WhyError(f"{text!r} is no URL: {wrong}") from None
    if not url.hostname or not port:
        raise WhyError(f"{text!r} is no URL of a host (write http://web.shop/path)")
    return url, port


def _asked(question: Question, url: SplitResult, port: int) -> Asked:
    path = normalize((url.path or "/").encode())
    if path is None:
        raise WhyError(f"the path {url.path!r} is refused with 400, path_ambiguous")
    is_default = port == _PORTS.get(url.scheme)
    host = url.hostname or ""
    headers = [(b"host", (host if is_default else f"{host}:{port}").encode())]
    for line in question.headers:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise WhyError(f"{line!r} is no header (write 'name: value')")
        pair = (name.lower().encode(), value.strip(" \t").encode())
        headers = [each for each in headers if each[0] != b"host" or pair[0] != b"host"]
        headers.append(pair)
    return Asked(question.method, path, url.query.encode(), tuple(headers))


def _is_by_host(config: Config) -> bool:
    """Whether requests go where Host says: nothing is redirected to us."""
    return bool(config.host_listeners) and not config.outbound


def _listener(config: Config, host: str, port: int, *, is_inbound: bool) -> Fields:
    forwards = config.inbound_forwards if is_inbound else config.forwards
    for forward in forwards:
        if (host, port) in {forward.listen[:], forward.target[:]}:
            return {
                "name": "explicit",
                "addresses": [str(forward.listen)],
                "why": f"an explicit listener in front of {forward.target}",
            }
    if not is_inbound and _is_by_host(config):
        return {
            "name": "explicit",
            "addresses": [str(address) for address in config.host_listeners],
            "why": "--listen-hosts: the Host of a request says what is meant",
        }
    name = "inbound" if is_inbound else "outbound"
    addresses = [str(each) for each in (config.inbound if is_inbound else config.outbound)]
    text = "redirected by iptables" if addresses else "there is none: --no-interception"
    return {"name": name, "addresses": addresses, "why": text}


# ---- outbound -----------------------------------------------------------------------------------


def _outbound(watch: "PolicyWatch", config: Config, place: Place, asked: Asked) -> Fields:
    rows = watch.traffic
    policies = "judged by the proxy of the pod that it reaches (ask that one with --inbound)"
    if place.handling != "detect":
        text = f"the port's appProtocol makes it {place.handling}: nobody looks for requests"
        route: Fields = {"why": text}
        rule = None
        front = place.front if place.kind == "service" else None
    elif place.front is None or place.kind != "service":
        return {"route": {"why": "none: no Service with routes"}, "policies": {"why": policies}}
    else:
        front = place.front
        route, rule = _route(rows, front, asked)
    if front is None:
        return {"route": route, "policies": {"why": policies}}
    is_lost = rule is None and bool(front.routes) and place.handling == "detect"
    shares = [] if is_lost else _shares(rows, front, rule)
    found: Fields = {
        "route": route,
        "policies": {"why": policies},
        "backends": [_backend(watch, each, percent) for each, percent in shares],
    }
    backend = next((each for each, _ in shares if each is not None), None)
    if backend is not None:
        found["times"] = _times(config, rule, backend)
    return found


def _route(rows: Traffic, front: Front, asked: Asked) -> tuple[Fields, Rule | None]:
    """Return what is told of the route, and its rule."""
    if not front.routes:
        return {"why": "no route is attached: to the Service itself"}, None
    stronger: list[Fields] = []
    for i, route in enumerate(front.routes):
        rule = rows.rules[route.rule]
        told: Fields = {"route": rule.route, "match": match_text(route)}
        reason = misfit(rows, route, asked)
        if not reason:
            told["why"] = f"number {i + 1} of {len(front.routes)} matches is the first that fits"
            told["stronger"] = stronger[-_TOLD_MAX:]
            told["does"] = _does(rows, rule)
            return told, rule
        stronger.append({**told, "why_not": reason})
    text = f"none of {len(front.routes)} matches fits: answered with 404"
    return {"why": text, "stronger": stronger[-_TOLD_MAX:]}, None


def _does(rows: Traffic, rule: Rule) -> list[str]:
    """Return what a rule does to what passes, in words."""
    rewrite = rule.rewrite
    host, path = rewrite.host.decode(), rewrite.path.decode("latin-1")
    words = [
        *(f"request header {e.kind} {e.name.decode()}" for e in rule.request_edits),
        *(f"response header {e.kind} {e.name.decode()}" for e in rule.response_edits),
        *(
            f"{each.per_million / 10_000:g} % copied to {rows.backends[each.backend].service}"
            for each in rule.mirrors
        ),
    ]
    if rewrite.status:
        words.append(f"redirect {rewrite.status}")
    if host:
        words.append(f"host becomes {host}")
    if rewrite.path_kind:
        words.append(f"{'path' if rewrite.path_kind == 'full' else 'prefix'} becomes {path or '/'}")
    if rule.limit.rate_per_ks:
        words.append(f"rate limit {rate(rule.limit)}")
    if rule.fault.delay_per_million:
        percent = rule.fault.delay_per_million / 10_000
        words.append(f"{percent:g} % delayed by {rule.fault.delay_ms} ms")
    if rule.fault.abort_per_million:
        percent = rule.fault.abort_per_million / 10_000
        words.append(f"{percent:g} % aborted with {rule.fault.abort_status}")
    return words


def _shares(rows: Traffic, front: Front, rule: Rule | None) -> list[tuple[Backend | None, float]]:
    """Return backends (None: answered with 500), each with its share of the requests."""
    if rule is None:
        return [(rows.backends[front.backend], 100.0)]
    if rule.rewrite.status:
        return []
    total = sum(share.weight for share in rule.shares)
    if not total:
        return [(None, 100.0)]
    return [
        (
            None if share.backend == NOBODY else rows.backends[share.backend],
            round(100 * share.weight / total, 2),
        )
        for share in rule.shares
    ]


def _backend(watch: "PolicyWatch", backend: Backend | None, percent: float) -> Fields:
    if backend is None:
        return {"service": None, "percent": percent, "why": "answered with 500: nobody is there"}
    mesh = watch.effective.mesh if watch.effective else {}
    local = backend.local_count
    endpoints = [
        {
            "address": str(Address(each.host, each.port)),
            "is_local": i < local,
            "identity": mesh.get(each.host, ""),
        }
        for i, each in enumerate(backend.endpoints)
    ]
    text = f"{backend.balance} over {len(endpoints)} ready"
    if local:
        text = f"{backend.balance} over {local} of our zone, {len(endpoints) - local} in reserve"
    return {
        "service": backend.service,
        "port": backend.port,
        "percent": percent,
        "why": text if endpoints else "no endpoint is ready: answered with 503",
        "endpoints": endpoints,
        "settings": {n: v for n, v in settings(backend).items() if n not in _TIMES},
    }


def _times(config: Config, rule: Rule | None, backend: Backend) -> Fields:
    """Return timeouts and retries, each with who says so."""
    own_ms = backend.connect_ms
    connect = {"ms": own_ms, "by": f"a DestinationRule for {backend.service}"}
    return {
        "request": _time(rule, backend, "request_ms"),
        "try": _time(rule, backend, "try_ms"),
        "connect": connect if own_ms else {"ms": config.connect_ms, "by": "--connect-timeout"},
        "retry": _retry(rule, backend),
        "retry_budget": {
            "percent": backend.budget_percent,
            "min_per_s": backend.budget_min_per_s,
        },
    }


def _time(rule: Rule | None, backend: Backend, name: str) -> Fields:
    of_rule = getattr(rule, name) if rule else 0
    if rule and of_rule:
        return {"ms": of_rule, "by": f"HTTPRoute {rule.route}"}
    of_backend = getattr(backend, name)
    if of_backend:
        return {"ms": of_backend, "by": f"Service {backend.service}"}
    return {"ms": 0, "by": "nobody: no limit"}


def _retry(rule: Rule | None, backend: Backend) -> Fields:
    if rule and rule.retry.is_said:
        retry, by = rule.retry, f"HTTPRoute {rule.route}"
    else:
        retry = backend.retry
        by = f"Service {backend.service}" if retry.is_said else "the default"
    return {
        "attempts": retry.attempts,
        "codes": list(retry.codes),
        "backoff_ms": retry.backoff_ms,
        "by": by,
    }


# ---- inbound ------------------------------------------------------------------------------------


def _inbound(
    watch: "PolicyWatch", place: Place, question: Question, asked: Asked, port: int
) -> Fields:
    found = watch.effective
    assert found is not None, "a watch that started has something"  # noqa: S101
    own_port = _own_port(watch.traffic, place, port)
    mode = found.mtls_ports.get(own_port, found.mtls_default)
    is_refused = mode == "strict" and not question.peer
    judged = Judged(
        peer=question.peer,
        port=own_port,
        method=asked.method,
        host=next(value.decode("latin-1") for name, value in asked.headers if name == b"host"),
        path=asked.path.decode("latin-1"),
        headers=tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in asked.headers),
    )
    readings = read(found.policies, judged)
    verdict = judge(readings)
    return {
        "mtls": {
            "mode": mode,
            "why": "plaintext is refused (add --from)" if is_refused else "may come in",
        },
        "policies": {
            "is_allowed": verdict.is_allowed and not is_refused,
            "policy": verdict.policy,
            "why": f"{verdict.text} (of the source only --from is known)",
            "asked": [
                {
                    "name": each.policy.meta.path,
                    "action": each.policy.action,
                    "dry_run": each.policy.is_dry_run,
                    "matches": each.is_matched,
                    "why_not": list(each.misfits),
                }
                for each in readings
            ],
        },
        "limits": limits(place.front) if place.front else {},
        "application": {"port": own_port},
    }


def _own_port(rows: Traffic, place: Place, port: int) -> int:
    """Return the port of the workload: that of the endpoints behind a Service's."""
    if place.kind != "service" or place.front is None:
        return port
    endpoints = rows.backends[place.front.backend].endpoints
    return endpoints[0].port if endpoints else port
