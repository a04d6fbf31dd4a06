"""How the tests look at first bytes: cut up in every way, and what the look says."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Final

NAME: Final = b"shop.example.org"


def label(look: object) -> tuple[str, bytes]:
    """Return protocol and server name as a record of the connection would carry them."""
    protocol: str = look.protocol  # type: ignore[attr-defined]
    return protocol, look.sni if protocol == "tls" else b""  # type: ignore[attr-defined]


def looked(probe: ModuleType, pieces: Iterable[bytes], **how: object) -> tuple[str, bytes]:
    look = probe.Look(**how)
    for piece in pieces:
        look.feed(piece)
    return label(look)


def in_pieces(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def assert_same_in_every_cut(probe: ModuleType, text: bytes) -> tuple[str, bytes]:
    """Return what the look says of `text`, whole, in two pieces, in small ones, near any border."""
    whole = looked(probe, [text])
    for cut in range(1, len(text)):
        assert looked(probe, [text[:cut], text[cut:]]) == whole, cut
    for size in (1, 2, 3, 7, 64):
        assert looked(probe, in_pieces(text, size)) == whole, size
    assert looked(probe, [text, b""]) == looked(probe, [b"", text]) == whole
    assert looked(probe, [text], is_low=True) == whole
    assert looked(probe, [text], keeps_name=False)[0] == whole[0]
    return whole


@dataclass(frozen=True)
class Field:
    """A length field of a ClientHello: where it is, and how many bytes it has."""

    at: int
    width: int


class Hello:
    """A ClientHello in one record that knows where its length fields are (RFC 8446, 4.1.2)."""

    def __init__(self, name: bytes = NAME) -> None:
        self.fields: dict[str, Field] = {}
        entry = b"\0" + self._vector("name", 2, name)
        server_name = b"\0\0" + self._vector("extension", 2, self._vector("list", 2, entry))
        body = b"\x03\x03" + bytes(range(32))
        body += self._vector("session", 1, bytes(range(32)))
        body += self._vector("ciphers", 2, b"\x13\x01\x13\x02")
        body += self._vector("compression", 1, b"\0")
        body += self._vector("extensions", 2, server_name + b"\0\x15\0\x02\0\0")
        self.text = b"\x16\x03\x01" + self._vector("record", 2, b"\1" + self._message(body))
        self._locate()

    def _vector(self, name: str, width: int, content: bytes) -> bytes:
        self.fields[name] = Field(-1, width)
        return len(content).to_bytes(width) + content

    def _message(self, body: bytes) -> bytes:
        return self._vector("message", 3, body)

    def _locate(self) -> None:
        """Walk through the finished text: every field is known by what stands before it."""
        steps = ["record", "message", "session", "ciphers", "compression", "extensions"]
        gaps = {"record": 3, "message": 1, "session": 34, "extension": 2, "name": 1}
        holds_its_content = {"session", "ciphers", "compression"}
        at = 0
        for name in [*steps, "extension", "list", "name"]:
            width = self.fields[name].width
            at += gaps.get(name, 0)
            self.fields[name] = Field(at, width)
            at += width + (self.length(name) if name in holds_its_content else 0)

    def length(self, name: str) -> int:
        field = self.fields[name]
        return int.from_bytes(self.text[field.at : field.at + field.width])

    def with_length(self, name: str, length: int) -> bytes:
        """Return the same bytes but for one length field."""
        field = self.fields[name]
        end = field.at + field.width
        return self.text[: field.at] + length.to_bytes(field.width) + self.text[end:]
