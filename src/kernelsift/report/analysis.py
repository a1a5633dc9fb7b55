"""The analysis of one run's judgements: analysis.json (see schema.py); analysis.md in words.py."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kernelsift.report.adjusted import benjamini_hochberg, holm
from kernelsift.report.cautions import cautions_of
from kernelsift.report.correction import corrections
from kernelsift.report.full_range import full_range
from kernelsift.report.partials import Partial, partials
from kernelsift.report.schema import Analysis, Caution, JudgedBy, RewardFilter
from kernelsift.report.stats import (
    RESAMPLES,
    Correlation,
    Scored,
    column,
    correlations,
    groups_by,
    ordered,
    score_spread,
    spread_of,
)
from kernelsift.report.words import render_markdown

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

    Rows marked `rejected` are in `full_range` alone; every other number is about passed rows, which
    count alike whatever their weight.

    Raises DataError if a reward is not finite or a score is outside 0-10.
    """
    every = ordered(rows)
    known = tuple(row for row in every if not row.rejected)
    sizes = Counter(row.module for row in known)
    found = correlations(known, seed=seed, resamples=resamples)
    whole = full_range(every, seed=seed, resamples=resamples)
    shape = None if reward_filter is None or whole is not None else reward_filter.rewards
    draft = Analysis(
        judge=judge,
        judged=len(known),
        missing={name: count for name, count in sorted(missing.items()) if count},
        reward_filter=reward_filter,
        modules=len(sizes),
        largest_module=max(sizes.values(), default=0),
        seed=seed,
        resamples=resamples,
        correlations=found,
        partials=partials(known, seed=seed, resamples=resamples),
        full_range=whole,
        corrections=() if shape is None else corrections(known, found, shape),
        difficulty=score_spread(column(known, "difficulty")),
        style=score_spread(column(known, "style")),
        reward=spread_of(column(known, "reward")),
        by_difficulty=groups_by(known, "difficulty"),
        by_style=groups_by(known, "style"),
        cautions=(),
    )
    draft = _adjusted(draft)
    return draft.model_copy(update={"cautions": cautions_of(draft)})


def _adjusted(draft: Analysis) -> Analysis:
    """Adjust every p-value for the number of all."""
    tested = list(_tested(draft))
    p_values = [one.p for one in tested if one.p is not None]
    pairs = zip(holm(p_values), benjamini_hochberg(p_values), strict=True)
    adjusted = {id(one): pair for one, pair in zip(tested, pairs, strict=True)}

    def correlation(one: Correlation) -> Correlation:
        pair = adjusted.get(id(one))
        return one.model_copy(update={"p_holm": pair[0], "p_bh": pair[1]}) if pair else one

    def partial(one: Partial) -> Partial:
        pair = adjusted.get(id(one))
        return one.model_copy(update={"p_holm": pair[0], "p_bh": pair[1]}) if pair else one

    update: dict[str, object] = {
        "hypotheses": len(tested),
        "correlations": tuple(map(correlation, draft.correlations)),
        "partials": draft.partials.model_copy(
            update={"correlations": tuple(map(partial, draft.partials.correlations))}
        ),
    }
    whole = draft.full_range
    if whole is not None:
        found = tuple(map(correlation, whole.correlations))
        update["full_range"] = whole.model_copy(update={"correlations": found})
    return draft.model_copy(update=update)


def _tested(draft: Analysis) -> Iterator[Correlation | Partial]:
    """Yield everything that has a p-value, in the order of the file."""
    whole = () if draft.full_range is None else draft.full_range.correlations
    yield from (one for one in draft.correlations if one.p is not None)
    yield from (one for one in draft.partials.correlations if one.p is not None)
    yield from (one for one in whole if one.p is not None)
