"""The certificate in use: taken over while connections stand, and watched until its end."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from inject.webhook.health import CERTIFICATE, Health
from inject.webhook.metrics import Metrics
from inject.webhook.pair import Pair, PairError, context_of
from proxy.logs import Log

if TYPE_CHECKING:
    import ssl

LIFE_LEFT_WARNING: Final = 0.2  # of a certificate's life: renewal is late by now


class Serving:
    """Holds the context that new connections get; those that stand keep theirs."""

    def __init__(self, health: Health, metrics: Metrics, log: Log) -> None:
        self.pair: Pair | None = None
        self.context: ssl.SSLContext | None = None
        self._health = health
        self._metrics = metrics
        self._log = log
        self._refused = ""
        self._warned_stage = 0

    def adopt(self, pair: Pair) -> None:
        """Use a pair from now on; raises PairError."""
        if self.pair == pair:
            return
        self.context = context_of(pair)
        is_first, self.pair = self.pair is None, pair
        self._refused, self._warned_stage = "", 0
        self._metrics.certificate_taken(pair.not_after.timestamp(), is_first=is_first)
        self._health.done(CERTIFICATE)
        self._log.info(
            "certificate" if is_first else "certificate_renewed",
            names=list(pair.names),
            not_after=pair.not_after.isoformat(),
        )

    def refuse(self, fault: PairError) -> None:
        """Keep what there is; tell why, once for each reason."""
        if str(fault) == self._refused:
            return
        self._refused = str(fault)
        self._metrics.certificate_refused()
        if self.pair is None:
            self._health.failed(str(fault))
            self._log.warning("certificate_missing", error=str(fault))
        else:
            self._log.warning(
                "certificate_refused", error=str(fault), hint="the one before is still in use"
            )

    def watch(self) -> None:
        """Say once that renewal is late, and once that it is too late: others may be better."""
        if self.pair is None:
            return
        now = datetime.now(UTC)
        left_s = (self.pair.not_after - now).total_seconds()
        life_s = (self.pair.not_after - self.pair.not_before).total_seconds()
        stage = (left_s <= life_s * LIFE_LEFT_WARNING) + (left_s <= 0)
        if stage <= self._warned_stage:
            return
        self._warned_stage = stage
        if stage == 1:
            self._log.warning("certificate_ends_soon", seconds_left=int(left_s))
        else:
            self._health.withdraw(CERTIFICATE, "has ended")
            self._log.error(
                "certificate_ended",
                not_after=self.pair.not_after.isoformat(),
                hint="no API server will call until it is renewed",
            )
