"""The `remora` command: which sub-command, and nothing of what they do.

Sub-commands are imported when they are called: `remora ctl` must answer without loading the proxy.
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from proxy import __version__
from proxy.errors import EXIT_OK, EXIT_SOFTWARE, EXIT_USAGE

USAGE: Final = """\
usage: remora COMMAND [flags]

  proxy     run the sidecar proxy
  init      redirect this network namespace's traffic to it
  ctl       ask a running proxy, or tell it something
  check     are the manifests of a directory good? is all well in a cluster?
  inject    put the sidecar into manifests
  uninject  and take it out again
  webhook   put it in while the API server makes pods
  identity  a development CA, and a look at certificates
  version   print what this is

`remora COMMAND --help` explains a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        _complain(USAGE)
        return EXIT_USAGE
    name, rest = words[0], words[1:]
    if name in {"-h", "--help", "help"}:
        _say(USAGE)
        return EXIT_OK
    command = _COMMANDS.get(name)
    if command is None:
        _complain(f"remora: {name!r} is no command ({', '.join(_COMMANDS)})")
        return EXIT_USAGE
    try:
        return command(rest)
    except KeyboardInterrupt:
        return 130  # as a shell reports SIGINT
    except BrokenPipeError:
        # Whoever read our output has enough. Nothing may be flushed into the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _proxy(arguments: Sequence[str]) -> int:
    from proxy.config import ConfigError, HelpWanted, read_config  # noqa: PLC0415 - see above

    try:
        config = read_config(arguments, os.environ)
    except HelpWanted as wanted:
        _say(str(wanted))
        return EXIT_OK
    except ConfigError as wrong:
        for fault in wrong.faults:
            _complain(f"remora proxy: {fault}")
        return EXIT_USAGE
    # Starting makes many objects and no garbage. app.py switches the collector on again.
    gc.disable()
    try:
        from proxy.app import run  # noqa: PLC0415 - a wrong word is refused before the loop loads
    except ImportError as fault:
        _complain(f"remora proxy: not installed whole: {fault} (build it with `make build`)")
        return EXIT_SOFTWARE
    return run(config)


def _init(arguments: Sequence[str]) -> int:
    from iptables.__main__ import main as init_main  # noqa: PLC0415 - see above

    return init_main(list(arguments))


def _ctl(arguments: Sequence[str]) -> int:
    from proxy.ctl import main as ctl_main  # noqa: PLC0415 - see above

    return ctl_main(arguments)


def _check(arguments: Sequence[str]) -> int:
    from proxy.check import main as check_main  # noqa: PLC0415 - see above

    return check_main(arguments)


def _inject(arguments: Sequence[str]) -> int:
    from inject.command import main as inject_main  # noqa: PLC0415 - see above

    return inject_main(arguments)


def _uninject(arguments: Sequence[str]) -> int:
    from inject.command import main_uninject  # noqa: PLC0415 - see above

    return main_uninject(arguments)


def _webhook(arguments: Sequence[str]) -> int:
    from inject.webhook.command import main as webhook_main  # noqa: PLC0415 - see above

    return webhook_main(arguments)


def _identity(arguments: Sequence[str]) -> int:
    from proxy.identity.command import main as identity_main  # noqa: PLC0415 - see above

    return identity_main(arguments)


def _version(_arguments: Sequence[str]) -> int:
    try:
        from proxy import engine  # noqa: PLC0415 - see above
    except ImportError:
        built = "not built"
    else:
        built = engine.ABI
    python = ".".join(map(str, sys.version_info[:3]))
    _say(f"remora {__version__} (extension {built}, Python {python})")
    return EXIT_OK


_COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "proxy": _proxy,
    "init": _init,
    "ctl": _ctl,
    "check": _check,
    "inject": _inject,
    "uninject": _uninject,
    "webhook": _webhook,
    "identity": _identity,
    "version": _version,
}


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(text.rstrip("\n") + "\n")
