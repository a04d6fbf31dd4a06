"""Descriptors: how many connections this machine lets a proxy hold, and room made for them."""

import resource
from typing import Final

PER_CONNECTION: Final = 2  # a relay holds the downstream's and the upstream's
SPARE: Final = 1000  # listeners, logs, epoll; HAProxy also reserves two for each pipe of splice


def allow(connections: int) -> int:
    """Raise the limit of open files, ours and so our children's; return what fits below it.

    Only root may go beyond the hard limit: others get fewer connections, which the report tells.
    """
    wanted = connections * PER_CONNECTION + SPARE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(wanted, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, PermissionError):
            continue
        break
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(connections, (granted - SPARE) // PER_CONNECTION)
