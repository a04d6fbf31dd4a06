"""What the webhook counts, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from inject.webhook.review import INJECTED, LEFT_ALONE
from proxy import __version__

# A review takes about a millisecond; the API server waits 10 s unless told otherwise, 30 at most.
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The families; a label's value is one of our own words or a status of HTTP."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("remora_build", "Which remora this is.", registry=registry).info(
            {"version": __version__}
        )
        self._reviews = Counter(
            "remora_webhook_reviews",
            "Reviews by what became of the pod, and why.",
            ["result", "reason"],
            registry=registry,
        )
        self._responses = Counter(
            "remora_webhook_responses", "Responses by status.", ["code"], registry=registry
        )
        self._duration = Histogram(
            "remora_webhook_review_duration_seconds",
            "From the head of a review to its answer.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.in_flight = Gauge(
            "remora_webhook_in_flight", "Reviews that have no answer yet.", registry=registry
        )
        self.shed = Counter(
            "remora_webhook_shed", "Reviews turned away: too much to do.", registry=registry
        )
        self.handshakes_failed = Counter(
            "remora_webhook_handshakes_failed", "Connections without TLS.", registry=registry
        )
        self._expiry = Gauge(
            "remora_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends.",
            registry=registry,
        )
        self._reloads = Counter(
            "remora_webhook_certificate_reloads",
            "Certificates taken over, and refused ones, after the first.",
            ["result"],
            registry=registry,
        )
        self.api_failures = Counter(
            "remora_webhook_api_failures", "Rounds that the API server let fail.", registry=registry
        )
        self.bundle_patches = Counter(
            "remora_webhook_ca_bundle_patches", "Times that caBundle was set.", registry=registry
        )
        for result in (INJECTED, LEFT_ALONE):
            self._reviews.labels(result, "")
        for result in ("taken", "refused"):
            self._reloads.labels(result)

    def reviewed(self, result: str, reason: str) -> None:
        """Count a review that has an answer."""
        self._reviews.labels(result, reason).inc()

    def answered(self, status: int, seconds: float | None) -> None:
        """Count a response; `seconds` are those of a review."""
        self._responses.labels(str(status)).inc()
        if seconds is not None:
            self._duration.observe(seconds)

    def certificate_taken(self, not_after_s: float, *, is_first: bool) -> None:
        """Note the certificate in use."""
        self._expiry.set(not_after_s)
        if not is_first:
            self._reloads.labels("taken").inc()

    def certificate_refused(self) -> None:
        """Count a change that could not be used."""
        self._reloads.labels("refused").inc()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return (body, content type) for an Accept header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
