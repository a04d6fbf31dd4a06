"""Options of a command: declared once, read from flags and variables, explained by --help.

A flag wins over its `REMORA_*` variable, an empty variable counts as unset, and of a flag given
twice the last one counts, unless it may be repeated; its variable then holds a comma-separated
list. All faults are gathered, so that one run shows every one of them.

Records here are named tuples: `remora ctl` is a hook of the pod, and dataclasses load slowly.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT: Final = "default"
FLAG: Final = "flag"
_HELP_COLUMN: Final = 28
_HELP_COLUMNS_MAX: Final = 100


class Option(NamedTuple, Generic[T_co]):
    """One setting. `default` is text, read by the same `parse` as everything else."""

    flag: str
    parse: Callable[[str], T_co]
    default: str
    help: str
    metavar: str = ""  # empty: a switch, which takes no value
    repeatable: bool = False
    separator: str = ","  # between the values of a repeatable one, in its variable

    @property
    def key(self) -> str:
        """Name in the effective configuration: "drain_delay"."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def variable(self) -> str:
        """Name of the environment variable: "REMORA_DRAIN_DELAY"."""
        return "REMORA_" + self.key.upper()


class Group(NamedTuple):
    """Options that --help shows together."""

    title: str
    options: tuple[Option[object], ...]


class Effective(NamedTuple):
    """Text of a setting as it is in force, and who set it: "default", "flag" or "env NAME"."""

    text: str
    source: str


class Reader:
    """Values of declared options out of one command line and one environment.

    `words` holds the arguments that belong to no option. Read every option first, then look at
    `faults`: sentences for the operator, empty if all is well.
    """

    def __init__(
        self, groups: Sequence[Group], arguments: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self.faults: list[str] = []
        self.words: list[str] = []
        self._has_unknown_flag = False
        self.effective: dict[str, Effective] = {}
        self.wants_help = False
        self._by_flag = {option.flag: option for group in groups for option in group.options}
        self._environ = environ
        self._given: dict[str, list[str]] = {}
        self._split(arguments)

    def one(self, option: Option[T]) -> T:
        """Return the value of an option that holds one; its default's if there is a fault."""
        return self._values(option)[-1]

    def many(self, option: Option[T]) -> tuple[T, ...]:
        """Return the values of a repeatable option."""
        return tuple(self._values(option))

    def stray_words(self, words: Sequence[str]) -> list[str]:
        """Return faults for words that nobody takes, unless they may belong to an unknown flag."""
        if self._has_unknown_flag:
            return []
        return [f"{word!r}: unexpected argument" for word in words]

    def is_default(self, option: Option[T]) -> bool:
        """Whether nobody set the option. Valid after it was read."""
        return self.effective[option.key].source == DEFAULT

    def set_by(self) -> dict[str, str]:
        """Return the source of every setting that is not a default."""
        settings = self.effective.items()
        return {key: setting.source for key, setting in settings if setting.source != DEFAULT}

    def blame(self, option: Option[T]) -> str:
        """Return what a fault must name: the flag, or the variable where the value came from."""
        source = self.effective[option.key].source
        return source.removeprefix("env ") if source.startswith("env ") else option.flag

    def _values(self, option: Option[T]) -> list[T]:
        texts, source = self._texts(option)
        self.effective[option.key] = Effective(option.separator.join(texts), source)
        values, has_fault = [], False
        for text in texts:
            try:
                values.append(option.parse(text))
            except ValueError as fault:
                self.faults.append(f"{self.blame(option)}: {text!r} {fault}")
                has_fault = True
        return [option.parse(text) for text in _default_texts(option)] if has_fault else values

    def _texts(self, option: Option[T]) -> tuple[list[str], str]:
        given = self._given.get(option.flag)
        if given is not None:
            return (given if option.repeatable else given[-1:]), FLAG
        text = self._environ.get(option.variable, "").strip()
        if text:
            texts = [text]
            if option.repeatable:
                words = text.split(option.separator)
                texts = [word.strip() for word in words if word.strip() or option.separator == ","]
            return texts, f"env {option.variable}"
        return _default_texts(option), DEFAULT

    def _split(self, arguments: Sequence[str]) -> None:
        rest = iter(arguments)
        for argument in rest:
            if argument in {"-h", "--help"}:
                self.wants_help = True
            elif argument == "--":
                self.words.extend(rest)
            elif argument.startswith("-") and argument != "-":
                self._take(argument, rest)
            else:
                self.words.append(argument)

    def _take(self, argument: str, rest: Iterable[str]) -> None:
        flag, equals, value = argument.partition("=")
        option = self._by_flag.get(flag)
        if option is None:
            self.faults.append(f"{flag}: no such flag{_suggest(flag, self._by_flag)}")
            self._has_unknown_flag = True
            return
        if not equals:
            # The word after a flag is its value even if it looks like a flag: "--listen --help"
            # then says that "--help" is no address.
            word = next(iter(rest), None) if option.metavar else "true"
            if word is None:
                self.faults.append(f"{flag}: needs a value ({option.metavar})")
                return
            value = word
        self._given.setdefault(flag, []).append(value)


def _default_texts(option: Option[T]) -> list[str]:
    if not option.repeatable:
        return [option.default]
    return option.default.split(",") if option.default else []


def _suggest(flag: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - milliseconds that a start can save

    near = get_close_matches(flag, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else " (see --help)"


def help_text(usage: str, groups: Sequence[Group], epilogue: str) -> str:
    """Return the page that --help prints."""
    lines = [usage.strip("\n")]
    for group in groups:
        lines += ["", f"{group.title}:"]
        for option in group.options:
            lines += _help_lines(option)
    return "\n".join([*lines, "", epilogue.strip("\n"), ""])


def _help_lines(option: Option[object]) -> list[str]:
    left = f"  {option.flag} {option.metavar}".rstrip()
    text = [*option.help.splitlines()]
    notes = ["repeatable"] if option.repeatable else []
    if option.metavar and option.default:
        notes.append(f"default {option.default.replace(',', ', ')}")
    if notes:
        note = f"({'; '.join(notes)})"
        if _HELP_COLUMN + len(text[-1]) + 1 + len(note) > _HELP_COLUMNS_MAX:
            text.append(note)
        else:
            text[-1] += f" {note}"
    pad = " " * _HELP_COLUMN
    if len(left) < _HELP_COLUMN:
        return [left.ljust(_HELP_COLUMN) + text[0], *(pad + line for line in text[1:])]
    return [left, *(pad + line for line in text)]
