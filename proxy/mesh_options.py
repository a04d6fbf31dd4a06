"""Flags of mesh TLS: who we are, who may come in, and who is known to be meshed."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from proxy import values
from proxy.identity import spiffe
from proxy.options import Group, Option, Reader
from proxy.policy.paths import normalize
from proxy.policy.rows import PROBE_BYTES_MAX, PROBES_MAX
from proxy.values import Address, Forward

# Who may come in: the data plane's words, in its order.
DISABLE: Final = "disable"
PERMISSIVE: Final = "permissive"
STRICT: Final = "strict"
MODES: Final = (DISABLE, PERMISSIVE, STRICT)


# Who reads and writes TLS records after the handshake.
AUTO: Final = "auto"
OPENSSL: Final = "openssl"

# In place of an identity: a port of a meshed endpoint that takes plaintext.
PLAIN: Final = ""


class MeshEndpoint(NamedTuple):
    """An endpoint that speaks mesh TLS, and the identity expected of it. Port 0: every port."""

    host: str
    port: int
    identity: str

    def __str__(self) -> str:
        """Return the text that `mesh_endpoint` reads."""
        if self.port:
            return f"{Address(self.host, self.port)}={self.identity}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}={self.identity}"


def mesh_endpoint(text: str) -> MeshEndpoint:
    """Read "10.0.0.7=spiffe://cluster.local/ns/shop/sa/web", or with a port."""
    where, equals, who = text.partition("=")
    if not equals:
        raise ValueError("has no identity (write ADDR[:PORT]=SPIFFE_ID)")
    try:
        identity = spiffe.parse(who)
    except spiffe.SpiffeError as fault:
        raise ValueError(f"has a bad identity {who!r}: it {fault}") from None
    bare = where.removeprefix("[").removesuffix("]")
    if values.is_ip(bare):
        # The port only for the check, and the one spelling of the address.
        return MeshEndpoint(values.endpoint(str(Address(bare, 1))).host, 0, str(identity))
    return MeshEndpoint(*values.endpoint(where), str(identity))


def port_modes(text: str) -> dict[int, str]:
    """Read "8080=strict,9090=disable"."""
    modes = {}
    for part in filter(None, text.split(",")):
        port, _, mode = part.partition("=")
        if mode not in MODES:
            raise ValueError(f"has a bad part {part!r} (write PORT=strict, permissive or disable)")
        modes[values.integer_between(1, values.PORT_MAX)(port)] = mode
    return modes


def probe_paths(text: str) -> tuple[tuple[int, bytes], ...]:
    """Read "8080/healthz,9090/": a port, and a path in its one form."""
    probes = []
    for part in filter(None, text.split(",")):
        port, slash, path = part.partition("/")
        form = normalize(f"/{path.partition('?')[0]}".encode())
        if not slash or form is None or len(form) > PROBE_BYTES_MAX:
            raise ValueError(f"has a bad part {part!r} (write PORT/PATH)")
        probes.append((values.integer_between(1, values.PORT_MAX)(port), form))
    if len(probes) > PROBES_MAX:
        raise ValueError(f"has {len(probes)} probes; {PROBES_MAX} are the most")
    return tuple(dict.fromkeys(probes))


IDENTITY: Final = Option(
    flag="--identity",
    parse=lambda text: Path(text) if text else None,
    default="",
    metavar="DIR",
    help="our certificate and key, and who is trusted: tls.crt, tls.key,\n"
    "ca.crt (cert-manager's CSI driver, `remora identity issue`), read\n"
    "again when they change; without it there is no mesh TLS",
)
MTLS: Final = Option(
    flag="--mtls",
    parse=values.choice(*MODES),
    default=PERMISSIVE,
    metavar="MODE",
    help="who may come in: strict (mesh TLS only), permissive (that and\n"
    "everything else) or disable",
)
MTLS_PORTS: Final = Option(
    flag="--mtls-ports",
    parse=port_modes,
    default="",
    metavar="PORT=MODE[,..]",
    help="ports of this pod where it is another",
)
PROBES: Final = Option(
    flag="--probes",
    parse=probe_paths,
    default="",
    metavar="PORT/PATH[,..]",
    help="what the kubelet asks our application over HTTP: on strict ports\n"
    "plaintext GET and HEAD for it are let in",
)
MESH: Final = Option(
    flag="--mesh",
    parse=mesh_endpoint,
    default="",
    metavar="ADDR[:PORT]=ID",
    repeatable=True,
    help="an endpoint that speaks mesh TLS, and the SPIFFE ID expected of it",
)
LISTEN_MTLS: Final = Option(
    flag="--listen-mtls",
    parse=values.forward,
    default="",
    metavar="ADDR:PORT=TARGET:PORT",
    repeatable=True,
    help="as --listen, but who comes must speak mesh TLS",
)
TLS_TIMEOUT: Final = Option(
    flag="--tls-timeout",
    parse=values.duration_between("1ms", "1h"),
    default="5s",
    metavar="TIME",
    help="for a whole handshake",
)
SERVER_FIRST_WAIT: Final = Option(
    flag="--server-first-wait",
    parse=values.duration_between("0", "1m"),
    default="250ms",
    metavar="TIME",
    help="permissive only: how long the first word of an application is\n"
    "held back for a peer that may be about to begin mesh TLS",
)
TLS_RECORDS: Final = Option(
    flag="--tls-records",
    parse=values.choice(AUTO, OPENSSL),
    default=AUTO,
    metavar="WHO",
    help="who reads and writes after a handshake: auto (we, with the ciphers\n"
    "of the system's libcrypto if it has one: a sixth of the memory) or\n"
    "openssl (the OpenSSL of the handshake)",
)
GROUP: Final = Group(
    "Mesh TLS",
    (
        *(IDENTITY, MTLS, MTLS_PORTS, PROBES, MESH, LISTEN_MTLS, TLS_TIMEOUT, SERVER_FIRST_WAIT),
        TLS_RECORDS,
    ),
)


class MeshConfig(NamedTuple):
    """Settings of mesh TLS. Times in milliseconds."""

    identity: Path | None
    mode: str
    endpoints: tuple[MeshEndpoint, ...]
    forwards: tuple[Forward, ...]
    tls_ms: int
    server_first_ms: int
    ports: Mapping[int, str] = MappingProxyType({})
    probes: tuple[tuple[int, bytes], ...] = ()
    records: str = AUTO

    def settings(self) -> dict[str, int]:
        """Return what a snapshot holds of it as plain numbers."""
        return {"tls_ms": self.tls_ms, "server_first_ms": self.server_first_ms}


def read_mesh(reader: Reader) -> MeshConfig:
    """Read the flags of this group."""
    return MeshConfig(
        identity=reader.one(IDENTITY),
        mode=reader.one(MTLS),
        ports=reader.one(MTLS_PORTS),
        probes=reader.one(PROBES),
        endpoints=reader.many(MESH),
        forwards=reader.many(LISTEN_MTLS),
        tls_ms=reader.one(TLS_TIMEOUT),
        server_first_ms=reader.one(SERVER_FIRST_WAIT),
        records=reader.one(TLS_RECORDS),
    )


def mesh_faults(config: MeshConfig, reader: Reader) -> list[str]:
    """Return what makes no sense without an identity, and endpoints that were given twice."""
    faults = []
    if config.identity is None:
        wanting = [
            (MTLS, config.mode == STRICT),
            (MTLS_PORTS, STRICT in config.ports.values()),
            (MESH, bool(config.endpoints)),
            (LISTEN_MTLS, bool(config.forwards)),
        ]
        faults += [
            f"{reader.blame(option)}: needs a certificate to show (add --identity)"
            for option, is_wanting in wanting
            if is_wanting
        ]
    seen: set[tuple[str, int]] = set()
    for endpoint in config.endpoints:
        if endpoint[:2] in seen:
            faults.append(f"{reader.blame(MESH)}: '{endpoint}' is there twice")
        seen.add(endpoint[:2])
    return faults
