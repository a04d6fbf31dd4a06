"""Endpoints for the pages of this folder: small HTTP servers that tell their address.

    python3 docs/traffic/hello.py ADDRESS:PORT[=HOW] ... &

answers every request with a line that tells the address, the method and the target. HOW is a
status instead of 200 (=503), a pause before the answer (=300ms), or `banner`: no HTTP, a line for
everybody who comes. To a path that begins with /headers the header fields are told, too.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Hello(BaseHTTPRequestHandler):
    """Answers as its server was told to."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    status = 200
    pause_s = 0.0

    def answer(self) -> None:
        """Answer any request."""
        self.rfile.read(int(self.headers.get("content-length", "0")))
        time.sleep(self.pause_s)
        text = f"{self.server.server_address[0]}: {self.command} {self.path}\n"
        if self.path.startswith("/headers"):
            text += "".join(f"  {name}: {value}\n" for name, value in self.headers.items())
        body = text.encode()
        self.send_response(self.status)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Bears it that others close connections: a proxy that tries elsewhere does."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


class Banner(BaseRequestHandler):
    """Speaks first, and then no more."""

    def handle(self) -> None:
        """Serve one connection."""
        self.request.sendall(f"hello from {self.server.server_address[0]}\n".encode())


def serve(word: str) -> None:
    """Begin to serve what one word asks for."""
    place, _, how = word.partition("=")
    host, _, port = place.partition(":")
    address = (host, int(port))
    ThreadingTCPServer.allow_reuse_address = ThreadingTCPServer.daemon_threads = True
    server: ThreadingTCPServer
    if how == "banner":
        server = ThreadingTCPServer(address, Banner)
    else:
        told: dict[str, object] = {}
        if how.endswith("ms"):
            told["pause_s"] = int(how.removesuffix("ms")) / 1000
        elif how:
            told["status"] = int(how)
        server = Server(address, type("Hello", (Hello,), told))
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    for each in sys.argv[1:]:
        serve(each)
    print("listening at", *sys.argv[1:], flush=True)
    threading.Event().wait()
