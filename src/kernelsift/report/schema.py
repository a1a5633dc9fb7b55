"""The content of analysis.json, field by field.

`schema_version` grows when a field changes its meaning or goes. Numbers are finite or null. Read a
file back with `Analysis.model_validate_json(text)`. docs/analysis.md has every field.
"""

from typing import Literal

from kernelsift.model import Frozen
from kernelsift.report.correction import RangeCorrection, RewardShape
from kernelsift.report.full_range import FullRange
from kernelsift.report.partials import Partials
from kernelsift.report.stats import Correlation, Group, ScoreSpread, Spread

Slug = Literal[
    "static-judge",
    "few-rows",
    "unjudged-rows",
    "range-restriction",
    "few-rejected",
    "unjudged-rejected",
    "floor-effect",
    "narrow-scale",
    "tied-ranks",
    "confounded",
    "flat-reward",
    "shared-modules",
    "negligible-but-significant",
]


class Caution(Frozen):
    """One warning, in plain words."""

    slug: Slug
    title: str
    text: str


class JudgedBy(Frozen):
    """Who gave the scores."""

    judge: str
    """The model asked for, or `static`."""
    prompt_version: str
    """Name and digest of the instrument, e.g. `original-1:9f2c…`."""
    returned_models: tuple[str, ...] = ()
    """What the service said had answered."""
    unread_difficulty: int = 0
    """Rows it was asked about and whose answer has no readable difficulty (or that got none)."""
    unread_style: int = 0
    """The same for style. An answer that has one and not the other is no verdict."""


class RewardFilter(Frozen):
    """The reward filter that the rows had passed before they were judged."""

    min_reward: float
    dropped: int
    """Rows dropped by it."""
    drawn: int = 0
    """Of these, rows drawn to be judged all the same (`judge --also-rejected`)."""
    rewards: RewardShape | None = None
    """The rewards of all rows loaded; None when they are not known."""


class Analysis(Frozen):
    """The content of analysis.json. It depends on the set of rows, not on their order."""

    schema_version: Literal[2] = 2
    judge: JudgedBy
    judged: int
    """Passed rows with a verdict; every number but those of `full_range` is about these."""
    missing: dict[str, int]
    """Passed rows without a verdict, by failure class; in no number below."""
    reward_filter: RewardFilter | None
    """None when it is not known."""
    modules: int
    largest_module: int
    """Rows of the module that has most of them."""
    seed: int
    resamples: int
    """Draws of modules behind each `cluster_ci`."""
    correlations: tuple[Correlation, ...]
    """Three pairs, Pearson, Spearman and Kendall each."""
    partials: Partials = Partials()
    """The pairs with lengths and operation class held constant."""
    full_range: FullRange | None = None
    """What holds for all rows; None where no rejected row was judged."""
    corrections: tuple[RangeCorrection, ...] = ()
    """Model-based, for passed rows; empty where the filter is not known, or `full_range` is."""
    hypotheses: int = 0
    """p-values in this file; `p_holm` and `p_bh` are adjusted for so many."""
    difficulty: ScoreSpread
    style: ScoreSpread
    reward: Spread
    by_difficulty: tuple[Group, ...]
    by_style: tuple[Group, ...]
    cautions: tuple[Caution, ...]
    """What a reader should know before quoting a number."""

    @property
    def unjudged(self) -> int:
        """Rows without a verdict."""
        return sum(self.missing.values())

    def correlation(self, a: str, b: str, method: str = "pearson") -> Correlation:
        """Return one correlation; KeyError if the pair is not one of PAIRS."""
        for found in self.correlations:
            if (found.a, found.b, found.method) == (a, b, method):
                return found
        raise KeyError((a, b, method))
