"""A small application, as containers of the lifecycle tests run it. Its output tells the test.

    app.py serve PORT [--on-term exit|ignore|call=URL|once=URL|linger=SECONDS] [--after SECONDS]
    app.py call URL          one request; exit 0 if it was answered with 200
    app.py idle              waits for SIGTERM

`serve` answers /slow?SECONDS late, /stream with a line every 50 ms for ever, and anything else with
its name at once; with keep-alive.
"""

import argparse
import http.client
import http.server
import os
import signal
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any, ClassVar

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def called(url: str) -> str:
    """Return the status of an answer, or what came in its place."""
    try:
        with _OPENER.open(url, timeout=5) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as fault:
        return str(fault.code)
    except (OSError, http.client.HTTPException) as fault:
        return f"failed: {fault}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_healthy: ClassVar[bool] = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/stream":
            self.stream()
            return
        if path == "/slow":
            say("slow begins")
            time.sleep(float(query))
        if path == "/sicken":
            Handler.is_healthy = False
        is_good = path != "/healthz" or Handler.is_healthy
        self.answer(200 if is_good else 500, os.environ.get("HOSTNAME", "").encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"5\r\ntick\n\r\n")
            time.sleep(0.05)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks for the name of its address: there is no resolver here.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401 - as it is declared
        pass


def serve(port: int, on_term: str) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    server = Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    say("serving")
    ended.wait()
    say("SIGTERM")
    what, _, value = on_term.partition("=")
    if what == "ignore":
        threading.Event().wait()
    if what == "linger":
        time.sleep(float(value))
    if what == "once":
        say(f"answer: {called(value)}")
    if what == "call":
        # As an application that tells others, for a second, that it goes.
        for number in range(10):
            say(f"call {number}: {called(value)}")
            time.sleep(0.1)
    say("bye")
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve", "call", "idle"))
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--on-term", default="exit")
    parser.add_argument("--after", type=float, default=0.0)
    chosen = parser.parse_args()
    time.sleep(chosen.after)
    if chosen.what == "serve":
        serve(int(chosen.word), chosen.on_term)
    elif chosen.what == "call":
        answer = called(chosen.word)
        say(answer)
        return 0 if answer.startswith("200") else 1
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        say("idle")
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
