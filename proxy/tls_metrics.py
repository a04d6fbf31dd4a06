"""Mesh TLS and our identity as Prometheus families."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from proxy.engine import Stats
from proxy.families import Row, counter, gauge, histogram

if TYPE_CHECKING:
    from proxy.identity.keeper import Keeper


def tls_metrics(stats: Stats, keeper: "Keeper | None") -> Iterator[Metric]:
    """Yield every family; none at all without an identity."""
    if keeper is None:
        return
    tls = stats.tls()
    roles = list(tls.handshakes)
    rows: list[Row] = [((role,), tls.handshakes[role]) for role in roles]
    yield counter("remora_tls_handshakes", "Handshakes that led to a known peer.", ["role"], rows)
    rows = [((role, reason), count) for role, reason, count in tls.failed if count]
    text = "Handshakes that failed."
    yield counter("remora_tls_handshake_failures", text, ["role", "reason"], rows)
    rows = [((role,), tls.open[role]) for role in roles]
    yield gauge("remora_tls_connections", "Connections in mesh TLS now.", ["role"], rows)
    times = [((role,), tls.durations[role], tls.duration_us[role]) for role in roles]
    text = "From the first record to a known peer."
    yield histogram("remora_tls_handshake_duration_seconds", text, ["role"], times)
    rows = [(("received",), tls.received_bytes), (("sent",), tls.sent_bytes)]
    text = "Payload inside mesh TLS; beside tcp_*_bytes_total it is the share of mesh traffic."
    yield counter("remora_tls_bytes", text, ["flow"], rows)
    yield from _identity(keeper)


def _identity(keeper: "Keeper") -> Iterator[Metric]:
    material = keeper.material
    text = "Unix time at which our certificate ends."
    rows: list[Row] = [((), material.not_after.timestamp())]
    yield gauge("remora_identity_expiry_timestamp_seconds", text, [], rows)
    age_s = (datetime.now(UTC) - keeper.since).total_seconds()
    text = "How long our certificate has been in use."
    yield gauge("remora_identity_age_seconds", text, [], [((), age_s)])
    text = "Times that a new certificate or trust bundle was taken up."
    yield counter("remora_identity_rotations", text, [], [((), keeper.counts.rotations)])
    text = "Updates of the identity's files that could not be used."
    yield counter("remora_identity_update_failures", text, [], [((), keeper.counts.failures)])
    text = "Changes whenever a root is trusted no more."
    generation = keeper.contexts.bundle_generation
    yield gauge("remora_trust_bundle_generation", text, [], [((), generation)])
    text = "Roots that we trust."
    yield gauge("remora_trust_bundle_roots", text, [], [((), len(material.bundle))])
