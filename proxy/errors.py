"""Words for what went wrong: exit codes, start failures, and hints for close reasons.

The data plane knows reasons as small integers; what a reason usually means to the person who reads
it stands here, once, for the access log, `remora ctl` and the documentation.
"""

from typing import Final, NamedTuple

# Exit codes, from sysexits(3) where it has a word for the case.
EXIT_OK: Final = 0
EXIT_FORCED: Final = 1  # a second signal cut connections that a drain would have let finish
EXIT_REFUSED: Final = 1  # `remora ctl`: the proxy said no
EXIT_FAULTS: Final = 1  # `remora check`: something is wrong with manifests or cluster
EXIT_CHECK_USAGE: Final = 2  # `remora check`: bad words, as with other tools that compare and lint
EXIT_USAGE: Final = 64  # EX_USAGE: a flag or variable is wrong; nothing was opened
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: `remora ctl` found no proxy, `check` no cluster
EXIT_SOFTWARE: Final = 70  # EX_SOFTWARE: our own fault
EXIT_OS: Final = 71  # EX_OSERR: the system refused a port, a file or a name


class StartError(Exception):
    """The proxy cannot start. `hint` is what to do about it; `exit_code` is the process's."""

    def __init__(self, text: str, hint: str = "", exit_code: int = EXIT_OS) -> None:
        super().__init__(text)
        self.hint = hint
        self.exit_code = exit_code


class Reason(NamedTuple):
    """What one close reason means. `flag` is Envoy's response flag where it has one, "-" if none.

    An empty hint marks an end that needs no action.
    """

    flag: str
    hint: str = ""


UNKNOWN: Final = Reason("?", "this reason has no description: report it as a bug")

# Every close reason of the data plane, by name.
REASONS: Final = {
    "open": Reason("-"),
    "ok": Reason("-"),
    "downstream_reset": Reason(
        "DC", "the downstream ended with RST: it crashed, or gave up waiting"
    ),
    "upstream_reset": Reason(
        "UC", "the upstream ended with RST: it crashed, or refused the request"
    ),
    "downstream_timeout": Reason(
        "DC", "the downstream stopped answering: did its pod or node go away? see --keepalive"
    ),
    "upstream_timeout": Reason(
        "UC", "the upstream stopped answering: did its pod or node go away? see --user-timeout"
    ),
    "connect_refused": Reason(
        "UF",
        "nothing accepts there: is the app listening on the pod's address (or 0.0.0.0) and not"
        " only on 127.0.0.1, and on this port?",
    ),
    "connect_timeout": Reason(
        "UF",
        "no answer to SYN: a NetworkPolicy or firewall that drops, an address that is gone, or a"
        " full accept queue; see --connect-timeout",
    ),
    "connect_unreachable": Reason(
        "UF", "no route: is the address right, and is this pod's network up?"
    ),
    "connect_failed": Reason(
        "UF",
        "the system refused the connect: local ports used up, or a firewall rule that rejects?",
    ),
    "source_unavailable": Reason(
        "UF",
        "127.0.0.6 or ::6 could not be used as source, or its ports ran out: did `remora init` run"
        " in this network namespace?",
    ),
    "loop": Reason(
        "NR",
        "the original destination is the proxy itself: somebody connected to its port directly, or"
        " a redirect rule misses the proxy's uid",
    ),
    "no_original_dst": Reason(
        "NR",
        "nobody redirected this connection: did it come to the proxy's port directly, or is"
        " `remora init` missing?",
    ),
    "idle_timeout": Reason("SI", "no byte for --idle-timeout: a connection leaked or forgotten?"),
    "half_open_timeout": Reason(
        "SI", "one side finished and the other said nothing for --half-open-timeout"
    ),
    "limit_connections": Reason(
        "UO", "--connections-max is reached: does somebody leak connections? else raise it"
    ),
    "no_fds": Reason("UO", "no file descriptor left: raise the limit of open files (`ulimit -n`)"),
    "no_memory": Reason("UO", "no memory left: raise the container's memory limit"),
    "drain_deadline": Reason(
        "LR", "still open at --drain-deadline: give it more time, or let the app end it sooner"
    ),
    "operator": Reason("LR", "ended by `remora ctl close`"),
    "stopped": Reason("LR", "the proxy stopped: forced by a second signal, or by a fault"),
    "flush_timeout": Reason(
        "DC", "the downstream took nothing of its answer for --http-flush-timeout"
    ),
    "tls_failed": Reason(
        "UF",
        "a mesh TLS handshake failed: remora_tls_handshake_failures_total and `remora ctl identity`"
        " say why",
    ),
    "tls_timeout": Reason(
        "UF", "a mesh TLS handshake took longer than --tls-timeout: is the peer a mesh endpoint?"
    ),
    "tls_broken": Reason(
        "UC",
        "the peer refused our certificate once the handshake was over for us (`remora ctl identity`"
        " there says why), or a record was changed on its way: who is between the two?",
    ),
    "plaintext_refused": Reason(
        "NR", "only mesh TLS may come in here (strict): is the peer in the mesh? see --mtls"
    ),
    "no_identity": Reason(
        "UF",
        "mesh TLS is due and our certificate has ended, or was never there: see"
        " `remora ctl identity`",
    ),
    "denied": Reason(
        "UAEX",
        "an authorization policy does not let it in: `remora ctl policy` shows which, and the log"
        " line `denied` who it was",
    ),
    "no_endpoint": Reason(
        "UH", "the service has no endpoint that is ready: `remora ctl config` lists them"
    ),
    "limit_upstream": Reason(
        "UO",
        "connectionPool.tcp.maxConnections of the service's DestinationRule is reached, or"
        " --unknown-connections-max for an address of no service: is it slow, or is the limit too"
        " low?",
    ),
}


def explain(reason: str) -> Reason:
    """Return what a close reason means; never fails."""
    return REASONS.get(reason, UNKNOWN)
