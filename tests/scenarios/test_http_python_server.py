"""Upstreams of Python's own library, in both versions of HTTP/1, with its client and with curl."""

import hashlib
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.support.apps import BODY, http_server_1_0, http_server_1_1
from tests.support.rig import Rig
from tests.support.sockets import Address
from tests.support.tools import listening_for, said_by, two_sidecars
from tests.support.waiting import PATIENCE_S


@pytest.fixture(params=[http_server_1_0, http_server_1_1], ids=["1.0", "1.1"])
def address(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Address]:
    listener, target = listening_for(rig)
    with request.param(listener):
        yield two_sidecars(rig, target)


def sha256_in(answer: bytes | str) -> str:
    """Return what the app says of the body that it got."""
    return str(json.loads(answer)["sha256"])


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
    digest = hashlib.sha256(BODY).hexdigest()
    parts = (BODY[at : at + 9_999] for at in range(0, len(BODY), 9_999))
    try:
        connection.request("POST", "/", BODY)
        assert sha256_in(connection.getresponse().read()) == digest
        connection.request("PUT", "/", parts, encode_chunked=True)
        assert sha256_in(connection.getresponse().read()) == digest
    finally:
        connection.close()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_downloads_and_uploads(address: Address, version: str) -> None:
    url = "http://{}:{}/".format(*address)
    curl = ("curl", "-sS", "--max-time", "30", version)
    digest = hashlib.sha256(BODY).hexdigest()
    assert sha256_in(said_by(*curl, "--data-binary", "@-", url, stdin=BODY)) == digest
    if version == "--http1.1":
        assert sha256_in(said_by(*curl, "-T", "-", url, stdin=BODY)) == digest
