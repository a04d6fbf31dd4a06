"""A pod whose sidecar is the image: the containers that injection writes, run as they ask for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess
from typing import Any, Final

from deploy.image import container
from deploy.image.container import Container, Place
from deploy.image.measure import injected
from inject.reasons import INIT, PROXY
from tests.netns.harness import Pods
from tests.netns.stage import ADMIN_PORT, APP_PORT
from tests.support import control
from tests.support.waiting import eventually

# What the kubelet fills in.
ENVIRONMENT: Final = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop", "REMORA_NAMESPACE": "shop"}

# An application of no more than a line. It says who asked.
_APP: Final = """
import http.server, socketserver, sys
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path} for {self.client_address[0]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
# An HTTPServer asks for the name of its address first, and nobody answers here.
socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), App).serve_forever()
"""


class ContainerPod:
    """`left` of two pods; `right` is everybody else."""

    def __init__(self, pods: Pods, place: Place) -> None:
        self.here, self.elsewhere = pods
        self.address = self.here.addresses["ipv4"]
        self._place = place

    def init(self, *flags: str, **changes: Any) -> CompletedProcess[str]:  # noqa: ANN401 - JSON
        """Run the init step to its end."""
        step, volumes = injected(INIT)
        step = {**step, "args": [*step["args"], *flags], **changes}
        return container.run(step, volumes, self._place)

    @contextmanager
    def proxy(self) -> Iterator[Container]:
        """Run the proxy, which is ready."""
        raw, volumes = injected(PROXY)
        with container.running(raw, volumes, self._place) as made:
            eventually("the proxy to be ready", lambda: self.probe("/ready") == 200)
            yield made

    def probe(self, path: str) -> int:
        """Return what the kubelet would see; 0 where nobody answers."""
        try:
            return self.elsewhere.call(control.fetch, (self.address, ADMIN_PORT), path)[0]
        except OSError:
            return 0

    def metrics(self) -> control.Metrics:
        text = self.elsewhere.call(control.fetch, (self.address, ADMIN_PORT), "/metrics")[1]
        return control.Metrics(text)

    def start_app(self) -> None:
        """Start the application."""
        words = [sys.executable, "-c", _APP, self.address, str(APP_PORT)]
        self.here.popen(words)
        eventually("the application to listen", self._app_listens)

    def _app_listens(self) -> bool:
        try:
            return self.here.call(control.fetch, (self.address, APP_PORT), "/")[0] == 200
        except OSError:
            return False

    def ask(self, path: str) -> str:
        """Ask the application from elsewhere, and return what it said."""
        status, said = self.elsewhere.call(control.fetch, (self.address, APP_PORT), path)
        assert status == 200, said
        return said
