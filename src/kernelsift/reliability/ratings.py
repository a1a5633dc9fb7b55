"""The neutral input of all reliability statistics: items × raters, missing ratings allowed.

A *rater* is a judge on one occasion. A judge that was asked K times about the same item is K
raters with the same `judge` and `sample` 0 … K-1; two judges are raters with different `judge`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Rater:
    """A judge, and which of its judgements of the same item this is (from 0)."""

    judge: str
    sample: int = 0

    def __str__(self) -> str:
        return f"{self.judge} #{self.sample + 1}" if self.sample else self.judge


@dataclass(frozen=True, slots=True)
class Rating:
    """One score that one rater gave to one item."""

    item: str
    module: str
    """The cluster of the item: items of one module are not independent."""
    rater: Rater
    score: float


@dataclass(frozen=True)
class Ratings:
    """A matrix of scores. Items and raters are sorted, so that input order changes nothing."""

    items: tuple[str, ...]
    modules: tuple[str, ...]
    """The module of each item."""
    raters: tuple[Rater, ...]
    values: FloatArray
    """(items, raters); NaN where an item has no score of that rater."""

    @classmethod
    def of(cls, ratings: Iterable[Rating]) -> Self:
        """Arrange ratings as a matrix.

        Raises ValueError if a rater scored an item twice, or an item is given two modules.
        """
        found: dict[tuple[str, Rater], float] = {}
        modules: dict[str, str] = {}
        for rating in ratings:
            place = rating.item, rating.rater
            if place in found:
                raise ValueError(f"{rating.rater} has scored {rating.item} twice")
            if modules.setdefault(rating.item, rating.module) != rating.module:
                raise ValueError(f"item {rating.item} belongs to two modules")
            found[place] = rating.score
        items = sorted(modules)
        raters = sorted({rater for _, rater in found})
        rows = {item: number for number, item in enumerate(items)}
        columns = {rater: number for number, rater in enumerate(raters)}
        values = np.full((len(items), len(raters)), np.nan)
        for (item, rater), score in found.items():
            values[rows[item], columns[rater]] = score
        return cls(tuple(items), tuple(modules[i] for i in items), tuple(raters), values)

    @property
    def judges(self) -> tuple[str, ...]:
        """The distinct judges, sorted."""
        return tuple(sorted({rater.judge for rater in self.raters}))

    @property
    def clusters(self) -> IntArray:
        """The module of each item as a number from 0."""
        return numbered(self.modules)

    def of_judge(self, judge: str) -> Self:
        """The occasions of one judge; items that it never scored are left out."""
        picked = [number for number, rater in enumerate(self.raters) if rater.judge == judge]
        return self._part(self.values[:, picked], tuple(self.raters[n] for n in picked))

    def per_judge(self) -> Self:
        """One column per judge: the mean of its scores of an item."""
        judges = self.judges
        columns = []
        for judge in judges:
            of = [number for number, rater in enumerate(self.raters) if rater.judge == judge]
            columns.append(row_means(self.values[:, of]))
        values = np.stack(columns, axis=1) if columns else np.empty((len(self.items), 0))
        return self._part(values, tuple(Rater(judge) for judge in judges))

    def pair(self, a: Rater, b: Rater) -> Self:
        """Two raters; items that neither scored are left out."""
        picked = [self.raters.index(a), self.raters.index(b)]
        return self._part(self.values[:, picked], (a, b))

    def complete(self) -> Self:
        """The items that every rater has scored."""
        return self.rows(scored(self.values) == len(self.raters))

    def rows(self, keep: npt.NDArray[np.bool_]) -> Self:
        """The items that are marked."""
        items = tuple(item for item, kept in zip(self.items, keep, strict=True) if kept)
        modules = tuple(name for name, kept in zip(self.modules, keep, strict=True) if kept)
        return type(self)(items, modules, self.raters, self.values[keep])

    def _part(self, values: FloatArray, raters: tuple[Rater, ...]) -> Self:
        whole = type(self)(self.items, self.modules, raters, values)
        return whole.rows(scored(values) > 0)


def scored(values: FloatArray) -> IntArray:
    """How many scores each row has."""
    return np.asarray((~np.isnan(values)).sum(axis=1), dtype=np.int64)


def row_means(values: FloatArray) -> FloatArray:
    """The mean of each row's scores; NaN where there is none."""
    count = scored(values)
    total = np.nan_to_num(values, nan=0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def numbered(names: Sequence[str]) -> IntArray:
    """Each name as a number from 0, in the order of the alphabet."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(
        np.int64
    )


def joined(columns: Mapping[Rater, Mapping[str, float]], modules: Mapping[str, str]) -> Ratings:
    """Ratings from a dict of scores per rater; items without a module are left out."""
    return Ratings.of(
        Rating(item, modules[item], rater, score)
        for rater, scores in columns.items()
        for item, score in scores.items()
        if item in modules
    )
