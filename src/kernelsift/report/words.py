"""analysis.md: an analysis in words and tables."""

from collections.abc import Sequence

from kernelsift.report.markdown import code, plain, table
from kernelsift.report.partials import Partial, Partials, listed
from kernelsift.report.schema import Analysis, Caution
from kernelsift.report.stats import (
    Correlation,
    Group,
    counted,
    p_text,
    percent,
    signed,
    title_of,
)
from kernelsift.report.words_range import corrections_text, full_range_text


def render_markdown(analysis: Analysis) -> str:
    """Return analysis.md."""
    parts = [
        "# Difficulty, style and reward",
        _coverage(analysis),
        "## Read this first",
        _cautions(analysis.cautions),
        "## Correlations",
        "\n".join(f"- {found.sentence}" for found in analysis.correlations),
        *_correlation_details(analysis),
        *_partials(analysis.partials),
        *full_range_text(analysis),
        *corrections_text(analysis),
        "## Distributions",
        _distributions(analysis),
        _histogram(analysis),
        "## Reward by difficulty",
        _groups(analysis.by_difficulty, "difficulty", "style"),
        "## Reward by style",
        _groups(analysis.by_style, "style", "difficulty"),
    ]
    return "\n\n".join(parts) + "\n"


def _coverage(analysis: Analysis) -> str:
    """Say which rows are in the analysis, which are not, and who judged them."""
    judge = analysis.judge
    total = analysis.judged + analysis.unjudged
    lines = [
        f"- Judge: {code(judge.judge)}, prompt version {code(judge.prompt_version)}",
        f"- Judged: **{analysis.judged:,}** of {counted(total, 'row')}, "
        f"from {counted(analysis.modules, 'module')}",
        f"- Without a verdict, and in no number below: **{analysis.unjudged:,}**",
    ]
    lines += [f"  - {plain(name)}: {count:,}" for name, count in analysis.missing.items()]
    if judge.unread_difficulty or judge.unread_style:
        lines.append(
            f"  - of those asked about, {judge.unread_difficulty:,} have no readable difficulty, "
            f"and {judge.unread_style:,} no readable style"
        )
    answered = [name for name in judge.returned_models if name != judge.judge]
    if answered:
        lines.insert(1, f"- Answered by: {', '.join(code(name) for name in answered)}")
    known = analysis.reward_filter
    if known is not None:
        lines.append(
            f"- Filter before judging: reward > {known.min_reward:g}; "
            f"{known.dropped:,} rows at or below it are not in this analysis"
        )
    return "\n".join(lines)


def _cautions(cautions: Sequence[Caution]) -> str:
    """Return the cautions as a list."""
    if not cautions:
        return "Nothing to warn of."
    return "\n".join(f"- **{caution.title}.** {caution.text}" for caution in cautions)


def _correlation_details(analysis: Analysis) -> tuple[str, ...]:
    """Return the table and how it was made; nothing if no correlation has a number."""
    known = [found for found in analysis.correlations if found.r is not None]
    return (correlation_table(known), _method_note(analysis)) if known else ()


def correlation_table(found: Sequence[Correlation]) -> str:
    """Return one line per correlation that has a number."""
    header = (
        "pair", "method", "strength", "r", "95 % CI, rows", "95 % CI, modules", "largest possible",
        "p", "p, Holm", "p, BH", "n",
    )  # fmt: skip
    rows = [
        (
            f"{one.a} – {one.b}",
            title_of(one.method).removesuffix(" r"),
            one.strength or "–",
            signed(one.r),
            str(one.ci or "–"),
            str(one.cluster_ci or "–"),
            "–" if one.largest is None else signed(one.largest),
            *map(_p, (one.p, one.p_holm, one.p_bh)),
            f"{one.n:,}",
        )
        for one in found
        if one.r is not None
    ]
    return table(header, rows, right=8)


def _p(value: float | None) -> str:
    return "–" if value is None else p_text(value).removeprefix("p ").removeprefix("= ")


def _method_note(analysis: Analysis) -> str:
    """Say how the intervals were made."""
    fewer = sorted({one.resamples for one in analysis.correlations if one.method == "kendall"})
    kendall = f", {fewer[0]:,} of them for Kendall" if any(fewer) else ""
    note = (
        "Strength words: |r| < 0.1 negligible, < 0.3 weak, < 0.5 moderate, else strong. "
        "*CI, rows* takes rows as independent (Fisher z; Bonett and Wright's standard error for "
        "Spearman, Fieller's for Kendall), and so does p. *CI, modules* draws whole modules with "
        f"replacement ({analysis.resamples:,} resamples{kendall}; percentiles, for Kendall ± t "
        f"standard errors of the draws on Fisher's z; seed {analysis.seed}). "
        "The sentences quote the wider of the two. *Largest possible*: what ties allow, in the "
        f"direction of r. *Holm* and *BH* adjust p for all {analysis.hypotheses:,} p-values of "
        "this report, for any false one and for the share of false ones. A p-value says nothing of "
        "size."
    )
    why = next((one.cluster_why for one in analysis.correlations if one.cluster_why), None)
    return note if why is None else f"{note} A module interval is missing: {why}."


def _partials(found: Partials) -> tuple[str, ...]:
    """Return what is left of the correlations once other things are held constant."""
    if not found.given and not found.notes:
        return ()
    parts = ["## With lengths and operation class held constant"]
    if found.notes:
        parts.append("\n".join(f"- {note}" for note in found.notes))
    whole = [one for one in found.correlations if one.given == found.given]
    gone = [
        one
        for one in found.correlations
        if one.given != found.given and one.change in {"vanishes", "nearly vanishes", "turns"}
    ]
    parts.append("\n".join(f"- {one.sentence}" for one in (*whole, *gone)))
    if any(one.r is not None for one in found.correlations):
        parts += [_partial_table(found), _partial_note(found)]
    return tuple(part for part in parts if part)


def _partial_table(found: Partials) -> str:
    """Return one line per pair, method and what is given."""
    header = ("pair", "method", "given", "r without", "partial r", "95 % CI, rows",
              "95 % CI, modules", "p", "p, Holm", "p, BH", "n")  # fmt: skip
    rows = [_partial_row(one) for one in found.correlations if one.r is not None]
    return table(header, rows, right=8)


def _partial_row(one: Partial) -> tuple[str, ...]:
    return (
        f"{one.a} – {one.b}",
        one.method.capitalize(),
        listed(one.given),
        signed(one.plain or 0.0),
        signed(one.r or 0.0),
        str(one.ci or "–"),
        str(one.cluster_ci or "–"),
        *map(_p, (one.p, one.p_holm, one.p_bh)),
        f"{one.n:,}",
    )


def _partial_note(found: Partials) -> str:
    """Say what is held constant, and how."""
    note = (
        "Correlations of what linear regression on the given columns leaves of both (for Spearman: "
        "on their ranks). Lengths are log(1 + characters); reasoning is what the completion says "
        f"outside its program. Modules resampled: {found.resamples:,} draws, ± t standard errors "
        "on Fisher's z. What is not measured is not held constant."
    )
    if found.classes:
        note += f" Operation classes: {', '.join(found.classes)}."
    if found.without:
        note += f" {counted(found.without, 'row')} left out: something given is not known for them."
    return note


def _distributions(analysis: Analysis) -> str:
    """Return one line per column."""
    header = ("column", "n", "mean", "sd", "min", "q1", "median", "q3", "max")
    spreads = (
        ("difficulty (0–10)", analysis.difficulty.spread),
        ("style (0–10)", analysis.style.spread),
        ("reward", analysis.reward),
    )
    rows = [
        (name, f"{s.n:,}", *map(_number, (s.mean, s.sd, s.min, s.q1, s.median, s.q3, s.max)))
        for name, s in spreads
    ]
    return table(header, rows, right=8)


def _histogram(analysis: Analysis) -> str:
    """Return the rows per level of both scores, and how well each score uses its scale."""
    counts = zip(analysis.difficulty.histogram, analysis.style.histogram, strict=True)
    rows = [(str(level), f"{a:,}", f"{b:,}") for level, (a, b) in enumerate(counts)]
    text = table(("level", "rows by difficulty", "rows by style"), rows, right=2)
    for name, score in (("Difficulty", analysis.difficulty), ("Style", analysis.style)):
        if score.effective_levels is not None:
            text += (
                f"\n\n{name} uses {score.effective_levels:.1f} effective levels of 11 "
                f"(exp of the Shannon entropy); its most frequent level is {score.mode} "
                f"({_share(score.mode_share)} of rows); level 0: {_share(score.floor_share)}, "
                f"level 10: {_share(score.ceiling_share)}."
            )
    return text


def _groups(groups: Sequence[Group], name: str, other: str) -> str:
    """Return one line per level that occurs."""
    header = (name, "n", "mean reward", "sd", "median", f"mean {other}")
    rows = [
        (
            str(group.level),
            f"{group.n:,}",
            *map(_number, (group.reward.mean, group.reward.sd, group.reward.median)),
            f"{group.mean_other:.2f}",
        )
        for group in groups
    ]
    return table(header, rows, right=5) if rows else "No rows."


def _share(share: float | None) -> str:
    """Format a share as per cent; a dash for None."""
    return "–" if share is None else percent(share)


def _number(value: float | None) -> str:
    """Format with three decimals, or four digits where those would hide it; a dash for None."""
    if value is None:
        return "–"
    usual = value == 0 or 0.001 <= abs(value) < 1e5
    return (f"{value:,.3f}" if usual else f"{value:.4g}").replace("-", "−")
