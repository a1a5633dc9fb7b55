"""Which programs may be near-duplicates: MinHash signatures, and bands of them that are equal.

A signature holds, for each of 126 hash functions, the smallest value over a program's shingles. Two
programs agree at one of them with the probability of their Jaccard similarity J (Broder, "On the
resemblance and containment of documents", 1997). With b bands of r rows each, a pair becomes a
candidate with the probability 1 - (1 - J^r)^b.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes32 = npt.NDArray[np.uint32]
    Indices = npt.NDArray[np.int64]
    Matrix = npt.NDArray[np.uint32]

PERMUTATIONS = 126
_SEED = 1
_RECALL = 0.998
"""Of pairs that are just at the threshold; more similar ones are found more surely."""
_MARGIN = 0.16
"""Four standard deviations of an estimate of J from 126 agreements (at J = 0.7)."""
CROWD = 1_000
"""Programs that share a band: beyond this not all pairs of them are looked at."""
_ROUNDS = 200
_AT_ONCE = 1 << 17


def rows_per_band(threshold: float) -> int:
    """As many rows as leave recall at the threshold: fewer candidates, hence less work."""
    for rows in (9, 7, 6, 3, 2):
        if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= _RECALL:
            return rows
    return 1


def signatures(flat: "Hashes32", lengths: "Indices") -> "Matrix":
    """Signatures of many programs: one row each.

    Args:
        flat: Their shingles, one program after the other.
        lengths: How many shingles each has; at least one.
    """
    import numpy as np
    import rensa

    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    wide = flat.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    make = rensa.RMinHash.digest_matrix_from_flat_token_hashes
    return np.array(make(wide, offsets, PERMUTATIONS, _SEED).to_rows(), np.uint32)


def band_runs(found: "Matrix", rows: int) -> "Iterator[Indices]":
    """For each band, the programs that share it with another: runs of equal ones, ends marked.

    Yields:
        Per band a matrix of two columns: a number per run, and the program's index.
    """
    import numpy as np

    for start in range(0, PERMUTATIONS - rows + 1, rows):
        keys = np.zeros(len(found), np.uint64)
        for column in range(start, start + rows):
            keys = (keys ^ found[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        changes = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        run = np.cumsum(changes) - 1
        sizes = np.bincount(run)
        shared = sizes[run] > 1
        yield np.stack([run[shared], order[shared]], axis=1)


def candidates(
    found: "Matrix", threshold: float, rank: "Indices", verify: "Callable[[Indices], None]"
) -> bool:
    """Hand pairs whose estimated similarity may reach the threshold to `verify`, each once.

    Args:
        found: Signatures.
        threshold: Jaccard similarity that is asked for.
        rank: Order of the programs: in a crowd the first are compared with all others.
        verify: Takes pairs as rows (i, j) with i < j, and says which are similar enough.

    Returns:
        Whether there was a crowd, so that pairs may be missing.
    """
    import numpy as np

    seen = np.empty(0, np.int64)
    crowded = False
    for runs in band_runs(found, rows_per_band(threshold)):
        crowds, pairs = _pairs(runs, rank)
        for crowd in crowds:
            crowded = True
            pairs.append(_leaders(found, crowd, threshold))
        if not pairs:
            continue
        listed = np.concatenate(pairs)
        codes = np.unique(listed.min(axis=1) * len(found) + listed.max(axis=1))
        codes = np.setdiff1d(codes, seen, assume_unique=True)
        for start in range(0, len(codes), _AT_ONCE):
            chunk = codes[start : start + _AT_ONCE]
            both = np.stack([chunk // len(found), chunk % len(found)], axis=1)
            near = _estimates(found, both) >= threshold - _MARGIN
            seen = np.union1d(seen, chunk[near])
            if near.any():
                verify(both[near])
    return crowded


def _estimates(found: "Matrix", pairs: "Indices") -> "npt.NDArray[np.float64]":
    """Share of agreeing hash functions: an unbiased estimate of the Jaccard similarity."""
    import numpy as np

    out = np.empty(len(pairs))
    for start in range(0, len(pairs), 8192):  # what fits into a cache
        part = pairs[start : start + 8192]
        out[start : start + 8192] = (found[part[:, 0]] == found[part[:, 1]]).mean(axis=1)
    return out


def _pairs(runs: "Indices", rank: "Indices") -> "tuple[list[Indices], list[Indices]]":
    """Crowds, in order of rank, and all pairs of the smaller runs."""
    import numpy as np

    if not len(runs):
        return [], []
    starts = np.flatnonzero(np.concatenate([[True], runs[1:, 0] != runs[:-1, 0]]))
    sizes = np.diff(np.append(starts, len(runs)))
    pairs, crowds = [], []
    for size in np.unique(sizes):
        at = starts[sizes == size]
        if size > CROWD:
            members = (runs[s : s + size, 1] for s in at)
            crowds += [m[np.argsort(rank[m], kind="stable")] for m in members]
            continue
        left, right = np.triu_indices(size, 1)
        members = runs[at[:, None] + np.arange(size), 1]
        pairs.append(np.stack([members[:, left].ravel(), members[:, right].ravel()], axis=1))
    return crowds, pairs


def _leaders(found: "Matrix", crowd: "Indices", threshold: float) -> "Indices":
    """Pairs of the first of a crowd with those like it, then of the first of the rest, and on."""
    import numpy as np

    pairs = []
    for _ in range(_ROUNDS):
        if len(crowd) < 2:
            break
        first, rest = crowd[0], crowd[1:]
        both = np.stack([np.full(len(rest), first), rest], axis=1)
        near = _estimates(found, both) >= threshold - _MARGIN
        pairs.append(both[near])
        crowd = rest[~near]
    return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)
