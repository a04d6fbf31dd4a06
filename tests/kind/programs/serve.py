"""The application of the tests: answers with a word that nobody else would say, and its own name.

Not to the kubelet, which asks for /healthz in plaintext: the word is looked for on the wire.

    python3 -c TEXT PORT WORD
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PORT, WORD = int(sys.argv[1]), sys.argv[2]


class Server(ThreadingHTTPServer):
    daemon_threads = False  # its end waits for the answers that are under way


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        word = "well" if self.path == "/healthz" else WORD
        text = f"{word} {os.uname().nodename} {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_words: object) -> None:
        pass


server = Server(("", PORT), Handler)
# Process 1 of a container: without a handler SIGTERM would do nothing.
signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
print(f"serving {server.server_address[1]}", flush=True)
server.serve_forever()
server.server_close()
