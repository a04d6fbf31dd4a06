"""HTTP/1.1 on damaged input: what the proxy takes, h11 takes with the same framing.

The other direction is no claim: the proxy is stricter (bare LF, obs-fold, CL with TE, two CLs...).
Besides, on every input: the search for the end of a head finds the same end in any cut; bodies end
at the same byte however they are fed (the probe compares); what would be written of a message is a
message with the same meaning, and writing that again changes nothing.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Final, NamedTuple

import h11

from tests.fuzz.mutate import MUTATORS, Dice
from tests.unit.fast.http1_cases import BROKEN_LINES, CASES
from tests.unit.fast.test_http1_bodies import BROKEN, GOOD
from tests.unit.fast.test_http1_responses import BAD_FIELDS, BAD_LINES, GOOD_LINES

POST: Final = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\n"
BYTES_MAX: Final = 20_000

REQUEST_SEEDS: Final = [
    *(case.head for case in (*CASES, *BROKEN_LINES) if len(case.head) < 2_000),
    *(POST + body + b"\r\n" for body in GOOD),
    *(POST + body for _, body, _ in BROKEN),
    POST + b"3\r\nabc\r\n0\r\nA: b\r\nHost: x\r\nContent-Length: 1\r\n\r\n" + POST + GOOD[1],
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\nX: 1\r\nKeep-Alive: y\r\n\r\n",
    b"\r\nGET http://b/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]
RESPONSE_SEEDS: Final = [
    *(line + b"\r\nContent-Length: 2\r\n\r\nok" for line in (*GOOD_LINES, *BAD_LINES)),
    *(OK + fields + b"\r\nhello" for fields in BAD_FIELDS if len(fields) < 200),
    *(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"\r\n" for body in GOOD),
    *(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body for _, body, _ in BROKEN),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"\r\nto the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nframes",
]
SEEDS: Final = [*REQUEST_SEEDS, *RESPONSE_SEEDS]
# What is taken while it is whole: most damage begins here, or all would be refused for old faults.
GOOD_SEEDS: Final = [
    *(case.head for case in CASES if not case.verdict and len(case.head) < 2_000),
    *REQUEST_SEEDS[-4 - len(GOOD) - len(BROKEN) : -4 - len(BROKEN)],
    *REQUEST_SEEDS[-4:],
    *RESPONSE_SEEDS[: len(GOOD_LINES)],
    *(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"\r\n" for body in GOOD),
    *RESPONSE_SEEDS[-4:],
]
WORDS: Final = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\x0c", b"\x85", b"0"),
    *(
        b"\r\n\r\n",
        b"\n\n",
        b"\r\n ",
        b"\r\n\t",
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
        b"chunked",
        b"5",
        b"+5",
    ),
    *(b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Host: b\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: host, x\r\n",
        b"X: y\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.1 200 OK\r\n", b"CONNECT", b"HEAD"),
    *(b"Upgrade: x\r\nConnection: upgrade\r\n", b"Trailer: a\r\n", b"ffffffffffffffff", b"\xff"),
]
METHODS: Final = ("GET", "GET", "GET", "HEAD", "POST", "CONNECT")


# ---- inputs -------------------------------------------------------------------------------------


def word(text: bytes, dice: Dice) -> bytes:
    """A word of the protocol, at a line's start more often than not."""
    at = dice.randrange(len(text) + 1)
    if dice.random() < 0.6:
        at = text.find(b"\n", at) + 1
    return text[:at] + dice.choice(WORDS) + text[at:]


def lines(text: bytes, dice: Dice) -> bytes:
    """Lines doubled, dropped, or in another order."""
    parts = text.split(b"\r\n")
    one, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    act = dice.randrange(3)
    if act == 0:
        parts.insert(other, parts[one])
    elif act == 1:
        del parts[one]
    else:
        parts[one], parts[other] = parts[other], parts[one]
    return b"\r\n".join(parts)


HOW: Final[Sequence[Callable[[bytes, Dice], bytes]]] = (*MUTATORS, word, word, word, lines, lines)


def damaged(seeds: Sequence[bytes], dice: Dice) -> bytes:
    """One to three of the seeds in a row, hurt in up to three places."""
    good = [GOOD_SEEDS, GOOD_SEEDS, GOOD_SEEDS, seeds]
    text = dice.choice(dice.choice(good))
    while dice.random() < 0.15:
        text += dice.choice(dice.choice(good))
    for _ in range(dice.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        text = dice.choice(HOW)(text, dice) or b"\0"
    return text[:BYTES_MAX]


# ---- what h11 makes of it -----------------------------------------------------------------------


class Seen(NamedTuple):
    """A message as a parser understood it: requests have no status, responses no method."""

    method: bytes
    target: bytes
    status: int
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    rest: bytes  # bytes behind it


def _read(connection: h11.Connection, *, ends: bool) -> Seen | str:
    body = b""
    start: h11.Request | h11.Response | h11.InformationalResponse | None = None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if not ends:
                    return "h11 wants more"
                connection.receive_data(b"")
                ends = False
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
                start = event
                if connection.their_state is h11.SWITCHED_PROTOCOL:
                    return _seen(start, body, [], connection)
            elif isinstance(event, h11.EndOfMessage) and start is not None:
                return _seen(start, body, list(event.headers), connection)
            else:
                return f"h11 says {event!r}"
    except h11.RemoteProtocolError as fault:
        return f"h11 refuses: {fault}"


def _seen(
    start: h11.Request | h11.Response | h11.InformationalResponse,
    body: bytes,
    trailers: list[tuple[bytes, bytes]],
    connection: h11.Connection,
) -> Seen:
    rest = connection.trailing_data[0]
    if isinstance(start, h11.Request):
        return Seen(start.method, start.target, 0, body, trailers, rest)
    return Seen(b"", b"", start.status_code, body, trailers, rest)


def h11_request(text: bytes) -> Seen | str:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(text)
    return _read(connection, ends=False)


def h11_answer(text: bytes, method: str, *, ends: bool) -> Seen | str:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    fields = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "x")]
    connection.send(h11.Request(method=method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    connection.receive_data(text)
    return _read(connection, ends=ends)


# ---- the comparison -----------------------------------------------------------------------------


def check_http1(codec: ModuleType, text: bytes) -> str:
    """Compare; return how the proxy took it. What begins like an answer is one."""
    dice = random.Random(zlib.crc32(text))  # noqa: S311 - not a secret
    check_scan(codec, text, dice)
    if b"HTTP/" in text[:8]:
        return check_answer(codec, text, dice.choice(METHODS))
    return check_requests(codec, text, text)


def check_blind_http1(codec: ModuleType, text: bytes) -> None:
    """A canary: this codec overlooks one spelling of Transfer-Encoding."""
    check_requests(codec, text, text.replace(b"Transfer-Encoding: ", b"transfer_encoding: "))


def check_requests(codec: ModuleType, text: bytes, view: bytes) -> str:
    """Compare the requests of a stream that the codec sees as `view`."""
    messages, end, _ = codec.requests(view)
    for message in messages:
        kept = [f for f in message.trailers if not f.is_dropped]
        pairs = [(f.name.lower(), f.value) for f in kept]
        expected = Seen(message.head.method, message.head.target, 0, message.body, pairs, b"")
        original = text[message.start : message.end]
        if len(kept) == len(message.trailers):  # h11 may refuse one that the proxy takes away
            compare(original, expected, h11_request(original))
        if message.wire != original:
            compare(message.wire, expected, h11_request(message.wire))
            again, _, _ = codec.requests(message.wire)
            assert [m.wire for m in again] == [message.wire], "written twice it is another"
            assert again[0].body == message.body
    return f"request: {len(messages)}, then {end}"


def check_answer(codec: ModuleType, text: bytes, method: str) -> str:
    messages, end, _ = codec.answer(text, method)
    if end in {"whole", "close", "switch"}:
        final = messages[-1]
        pairs = [(f.name.lower(), f.value) for f in final.trailers if not f.is_dropped]
        expected = Seen(b"", b"", final.head.status, final.body, pairs, b"")
        wires = {final.wire}
        if len(pairs) == len(final.trailers):
            wires.add(text[final.start : final.end])
        for wire in wires:
            compare(wire, expected, h11_answer(wire, method, ends=end == "close"))
    return f"response: {len(messages)}, then {end}"


def compare(text: bytes, expected: Seen, seen: Seen | str) -> None:
    assert seen == expected, f"{text!r}: the proxy sees {expected}, h11 {seen}"


def check_scan(codec: ModuleType, text: bytes, dice: Dice) -> None:
    """The end of the head, looked for in two steps."""
    cut = dice.randrange(len(text) + 1)
    found = codec.scan(text[:cut]) or codec.scan(text, cut)
    assert found == codec.scan(text), f"cut at {cut} the head ends at {found}"
