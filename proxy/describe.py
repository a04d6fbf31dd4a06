"""Records of the data plane as the access log and the operator's socket show them."""

import re
from typing import Final

from proxy.engine import Connection, Request
from proxy.errors import explain
from proxy.logs import timestamp

Fields = dict[str, object]

# W3C Trace Context section 3.2.2: version, trace id, parent id, flags.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def connection(record: Connection) -> Fields:
    """Return a connection, open or closed."""
    return {
        "id": record.id,
        "time": timestamp(record.opened_unix_us),
        "direction": record.direction,
        "service": record.service,
        "phase": record.phase,
        "protocol": record.protocol,
        "speaker": record.speaker,
        "reason": record.reason,
        "flag": explain(record.reason).flag,
        "downstream": address_text(record.downstream),
        "original_dst": address_text(record.original_dst),
        "upstream": address_text(record.upstream),
        "sni": record.sni,
        "tls": record.mesh,
        "peer_identity": record.peer,
        "received_bytes": record.received_bytes,
        "sent_bytes": record.sent_bytes,
        "connect_ms": record.connect_us / 1000 if record.connect_us >= 0 else None,
        "duration_ms": record.duration_us / 1000,
        "spliced": record.spliced,
        "worker": record.worker,
    }


def request(record: Request) -> Fields:
    """Return a finished request.

    `proxy_ms` ends when its head went upstream, and holds the wait for the head and for a
    connection; `upstream_ms` goes from there to the first byte of the upstream's final answer
    (without one, to the end), None if nothing was sent. What is left of `duration_ms` is the body.
    """
    sent_us, first_us = record.sent_after_us, record.first_byte_after_us
    was_sent = bool(sent_us or first_us)
    waited_us = (first_us or record.duration_us) - sent_us
    return {
        "connection_id": record.connection_id,
        "time": timestamp(record.started_unix_us),
        "direction": record.direction,
        "service": record.service,
        "method": readable(record.method),
        "target": readable(record.target),
        "host": readable(record.host),
        "version": record.version,
        "status": record.status,
        "flag": record.flag,
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
        "proxy_ms": (sent_us if was_sent else record.duration_us) / 1000,
        "upstream_ms": waited_us / 1000 if was_sent else None,
        "duration_ms": record.duration_us / 1000,
        "attempts": record.attempts,
        "downstream": address_text(record.downstream),
        "upstream": address_text(record.upstream),
        "tls": record.mesh,
        "peer_identity": record.peer,
        "request_id": readable(record.request_id),
        "trace_id": trace_id(record.traceparent),
        "user_agent": readable(record.user_agent),
        "worker": record.worker,
    }


def readable(text: str) -> str:
    """Return a stranger's bytes (read as latin-1) as the UTF-8 that they most likely are."""
    if text.isascii():
        return text
    return text.encode("latin-1").decode("utf-8", "backslashreplace")


def trace_id(traceparent: str) -> str:
    """Return the trace id of a traceparent, or "" where it is none."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match else ""


def address_text(pair: tuple[str, int]) -> str | None:
    """Return an address with its port, None where there is none."""
    host, port = pair
    if not host:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
