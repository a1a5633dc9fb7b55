"""The analysis of one run's judgements: analysis.json (see schema.py), and analysis.md of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kernelsift.report.cautions import cautions_of
from kernelsift.report.markdown import code, plain, table
from kernelsift.report.schema import Analysis, Caution, JudgedBy, RewardFilter
from kernelsift.report.stats import (
    RESAMPLES,
    Correlation,
    Group,
    Scored,
    column,
    correlations,
    counted,
    groups_by,
    ordered,
    p_text,
    percent,
    score_spread,
    signed,
    spread_of,
)

__all__ = ["Analysis", "Caution", "JudgedBy", "RewardFilter", "analyse", "render_markdown"]


def analyse(
    rows: Iterable[Scored],
    *,
    judge: JudgedBy,
    missing: Mapping[str, int],
    reward_filter: RewardFilter | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Analysis:
    """Analyse the judged rows; `missing` counts the others by failure class.

    Raises DataError if a reward is not finite or a score is outside 0-10.
    """
    known = ordered(rows)
    sizes = Counter(row.module for row in known)
    draft = Analysis(
        judge=judge,
        judged=len(known),
        missing={name: count for name, count in sorted(missing.items()) if count},
        reward_filter=reward_filter,
        modules=len(sizes),
        largest_module=max(sizes.values(), default=0),
        seed=seed,
        resamples=resamples,
        correlations=correlations(known, seed=seed, resamples=resamples),
        difficulty=score_spread(column(known, "difficulty")),
        style=score_spread(column(known, "style")),
        reward=spread_of(column(known, "reward")),
        by_difficulty=groups_by(known, "difficulty"),
        by_style=groups_by(known, "style"),
        cautions=(),
    )
    return draft.model_copy(update={"cautions": cautions_of(draft)})


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
    return (_correlation_table(known), _method_note(analysis)) if known else ()


def _correlation_table(found: Sequence[Correlation]) -> str:
    """Return one line per correlation that has a number."""
    header = ("pair", "method", "strength", "r", "95 % CI, rows", "95 % CI, modules", "p", "n")
    rows = [
        (
            f"{one.a} – {one.b}",
            one.method.capitalize(),
            one.strength or "–",
            signed(one.r),
            str(one.ci or "–"),
            str(one.cluster_ci or "–"),
            p_text(one.p).removeprefix("p ").removeprefix("= "),
            f"{one.n:,}",
        )
        for one in found
        if one.r is not None and one.p is not None
    ]
    return table(header, rows, right=5)


def _method_note(analysis: Analysis) -> str:
    """Say how the intervals were made."""
    note = (
        "Strength words: |r| < 0.1 negligible, < 0.3 weak, < 0.5 moderate, else strong. "
        "*CI, rows* takes rows as independent (Fisher z; Bonett and Wright's standard error for "
        "Spearman), and so does p. *CI, modules* draws whole modules with replacement "
        f"({analysis.resamples:,} resamples, percentiles, seed {analysis.seed}). "
        "The sentences quote the wider of the two."
    )
    why = next((one.cluster_why for one in analysis.correlations if one.cluster_why), None)
    return note if why is None else f"{note} A module interval is missing: {why}."


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
