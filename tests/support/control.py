"""Speaking to the operator socket and to the admin server, as an operator and Prometheus do."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.sockets import Address
from tests.support.waiting import PATIENCE_S


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Refused(Exception):  # noqa: N818 - the proxy said no, which a test may want to see
    """The operator socket answered with another status than 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


def ask(path: Path, target: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET `target`, or POST it when there is a body; returns the JSON answer."""
    connection = _UnixConnection(path)
    try:
        if body is None:
            connection.request("GET", target)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", target, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Refused(answer.status, text)
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def fetch(address: Address, target: str) -> tuple[int, str]:
    """GET over TCP; returns (status, body)."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Metrics:
    """One scrape. Call it with a sample's name and some labels to get the sum over the others."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        wanted = labels.items()
        return sum(s.value for s in self.samples if s.name == name and wanted <= s.labels.items())

    def has(self, name: str) -> bool:
        return any(sample.name == name for sample in self.samples)
