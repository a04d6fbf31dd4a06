"""Regular expressions as tables, against Python's own on random expressions and words."""

import random
import re

import pytest

from proxy.traffic.automaton import STATES_MAX
from proxy.traffic.regex import RegexError, compile_regex, matches

ALPHABET = "ab1/-\t"
ATOMS = [
    *"ab1/-.",
    r"\d",
    r"\w",
    r"\s",
    r"\D",
    r"\W",
    "[ab]",
    "[^a1]",
    "[a-b/]",
    r"[\d-]",
    r"\.",
    "",
]
ROUNDS = 3000


def fits(pattern: str, word: bytes) -> bool:
    return matches(compile_regex(pattern), word)


class Random:
    """Random expressions that Python and RE2 read alike."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)  # noqa: S311 - expressions, not secrets

    def expression(self, depth: int = 3) -> str:
        kind = self.source.randrange(7) if depth else 0
        inner = depth - 1
        if kind <= 1:
            return str(self.source.choice(ATOMS))
        if kind == 2:
            return self.expression(inner) + self.expression(inner)
        if kind == 3:
            return f"({self.expression(inner)}|{self.expression(inner)})"
        if kind == 4:
            return f"^{self.expression(inner)}" if self.source.random() < 0.5 else "$"
        low = self.source.randrange(3)
        repeats = ["*", "+", "?", "*?", f"{{{low}}}", f"{{{low},}}", f"{{{low},{low + 1}}}"]
        return f"(?:{self.expression(inner)}){self.source.choice(repeats)}"

    def word(self) -> str:
        return "".join(self.source.choices(ALPHABET, k=self.source.randrange(6)))


def test_a_table_says_what_pythons_own_engine_says() -> None:
    made = Random(20261121)
    yes = no = 0
    for _ in range(ROUNDS):
        pattern = made.expression()
        for _ in range(8):
            word = made.word().encode()
            expected = re.fullmatch(pattern.encode(), word) is not None
            assert fits(pattern, word) == expected, (pattern, word)
            yes, no = yes + expected, no + (not expected)
    assert min(yes, no) > ROUNDS


@pytest.mark.parametrize(
    ("pattern", "word", "expected"),
    [
        ("", b"", True),
        ("", b"a", False),
        ("/api/v[0-9]+/.*", b"/api/v12/users", True),
        ("/api/v[0-9]+/.*", b"x/api/v12/users", False),
        ("(?i)/API", b"/aPi", True),
        ("(?i)[^a-z]", b"Q", False),
        ("(?P<name>a)(?<other>b)", b"ab", True),
        ("é+", "éé".encode(), True),
        ("é+", "é".encode() + b"\xa9", False),
        ("a{2,}", b"aaaa", True),
        ("a{,2}", b"a{,2}", True),
        ("a{x}", b"a{x}", True),
        (r"\x41\x{42}", b"AB", True),
        ("[]a]+", b"]a", True),
        ("[a-]+", b"-a", True),
        ("^$", b"", True),
        ("a|^", b"", True),
        ("a$b", b"ab", False),
        (".", b"\xff", True),
        (".", b"\n", False),
    ],
)
def test_an_expression_fits_as_re2_reads_it(pattern: str, word: bytes, *, expected: bool) -> None:
    assert fits(pattern, word) is expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a", "has a ( without its )"),
        ("a)", "has a ) without its ("),
        ("*a", "has a * that repeats nothing"),
        ("^*", "repeats nothing"),
        ("a**", "has two repetitions in a row"),
        ("a*{2}", "has two repetitions in a row"),
        (r"\1", r"has \1, which is not supported"),
        (r"\bword\b", r"has \b, which is not supported"),
        ("(?=a)", "has (?=a, which is not supported"),
        ("a(?i)b", "has (?i), which is not supported"),
        ("[a", "ends within a class"),
        ("a\\", "ends within an escape"),
        ("[[:alpha:]]", "has a named class, which is not supported"),
        ("[é]", "has é in a class, where only ASCII is supported"),
        ("[b-a]", "has a class with a range that is none"),
        (r"\xé0", "has a \\x that is not followed by an ASCII character in hex"),
        ("a{3,2}", "has {3,2}, whose end is below its beginning"),
        ("a{1001}", "has a repetition of more than 1000 times"),
        ("(" * 51 + ")" * 51, "has more than 50 groups in one another"),
        ("a" * 1025, "is longer than 1024 characters"),
        ("((a{100}){100}){100}", "needs more than 4000 places: repeat less"),
        ("[ab]*a[ab]{16}", "needs more work than one expression may make"),
        ("a{1000}", "needs 1002 states; 1000 are the most"),
    ],
)
def test_what_cannot_be_a_small_table_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(RegexError) as caught:
        compile_regex(pattern)
    assert str(caught.value) == text


def test_a_table_is_the_smallest_there_is() -> None:
    dfa = compile_regex("(a|b)*abb|(b|a)*abb")
    assert len(dfa.accepting) == 4 + 1  # and one from which nothing leads back
    assert dfa.class_count == 3
    assert len(dfa.steps) == 5 * 3
    assert len(compile_regex("a{998}").accepting) == STATES_MAX
