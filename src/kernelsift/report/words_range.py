"""The part of analysis.md about rows that the reward filter has dropped."""

from collections.abc import Sequence

from kernelsift.report.markdown import table
from kernelsift.report.schema import Analysis
from kernelsift.report.stats import Correlation, counted, p_text, signed, title_of


def full_range_text(analysis: Analysis) -> tuple[str, ...]:
    """Return what holds for all rows; nothing where no rejected row was judged."""
    found = analysis.full_range
    if found is None:
        return ()
    known = [one for one in found.correlations if one.r is not None]
    parts = [
        "## All rows, also those below the reward filter",
        f"{found.rejected:,} rejected rows were judged; they stand for {found.stands_for:,.0f}. "
        f"With the {found.passed:,} passed rows, each row weighted by 1 / its chance of being "
        f"judged, that is worth {counted(round(found.effective), 'row')} chosen evenly.",
        "\n".join(f"- {one.sentence}" for one in found.separations),
        "\n".join(f"- {one.sentence}" for one in found.correlations),
    ]
    if known:
        parts += [
            _table(known, analysis.correlations),
            "Weighted correlations; ranks are weighted, too. Intervals draw whole modules (± t "
            "standard errors of the draws on Fisher's z), and p is from the same draws.",
        ]
    return tuple(part for part in parts if part)


def _table(found: Sequence[Correlation], passed: Sequence[Correlation]) -> str:
    """Return one line per correlation of all rows, with that of the passed rows beside it."""
    header = ("pair", "method", "strength", "r, passed rows", "r, all rows", "95 % CI, modules",
              "p", "p, Holm", "p, BH", "n")  # fmt: skip
    beside = {(one.a, one.b, one.method): one.r for one in passed}
    rows = []
    for one in found:
        other = beside.get((one.a, one.b, one.method))
        p_values = (one.p, one.p_holm, one.p_bh)
        rows.append((
            f"{one.a} – {one.b}",
            title_of(one.method).removesuffix(" r"),
            one.strength or "–",
            "–" if other is None else signed(other),
            signed(one.r or 0.0),
            str(one.cluster_ci or "–"),
            *("–" if p is None else p_text(p).removeprefix("p ").removeprefix("= ")
              for p in p_values),
            f"{one.n:,}",
        ))  # fmt: skip
    return table(header, rows, right=7)


def corrections_text(analysis: Analysis) -> tuple[str, ...]:
    """Return the model-based correction, or why there is none."""
    if not analysis.corrections:
        return ()
    lines = [f"- {one.sentence}" for one in analysis.corrections]
    return ("## If the filter had not been there (model-based)", "\n".join(lines))
