"""Correlations with code length, reasoning length and operation class held constant.

The partial correlation of two columns given others is the correlation of what is left of both
after linear regression on the others (see partial_numbers.py for how it is computed). For Spearman
all columns are ranked first. Lengths enter as log(1 + characters), operation classes as columns of
zeros and ones, one per class.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from kernelsift.model import Frozen
from kernelsift.report.partial_numbers import Table, independent, partial_matrices
from kernelsift.report.stats import (
    COLUMNS,
    MIN_MODULES,
    MIN_ROWS,
    PAIRS,
    RESAMPLES,
    Column,
    Interval,
    Scored,
    Strength,
    column,
    constant_why,
    counted,
    fisher_interval,
    is_flat,
    ordered,
    p_text,
    scaled,
    signed,
    strength_of,
    z_interval,
)

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray

Given = Literal["code length", "reasoning length", "operation class"]
Change = Literal[
    "vanishes", "nearly vanishes", "turns", "shrinks", "stays", "appears", "unclear"
]  # fmt: skip
PartialMethod = Literal["pearson", "spearman"]

GIVEN: tuple[Given, ...] = ("code length", "reasoning length", "operation class")
LENGTHS: frozenset[Given] = frozenset({"code length", "reasoning length"})
VANISHED = 0.05
"""A partial correlation of less than this, where there was a link without it, has vanished."""
SMALL = 0.1
"""Less than this is negligible; see `strength_of`."""
MIN_CLASS_ROWS = 10
"""A class is given where at least so many rows have it, and at least so many have it not."""
KNOWN_SHARE = 0.5
"""A covariate that fewer rows than this share have is left out, not the rows."""
_METHODS: tuple[PartialMethod, ...] = ("pearson", "spearman")
Held = dict[tuple[Given, ...], list[int]]
"""What is held constant -> its columns."""


class Partial(Frozen):
    """The correlation of two columns with others held constant. Without `r`, `why` says why."""

    a: Column
    b: Column
    method: PartialMethod
    given: tuple[Given, ...]
    n: int
    """Rows for which everything given is known."""
    modules: int
    plain: float | None = None
    """The correlation of the same rows with nothing held constant."""
    r: float | None = None
    """The partial correlation."""
    ci: Interval | None = None
    """95 %, for independent rows: Fisher z with n - k rows, k columns being given (for Spearman
    with the standard error of Bonett & Wright)."""
    cluster_ci: Interval | None = None
    """95 %, modules resampled: Fisher z with the standard error of the draws."""
    p: float | None = None
    """Two-sided, for independent rows: t with n - 2 - k degrees of freedom."""
    p_holm: float | None = None
    """`p` adjusted over all hypotheses of the report, Holm 1979 (family-wise error)."""
    p_bh: float | None = None
    """`p` adjusted likewise, Benjamini & Hochberg 1995 (false discovery rate)."""
    strength: Strength | None = None
    change: Change | None = None
    """What becomes of `plain`: see `change_of`; `unclear` where the quoted interval of `r` holds
    `plain`, so that no change is shown."""
    why: str | None = None
    """Why there is no `r`."""
    cluster_why: str | None = None
    """Why there is an `r` but no `cluster_ci`."""
    sentence: str

    @property
    def widest(self) -> Interval | None:
        """The interval to quote: the wider of the two."""
        if self.ci is None or self.cluster_ci is None:
            return self.ci or self.cluster_ci
        return max(self.cluster_ci, self.ci, key=lambda interval: interval.high - interval.low)


class Partials(Frozen):
    """Every pair given each covariate alone, and given all of them."""

    given: tuple[Given, ...] = ()
    """What could be held constant."""
    classes: tuple[str, ...] = ()
    """The operation classes among it."""
    without: int = 0
    """Judged rows left out here, because something given is not known for them."""
    notes: tuple[str, ...] = ()
    """What is not held constant, and why: a sentence each."""
    resamples: int = 0
    """Draws of modules behind each `cluster_ci`."""
    correlations: tuple[Partial, ...] = ()


def partials(rows: Iterable[Scored], *, seed: int = 0, resamples: int = RESAMPLES) -> Partials:
    """Return Pearson and Spearman of the pairs given each covariate, and given all.

    Lengths enter as log(1 + characters).

    Raises DataError for values that `ordered` refuses.
    """
    known = ordered(rows)
    if len(known) < MIN_ROWS:
        return Partials()
    notes = {name: note for name in GIVEN if (note := _missing(known, name))}
    used = [row for row in known if all(_is_known(row, n) for n in GIVEN if n not in notes)]
    classes = _classes(used)
    notes |= {n: note for n in GIVEN if n not in notes and (note := _constant(used, n, classes))}
    given = tuple(name for name in GIVEN if name not in notes)
    shown = tuple(notes[name] for name in GIVEN if name in notes)
    if not given:
        return Partials(notes=shown)
    table, places = _table(used, given, classes)
    held: Held = {(name,): places[name] for name in given}
    held[given] = [at for name in given for at in places[name]]
    drawn = None
    if table.modules >= MIN_MODULES:
        drawn = table.draws(list(held.values()), seed=seed, resamples=resamples)
    return Partials(
        given=given,
        classes=tuple(classes) if "operation class" in given else (),
        without=len(known) - len(used),
        notes=shown,
        resamples=0 if drawn is None else resamples,
        correlations=tuple(_all(used, table, held, drawn)),
    )


def change_of(plain: float, partial: float) -> Change:
    """Say what becomes of a correlation once something is held constant.

    From a correlation of 0.1 or more: `vanishes` below 0.05, `nearly vanishes` below 0.1 and half
    of it, `turns` where it is 0.1 or more the other way, `shrinks` to less than half, else `stays`.
    `appears`: from below 0.1 to 0.1 or more, at least doubled.
    """
    before, after = abs(plain), abs(partial)
    if before < SMALL:
        return "appears" if after >= max(SMALL, 2 * before) else "stays"
    if after < VANISHED:
        return "vanishes"
    if after < min(SMALL, before / 2):
        return "nearly vanishes"
    if after >= SMALL and plain * partial < 0:
        return "turns"
    return "shrinks" if after < before / 2 else "stays"


# ---- what is given ------------------------------------------------------------------------------


def _is_known(row: Scored, name: Given) -> bool:
    found = row.covariates
    values = (found.code_length, found.reasoning_length, found.operations)
    return values[GIVEN.index(name)] is not None


def _missing(rows: Sequence[Scored], name: Given) -> str | None:
    count = sum(_is_known(row, name) for row in rows)
    if count >= max(1.0, KNOWN_SHARE * len(rows)):
        return None
    what = "no row" if count == 0 else f"only {count:,} of {counted(len(rows), 'row')}"
    return f"{name.capitalize()} is not held constant: it is known for {what}."


def _constant(rows: Sequence[Scored], name: Given, classes: Sequence[str]) -> str | None:
    if name == "operation class":
        if classes:
            return None
        return (
            "Operation class is not held constant: no class is found in "
            f"{MIN_CLASS_ROWS} rows or more and missing in as many."
        )
    if not is_flat(_logs(rows, name)):
        return None
    return f"{name.capitalize()} is not held constant: it is the same in all rows."


def _logs(rows: Sequence[Scored], name: Given) -> FloatArray:
    import numpy as np

    code = name == "code length"
    found = [r.covariates.code_length if code else r.covariates.reasoning_length for r in rows]
    lengths = np.array([value or 0 for value in found], dtype=float)
    return np.asarray(np.log1p(lengths), dtype=float)


def _classes(rows: Sequence[Scored]) -> list[str]:
    counts = Counter(name for row in rows for name in set(row.covariates.operations or ()))
    most = len(rows) - MIN_CLASS_ROWS
    return sorted(name for name, count in counts.items() if MIN_CLASS_ROWS <= count <= most)


def _table(
    rows: Sequence[Scored], given: Sequence[Given], classes: Sequence[str]
) -> tuple[Table, dict[Given, list[int]]]:
    """Return the columns: the three of COLUMNS, then those given; and where the latter are."""
    import numpy as np

    columns = [scaled(column(rows, name))[0] for name in COLUMNS]
    places: dict[Given, list[int]] = {}
    for name in given:
        start = len(columns)
        if name == "operation class":
            own = [frozenset(row.covariates.operations or ()) for row in rows]
            columns += [np.array([float(c in found) for found in own]) for c in classes]
        else:
            columns.append(_logs(rows, name))
        places[name] = list(range(start, len(columns)))
    fine = places["operation class"][0] if "operation class" in places else len(columns)
    names, clusters = np.unique([row.module for row in rows], return_inverse=True)
    return Table(np.stack(columns), fine, clusters, len(names)), places


# ---- the numbers --------------------------------------------------------------------------------


def _all(
    rows: Sequence[Scored], table: Table, held: Held, drawn: FloatArray | None
) -> Iterator[Partial]:
    """Yield every pair, by both methods, given each of the sets; `drawn` is of `Table.draws`."""
    import numpy as np

    matrices = table.matrices(np.ones((1, table.modules)))
    for a, b in PAIRS:
        i, j = COLUMNS.index(a), COLUMNS.index(b)
        why = constant_why(rows, a, b)
        for number, method in enumerate(_METHODS):
            matrix = matrices[number]
            for place, (given, places) in enumerate(held.items()):
                bare = Partial(a=a, b=b, method=method, given=given, n=len(rows),
                               modules=table.modules, why=why, sentence="")  # fmt: skip
                if why is None:
                    r = float(partial_matrices(matrix, places)[0, i, j])
                    values = float(np.clip(matrix[0, i, j], -1, 1)), r
                    own = None if drawn is None else drawn[:, number, place, i, j]
                    bare = _measured(bare, values, independent(matrix[0], places), own)
                yield bare.model_copy(update={"sentence": sentence_of(bare)})


def _measured(
    bare: Partial, values: tuple[float, float], rank: int, drawn: FloatArray | None
) -> Partial:
    """Return a partial correlation with its intervals, or with the reason why it has none."""
    plain, r = values
    freedom = bare.n - 2 - rank
    if not math.isfinite(r) or freedom < 2:
        few = f"{counted(bare.n, 'row')} are too few for {counted(rank, 'column')} held constant"
        explained = f"what is given explains {bare.a} or {bare.b} wholly"
        return bare.model_copy(update={"plain": plain, "why": few if freedom < 2 else explained})
    factor = 1.0 if bare.method == "pearson" else 1 + r * r / 2
    update: dict[str, object] = {
        "plain": plain,
        "r": r,
        "ci": fisher_interval(r, math.sqrt(factor / (freedom - 1))),
        "p": _p_value(r, freedom),
        "strength": strength_of(r),
        "change": change_of(plain, r),
    }
    found: Interval | str = (
        f"the rows come from {counted(bare.modules, 'module')}; at least {MIN_MODULES} are needed"
    )
    if drawn is not None:
        found = z_interval(r, drawn, bare.modules)
    update["cluster_ci" if isinstance(found, Interval) else "cluster_why"] = found
    full = bare.model_copy(update=update)
    interval = full.widest
    if full.change == "stays" or interval is None or not interval.low <= plain <= interval.high:
        return full
    return full.model_copy(update={"change": "unclear"})


def _p_value(r: float, freedom: int) -> float:
    from scipy.stats import t

    if abs(r) >= 1:
        return 0.0
    return float(2 * t.sf(abs(r) * math.sqrt(freedom / (1 - r * r)), freedom))


# ---- in words -----------------------------------------------------------------------------------

_CHANGES: dict[Change, str] = {
    "vanishes": "the correlation of {plain} vanishes: {given} alone can account for it",
    "nearly vanishes": "of the correlation of {plain} nearly nothing is left: {given} can account "
    "for most of it",
    "turns": "without that it is {plain}: the direction turns",
    "shrinks": "without that it is {plain}: more than half of it goes with {given}",
    "stays": "without that it is {plain}",
    "appears": "without that it is {plain}: {given} hid the link",
    "unclear": "without that it is {plain}, which the interval holds, too: no change is shown",
}


def listed(names: Sequence[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence_of(found: Partial) -> str:
    """Say in one sentence what is left of a correlation."""
    given = listed(found.given)
    subject = f"{found.a.capitalize()} and {found.b}, given {given}"
    if found.r is None or found.plain is None or found.p is None or found.change is None:
        return f"{subject}: no {found.method.capitalize()} correlation, because {found.why}."
    interval = found.widest
    kind = ", modules resampled" if interval is found.cluster_ci else ""
    zero = interval is not None and interval.low <= 0 <= interval.high
    more = "; the interval contains zero" if zero else ""
    words = _CHANGES[found.change].format(plain=signed(found.plain), given=given)
    return (
        f"{subject}: {found.strength} (partial {found.method.capitalize()} r = {signed(found.r)}, "
        f"95 % CI {interval}{kind}, n = {found.n:,}, {p_text(found.p)}){more}; {words}."
    )
