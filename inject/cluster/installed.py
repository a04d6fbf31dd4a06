"""`remora check --cluster`: whether what was installed does its work."""

from collections.abc import Mapping
from typing import Any, Final

from inject.cluster import certificates, trials
from inject.cluster.selectors import selects
from inject.cluster.snapshot import (
    FAILURE,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Mode,
    Query,
    Refusal,
    Result,
    Snapshot,
    Wanted,
    count,
    items_of,
    of_trial,
)
from inject.pods import Raw, items, member
from inject.reasons import PROXY, SYSTEM_NAMESPACES
from inject.settings import ENABLED, INJECT
from proxy import __version__

# The two entries of the webhook's configuration: namespaces that say yes, and pods elsewhere.
ENTRIES: Final = ("namespaces.remora.dev", "pods.remora.dev")
NAME_LABEL: Final = "kubernetes.io/metadata.name"

_INSTALL: Final = "install remora: docs/install.md"
_LOGS: Final = "kubectl -n {0.system} describe deployment {0.webhook}; kubectl -n {0.system} logs"


def namespace(cluster: Snapshot) -> Result:
    """The installation has a namespace of its own."""
    found, name = cluster.one("system namespace"), cluster.wanted.system
    if not found:
        hint = f"{_INSTALL}; if it is installed elsewhere, say --system-namespace"
        return Result(FAILURE, f"there is no namespace {name}", hint)
    if member(found, "metadata").get("deletionTimestamp"):
        return Result(FAILURE, f"namespace {name} is being deleted", _INSTALL)
    return Result(OK, f"namespace {name} is there")


def webhook_deployment(cluster: Snapshot) -> Result:
    """One replica that is available is enough to inject."""
    deployment, name = cluster.one("deployment"), cluster.wanted.webhook
    if not deployment:
        return Result(FAILURE, f"there is no Deployment {name}", _INSTALL)
    available, wished = _available(deployment), _wished(deployment)
    hint = f"see why: {_LOGS.format(cluster.wanted)} deployment/{name}"
    text = f"{available} of {count(wished, 'replica')} of {name} available"
    if not available:
        return Result(FAILURE, text, hint)
    return Result(OK if available >= wished else WARNING, text, hint)


def webhook_replicas(cluster: Snapshot) -> Result:
    """With two replicas and a budget, no drained node stops injection."""
    deployment, budget = cluster.one("deployment"), cluster.one("budget")
    if not deployment:
        return _nothing(cluster)
    wished = _wished(deployment)
    if wished < 2:  # noqa: PLR2004 - the other one
        hint = "well for a trial; else two replicas and a PodDisruptionBudget (docs/install.md)"
        return Result(WARNING, "one replica: while it moves, nothing is injected", hint)
    if not budget:
        hint = "install the PodDisruptionBudget that belongs to it (docs/install.md)"
        return Result(WARNING, f"{wished} replicas without a PodDisruptionBudget", hint)
    return Result(OK, f"{wished} replicas, and a PodDisruptionBudget")


def webhook_version(cluster: Snapshot) -> Result:
    """The webhook puts in what it was made with."""
    deployment = cluster.one("deployment")
    if not deployment:
        return _nothing(cluster)
    template = member(member(deployment, "spec"), "template")
    images = [str(each.get("image")) for each in items(template, "containers")]
    others = [image for image in images if tag_of(image) not in ("", __version__)]
    if others:
        hint = "update the installation, or use the `remora` of its version"
        return Result(WARNING, f"runs {', '.join(others)}, and this is {__version__}", hint)
    return Result(OK, f"runs {', '.join(images)}")


def tag_of(image: str) -> str:
    """Return the tag of an image's name; "" if it has none, or a digest says what is meant."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "" if digest else tag


def webhook_endpoints(cluster: Snapshot) -> Result:
    """The API server reaches the webhook by its Service."""
    service, name = cluster.one("service"), cluster.wanted.webhook
    if not service:
        return Result(FAILURE, f"there is no Service {name}", _INSTALL)
    ready = [
        address
        for each in cluster.all("endpointslices")
        for endpoint in items_of(each, "endpoints")
        if member(endpoint, "conditions").get("ready") is not False
        for address in endpoint.get("addresses") or []
    ]
    if not ready:
        hint = f"kubectl -n {cluster.wanted.system} get pods: is one ready, with the labels of it?"
        return Result(FAILURE, f"Service {name} has no endpoint that is ready", hint)
    return Result(OK, f"Service {name} has {count(len(ready), 'endpoint')}")


def webhook_configuration(cluster: Snapshot) -> Result:
    """Without it the API server asks nobody."""
    configuration, name = cluster.one("configuration"), cluster.wanted.webhook
    if not configuration:
        return Result(FAILURE, f"there is no MutatingWebhookConfiguration {name}", _INSTALL)
    missing = [entry for entry in ENTRIES if entry not in _entries(configuration)]
    if missing:
        hint = f"apply it again: {_INSTALL}"
        return Result(FAILURE, f"{name} lacks {', '.join(missing)}", hint)
    return Result(OK, f"{name} asks for {' and '.join(ENTRIES)}")


def selectors(cluster: Snapshot) -> Result:
    """A webhook that is asked about its own pods cannot start again once it is down."""
    configuration = cluster.one("configuration")
    if not configuration:
        return _nothing(cluster)
    things = tuple(
        f"{entry}: {name}"
        for entry, webhook in _entries(configuration).items()
        for name in (cluster.wanted.system, *SYSTEM_NAMESPACES)
        if _asks_about(webhook, name)
    )
    if things:
        hint = f"apply the configuration again, which leaves them out by {NAME_LABEL}"
        return Result(FAILURE, "is asked about namespaces on which it depends", hint, things)
    return Result(OK, f"is not asked about {cluster.wanted.system} and those of the system")


def _asks_about(webhook: Raw, name: str) -> bool:
    # Whether somebody has put our label on it or not.
    labels = ({NAME_LABEL: name}, {NAME_LABEL: name, INJECT: ENABLED})
    return any(selects(webhook.get("namespaceSelector"), each) for each in labels)


def failure_policy(cluster: Snapshot) -> Result:
    """Fail stops pods while the webhook is down, Ignore lets them go without the sidecar."""
    configuration, deployment = cluster.one("configuration"), cluster.one("deployment")
    if not configuration:
        return _nothing(cluster)
    policies = {str(each.get("failurePolicy", "Fail")) for each in _entries(configuration).values()}
    wished, available = (_wished(deployment), _available(deployment)) if deployment else (0, 0)
    if "Fail" not in policies:
        text = "Ignore: while the webhook is down, pods start without the sidecar"
        return Result(OK, f"{text} (--data-plane finds them)")
    if not available:
        hint = "bring the webhook up, or set failurePolicy: Ignore until it is"
        return Result(FAILURE, "Fail, and no webhook: no pod with injection can be made", hint)
    if wished < 2:  # noqa: PLR2004 - the other one
        hint = "two replicas and a PodDisruptionBudget, or failurePolicy: Ignore"
        return Result(WARNING, "Fail with one replica: while it moves, no pod can be made", hint)
    return Result(OK, f"Fail, with {wished} replicas")


def webhook_certificate(cluster: Snapshot) -> Result:
    """A certificate that ended is refused by the API server."""
    found = cluster.one("secret")
    if not found:
        hint = "who makes it? cert-manager's Certificate, or `remora webhook --self-signed`"
        return Result(FAILURE, f"there is no Secret {cluster.wanted.secret}", hint)
    host = f"{cluster.wanted.webhook}.{cluster.wanted.system}.svc"
    return certificates.judged(_decoded(found, "tls.crt"), host, cluster.now)


def webhook_ca(cluster: Snapshot) -> Result:
    """The API server trusts the webhook by the caBundle of its configuration."""
    configuration, secret = cluster.one("configuration"), cluster.one("secret")
    if not configuration or not secret:
        return _nothing(cluster)
    chain = _decoded(secret, "tls.crt")
    bad = {}
    for entry, webhook in _entries(configuration).items():
        bundle = certificates.decoded(member(webhook, "clientConfig").get("caBundle"))
        why = certificates.distrust(chain, bundle, cluster.now)
        if why:
            bad[entry] = why
    if bad:
        hint = (
            "cert-manager: is `cert-manager.io/inject-ca-from` there, and its cainjector up?"
            " --self-signed: restart the webhook, which writes it"
        )
        things = tuple(f"{entry}: {why}" for entry, why in bad.items())
        return Result(FAILURE, "caBundle does not fit the webhook's certificate", hint, things)
    return Result(OK, "caBundle fits the webhook's certificate")


def injection(cluster: Snapshot) -> Result:
    """The proof: a pod that asks for the sidecar gets it. It is only tried, and never made."""
    where, pod = cluster.wanted.trial_namespace, cluster.trial("trial of a labelled pod")
    if isinstance(pod, Refusal):
        if any(entry in pod.text for entry in ENTRIES):
            hint = "the other checks here say why; the API server must reach the webhook's Service"
            return Result(FAILURE, f"the API server did not get an answer: {pod.text}", hint)
        hint = "try another namespace with -n; docs/inject.md, Restricted namespaces"
        text = f"a pod in {where} could not be tried: {pod.text}"
        return Result(WARNING, text, of_trial(pod, hint))
    for container in items(pod, "initContainers"):
        if container.get("name") == PROXY:
            if container.get("restartPolicy") == "Always":
                return Result(OK, f"a pod in {where} with the label gets the sidecar")
            hint = "another webhook takes it out: `remora check --pre` names the suspects"
            return Result(FAILURE, f"{PROXY} got in, and lost its restartPolicy", hint)
    if any(each.get("name") == PROXY for each in items(pod, "containers")):
        return Result(OK, f"a pod in {where} with the label gets the sidecar (classic)")
    hint = (
        f"the webhook's logs name the pod and a reason: {_LOGS.format(cluster.wanted)}"
        f" deployment/{cluster.wanted.webhook}"
    )
    return Result(FAILURE, f"a pod in {where} with the label did not get the sidecar", hint)


def _nothing(cluster: Snapshot) -> Result:
    return Result(NOT_APPLICABLE, f"{cluster.wanted.webhook} is not there to be looked at")


def _available(deployment: Raw) -> int:
    return int(member(deployment, "status").get("availableReplicas") or 0)


def _wished(deployment: Raw) -> int:
    replicas = member(deployment, "spec").get("replicas")
    return 1 if replicas is None else int(replicas)


def _entries(configuration: Raw) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("name")): each for each in items_of(configuration, "webhooks")}


def _decoded(secret: Raw, name: str) -> bytes:
    return certificates.decoded(member(secret, "data").get(name))


def queries(wanted: Wanted) -> tuple[Query, ...]:
    """Return what these checks need."""

    def get(key: str, kind: str, name: str, *place: str) -> Query:
        return Query(key, ("get", kind, name, *place, "--ignore-not-found", "-o", "json"))

    there = ("-n", wanted.system)
    slices = ("-l", f"kubernetes.io/service-name={wanted.webhook}", *there, "-o", "json")
    return (
        get("system namespace", "namespace", wanted.system),
        get("deployment", "deployment", wanted.webhook, *there),
        get("budget", "poddisruptionbudget", wanted.webhook, *there),
        get("service", "service", wanted.webhook, *there),
        Query("endpointslices", ("get", "endpointslices", *slices)),
        get("secret", "secret", wanted.secret, *there),
        get("configuration", "mutatingwebhookconfiguration", wanted.webhook),
        trials.labelled(wanted),
    )


MODE: Final = Mode(
    queries,
    {
        "Installation": {
            "namespace": namespace,
            "webhook-deployment": webhook_deployment,
            "webhook-replicas": webhook_replicas,
            "webhook-version": webhook_version,
            "webhook-endpoints": webhook_endpoints,
        },
        "Admission": {
            "webhook-configuration": webhook_configuration,
            "selectors": selectors,
            "failure-policy": failure_policy,
            "webhook-certificate": webhook_certificate,
            "webhook-ca": webhook_ca,
            "injection": injection,
        },
    },
)
