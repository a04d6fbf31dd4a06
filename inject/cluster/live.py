"""`remora check --data-plane`: whether pods have the sidecar they ask for, and whether it works."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from inject import plan
from inject.cluster.installed import ENTRIES, tag_of
from inject.cluster.snapshot import (
    FAILURE,
    NOT_APPLICABLE,
    OK,
    WARNING,
    Mode,
    Query,
    RefusedError,
    Result,
    Snapshot,
    Wanted,
    count,
    name_of,
)
from inject.pods import Raw, annotations, items, labels, member
from inject.reasons import INIT, PROXY, wanted
from inject.settings import DEFAULTS, DISABLED, ENABLED, INJECT, STATUS
from proxy import __version__

# So long may a step take before it is stuck. The startup probe gives up after two minutes.
PATIENCE: Final = timedelta(seconds=60)
# What killed a container longer ago than this is history.
RECENT: Final = timedelta(days=1)
# States on the way to a start.
_ON_ITS_WAY: Final = frozenset({"PodInitializing", "ContainerCreating"})
_OVER: Final = frozenset({"Succeeded", "Failed"})
_RELEASE: Final = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+.*")
_TEXT_MAX: Final = 200

_LOGS: Final = "kubectl -n NAMESPACE logs POD -c"


def sidecar_missing(cluster: Snapshot) -> Result:
    """Pods that were made before the label, or while the webhook was down, have no sidecar."""
    asked, missing = 0, []
    for pod in _asking(cluster):
        asked += 1
        if _sidecar(pod):
            continue
        outcome = plan.inject(pod, DEFAULTS, str(pod["metadata"].get("namespace")))
        if outcome.faults:
            first = outcome.faults[0]
            missing.append(f"{name_of(pod)}: {first.field}: {first.text}")
        elif not outcome.reason:
            missing.append(name_of(pod))
    if missing:
        text = f"no sidecar in {len(missing)} of {count(asked, 'pod')} with injection"
        hint = "is the webhook well (`remora check --cluster`)? then `kubectl rollout restart`"
        return Result(FAILURE, text, hint, tuple(missing))
    if not asked:
        hint = f"kubectl label namespace NAME {INJECT}={ENABLED}"
        return Result(NOT_APPLICABLE, f"no pod asks for the sidecar ({hint})")
    return Result(OK, f"{count(asked, 'pod')} with injection")


def left_alone(cluster: Snapshot) -> Result:
    """Some pods cannot have a sidecar, and nothing is wrong with that."""
    things = []
    for pod in _asking(cluster):
        if _sidecar(pod):
            continue
        outcome = plan.inject(pod, DEFAULTS, str(pod["metadata"].get("namespace")))
        if outcome.reason:
            things.append(f"{name_of(pod)}: {outcome.reason.word}: {outcome.reason.text}")
    if things:
        return Result(OK, f"{count(len(things), 'pod')} cannot have it", "", tuple(things))
    return Result(NOT_APPLICABLE, "no pod was left alone")


def restart_policy(cluster: Snapshot) -> Result:
    """Without restartPolicy the proxy is a step that never ends, and the pod hangs."""
    bad, seen = [], 0
    for pod in _meshed(cluster):
        for container in items(pod, "initContainers"):
            if container.get("name") == PROXY:
                seen += 1
                if container.get("restartPolicy") != "Always":
                    bad.append(name_of(pod))
    hint = (
        "a webhook took it out: `remora check --pre` names the suspects; until it is mended,"
        " `remora.dev/sidecar: classic`"
    )
    return _told(bad, "lost restartPolicy of the sidecar", hint, seen, "with restartPolicy Always")


def init_step(cluster: Snapshot) -> Result:
    """remora-init redirects the traffic, or says why it cannot."""
    bad, seen = [], 0
    for pod, status in _statuses(cluster, INIT):
        seen += 1
        if why := _trouble(cluster, status, is_step=True):
            bad.append(f"{name_of(pod)}: {why}")
    hint = f"`{_LOGS} {INIT}` says which rule failed; docs/inject.md, Restricted namespaces"
    return _told(bad, f"cannot get past {INIT}", hint, seen, f"past {INIT}")


def proxy_start(cluster: Snapshot) -> Result:
    """What comes after the proxy waits until its startup probe passed."""
    bad, seen = [], 0
    for pod, status in _statuses(cluster, PROXY):
        seen += 1
        if why := _trouble(cluster, status, is_step=False):
            bad.append(f"{name_of(pod)}: {why}")
    hint = f"`{_LOGS} {PROXY}` says why; image pulls: can nodes reach the registry?"
    return _told(bad, "with a proxy that does not start", hint, seen, "with a proxy that started")


def proxy_ready(cluster: Snapshot) -> Result:
    """A proxy that is not ready takes its pod out of every Service."""
    bad, seen = [], 0
    for pod, status in _statuses(cluster, PROXY):
        # One that does not start is told elsewhere.
        if status.get("started"):
            seen += 1
            if not status.get("ready"):
                bad.append(name_of(pod))
    hint = (
        f"`kubectl -n NAMESPACE exec POD -c {PROXY} -- remora ctl status`: no identity yet, or"
        " is it drained?"
    )
    return _told(bad, "with a proxy that is not ready", hint, seen, "with a proxy that is ready")


def proxy_restarts(cluster: Snapshot) -> Result:
    """A proxy that is killed takes the connections of its pod with it."""
    killed, others, seen = list[str](), list[str](), 0
    for pod, status in _statuses(cluster, PROXY):
        seen += 1
        times = int(status.get("restartCount") or 0)
        if not times:
            continue
        last = member(member(status, "lastState"), "terminated")
        age = cluster.age(last.get("finishedAt"))
        is_recent = age is None or age < RECENT
        why = f"{last.get('reason', 'unknown')}, code {last.get('exitCode', '?')}"
        line = f"{name_of(pod)}: {count(times, 'restart')}, last: {why}"
        (killed if last.get("reason") == "OOMKilled" and is_recent else others).append(line)
    if killed:
        hint = "give it memory: `remora.dev/proxy-memory-limit: 512Mi`; or is a limit too high?"
        text = f"{count(len(killed), 'pod')} had the proxy killed for its memory"
        return Result(FAILURE, text, hint, tuple(killed))
    if others:
        text = f"{count(len(others), 'pod')} had the proxy restarted"
        return Result(WARNING, text, f"`{_LOGS} {PROXY} --previous` says why", tuple(others))
    return _told([], "", "", seen, "without a restart of the proxy")


def proxy_version(cluster: Snapshot) -> Result:
    """Pods keep the proxy that they were made with."""
    others, seen = [], 0
    for pod in _meshed(cluster):
        seen += 1
        version = _version(pod)
        if version != __version__:
            others.append(f"{name_of(pod)}: {version}")
    if others:
        text = f"{count(len(others), 'pod')} with another version than {__version__}"
        hint = "`kubectl rollout restart` brings them to the version of the webhook"
        return Result(WARNING, text, hint, tuple(others))
    return _told([], "", "", seen, f"of version {__version__}")


def security_rejections(cluster: Snapshot) -> Result:
    """Where Pod Security does not let remora-init in, no pod appears at all."""
    things = _refused(cluster, lambda text: "violates PodSecurity" in text and INIT in text)
    if things:
        text = f"{count(len(things), 'owner')} cannot make pods: Pod Security rejects {INIT}"
        hint = (
            "kubectl label namespace NAME pod-security.kubernetes.io/enforce=privileged"
            " --overwrite; or `remora.dev/inject: disabled`"
        )
        return Result(FAILURE, text, hint, tuple(things))
    return Result(OK, "Pod Security rejects no pod because of the sidecar")


def webhook_refusals(cluster: Snapshot) -> Result:
    """The webhook says no to bad annotations; with failurePolicy Fail its silence is a no, too."""
    things = _refused(cluster, lambda text: any(f'"{entry}"' in text for entry in ENTRIES))
    if things:
        text = f"{count(len(things), 'owner')} cannot make pods: the webhook says no, or nothing"
        hint = "a bad annotation is named there (docs/inject.md); else `remora check --cluster`"
        return Result(FAILURE, text, hint, tuple(things))
    return Result(OK, "the webhook kept no pod from being made")


# ---- who is meant --------------------------------------------------------------------------------


def _alive(cluster: Snapshot) -> Iterator[Raw]:
    """Yield pods that have not ended and are not about to."""
    for pod in cluster.all("pods"):
        is_ending = "deletionTimestamp" in member(pod, "metadata")
        if not is_ending and member(pod, "status").get("phase") not in _OVER:
            yield pod


def _asking(cluster: Snapshot) -> Iterator[Raw]:
    """Yield pods that ask for the sidecar, by themselves or by their namespace."""
    words = _namespaces(cluster)
    for pod in _alive(cluster):
        word = wanted(pod)
        is_enabled = words.get(str(pod["metadata"].get("namespace"))) == ENABLED
        if word == ENABLED or (is_enabled and word != DISABLED):
            yield pod


def _namespaces(cluster: Snapshot) -> Mapping[str, object]:
    """Return what namespaces say. Who may not read them is told about pods that say it."""
    try:
        return {name_of(each): labels(each).get(INJECT) for each in cluster.all("namespaces")}
    except RefusedError:
        return {}


def _meshed(cluster: Snapshot) -> Iterator[Raw]:
    yield from (pod for pod in _alive(cluster) if _sidecar(pod))


def _sidecar(pod: Raw) -> Raw | None:
    for container in (*items(pod, "initContainers"), *items(pod, "containers")):
        if container.get("name") == PROXY:
            return container
    return None


def _statuses(cluster: Snapshot, name: str) -> Iterator[tuple[Raw, Raw]]:
    """Yield pods with the status of one of our containers."""
    for pod in _meshed(cluster):
        status = member(pod, "status")
        for field in ("initContainerStatuses", "containerStatuses"):
            for each in status.get(field) or []:
                if each.get("name") == name:
                    yield pod, each


# ---- what is wrong with it -----------------------------------------------------------------------


def _trouble(cluster: Snapshot, status: Raw, *, is_step: bool) -> str:
    """Return why a container does not get on, "" if it does."""
    state = member(status, "state")
    waiting = member(state, "waiting")
    if waiting and waiting.get("reason") not in _ON_ITS_WAY:
        last = member(member(status, "lastState"), "terminated")
        return _sentence(waiting.get("reason"), last.get("message") or waiting.get("message"))
    ended = member(state, "terminated")
    if ended.get("exitCode"):
        return _sentence(f"{ended.get('reason')}, code {ended['exitCode']}", ended.get("message"))
    running = member(state, "running")
    age = cluster.age(running.get("startedAt"))
    is_waited_for = is_step or not status.get("started")
    if is_waited_for and age and age > PATIENCE:
        return f"runs for {age.total_seconds():.0f} s and is not done"
    return ""


def _sentence(reason: object, message: object) -> str:
    lines = [line.strip() for line in str(message or "").splitlines() if line.strip()]
    # Logs end with what went wrong.
    return ": ".join(filter(None, (str(reason), *lines[-1:])))[:_TEXT_MAX]


def _version(pod: Raw) -> str:
    """Return the version of a sidecar: its image's, else that of who put it in."""
    container = _sidecar(pod) or {}
    tag = tag_of(str(container.get("image", "")))
    if _RELEASE.fullmatch(tag):
        return tag.removeprefix("v")
    try:
        status: Any = json.loads(str(annotations(pod).get(STATUS)))
    except (ValueError, RecursionError):
        return tag or "unknown"
    return str(status.get("version", "unknown")) if isinstance(status, dict) else "unknown"


def _refused(cluster: Snapshot, is_ours: Callable[[str], bool]) -> list[str]:
    """Return who could not make pods, with the last reason of each."""
    told: dict[str, str] = {}
    for event in cluster.all("events"):
        text = str(event.get("message", ""))
        if is_ours(text):
            owner = member(event, "involvedObject")
            name = f"{owner.get('namespace')}/{owner.get('name')}"
            told[f"{owner.get('kind')} {name}"] = " ".join(text.split())
    return [f"{name}: {text}" for name, text in told.items()]


def _told(bad: list[str], what: str, hint: str, seen: int, good: str) -> Result:
    if bad:
        return Result(FAILURE, f"{count(len(bad), 'pod')} {what}", hint, tuple(bad))
    if not seen:
        return Result(NOT_APPLICABLE, "no pod has the sidecar")
    return Result(OK, f"{count(seen, 'pod')} {good}")


def queries(asked: Wanted) -> tuple[Query, ...]:
    """Return what these checks need."""
    where = ("-n", asked.namespace) if asked.namespace else ("-A",)
    which = (asked.namespace,) if asked.namespace else ()
    failed = ("--field-selector", "reason=FailedCreate")
    return (
        Query("pods", ("get", "pods", *where, "-o", "json")),
        Query("namespaces", ("get", "namespaces", *which, "-o", "json")),
        Query("events", ("get", "events", *where, *failed, "-o", "json")),
    )


MODE: Final = Mode(
    queries,
    {
        "Injection": {
            "sidecar-missing": sidecar_missing,
            "left-alone": left_alone,
            "security-rejections": security_rejections,
            "webhook-refusals": webhook_refusals,
        },
        "Sidecars": {
            "restart-policy": restart_policy,
            "init-step": init_step,
            "proxy-start": proxy_start,
            "proxy-ready": proxy_ready,
            "proxy-restarts": proxy_restarts,
            "proxy-version": proxy_version,
        },
    },
)
