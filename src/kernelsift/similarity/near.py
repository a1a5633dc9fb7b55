"""Near-duplicates among programs: every pair that is reported was compared exactly.

1. Each program becomes the set of its structural shingles (`tokens`), as 32-bit hashes. Programs
   with the same set are one from here on.
2. MinHash bands propose pairs (`minhash`), and the Jaccard similarity |A & B| / |A | B| of the sets
   themselves decides. 32 bits make a common shingle of different ones in one of 4·10^9 comparisons.
3. Shingles that many programs share are boilerplate (imports, launch code). What is left without
   them must be alike too, by half of the threshold: boilerplate alone makes no pair. An edit in a
   short program does not unmake one, as it would if boilerplate counted for nothing.

The result depends on the texts alone: not on their order, on workers or on chunks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from kernelsift.similarity.minhash import candidates, signatures
from kernelsift.similarity.processes import Processes
from kernelsift.similarity.shingle_sets import Part, Sets, boilerplate_of
from kernelsift.similarity.tokens import (
    SHINGLE,
    distinct,
    raw_hashes,
    run_hashes,
    structural_hashes,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kernelsift.similarity.minhash import Hashes32, Indices, Matrix
    from kernelsift.similarity.tokens import Hashes

THRESHOLD = 0.8
COMMON = 0.2
"""Share of the programs (of their groups, where given) that makes a shingle boilerplate."""
_OWN = 0.5
"""How alike programs must be without boilerplate, as a share of the threshold."""
_CHUNK = 256
"""Programs that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Near:
    """What is alike among programs 0, 1, 2 …"""

    first: "Indices"
    """For each the first one with the same set of shingles: often itself; -1 without any token."""
    left: "Indices"
    right: "Indices"
    """Pairs of such first ones that are similar enough, left < right, in order."""
    similarity: "npt.NDArray[np.float64]"
    """Jaccard similarity of each pair, at least the threshold."""
    boilerplate: int
    """Shingles that too many programs have."""

    def neighbours(self) -> dict[int, dict[int, float]]:
        """First one -> those near to it -> similarity; without those that have none."""
        found: dict[int, dict[int, float]] = {}
        rows = zip(self.left.tolist(), self.right.tolist(), self.similarity.tolist(), strict=True)
        for one, other, value in rows:
            found.setdefault(one, {})[other] = value
            found.setdefault(other, {})[one] = value
        return found


def find_near(
    texts: Iterable[str],
    *,
    threshold: float = THRESHOLD,
    common: float = COMMON,
    groups: Sequence[str] | None = None,
    rank: Sequence[int] | None = None,
    workers: int = 1,
) -> Near:
    """Find programs that are nearly the same.

    Args:
        texts: Programs, read once; empty and broken ones are fine.
        threshold: Least Jaccard similarity of a pair, above 0.
        common: A shingle in more than this share of the groups is boilerplate; at 1 none is.
        groups: What each text belongs to, say its module: many attempts at one module are no sign
            that what they share is boilerplate. Each text is a group of its own if not given.
        rank: Order of importance. It matters only where more than a thousand different programs
            share a band: there the first by rank are compared with all, others not with each other.
        workers: Processes that cut and hash texts.
    """
    with Processes(workers) as processes:
        sets = _sets(processes.map(_fingerprints, _chunks(texts)))
        made = list(processes.map(_signatures, sets.parts))
    boilerplate = boilerplate_of(sets, groups, common)
    return _found(sets, made, _Pairs(sets, threshold, boilerplate), rank)


def find_near_prose(
    texts: Iterable[str], *, threshold: float = THRESHOLD, workers: int = 1
) -> Near:
    """Find texts that are no programs and nearly the same: words count as they are written."""
    with Processes(workers) as processes:
        sets = _sets(processes.map(_of_prose, _chunks(texts)))
        made = list(processes.map(_signatures, sets.parts))
    boilerplate = boilerplate_of(sets, None, COMMON)
    return _found(sets, made, _Pairs(sets, threshold, boilerplate), None)


def _sets(parts: Iterable[Part]) -> Sets:
    sets = Sets()
    for part in parts:
        sets.add(part)
    return sets


def _found(
    sets: Sets, made: "Sequence[Matrix]", pairs: "_Pairs", rank: Sequence[int] | None
) -> Near:
    import numpy as np

    order = np.asarray(range(len(sets.of)) if rank is None else rank, np.int64)
    if made:
        _search(np.concatenate(made), order[sets.owners], pairs)
    left, right, similarity = pairs.sorted()
    return Near(sets.first(), left, right, similarity, pairs.ignored)


def jaccard(one: "npt.NDArray[Any]", other: "npt.NDArray[Any]") -> float:
    """|A & B| / |A | B| of two sorted arrays without repetitions; 0 where one is empty."""
    import numpy as np

    if not len(one) or not len(other):
        return 0.0
    both = np.concatenate([one, other])
    both.sort()
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (len(both) - common)


# --- pairs --------------------------------------------------------------------------------------


class _Pairs:
    """Compares pairs of sets and remembers those that are similar enough."""

    def __init__(self, sets: Sets, threshold: float, boilerplate: "Hashes32") -> None:
        self._sets, self._lengths = sets.slices()
        self._boilerplate = boilerplate
        self.ignored = len(boilerplate)
        self._owners = sets.owners
        self.threshold = threshold
        self.edges: dict[tuple[int, int], float] = {}

    def verify(self, pairs: "Indices") -> None:
        """Compare pairs of sets (rows of two numbers) exactly."""
        import numpy as np

        lengths = self._lengths[pairs]
        shorter, longer = lengths.min(axis=1), lengths.max(axis=1)
        possible = pairs[shorter >= np.floor(longer * self.threshold)]
        for one, other in possible.tolist():
            value = jaccard(self._sets[one], self._sets[other])
            if value >= self.threshold and self._is_more_than_boilerplate(one, other):
                self.edges[one, other] = value

    def _is_more_than_boilerplate(self, one: int, other: int) -> bool:
        if not len(self._boilerplate):
            return True
        left, right = self._own(one), self._own(other)
        nothing = not len(left) and not len(right)
        return nothing or jaccard(left, right) >= self.threshold * _OWN

    def _own(self, number: int) -> "Hashes32":
        """A set without boilerplate."""
        import numpy as np

        found = self._sets[number]
        at = np.searchsorted(self._boilerplate, found)
        at[at == len(self._boilerplate)] = 0
        own: Hashes32 = found[self._boilerplate[at] != found]
        return own

    def sorted(self) -> "tuple[Indices, Indices, npt.NDArray[np.float64]]":
        """Pairs by the numbers of the programs."""
        import numpy as np

        owners = self._owners
        found = sorted((owners[a], owners[b], value) for (a, b), value in self.edges.items())
        ends = np.array([(a, b) for a, b, _ in found], np.int64).reshape(-1, 2)
        return ends[:, 0], ends[:, 1], np.array([value for *_, value in found], np.float64)


def _search(found: "Matrix", rank: "Indices", pairs: _Pairs) -> None:
    """Find all pairs; in a crowd as many as no leader of it has another leader near it."""
    import numpy as np

    wanted = np.arange(len(found))
    while True:
        known = len(pairs.edges)

        def verify(both: "Indices", wanted: "Indices" = wanted) -> None:
            pairs.verify(wanted[both])

        crowded = candidates(found[wanted], pairs.threshold, rank[wanted], verify)
        if not crowded or len(pairs.edges) == known:
            return
        wanted = np.array(sorted(leaders(pairs.edges, rank.tolist())), np.int64)


def leaders(edges: Mapping[tuple[int, int], float], rank: Sequence[int]) -> dict[int, int]:
    """Clusters without chains: everyone is near the leader that it follows.

    Going by rank, whoever is near a leader follows the nearest one (ties: the better rank); who is
    near none leads.

    Args:
        edges: Pairs that are near, with their similarity.
        rank: Of every one, without ties.

    Returns:
        Leader -> how many follow.
    """
    near: dict[int, list[tuple[float, int]]] = {}
    for (one, other), value in edges.items():
        early, late = (one, other) if rank[one] < rank[other] else (other, one)
        near.setdefault(late, []).append((-value, early))
    out: dict[int, int] = {}
    for one in sorted(range(len(rank)), key=rank.__getitem__):
        followed = [(v, rank[early], early) for v, early in near.get(one, ()) if early in out]
        if followed:
            out[min(followed)[2]] += 1
        else:
            out[one] = 0
    return out


# --- what processes do ---------------------------------------------------------------------------


def _fingerprints(texts: list[str]) -> Part:
    """The shingles of some programs."""
    return _shingled(structural_hashes(text) for text in texts)


def _of_prose(texts: list[str]) -> Part:
    """The shingles of some texts that are no programs; a quote begins nothing there."""
    return _shingled(raw_hashes(re.sub("[\"'`#]", " ", text)) for text in texts)


def _shingled(texts: "Iterable[Hashes]") -> Part:
    import numpy as np

    runs = (run_hashes(tokens, SHINGLE) for tokens in texts)
    found = [distinct((each >> np.uint64(32)).astype(np.uint32)) for each in runs]
    lengths = np.array([len(each) for each in found], np.int64)
    return Part(np.concatenate(found), lengths)


def _signatures(part: Part) -> "Matrix":
    return signatures(part.flat, part.lengths)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    feed = iter(texts)
    while chunk := list(islice(feed, _CHUNK)):
        yield chunk
