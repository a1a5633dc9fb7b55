"""How much a set of task prompts repeats itself."""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['’]\w+)?")
_SAMPLE = 2_000
"""Prompts that phrases are counted in: those with the smallest digests."""
_OPENING = 3


@dataclass(frozen=True, slots=True)
class Diversity:
    """Counts over the distinct prompts of a set."""

    prompts: int
    """Distinct texts."""
    opening: str
    """The three words that most prompts begin with, the names of their classes aside."""
    opening_share: float
    """Share of the prompts that begin so."""
    distinct_3: float
    """Different runs of three words over all such runs; 1 where nothing is said twice."""
    near: int
    """Prompts that have a near-duplicate (Jaccard similarity of 10-token shingles at least 0.8,
    boilerplate aside)."""
    near_pairs: tuple[tuple[int, int, float], ...]
    """Some of the pairs, the most alike first, by their place in the set."""


def diversity(prompts: Sequence[str], names: Sequence[str], workers: int = 1) -> Diversity:
    """Measure a set of prompts, `names` being the class that each is about.

    Order is nothing to it, but for the places in `near_pairs`.
    """
    first = {text: number for number, text in reversed(list(enumerate(prompts)))}
    places = sorted(first.values())
    texts = [_anonymous(prompts[at], names[at]) for at in places]
    openings = Counter(" ".join(_WORD.findall(text[:400])[:_OPENING]).lower() for text in texts)
    opening, count = min(openings.items(), key=lambda i: (-i[1], i[0]), default=("", 0))
    pairs, near = _near(texts, workers)
    return Diversity(
        prompts=len(texts),
        opening=opening,
        opening_share=count / len(texts) if texts else 0.0,
        distinct_3=_distinct(texts),
        near=near,
        near_pairs=tuple((places[a], places[b], value) for a, b, value in pairs),
    )


def _anonymous(prompt: str, name: str) -> str:
    return re.sub(rf"\b{re.escape(name)}(New)?\b", r"Name\1", prompt) if name else prompt


def _distinct(texts: Sequence[str]) -> float:
    order = sorted(texts, key=lambda t: hashlib.sha256(t.encode("utf-8", "replace")).digest())
    seen: set[tuple[str, ...]] = set()
    every = 0
    for text in order[:_SAMPLE]:
        words = _WORD.findall(text.lower())
        runs = list(zip(words, words[1:], words[2:], strict=False))
        seen.update(runs)
        every += len(runs)
    return len(seen) / every if every else 1.0


def _near(texts: Sequence[str], workers: int) -> tuple[list[tuple[int, int, float]], int]:
    from kernelsift.similarity.near import find_near_prose

    found = find_near_prose(texts, workers=workers)
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    rows = [(a, b, float(v)) for (a, b), v in zip(pairs, found.similarity.tolist(), strict=True)]
    same = array("q", [n for n, first in enumerate(found.first.tolist()) if 0 <= first != n])
    firsts = {int(found.first[n]) for n in same}
    touched = {end for a, b, _ in rows for end in (a, b)} | firsts | set(same)
    rows += [(int(found.first[n]), n, 1.0) for n in same]
    rows.sort(key=lambda row: (-row[2], row[0], row[1]))
    return rows[:20], len(touched)
