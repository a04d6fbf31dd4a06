"""What was fetched from a cluster, and what a look at it finds. Checks are functions of these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from inject.pods import Raw
from inject.settings import DEFAULTS, IMAGE

OK: Final = "ok"
WARNING: Final = "warning"
FAILURE: Final = "failure"
NOT_APPLICABLE: Final = "not applicable"

FORBIDDEN: Final = "Forbidden"


class Query(NamedTuple):
    """Words of kubectl. `key` is how checks ask for the answer; `given` goes to stdin."""

    key: str
    words: tuple[str, ...]
    given: str = ""


class Refusal(NamedTuple):
    """The API server said no. `reason` is its word, as `Forbidden`."""

    reason: str
    text: str

    @property
    def is_of_rights(self) -> bool:
        """Whether who asks may not do it, and not: nobody may do it so."""
        return self.reason == FORBIDDEN and " cannot " in self.text


class Answer(NamedTuple):
    """Objects, or a refusal; and between which times of this machine it was given."""

    objects: tuple[Raw, ...]
    refusal: Refusal | None
    asked: datetime
    answered: datetime


class RefusedError(Exception):
    """A check needs objects that the API server does not give."""

    def __init__(self, key: str, refusal: Refusal) -> None:
        super().__init__(f"{key}: {refusal.text}")
        self.key = key
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked about: names of the installation, and where to look and to try."""

    system: str = "remora-system"
    webhook: str = "remora-webhook"
    secret: str = "remora-webhook-tls"  # noqa: S105 - a name
    namespace: str = ""  # of the pods; empty: all
    needs: frozenset[str] = frozenset()
    image: str = DEFAULTS[IMAGE.key]

    @property
    def trial_namespace(self) -> str:
        """Where pods are tried. None of them is ever made."""
        return self.namespace or "default"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All answers of one round, and when that was."""

    answers: Mapping[str, Answer]
    now: datetime
    wanted: Wanted = Wanted()

    def all(self, key: str) -> tuple[Raw, ...]:
        """Return the objects of an answer. Raises RefusedError."""
        answer = self.answers[key]
        if answer.refusal:
            raise RefusedError(key, answer.refusal)
        return answer.objects

    def one(self, key: str) -> Raw | None:
        """Return the object that was asked for by its name, None if it is not there."""
        found = self.all(key)
        return found[0] if found else None

    def trial(self, key: str) -> Raw | Refusal:
        """Return what the API server made of an object, or why it would not have it."""
        answer = self.answers[key]
        return answer.refusal or answer.objects[0]

    def age(self, text: object) -> timedelta | None:
        """Return how long a time of Kubernetes is ago; None if there is none."""
        when = instant(text)
        return self.now - when if when else None


class Result(NamedTuple):
    """What one check found. `things` has a line for each pod, namespace or right concerned."""

    state: str
    text: str
    hint: str = ""
    things: tuple[str, ...] = ()


Look = Callable[[Snapshot], Result]
Queries = Callable[[Wanted], tuple[Query, ...]]


class Mode(NamedTuple):
    """What one flag looks at: categories of checks, and what has to be fetched for them."""

    queries: Queries
    categories: Mapping[str, Mapping[str, Look]]


def of_trial(refusal: Refusal, hint: str) -> str:
    """Return what to do about a pod that could not be tried: the hint, unless rights are amiss."""
    return "ask for the right to create pods there, or say -n" if refusal.is_of_rights else hint


def instant(text: object) -> datetime | None:
    """Read a time as Kubernetes writes it."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def name_of(thing: Raw) -> str:
    """Return "namespace/name" of an object."""
    metadata = thing.get("metadata") or {}
    name = str(metadata.get("name", "?"))
    return f"{metadata['namespace']}/{name}" if metadata.get("namespace") else name


def items_of(thing: Raw, name: str) -> list[Raw]:
    """Return a member that is a list of objects; an empty one if it is not there."""
    return thing.get(name) or []


def count(number: int, thing: str) -> str:
    """Return "1 pod", "2 pods"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
