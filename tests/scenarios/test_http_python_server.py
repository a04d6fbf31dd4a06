"""Upstreams of Python's own library, in both versions of HTTP/1, with its client and with curl."""

import hashlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import parse_qs, urlparse

import pytest

from tests.support.rig import Rig
from tests.support.sockets import Address
from tests.support.tools import said_by, two_sidecars
from tests.support.transfers import MIB, Payload
from tests.support.waiting import PATIENCE_S

BODY = b"".join(Payload(3, 2 * MIB).blocks())


class Handler(http.server.BaseHTTPRequestHandler):
    """GET: as many bytes as `size` says. POST and PUT: the digest of what came."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        query = parse_qs(urlparse(self.path).query)
        self.answer(BODY[: int(query.get("size", ["5"])[0])])

    def do_POST(self) -> None:
        self.answer(hashlib.sha256(self.body()).hexdigest().encode())

    def do_PUT(self) -> None:
        self.do_POST()

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Handler10(Handler):
    protocol_version = "HTTP/1.0"


class Handler11(Handler):
    protocol_version = "HTTP/1.1"


@pytest.fixture(params=[Handler10, Handler11], ids=["1.0", "1.1"])
def address(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Address]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield two_sidecars(rig, (str(host), port))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_librarys_own_client_asks_again_and_again(address: Address) -> None:
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        for size in (0, 1, 1_000, 100_000, len(BODY)) * 3:
            connection.request("GET", f"/?size={size}")
            assert connection.getresponse().read() == BODY[:size]
    finally:
        connection.close()


def test_its_uploads_arrive_whole_in_both_framings(address: Address) -> None:
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    digest = hashlib.sha256(BODY).hexdigest().encode()
    parts = (BODY[at : at + 9_999] for at in range(0, len(BODY), 9_999))
    try:
        connection.request("POST", "/", BODY)
        assert connection.getresponse().read() == digest
        connection.request("PUT", "/", parts, encode_chunked=True)
        assert connection.getresponse().read() == digest
    finally:
        connection.close()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_downloads_and_uploads(address: Address, version: str) -> None:
    url = "http://{}:{}/".format(*address)
    curl = ("curl", "-sS", "--max-time", "30", version)
    digest = hashlib.sha256(BODY).hexdigest()
    assert said_by(*curl, "--data-binary", "@-", url, stdin=BODY) == digest
    if version == "--http1.1":
        assert said_by(*curl, "-T", "-", url, stdin=BODY) == digest
