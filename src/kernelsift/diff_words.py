"""The report of diff for people."""

from collections.abc import Iterator, Sequence

from kernelsift.diffing import ABSENT, KINDS, Change, Difference

_STATES = ("kept", "dropped", "failed", "pending", ABSENT)
_HEADS = {
    "state": "changed state",
    "reason": "have the same state for another reason",
    "content": "have the same origin but other content",
    "only-a": "are only in A",
    "only-b": "are only in B",
}


def report(found: Difference, limit: int) -> list[str]:
    """Lines to print; at most `limit` rows are listed of each kind of change."""
    if found.equal:
        return [
            f"The runs are equal: {found.rows[0]:,} rows, each with the same content, state, "
            "reason and scores, under the same settings."
        ]
    (a, b), (rows_a, rows_b) = found.names, found.rows
    parts = [
        [f"A {a}: {rows_a:,} rows", f"B {b}: {rows_b:,} rows; {found.matched:,} of them are in A"],
        _settings(found),
        _matrix(found),
        _moves(found),
        _scores(found),
        _outcomes(found),
        *(_rows(found, kind, limit) for kind in KINDS),
    ]
    return [line for part in parts if part for line in (*part, "")][:-1]


def _settings(found: Difference) -> list[str]:
    lines = [f"  {s.name}: {_shown(s.a)} -> {_shown(s.b)}" for s in found.settings]
    return ["Settings that differ", *lines] if lines else []


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)


def _matrix(found: Difference) -> list[str]:
    """States of A down, of B across."""
    down = [s for s in _STATES if any(a == s for a, _ in found.states)]
    across = [s for s in _STATES if any(b == s for _, b in found.states)]
    rows = [[a, *(f"{found.states.get((a, b), 0):,}" for b in across)] for a in down]
    return ["Rows by state, A down and B across", *_aligned([["", *across], *rows])]


def _moves(found: Difference) -> list[str]:
    rows = [[f"{n:,}", before, "->", after] for before, after, n in found.moves()]
    return ["What changed", *_aligned(rows, right=(0,))] if rows else []


def _scores(found: Difference) -> list[str]:
    lines = [
        f"  {s.score}: {s.changed:,} of {s.judged:,} rows judged in both differ, by "
        f"{s.mean:+.2f} on average over all, {s.largest:+g} at most"
        for s in found.scores
        if s.changed
    ]
    return ["Scores of the judge, B minus A", *lines] if lines else []


def _outcomes(found: Difference) -> list[str]:
    rows = [[f"{n:,}", a, "->", b] for (a, b), n in found.outcomes.items()]
    return ["Verification outcomes", *_aligned(rows, right=(0,))] if rows else []


def _rows(found: Difference, kind: str, limit: int) -> list[str]:
    mine = [change for change in found.changes if change.kind == kind]
    if not mine:
        return []
    lines = [line for change in mine[:limit] for line in _row(change)]
    more = len(mine) - limit
    rest = [f"  … and {more:,} more; --limit {len(mine)} lists them all"] if more > 0 else []
    verb = "row" if len(mine) == 1 else "rows"
    return [f"{len(mine):,} {verb} {_HEADS[kind]}", *lines, *rest]


def _row(change: Change) -> Iterator[str]:
    """The row, and the deciding words of either side."""
    one = change.b or change.a
    assert one is not None
    before, after = (v.state if v else ABSENT for v in (change.a, change.b))
    yield f"  {one.entry.id}  {one.entry.module}  {one.entry.origin}: {before} -> {after}"
    for side, verdict in (("A", change.a), ("B", change.b)):
        if verdict:
            yield f"    {side}: {verdict.sentence}"


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int] | None = None) -> list[str]:
    """Columns under each other; all but the first to the right unless told which."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_right = range(1, len(widths)) if right is None else right
    return [
        "  " + "  ".join(
            cell.rjust(width) if n in to_right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip
