"""curl, two sidecars and nginx: nobody of them is ours, and none may notice us."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import Rig
from tests.support.tools import Nginx, said_by, two_sidecars
from tests.support.transfers import MIB, Payload

BIG_BYTES = 20 * MIB
OWN = {"Date:", "Conne"}


class Site:
    """nginx behind two proxies, and where its files are."""

    def __init__(self, nginx: Nginx, url: str, direct: str) -> None:
        self.www = nginx.www
        self.url = url
        self.direct = direct

    def curl(self, *arguments: str, stdin: bytes = b"") -> str:
        return said_by("curl", "-sS", "--max-time", "30", *arguments, stdin=stdin)


@pytest.fixture
def site(rig: Rig, tmp_path: Path) -> Iterator[Site]:
    nginx = Nginx(tmp_path / "nginx")
    (nginx.www / "small.txt").write_text("small\n" * 100)
    with (nginx.www / "big.bin").open("wb") as file:
        file.writelines(Payload(7, BIG_BYTES).blocks())
    try:
        host, port = two_sidecars(rig, nginx.address)
        yield Site(nginx, f"http://{host}:{port}", "http://{}:{}".format(*nginx.address))
    finally:
        assert nginx.stop() == ""


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_a_file_arrives_as_it_is(site: Site, tmp_path: Path, version: str) -> None:
    for name in ("small.txt", "big.bin"):
        got = tmp_path / "got"
        site.curl(version, "-o", str(got), f"{site.url}/{name}")
        assert sha256_of(got) == sha256_of(site.www / name)


def test_many_files_come_over_one_connection(site: Site) -> None:
    urls = [f"{site.url}/small.txt"] * 20
    text = site.curl(
        *(word for url in urls for word in ("-o", "/dev/null", url)), "-w", "%{num_connects} "
    )
    assert text.split() == ["1"] + ["0"] * 19


def test_what_nginx_says_is_what_the_client_sees(site: Site) -> None:
    """Status line and fields are the same, in order and case, with and without us.

    But for Connection, which is for one hop, and the time of day.
    """
    cases = [
        *(["-I", "/small.txt"], ["-i", "/small.txt"], ["-i", "/missing"], ["-i", "/gone"]),
        *(["-i", "-r", "10-19", "/small.txt"], ["-i", "-X", "OPTIONS", "/small.txt"]),
        *(["-i", "-r", "99999-", "/small.txt"], ["-i", "-X", "DELETE", "/small.txt"]),
        ["-i", "-z", "tomorrow", "/small.txt"],
        ["-i", "/"],
    ]
    for *flags, path in cases:
        texts = [
            [line for line in site.curl(*flags, base + path).splitlines() if line[:5] not in OWN]
            for base in (site.direct, site.url)
        ]
        assert texts[0] == texts[1], (flags, path)


def test_a_compressed_chunked_answer_is_unpacked_by_the_client(site: Site) -> None:
    text = site.curl("--compressed", "-D", "-", f"{site.url}/zipped/small.txt")
    assert "Transfer-Encoding: chunked" in text
    assert text.endswith("small\n" * 100)


def test_a_large_upload_waits_for_its_continuation_and_is_stored_whole(
    site: Site, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.writelines(Payload(8, BIG_BYTES).blocks())
    flags = ("-T", str(source), "-H", "Expect: 100-continue", "-o", "/dev/null")
    assert site.curl(*flags, "-w", "%{http_code}", f"{site.url}/put/file") == "201"
    assert sha256_of(site.www / "put" / "file") == sha256_of(source)


def test_a_chunked_upload_is_stored_whole(site: Site) -> None:
    body = b"".join(Payload(9, 3 * MIB).blocks())
    url = f"{site.url}/put/chunked"
    flags = ("-T", "-", "-o", "/dev/null", "-w", "%{http_code}")
    assert site.curl("-H", "Expect:", *flags, url, stdin=body) == "201"
    assert (site.www / "put" / "chunked").read_bytes() == body


def test_an_upstream_that_closes_after_each_answer_is_served_on(site: Site) -> None:
    urls = [f"{site.url}/once"] * 5
    assert site.curl(*urls) == "once" * 5


def test_the_host_that_was_asked_for_is_the_one_that_is_served(site: Site) -> None:
    text = site.curl("-H", "Host: shop.example:8080", f"{site.url}/said")
    assert text == "GET shop.example:8080 HTTP/1.1"


def test_a_client_that_takes_us_for_a_forward_proxy_is_served(site: Site) -> None:
    """curl -x sends the target in absolute form."""
    text = site.curl("-x", site.url, "http://shop.example/said")
    assert text == "GET shop.example HTTP/1.1"


def test_a_client_that_offers_http2_by_upgrade_gets_http1(site: Site) -> None:
    text = site.curl("--http2", "-w", " %{http_version}", f"{site.url}/said")
    assert text.startswith("GET ")
    assert text.endswith(" 1.1")


def test_many_clients_at_once(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    names = ("small.txt", "big.bin")
    arguments = [
        word
        for number in range(24)
        for word in ("-o", str(folder / f"{number}"), f"{site.url}/{names[number % 2]}")
    ]
    site.curl("-Z", "--parallel-max", "12", *arguments)
    for number in range(24):
        assert sha256_of(folder / f"{number}") == sha256_of(site.www / names[number % 2])
