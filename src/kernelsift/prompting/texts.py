"""Tokens and numbers of a text that is code, prose, or both."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kernelsift.prompting.words import NUMBER_WORDS

_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[^\s\w`]")
_NUMBER = re.compile(
    r"(?<![A-Za-z_\d.])(?:\d+(?:,\d{3})+|\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+|(?= ?[×x*] ?10))?"
)
_POWER = re.compile(
    r"(?:(\d+\.?\d*) ?[×x*·] ?)?10 ?(?:\^|\*\*|to the power (?:of )?)[({ ]?([-−+]?\d+)",
    re.IGNORECASE,
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT = re.compile("(?<=10)[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_WORDS = re.compile(rf"\b({'|'.join(NUMBER_WORDS)})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign, and the line that it stands in, from 1."""

    text: str
    line: int

    @property
    def is_name(self) -> bool:
        return self.text[0].isalpha() or self.text[0] == "_"


def tokens(text: str) -> list[Token]:
    """Words, numbers and single signs, in order; white space and backticks are left out."""
    return [
        Token(found, number)
        for number, line in enumerate(text.split("\n"), 1)
        for found in _TOKEN.findall(line)
    ]


def numbers(text: str) -> frozenset[float]:
    """The sizes (without sign) of all numbers that a text names, in digits or as a word."""
    return frozenset(abs(value) for value in _numbers(text) if math.isfinite(value))


def _numbers(text: str) -> Iterator[float]:
    text = _SUPERSCRIPT.sub(lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    for found in _POWER.finditer(text):
        yield float(found[1] or 1) * 10.0 ** max(-400, min(300, int(found[2].replace("−", "-"))))
    for found in _NUMBER.finditer(text):
        yield float(found[0].replace(",", "")) if "," in found[0] else float(found[0])
    for found in _WORDS.finditer(text):
        yield NUMBER_WORDS[found[1].lower()]


def holds_number(known: frozenset[float], value: float) -> bool:
    """Whether a number is among those that a text names, to six digits."""
    size = abs(value)
    return size in known or any(math.isclose(size, one, rel_tol=1e-5) for one in known)


def holds_word(text: str, word: str) -> bool:
    """Whether a name stands in the text as a word of its own."""
    return re.search(rf"(?<![\w]){re.escape(word)}(?!\w)", text) is not None
