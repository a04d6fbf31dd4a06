"""Why a tool failed, in words that tell the operator what to do."""

from iptables import kernel
from iptables.exits import Exit
from iptables.tools import ToolError


def explain(place: str, error: ToolError) -> tuple[Exit, list[str]]:
    """Find the cause of a tool's failure: rights, a feature that is missing, or one rule."""
    rights = kernel.rights(error.message)
    if rights:
        return Exit.NOT_APPLIED, [rights]
    facts = kernel.gather()
    lacks = kernel.named(error.message, place) or kernel.built_without(kernel.NEEDS[place], facts)
    line = kernel.refused_line(error.message, error.command.text)
    refused = [f"the tool refused: {line}"] if line else []
    if not lacks:
        lacks = kernel.not_loaded(kernel.needed_by(line, place), facts)
    code = Exit.UNAVAILABLE if lacks else Exit.NOT_APPLIED
    return code, [*refused, *lacks]
