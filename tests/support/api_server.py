"""An API server for what the webhook asks of one: Secrets, and one webhook configuration.

It keeps its rules: a token, rights by verb and resource, resourceVersions that make a lost race a
conflict, JSONPatches that are applied whole or not at all, and refusals as Status objects.
"""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonpatch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.svids import SERVER, Shape, Signer

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN: Final = "a token of a service account"  # noqa: S105 - of nobody
SECRETS: Final = "/api/v1/namespaces/remora-system/secrets"
SECRET: Final = f"{SECRETS}/remora-webhook-tls"
CONFIGURATION: Final = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/remora-webhook"
)

_REASONS: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}

Json = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - a refusal is what it is
    """An answer that is none of success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiServer:
    """Objects by path. `before` is called with method and path ahead of each call."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, Json] = {}
        self.calls: list[tuple[str, str]] = []
        self.forbidden: set[tuple[str, str]] = set()  # (verb, last word of the path's folder)
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._version = 0
        self._lock = threading.RLock()
        self.ca, self.token = folder / "api-ca.crt", folder / "api-token"
        self.token.write_text(TOKEN)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = self._context(folder).wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def flags(self) -> tuple[str, ...]:
        url = f"https://127.0.0.1:{self._server.server_port}"
        files = ("--api-ca", str(self.ca), "--api-token", str(self.token))
        return ("--self-signed", "--interval", "100ms", "--api-server", url, *files)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # --- what a test looks at ---

    def put(self, path: str, value: Json) -> None:
        """Store an object, as somebody else."""
        with self._lock:
            self._version += 1
            metadata = {**value.get("metadata", {}), "resourceVersion": str(self._version)}
            self.objects[path] = {**value, "metadata": metadata}

    def configure(self, *bundles: str) -> None:
        """Install the configuration; without a text a webhook has no caBundle."""
        service = {"name": "remora-webhook", "namespace": "remora-system", "path": "/inject"}
        webhooks = [
            {
                "name": f"{name}.remora.dev",
                "clientConfig": {"service": service, **({"caBundle": text} if text else {})},
                "sideEffects": "None",
            }
            for name, text in zip(("namespaces", "pods"), bundles or ("", ""), strict=True)
        ]
        metadata = {"name": "remora-webhook", "labels": {"app.kubernetes.io/name": "remora"}}
        self.put(CONFIGURATION, {"metadata": metadata, "webhooks": webhooks})

    def bundles(self) -> list[str]:
        """Every caBundle, decoded."""
        with self._lock:
            webhooks = self.objects[CONFIGURATION]["webhooks"]
            texts = [webhook["clientConfig"].get("caBundle", "") for webhook in webhooks]
        return [base64.b64decode(text).decode() for text in texts]

    def secret(self, name: str) -> bytes:
        """A part of the Secret, b"" if there is none."""
        with self._lock:
            data = self.objects.get(SECRET, {}).get("data", {})
        return base64.b64decode(data.get(name, ""))

    def leaf(self) -> x509.Certificate:
        """The certificate in the Secret."""
        return x509.load_pem_x509_certificate(self.secret("tls.crt"))

    def count(self, method: str, path: str) -> int:
        return self.calls.count((method, path))

    # --- the calls ---

    def answer(self, method: str, path: str, token: str, body: bytes, kind: str) -> Json:
        self.before(method, path)
        with self._lock:
            self.calls.append((method, path))
            if token != f"Bearer {TOKEN}":
                raise Refusal(401, "Unauthorized")
            resource = next(word for word in ("secrets", "mutating") if word in path)
            if (_VERBS[method], resource) in self.forbidden:
                raise Refusal(403, f'User "webhook" cannot {_VERBS[method]} resource "{resource}"')
            value: Any = json.loads(body) if body else None
            if method == "POST":
                return self._created(path, value)
            if path not in self.objects:
                raise Refusal(404, f'"{path.rpartition("/")[2]}" not found')
            if method == "PUT":
                return self._updated(path, value)
            if method == "PATCH":
                return self._patched(path, value, kind)
            return self.objects[path]

    def _created(self, folder: str, value: Json) -> Json:
        path = f"{folder}/{value['metadata']['name']}"
        if path in self.objects:
            raise Refusal(409, f'"{value["metadata"]["name"]}" already exists')
        self.put(path, value)
        return self.objects[path]

    def _updated(self, path: str, value: Json) -> Json:
        if value["metadata"].get("resourceVersion") != self._version_of(path):
            raise Refusal(409, "the object has been modified; please apply your changes to it")
        self.put(path, value)
        return self.objects[path]

    def _patched(self, path: str, patch: list[Json], kind: str) -> Json:
        if kind != "application/json-patch+json":
            raise Refusal(415, f"the body of the request was in an unknown format: {kind}")
        try:
            self.put(path, jsonpatch.apply_patch(self.objects[path], patch))
        except jsonpatch.JsonPatchException as fault:
            raise Refusal(422, "the server rejected our request due to an error") from fault
        return self.objects[path]

    def _version_of(self, path: str) -> str:
        version: str = self.objects[path]["metadata"]["resourceVersion"]
        return version

    # --- HTTP ---

    def _context(self, folder: Path) -> ssl.SSLContext:
        root = Signer.root("the cluster's")
        self.ca.write_bytes(root.certificate.public_bytes(Encoding.PEM))
        made = root.issue(
            Shape(uris=(), dns=("localhost",), ips=("127.0.0.1",), extended=(SERVER,))
        )
        file = folder / "api-server.pem"
        file.write_bytes(made.key_pem() + made.chain_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

            def _do(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body, status = self.rfile.read(length), 200
                try:
                    words = (self.headers["Authorization"], body, self.headers["Content-Type"])
                    value = server.answer(self.command, self.path, *words)
                    status = 201 if self.command == "POST" else 200
                except Refusal as refusal:
                    status, value = refusal.status, _status(refusal)
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = _do  # noqa: N815 - the library's names

        return Handler


def _status(refusal: Refusal) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(refusal),
        "reason": _REASONS.get(refusal.status, "Unknown"),
        "code": refusal.status,
    }
