"""The command line of the init step: flags, their REMORA_* twins, and the help.

A flag wins over its variable, an empty variable counts as unset, and a list is comma separated
in both places. All faults are found before anything else happens.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

from iptables import ports
from iptables.ports import Faults
from iptables.spec import Family, Network, Ports, Spec, merge_ports

Value = TypeVar("Value")

BACKENDS: Final = ("auto", "nft", "legacy", "nftables")
NO_ENTRY: Final = "none"
EVERYTHING: Final = "*"

EXAMPLES: Final = """\
examples:
  remora init
      redirect all TCP of this network namespace, IPv4 and, where it is there, IPv6
  remora init --inbound-exclude-ports 9090,9100-9110 --outbound-exclude-cidrs 169.254.169.254
      leave the pod's metrics ports and the cloud's metadata service alone
  remora init --outbound-include-cidrs 10.96.0.0/12,fd00:96::/108
      redirect outbound connections to cluster addresses only
  remora init --dry-run
      print what would be given to which tool, and change nothing
  remora init --validate
      prove with a real connection that redirection works (before the proxy starts)
  remora init --cleanup
      take every rule of remora out again

lists are comma separated and may be repeated. every flag has a twin in the environment
(--proxy-uid: REMORA_PROXY_UID); the flag wins, and an empty variable counts as unset.

exit codes: 0 done, 64 bad arguments (nothing was applied), 69 a tool or kernel module is missing,
70 the rules were not applied (and nothing is left of the attempt), 71 a port that --validate needs
is in use, 126 redirection is not as asked for.
"""


@dataclass(frozen=True)
class Flag:
    """One flag. A switch takes no value; any other value stays text until `ports` reads it."""

    name: str
    metavar: str  # empty for a switch
    text: str

    @property
    def variable(self) -> str:
        """Its twin in the environment."""
        return "REMORA_" + self.name.removeprefix("--").replace("-", "_").upper()

    @property
    def destination(self) -> str:
        """Where argparse keeps it."""
        return self.name.removeprefix("--").replace("-", "_")


FLAGS: Final = (
    Flag("--outbound-port", "PORT", "where the proxy takes outbound connections (15001)"),
    Flag("--inbound-port", "PORT", "where the proxy takes inbound connections (15006)"),
    Flag("--admin-port", "PORT", "metrics and probes of the proxy: never redirected (15020)"),
    Flag("--proxy-uid", "IDS", "users that the proxy runs as: their calls pass (1337)"),
    Flag("--proxy-gid", "IDS", "groups that the proxy runs as, or none (1337)"),
    Flag("--inbound-include-ports", "PORTS", "redirect only these, * for all, or none (*)"),
    Flag("--inbound-exclude-ports", "PORTS", "never redirect these"),
    Flag(
        "--outbound-include-ports",
        "PORTS",
        "redirect these to any address; with an include list given, only what one of them names",
    ),
    Flag("--outbound-exclude-ports", "PORTS", "never redirect these, whatever is included"),
    Flag("--outbound-include-cidrs", "CIDRS", "redirect every port of these, * for all, or none"),
    Flag("--outbound-exclude-cidrs", "CIDRS", "never redirect these, whatever is included"),
    Flag(
        "--families",
        "LIST",
        "ipv4 and ipv6, one of them, or auto: IPv6 where the namespace has it (auto)",
    ),
    Flag(
        "--backend",
        "NAME",
        "nft or legacy (variants of iptables), nftables (nft itself), or auto: the one in use"
        " in this namespace, else the default iptables, else what is there (auto)",
    ),
    Flag("--netns", "NAME", "work in this network namespace: a name, or a path to one"),
    Flag("--validate-timeout", "TIME", "how long --validate waits for a connection (5s)"),
    Flag("--dry-run", "", "print exactly what would be given to which tool; change nothing"),
    Flag("--cleanup", "", "remove every rule, chain and address that init has added"),
    Flag("--validate", "", "prove that redirection works; add and remove nothing"),
    Flag("--json", "", "print the result as one JSON object"),
)


@dataclass(frozen=True)
class Options:
    """One command line, understood."""

    spec: Spec
    netns: str
    validate_timeout_s: float
    dry_run: bool
    cleanup: bool
    validate: bool
    json: bool


class BadArgumentsError(Exception):
    """Every fault of the command line and the environment, one line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end the process with a code of its own."""

    def error(self, message: str) -> NoReturn:
        raise BadArgumentsError([message])


def _parser() -> _Parser:
    parser = _Parser(
        prog="remora init",
        description="Redirect the TCP traffic of this network namespace to the proxy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flag in FLAGS:
        text = f"{flag.text} [{flag.variable}]".replace("%", "%%")
        if flag.metavar:
            parser.add_argument(flag.name, action="append", metavar=flag.metavar, help=text)
        else:
            parser.add_argument(flag.name, action="store_const", const=["true"], help=text)
    return parser


class _Reader:
    """Looks each flag up, on the command line first; gathers the faults."""

    def __init__(self, given: Mapping[str, list[str] | None], environ: Mapping[str, str]) -> None:
        self.faults = Faults()
        self._given = given
        self._environ = environ

    def _find(self, name: str) -> tuple[str, list[str]]:
        """Give where the value came from, and its words; no words if it was not given."""
        flag = next(flag for flag in FLAGS if flag.name == name)
        texts = self._given[flag.destination]
        if texts:
            return flag.name, [word for text in texts for word in ports.words(text)]
        text = self._environ.get(flag.variable, "")
        return flag.variable, ports.words(text) if text.strip() else []

    def one(self, name: str, parser: Callable[[str], Value], default: Value) -> Value:
        """Give a single value; two of them are a fault, not a question of which one wins."""
        origin, found = self._find(name)
        if len(found) > 1:
            self.faults.add(origin, ",".join(found), "is more than one value")
            return default
        return self.faults.parse(origin, found[0], parser, default) if found else default

    def many(
        self,
        name: str,
        parser: Callable[[str], Value],
        *alone: str,
    ) -> tuple[str, list[Value]] | None:
        """Give a list, or None if it was not given.

        The first half of the answer is the word out of `alone` that stood there by itself.
        """
        origin, found = self._find(name)
        if not found:
            return None
        if len(found) == 1 and found[0] in alone:
            return found[0], []
        return "", ports.each(self.faults, origin, found, parser)

    def included_ports(self, name: str) -> Ports | None:
        """Give the ports, None for "not given", and every port for the asterisk."""
        answer = self.many(name, ports.port_range, EVERYTHING, NO_ENTRY)
        if answer is None:
            return None
        return ports.EVERY_PORT if answer[0] == EVERYTHING else merge_ports(answer[1])

    def included_networks(self, name: str) -> tuple[Network, ...] | None:
        """Give the blocks, None for "not given", and both families for the asterisk."""
        answer = self.many(name, ports.network, EVERYTHING, NO_ENTRY)
        if answer is None:
            return None
        return ports.EVERY_NETWORK if answer[0] == EVERYTHING else ports.merge_networks(answer[1])

    def excluded_ports(self, name: str) -> Ports:
        """Give the ports, if any."""
        answer = self.many(name, ports.port_range, NO_ENTRY)
        return merge_ports(answer[1]) if answer else ()

    def excluded_networks(self, name: str) -> tuple[Network, ...]:
        """Give the blocks, if any."""
        answer = self.many(name, ports.network, NO_ENTRY)
        return ports.merge_networks(answer[1]) if answer else ()

    def identities(self, name: str, default: tuple[int, ...], *alone: str) -> tuple[int, ...]:
        """Give users or groups, sorted."""
        answer = self.many(name, ports.identity, *alone)
        return default if answer is None else tuple(sorted(set(answer[1])))

    def families(self) -> tuple[Family, ...] | None:
        """Give the families in order, None for "auto"."""
        answer = self.many("--families", ports.family, "auto")
        if answer is None or answer[0]:
            return None
        return tuple(family for family in Family if family in answer[1])

    def switch(self, name: str) -> bool:
        """Tell whether a flag without a value is on."""
        return self.one(name, ports.switch, default=False)


def _spec(reader: _Reader) -> Spec:
    spec = Spec(
        outbound_port=reader.one("--outbound-port", ports.port, Spec.outbound_port),
        inbound_port=reader.one("--inbound-port", ports.port, Spec.inbound_port),
        admin_port=reader.one("--admin-port", ports.port, Spec.admin_port),
        uids=reader.identities("--proxy-uid", Spec.uids),
        gids=reader.identities("--proxy-gid", Spec.gids, NO_ENTRY),
        inbound_include_ports=reader.included_ports("--inbound-include-ports"),
        inbound_exclude_ports=reader.excluded_ports("--inbound-exclude-ports"),
        outbound_include_ports=reader.included_ports("--outbound-include-ports"),
        outbound_exclude_ports=reader.excluded_ports("--outbound-exclude-ports"),
        outbound_include_cidrs=reader.included_networks("--outbound-include-cidrs"),
        outbound_exclude_cidrs=reader.excluded_networks("--outbound-exclude-cidrs"),
        families=reader.families(),
        backend=reader.one("--backend", ports.one_of(*BACKENDS), "auto"),
    )
    own = {"--outbound-port": spec.outbound_port, "--inbound-port": spec.inbound_port}
    if spec.outbound_port == spec.inbound_port:
        reader.faults.add("--inbound-port", str(spec.inbound_port), "is --outbound-port as well")
    for name, number in own.items():
        if number == spec.admin_port:
            reader.faults.add("--admin-port", str(number), f"is {name} as well")
    return spec


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Understand a whole command line, or raise BadArgumentsError with all its faults.

    --help prints and raises SystemExit(0), as argparse does.
    """
    given, unknown = _parser().parse_known_args(argv)
    reader = _Reader(vars(given), environ)
    for word in unknown:
        reader.faults.add("remora init", word, "is not a flag of this command; see --help")
    options = Options(
        spec=_spec(reader),
        netns=reader.one("--netns", str, ""),
        validate_timeout_s=reader.one("--validate-timeout", ports.duration, 5.0),
        dry_run=reader.switch("--dry-run"),
        cleanup=reader.switch("--cleanup"),
        validate=reader.switch("--validate"),
        json=reader.switch("--json"),
    )
    for name, on in (("--cleanup", options.cleanup), ("--dry-run", options.dry_run)):
        if options.validate and on:
            reader.faults.add("--validate", name, "does not go with it")
    if reader.faults.lines:
        raise BadArgumentsError(reader.faults.lines)
    return options
