"""`remora webhook`: the command line, and then the process."""

import os
import sys
from collections.abc import Sequence

from inject.webhook.options import EPILOGUE, GROUPS, USAGE, chosen, reader_of
from proxy.errors import EXIT_OK, EXIT_USAGE
from proxy.options import help_text


def main(arguments: Sequence[str]) -> int:
    """Run the webhook; return the exit code."""
    reader = reader_of(arguments)
    settings, faults = chosen(reader, os.environ)
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, GROUPS, EPILOGUE))
        return EXIT_OK
    if faults:
        for fault in faults:
            sys.stderr.write(f"remora webhook: {fault}\n")
        return EXIT_USAGE
    from inject.webhook.serve import run  # noqa: PLC0415 - a wrong word is refused before it loads

    return run(settings)
