"""What may be chosen for a pod: each setting is a flag of `remora inject` and an annotation.

`--proxy-log-level` is `remora.dev/proxy-log-level` on a pod, which wins. Declared once here; the
values stay text, checked and in their one form.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, NamedTuple

from iptables import ports
from proxy import __version__, services, values
from proxy.options import Group, Option

PREFIX: Final = "remora.dev/"
INJECT: Final = f"{PREFIX}inject"  # a label or an annotation: enabled or disabled
INJECTED: Final = f"{PREFIX}injected"  # the label of pods that have the sidecar
STATUS: Final = f"{PREFIX}status"  # what was put in: makes taking it out exact
ENABLED: Final = "enabled"
DISABLED: Final = "disabled"

NATIVE: Final = "native"
CLASSIC: Final = "classic"
NO_IDENTITY: Final = "none"
SECRET: Final = "secret"  # noqa: S105 - a word of ours
CSI: Final = "csi"
AUTO: Final = "auto"

Settings = Mapping[str, str]

# Nobody mends more at once, and the webhook looks at pods of people whom nobody knows.
FAULTS_MAX: Final = 16

_CPU: Final = re.compile(r"[0-9]{1,7}m|[0-9]{1,4}(\.[0-9]{1,3})?")
_MEMORY: Final = re.compile(r"([0-9]{1,15})(|k|M|G|Ki|Mi|Gi)")
_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20}
_UNIT_BYTES: Final = {**_UNITS, "Gi": 1 << 30}
_IMAGE: Final = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,510}")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class Fault(NamedTuple):
    """What is wrong with a pod, and at which of its fields."""

    field: str
    text: str


def _matching(expression: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not expression.fullmatch(text):
            raise ValueError(f"is no {what}")
        return text

    return parse


def _optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def _each(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Read a comma separated list. A bad word is named, since there may be many."""

    def read(text: str) -> str:
        words = ports.words(text) if text.strip() else []
        for word in words:
            try:
                parse(word)
            except ValueError as fault:
                raise ValueError(f"has {word!r}, which {fault}") from None
        return ",".join(words)

    return read


def _opaque(text: str) -> str:
    services.port_ranges(text)
    return text


def _drain_delay(text: str) -> str:
    if text != AUTO:
        values.duration_between("0", "1h")(text)
    return text


_cpu = _optional(_matching(_CPU, "amount of CPU (write 100m, 1 or 0.5)"))
_memory = _optional(_matching(_MEMORY, "amount of memory (write 64Mi, 1Gi or bytes)"))
name_of_kubernetes = _matching(_NAME, "name of Kubernetes (small letters, digits, dash, dot)")
_name = _optional(name_of_kubernetes)


def millicores(text: str) -> Decimal:
    """Return an amount of CPU as a number that can be compared."""
    return Decimal(text[:-1]) if text.endswith("m") else Decimal(text) * 1000


def amount_of_bytes(text: str) -> int:
    """Return an amount of memory as a number that can be compared."""
    match = _MEMORY.fullmatch(text)
    return int(match[1]) * _UNIT_BYTES[match[2]] if match else 0


def _setting(name: str, parse: Callable[[str], str], default: str, *words: str) -> Option[str]:
    metavar, text = words
    return Option(flag=f"--{name}", parse=parse, default=default, metavar=metavar, help=text)


SIDECAR: Final = _setting(
    "sidecar",
    values.choice(NATIVE, CLASSIC),
    NATIVE,
    "native|classic",
    "an init container that stays (Kubernetes 1.29), or an\nordinary container",
)
IMAGE: Final = _setting(
    "image",
    _matching(_IMAGE, "name of an image"),
    f"remora:{__version__}",
    "NAME",
    "the image of proxy and init step",
)
SKIP_INBOUND: Final = _setting(
    "skip-inbound-ports",
    _each(ports.port_range),
    "",
    "PORT[-PORT][,..]",
    "ports of the pod that others reach without the proxy",
)
SKIP_OUTBOUND: Final = _setting(
    "skip-outbound-ports",
    _each(ports.port_range),
    "",
    "PORT[-PORT][,..]",
    "ports that the pod dials without the proxy",
)
SKIP_SUBNETS: Final = _setting(
    "skip-subnets",
    _each(ports.network),
    "",
    "CIDR[,..]",
    "addresses that the pod dials without the proxy",
)
OPAQUE: Final = _setting(
    "opaque-ports",
    _opaque,
    "",
    "PORT[-PORT][,..]",
    "destinations that are relayed without a look",
)
CPU_REQUEST: Final = _setting("proxy-cpu-request", _cpu, "100m", "CPU", "CPU the proxy asks for")
CPU_LIMIT: Final = _setting(
    "proxy-cpu-limit", _cpu, "", "CPU", "CPU it may use; also its number of workers"
)
MEMORY_REQUEST: Final = _setting(
    "proxy-memory-request", _memory, "64Mi", "MEMORY", "memory the proxy asks for"
)
MEMORY_LIMIT: Final = _setting(
    "proxy-memory-limit", _memory, "256Mi", "MEMORY", "memory it may use; empty is no limit"
)
LOG_LEVEL: Final = _setting(
    "proxy-log-level",
    values.choice("debug", "info", "warning", "error"),
    "info",
    "LEVEL",
    "debug, info, warning or error",
)
ACCESS_LOG: Final = _setting(
    "access-log",
    values.choice("off", "json", "text", "combined"),
    "off",
    "FORMAT",
    "off, json, text or combined: a line for each request",
)
IDENTITY_SOURCE: Final = _setting(
    "identity-source",
    values.choice(NO_IDENTITY, SECRET, CSI),
    NO_IDENTITY,
    "none|secret|csi",
    "where the certificate comes from: nowhere (no mesh TLS), a\n"
    "Secret, or cert-manager's csi-driver-spiffe",
)
IDENTITY_SECRET: Final = _setting(
    "identity-secret", _name, "", "NAME", "the Secret with tls.crt, tls.key and ca.crt"
)
MTLS: Final = _setting(
    "mtls",
    values.choice("permissive", "strict", "disable"),
    "permissive",
    "MODE",
    "who may come in: permissive, strict or disable",
)
MANIFESTS: Final = _setting(
    "manifests",
    _name,
    "",
    "NAME",
    "the ConfigMap with Kubernetes objects: routes, policies, who\n"
    "is meshed (the --manifests of the proxy)",
)
DRAIN_DELAY: Final = _setting(
    "drain-delay",
    _drain_delay,
    AUTO,
    "TIME|auto",
    "how long newcomers are taken in after the pod's end began;\n"
    "auto is 5s, and 0s where the pod ends by itself, as in Jobs",
)
OPTIONS: Final = (
    *(SIDECAR, IMAGE, SKIP_INBOUND, SKIP_OUTBOUND, SKIP_SUBNETS, OPAQUE),
    *(CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT, LOG_LEVEL, ACCESS_LOG),
    *(IDENTITY_SOURCE, IDENTITY_SECRET, MTLS, MANIFESTS, DRAIN_DELAY),
)
GROUP: Final = Group("Settings, each also an annotation remora.dev/... of a pod", OPTIONS)
DEFAULTS: Final[Settings] = {option.key: option.default for option in OPTIONS}

_BY_ANNOTATION: Final = {PREFIX + option.flag.lstrip("-"): option for option in OPTIONS}
# Names under our prefix that are no settings.
_OTHERS: Final = frozenset({INJECT, INJECTED, STATUS})


def annotation_of(option: Option[str]) -> str:
    """Return the annotation that says the same as a flag."""
    return PREFIX + option.flag.lstrip("-")


def read_annotations(
    annotations: Mapping[str, object], base: Settings
) -> tuple[Settings, list[Fault]]:
    """Return the settings of a pod, and everything that is wrong with what it says."""
    chosen, faults = dict(base), list[Fault]()
    for name, value in annotations.items():
        if not name.startswith(PREFIX) or name in _OTHERS:
            continue
        if len(faults) == FAULTS_MAX:
            break
        option = _BY_ANNOTATION.get(name)
        if option is None:
            faults.append(_fault(name, f"is unknown{_suggestion(name)}"))
        elif not isinstance(value, str):
            faults.append(_fault(name, f"must be a string: put {value} in quotes"))
        else:
            try:
                chosen[option.key] = option.parse(value.strip())
            except ValueError as wrong:
                faults.append(_fault(name, f"{value!r} {wrong}"))
    return chosen, faults or contradictions(chosen)


def contradictions(chosen: Settings) -> list[Fault]:
    """Return what cannot be true at once."""
    faults = []
    compare: tuple[tuple[Option[str], Option[str], Callable[[str], Decimal | int]], ...] = (
        (CPU_REQUEST, CPU_LIMIT, millicores),
        (MEMORY_REQUEST, MEMORY_LIMIT, amount_of_bytes),
    )
    for low, high, size in compare:
        request, limit = chosen[low.key], chosen[high.key]
        if request and limit and size(request) > size(limit):
            text = f"{request!r} is above {annotation_of(high)}, {limit!r}"
            faults.append(_fault(annotation_of(low), text))
    source, secret = chosen[IDENTITY_SOURCE.key], chosen[IDENTITY_SECRET.key]
    if source == SECRET and not secret:
        text = f"{SECRET!r} needs a name in {annotation_of(IDENTITY_SECRET)}"
        faults.append(_fault(annotation_of(IDENTITY_SOURCE), text))
    if secret and source != SECRET:
        text = f"{secret!r} means nothing unless {annotation_of(IDENTITY_SOURCE)} is {SECRET!r}"
        faults.append(_fault(annotation_of(IDENTITY_SECRET), text))
    if chosen[MTLS.key] == "strict" and source == NO_IDENTITY:
        text = f"'strict' needs a certificate: set {annotation_of(IDENTITY_SOURCE)}"
        faults.append(_fault(annotation_of(MTLS), text))
    return faults


def as_flag(fault: Fault) -> str:
    """Return a fault of settings in the words of a command line."""
    name = fault.field.partition("[")[2].rstrip("]").removeprefix(PREFIX)
    return f"--{name}: {fault.text.replace(PREFIX, '--')}"


def _fault(name: str, text: str) -> Fault:
    return Fault(f"metadata.annotations[{name}]", text)


def _suggestion(name: str) -> str:
    near = get_close_matches(name, [*_BY_ANNOTATION, *_OTHERS], n=1)
    return f" (did you mean {near[0]}?)" if near else ""
