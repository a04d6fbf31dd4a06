"""An identity on a terminal: who, until when, signed by whom, trusting whom.

Made from plain facts (`describe.material_facts`, also the JSON of `ctl identity --json`), so that
`remora ctl` need not load a library of cryptography to show them.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.ctl_table import printable

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400


def identity_page(facts: Mapping[str, Any]) -> str:
    """Return the page of an identity."""
    lines = [
        f"identity   {facts['identity']}",
        f"expires    {facts['not_after']} ({left(facts['seconds_left'])})",
        f"key        {facts['key']}",
        "chain",
        *(_certificate(row) for row in facts["chain"]),
        "trusted roots",
        *(_certificate(row) for row in facts["roots"]),
    ]
    return "\n".join(lines)


def left(seconds: float) -> str:
    """Say how long something lasts, or how long ago it ended, in the two units that matter."""
    return f"{length(abs(seconds))} {'left' if seconds >= 0 else 'ago'}"


def length(seconds: float) -> str:
    """Return a time in the two units that matter."""
    whole = int(seconds)
    if whole >= _DAY_S:
        return f"{whole // _DAY_S}d {whole % _DAY_S // _HOUR_S}h"
    if whole >= _HOUR_S:
        return f"{whole // _HOUR_S}h {whole % _HOUR_S // _MINUTE_S}m"
    return f"{whole // _MINUTE_S}m {whole % _MINUTE_S}s"


def _certificate(row: Mapping[str, Any]) -> str:
    until = f"until {row['not_after']} ({left(row['seconds_left'])})"
    return f"  {row['fingerprint']}  {printable(row['subject'])}, {until}"
