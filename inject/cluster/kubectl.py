"""Questions to a cluster through `kubectl`, which brings every way to log in to one."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from inject.cluster.snapshot import Answer, Query, Refusal
from inject.pods import Raw

PROGRAM: Final = "kubectl"
_REQUEST_S: Final = 20
# Above kubectl's own limit, for ways to log in that take their time.
_PATIENCE_S: Final = 90
_AT_ONCE: Final = 4

_REFUSED: Final = re.compile(r"^Error from server(?: \((\w+)\))?: (.*)", re.MULTILINE | re.DOTALL)
_INVALID: Final = re.compile(r'^The \S+ ".*" is invalid: .*', re.MULTILINE | re.DOTALL)
_UNWRAPPED: Final = re.compile(r'^error when creating "STDIN": ')


class KubectlError(Exception):
    """The cluster cannot be asked at all; `hint` is what to do about it."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


class Kubectl:
    """`kubectl` with the flags that say which cluster is meant."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._words = (PROGRAM, *flags, f"--request-timeout={_REQUEST_S}s")

    def ask(self, query: Query) -> Answer:
        """Return what a command answers. Raises KubectlError."""
        asked = datetime.now(UTC)
        done = self._run(query)
        answered = datetime.now(UTC)
        if done.returncode == 0:
            return Answer(tuple(_objects(done.stdout)), None, asked, answered)
        return Answer((), _refusal(done.stderr), asked, answered)

    def ask_all(self, queries: Iterable[Query]) -> dict[str, Answer]:
        """Return all answers by their keys. The first is asked alone: it shows who is there."""
        first, *rest = queries
        answers = {first.key: self.ask(first)}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers |= zip((each.key for each in rest), pool.map(self.ask, rest), strict=True)
        return answers

    def _run(self, query: Query) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - no shell, and the words are ours
                [*self._words, *query.words],
                input=query.given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE_S,
                check=False,
            )
        except FileNotFoundError:
            hint = "install kubectl, which knows how to log in to the cluster, and put it on PATH"
            raise KubectlError(f"{PROGRAM} is not there", hint) from None
        except OSError as fault:
            hint = f"does `{PROGRAM} version` work in this shell?"
            raise KubectlError(f"{PROGRAM} cannot be run: {fault.strerror}", hint) from None
        except subprocess.TimeoutExpired:
            hint = "does it wait for somebody to log in? run `kubectl get namespaces` by hand once"
            raise KubectlError(f"{PROGRAM} said nothing for {_PATIENCE_S} s", hint) from None


def _objects(text: str) -> Iterator[Raw]:
    """Yield the objects that kubectl prints: one, a list, or one after the other."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError) as fault:
            raise _garbage(rest) from fault
        if not isinstance(value, dict):
            raise _garbage(rest)
        is_list = str(value.get("kind", "")).endswith("List") and "items" in value
        things = value["items"] if is_list else [value]
        if not isinstance(things, list) or not all(isinstance(each, dict) for each in things):
            raise _garbage(rest)
        yield from things
        rest = rest[end:].lstrip()


def _garbage(text: str) -> KubectlError:
    line = text.splitlines()[0][:80]
    hint = f"is that Kubernetes' own kubectl? `{PROGRAM} version -o json` must print JSON"
    return KubectlError(f"{PROGRAM} printed no JSON of objects: {line!r}", hint)


def _refusal(stderr: str) -> Refusal:
    """Return what the API server said. Raises KubectlError if it said nothing."""
    if match := _REFUSED.search(stderr):
        return Refusal(match[1] or "", _on_one_line(_UNWRAPPED.sub("", match[2])))
    if match := _INVALID.search(stderr):
        return Refusal("Invalid", _on_one_line(match[0]))
    lines = [line for line in stderr.splitlines() if line.strip()]
    hint = "is it the right cluster (--context, --kubeconfig)? does `kubectl get namespaces` work?"
    raise KubectlError(f"{PROGRAM} says: {lines[-1] if lines else 'nothing'}", hint)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
