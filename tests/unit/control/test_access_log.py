"""Lines of the access log: what they hold, and that no stranger can write one."""

import json
import re

import pytest

from proxy.access_log import STYLES
from tests.unit.control.records import TRACE, connection, request

# Every byte, as the data plane hands over what strangers sent.
EVERY_BYTE = "".join(map(chr, range(256)))
STRANGERS_FIELDS = ("method", "target", "host", "user_agent", "request_id", "traceparent")
# One line of the combined format, as readers of it take it apart.
COMBINED = re.compile(
    r'(?P<host>\S+) - - \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)"'
    r' (?P<status>\S+) (?P<bytes>\S+) "-" "(?P<agent>(?:[^"\\]|\\.)*)"\n'
)


def fields_of_combined(**changes: object) -> dict[str, str]:
    match = COMBINED.fullmatch(STYLES["combined"].request(request(**changes)))
    assert match
    return match.groupdict()


def test_a_json_line_holds_a_connection_whole() -> None:
    style = STYLES["json"]
    assert style.connection
    line = json.loads(style.connection(connection()))
    assert list(line)[:2] == ["time", "kind"]
    assert (line["time"], line["kind"]) == ("2023-11-14T22:13:20.000000Z", "connection")
    assert line["original_dst"] == "[fd00::1]:443"
    assert (line["connect_ms"], line["duration_ms"]) == (1.5, 20.25)
    assert (line["received_bytes"], line["sent_bytes"]) == (100, 2_000)


def test_a_json_line_holds_a_request_whole() -> None:
    line = json.loads(STYLES["json"].request(request()))
    assert line == {
        "time": "2023-11-14T22:13:20.250000Z",
        "kind": "request",
        "connection_id": 7,
        "direction": "inbound",
        "service": "shop/cart",
        "method": "GET",
        "target": "/cart?item=3",
        "host": "shop.example",
        "version": "HTTP/1.1",
        "status": 200,
        "flag": "-",
        "request_bytes": 0,
        "response_bytes": 512,
        "proxy_ms": 1.0,
        "upstream_ms": 3.5,
        "duration_ms": 5.0,
        "attempts": 1,
        "downstream": "10.0.0.1:40000",
        "upstream": "127.0.0.1:8080",
        "tls": False,
        "peer_identity": "",
        "request_id": "a1b2",
        "trace_id": TRACE,
        "user_agent": "curl/8.5.0",
        "worker": 0,
    }


def test_a_text_line_leaves_out_what_is_empty() -> None:
    style = STYLES["text"]
    assert style.connection
    line = style.connection(connection(sni="", connect_us=-1))
    assert "sni" not in line
    assert "connect_ms" not in line
    assert "received_bytes=100 sent_bytes=2000" in line


def test_a_line_names_who_is_beyond_mesh_tls() -> None:
    peer = "spiffe://cluster.local/ns/shop/sa/web"
    meshed = request(mesh=True, peer=peer)
    line = json.loads(STYLES["json"].request(meshed))
    assert (line["tls"], line["peer_identity"]) == (True, peer)
    style = STYLES["text"]
    assert style.connection
    for text in (style.request(meshed), style.connection(connection(mesh=True, peer=peer))):
        assert f" tls=true peer_identity={peer} " in text


def test_a_text_line_of_a_request_begins_with_its_time_and_kind() -> None:
    line = STYLES["text"].request(request(target="/"))
    assert line.startswith("2023-11-14T22:13:20.250000Z kind=request ")
    assert " method=GET target=/ host=shop.example version=HTTP/1.1 status=200 " in line


def test_a_combined_line_is_apaches() -> None:
    assert STYLES["combined"].request(request()) == (
        '10.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /cart?item=3 HTTP/1.1" 200 512 "-"'
        ' "curl/8.5.0"\n'
    )


def test_a_combined_line_has_dashes_where_there_is_nothing() -> None:
    fields = fields_of_combined(status=0, response_bytes=0, user_agent="", downstream=("", 0))
    assert [fields[name] for name in ("host", "status", "bytes", "agent")] == ["-"] * 4


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ('a"b', r"a\"b"),
        ("a\\b", r"a\\b"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x00\x1b\x7f", r"\x00\x1b\x7f"),
        ("caf\xc3\xa9", r"caf\xc3\xa9"),
    ],
)
def test_a_combined_line_escapes_as_apache_does(word: str, written: str) -> None:
    assert fields_of_combined(user_agent=word)["agent"] == written
    assert fields_of_combined(target=word)["request"] == f"GET {written} HTTP/1.1"


@pytest.mark.parametrize("style", STYLES)
def test_strangers_words_cannot_forge_a_line_or_command_a_terminal(style: str) -> None:
    hostile = request(**dict.fromkeys(STRANGERS_FIELDS, EVERY_BYTE))
    line = STYLES[style].request(hostile)
    assert line.endswith("\n")
    assert all(" " <= letter <= "~" for letter in line[:-1])


def test_strangers_words_cannot_forge_a_field_of_a_text_line() -> None:
    hostile = request(user_agent='x status=200 flag="-"', target="/?a=1 status=200")
    line = STYLES["text"].request(hostile._replace(status=503))
    outside_quotes = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
    assert re.findall(r"status=(\d+)", outside_quotes) == ["503"]


def test_json_gives_back_what_a_stranger_sent() -> None:
    line = json.loads(STYLES["json"].request(request(user_agent='a"\n\x1b\\b')))
    assert line["user_agent"] == 'a"\n\x1b\\b'


def test_a_server_name_cannot_forge_a_line() -> None:
    for style in STYLES.values():
        if style.connection:
            line = style.connection(connection(sni="a\nreason=ok \x1b[2J"))
            assert line.count("\n") == 1
            assert "\x1b" not in line
