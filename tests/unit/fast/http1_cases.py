"""The HTTP/1 part of the fault table: each row as bytes, and the verdict that the codec gives.

Rows are those of the design's fault table (RFC 9110, 9112). A case stands once; the tests cut it at
every byte, and the wire tests send it through a real proxy.
"""

from typing import Final, NamedTuple

GET: Final = b"GET /x HTTP/1.1\r\n"
HOST: Final = b"Host: a.example\r\n"


class Case(NamedTuple):
    """A whole head and the verdict: 0, or the status to refuse it with."""

    id: str
    head: bytes
    verdict: int


def get(*fields: bytes, verdict: int, row: str) -> Case:
    """GET with a Host and these field lines."""
    return Case(row, GET + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n", verdict)


def line(text: bytes, *, verdict: int, row: str) -> Case:
    """Another request line."""
    return Case(row, text + b"\r\n" + HOST + b"\r\n", verdict)


def bare(head: bytes, *, verdict: int, row: str) -> Case:
    return Case(row, head, verdict)


TE = b"Transfer-Encoding: chunked"
LENGTH_CASES = [
    get(b"Content-Length: " + value, verdict=400, row=f"3-length-{value!r}")
    for value in (
        *(b"+5", b"-1", b"0x5", b"5 5", b"", b"5,5", b"5, 6", b"5;", b"5_0", b"0.5", b"1e3", b"a"),
        *(b"9223372036854775808", b"18446744073709551616", b"00000000000000000001", b"\xb2"),
    )
]
ACCEPTED_LENGTHS = [
    get(b"Content-Length: " + value, verdict=0, row=f"3-length-{value.decode()}")
    for value in (b"0", b"5", b"00", b"007", b"9223372036854775807", b" \t 5 \t ")
]
CODING_CASES = [
    get(b"Transfer-Encoding: " + value, verdict=verdict, row=f"4-coding-{value!r}")
    for value, verdict in (
        *((b"xchunked", 400), (b"gzip", 400), (b"identity", 400), (b"chunked, gzip", 400)),
        *((b"", 400), (b"chunked,", 400), (b"chunkedd", 400), (b"\x0bchunked", 400)),
        *((b"chunked;q=1", 400), (b'"chunked"', 400), (b"chunked, chunked", 501)),
        *((b"gzip, chunked", 501), (b"gzip,chunked", 501), (b"identity, chunked", 501)),
        *((b"chunked", 0), (b"Chunked", 0), (b"CHUNKED", 0), (b"  chunked\t", 0)),
    )
]
FIELD_CASES = [
    get(b"Content-Length: 5", TE, verdict=400, row="1-length-and-chunked"),
    get(TE, b"Content-Length: 5", verdict=400, row="1-chunked-and-length"),
    get(b"Content-Length: 5", b"Content-Length: 6", verdict=400, row="2-two-lengths"),
    get(b"Content-Length: 5", b"content-length: 5", verdict=400, row="2-the-same-length-twice"),
    get(TE, TE, verdict=400, row="4-chunked-twice"),
    get(TE, b"Transfer-Encoding: gzip", verdict=400, row="4-chunked-then-gzip"),
    get(b"Transfer-Encoding : chunked", verdict=400, row="7-space-before-the-colon"),
    get(b"Transfer-Encoding\t: chunked", verdict=400, row="7-tab-before-the-colon"),
    get(b"Content-Length : 5", verdict=400, row="7-space-before-the-colon-of-length"),
    get(b"X: a", b" folded", verdict=400, row="8-folded-line"),
    get(b"X: a", b"\tfolded", verdict=400, row="8-folded-by-a-tab"),
    get(b"X:", b" Transfer-Encoding: chunked", verdict=400, row="8-folded-framing"),
    bare(GET + b" Host: a\r\n\r\n", verdict=400, row="15-space-before-the-first-field"),
    bare(GET + b"\tX: y\r\n" + HOST + b"\r\n", verdict=400, row="15-tab-before-the-first-field"),
    get(b": no name", verdict=400, row="14-empty-name"),
    get(b"no colon", verdict=400, row="14-no-colon"),
    get(b"no-colon", verdict=400, row="14-no-colon-in-a-token"),
    get("größe: 5".encode("latin-1"), verdict=400, row="14-name-beyond-ascii"),
    get(b"a b: c", verdict=400, row="14-space-in-a-name"),
    get(b"a@b: c", verdict=400, row="14-no-token"),
    get(b"[a]: c", verdict=400, row="14-brackets-in-a-name"),
    get(b"X\0: c", verdict=400, row="14-nul-in-a-name"),
    get(b"Connection: a b", verdict=0, row="25-names-apart-by-a-space"),
    get(b"Connection: a;b", verdict=400, row="25-no-token-in-connection"),
    get(b'Connection: "close"', verdict=400, row="25-quoted-name-in-connection"),
    get(b"Connection: " + b",".join([b"x"] * 32), verdict=0, row="25-most-names"),
    get(b"Connection: " + b",".join([b"x"] * 33), verdict=400, row="25-one-name-too-many"),
    get(b"Expect: 200-ok", verdict=417, row="26-unknown-expectation"),
    get(b"Expect: ", verdict=417, row="26-no-expectation"),
    get(b"Expect: 100-continue, x", verdict=417, row="26-two-expectations"),
    get(b"Expect: 100-Continue", verdict=0, row="26-the-one-expectation"),
    get(b"X: \xe9\xff\t ~", verdict=0, row="13-bytes-beyond-ascii-in-a-value"),
    get(b"X:", verdict=0, row="13-no-value"),
    get(b"X:\t \t", verdict=0, row="13-nothing-but-blanks"),
]
CONTROL_CASES = [
    get(b"X: a" + bytes([byte]) + b"b", verdict=400, row=f"13-control-{byte:02x}")
    for byte in (*range(9), *range(0x0B, 0x20), 0x7F)
    if byte != 0x0A
]
HOST_CASES = [
    bare(GET + b"\r\n", verdict=400, row="16-no-host"),
    bare(GET + HOST + HOST + b"\r\n", verdict=400, row="16-two-hosts"),
    bare(b"GET / HTTP/1.0\r\n\r\n", verdict=0, row="16-no-host-in-1.0"),
    bare(b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", verdict=400, row="16-two-hosts-in-1.0"),
    *(
        bare(GET + b"Host: " + value + b"\r\n\r\n", verdict=verdict, row=f"16-host-{value!r}")
        for value, verdict in (
            *((b"a/b", 400), (b"user@a", 400), (b"a, b", 400), (b"a,b", 400), (b"a b", 400)),
            *((b"http://a", 400), (b"a?b", 400), (b"a#b", 400), (b"\xe9", 400), (b"a\\b", 400)),
            *((b"", 0), (b"a", 0), (b"a.example:8080", 0), (b"[::1]:80", 0), (b"a_b", 0)),
            *((b"a%20b", 0), (b"xn--e1a", 0), (b"192.0.2.1", 0)),
        )
    ),
]
LINE_CASES = [
    *(
        line(text, verdict=400, row=f"18-line-{text!r}")
        for text in (
            *(b"GET /a b HTTP/1.1", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 "),
            *(b" GET / HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b"GET /#x HTTP/1.1"),
            *(b"GET /\x01 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET /\xc3\xa9 HTTP/1.1", b"GET"),
            *(b"GET ", b"GET /", b"GET / ", b"/ HTTP/1.1", b"GET HTTP/1.1", b"GET  HTTP/1.1"),
            *(b"G@T / HTTP/1.1", b"GET\0 / HTTP/1.1", b"GET /\0 HTTP/1.1", b"GET / HTTP/1.1\0"),
            *(b"GET / HTTP /1.1", b"GET / HTTP/1.1\rX: y", b"GET x HTTP/1.1", b"GET ?x HTTP/1.1"),
            *(b"GET * HTTP/1.1", b"OPTIONS ** HTTP/1.1", b"GET http:/a HTTP/1.1"),
            *(b"GET ftp://a/ HTTP/1.1", b"GET http:// HTTP/1.1", b"GET https:// HTTP/1.1"),
            *(b"CONNECT / HTTP/1.1", b"CONNECT http://a:1/ HTTP/1.1", b"CONNECT a@b:1 HTTP/1.1"),
        )
    ),
    *(
        line(b"GET / " + version, verdict=verdict, row=f"21-version-{version!r}")
        for version, verdict in (
            *((b"http/1.1", 400), (b"HTTP/01.1", 400), (b"HTTP/1.01", 400), (b"HTTP/1", 400)),
            *((b"HTTP/1.x", 400), (b"HTTP/x.1", 400), (b"HTTP-1.1", 400), (b"HTTQ/1.1", 400)),
            *((b"HTTP/1,1", 400), (b"HTTP/+1.1", 400), (b"HTTP/1.1.1", 400), (b"XTTP/1.1", 400)),
            *((b"HTTP/0.9", 505), (b"HTTP/1.2", 505), (b"HTTP/1.9", 505), (b"HTTP/2.0", 505)),
            *((b"HTTP/3.0", 505), (b"HTTP/9.9", 505), (b"HTTP/1.0", 0), (b"HTTP/1.1", 0)),
        )
    ),
    *(
        line(text, verdict=0, row=f"18-good-{text!r}")
        for text in (
            *(b"GET http://a.example/x?y HTTP/1.1", b"GET https://a.example HTTP/1.1"),
            *(b"GET HTTP://A/ HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT a.example:443 HTTP/1.1"),
            *(
                b'GET /%00%0d?a=[]{}|\\^`"<> HTTP/1.1',
                b"get / HTTP/1.1",
                b"X!#$%&'*+-.^_`|~9 / HTTP/1.1",
            ),
        )
    ),
    bare(b"POST / HTTP/1.0\r\n" + TE + b"\r\n\r\n", verdict=400, row="6-chunked-in-1.0"),
    bare(b"POST / HTTP/1.0\r\nExpect: x\r\n\r\n", verdict=0, row="26-expectation-in-1.0"),
    bare(
        b"TRACE / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n", verdict=400, row="24-trace"
    ),
    bare(b"TRACE / HTTP/1.1\r\n" + HOST + TE + b"\r\n\r\n", verdict=400, row="24-trace-chunked"),
    *(
        bare(
            b"CONNECT a:1 HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n",
            verdict=verdict,
            row=f"24-{row}",
        )
        for row, field, verdict in (
            ("connect-with-a-length", b"Content-Length: 5", 400),
            ("connect-chunked", TE, 400),
            ("connect-of-length-0", b"Content-Length: 0", 0),
        )
    ),
    bare(b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", verdict=0, row="24-trace-without-a-body"),
]
LIMIT_CASES = [
    line(b"GET /" + b"x" * (16_384 - 16) + b" HTTP/1.1", verdict=0, row="19-longest-line"),
    line(b"GET /" + b"x" * (16_384 - 15) + b" HTTP/1.1", verdict=414, row="19-line-too-long"),
    get(*(b"a: b",) * 99, verdict=0, row="20-most-fields"),
    get(*(b"a: b",) * 100, verdict=431, row="20-one-field-too-many"),
    get(b"Cookie: " + b"x" * 60_000, verdict=0, row="20-a-large-field"),
]
CASES: Final = [
    *(*LENGTH_CASES, *ACCEPTED_LENGTHS, *CODING_CASES, *FIELD_CASES, *CONTROL_CASES, *HOST_CASES),
    *(*LINE_CASES, *LIMIT_CASES),
]

# Bytes in which no head can be found, or none that may be taken: the verdict of the scan.
BROKEN_LINES: Final = [
    Case("10-bare-lf-behind-the-line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    Case("10-bare-lf-behind-a-field", GET + b"Host: a\nX: y\r\n\r\n", 400),
    Case("10-bare-lf-at-the-end", GET + HOST + b"\n", 400),
    Case("10-lf-only", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    Case("10-lf-cr", b"GET / HTTP/1.1\r\nHost: a\n\r\r\n", 400),
    Case("13-lf-in-a-value", GET + b"X: a\nb\r\n\r\n", 400),
    Case("21-http-0.9", b"GET /\n", 400),
    Case("15-empty-line-first", b"\r\nX: y\r\n\r\n", 400),
    Case("15-lf-first", b"\nGET / HTTP/1.1\r\n\r\n", 400),
]
