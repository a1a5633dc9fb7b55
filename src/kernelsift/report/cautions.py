"""What a reader should know before quoting a number of the analysis."""

from collections.abc import Iterator, Sequence

from kernelsift.report.partials import LENGTHS, Partial, listed
from kernelsift.report.schema import Analysis, Caution, RewardFilter
from kernelsift.report.stats import (
    MIN_ROWS,
    Correlation,
    ScoreSpread,
    counted,
    percent,
    signed,
    title_of,
)

FEW_ROWS = 100
"""Below this a 95 % interval of r is wider than ±0.2."""
UNJUDGED_SHARE = 0.01
MANY_UNJUDGED = 0.05
FEW_REJECTED = 100
"""Fewer judged rows below the filter leave the share of all rows that they speak for uncertain."""
TIED = 0.95
"""Ties that cap a rank correlation below this are worth a word."""
ONE_LEVEL_SHARE = 0.5
LOW_SHARE = 0.8
"""More than this share in levels 0-2 is a floor effect."""
FLAT_REWARD = 0.1
"""Half of all rewards within this share of the median: mostly timing noise."""


def cautions_of(analysis: Analysis) -> tuple[Caution, ...]:
    """Return the warnings that apply, the most basic first."""
    return (
        *_about_rows(analysis),
        *_about_scores("style", analysis.style),
        *_about_scores("difficulty", analysis.difficulty),
        *_about_ties(analysis),
        *_about_reward(analysis),
        *_about_what_is_behind(analysis),
        *_about_modules(analysis),
        *_about_p(analysis),
    )


def _about_rows(analysis: Analysis) -> Iterator[Caution]:
    """Warn of what the rows are not."""
    if analysis.judge.judge == "static":
        yield Caution(
            slug="static-judge",
            title="No language model judged",
            text="The ratings come from static features of the code, not from a language model.",
        )
    if analysis.judged < FEW_ROWS:
        yield Caution(
            slug="few-rows",
            title="Few rows",
            text=f"{counted(analysis.judged, 'judged row')}: with fewer than {FEW_ROWS} the "
            "95 % interval of a correlation is about ±0.2 or wider.",
        )
    yield from _about_missing(analysis)
    if analysis.reward_filter is not None:
        yield from _about_range(analysis, analysis.reward_filter)


def _about_missing(analysis: Analysis) -> Iterator[Caution]:
    """Warn of rows without a verdict."""
    total = analysis.judged + analysis.unjudged
    if analysis.unjudged <= UNJUDGED_SHARE * total:
        return
    judge = analysis.judge
    halves = ""
    if judge.unread_difficulty or judge.unread_style:
        halves = (
            f" ({judge.unread_difficulty:,} without a readable difficulty, "
            f"{judge.unread_style:,} without a readable style)"
        )
    many = analysis.unjudged > MANY_UNJUDGED * total
    yield Caution(
        slug="unjudged-rows",
        title="Many rows have no verdict" if many else "Some rows have no verdict",
        text=f"{analysis.unjudged:,} of {counted(total, 'row')} "
        f"({percent(analysis.unjudged / total)}) have none{halves} and are in no number. "
        "If they differ from the others, the numbers here do not show it.",
    )


def _about_range(analysis: Analysis, known: RewardFilter) -> Iterator[Caution]:
    """Warn of what the reward filter hides."""
    whole = analysis.full_range
    dropped = f"Rows with a reward of {known.min_reward:g} or less ({known.dropped:,})"
    if whole is None:
        yield Caution(
            slug="range-restriction",
            title="Only rows above the reward filter",
            text=f"{dropped} were not judged. What tells good rows from bad ones may vanish among "
            "the good ones, so a correlation with reward here does not carry over to all rollouts. "
            "`kernelsift judge --also-rejected N` judges some of the others.",
        )
        return
    yield Caution(
        slug="range-restriction",
        title="The first correlations are of rows above the reward filter",
        text=f"{dropped} are in the part about all rows alone, by {whole.rejected:,} of them that "
        "were judged. A correlation with reward among the passed rows does not carry over to all.",
    )
    if whole.rejected < FEW_REJECTED:
        yield Caution(
            slug="few-rejected",
            title="Few rejected rows were judged",
            text=f"{counted(whole.rejected, 'row')} stand for {whole.stands_for:,.0f}; "
            "with 300 and more, what is said of all rows rests on firmer ground.",
        )
    if known.drawn > whole.rejected:
        yield Caution(
            slug="unjudged-rejected",
            title="Not every rejected row that was drawn has a verdict",
            text=f"{known.drawn - whole.rejected:,} of {known.drawn:,} have none. The others stand "
            "in for them, as if verdicts were missing at random.",
        )


def _about_scores(name: str, score: ScoreSpread) -> Iterator[Caution]:
    """Warn of a score that uses little of its scale."""
    if score.spread.n < MIN_ROWS or score.mode_share is None or score.effective_levels is None:
        return
    low = sum(score.histogram[:3]) / score.spread.n
    levels = f"it uses {score.effective_levels:.1f} effective levels of 11"
    if low > LOW_SHARE or (score.mode_share > ONE_LEVEL_SHARE and score.mode in {0, 1, 2}):
        yield Caution(
            slug="floor-effect",
            title=f"{name.capitalize()} has a floor effect",
            text=f"{percent(low)} of rows score 0, 1 or 2, and {percent(score.mode_share)} score "
            f"exactly {score.mode}; {levels}. A score pressed against its floor hardly tells "
            "rows apart, and ties cap every correlation with it.",
        )
    elif score.mode_share > ONE_LEVEL_SHARE:
        yield Caution(
            slug="narrow-scale",
            title=f"{name.capitalize()} is nearly one value",
            text=f"{percent(score.mode_share)} of rows score exactly {score.mode}; {levels}.",
        )


def _about_ties(analysis: Analysis) -> Iterator[Caution]:
    """Warn of rank correlations that cannot be large."""
    capped = [
        f"{one.largest:.3f} for {one.a} and {one.b}".replace("-", "−")
        for one in analysis.correlations
        if one.method == "spearman" and one.largest is not None and abs(one.largest) < TIED
    ]
    if capped:
        yield Caution(
            slug="tied-ranks",
            title="Ties cap the rank correlations",
            text=f"With these ties no Spearman correlation can be beyond {', '.join(capped)}, "
            "however good the scores are.",
        )


def _about_reward(analysis: Analysis) -> Iterator[Caution]:
    """Warn of a reward that hardly varies."""
    reward = analysis.reward
    if reward.q1 is None or reward.q3 is None or reward.median is None or reward.n < MIN_ROWS:
        return
    if reward.q3 / 2 - reward.q1 / 2 <= FLAT_REWARD * abs(reward.median) / 2:
        yield Caution(
            slug="flat-reward",
            title="The reward hardly varies",
            text=f"Half of all rewards lie between {reward.q1:.4g} and {reward.q3:.4g} (median "
            f"{reward.median:.4g}). Differences this small can be timing noise, and nothing "
            "correlates with noise.",
        )


def _about_modules(analysis: Analysis) -> Iterator[Caution]:
    """Warn of rows that are not independent."""
    if analysis.modules < analysis.judged:
        yield Caution(
            slug="shared-modules",
            title="Rows share modules",
            text=f"{analysis.judged:,} rows come from {counted(analysis.modules, 'module')} (up to "
            f"{analysis.largest_module:,} rows of one). Rows of one module are alike, so p-values "
            "and the interval for rows promise more certainty than there is; the interval for "
            "modules allows for it.",
        )


def _about_what_is_behind(analysis: Analysis) -> Iterator[Caution]:
    """Warn of correlations that something else can account for."""
    whole = analysis.partials.given
    lost = [
        found
        for found in analysis.partials.correlations
        if found.change in {"vanishes", "nearly vanishes"}
        and (len(found.given) == 1 or found.given == whole)
        and _is_told_from_zero(analysis.correlation(found.a, found.b, found.method))
    ]
    by_pair: dict[tuple[str, str], list[Partial]] = {}
    for found in lost:
        by_pair.setdefault((found.a, found.b), []).append(found)
    for (a, b), several in by_pair.items():
        length = any(set(found.given) <= LENGTHS for found in several)
        told = "; ".join(
            f"with {listed(found.given)} held constant, {found.method.capitalize()} r falls from "
            f"{signed(found.plain or 0.0)} to {signed(found.r or 0.0)}"
            + (f" (95 % CI {found.widest})" if found.widest else "")
            for found in several
        )
        yield Caution(
            slug="confounded",
            title=f"{a.capitalize()} and {b} are confounded by "
            + ("length" if length else "what the rows have in common"),
            text=f"{told[0].upper()}{told[1:]}. The link can be due to that alone; it says "
            f"nothing of {a} and {b} themselves.",
        )


def _is_told_from_zero(found: Correlation) -> bool:
    interval = found.widest
    return interval is not None and not interval.low <= 0 <= interval.high


def _about_p(analysis: Analysis) -> Iterator[Caution]:
    """Call negligible what is negligible, whatever its p-value."""
    whole = analysis.full_range
    pairs = [
        f"{found.a} – {found.b} ({title_of(found.method)} = {signed(found.r)}{of})"
        for of, several in _with_words(analysis.correlations, whole.correlations if whole else ())
        for found in several
        if found.r is not None
        and found.p is not None
        and found.strength == "negligible"
        and found.p < 0.05
    ]
    pairs += [
        f"{found.a} – {found.b} given {listed(found.given)} "
        f"(partial {found.method.capitalize()} r = {signed(found.r)})"
        for found in analysis.partials.correlations
        if found.given == analysis.partials.given
        and found.r is not None
        and found.p is not None
        and found.strength == "negligible"
        and found.p < 0.05
    ]
    if pairs:
        yield Caution(
            slug="negligible-but-significant",
            title="A small p-value is not a large effect",
            text=f"{'; '.join(pairs)}: p is below 0.05, yet the link is negligible. With this "
            "many rows even a link too small to matter gets a small p.",
        )


def _with_words(
    passed: Sequence[Correlation], every: Sequence[Correlation]
) -> tuple[tuple[str, Sequence[Correlation]], ...]:
    return ("", passed), (", all rows", every)
