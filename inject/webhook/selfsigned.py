"""`--self-signed`: certificate and caBundle without anybody's help, whoever else does the same.

All replicas do this at once. The Secret decides: who loses a race for it reads what the other
wrote. A round looks at two objects, and changes one only if it is not as it must be.
"""

import asyncio
import base64
import random
from http import HTTPStatus
from typing import Any, Final

from inject.webhook import issuer
from inject.webhook.health import CA_BUNDLE, Health
from inject.webhook.issuer import IssuerError, Kept
from inject.webhook.kube import JSON_PATCH, Answer, Api, ApiError
from inject.webhook.metrics import Metrics
from inject.webhook.options import Names
from inject.webhook.pair import PairError
from inject.webhook.serving import Serving
from proxy.logs import Log

RETRY_S_MIN: Final = 0.25
RETRY_S_MAX: Final = 30.0
RACES_MAX: Final = 5  # lost in one round

_SECRETS: Final = "/api/v1/namespaces/{}/secrets"
_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_MANAGED: Final = "cert-manager.io/certificate-name"


class SelfSigned:
    """Keeps Secret, caBundle and the certificate in use in step."""

    def __init__(
        self, api: Api, names: Names, interval_s: float, serving: Serving, health: Health
    ) -> None:
        self._api = api
        self._names = names
        self._interval_s = interval_s
        self._serving = serving
        self._health = health
        self._kept: Kept | None = None  # as the Secret had it last
        self._told = ""

    async def keep(self, metrics: Metrics, log: Log) -> None:
        """Go on until cancelled. What fails is tried again, later each time."""
        pause_s = RETRY_S_MIN
        while True:
            try:
                await self._round(metrics, log)
            except (ApiError, IssuerError, PairError) as fault:
                metrics.api_failures.inc()
                self._health.failed(str(fault))
                self._tell(str(fault), log)
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                self._told, pause_s = "", RETRY_S_MIN
                await asyncio.sleep(self._interval_s)
            self._serving.watch()

    def _tell(self, text: str, log: Log) -> None:
        """Say what is wrong once; again when it is something else."""
        if text != self._told:
            self._told = text
            log.warning("self_signed_failed", error=text, hint="it is tried again until it works")

    async def _round(self, metrics: Metrics, log: Log) -> None:
        kept = await self._secret(log)
        self._kept = kept
        if self._serving.pair is None:
            self._serving.adopt(kept.pair)
        is_published = await self._publish(kept, metrics, log)
        # API servers must know a new CA before they see a certificate of it: the next round is soon
        # enough, since the old certificate has months left.
        if is_published:
            self._serving.adopt(kept.pair)
        self._health.done(CA_BUNDLE)

    # ---- the Secret ----------------------------------------------------------------------------

    async def _secret(self, log: Log) -> Kept:
        """Return what the Secret keeps, and make or renew it where that is due."""
        folder = _SECRETS.format(self._names.namespace)
        path = f"{folder}/{self._names.secret}"
        for _ in range(RACES_MAX):
            found = await self._api.call("GET", path)
            if found.status == HTTPStatus.NOT_FOUND:
                made = self._mine() or issuer.make(self._names.dns, issuer.now_utc())
                done = await self._api.call("POST", folder, self._new(made))
                why = "there was none"
            else:
                self._expect(found, f"read Secret {self._names.secret}", HTTPStatus.OK)
                kept, why = self._read(found.value)
                if kept and not why:
                    return kept
                made = issuer.make(self._names.dns, issuer.now_utc(), kept or self._kept)
                done = await self._api.call("PUT", path, _with_data(found.value, made))
            if done.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                self._expect(done, f"write Secret {self._names.secret}", *_WRITTEN)
                log.info("certificate_made", secret=self._names.secret, why=why)
                return made
        raise ApiError(f"Secret {self._names.secret}: somebody else changes it all the time")

    def _mine(self) -> Kept | None:
        """Return what the Secret had before it was deleted, so that nothing changes for anybody."""
        kept = self._kept
        return (
            kept if kept and not issuer.why_due(kept, self._names.dns, issuer.now_utc()) else None
        )

    def _read(self, secret: dict[str, Any]) -> tuple[Kept | None, str]:
        """Return what is there, and why it will not do."""
        metadata = secret.get("metadata") or {}
        if _MANAGED in (metadata.get("annotations") or {}):
            raise ApiError(
                f"Secret {self._names.secret} is kept by cert-manager: mount it and use --tls-dir"
            )
        try:
            kept = issuer.read(secret.get("data") or {}, issuer.now_utc())
        except IssuerError as fault:
            return None, str(fault)
        return kept, issuer.why_due(kept, self._names.dns, issuer.now_utc())

    def _new(self, made: Kept) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {
                "name": self._names.secret,
                "namespace": self._names.namespace,
                "labels": {"app.kubernetes.io/name": "remora"},
            },
            "data": issuer.data_of(made),
        }

    # ---- caBundle ------------------------------------------------------------------------------

    async def _publish(self, kept: Kept, metrics: Metrics, log: Log) -> bool:
        """Set caBundle where it is another; whether it was right everywhere."""
        path = f"{_CONFIGURATIONS}/{self._names.configuration}"
        what = f"MutatingWebhookConfiguration {self._names.configuration}"
        found = await self._api.call("GET", path)
        self._expect(found, f"read {what}", HTTPStatus.OK)
        wanted = base64.b64encode(kept.bundle).decode()
        patch = _bundle_patch(found.value, wanted)
        if not patch:
            return True
        done = await self._api.call("PATCH", path, patch, JSON_PATCH)
        self._expect(done, f"change {what}", HTTPStatus.OK)
        metrics.bundle_patches.inc()
        log.info("ca_bundle_set", configuration=self._names.configuration, webhooks=len(patch) // 2)
        return False

    def _expect(self, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status in statuses:
            return
        hint = _HINTS.get(answer.status, "")
        raise ApiError(f"cannot {what}: {answer.status} {answer.message}{hint and f' ({hint})'}")


_WRITTEN: Final = (HTTPStatus.OK, HTTPStatus.CREATED)
_HINTS: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "the API server does not know our token: see --api-token",
    HTTPStatus.FORBIDDEN: "its Role or ClusterRole lacks that: see docs/webhook.md",
    HTTPStatus.NOT_FOUND: "is it installed, and is its name right?",
}


def _with_data(secret: dict[str, Any], made: Kept) -> dict[str, Any]:
    """Return a Secret with other data; its resourceVersion makes a lost race a conflict."""
    return {**secret, "data": {**(secret.get("data") or {}), **issuer.data_of(made)}}


def _bundle_patch(configuration: dict[str, Any], wanted: str) -> list[dict[str, Any]]:
    """Return the patch that sets caBundle in each webhook, tested by name: the order may change."""
    patch: list[dict[str, Any]] = []
    for index, webhook in enumerate(configuration.get("webhooks") or []):
        if (webhook.get("clientConfig") or {}).get("caBundle") != wanted:
            at = f"/webhooks/{index}"
            patch += [
                {"op": "test", "path": f"{at}/name", "value": webhook.get("name")},
                {"op": "add", "path": f"{at}/clientConfig/caBundle", "value": wanted},
            ]
    return patch
