"""Our identity while the proxy runs: read, renewed, never lost to a bad update.

New handshakes use what was read last; connections that stand go on. A root that is trusted no more
begins a new generation of the bundle: the workers close idle connections made under the old one.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from proxy.engine import Answer
from proxy.errors import EXIT_OS, StartError
from proxy.identity import contexts, describe, peers
from proxy.identity.files import DirectorySource, read_directory
from proxy.identity.material import Material, MaterialError
from proxy.logs import Log
from proxy.symbols import Callbacks

LOOK_S: Final = 0.2  # a look is four stat(2) calls; rotations may come every second
LIFE_LEFT_WARNING: Final = 0.25  # of a certificate's life: renewal is late by now


@dataclass(slots=True)
class Counts:
    """What happened to our identity so far."""

    rotations: int = 0  # of certificate or bundle, after the first one
    failures: int = 0  # updates that could not be used
    last_failure: str = ""
    last_failure_at: datetime | None = None


class Keeper:
    """Keeps the identity of a directory; `on_change` is called whenever there is a new one."""

    def __init__(self, directory: Path, callbacks: Callbacks, log: Log) -> None:
        """Read it for the first time; raises StartError."""
        self._callbacks = callbacks
        self._log = log
        self._timer: asyncio.TimerHandle | None = None
        self._source = DirectorySource(directory, self._on_new, self._on_bad)
        self.on_change = _do_nothing
        self.counts = Counts()
        try:
            self.material = read_directory(directory)
            self.contexts = contexts.build(self.material, 1, callbacks)
        except MaterialError as fault:
            raise StartError(
                f"no identity: {fault}",
                "give --identity a directory with tls.crt, tls.key and ca.crt"
                " (`remora identity show DIR` checks one)",
                EXIT_OS,
            ) from fault
        self.since = datetime.now(UTC)
        self._warned_stage = 0

    def start(self) -> None:
        """Look for changes from now on, on the running loop."""
        self._source.adopt(self.material)
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def answer(self, der: bytes) -> Answer:
        """Say who a peer is, by its certificate in DER; a refusal is logged, once for each."""
        verdict = peers.judge(der, self.material.identity.trust_domain)
        if verdict.identity is None:
            self._log.warning("peer_refused", reason=verdict.failure, error=verdict.text)
            return Answer(failure=verdict.failure)
        return Answer(str(verdict.identity), peers.places(verdict.identity))

    def facts(self) -> describe.Facts:
        """Return who we are and what happened to our identity, as JSON shows it."""
        failed_at = self.counts.last_failure_at
        return {
            **describe.material_facts(self.material),
            "bundle_generation": self.contexts.bundle_generation,
            "since": describe.moment(self.since),
            "rotations": self.counts.rotations,
            "update_failures": self.counts.failures,
            "last_update_failure": self.counts.last_failure,
            "last_update_failure_at": failed_at and describe.moment(failed_at),
        }

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_S, self._look)  # first: whatever fails, we look again
        self._source.look(loop.time())
        self._watch_expiry()

    def _on_new(self, material: Material) -> None:
        generation = self.contexts.bundle_generation + _is_narrower(self.material, material)
        try:
            self.contexts = contexts.build(material, generation, self._callbacks)
        except MaterialError as fault:
            self._on_bad(fault)
            return
        self.material = material
        self.since = datetime.now(UTC)
        self.counts.rotations += 1
        self._warned_stage = 0
        self._log.info(
            "identity_renewed",
            identity=str(material.identity),
            not_after=material.not_after.isoformat(),
            roots=len(material.bundle),
            bundle_generation=generation,
        )
        self.on_change()

    def _on_bad(self, fault: MaterialError) -> None:
        self.counts.failures += 1
        self.counts.last_failure = str(fault)
        self.counts.last_failure_at = datetime.now(UTC)
        self._log.error(
            "identity_update_failed",
            error=str(fault),
            hint="the identity before is still in use; `remora identity show DIR` says more",
        )

    def _watch_expiry(self) -> None:
        """Say once for each certificate that renewal is late, and once that it is too late."""
        leaf, now = self.material.leaf, datetime.now(UTC)
        life = (self.material.not_after - leaf.not_valid_before_utc).total_seconds()
        left = (self.material.not_after - now).total_seconds()
        stage = (left <= life * LIFE_LEFT_WARNING) + (left <= 0)
        if stage <= self._warned_stage:
            return
        self._warned_stage = stage
        identity = str(self.material.identity)
        if stage == 1:
            self._log.warning("identity_ends_soon", identity=identity, seconds_left=int(left))
        else:
            self._log.error(
                "identity_expired",
                identity=identity,
                not_after=self.material.not_after.isoformat(),
                hint="no mesh connection is made or let in until the certificate is renewed",
            )


def _do_nothing() -> None:
    """Until somebody wants to hear of changes."""


def _is_narrower(before: Material, after: Material) -> bool:
    """Whether a root of the bundle before, or its trust domain, is trusted no more."""
    is_moved = before.identity.trust_domain != after.identity.trust_domain
    return is_moved or not set(before.bundle) <= set(after.bundle)
