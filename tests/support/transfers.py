"""Payloads that can be checked without being kept: deterministic streams and their SHA-256."""

import hashlib
import random
import socket
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.support.sockets import READ_BYTES

MIB: Final = 1 << 20


class Digest(NamedTuple):
    """What arrived, or should arrive."""

    size: int
    sha256: str


class Payload:
    """`size` bytes that follow from `seed` alone; no two blocks are the same.

    A block is the same random text under a running number: a lost, doubled or swapped block
    changes the digest, and making it costs little against the transfer.
    """

    def __init__(self, seed: int, size: int, *, block_bytes: int = 1 << 17) -> None:
        self.size = size
        self._body = random.Random(seed).randbytes(block_bytes - 8)  # noqa: S311 - not a secret

    def blocks(self) -> Iterator[bytes]:
        left = self.size
        number = 0
        while left:
            block = (number.to_bytes(8) + self._body)[:left]
            yield block
            left -= len(block)
            number += 1

    def digest(self) -> Digest:
        sha256 = hashlib.sha256()
        for block in self.blocks():
            sha256.update(block)
        return Digest(self.size, sha256.hexdigest())


def send_all(sock: socket.socket, payload: Payload) -> None:
    """Send the payload and end the stream; the other direction stays open."""
    for block in payload.blocks():
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock: socket.socket) -> Digest:
    """Read to the end of the stream."""
    sha256 = hashlib.sha256()
    buffer = bytearray(READ_BYTES)
    size = 0
    while count := sock.recv_into(buffer):
        sha256.update(memoryview(buffer)[:count])
        size += count
    return Digest(size, sha256.hexdigest())
