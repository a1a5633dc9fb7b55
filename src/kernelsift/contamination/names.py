"""Names of modules and problems, in the form in which they are compared."""

import re

_LETTERS = 3
_NOT = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"^(?:level\d+_?)?\d+_")
_SAYS_NOTHING = frozenset({
    "model", "modelnew", "module", "net", "network", "main", "test", "kernel", "solution",
    "problem",
})  # fmt: skip


def normalised(name: str) -> str:
    """A name in lower case without folder, `.py`, leading numbers and signs; empty if it says
    nothing (`Model`, `ModelNew` …) or is too short."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = _NOT.sub("", _NUMBER.sub("", last.removesuffix(".py"))).casefold()
    if plain in _SAYS_NOTHING or sum(letter.isalpha() for letter in plain) < _LETTERS:
        return ""
    return plain
