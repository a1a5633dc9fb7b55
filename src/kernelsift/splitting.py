"""A split of a run's rows that does not leak: what is alike in any way stays on one side."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kernelsift.config import Settings
from kernelsift.config import Split as SplitSettings
from kernelsift.errors import DataError, RunError
from kernelsift.model import Entry, Judgement, SampleId
from kernelsift.repeats import PARTS, Compare, Extra, Texts, compare
from kernelsift.run import Run
from kernelsift.splits import SIDES, Joined, Shares, Side, draw, fraction, side_of

_BAND = 2
"""Points of difficulty that share a stratum."""


@dataclass(frozen=True, slots=True)
class Leak:
    """What splitting row by row would have leaked: it was really done, with the same seed."""

    rows: int
    """Rows that would have been put outside training."""
    leaked: int
    """Those of them that are alike to a row to train on."""
    kinds: Mapping[str, int]
    """In which way, e.g. `module name` or `near answer`; a row may be alike in several."""
    clusters: int
    """Clusters that would have been on more than one side."""

    def sentence(self) -> str:
        """For people."""
        if not self.rows:
            return "row by row, no row would have been held out"
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.items())
        return (
            f"row by row, {self.leaked:,} of {self.rows:,} rows held out would be alike to a row "
            f"trained on ({kinds or 'none'}), and {self.clusters:,} clusters on both sides"
        )


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Which row goes where. Made by `split`."""

    sides: Mapping[SampleId, Side]
    cluster: Mapping[SampleId, str]
    """The cluster of each row: the alphabetically first module name in it."""
    names: Mapping[str, Side]
    """Module name -> side, also of modules that are no rows."""
    rows: Mapping[Side, int]
    clusters: Mapping[Side, int]
    largest: tuple[str, int]
    """The cluster with the most rows, and how many."""
    leak: Leak
    settings: SplitSettings
    notes: tuple[str, ...]
    """What a reader must know: a side that is empty though it was asked for."""

    def wanted(self) -> tuple[Side, ...]:
        """The sides that the settings ask for, training first; one may have no row."""
        shares = {"validation": self.settings.validation, "test": self.settings.test}
        return tuple(side for side in SIDES if shares.get(side, 1.0) > 0)


def split_run(run: Run, settings: Settings) -> SplitPlan:
    """Split all that a run may hand out, so that every export of it puts a row on the same side.

    That is each row that came as far as dedup, and each module that a prompt was written for.

    Raises:
        DataError: as `split`.
    """
    prompts = run.path / "prompts.parquet"
    modules: list[Extra] = []
    if prompts.exists():
        import pyarrow.parquet as pq

        table = pq.read_table(prompts, columns=["module_name", "python_code"])
        modules = [Extra(row["module_name"], row["python_code"]) for row in table.to_pylist()]
    entries = run.kept_before("dedup") if run.samples.exists() else []
    return split(run, settings, entries, modules)


def split(
    run: Run, settings: Settings, entries: Sequence[Entry], extra: Sequence[Extra] = ()
) -> SplitPlan:
    """Give every row a side so that no name, exact or near duplicate crosses.

    Rows are alike when they share a module's name, or when their references or their answers are
    exactly or nearly the same (`dedup.threshold`). All that is connected by that is one cluster.

    Args:
        run: Where the texts are.
        settings: Of them `split` and `dedup`.
        entries: The rows, from this run.
        extra: Modules beside the rows that are split along, e.g. those that prompts are for.

    Raises:
        DataError: a test split was asked for and there are too few clusters; or a split by
            difficulty, and no row was judged.
    """
    entries = sorted(entries, key=lambda entry: entry.row)
    what = Compare(
        entries, settings.dedup, exact=True, near=True, workers=settings.workers_or_cores(),
        extra=extra,
    )  # fmt: skip
    texts = [compare(run, what, part) for part in PARTS]
    names = [entry.module for entry in entries] + [each.name for each in extra]
    cluster_of = _clusters(names, texts)
    cfg = settings.split
    shares = Shares(cfg.validation, cfg.test)
    clusters = [cluster_of[name] for name in names]
    rows = Counter(clusters)
    strata = _strata(run, entries, cluster_of) if cfg.stratify == "difficulty" else None
    chosen = draw(rows, shares, seed=cfg.seed, strata=strata)
    notes = _notes(cfg, rows, chosen)
    plan = SplitPlan(
        sides={entry.id: chosen[cluster_of[entry.module]] for entry in entries},
        cluster={entry.id: cluster_of[entry.module] for entry in entries},
        names={name: chosen[cluster] for name, cluster in cluster_of.items()},
        rows=_counts(chosen[cluster_of[entry.module]] for entry in entries),
        clusters=_counts(chosen.values()),
        largest=max(rows.items(), key=lambda item: (item[1], item[0]), default=("", 0)),
        leak=_leak(entries, texts, clusters, cfg),
        settings=cfg,
        notes=notes,
    )
    _check(names, texts, [plan.names[name] for name in names])
    return plan


def _clusters(names: Sequence[str], texts: Sequence[Texts]) -> dict[str, str]:
    """Name -> its cluster's first name."""
    joined = Joined()
    for row, name in enumerate(names):
        joined.root(name)
        for mark in _marks(row, texts):
            joined.join(mark, name)
    for side in texts:
        for node, others in side.near.items():
            for other in others:
                joined.join((side.part, "near", node), (side.part, "near", other))
    return joined.named(names)


def _marks(row: int, texts: Sequence[Texts]) -> Iterator[tuple[str, str, str | int]]:
    """What makes a row the same as others: its programs, and their shingles, on both sides."""
    for side in texts:
        if row >= len(side.of):
            continue
        key, node = side.exact_key(row), side.node(row)
        if key:
            yield side.part, "exact", key
        if node >= 0:
            yield side.part, "near", node


def _strata(run: Run, entries: Sequence[Entry], cluster_of: Mapping[str, str]) -> dict[str, str]:
    """The band of mean difficulty of each cluster; those without a judgement are one more."""
    judged = run.latest("judge")
    found: dict[str, list[float]] = {cluster: [] for cluster in cluster_of.values()}
    for entry in entries:
        fact = judged.get(entry.id)
        if fact and isinstance(fact.body, Judgement):
            found[cluster_of[entry.module]].append(fact.body.difficulty)
    if entries and not any(found.values()):
        raise DataError(
            f"{run.path}: a split by difficulty needs rows that are judged, and none is; run "
            "`kernelsift judge` first, or leave out --stratify difficulty"
        )
    return {
        cluster: str(int(sum(values) / len(values) // _BAND)) if values else "not judged"
        for cluster, values in found.items()
    }


def _counts(sides: Iterable[Side]) -> dict[Side, int]:
    counts = Counter(sides)
    return {side: counts[side] for side in SIDES}


def _notes(
    cfg: SplitSettings, rows: Mapping[str, int], chosen: Mapping[str, Side]
) -> tuple[str, ...]:
    """What is not as the settings ask for.

    Raises:
        DataError: test would be empty.
    """
    empty = [
        side for side, share in (("validation", cfg.validation), ("test", cfg.test))
        if share and side not in chosen.values()
    ]  # fmt: skip
    if not rows or not empty:
        return ()
    biggest = max(rows, key=lambda cluster: (rows[cluster], cluster))
    why = (
        f"{' and '.join(empty)} would be empty: {sum(rows.values()):,} rows form "
        f"{len(rows):,} cluster{'s' if len(rows) > 1 else ''} of what is alike (the largest, of "
        f"{biggest}, holds {rows[biggest]:,})"
    )
    if "test" in empty:
        raise DataError(f"{why}; leave out --test-share, or add other modules")
    return (f"{why}; all rows are for training",)


def _leak(
    entries: Sequence[Entry], texts: Sequence[Texts], clusters: Sequence[str], cfg: SplitSettings
) -> Leak:
    """Split row by row, and look for what is alike on both sides."""
    shares = Shares(cfg.validation, cfg.test)
    trains = [side_of(fraction(cfg.seed, e.id), shares) == "train" for e in entries]
    kinds: dict[str, set[int]] = {}
    for kind, same in _relations(entries, texts):
        known = {mark for row, marks in same if trains[row] for mark in marks[:1]}
        found = {row for row, marks in same if not trains[row] and not known.isdisjoint(marks)}
        kinds[kind] = found
    sides_of: dict[str, set[bool]] = defaultdict(set)
    for row, train in enumerate(trains):
        sides_of[clusters[row]].add(train)
    return Leak(
        rows=trains.count(False),
        leaked=len(set().union(*kinds.values())),
        kinds={kind: len(found) for kind, found in kinds.items() if found},
        clusters=sum(len(sides) > 1 for sides in sides_of.values()),
    )


def _relations(
    entries: Sequence[Entry], texts: Sequence[Texts]
) -> Iterator[tuple[str, list[tuple[int, list[str | int]]]]]:
    """For each way of being alike: every row with its own mark, then the marks near to that."""
    rows = range(len(entries))
    yield "module name", [(row, [entries[row].module]) for row in rows]
    for side in texts:
        keys = [(row, side.exact_key(row)) for row in rows]
        yield f"exact {side.part}", [(row, [key]) for row, key in keys if key]
        nodes = [(row, side.node(row)) for row in rows]
        yield f"near {side.part}", [(row, list(side.around(n))) for row, n in nodes if n >= 0]


def _check(names: Sequence[str], texts: Sequence[Texts], sides: Sequence[Side]) -> None:
    """See with fresh eyes that nothing alike is on two sides.

    Raises:
        RunError: something is; nothing may be written.
    """
    seen: dict[object, Side] = {}
    for row, name in enumerate(names):
        for mark in (name, *_marks(row, texts)):
            if seen.setdefault(mark, sides[row]) != sides[row]:
                raise RunError(_crossing(name, str(mark)))
    for side in texts:
        for node, others in side.near.items():
            mine = seen.get((side.part, "near", node))
            for other in others:
                if seen.get((side.part, "near", other)) != mine:
                    raise RunError(_crossing(f"{side.part} {node}", f"{side.part} {other}"))


def _crossing(one: str, other: str) -> str:
    return (
        f"{one} and {other} are alike and on two sides of the split; this is a fault of "
        "kernelsift, please report it. Nothing was written"
    )
