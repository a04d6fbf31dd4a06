"""The Kubernetes API, as far as the webhook needs it: some calls a minute, each with a deadline."""

import asyncio
import json
import ssl
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import h11

from inject.webhook.options import ApiPlace
from proxy import __version__

CALL_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 4 << 20
_READ_BYTES: Final = 64 << 10

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"


class ApiError(Exception):
    """A call came to nothing; the text says which and why."""


class Answer(NamedTuple):
    """A status, and the object that came with it."""

    status: int
    value: dict[str, Any]

    @property
    def message(self) -> str:
        """What the API server says to a refusal."""
        return str(self.value.get("message") or HTTPStatus(self.status).phrase)


class Api:
    """One API server. Certificate and token are read for each call: both rotate."""

    def __init__(self, place: ApiPlace) -> None:
        self._place = place
        parts = urlsplit(place.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._authority, self._prefix = parts.netloc, parts.path

    async def call(
        self, method: str, path: str, body: object = None, content_type: str = JSON
    ) -> Answer:
        """Return the answer, whatever its status. Raises ApiError if there is none."""
        what = f"{method} {self._place.url}{path}"
        try:
            async with asyncio.timeout(CALL_S_MAX):
                return await self._call(method, path, body, content_type)
        except TimeoutError as fault:
            raise ApiError(f"{what}: no answer within {CALL_S_MAX:g} s") from fault
        except (OSError, h11.ProtocolError, ValueError, RecursionError) as fault:
            raise ApiError(f"{what}: {fault}") from fault

    async def _call(self, method: str, path: str, body: object, content_type: str) -> Answer:
        context = ssl.create_default_context(cafile=str(self._place.ca))
        token = self._place.token.read_text(encoding="ascii").strip()
        content = b"" if body is None else json.dumps(body).encode()
        headers = [
            ("Host", self._authority),
            ("Authorization", f"Bearer {token}"),
            ("Accept", JSON),
            ("User-Agent", f"remora-webhook/{__version__}"),
            ("Content-Type", content_type),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        request = h11.Request(method=method, target=self._prefix + path, headers=headers)
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        try:
            http = h11.Connection(h11.CLIENT)
            for event in (request, h11.Data(data=content), h11.EndOfMessage()):
                writer.write(http.send(event) or b"")
            await writer.drain()
            return await _answer(http, reader)
        finally:
            writer.transport.abort()


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, text = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            text += event.data
            if len(text) > ANSWER_BYTES_MAX:
                raise ValueError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            break
    try:
        value = json.loads(text)
    except ValueError:
        # Somebody in between, with a page for people.
        value = {"message": text[:200].decode(errors="replace").strip()}
    return Answer(status, value if isinstance(value, dict) else {})
