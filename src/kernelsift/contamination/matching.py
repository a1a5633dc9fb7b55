"""Look for benchmark problems in the texts of a row."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kernelsift.config import Evidence
from kernelsift.contamination.fingerprint import (
    grams,
    shape,
    token_hashes,
    whole_digest,
)
from kernelsift.contamination.index import Index, Problem, shortened
from kernelsift.contamination.names import normalised
from kernelsift.contamination.parts import Part, answer_parts, task_parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kernelsift.similarity.tokens import Hashes

Kind = Literal["ast", "ast-no-constants", "part", "part-no-constants", "ngram", "name"]
Side = Literal["reference", "prompt", "answer", "name"]
KINDS: tuple[Kind, ...] = (
    "ast",
    "ast-no-constants",
    "part",
    "part-no-constants",
    "ngram",
    "name",
)
"""From the strongest evidence to the weakest."""
SIDES: tuple[Side, ...] = ("reference", "prompt", "answer", "name")
FAMILY: dict[Kind, Evidence] = {
    "ast": "ast",
    "ast-no-constants": "ast",
    "part": "ast",
    "part-no-constants": "ast",
    "ngram": "ngram",
    "name": "name",
}
EVIDENCE: tuple[Evidence, ...] = ("ast", "ngram", "name")
"""From the strongest to the weakest."""
SCREEN = 0.8
"""Share of the n-grams of a problem, or of one of its parts, that an answer must have for its
syntax tree to be compared: equal ones have all, unless they import names in an unusual way."""
_REMEMBERED = 4_096
"""Texts whose hits are kept: many rows share a reference."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What of a row is looked through."""

    name: str
    """The module's."""
    reference: str
    prompt: str
    """Without the reference, where that stands in it."""
    blocks: tuple[str, ...]
    """Programs in the prompt."""
    answer: str
    """The program of the answer."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One problem found in one side of a row, by the strongest kind of evidence."""

    benchmark: str
    version: str
    problem: str
    kind: Kind
    side: Side
    score: float
    """1 where programs or names are equal; for n-grams the share that occurs in the row."""


@dataclass(frozen=True, slots=True)
class _Found:
    problem: int
    kind: Kind
    score: float


class Matcher:
    """Several indexes as one table. Make it once; it is not to be changed."""

    def __init__(self, indexes: Sequence[Index], match: Iterable[Evidence], share: float) -> None:
        """`share` is the part of a problem's informative n-grams that makes a hit."""
        import numpy as np

        self._match = frozenset(match)
        self._share = share
        self._problems: list[tuple[str, Problem]] = [
            (index.benchmark, problem) for index in indexes for problem in index.problems
        ]
        self._digests: dict[tuple[str, str], list[int]] = {}
        self._names: dict[str, list[int]] = {}
        self._shapes: dict[str, list[int]] = {}
        for number, (_, problem) in enumerate(self._problems):
            for kind, digests in problem.digests.items():
                for digest in digests:
                    self._digests.setdefault((kind, digest), []).append(number)
            for one in problem.shapes:
                self._shapes.setdefault(one, []).append(number)
            self._names.setdefault(normalised(problem.name), []).append(number)
        self._names.pop("", None)
        self._grams = _GramTable([problem for _, problem in self._problems])
        self._has_grams = np.array([len(p.grams) > 0 for _, p in self._problems], bool)
        self._memory: OrderedDict[tuple[str, ...], list[_Found]] = OrderedDict()

    def hits(self, texts: Texts) -> list[Hit]:
        """Problems found in a row, the strongest evidence first; one hit per problem and side.

        Syntax trees of an answer are not compared where those of the task have shown a problem.
        """
        found: list[Hit] = []
        found += self._hits("reference", self._task(texts.name, texts.reference))
        found += self._hits("prompt", self._task(texts.name, texts.prompt, *texts.blocks))
        is_known = any(FAMILY[hit.kind] == "ast" for hit in found)
        found += self._hits("answer", self._answer(texts.answer, trees=not is_known))
        if "name" in self._match:
            numbers = self._names.get(normalised(texts.name), [])
            found += self._hits("name", [_Found(number, "name", 1.0) for number in numbers])
        return sorted(found, key=_order)

    def _hits(self, side: Side, found: Iterable[_Found]) -> list[Hit]:
        out = []
        for one in found:
            benchmark, problem = self._problems[one.problem]
            score = round(one.score, 4)
            out.append(Hit(benchmark, problem.version, problem.name, one.kind, side, score))
        return out

    def _task(self, name: str, text: str, *blocks: str) -> list[_Found]:
        """Evidence in what is asked for; `blocks` are the programs in it, if it is not one."""
        key = (name, text, *blocks)
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        hashes = token_hashes(text)
        shares = self._grams.shares(hashes)
        equal: list[tuple[int, Kind]] = []
        if "ast" in self._match and shares.any():
            for block in blocks or (text,):
                own = token_hashes(block) if blocks else hashes
                equal += self._equal(block, own, task_parts(block, name), shares)
        found = self._memory[key] = self._strongest(equal, shares)
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
        return found

    def _answer(self, code: str, *, trees: bool) -> list[_Found]:
        """Evidence in what is answered, which is long and mostly new."""
        hashes = token_hashes(code)
        shares = self._grams.shares(hashes)
        equal: list[tuple[int, Kind]] = []
        if trees and "ast" in self._match and bool((shares >= SCREEN).any()):
            equal += self._equal(code, hashes, answer_parts(code), shares)
        return self._strongest(equal, shares)

    def _strongest(
        self, equal: Iterable[tuple[int, Kind]], shares: "NDArray[np.float64]"
    ) -> list[_Found]:
        """One piece of evidence per problem."""
        best: dict[int, _Found] = {}
        for number, kind in equal:
            if number not in best or _RANK[kind] < _RANK[best[number].kind]:
                best[number] = _Found(number, kind, 1.0)
        if "ngram" in self._match:
            enough = shares[: len(self._problems)] >= self._share
            for number in (enough & self._has_grams).nonzero()[0].tolist():
                best.setdefault(number, _Found(number, "ngram", float(shares[number])))
        return list(best.values())

    def _equal(
        self,
        program: str,
        hashes: "Hashes",
        parts: Iterable[Part],
        shares: "NDArray[np.float64]",
    ) -> Iterator[tuple[int, Kind]]:
        """Programs and parts of a problem's shape that share an n-gram with it are compared."""
        if shares[self._shapes.get(shape(hashes), [])].any():
            yield from self._same(program, "ast", "ast-no-constants")
        for part in parts:
            if shares[self._shapes.get(shape(part.hashes), [])].any():
                yield from self._same(part.text, "part", "part-no-constants")

    def _same(self, program: str, exact: Kind, loose: Kind) -> Iterator[tuple[int, Kind]]:
        numbers = self._digests.get((loose, whole_digest(program, constants=False) or ""))
        if numbers:
            same = self._digests.get((exact, whole_digest(program, constants=True) or ""), [])
            yield from ((number, exact if number in same else loose) for number in numbers)


_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


def _order(hit: Hit) -> tuple[object, ...]:
    place = _RANK[hit.kind], -hit.score, SIDES.index(hit.side)
    return (*place, hit.benchmark, hit.problem, hit.version)


class _GramTable:
    """n-gram hash -> the problems, and parts of problems, that have it; as arrays."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        import numpy as np

        sets = [p.grams for p in problems] + [p.grams[own] for p in problems for own in p.inside]
        sizes = np.array([len(held) for held in sets], np.int64)
        self._sizes = np.maximum(sizes, 1)
        self._empty = np.where(sizes == 0, 1.0, 0.0)
        owners = np.repeat(np.arange(len(sets)), sizes)
        values = np.concatenate([np.zeros(0, np.uint64), *sets])
        order = np.argsort(values, kind="stable")
        self._owners = owners[order]
        self._values, starts = np.unique(values[order], return_index=True)
        self._starts = np.append(starts, len(values))

    def shares(self, hashes: "Hashes") -> "NDArray[np.float64]":
        """The share of its n-grams that occurs among the tokens: of each problem, then of each
        part. All of those that have none.
        """
        import numpy as np

        if not len(self._values):
            return self._empty
        wanted = shortened(grams(hashes))
        at = np.minimum(np.searchsorted(self._values, wanted), len(self._values) - 1)
        known = at[self._values[at] == wanted]
        first, count = self._starts[known], self._starts[known + 1] - self._starts[known]
        ends = np.cumsum(count)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)
        listed = self._owners[np.repeat(first, count) + within]
        counts = np.bincount(listed, minlength=len(self._sizes))
        shares: NDArray[np.float64] = counts / self._sizes + self._empty
        return shares
