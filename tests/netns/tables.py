"""What the tools say is in a namespace, and tools that fail on purpose."""

import os
import re
import shlex
import shutil
import stat
from pathlib import Path
from typing import Final

from tests.netns.harness import Namespace

# Every way to hold rules, both families, as whoever looks from outside would print it.
_PRINTERS: Final = (
    ["iptables-nft-save"],
    ["ip6tables-nft-save"],
    ["iptables-legacy-save"],
    ["ip6tables-legacy-save"],
    ["nft", "-s", "list", "ruleset"],
    ["ip", "address", "show", "dev", "lo"],
)
_VOLATILE: Final = re.compile(r"^# (Generated|Completed).*\n|\[\d+:\d+\]", re.MULTILINE)


def everything(namespace: Namespace) -> str:
    """Give all rules of all backends and the addresses of lo, without times and counters."""
    printed = (namespace.run(argv).stdout for argv in _PRINTERS)
    return _VOLATILE.sub("", "\n".join(printed))


def rules_of(namespace: Namespace, backend: str) -> str:
    """Give the rules that one backend holds, both families, as its own tool prints them.

    Of native nft that is our own tables: `nft list ruleset` shows those of iptables-nft, too.
    """
    if backend == "nftables":
        ours = (["nft", "-s", "list", "table", family, "remora"] for family in ("ip", "ip6"))
        return "".join(namespace.run(argv, check=False).stdout for argv in ours)
    names = (f"{stem}-{backend}-save" for stem in ("iptables", "ip6tables"))
    return _VOLATILE.sub("", "".join(namespace.run([name]).stdout for name in names))


def make_legacy_table(namespace: Namespace) -> None:
    """Load legacy table nat, which the kernel keeps for good once somebody has asked for it."""
    for name in ("iptables-legacy-save", "ip6tables-legacy-save"):
        namespace.run([name, "-t", "nat"])


def broken_tool(folder: Path, name: str, script: str) -> dict[str, str]:
    """Put a program in front of the real tool of that name; give the environment that finds it.

    `script` is shell, and reaches the tool as "$real". What a tool says of its version is true.
    """
    real = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert real, f"{name} is not installed"
    program = folder / name
    program.write_text(
        "#!/bin/sh\n"
        f"real={shlex.quote(real)}\n"
        'case "$*" in *--version*) exec "$real" --version ;; esac\n'
        f"{script}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}
