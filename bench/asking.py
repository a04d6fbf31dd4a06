"""One HTTP request as bench/c/http.h wants it, made here: for probes and for odd statuses."""


def item_request(response_bytes: int, status: int = 200) -> bytes:
    """Ask the upstream for a body of that length under that status."""
    lines = [
        f"GET /v1/items/{0:016x}?bytes={response_bytes}&status={status}&cookie=0 HTTP/1.1",
        "Host: items.bench.example",
        "User-Agent: remora-bench/1.0 (Linux)",
        "Accept: application/json, */*;q=0.5",
        "Accept-Encoding: gzip, br",
        "Accept-Language: en",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
