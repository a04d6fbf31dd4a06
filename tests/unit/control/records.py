"""Records as the data plane posts them, with any field changed."""

from proxy.engine import Connection, Request

TRACE = "0af7651916cd43dd8448eb211c80319c"


def connection(number: int = 1, **changes: object) -> Connection:
    made = Connection(
        id=number,
        worker=0,
        direction="outbound",
        service="shop/web",
        phase="relaying",
        protocol="tls",
        speaker="downstream",
        reason="ok",
        downstream=("10.0.0.1", 40000),
        original_dst=("fd00::1", 443),
        upstream=("fd00::1", 443),
        sni="example.org",
        received_bytes=100,
        sent_bytes=2_000,
        opened_unix_us=1_700_000_000_000_000,
        connect_us=1_500,
        duration_us=20_250,
        spliced=False,
        mesh=False,
        peer="",
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def request(**changes: object) -> Request:
    made = Request(
        connection_id=7,
        worker=0,
        direction="inbound",
        service="shop/cart",
        method="GET",
        target="/cart?item=3",
        host="shop.example",
        user_agent="curl/8.5.0",
        request_id="a1b2",
        traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
        version="HTTP/1.1",
        status=200,
        flag="-",
        attempts=1,
        request_bytes=0,
        response_bytes=512,
        downstream=("10.0.0.1", 40000),
        upstream=("127.0.0.1", 8080),
        started_unix_us=1_700_000_000_250_000,
        sent_after_us=1_000,
        first_byte_after_us=4_500,
        duration_us=5_000,
        mesh=False,
        peer="",
    )
    return made._replace(**changes)  # type: ignore[arg-type]
