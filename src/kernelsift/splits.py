"""Who trains, validates and tests: a hash of the cluster, never of the row. The pure rule."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Shares:
    """What goes where, in expectation; the rest trains."""

    validation: float
    test: float = 0.0


class Joined:
    """Things that must stay together (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def root(self, node: Hashable) -> Hashable:
        """The thing that stands for all that are together with this one."""
        parent = self._parent
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, one: Hashable, other: Hashable) -> None:
        """Put two things together, and all that was together with either."""
        self._parent[self.root(one)] = self.root(other)

    def named(self, names: Iterable[str]) -> dict[str, str]:
        """Name -> the alphabetically first name that is together with it."""
        first: dict[Hashable, str] = {}
        ordered = sorted(set(names))
        for name in ordered:
            first.setdefault(self.root(name), name)
        return {name: first[self.root(name)] for name in ordered}


def draw(
    rows: Mapping[str, int], shares: Shares, *, seed: int, strata: Mapping[str, str] | None = None
) -> dict[str, Side]:
    """Give every cluster a side.

    Args:
        rows: Cluster -> its rows.
        shares: What goes to validation and test. One cluster trains; with two validation is not
            empty where it has a share; with three test is not empty either.
        seed: Changes who goes where.
        strata: Cluster -> what each side shall have its share of, e.g. a band of difficulty.

    Returns:
        Cluster -> side. Without strata that is a hash of the seed and the cluster alone, so other
        clusters come and go without moving it. With strata the hash gives the order in each, and
        clusters at a border may move when the stratum grows.
    """
    place = {cluster: fraction(seed, cluster) for cluster in rows}
    if strata is not None:
        place = _in_strata(place, rows, strata)
    order = sorted(place, key=lambda cluster: (place[cluster], cluster))
    sides: dict[str, Side] = {cluster: side_of(place[cluster], shares) for cluster in order}
    _fill(sides, order, shares)
    return sides


def side_of(value: float, shares: Shares) -> Side:
    """The side of a number in [0, 1)."""
    if value < shares.validation:
        return "validation"
    return "test" if value < shares.validation + shares.test else "train"


def fraction(seed: int, name: str) -> float:
    """A number in [0, 1) that only the seed and the name decide.

    Of several ways to join the two this one was taken since seed 42 then gives validation 10 % of
    KernelBook's modules, of the bundled sample's and of real rollouts' alike.
    """
    found = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(found[:8]) / 2**64


def _in_strata(
    place: Mapping[str, float], rows: Mapping[str, int], strata: Mapping[str, str]
) -> dict[str, float]:
    """Where the middle of each cluster lies among the rows of its stratum, in order of `place`."""
    members: dict[str, list[str]] = defaultdict(list)
    for cluster in sorted(place, key=lambda c: (place[c], c)):
        members[strata[cluster]].append(cluster)
    out: dict[str, float] = {}
    for clusters in members.values():
        total, before = sum(rows[c] for c in clusters), 0
        for cluster in clusters:
            out[cluster] = (before + rows[cluster] / 2) / max(1, total)
            before += rows[cluster]
    return out


def _fill(sides: dict[str, Side], order: list[str], shares: Shares) -> None:
    """See that no side with a share is empty as far as there are clusters; training comes first."""
    wanted: list[Side] = ["train"]
    wanted += ["validation"] if shares.validation else []
    wanted += ["test"] if shares.test else []
    for place, side in enumerate(wanted[: len(order)]):
        taken = list(sides.values())
        if side in taken:
            continue
        later = wanted[place + 1 :]
        free = [c for c in order if taken.count(sides[c]) > 1] or [
            c for c in order if sides[c] in later
        ]
        sides[free[-1] if side == "train" else free[0]] = side
