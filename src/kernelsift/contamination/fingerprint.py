"""What a program is known by: digests of the whole and of its parts, and token n-grams.

Kinds of equality, the strongest first:

    ast                 the same program after renaming and re-formatting
    ast-no-constants    the same but for its numbers (shapes, sizes)
    part                the same module class, or the same Triton kernel, in another program
    part-no-constants   the same but for numbers
"""

import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Literal

from kernelsift.similarity import normal, tokens

if TYPE_CHECKING:
    from kernelsift.similarity.tokens import Hashes

Equality = Literal["ast", "ast-no-constants", "part", "part-no-constants"]
NGRAM = 13
"""Structural tokens in an n-gram. With 10 there are more chance hits, with more a single changed
line hides more of its problem; see docs/decontamination.md for the numbers."""
FINGERPRINTS = f"1.{normal.VERSION}.{tokens.VERSION}"
"""Version of all this: of parts and n-grams, of the normal form, and of the tokens."""
_SUPER = re.compile(r"\bsuper\s*\(\s*\w+\s*,\s*self\s*\)")
_SHORT = {
    "torch.nn.functional.": "F.",
    "nn.functional.": "F.",
    "torch.nn.": "nn.",
    "triton.language.": "tl.",
}
_LIBRARY = re.compile(r"\b(?:torch\.nn\.(?:functional\.)?|nn\.functional\.|triton\.language\.)")
_HEADER = re.compile(
    r"\bdef\s+\w++\s*+\(([^()]*+(?:\([^()]*+\)[^()]*+)*)\)\s*+(?:->[^:\n]{0,200})?:"
)
_ANNOTATION = re.compile(
    r":\s*[\w.]+(?:\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])?(?:\s*\|\s*[\w.]+)*(?=\s*[,=]|\s*$)"
)
_COUNTED = (
    "def class return yield for while if elif else lambda with try except raise assert not and or "
    "is None True False global del = += -= *= /= * ** / // % @ << >> == != < > <= >="
)
"""Tokens that renaming, numbers, formatting, imports and annotations leave alone."""


def token_hashes(text: str) -> "Hashes":
    """The structural tokens of a text as numbers; it need not be Python.

    Annotations of parameters and results are left out, since most copies lose or gain some, and
    `torch.nn.functional` is `F` however it is written.
    """
    short = _LIBRARY.sub(lambda found: _SHORT[found[0]], _modern(text))
    return tokens.structural_hashes(_HEADER.sub(_bare, short))


def grams(hashes: "Hashes") -> "Hashes":
    """Sorted hashes of all n-grams of tokens."""
    return tokens.shingles(hashes, NGRAM)


def shape(hashes: "Hashes") -> str:
    """Digest of how often each keyword and operator occurs: equal where syntax trees are equal.

    Much cheaper than a syntax tree, so it says which ones are worth comparing.
    """
    import numpy as np

    known = _counted_tokens()
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    counts = np.bincount(at[known[at] == hashes], minlength=len(known))
    return hashlib.blake2b(counts.astype("<u4").tobytes(), digest_size=8).hexdigest()


@cache
def _counted_tokens() -> "Hashes":
    import numpy as np

    return np.sort(tokens.structural_hashes(_COUNTED))


def whole_digest(code: str, *, constants: bool) -> str | None:
    """Digest of a program's normal form; None where it does not parse."""
    return normal.exact_digest(_modern(code), constants=constants)


def _modern(text: str) -> str:
    """The text with `super(Model, self)` as `super()`."""
    return _SUPER.sub("super()", text) if "super" in text else text


def _bare(header: re.Match[str]) -> str:
    """The head of a function without annotations."""
    whole, inside = header[0], header[1]
    if ":" not in inside and ">" not in whole:
        return whole
    start = header.start(1) - header.start()
    return f"{whole[:start]}{_ANNOTATION.sub('', inside)}):"
