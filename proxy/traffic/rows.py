"""What the data plane gets to know of services and routes: names, numbers and bytes.

The extension copies these rows into C (`proxy/_traffic.pxd`); indexes are positions in the lists of
`Traffic`. Times are milliseconds, 0 means no limit, or as the flags say.
"""

from typing import Final, NamedTuple

# How requests are spread over endpoints (fast/reasons.pxd: BALANCE_*).
EWMA: Final = "ewma"
LEAST_REQUEST: Final = "least_request"
ROUND_ROBIN: Final = "round_robin"
RANDOM: Final = "random"
RING: Final = "ring"
MAGLEV: Final = "maglev"
BALANCES: Final = (EWMA, LEAST_REQUEST, ROUND_ROBIN, RANDOM, RING, MAGLEV)

# What sticky sessions stick to (HASH_*).
NO_HASH: Final = ""
HEADER: Final = "header"
QUERY: Final = "query"
SOURCE: Final = "source"
HASHES: Final = (NO_HASH, HEADER, QUERY, SOURCE)

# What a path is compared with (ROUTE_PATH_*).
ANY: Final = "any"
EXACT: Final = "exact"
PREFIX: Final = "prefix"
REGEX: Final = "regex"
PATH_FORMS: Final = (ANY, EXACT, PREFIX, REGEX)

# What is done with a header (EDIT_*).
SET: Final = "set"
ADD: Final = "add"
REMOVE: Final = "remove"
EDITS: Final = (SET, ADD, REMOVE)

# What is done with a path (REWRITE_*).
AS_IT_CAME: Final = ""
FULL: Final = "full"
REPLACE_PREFIX: Final = "prefix"
REWRITES: Final = (AS_IT_CAME, FULL, REPLACE_PREFIX)

# The scheme of a redirect (SCHEME_*).
SCHEMES: Final = ("", "http", "https")

NOBODY: Final = -1
MILLION: Final = 1_000_000


class Endpoint(NamedTuple):
    """Who may get requests; `slot` and `generation` are its numbers for life."""

    host: str
    port: int
    slot: int
    generation: int


class Outlier(NamedTuple):
    """When an endpoint is taken out; 0: never for this reason."""

    errors_max: int = 5
    gateway_errors_max: int = 0
    local_errors_max: int = 5
    is_split: bool = False
    success_percent_min: int = 0
    ejected_percent_max: int = 10
    healthy_percent_min: int = 0
    requests_min: int = 5
    interval_ms: int = 10_000
    ejection_ms: int = 30_000
    ejection_ms_max: int = 300_000


class Limit(NamedTuple):
    """A token bucket; rate 0: no limit."""

    rate_per_ks: int = 0
    burst: int = 0


class Retry(NamedTuple):
    """When a request is sent again. `codes`: answers worth another try, 400 to 599."""

    attempts: int = 0
    codes: tuple[int, ...] = ()
    backoff_ms: int = 25
    is_said: bool = False


class Injected(NamedTuple):
    """Faults made for users' own tests, in millionths of requests."""

    delay_per_million: int = 0
    delay_ms: int = 0
    abort_per_million: int = 0
    abort_status: int = 0


class Backend(NamedTuple):
    """A port of a Service, as requests are sent to it. `endpoints`: those of our zone first."""

    number: int
    service: str
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    local_count: int = 0
    balance: str = EWMA
    hash_by: str = NO_HASH
    hash_name: bytes = b""
    table_size: int = 0  # of the ring or of Maglev's table
    connect_ms: int = 0
    idle_ms: int = 0
    tcp_idle_ms: int = 0
    connections_max: int = 0
    pending_max: int = 0
    requests_max: int = 0
    retries_max: int = 0
    connection_requests_max: int = 0
    slow_start_ms: int = 0
    budget_percent: int = 20
    budget_min_per_s: int = 10
    outlier: Outlier = Outlier()
    request_ms: int = 0
    try_ms: int = 0
    retry: Retry = Retry()


class Field(NamedTuple):
    """A condition on a header (its name in small letters) or a query parameter."""

    is_query: bool
    name: bytes
    value: bytes
    dfa: int = NOBODY  # index in Traffic.dfas; NOBODY: exact


class Edit(NamedTuple):
    """A header to be changed."""

    kind: str
    name: bytes
    value: bytes = b""


class Rewrite(NamedTuple):
    """What becomes of host and path; with `status` it is a redirect."""

    host: bytes = b""
    path: bytes = b""
    path_kind: str = AS_IT_CAME
    scheme: str = ""
    port: int = 0
    status: int = 0


class Mirror(NamedTuple):
    """Who gets a copy of how many requests."""

    backend: int
    per_million: int = MILLION


class Share(NamedTuple):
    """A backend (NOBODY: answered by 500) with its weight."""

    backend: int
    weight: int = 1
    request_edits: tuple[Edit, ...] = ()
    response_edits: tuple[Edit, ...] = ()


class Rule(NamedTuple):
    """What is done with a request that matched. `number` is the route's, for life."""

    number: int
    route: str
    shares: tuple[Share, ...] = ()
    request_edits: tuple[Edit, ...] = ()
    response_edits: tuple[Edit, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    rewrite: Rewrite = Rewrite()
    request_ms: int = 0
    try_ms: int = 0
    retry: Retry = Retry()
    limit: Limit = Limit()
    fault: Injected = Injected()


class Route(NamedTuple):
    """One match of a rule. `method` "": any."""

    rule: int  # index in Traffic.rules
    path_form: str = ANY
    path: bytes = b""
    dfa: int = NOBODY
    method: str = ""
    fields: tuple[Field, ...] = ()


class Front(NamedTuple):
    """A port of a Service, as others speak to it. `routes`: the strongest first; (): none."""

    service: str
    handling: str  # of proxy/services.py
    addresses: tuple[tuple[str, int], ...]
    names: tuple[tuple[bytes, int], ...]
    backend: int
    number: int  # of that backend
    routes: tuple[Route, ...] = ()
    limit: Limit = Limit()
    peer_limit: Limit = Limit()
    requests_max: int = 0
    fault: Injected = Injected()


class Dfa(NamedTuple):
    """A regular expression as a table: `steps[state * class_count + class]` is the next state.

    It starts in state 0 and matches a whole word when the last state is accepting.
    """

    classes: bytes  # 256 of them
    class_count: int
    steps: tuple[int, ...]
    accepting: bytes  # 0 or 1 for each state


class Direct(NamedTuple):
    """An address of a pod or of a headless service: known by name, spoken to as it is."""

    host: str
    port: int
    service: str
    handling: str
    front: int = NOBODY  # whose limits apply to what comes in


class Traffic(NamedTuple):
    """All of it."""

    fronts: tuple[Front, ...] = ()
    backends: tuple[Backend, ...] = ()
    rules: tuple[Rule, ...] = ()
    dfas: tuple[Dfa, ...] = ()
    directs: tuple[Direct, ...] = ()


NOTHING: Final = Traffic()
