"""What the cluster says, understood: pods as kubectl prints them, logs, metrics. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from inject.reasons import INIT, OWN_PREFIX, PROXY
from inject.settings import INJECTED, STATUS

Raw = Mapping[str, Any]

_GROUPS: Final = ("initContainers", "containers")
_STATUSES: Final = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class Tally(NamedTuple):
    """What a client has told: answers, and what was wrong with the last bad one."""

    good: int
    bad: int
    last: str


def has_sidecar(pod: Raw) -> bool:
    """Whether init step and proxy are both there, and noted."""
    names = {each["name"] for group in _GROUPS for each in pod["spec"].get(group, [])}
    return names >= {INIT, PROXY} and STATUS in pod["metadata"].get("annotations", {})


def residue(pod: Raw) -> list[str]:
    """Return everything of ours that is in a pod."""
    found = [
        each["name"]
        for group in (*_GROUPS, "volumes")
        for each in pod["spec"].get(group, [])
        if each["name"].startswith(OWN_PREFIX)
    ]
    found += [name for name in pod["metadata"].get("labels", {}) if name == INJECTED]
    return found + [name for name in pod["metadata"].get("annotations", {}) if name == STATUS]


def is_ready(pod: Raw) -> bool:
    """Whether a pod is ready and nobody deletes it."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def status_of(pod: Raw, container: str) -> Raw:
    """Return what the kubelet says of a container, {} as long as it says nothing."""
    listed = (each for group in _STATUSES for each in pod["status"].get(group, []))
    return next((each for each in listed if each["name"] == container), {})


def restarts(pod: Raw, container: str) -> int:
    """Return how often a container was started again."""
    return int(status_of(pod, container).get("restartCount", 0))


def runtime_id(pod: Raw, container: str) -> str:
    """Return the name by which the runtime of the node knows a container."""
    return str(status_of(pod, container).get("containerID", "")).partition("://")[2]


def exit_code(pod: Raw, container: str) -> int | None:
    """Return how a container ended, None as long as it did not."""
    state = status_of(pod, container).get("state", {})
    found = state.get("terminated", {}).get("exitCode")
    return None if found is None else int(found)


def tally(log: str) -> Tally:
    """Return the last whole line of a client's log."""
    told = [line for line in log.splitlines() if line.startswith("{") and line.endswith("}")]
    return Tally(**json.loads(told[-1])) if told else Tally(0, 0, "")


def samples(metrics: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield labels and value of each sample of a name."""
    for family in text_string_to_metric_families(metrics):
        yield from ((each.labels, each.value) for each in family.samples if each.name == name)


def total(metrics: str, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    wanted = labels.items()
    return sum(value for found, value in samples(metrics, name) if wanted <= found.items())
