r"""Regular expressions as users write them → a tree. What is made of it: automaton.py.

RE2's syntax, as far as it means something for a whole word of bytes: literals, `.`, classes,
`\d \w \s`, groups, `|`, `* + ? {m,n}`, `^`, `$`, and `(?i)` at the beginning. No look-around, no
back reference, no `\b`: those are what no linear matcher can do, or what nobody needs here.
Outside classes a character beyond ASCII stands for its bytes in UTF-8.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from proxy.traffic.automaton import (
    END,
    START,
    Alternatives,
    Bytes,
    Chain,
    Node,
    Repeat,
    TooLargeError,
    compile_tree,
)
from proxy.traffic.rows import Dfa

_PATTERN_CHARACTERS_MAX: Final = 1024
_REPEATS_MAX: Final = 1000  # RE2's
_DEPTH_MAX: Final = 50
_ALL: Final = frozenset(range(256))
_ASCII: Final = 128
_DIGITS: Final = frozenset(b"0123456789")
_LETTERS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD: Final = _DIGITS | _LETTERS | frozenset(b"_")
_SPACE: Final = frozenset(b"\t\n\f\r ")
_DOT: Final = Bytes(_ALL - frozenset(b"\n"))
_FIXED: Final[Mapping[str, Node]] = {".": _DOT, "^": START, "$": END}
_CLASSES: Final = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _ALL - _DIGITS,
    "W": _ALL - _WORD,
    "S": _ALL - _SPACE,
}
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "a": 7}
_CASE_BIT: Final = 0x20


class RegexError(ValueError):
    """The expression cannot be used; the text says why."""


class _Bounds(NamedTuple):
    least: int
    most: int | None


@lru_cache(maxsize=256)  # a reload finds most expressions again
def compile_regex(pattern: str) -> Dfa:
    """Return the table of an expression that is compared with a whole word."""
    if len(pattern) > _PATTERN_CHARACTERS_MAX:
        raise RegexError(f"is longer than {_PATTERN_CHARACTERS_MAX} characters")
    try:
        return compile_tree(_Parser(pattern).parse())
    except TooLargeError as fault:
        raise RegexError(f"needs {fault}") from None


class _Parser:
    """Recursive descent, one method a rule of the grammar."""

    def __init__(self, pattern: str) -> None:
        self._ignores_case = pattern.startswith("(?i)")
        self._text = pattern.removeprefix("(?i)")
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        """Return the tree of the whole pattern."""
        tree = self._alternatives()
        if self._at < len(self._text):
            raise RegexError("has a ) without its (")
        return tree

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _takes(self, word: str) -> bool:
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _next(self, what: str) -> str:
        letter = self._peek()
        if not letter:
            raise RegexError(f"ends within {what}")
        self._at += 1
        return letter

    def _alternatives(self) -> Node:
        found = [self._chain()]
        while self._takes("|"):
            found.append(self._chain())
        return found[0] if len(found) == 1 else Alternatives(tuple(found))

    def _chain(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated())
        return parts[0] if len(parts) == 1 else Chain(tuple(parts))

    def _repeated(self) -> Node:
        is_anchor = self._peek() in {"^", "$"}
        atom = self._atom()
        bounds = self._bounds()
        if bounds is None:
            return atom
        if is_anchor:
            raise RegexError("repeats nothing")
        self._takes("?")  # lazy or not: a whole word fits or does not
        if self._peek() in {"*", "+", "?"} or self._bounds() is not None:
            raise RegexError("has two repetitions in a row")
        return Repeat(atom, *bounds)

    def _bounds(self) -> _Bounds | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._takes(sign):
                return _Bounds(*bounds)
        return self._counted() if self._peek() == "{" else None

    def _counted(self) -> _Bounds | None:
        """Read {m}, {m,} or {m,n}. Anything else in braces is literal, as in RE2."""
        inner, brace, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inner.partition(",")
        if not brace or not _is_number(low) or not (not high or _is_number(high)):
            return None
        self._at += len(inner) + 2
        least = int(low)
        most = int(high) if high else None if comma else least
        if max(least, most or 0) > _REPEATS_MAX:
            raise RegexError(f"has a repetition of more than {_REPEATS_MAX} times")
        if most is not None and most < least:
            raise RegexError(f"has {{{inner}}}, whose end is below its beginning")
        return _Bounds(least, most)

    def _atom(self) -> Node:
        letter = self._next("")
        if letter == "(":
            return self._group()
        if letter == "[":
            return Bytes(self._class())
        if letter == "\\":
            return Bytes(self._folded(self._escape("an escape")))
        if letter in "*+?":
            raise RegexError(f"has a {letter} that repeats nothing")
        return _FIXED.get(letter) or self._literal(letter)

    def _literal(self, letter: str) -> Node:
        parts = [Bytes(self._folded(frozenset({byte}))) for byte in letter.encode()]
        return parts[0] if len(parts) == 1 else Chain(tuple(parts))

    def _group(self) -> Node:
        if self._takes("?") and not self._takes(":"):
            self._name()
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise RegexError(f"has more than {_DEPTH_MAX} groups in one another")
        inner = self._alternatives()
        self._depth -= 1
        if not self._takes(")"):
            raise RegexError("has a ( without its )")
        return inner

    def _name(self) -> None:
        """Pass over the name of a group: it is one like any other."""
        rest = self._text[self._at :].removeprefix("P")
        name, end, _ = rest.removeprefix("<").partition(">")
        if not rest.startswith("<") or not end or not name.isidentifier():
            raise RegexError(f"has (?{rest[:2]}, which is not supported")
        self._at = len(self._text) - len(rest) + len(name) + 2

    def _escape(self, where: str) -> frozenset[int]:
        letter = self._next(where)
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter in _CONTROLS:
            return frozenset({_CONTROLS[letter]})
        if letter == "x":
            return frozenset({self._hex()})
        if letter.isascii() and not letter.isalnum():
            return frozenset({ord(letter)})
        raise RegexError(f"has \\{letter}, which is not supported")

    def _hex(self) -> int:
        digits, brace, _ = self._text[self._at :].partition("}")
        if digits.startswith("{") and brace:
            self._at += len(digits) + 1
            digits = digits[1:]
        else:
            digits = self._text[self._at : self._at + 2]
            self._at += 2
        try:
            value = int(digits, 16)
        except ValueError:
            value = _ASCII
        if value >= _ASCII or len(digits) < 2:  # noqa: PLR2004 - two digits
            raise RegexError("has a \\x that is not followed by an ASCII character in hex")
        return value

    def _class(self) -> frozenset[int]:
        is_not = self._takes("^")
        found: set[int] = set()
        is_first = True
        while is_first or not self._takes("]"):
            is_first = False
            found |= self._range()
        chosen = self._folded(frozenset(found))
        return _ALL - chosen if is_not else chosen

    def _range(self) -> frozenset[int]:
        if self._text.startswith(("[:", "[.", "[="), self._at):
            raise RegexError("has a named class, which is not supported")
        low = self._member()
        is_range = self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"", "]"}
        if not is_range:
            return low
        self._at += 1
        high = self._member()
        if len(low) != 1 or len(high) != 1 or min(low) > min(high):
            raise RegexError("has a class with a range that is none")
        return frozenset(range(min(low), min(high) + 1))

    def _member(self) -> frozenset[int]:
        letter = self._next("a class")
        if letter == "\\":
            return self._escape("a class")
        if not letter.isascii():
            raise RegexError(f"has {letter} in a class, where only ASCII is supported")
        return frozenset({ord(letter)})

    def _folded(self, chosen: frozenset[int]) -> frozenset[int]:
        if not self._ignores_case:
            return chosen
        return chosen | {byte ^ _CASE_BIT for byte in chosen & _LETTERS}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def matches(dfa: Dfa, word: bytes) -> bool:
    """Whether a table fits a whole word. Slow and plain: the data plane has its own."""
    state = 0
    for symbol in _symbols(dfa, word):
        state = dfa.steps[state * dfa.class_count + symbol]
    return bool(dfa.accepting[state])


def _symbols(dfa: Dfa, word: bytes) -> Iterator[int]:
    return (dfa.classes[byte] for byte in word)
