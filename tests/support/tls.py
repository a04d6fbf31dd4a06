"""One end of a TLS connection whose records the test may cut, hold back, count or damage.

pyOpenSSL on memory BIOs; nothing of the proxy's is used. It verifies nobody: the proxy's own
verification is what the tests look at.
"""

import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from OpenSSL import SSL

from tests.support.sockets import READ_BYTES
from tests.support.svids import Svid

ALPN_ANY: Final = (b"remora",)
ALPN_HTTP: Final = (b"remora-http/1.1",)
ALPN_TCP: Final = (b"remora-tcp",)
_PLAIN_BYTES: Final = 1 << 14


class TlsRefused(Exception):  # noqa: N818 - the other side said no, which a test may want to see
    """The handshake failed, or the connection after it; `word` says how."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def context(svid: Svid | None, *, version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    """A context that shows `svid`, wants a certificate of the other side, and takes any."""
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(version)
    made.set_max_proto_version(version)
    made.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if svid is not None:
        made.use_privatekey(svid.key)
        leaf, *others = svid.chain
        made.use_certificate(leaf)
        for certificate in others:
            made.add_extra_chain_cert(certificate)
    return made


def choosing(made: SSL.Context, name: bytes) -> SSL.Context:
    """Let a server answer ALPN with `name`, which must be offered."""
    made.set_alpn_select_callback(lambda _, offered: offered[offered.index(name)])
    return made


class TlsEnd:
    """TLS over `sock`. Nothing is sent but by `flush`, which every call makes unless it is held."""

    def __init__(
        self,
        sock: socket.socket,
        made: SSL.Context,
        *,
        is_server: bool = False,
        alpn: Sequence[bytes] = (),
    ) -> None:
        self.sock = sock
        self.piece_bytes = 0  # flush() sends pieces of that size; 0: all at once
        self.ssl = SSL.Connection(made, None)
        if is_server:
            self.ssl.set_accept_state()
        else:
            self.ssl.set_connect_state()
            if alpn:
                self.ssl.set_alpn_protos(list(alpn))

    # --- the handshake ---

    def shake(self) -> "TlsEnd":
        """Shake hands; raises TlsRefused. A client may hear of a refusal at its first read only."""
        while not self.step():
            self.hear()
        return self

    def step(self) -> bool:
        """Go on with what was heard; whether the handshake is over."""
        try:
            self.ssl.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as fault:
            raise TlsRefused(_word(fault)) from fault
        finally:
            self.flush()
        return True

    def hello(self) -> bytes:
        """Return the ClientHello, unsent."""
        try:
            self.ssl.do_handshake()
        except SSL.WantReadError:
            return self.records()
        raise AssertionError("a handshake cannot be over yet")

    # --- records ---

    def records(self) -> bytes:
        """Take what is to be sent."""
        taken = bytearray()
        try:
            while True:
                taken += self.ssl.bio_read(_PLAIN_BYTES)
        except SSL.WantReadError:
            return bytes(taken)

    def flush(self) -> None:
        text = self.records()
        size = self.piece_bytes or len(text)
        # Who is gone may have said why: an alert, which is still to be read.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for start in range(0, len(text), size or 1):
                self.sock.sendall(text[start : start + size])

    def hear(self) -> None:
        """Feed what the socket has, waiting for it."""
        try:
            text = self.sock.recv(READ_BYTES)
        except ConnectionResetError as fault:
            raise TlsRefused("reset") from fault
        if not text:
            raise TlsRefused("end of stream")
        self.feed(text)

    def feed(self, text: bytes) -> None:
        while text:
            text = text[self.ssl.bio_write(text) :]

    def encrypted(self, text: bytes) -> bytes:
        """Return the records of `text`, unsent."""
        self._encrypt(text)
        return self.records()

    # --- as a socket has it ---

    def sendall(self, text: bytes) -> None:
        view = memoryview(text)
        for start in range(0, len(view), READ_BYTES):
            self._encrypt(view[start : start + READ_BYTES])
            if records := self.records():
                self.sock.sendall(records)

    def _encrypt(self, text: bytes | memoryview) -> None:
        rest = bytes(text)
        while rest:
            rest = rest[self.ssl.send(rest) :]  # a record at a time

    def recv(self, size: int = READ_BYTES) -> bytes:
        """Return some bytes, or b"" after close_notify; raises TlsRefused."""
        while True:
            try:
                return bytes(self.ssl.recv(min(size, _PLAIN_BYTES)))
            except SSL.WantReadError:
                self.flush()
                self.hear()
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as fault:
                self.flush()
                raise TlsRefused(_word(fault)) from fault

    def shutdown(self, how: int) -> None:
        """Say close_notify and FIN; the other direction stays open."""
        self.say_end()
        self.sock.shutdown(how)

    def say_end(self) -> None:
        """Say close_notify and nothing else."""
        self.ssl.shutdown()
        self.flush()

    def exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            text = self.recv(size - len(received))
            assert text, f"ended after {len(received)} of {size} bytes"
            received += text
        return bytes(received)

    def rest(self) -> bytes:
        """Everything up to close_notify."""
        received = bytearray()
        while text := self.recv():
            received += text
        return bytes(received)

    def refusal(self) -> str:
        """Return the word by which the other side ends this: an alert, "reset", "end of stream"."""
        try:
            said = self.recv()
        except TlsRefused as fault:
            return fault.word
        raise AssertionError(f"not refused: {said!r}")


def _word(fault: SSL.Error) -> str:
    rows = fault.args[0] if fault.args else []
    return str(rows[-1][2]) if rows else type(fault).__name__
