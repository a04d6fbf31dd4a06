"""`remora inject` and `remora uninject`: manifests in, manifests out, and what was done to them."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from inject import settings as known
from inject.documents import Change, Line, injecting, rewrite, split, uninjecting
from inject.yamls import YamlError
from proxy.ctl_table import printable
from proxy.errors import EXIT_FAULTS, EXIT_OK, EXIT_USAGE
from proxy.options import Group, Reader, help_text

USAGE: Final = """\
usage: remora inject [FILE|DIR|-]... [flags]

Puts the sidecar into the pods of Kubernetes manifests: Pod, Deployment, StatefulSet, DaemonSet,
ReplicaSet, Job, CronJob, and lists of them, YAML or JSON. The manifests go to stdout, comments and
all; a line for every pod, and everything that is wrong, goes to stderr."""

EPILOGUE: Final = """\
Examples:
  remora inject web.yaml | kubectl apply -f -
  kubectl get deployment web -o yaml | remora inject - | kubectl apply -f -
  kustomize build . | remora inject --access-log json | kubectl apply -f -
  remora inject manifests/ --identity-source csi --mtls strict > meshed.yaml
  remora inject web.yaml --proxy-cpu-limit 500m --skip-outbound-ports 3306,6379
  remora uninject meshed.yaml | kubectl apply -f -

A pod says no with the label or annotation remora.dev/inject: disabled. Its annotations win over the
flags here. What was injected before is injected anew, so that a new image or flag gets everywhere.

Exit codes: 0 done; 1 there are faults, and nothing was written to stdout; 64 bad words here."""

UNINJECT_USAGE: Final = """\
usage: remora uninject [FILE|DIR|-]...

Takes out of Kubernetes manifests what `remora inject` put in. They go to stdout as they were
before; a line for every pod goes to stderr."""

UNINJECT_EPILOGUE: Final = """\
Examples:
  kubectl get deployment web -o yaml | remora uninject - | kubectl apply -f -
  remora uninject manifests/ > bare.yaml

Exit codes: 0 done; 1 there are faults, and nothing was written to stdout; 64 bad words here."""

STDIN: Final = "-"
SUFFIXES: Final = (".yaml", ".yml", ".json")
BYTES_MAX: Final = 64 << 20


class _Source(NamedTuple):
    """A file that was read."""

    name: str
    text: str


class _UnreadableError(Exception):
    """A file cannot be had; the text says which and why."""


def main(arguments: Sequence[str]) -> int:
    """Inject; return the exit code."""
    reader = Reader((known.GROUP,), arguments, {})
    chosen = {option.key: reader.one(option) for option in known.OPTIONS}
    if reader.wants_help:
        sys.stdout.write(help_text(USAGE, (known.GROUP,), EPILOGUE))
        return EXIT_OK
    faults = reader.faults or [known.as_flag(fault) for fault in known.contradictions(chosen)]
    return _run("inject", reader.words, faults, injecting(chosen))


def main_uninject(arguments: Sequence[str]) -> int:
    """Uninject; return the exit code."""
    groups: tuple[Group, ...] = ()
    reader = Reader(groups, arguments, {})
    if reader.wants_help:
        sys.stdout.write(help_text(UNINJECT_USAGE, groups, UNINJECT_EPILOGUE))
        return EXIT_OK
    return _run("uninject", reader.words, reader.faults, uninjecting)


def _run(command: str, words: Sequence[str], faults: Sequence[str], change: Change) -> int:
    if not words and sys.stdin.isatty():
        faults = [*faults, "needs a file, a directory, or - for what comes in"]
    sources: list[_Source] = []
    if not faults:
        try:
            sources = [source for word in words or [STDIN] for source in _read(word)]
        except _UnreadableError as fault:
            faults = [str(fault)]
    if faults:
        for each in faults:
            _say(command, each)
        return EXIT_USAGE
    texts, has_faults = list[str](), False
    for source in sources:
        for text, lines in _rewritten(source, change):
            texts.append(text)
            for line in lines:
                _say(command, _sentence(source, line))
                has_faults |= line.is_fault
    if has_faults:
        # Half of it, piped into kubectl, would be worse than nothing.
        _say(command, "nothing was written")
        return EXIT_FAULTS
    sys.stdout.write(_joined(texts))
    sys.stdout.flush()
    return EXIT_OK


def _rewritten(source: _Source, change: Change) -> Iterator[tuple[str, tuple[Line, ...]]]:
    for before, text in split(source.text):
        try:
            yield rewrite(text, change)
        except YamlError as fault:
            where = str(before + fault.line) if fault.line else ""
            yield text, (Line(where, "fault", str(fault), is_fault=True),)


def _joined(texts: Sequence[str]) -> str:
    """Return one stream; documents of different files are put apart."""
    made: list[str] = []
    for text in texts:
        if made and not made[-1].endswith("\n"):
            made.append("\n")
        if made and not text.startswith("---") and made[-1].strip():
            made.append("---\n")
        made.append(text)
    return "".join(made)


def _read(word: str) -> Iterator[_Source]:
    path = Path(word)
    if word == STDIN:
        yield _Source("stdin", _text(word, sys.stdin.buffer.read(BYTES_MAX + 1)))
    elif path.is_dir():
        files = [file for file in path.rglob("*") if _is_manifest(file, path)]
        if not files:
            raise _UnreadableError(f"{word}: has no manifest ({', '.join(SUFFIXES)})")
        for file in sorted(files):
            yield from _read(str(file))
    else:
        try:
            with path.open("rb") as opened:
                content = opened.read(BYTES_MAX + 1)
        except OSError as fault:
            raise _UnreadableError(f"{word}: {fault.strerror}") from fault
        yield _Source(word, _text(word, content))


def _is_manifest(file: Path, folder: Path) -> bool:
    names = file.relative_to(folder).parts
    is_hidden = any(name.startswith(".") for name in names)
    return file.suffix in SUFFIXES and file.is_file() and not is_hidden


def _text(name: str, content: bytes) -> str:
    if len(content) > BYTES_MAX:
        raise _UnreadableError(f"{name}: is larger than {BYTES_MAX} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise _UnreadableError(f"{name}: is no UTF-8: {fault.reason}") from fault


def _sentence(source: _Source, line: Line) -> str:
    if line.is_fault and line.name.isdigit():
        return f"{source.name}:{line.name}: {line.text}"
    place = f"{source.name}: " if line.is_fault else ""
    return ": ".join(filter(None, (f"{place}{line.name}".rstrip(": "), line.text)))


def _say(command: str, text: str) -> None:
    sys.stderr.write(f"remora {command}: {printable(text)}\n")
