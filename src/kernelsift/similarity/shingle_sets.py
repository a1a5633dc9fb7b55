"""Sets of shingles of many programs: packed into few arrays, equal ones stored once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernelsift.similarity.tokens import distinct

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kernelsift.similarity.minhash import Hashes32, Indices

_FEWEST = 20
"""Groups that make a shingle boilerplate at the least: little is known of common things in few."""
_SAMPLE = 2_048
"""Programs that boilerplate is sought in: those with the smallest hashes."""


@dataclass(slots=True)
class Part:
    """The sets of some programs, one after the other."""

    flat: "Hashes32"
    lengths: "Indices"

    def hashes(self) -> "npt.NDArray[np.uint64]":
        """A hash of each set, 0 of an empty one; the order of shingles is nothing to it."""
        import numpy as np

        mixed = (self.flat + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        return self._sums(mixed)

    def only(self, wanted: "npt.NDArray[np.bool_]") -> "Part":
        """The sets that are wanted."""
        import numpy as np

        return Part(self.flat[np.repeat(wanted, self.lengths)], self.lengths[wanted])

    def _sums(self, values: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
        import numpy as np

        out = np.zeros(len(self.lengths), values.dtype)
        filled = self.lengths > 0
        starts = (np.cumsum(self.lengths) - self.lengths)[filled]
        if len(starts):
            out[filled] = np.add.reduceat(values, starts)
        return out


class Sets:
    """The different sets of shingles among all programs; sets and programs have numbers."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.of: list[int] = []
        """The set of each program; -1 where that is empty."""
        self.owners: list[int] = []
        """The first program that has each set."""
        self._number: dict[int, int] = {0: -1}

    def add(self, part: Part) -> None:
        """Take the sets of the next programs; those that are known already need no room."""
        import numpy as np

        hashes = part.hashes().tolist()
        wanted = np.zeros(len(hashes), bool)
        for i, value in enumerate(hashes):
            if value not in self._number:
                self._number[value] = len(self.owners)
                self.owners.append(len(self.of))
                wanted[i] = True
            self.of.append(self._number[value])
        if wanted.any():
            self.parts.append(part.only(wanted))

    def first(self) -> "Indices":
        """For each program the first that has the same set; -1 without any."""
        import numpy as np

        return np.array([self.owners[n] if n >= 0 else -1 for n in self.of], np.int64)

    def slices(self) -> "tuple[list[Hashes32], Indices]":
        """Each set by number, sharing memory with the parts; and how many shingles each has."""
        import numpy as np

        sets = []
        for part in self.parts:
            ends = np.cumsum(part.lengths)
            sets += np.split(part.flat, ends[:-1])
        return sets, np.array([len(s) for s in sets], np.int64)


def boilerplate_of(sets: Sets, groups: Sequence[str] | None, common: float) -> "Hashes32":
    """Shingles that too many groups have, sorted; sought in sets picked by their hashes."""
    import numpy as np

    hashes = np.concatenate([part.hashes() for part in sets.parts] or [np.empty(0, np.uint64)])
    if common >= 1 or len(hashes) < _FEWEST:
        return np.empty(0, np.uint32)
    group = _groups(sets, groups)
    limit = np.sort(hashes)[min(_SAMPLE, len(hashes)) - 1]
    shingle_parts, group_parts, start = [], [], 0
    for part in sets.parts:
        size = len(part.lengths)
        wanted = hashes[start : start + size] <= limit
        picked = part.only(wanted)
        shingle_parts.append(picked.flat)
        group_parts.append(np.repeat(group[start : start + size][wanted], picked.lengths))
        start += size
    flat, owner = np.concatenate(shingle_parts), np.concatenate(group_parts)
    groups_there = len(distinct(owner))
    if groups is not None:  # a shingle counts once in each group
        flat = distinct(flat.astype(np.uint64) << np.uint64(32) | owner.astype(np.uint64))
        flat = (flat >> np.uint64(32)).astype(np.uint32)
    flat = np.sort(flat)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    counts = np.diff(np.append(starts, len(flat)))
    out: Hashes32 = flat[starts[counts > max(common * groups_there, _FEWEST - 1)]]
    return out


def _groups(sets: Sets, groups: Sequence[str] | None) -> "Indices":
    """A number for the group of each set; where it is in several, the first by name."""
    import numpy as np

    if groups is None:
        return np.arange(len(sets.owners))
    names = [""] * len(sets.owners)
    for number, name in zip(sets.of, groups, strict=True):
        if number >= 0 and (not names[number] or name < names[number]):
            names[number] = name
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
