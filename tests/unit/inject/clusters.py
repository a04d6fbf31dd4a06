"""Clusters as checks see them: objects by the question that they answer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from inject.cluster.snapshot import Answer, Look, Refusal, Result, Snapshot, Wanted

NOW: Final = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
Json = dict[str, Any]
Said = Json | Refusal | Sequence[Json]


def seen(
    look: Look, answers: Mapping[str, Any], wanted: Wanted | None = None, **changed: str
) -> Result:
    """Return what a check finds in a cluster that answers so."""
    asked = wanted or Wanted(**changed)  # type: ignore[arg-type] # texts all
    return look(snapshot(answers, asked))


def snapshot(answers: Mapping[str, Any], wanted: Wanted | None = None) -> Snapshot:
    made = {key: answer(said) for key, said in answers.items()}
    return Snapshot(made, NOW, wanted or Wanted())


def answer(said: Said) -> Answer:
    if isinstance(said, Refusal):
        return Answer((), said, NOW, NOW)
    return Answer((said,) if isinstance(said, dict) else tuple(said), None, NOW, NOW)


def ago(**time: float) -> str:
    """Return a time as Kubernetes writes it."""
    return (NOW - timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


def thing(name: str, namespace: str = "", **fields: Any) -> Json:  # noqa: ANN401 - any JSON
    """Return an object; labels go into its metadata."""
    place = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, **place, "labels": fields.pop("labels", {})}, **fields}


def version(text: str) -> Json:
    return {"serverVersion": {"gitVersion": text}}


def forbidden(what: str = "nodes is forbidden") -> Refusal:
    return Refusal("Forbidden", what)
