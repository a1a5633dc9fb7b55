"""Tokens and shingles of program text: one pass of one regular expression, also over broken code.

Two forms of the same tokens:

    structural   names become one placeholder, numbers 0, strings one placeholder; keywords, a few
                 builtins and names of the torch and triton API after a dot stay what they are
    raw          names, numbers and strings stay as they are written

Both leave out comments, docstrings, white space, line ends, parentheses, trailing commas and
semicolons, so formatting changes nothing. Tokens are 64-bit numbers on the way, never strings: a
dictionary maps each distinct word to its number once.
"""

import hashlib
import keyword
import re
import string
from array import array
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

VERSION = 2
"""Raised when the same text may get other tokens or hashes: stored fingerprints go with it."""
SHINGLE = 10
"""Structural tokens in a shingle."""
RAW_SHINGLE = 5
"""Raw tokens in a shingle: shorter, since one changed name shall not hide its whole line."""

NAME, NUMBER, STRING = "ID", "0", "STR"
"""Placeholders of the structural form."""
_TRIPLE = (
    r""""{3}[^"\\]*+(?:(?:\\(?:.|\Z)|"(?!""))[^"\\]*+)*(?:"{3}|\Z)"""
    r"""|'{3}[^'\\]*+(?:(?:\\(?:.|\Z)|'(?!''))[^'\\]*+)*(?:'{3}|\Z)"""
)
_QUOTED = r""""[^"\\\n]*+(?:\\.[^"\\\n]*+)*"?|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*'?"""
"""A text that is not closed ends with its line, or with the program."""
_NAME = r"[A-Za-z_\x80-\U0010ffff][A-Za-z_0-9\x80-\U0010ffff]*+"
_LINE = r"[ \t]*+(?:[\n;\#]|\Z)"
_TOKEN = re.compile(
    rf"""
    [ \t\n()]*+
    (?:
      (                                            # the one group: what is a token
        {_NAME}(?!["'])(?:(?<=\bself)\.{_NAME})?
      | [-+*/=\[\]:<>%@&|^~!{{}}?$`]
      | \.{_NAME}
      | ,(?!(?:[ \t\n]++|\#[^\n]*+)*[)\]}}])
      | \.?[0-9](?:[eE][+-][0-9]|[A-Za-z_0-9.])*
      | [A-Za-z]{{0,2}}(?:{_TRIPLE}|{_QUOTED})
      | \.
      | [A-Za-z_]++
      )
      (?:                                          # docstrings: texts in the lines after a colon
        (?<=:)[ \t]*+(?:\#[^\n]*+)?\n
        (?:(?:[ \t\n;]++|\#[^\n]*+)*[rRuU]?(?:{_TRIPLE}|{_QUOTED})(?={_LINE}))+
      )?
    | \#[^\n]*+ | [,\\;\s\x00-\x1f\x7f]            # comments, and what formatting may change
    )
    """,
    re.VERBOSE | re.DOTALL,
)
"""Runs of characters are possessive, so time is linear in the text whatever is in it, once its end
is stripped. Groups are not: Python before 3.11.5 matches possessive groups wrongly; they can match
in one way only."""
_BUILTINS = frozenset({
    "bool", "dict", "enumerate", "float", "int", "isinstance", "len", "list", "print", "range",
    "str", "super", "tuple", "zip",
})  # fmt: skip
_ROOTS = frozenset({"math", "nn", "np", "tl", "torch", "triton"})
_KEPT = frozenset(keyword.kwlist) | _BUILTINS | _ROOTS
_LETTERS = string.ascii_letters
_WORDS = 500_000
"""Distinct words that a process remembers; beyond that it begins anew."""
_BASE = 0x9E3779B97F4A7C15
"""Odd, so that no token is lost in the rolling hash."""


def structural_tokens(code: str) -> list[str]:
    """The tokens of a program that its structure is made of, in order.

    Works on any text: what is no Python is cut into words and signs all the same.
    """
    return [_structural(word) for word in _words(code) if word]


def raw_tokens(code: str) -> list[str]:
    """The tokens of a program as they are written, without comments and docstrings."""
    return [_raw(word) for word in _words(code) if word]


def _words(code: str) -> list[str]:
    """Words and signs, empty ones for what is left out; the text begins as if after a colon."""
    return _TOKEN.findall(":\n" + code.rstrip(" \t\n()"))[1:]


def shingles(tokens: "list[str] | Hashes", size: int = SHINGLE) -> "Hashes":
    """Hashes of all runs of `size` tokens: unique, sorted, 64 bits.

    Args:
        tokens: Words, or the numbers that `structural_hashes` and `raw_hashes` give for them; both
            give the same shingles.
        size: Tokens in a run. Of a shorter program the whole is one run; of none there is none.
    """
    import numpy as np

    if isinstance(tokens, list):
        tokens = np.array([_number(token) for token in tokens], np.uint64)
    return distinct(run_hashes(tokens, size))


def distinct(values: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    """Sorted, without repetitions: `numpy.unique`, but several times faster on short arrays."""
    import numpy as np

    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def structural_hashes(code: str) -> "Hashes":
    """`structural_tokens` as numbers, several times faster."""
    return _hashes(code, _structural)


def raw_hashes(code: str) -> "Hashes":
    """`raw_tokens` as numbers, several times faster."""
    return _hashes(code, _raw)


def run_hashes(tokens: "Hashes", size: int) -> "Hashes":
    """Rolling hash of every run: sum of token[i + k] * base^(size - 1 - k), modulo 2^64, mixed.

    Of fewer tokens than `size` the whole is one run.
    """
    import numpy as np

    if len(tokens) <= size:
        if not len(tokens):
            return tokens
        size = len(tokens)
    out = tokens
    width, todo = 1, size
    shift, powers = 0, _powers(size)
    total = np.zeros(len(tokens) - size + 1, np.uint64)
    while todo:  # widths of 1, 2, 4, … by doubling; those in `size` are added up
        if todo & 1:
            shift += width
            part = out[size - shift : size - shift + len(total)]
            total += part * powers[shift - width]
        todo >>= 1
        if todo:
            out = out[:-width] * powers[width] + out[width:]
            width *= 2
    total ^= total >> np.uint64(31)
    total *= np.uint64(0xBF58476D1CE4E5B9)
    total ^= total >> np.uint64(29)
    return total


@cache
def _powers(size: int) -> "list[np.uint64]":
    import numpy as np

    return [np.uint64(pow(_BASE, n, 2**64)) for n in range(size + 1)]


class _Numbers(dict[str, int]):
    """Word -> number of its token, learnt as words come; 0 for the empty word."""

    def __init__(self, form: Callable[[str], str]) -> None:
        super().__init__()
        self._form = form

    def __missing__(self, word: str) -> int:
        number = _number(self._form(word)) if word else 0
        if len(self) >= _WORDS:
            self.clear()
        self[word] = number
        return number


@cache
def _numbers(form: Callable[[str], str]) -> _Numbers:
    return _Numbers(form)


def _hashes(code: str, form: Callable[[str], str]) -> "Hashes":
    import numpy as np

    words = _words(code)
    if len(words) < 2:
        words += ["", ""]  # itemgetter gives a tuple of two or more only
    numbers = np.frombuffer(array("I", itemgetter(*words)(_numbers(form))), np.uint32)
    kept: Hashes = numbers[numbers != 0].astype(np.uint64)
    return kept


def _number(token: str) -> int:
    """30 bits that are never 0: Python handles so many at once."""
    text = token.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 34 or 1


@cache
def api_names() -> frozenset[str]:
    """Names of the torch and triton API."""
    text = (files("kernelsift.similarity") / "api_names.txt").read_text(encoding="utf-8")
    return frozenset(text.split())


def _raw(word: str) -> str:
    """A word as it stands; of a text what is in it, whichever quotes it has."""
    return STRING + word.lstrip(_LETTERS).strip("\"'") if _is_text(word) else word


def _is_text(word: str) -> bool:
    return '"' in word or "'" in word


def _structural(word: str) -> str:
    """A word as its place in the structure."""
    first = word[0]
    if first.isdigit() or (first == "." and word[1:2].isdigit()):
        return NUMBER
    if _is_text(word):
        return STRING
    if first == ".":
        return word if word == "." or word[1:] in api_names() else "." + NAME
    if first.isalpha() or first == "_" or not first.isascii():
        if "." in word:
            return "self." + NAME
        return word if word in _KEPT else NAME
    return word
