"""A real webhook process, and what plays the API server in front of it."""

import http.client
import json
import os
import secrets
import signal
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from tests.support import control
from tests.support.process import Process
from tests.support.sockets import Address, connected, parsed
from tests.support.svids import SERVER, Shape, Signer, Svid
from tests.support.waiting import PATIENCE_S, eventually

NAME: Final = "remora-webhook.remora-system.svc"
LEAF: Final = Shape(uris=(), dns=(NAME,), extended=(SERVER,))

_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json, */*"}


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def response(self) -> dict[str, Any]:
        """The response of an AdmissionReview."""
        assert self.status == 200, self
        assert self.value["kind"] == "AdmissionReview"
        assert self.value["apiVersion"] == "admission.k8s.io/v1"
        found: dict[str, Any] = self.value["response"]
        return found


class Files:
    """A directory for `--tls-dir`; its files change as the kubelet changes them."""

    def __init__(self, folder: Path, name: str = "the webhook's") -> None:
        self.folder = folder
        self.authority = Signer.root(name)

    def issue(self, shape: Shape = LEAF) -> Svid:
        """Put a new key and certificate there."""
        made = self.authority.issue(shape)
        self.put({"tls.crt": made.chain_pem(), "tls.key": made.key_pem()})
        return made

    def put(self, files: dict[str, bytes]) -> None:
        """Swap the link by which all files change at once."""
        data = self.folder / f"..{secrets.token_hex(4)}"
        data.mkdir(parents=True)
        for name, text in files.items():
            (data / name).write_bytes(text)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(data.name)
        os.replace(fresh, self.folder / "..data")  # noqa: PTH105 - atomic, and says so
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")

    @property
    def roots(self) -> str:
        """What the API server knows as caBundle."""
        return self.authority.certificate.public_bytes(Encoding.PEM).decode()


class Caller(http.client.HTTPConnection):
    """A connection of an API server: TLS, and one review after the other."""

    def __init__(self, address: Address, roots: str, name: str = NAME) -> None:
        super().__init__(name, timeout=PATIENCE_S)
        self.context = ssl.create_default_context(cadata=roots)
        self.context.set_alpn_protocols(["http/1.1"])
        self._address = address

    def connect(self) -> None:
        self.sock = self.context.wrap_socket(connected(self._address), server_hostname=self.host)

    @property
    def tls(self) -> ssl.SSLSocket:
        """The connection below, for who wants to say something else."""
        if self.sock is None:
            self.connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.sock

    def ask(
        self,
        body: object,
        headers: Mapping[str, str] = _JSON,
        target: str = "/inject?timeout=10s",
        method: str = "POST",
    ) -> Said:
        """Send a review, or bytes as they are; return the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.request(method, target, content, dict(headers))
        return self.answer()

    def answer(self) -> Said:
        answer = self.getresponse()
        return Said(answer.status, dict(answer.getheaders()), answer.read())


class Webhook(Process):
    """`remora webhook`, on ports that the system chose."""

    def __init__(self, directory: Path, *flags: str) -> None:
        own = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shutdown-delay", "0")
        super().__init__(["webhook", *own, *flags], directory)

    @property
    def address(self) -> Address:
        return parsed(self._listening()["https"][0])

    @property
    def admin(self) -> Address:
        return parsed(self._listening()["admin"][0])

    def _listening(self) -> dict[str, Any]:
        eventually("its ports", lambda: self.logged("listening") or self._has_ended())
        line = self.logged("listening")
        assert line, self.stderr_lines
        return line

    def readiness(self) -> tuple[int, str]:
        return control.fetch(self.admin, "/ready")

    def wait_ready(self) -> "Webhook":
        eventually("the webhook to be ready", lambda: self.readiness() == (200, "ready\n"))
        return self

    def wait_unready(self, why: str) -> None:
        def is_so() -> bool:
            status, text = self.readiness()
            return status == 503 and why in text

        eventually(f"{why!r} at /ready", is_so)

    def metrics(self) -> control.Metrics:
        status, text = control.fetch(self.admin, "/metrics")
        assert status == 200, text
        return control.Metrics(text)

    def reviews(self, result: str, reason: str = "") -> int:
        metrics = self.metrics()
        return int(metrics("remora_webhook_reviews_total", result=result, reason=reason))

    def end(self) -> int:
        """SIGTERM; return the exit code."""
        self.ended_as_planned = True
        self.signal(signal.SIGTERM)
        return self.wait_exit()
