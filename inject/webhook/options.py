"""What `remora webhook` is told on its command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from inject import settings as known
from inject.settings import Settings
from proxy import values
from proxy.options import Group, Option, Reader
from proxy.values import Address

USAGE: Final = """\
usage: remora webhook (--tls-dir DIR | --self-signed) [flags]

Puts the sidecar into pods while the API server makes them: a mutating admission webhook, POST
/inject over HTTPS. What a pod gets, and why one gets nothing, is as with `remora inject`."""

EPILOGUE: Final = """\
A pod's annotations win over the settings here. A pod whose annotations are faulty is refused, and
told which and why.

Examples:
  remora webhook --tls-dir /var/run/remora/tls         a certificate of cert-manager, say
  remora webhook --self-signed                         makes its own, in a Secret; sets caBundle
  remora webhook --self-signed --access-log json --proxy-cpu-request 50m
  curl -s localhost:15020/ready                        if not: why not

Exit codes: 0 drained; 1 forced by a second signal; 64 bad words here, nothing was opened; 71 the
system refused a port; 70 a fault of remora itself."""


def _url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme != "https" or not parts.hostname):
        raise ValueError("is no https:// address")
    return text.rstrip("/")


LISTEN: Final = Option(
    flag="--listen",
    parse=values.address,
    default="0.0.0.0:8443,[::]:8443",
    metavar="ADDR:PORT",
    help="HTTPS, for the API server: POST /inject",
    repeatable=True,
)
ADMIN: Final = Option(
    flag="--admin",
    parse=values.address,
    default="0.0.0.0:15020,[::]:15020",
    metavar="ADDR:PORT",
    help="HTTP, for kubelet and Prometheus: /live /ready /metrics",
    repeatable=True,
)
TLS_DIR: Final = Option(
    flag="--tls-dir",
    parse=str,
    default="",
    metavar="DIR",
    help="where tls.crt and tls.key are; read again when they change",
)
SELF_SIGNED: Final = Option(
    flag="--self-signed",
    parse=values.switch,
    default="false",
    help="make a CA and a certificate, keep them in --secret, renew\n"
    "them, and keep caBundle of --configuration what it must be",
)
NAMESPACE: Final = Option(
    flag="--namespace",
    parse=known.name_of_kubernetes,
    default="remora-system",
    metavar="NAME",
    help="where the webhook runs; its own pods are left alone",
)
SERVICE: Final = Option(
    flag="--service",
    parse=known.name_of_kubernetes,
    default="remora-webhook",
    metavar="NAME",
    help="the Service by which the API server calls",
)
SECRET: Final = Option(
    flag="--secret",
    parse=known.name_of_kubernetes,
    default="remora-webhook-tls",
    metavar="NAME",
    help="the Secret of --self-signed; it is made if there is none",
)
CONFIGURATION: Final = Option(
    flag="--configuration",
    parse=known.name_of_kubernetes,
    default="remora-webhook",
    metavar="NAME",
    help="the MutatingWebhookConfiguration whose caBundle is set",
)
INTERVAL: Final = Option(
    flag="--interval",
    parse=values.duration_between("100ms", "1h"),
    default="10s",
    metavar="TIME",
    help="how often Secret and caBundle are looked at",
)
API_SERVER: Final = Option(
    flag="--api-server",
    parse=_url,
    default="",
    metavar="URL",
    help="default: as in a pod, KUBERNETES_SERVICE_HOST and _PORT",
)
_MOUNTED: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
API_CA: Final = Option(
    flag="--api-ca",
    parse=Path,
    default=f"{_MOUNTED}/ca.crt",
    metavar="FILE",
    help="who may be the API server",
)
API_TOKEN: Final = Option(
    flag="--api-token",
    parse=Path,
    default=f"{_MOUNTED}/token",
    metavar="FILE",
    help="who we are; read again for each call",
)
SHUTDOWN_DELAY: Final = Option(
    flag="--shutdown-delay",
    parse=values.duration_between("0", "1h"),
    default="5s",
    metavar="TIME",
    help="how long newcomers are served after SIGTERM: until no API\nserver knows the endpoint",
)
LOG_LEVEL: Final = Option(
    flag="--log-level",
    parse=values.choice("debug", "info", "warning", "error"),
    default="info",
    metavar="LEVEL",
    help="debug, info, warning or error; a review is info",
)
LOG_FORMAT: Final = Option(
    flag="--log-format",
    parse=values.choice("json", "text"),
    default="json",
    metavar="json|text",
    help="logs go to stderr",
)
GROUPS: Final = (
    Group("Serving", (LISTEN, ADMIN, SHUTDOWN_DELAY)),
    Group("Certificate", (TLS_DIR, SELF_SIGNED, INTERVAL)),
    Group("Names", (NAMESPACE, SERVICE, SECRET, CONFIGURATION)),
    Group("The API server, for --self-signed", (API_SERVER, API_CA, API_TOKEN)),
    Group("Logs", (LOG_LEVEL, LOG_FORMAT)),
    known.GROUP,
)


class Doors(NamedTuple):
    """Addresses; those of IPv6 may be missing here if nobody asked for them."""

    addresses: tuple[Address, ...]
    flag: str
    is_default: bool


class ApiPlace(NamedTuple):
    """Where the API server is, and how it knows us and we it."""

    url: str
    ca: Path
    token: Path


class Names(NamedTuple):
    """What the webhook's objects are called."""

    namespace: str
    service: str
    secret: str
    configuration: str

    @property
    def dns(self) -> tuple[str, ...]:
        """The names by which the webhook is called; the API server uses the first."""
        name = f"{self.service}.{self.namespace}.svc"
        return (name, f"{name}.cluster.local", f"{self.service}.{self.namespace}", self.service)


class Chosen(NamedTuple):
    """The whole command line, read. Without `tls_dir` the webhook signs itself."""

    listen: Doors
    admin: Doors
    tls_dir: Path | None
    names: Names
    api: ApiPlace
    interval_s: float
    shutdown_delay_s: float
    log_level: str
    log_format: str
    settings: Settings


def chosen(reader: Reader, environ: Mapping[str, str]) -> tuple[Chosen, list[str]]:
    """Return what was chosen, and everything that is wrong with it."""
    tls_dir, is_self_signed = reader.one(TLS_DIR), reader.one(SELF_SIGNED)
    settings = {option.key: reader.one(option) for option in known.OPTIONS}
    url = reader.one(API_SERVER) or _in_cluster(environ)
    made = Chosen(
        listen=_doors(reader, LISTEN),
        admin=_doors(reader, ADMIN),
        tls_dir=Path(tls_dir) if tls_dir else None,
        names=Names(*map(reader.one, (NAMESPACE, SERVICE, SECRET, CONFIGURATION))),
        api=ApiPlace(url, reader.one(API_CA), reader.one(API_TOKEN)),
        interval_s=reader.one(INTERVAL) / 1000,
        shutdown_delay_s=reader.one(SHUTDOWN_DELAY) / 1000,
        log_level=reader.one(LOG_LEVEL),
        log_format=reader.one(LOG_FORMAT),
        settings=settings,
    )
    faults = [*reader.faults, *reader.stray_words(reader.words)]
    if not faults:
        faults += [known.as_flag(fault) for fault in known.contradictions(settings)]
        faults += _faults_of_certificate(tls_dir, url, is_self_signed=is_self_signed)
    return made, faults


def _faults_of_certificate(tls_dir: str, url: str, *, is_self_signed: bool) -> list[str]:
    if tls_dir and is_self_signed:
        return [f"{TLS_DIR.flag} and {SELF_SIGNED.flag}: choose one of them"]
    if not tls_dir and not is_self_signed:
        return [f"needs a certificate: {TLS_DIR.flag} DIR, or {SELF_SIGNED.flag}"]
    if is_self_signed and not url:
        return [f"{SELF_SIGNED.flag}: this is no pod of a cluster: where is {API_SERVER.flag}?"]
    return []


def _doors(reader: Reader, option: Option[Address]) -> Doors:
    return Doors(reader.many(option), option.flag, reader.is_default(option))


def _in_cluster(environ: Mapping[str, str]) -> str:
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def reader_of(arguments: Sequence[str]) -> Reader:
    """Return the reader of a command line. No variable is looked at: a pod has those of others."""
    return Reader(GROUPS, arguments, {})
