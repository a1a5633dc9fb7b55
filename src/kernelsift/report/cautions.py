"""What a reader should know before quoting a number of the analysis."""

from collections.abc import Iterator

from kernelsift.report.schema import Analysis, Caution
from kernelsift.report.stats import MIN_ROWS, ScoreSpread, counted, percent, signed

FEW_ROWS = 100
"""Below this a 95 % interval of r is wider than ±0.2."""
UNJUDGED_SHARE = 0.05
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
        *_about_reward(analysis),
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
    total = analysis.judged + analysis.unjudged
    if analysis.unjudged > UNJUDGED_SHARE * total:
        yield Caution(
            slug="unjudged-rows",
            title="Many rows have no verdict",
            text=f"{analysis.unjudged:,} of {counted(total, 'row')} "
            f"({percent(analysis.unjudged / total)}) could not be judged. If they "
            "differ from the others, the numbers here do not show it.",
        )
    known = analysis.reward_filter
    if known is not None:
        yield Caution(
            slug="range-restriction",
            title="Only rows above the reward filter",
            text=f"Rows with a reward of {known.min_reward:g} or less ({known.dropped:,}) were not "
            "judged. What tells good rows from bad ones may vanish among the good ones, so a "
            "correlation with reward here does not carry over to all rollouts.",
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


def _about_p(analysis: Analysis) -> Iterator[Caution]:
    """Call negligible what is negligible, whatever its p-value."""
    pairs = [
        f"{found.a} – {found.b} ({found.method.capitalize()} r = {signed(found.r)})"
        for found in analysis.correlations
        if found.r is not None
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
