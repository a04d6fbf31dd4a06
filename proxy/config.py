"""The settings of `remora proxy`: what they are called, what they may be, what they mean together.

Nothing here opens, resolves or asks the system: the same words always give the same configuration.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from proxy import http_options, mesh_options, services, values
from proxy.options import Effective, Group, Option, Reader, help_text
from proxy.policy import options as policy_options
from proxy.services import Service
from proxy.values import Address, Forward, Keepalive

OUTBOUND: Final = Option(
    flag="--outbound",
    parse=values.address,
    default="127.0.0.1:15001,[::1]:15001",
    metavar="ADDR:PORT",
    repeatable=True,
    help="where redirected traffic of the application arrives",
)
INBOUND: Final = Option(
    flag="--inbound",
    parse=values.address,
    default="0.0.0.0:15006,[::]:15006",
    metavar="ADDR:PORT",
    repeatable=True,
    help="where redirected traffic to the application arrives",
)
NO_INTERCEPTION: Final = Option(
    flag="--no-interception",
    parse=values.switch,
    default="false",
    help="open neither of them; use --listen",
)
LISTEN: Final = Option(
    flag="--listen",
    parse=values.forward,
    default="",
    metavar="ADDR:PORT=TARGET:PORT",
    repeatable=True,
    help="explicit listener, no interception needed;\n"
    "TARGET is an address, or a name resolved once at start",
)
LISTEN_INBOUND: Final = Option(
    flag="--listen-inbound",
    parse=values.forward,
    default="",
    metavar="ADDR:PORT=TARGET:PORT",
    repeatable=True,
    help="likewise, in front of our own application: policies\napply to what comes in here",
)
LISTEN_HOSTS: Final = Option(
    flag="--listen-hosts",
    parse=values.address,
    default="",
    metavar="ADDR:PORT",
    repeatable=True,
    help="explicit listener for HTTP to every Service of --manifests:\nHost names it",
)
ADMIN: Final = Option(
    flag="--admin",
    parse=values.address_or_off,
    default="0.0.0.0:15020",
    metavar="ADDR:PORT|off",
    help="kubelet and Prometheus: /live /ready /metrics",
)
AUTO: Final = "auto"
CONTROL: Final = Option(
    flag="--control",
    parse=lambda text: text if text in {AUTO, "off"} else values.path(text),
    default=AUTO,
    metavar="PATH|auto|off",
    help="operator's Unix socket; auto is the first usable one of\n"
    "/run/remora/control.sock, $XDG_RUNTIME_DIR/remora/control.sock,\n/tmp/remora-UID/control.sock",
)
CONTROL_LISTEN: Final = Option(
    flag="--control-listen",
    parse=values.address_or_off,
    default="127.0.0.1:15000",
    metavar="ADDR:PORT|off",
    help="the same over TCP, loopback only",
)
WORKERS: Final = Option(
    flag="--workers",
    parse=values.integer_between(1, 64),
    default="1",
    metavar="N",
    help="threads that move bytes",
)
CONNECTIONS_MAX: Final = Option(
    flag="--connections-max",
    parse=lambda text: None if text == AUTO else values.integer_between(1, 1_000_000)(text),
    default=AUTO,
    metavar="N|auto",
    help="open connections at once; auto follows the limit of\n"
    "open files, whose soft value is raised to the hard one",
)
UNKNOWN_MAX: Final = Option(
    flag="--unknown-connections-max",
    parse=values.integer_between(0, 1_000_000),
    default="0",
    metavar="N",
    help="of them, those to destinations that no Service has, as\n"
    "ExternalName; 0: no limit of their own",
)
CONNECT_TIMEOUT: Final = Option(
    flag="--connect-timeout",
    parse=values.duration_between("1ms", "10m"),
    default="5s",
    metavar="TIME",
    help="to reach an upstream, outbound and explicit",
)
CONNECT_TIMEOUT_INBOUND: Final = Option(
    flag="--connect-timeout-inbound",
    parse=values.duration_between("1ms", "10m"),
    default="1s",
    metavar="TIME",
    help="to reach the application in this pod",
)
IDLE_TIMEOUT: Final = Option(
    flag="--idle-timeout",
    parse=values.duration_between("1ms", "18h"),
    default="1h",
    metavar="TIME",
    help="no byte in either direction",
)
HALF_OPEN_TIMEOUT: Final = Option(
    flag="--half-open-timeout",
    parse=values.duration_between("1ms", "18h"),
    default="5m",
    metavar="TIME",
    help="one side finished, no byte from the other",
)
KEEPALIVE: Final = Option(
    flag="--keepalive",
    parse=values.keepalive,
    default="10s/10s/3",
    metavar="IDLE/INTERVAL/COUNT",
    help="TCP keepalive on both sides, or off",
)
USER_TIMEOUT: Final = Option(
    flag="--user-timeout",
    parse=values.duration_between("0", "1h"),
    default="30s",
    metavar="TIME",
    help="bytes sent and not acknowledged (TCP_USER_TIMEOUT); 0 is off",
)
DETECT_BYTES_MAX: Final = Option(
    flag="--detect-bytes-max",
    parse=values.integer_between(64, 16_384),
    default="1024",
    metavar="N",
    help="first bytes looked at to find the protocol",
)
NO_SPLICE: Final = Option(
    flag="--no-splice",
    parse=values.switch,
    default="false",
    help="copy bulk data too, never use splice(2)",
)
DRAIN_DELAY: Final = Option(
    flag="--drain-delay",
    parse=values.duration_between("0", "1h"),
    default="0s",
    metavar="TIME",
    help="from SIGTERM, or `remora ctl drain`, to closing inbound\n"
    "listeners; /ready fails at once, so that endpoints are removed\n"
    "meanwhile. A SIGTERM after that command ends it",
)
DRAIN_DEADLINE: Final = Option(
    flag="--drain-deadline",
    parse=values.duration_between("0", "24h"),
    default="25s",
    metavar="TIME",
    help="from the same moment to resetting what is still inbound, and\n"
    "after SIGTERM all that is open; keep it below\n"
    "terminationGracePeriodSeconds",
)
LOG_LEVEL: Final = Option(
    flag="--log-level",
    parse=values.choice("debug", "info", "warning", "error"),
    default="info",
    metavar="LEVEL",
    help="debug, info, warning or error; `remora ctl log-level` changes it",
)
LOG_FORMAT: Final = Option(
    flag="--log-format",
    parse=values.choice("json", "text"),
    default="json",
    metavar="json|text",
    help="logs go to stderr",
)
ACCESS_LOG: Final = Option(
    flag="--access-log",
    parse=values.choice("off", "json", "text", "combined"),
    default="off",
    metavar="off|json|text|combined",
    help="a line for each request and connection that ended, to stdout;\n"
    "combined is Apache's format, and has requests only",
)
RECENT: Final = Option(
    flag="--recent",
    parse=values.integer_between(0, 100_000),
    default="0",
    metavar="N",
    help="closed connections, and requests, kept for `remora ctl\n"
    "connections --closed` and `remora ctl requests`;\n"
    "0 keeps 1,000 of each if there is an access log",
)

METRICS_SERIES_MAX: Final = Option(
    flag="--metrics-series-max",
    parse=values.integer_between(1_000, 1_000_000),
    default="2000",
    metavar="N",
    help="series of a scrape; services that come when they are\n"
    "used up share those of service=other",
)
METRICS_IDLE: Final = Option(
    flag="--metrics-idle",
    parse=values.duration_between("0", "720h"),
    default="1h",
    metavar="TIME",
    help="without requests for so long, a service's series are put\n"
    "away until the next one; 0 is never",
)

RECENT_WITH_ACCESS_LOG: Final = 1_000
LISTENERS_MAX: Final = 64  # of a worker: fast/limits.pxd

GROUPS: Final = (
    Group(
        "Listeners",
        (
            OUTBOUND,
            INBOUND,
            NO_INTERCEPTION,
            LISTEN,
            LISTEN_INBOUND,
            LISTEN_HOSTS,
            ADMIN,
            CONTROL,
            CONTROL_LISTEN,
        ),
    ),
    Group("Capacity", (WORKERS, CONNECTIONS_MAX, UNKNOWN_MAX)),
    Group(
        "Connections",
        (
            CONNECT_TIMEOUT,
            CONNECT_TIMEOUT_INBOUND,
            IDLE_TIMEOUT,
            HALF_OPEN_TIMEOUT,
            KEEPALIVE,
            USER_TIMEOUT,
            DETECT_BYTES_MAX,
            NO_SPLICE,
        ),
    ),
    http_options.GROUP,
    services.GROUP,
    mesh_options.GROUP,
    policy_options.GROUP,
    Group("Metrics", (METRICS_SERIES_MAX, METRICS_IDLE)),
    Group("Drain", (DRAIN_DELAY, DRAIN_DEADLINE)),
    Group("Logs", (LOG_LEVEL, LOG_FORMAT, ACCESS_LOG, RECENT)),
)

USAGE: Final = """\
usage: remora proxy [flags]

Take in a pod's TCP connections and hand them on, measured.
Every flag has a variable: --drain-delay is REMORA_DRAIN_DELAY. A flag wins over its variable, an
empty variable counts as unset, repeated flags are comma separated in the variable (--service by
spaces)."""

EXAMPLES: Final = """\
Examples:
  remora proxy                                         beside `remora init`, in a pod
  remora proxy --no-interception --listen 127.0.0.1:8080=example.org:80 --log-format text
                                                       on a laptop: one port in front of one target
  REMORA_DRAIN_DELAY=5s remora proxy --access-log json
  remora ctl status                                    ask the running proxy

Exit codes: 0 drained; 1 forced by a second signal; 64 bad configuration, nothing was opened;
71 the system refused a port, a file or a name; 70 a fault of remora itself."""


class Config(NamedTuple):
    """Settings of one proxy process, checked. Times in milliseconds where the name says so."""

    outbound: tuple[Address, ...]
    outbound_is_default: bool  # an IPv6 address nobody asked for may be left out
    inbound: tuple[Address, ...]
    inbound_is_default: bool
    forwards: tuple[Forward, ...]
    inbound_forwards: tuple[Forward, ...]  # policies apply
    host_listeners: tuple[Address, ...]  # requests go where Host says
    admin: Address | None
    control: str | None  # AUTO, or a path
    control_listen: Address | None
    workers: int
    connections_max: int | None  # None: from the limit of open files
    unknown_max: int  # connections to destinations without a Service; 0: no limit of their own
    connect_ms: int
    connect_inbound_ms: int
    idle_ms: int
    half_open_ms: int
    keepalive: Keepalive
    user_timeout_ms: int
    detect_bytes_max: int
    splice: bool
    http: http_options.HttpConfig
    mesh: mesh_options.MeshConfig
    services: tuple[Service, ...]
    opaque_ports: tuple[int, ...]
    policy: policy_options.PolicyConfig
    metrics_series_max: int
    metrics_idle_ms: int
    drain_delay_ms: int
    drain_deadline_ms: int
    log_level: str
    log_format: str
    access_log: str
    recent: int
    effective: Mapping[str, Effective]
    set_by: Mapping[str, str]

    def as_text(self) -> dict[str, str]:
        """Return every setting as an operator would write it."""
        return {key: setting.text for key, setting in self.effective.items()}


class ConfigError(Exception):
    """The configuration is wrong. `faults` has a sentence for each fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


class HelpWanted(Exception):  # noqa: N818 - not an error
    """Somebody asked for --help. The argument is the page."""


def read_config(arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Build the configuration of a proxy, or raise ConfigError with all that is wrong with it."""
    reader = Reader(GROUPS, arguments, environ)
    if reader.wants_help:
        raise HelpWanted(help_text(USAGE, GROUPS, EXAMPLES))
    config = _read(reader)
    faults = reader.faults or _contradictions(config, reader)
    faults += reader.stray_words(reader.words)
    if faults:
        raise ConfigError(faults)
    return config


def _read(reader: Reader) -> Config:
    off = reader.one(NO_INTERCEPTION)
    outbound, inbound = reader.many(OUTBOUND), reader.many(INBOUND)
    control = reader.one(CONTROL)
    access_log = reader.one(ACCESS_LOG)
    recent = reader.one(RECENT) or (RECENT_WITH_ACCESS_LOG if access_log != "off" else 0)
    return Config(
        outbound=() if off else outbound,
        outbound_is_default=reader.is_default(OUTBOUND),
        inbound=() if off else inbound,
        inbound_is_default=reader.is_default(INBOUND),
        forwards=reader.many(LISTEN),
        inbound_forwards=reader.many(LISTEN_INBOUND),
        host_listeners=reader.many(LISTEN_HOSTS),
        admin=reader.one(ADMIN),
        control=None if control == "off" else control,
        control_listen=reader.one(CONTROL_LISTEN),
        workers=reader.one(WORKERS),
        connections_max=reader.one(CONNECTIONS_MAX),
        unknown_max=reader.one(UNKNOWN_MAX),
        connect_ms=reader.one(CONNECT_TIMEOUT),
        connect_inbound_ms=reader.one(CONNECT_TIMEOUT_INBOUND),
        idle_ms=reader.one(IDLE_TIMEOUT),
        half_open_ms=reader.one(HALF_OPEN_TIMEOUT),
        keepalive=reader.one(KEEPALIVE),
        user_timeout_ms=reader.one(USER_TIMEOUT),
        detect_bytes_max=reader.one(DETECT_BYTES_MAX),
        splice=not reader.one(NO_SPLICE),
        http=http_options.read_http(reader),
        mesh=mesh_options.read_mesh(reader),
        services=reader.many(services.SERVICE),
        opaque_ports=reader.one(services.OPAQUE_PORTS),
        policy=policy_options.read_policy(reader),
        metrics_series_max=reader.one(METRICS_SERIES_MAX),
        metrics_idle_ms=reader.one(METRICS_IDLE),
        drain_delay_ms=reader.one(DRAIN_DELAY),
        drain_deadline_ms=reader.one(DRAIN_DEADLINE),
        log_level=reader.one(LOG_LEVEL),
        log_format=reader.one(LOG_FORMAT),
        access_log=access_log,
        recent=recent,
        effective=reader.effective,
        set_by=reader.set_by(),
    )


def _contradictions(config: Config, reader: Reader) -> list[str]:
    """Return faults of settings that are right one by one and wrong together."""
    return [
        *_interception_faults(config, reader),
        *_address_faults(config, reader),
        *_drain_faults(config, reader),
        *_log_faults(config, reader),
        *_service_faults(config, reader),
        *mesh_options.mesh_faults(config.mesh, reader),
        *policy_options.policy_faults(config.policy, reader),
    ]


def _interception_faults(config: Config, reader: Reader) -> list[str]:
    if not reader.one(NO_INTERCEPTION):
        return []
    blame = reader.blame(NO_INTERCEPTION)
    faults = [
        f"{reader.blame(option)}: {reader.effective[option.key].text!r} contradicts {blame}"
        for option in (OUTBOUND, INBOUND)
        if not reader.is_default(option)
    ]
    forwards = config.forwards or config.mesh.forwards or config.inbound_forwards
    if not (forwards or config.host_listeners):
        faults.append(f"{blame}: leaves nothing to listen on (add --listen)")
    return faults


def _address_faults(config: Config, reader: Reader) -> list[str]:
    claims: list[tuple[str, Address]] = [
        *((reader.blame(OUTBOUND), address) for address in config.outbound),
        *((reader.blame(INBOUND), address) for address in config.inbound),
        *((reader.blame(LISTEN), forward.listen) for forward in config.forwards),
        *(
            (reader.blame(mesh_options.LISTEN_MTLS), forward.listen)
            for forward in config.mesh.forwards
        ),
        *((reader.blame(LISTEN_INBOUND), each.listen) for each in config.inbound_forwards),
        *((reader.blame(LISTEN_HOSTS), address) for address in config.host_listeners),
    ]
    if config.host_listeners and config.policy.manifests is None:
        faults_of_hosts = [f"{reader.blame(LISTEN_HOSTS)}: means nothing without --manifests"]
    else:
        faults_of_hosts = []
    for option, address in ((ADMIN, config.admin), (CONTROL_LISTEN, config.control_listen)):
        if address is not None:
            claims.append((reader.blame(option), address))
    faults, owners = faults_of_hosts, dict[Address, str]()
    forwards = (*config.forwards, *config.mesh.forwards, *config.inbound_forwards)
    intercepting = len(config.outbound) + len(config.inbound)
    listener_count = intercepting + len(forwards) + len(config.host_listeners)
    if listener_count > LISTENERS_MAX:
        faults.append(
            f"{reader.blame(LISTEN)}: {listener_count} listeners, {LISTENERS_MAX} at most"
        )
    for owner, address in claims:
        if address in owners and address.port != 0:
            faults.append(f"{owner}: '{address}' is taken by {owners[address]}")
        owners.setdefault(address, owner)
    faults += [
        f"{reader.blame(LISTEN)}: '{forward}' forwards to itself"
        for forward in forwards
        if forward.listen == forward.target
    ]
    listen = config.control_listen
    # Whoever reaches this port can end connections, and the socket's file mode does not guard it.
    if listen is not None and not (listen.host.startswith("127.") or listen.host == "::1"):
        faults.append(f"{reader.blame(CONTROL_LISTEN)}: '{listen}' is not a loopback address")
    return faults


def _drain_faults(config: Config, reader: Reader) -> list[str]:
    if config.drain_delay_ms == 0 or config.drain_delay_ms < config.drain_deadline_ms:
        return []
    delay, deadline = (
        reader.effective[option.key].text for option in (DRAIN_DELAY, DRAIN_DEADLINE)
    )
    return [
        f"{reader.blame(DRAIN_DELAY)}: {delay!r} is not below the drain deadline of {deadline!r}"
    ]


def _log_faults(config: Config, reader: Reader) -> list[str]:
    if config.access_log != "combined" or config.http.enabled:
        return []
    blame = reader.blame(http_options.NO_HTTP)
    return [f"{reader.blame(ACCESS_LOG)}: 'combined' has requests only, and {blame} leaves none"]


def _service_faults(config: Config, reader: Reader) -> list[str]:
    return [f"{reader.blame(services.SERVICE)}: {f}" for f in services.clashes(config.services)]


# Kubernetes sets such variables for a Service of the name "remora": they are not ours.
_KUBERNETES_MARKS: Final = ("_SERVICE_HOST", "_SERVICE_PORT", "_PORT_", "REMORA_PORT")


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return `REMORA_*` variables that no option reads: mistyped ones, most likely."""
    known = {option.variable for group in GROUPS for option in group.options}
    return sorted(
        name
        for name in environ
        if name.startswith("REMORA_")
        and name not in known
        and not any(mark in name for mark in _KUBERNETES_MARKS)
    )
