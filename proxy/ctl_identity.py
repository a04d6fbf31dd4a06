"""Mesh TLS on a terminal: `ctl identity`, and its line of `ctl status`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.ctl_table import hints, printable, table
from proxy.identity.page import identity_page, left, length
from proxy.tls_failures import explain_failure

Answer = Mapping[str, Any]  # decoded JSON: its shape is tls_status.py's

NO_IDENTITY: Final = """\
no identity: this proxy was started without --identity, so it neither speaks nor takes mesh TLS

  to try it: `remora identity ca ./ca`, `remora identity issue ./web --ca ./ca`, and start the proxy
  with --identity ./web; in a cluster, mount a certificate (docs/mtls.md says which layouts)"""

EXPIRED: Final = """\
EXPIRED: no mesh connection is made or let in until the certificate is renewed; is its issuer up?

"""


def identity(answer: Answer) -> str:
    """Return the page of `ctl identity`."""
    if answer["identity"] is None:
        return NO_IDENTITY
    parts = [
        identity_page(answer),
        _facts(answer),
        _handshakes(answer["handshakes"]),
        _failures(answer["failures"]),
    ]
    warning = EXPIRED if answer["seconds_left"] <= 0 else ""
    return warning + "\n\n".join(filter(None, parts))


def in_short(short: Answer | None) -> str:
    """Return what `ctl status` says."""
    if short is None:
        return "off (no --identity)"
    seconds = short["seconds_left"]
    ends = f"ends in {length(seconds)}" if seconds > 0 else f"EXPIRED {left(seconds)}"
    return f"{short['identity']}, {short['mode']}, {ends}, {_share(short['mesh_share'])}"


def _facts(answer: Answer) -> str:
    ports = "".join(f", {port} {mode}" for port, mode in answer["ports"].items())
    rows = [
        ("who may come in:", answer["mode"] + ports),
        ("mesh endpoints:", ", ".join(answer["endpoints"]) or "none (see --mesh)"),
        ("share of mesh traffic:", _share(answer["mesh_share"])),
        ("in use since:", answer["since"]),
        ("rotations:", str(answer["rotations"])),
        ("failed updates:", _failed_updates(answer)),
        ("bundle generation:", f"{answer['bundle_generation']}, roots {len(answer['roots'])}"),
    ]
    return table(rows[0], rows[1:])


def _failed_updates(answer: Answer) -> str:
    if not answer["update_failures"]:
        return "0"
    why = printable(answer["last_update_failure"])
    return f"{answer['update_failures']}, the last one at {answer['last_update_failure_at']}: {why}"


def _share(share: float | None) -> str:
    # Rounded down: 100 % is said only of what is.
    return "no traffic yet" if share is None else f"{int(share * 1000) / 10:g}% in mesh TLS"


def _handshakes(by_role: Answer) -> str:
    columns = ("open", "done", "failed")
    rows = [(role, *(str(counts[name]) for name in columns)) for role, counts in by_role.items()]
    return table(("MESH TLS", "OPEN", "HANDSHAKES", "FAILED"), rows)


def _failures(rows: Sequence[Answer]) -> str:
    if not rows:
        return ""
    body = [(row["reason"], row["role"], str(row["count"])) for row in rows]
    return table(("FAILURE", "ROLE", "COUNT"), body) + hints(
        {reason: _advice(reason) for reason, _, _ in body}
    )


def _advice(reason: str) -> str:
    failure = explain_failure(reason)
    return f"{failure.text}: {failure.hint}"
