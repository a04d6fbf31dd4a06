"""`remora ctl`: ask the proxy of this pod, or tell it something.

It is a hook of the pod, too, so what only pages need is imported by them.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from proxy import values
from proxy.ctl_call import RefusedError, UnavailableError, call
from proxy.errors import EXIT_OK, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE
from proxy.options import Group, Option, Reader, help_text
from proxy.values import Address

USAGE: Final = """\
usage: remora ctl COMMAND [flags]

  status             what the proxy is, what it listens on, what it has done
  connections        open connections; --closed: those that ended last
  requests           HTTP requests that ended last
  identity           who this pod is in the mesh, until when, and how handshakes went
  policy             who may come in, as the manifests say, and faults
  config [SERVICE]   what the manifests say of traffic: services, endpoints, routes; faults, notes
  why METHOD URL     what would become of a request, and why; --from, --header, --inbound
  close ID           reset one connection
  wait               return when the proxy is ready: the postStart hook of a classic sidecar
  drain              take no new inbound connection, finish the others; the process stays
  log-level [LEVEL]  show or set: debug, info, warning, error"""

EPILOGUE: Final = """\
Examples:
  kubectl exec POD -c remora -- remora ctl status
  remora ctl connections --closed --limit 20
  remora ctl requests --limit 20
  remora ctl why GET http://web.shop/cart --header 'x-team: red'
  remora ctl drain --wait

Exit codes: 0 done; 1 the proxy said no; 64 bad words here; 69 no proxy found."""


# As long as the startup probe of a native sidecar.
_READY_S_MAX: Final = 120.0
_ASK_AGAIN_S: Final = 0.05


def _place(text: str) -> str | Address | None:
    if text == "auto":
        return None
    return values.path(text) if text.startswith("/") else values.address(text)


CONTROL: Final = Option(
    flag="--control",
    parse=_place,
    default="auto",
    metavar="PATH|ADDR:PORT",
    help="where the proxy takes commands; auto looks where\na proxy puts its socket",
)
AS_JSON: Final = Option(
    flag="--json", parse=values.switch, default="false", help="print the proxy's JSON as it is"
)
OUTPUT: Final = Option(
    flag="-o",
    parse=values.choice("text", "json"),
    default="text",
    metavar="text|json",
    help="-o json is --json",
)
FROM: Final = Option(
    flag="--from",
    parse=str,
    default="",
    metavar="SPIFFE_ID",
    help="why: who asks, as mesh TLS proves it",
)
HEADER: Final = Option(
    flag="--header",
    parse=str,
    default="",
    metavar="'NAME: VALUE'",
    repeatable=True,
    help="why: a header of the request",
)
INBOUND: Final = Option(
    flag="--inbound",
    parse=values.switch,
    default="false",
    help="why: a request that comes in to our own pod",
)
CLOSED: Final = Option(
    flag="--closed", parse=values.switch, default="false", help="connections: those that ended"
)
LIMIT: Final = Option(
    flag="--limit",
    parse=values.integer_between(1, 100_000),
    default="1000",
    metavar="N",
    help="connections, requests and config: how many",
)
WAIT: Final = Option(
    flag="--wait", parse=values.switch, default="false", help="drain: return when it is finished"
)
GROUPS: Final = (
    Group("Flags", (CONTROL, AS_JSON, OUTPUT, CLOSED, LIMIT, WAIT, FROM, HEADER, INBOUND)),
)


class Asked(NamedTuple):
    """What the command line asks for."""

    place: str | Address | None
    closed: bool
    limit: int
    wait: bool
    words: tuple[str, ...] = ()  # the arguments of the command
    peer: str = ""
    headers: tuple[str, ...] = ()
    inbound: bool = False

    @property
    def word(self) -> str:
        """The argument of a command that has one, "" if none was given."""
        return self.words[0] if self.words else ""


class Command(NamedTuple):
    """How a command gets its answer, and how the answer looks. `words` name its arguments."""

    run: Callable[[Asked], dict[str, Any]]
    text: Callable[[Asked, dict[str, Any]], str]
    words: tuple[str, ...] = ()
    are_words_needed: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    # The socket's place is the proxy's own setting, so its variable counts here too; the other
    # flags are nobody's settings.
    environ = {CONTROL.variable: os.environ.get(CONTROL.variable, "")}
    reader = Reader(GROUPS, arguments, environ)
    name, *words = reader.words or [""]
    asked = Asked(
        reader.one(CONTROL),
        reader.one(CLOSED),
        reader.one(LIMIT),
        reader.one(WAIT),
        tuple(words),
        reader.one(FROM),
        tuple(filter(None, reader.many(HEADER))),
        reader.one(INBOUND),
    )
    is_json = reader.one(AS_JSON) or reader.one(OUTPUT) == "json"
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, GROUPS, EPILOGUE))
        return EXIT_OK
    faults = [*reader.faults, *_word_faults(name, words, reader)]
    if faults:
        for fault in faults:
            _complain(fault)
        return EXIT_USAGE
    return _run(_COMMANDS[name], asked, as_json=is_json)


def _run(command: Command, asked: Asked, *, as_json: bool) -> int:
    try:
        answer = command.run(asked)
    except UnavailableError as fault:
        _complain(str(fault))
        return EXIT_UNAVAILABLE
    except RefusedError as fault:
        _complain(str(fault))
        return EXIT_REFUSED
    text = json.dumps(answer, indent=2) if as_json else command.text(asked, answer)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return EXIT_OK


def _word_faults(name: str, words: Sequence[str], reader: Reader) -> list[str]:
    command = _COMMANDS.get(name)
    if command is None:
        return [f"{name!r} is no command ({', '.join(_COMMANDS)})"]
    if len(words) > len(command.words):
        return reader.stray_words(words[len(command.words) :])
    if command.are_words_needed and len(words) < len(command.words):
        return [f"{name} needs {' '.join(command.words)}"]
    if name == "close" and not (words[0].isascii() and words[0].isdigit()):
        return [f"{words[0]!r} is no id of a connection (a number; see `remora ctl connections`)"]
    return []


def _status(asked: Asked) -> dict[str, Any]:
    return call(asked.place, "/status")


def _connections(asked: Asked) -> dict[str, Any]:
    closed = "&closed=1" if asked.closed else ""
    return call(asked.place, f"/connections?limit={asked.limit}{closed}")


def _requests(asked: Asked) -> dict[str, Any]:
    return call(asked.place, f"/requests?limit={asked.limit}")


def _identity(asked: Asked) -> dict[str, Any]:
    return call(asked.place, "/identity")


def _policy(asked: Asked) -> dict[str, Any]:
    return call(asked.place, "/policy")


def _config(asked: Asked) -> dict[str, Any]:
    from urllib.parse import quote  # noqa: PLC0415 - see above

    return call(asked.place, f"/traffic?limit={asked.limit}&service={quote(asked.word)}")


def _why(asked: Asked) -> dict[str, Any]:
    from urllib.parse import quote  # noqa: PLC0415 - see above

    method, url = asked.words
    words = {
        "method": method,
        "url": url,
        "from": asked.peer,
        "headers": "\n".join(asked.headers),
        "inbound": str(int(asked.inbound)),
    }
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in words.items())
    return call(asked.place, f"/why?{query}")


def _close(asked: Asked) -> dict[str, Any]:
    return call(asked.place, "/close", {"id": int(asked.word)})


def _wait(asked: Asked) -> dict[str, Any]:
    """Ask until the proxy is ready. A proxy that only starts does not answer yet."""
    until = time.monotonic() + _READY_S_MAX
    while True:
        try:
            answer = call(asked.place, "/status")
        except UnavailableError:
            if time.monotonic() > until:
                raise
            answer = {}
        if answer.get("ready"):
            return {"state": "ready"}
        if time.monotonic() > until:
            raise RefusedError(f"not ready after {_READY_S_MAX:g} s")
        time.sleep(_ASK_AGAIN_S)


def _drain(asked: Asked) -> dict[str, Any]:
    return call(asked.place, "/drain", {"wait": asked.wait}, is_patient=asked.wait)


def _log_level(asked: Asked) -> dict[str, Any]:
    if asked.word:
        return call(asked.place, "/log-level", {"level": asked.word})
    return {"level": call(asked.place, "/status")["log_level"]}


def _status_page(_asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_text  # noqa: PLC0415 - see above

    return ctl_text.status(answer)


def _connections_page(asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_text  # noqa: PLC0415 - see above

    return ctl_text.connections(answer, closed=asked.closed)


def _requests_page(_asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_http  # noqa: PLC0415 - see above

    return ctl_http.requests(answer)


def _identity_page(_asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_identity  # noqa: PLC0415 - see above

    return ctl_identity.identity(answer)


def _policy_page(_asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_policy  # noqa: PLC0415 - see above

    return ctl_policy.policy(answer)


def _config_page(asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_config  # noqa: PLC0415 - see above

    return ctl_config.config(answer, is_detailed=bool(asked.word))


def _why_page(_asked: Asked, answer: dict[str, Any]) -> str:
    from proxy import ctl_why  # noqa: PLC0415 - see above

    return ctl_why.why(answer)


_COMMANDS: Final = {
    "status": Command(_status, _status_page),
    "connections": Command(_connections, _connections_page),
    "requests": Command(_requests, _requests_page),
    "identity": Command(_identity, _identity_page),
    "policy": Command(_policy, _policy_page),
    "config": Command(_config, _config_page, ("SERVICE",)),
    "why": Command(_why, _why_page, ("METHOD", "URL"), are_words_needed=True),
    "close": Command(
        _close,
        lambda asked, _: f"connection {asked.word} is reset",
        ("ID",),
        are_words_needed=True,
    ),
    "wait": Command(_wait, lambda _, answer: answer["state"]),
    "drain": Command(_drain, lambda _, answer: answer["state"]),
    "log-level": Command(_log_level, lambda _, answer: answer["level"], ("LEVEL",)),
}


def _complain(text: str) -> None:
    sys.stderr.write(f"remora ctl: {text}\n")
