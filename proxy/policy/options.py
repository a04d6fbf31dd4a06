"""The flags of policy: where the objects are, and who we are among them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from proxy.options import Group, Option, Reader

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL: Final = re.compile(r"[A-Za-z0-9./_-]+")


class PodName(NamedTuple):
    """NAMESPACE/NAME."""

    namespace: str
    name: str


class PolicyConfig(NamedTuple):
    """Settings of policy."""

    manifests: Path | None
    pod: PodName | None
    namespace: str
    labels: Mapping[str, str] | None
    root_namespace: str
    zone: str = ""


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("is no name of Kubernetes (small letters, digits, dash, dot)")
    return text


def _pod(text: str) -> PodName | None:
    if not text:
        return None
    namespace, slash, name = text.partition("/")
    if not slash:
        raise ValueError("is not NAMESPACE/NAME")
    return PodName(_name(namespace), _name(name))


def _labels(text: str) -> Mapping[str, str] | None:
    if not text:
        return None
    labels: dict[str, str] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not equals or not _LABEL.fullmatch(name) or (value and not _LABEL.fullmatch(value)):
            raise ValueError(f"has {word!r}, which is not NAME=VALUE")
        labels[name] = value
    return labels


def _zone(text: str) -> str:
    if text and not _LABEL.fullmatch(text):
        raise ValueError("is no name of a zone (letters, digits, dash, dot)")
    return text


MANIFESTS: Final = Option(
    flag="--manifests",
    parse=lambda text: Path(text) if text else None,
    default="",
    metavar="DIR",
    help="Kubernetes objects (*.yaml, *.yml, *.json) as kubectl prints them;\n"
    "changes are noticed (docs/manifests.md)",
)
POD: Final = Option(
    flag="--pod",
    parse=_pod,
    default="",
    metavar="NAMESPACE/NAME",
    help="our own Pod among them",
)
NAMESPACE: Final = Option(
    flag="--namespace",
    parse=_name,
    default="default",
    metavar="NAME",
    help="our namespace, without --pod",
)
LABELS: Final = Option(
    flag="--labels",
    parse=_labels,
    default="",
    metavar="NAME=VALUE[,...]",
    help="our labels, instead of those of our Pod",
)
ROOT_NAMESPACE: Final = Option(
    flag="--root-namespace",
    parse=_name,
    default="istio-system",
    metavar="NAME",
    help="whose policies apply to every namespace",
)
ZONE: Final = Option(
    flag="--zone",
    parse=_zone,
    default="",
    metavar="NAME",
    help="the zone we are in, for Services that prefer their own;\n"
    "without it the one of our Pod in the EndpointSlices",
)
GROUP: Final = Group("Policy", (MANIFESTS, POD, NAMESPACE, LABELS, ROOT_NAMESPACE, ZONE))


def read_policy(reader: Reader) -> PolicyConfig:
    """Read the settings of policy."""
    pod = reader.one(POD)
    namespace = reader.one(NAMESPACE)
    return PolicyConfig(
        reader.one(MANIFESTS),
        pod,
        pod.namespace if pod else namespace,
        reader.one(LABELS),
        reader.one(ROOT_NAMESPACE),
        reader.one(ZONE),
    )


def policy_faults(config: PolicyConfig, reader: Reader) -> list[str]:
    """Return faults of settings that are right one by one and wrong together."""
    faults = []
    if config.manifests is None:
        faults += [
            f"{reader.blame(option)}: means nothing without {MANIFESTS.flag}"
            for option in (POD, NAMESPACE, LABELS, ROOT_NAMESPACE, ZONE)
            if reader.effective[option.key].source == "flag"
        ]
    if config.pod and not reader.is_default(NAMESPACE):
        named = reader.effective[NAMESPACE.key].text
        if named != config.pod.namespace:
            faults.append(f"{reader.blame(NAMESPACE)}: {named!r} contradicts {reader.blame(POD)}")
    return faults
