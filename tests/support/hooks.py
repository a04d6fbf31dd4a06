"""A mutating webhook of a test's own, over TLS, and the configuration that has it asked."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from inject.patch import Operation
from tests.support.svids import Shape, Signer, Svid

Json = dict[str, Any]
# What is to be done with a pod of a namespace.
Mutate = Callable[[Json, str], Sequence[Operation]]


class Hook(Protocol):
    """Makes the API server ask a webhook of the test, as long as the test runs."""

    def __call__(self, name: str, mutate: Mutate, *entries: Json, dns: str = ...) -> "Admission":
        """Start it and apply its configuration, which has these entries."""


class Admission:
    """Listens on loopback; `url` and `ca` are for its configuration."""

    def __init__(self, folder: Path, mutate: Mutate, *names: str) -> None:
        authority = Signer.root("of a webhook")
        self.svid = authority.issue(Shape(uris=(), dns=("localhost", *names)))
        self.ca = Svid(authority.key, (authority.certificate,)).chain_pem()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(mutate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        crt, key = folder / "hook.crt", folder / "hook.key"
        crt.write_bytes(self.svid.chain_pem())
        key.write_bytes(self.svid.key_pem())
        context.load_cert_chain(crt, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}/inject"
        self._thread = threading.Thread(target=self._server.serve_forever, name="admission")
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def configuration(name: str, url: str, ca: bytes, *entries: Json) -> Json:
    """Return the configuration of a webhook at a URL; each entry adds its name and selectors."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    common = {
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": url, "caBundle": base64.b64encode(ca).decode()},
        "failurePolicy": "Fail",
        "rules": [rule],
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{**common, **entry} for entry in entries],
    }


def _handler(mutate: Mutate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = json.loads(body)["request"]
            patch = [each.as_json() for each in mutate(request["object"], request["namespace"])]
            encoded = base64.b64encode(json.dumps(patch).encode()).decode()
            response = {
                "uid": request["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": encoded,
            }
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            page = json.dumps({**review, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
