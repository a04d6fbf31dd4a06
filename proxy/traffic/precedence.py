"""Which of two matches is asked first: Gateway API's order, over all routes of a Service.

1. an exact path; 2. a prefix, the longest first; 3. a regular expression; 4. no path, or the
prefix `/`; then one with a method; more headers; more query parameters; the older route; the route
whose NAMESPACE/NAME comes first; the order within the route.
"""

from typing import Final

from proxy.sources.meta import Meta
from proxy.traffic.rows import ANY, EXACT, PREFIX, REGEX, Route

Strength = tuple[int, int, bool, int, int, bool, str, str, int, int]

_RANKS: Final = {EXACT: 0, PREFIX: 1, REGEX: 2, ANY: 3}


def strength(route: Route, meta: Meta, rule: int, match: int) -> Strength:
    """Return what to sort by: the strongest match has the smallest."""
    queries = sum(field.is_query for field in route.fields)
    # Only of prefixes is a longer one more special.
    length = len(route.path) if route.path_form == PREFIX else 0
    return (
        _RANKS[route.path_form],
        -length,
        not route.method,
        queries - len(route.fields),
        -queries,
        not meta.created,  # an untold age comes last
        meta.created,
        meta.path,
        rule,
        match,
    )
