"""One request to a proxy's operator socket: blocking, a page of HTTP/1.1, no event loop.

`remora ctl` must start in a blink and work beside a proxy that is in trouble.
"""

import json
import os
import socket
from collections.abc import Mapping
from typing import Final

from proxy.values import Address

# Everything but a drain is answered at once, or by a proxy that hangs.
_ANSWER_S_MAX: Final = 10.0
_READ_BYTES: Final = 65_536
_OK: Final = 200


class UnavailableError(Exception):
    """No proxy answered; the text says where one was looked for, and what to do."""


class RefusedError(Exception):
    """The proxy said no; the text is its reason."""


def call(
    place: str | Address | None,
    target: str,
    body: Mapping[str, object] | None = None,
    *,
    is_patient: bool = False,
) -> dict[str, object]:
    """GET `target`, or POST it if there is a body; return the JSON object of the answer.

    `place` is a socket's path or a TCP address; None looks where a proxy puts its socket.
    `is_patient` waits for the answer without end.
    """
    with _connect(place) as sock:
        sock.settimeout(None if is_patient else _ANSWER_S_MAX)
        try:
            sock.sendall(_request(target, body))
            answer = b"".join(iter(lambda: sock.recv(_READ_BYTES), b""))
        except TimeoutError:
            raise UnavailableError(f"no answer for {_ANSWER_S_MAX:g} s: the proxy hangs") from None
        except OSError as fault:
            raise UnavailableError(f"the proxy went away: {fault.strerror}") from fault
    return _decoded(answer)


def _connect(place: str | Address | None) -> socket.socket:
    places: list[str | Address] = [place] if place is not None else [*_candidates()]
    tried = []
    for each in places:
        sock = socket.socket(_family(each), socket.SOCK_STREAM)
        sock.settimeout(_ANSWER_S_MAX)
        try:
            sock.connect(each)
        except OSError as fault:
            sock.close()
            tried.append(f"{each} ({fault.strerror or 'no answer'})")
        else:
            return sock
    raise UnavailableError(
        f"no proxy at {', '.join(tried)}: is it running, as a user whose socket you may open?"
        " name its socket with --control"
    )


def _candidates() -> list[str]:
    from proxy import unixsocket  # noqa: PLC0415 - in a pod a variable names the place

    return unixsocket.candidates(os.environ)


def _family(place: str | Address) -> socket.AddressFamily:
    if isinstance(place, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if place.is_ipv6 else socket.AF_INET


def _request(target: str, body: Mapping[str, object] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _decoded(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
        decoded = json.loads(body)
    except (IndexError, ValueError) as fault:
        raise UnavailableError("the answer is cut short, or not a proxy's") from fault
    if not isinstance(decoded, dict):
        raise UnavailableError("the answer is not a proxy's")
    if status != _OK:
        raise RefusedError(str(decoded.get("error", f"status {status}")))
    return decoded
