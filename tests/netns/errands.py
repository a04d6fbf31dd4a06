"""One errand, run by clients that are not ours: downloads, and uploads in both framings.

Each client asks the same five things over one connection and returns the bodies of the answers.
What it talks to is an app of tests/support/apps.py.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

import aiohttp
import httpx
import pytest
import requests

from tests.netns.harness import Namespace
from tests.support.apps import BODY
from tests.support.tools import plain_environment
from tests.support.waiting import PATIENCE_S

DOWNLOADS: Final = {f"/?size={size}": size for size in (0, 100_000, len(BODY))}
ASKED: Final = [*(("GET", target) for target in DOWNLOADS), ("POST", "/sized"), ("PUT", "/chunked")]
GIVEN_ID: Final = "given-by-the-caller"
_ID_FIELD: Final = {"X-Request-Id": GIVEN_ID}
_PROGRAMS: Final = Path(__file__).parent / "programs"
_GO_BUILD_S: Final = 280  # net/http and all below it, on a machine that never built them


@dataclass(frozen=True)
class Errand:
    """From where, to whom, and a folder for files."""

    pod: Namespace
    url: str
    folder: Path

    def body_file(self) -> Path:
        path = self.folder / "body"
        path.write_bytes(BODY)
        return path

    def files(self) -> list[bytes]:
        """Return the answers that a program has put into the folder, by their number."""
        return [(self.folder / str(number)).read_bytes() for number in range(len(ASKED))]


Client = Callable[[Errand], list[bytes]]


def _parts() -> Iterator[bytes]:
    return (BODY[at : at + 9_999] for at in range(0, len(BODY), 9_999))


async def _parts_in_time() -> AsyncIterator[bytes]:
    for part in _parts():
        yield part


# ---- libraries of Python ------------------------------------------------------------------------


def by_requests(errand: Errand) -> list[bytes]:
    return errand.pod.call(_by_requests, errand.url)


def _by_requests(url: str) -> list[bytes]:
    with requests.Session() as session:
        session.trust_env = False
        ask = partial(session.request, timeout=PATIENCE_S)
        answers = [ask("GET", url + target) for target in DOWNLOADS]
        answers.append(ask("POST", f"{url}/sized", data=BODY, headers=_ID_FIELD))
        answers.append(ask("PUT", f"{url}/chunked", data=_parts()))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


def by_httpx(errand: Errand) -> list[bytes]:
    return errand.pod.call(_by_httpx, errand.url)


def _by_httpx(url: str) -> list[bytes]:
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        answers = [client.get(url + target) for target in DOWNLOADS]
        answers.append(client.post(f"{url}/sized", content=BODY, headers=_ID_FIELD))
        answers.append(client.put(f"{url}/chunked", content=_parts()))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


def by_aiohttp(errand: Errand) -> list[bytes]:
    return errand.pod.call(lambda: asyncio.run(_by_aiohttp(errand.url)))


async def _by_aiohttp(url: str) -> list[bytes]:
    bodies = []
    patience = aiohttp.ClientTimeout(PATIENCE_S)
    async with aiohttp.ClientSession(timeout=patience, raise_for_status=True) as session:
        for target in DOWNLOADS:
            async with session.get(url + target) as answer:
                bodies.append(await answer.read())
        sized = session.post(f"{url}/sized", data=BytesIO(BODY), headers=_ID_FIELD, expect100=True)
        async with sized as answer:
            bodies.append(await answer.read())
        async with session.put(f"{url}/chunked", data=_parts_in_time()) as answer:
            bodies.append(await answer.read())
    return bodies


# ---- programs -----------------------------------------------------------------------------------


def by_curl(errand: Errand) -> list[bytes]:
    return _by_curl(errand, "--http1.1")


def by_curl_1_0(errand: Errand) -> list[bytes]:
    """curl sends no chunks then, and uploads both bodies with their length."""
    return _by_curl(errand, "--http1.0")


def _by_curl(errand: Errand, version: str) -> list[bytes]:
    body = str(errand.body_file())
    sized: tuple[str, ...] = ("-X", "POST", "-T", body, "-H", f"X-Request-Id: {GIVEN_ID}")
    chunked: tuple[str, ...] = ("-T", body)
    if version == "--http1.1":
        sized = (*sized, "-H", "Expect: 100-continue")
        chunked = (*chunked, "-H", "Transfer-Encoding: chunked", "-H", "Expect:")
    asked: list[tuple[str, ...]] = [
        *((target,) for target in DOWNLOADS),
        ("/sized", *sized),
        ("/chunked", *chunked),
    ]
    words: list[str] = []
    for number, (target, *flags) in enumerate(asked):
        own = (*flags, "-o", str(errand.folder / str(number)), errand.url + target)
        words += ["--next", *own, "-sSfg", version, "--max-time", str(PATIENCE_S)][number == 0 :]
    errand.pod.run(["curl", *words], env=plain_environment())
    return errand.files()


def by_go(errand: Errand) -> list[bytes]:
    program = _built(errand.folder / "client")
    words = (program, errand.url, errand.folder, errand.body_file())
    errand.pod.run([str(word) for word in words], env=plain_environment())
    return errand.files()


def _built(program: Path) -> Path:
    """Compile the client of Go, from its own library alone; Go keeps what it has compiled."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        pytest.skip("no go on this machine: its net/http client is not tried")
    environment = plain_environment() | {
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
    }
    subprocess.run(
        [go, "build", "-o", str(program), str(_PROGRAMS / "client.go")],
        check=True,
        env=environment,
        timeout=_GO_BUILD_S,
    )
    return program
