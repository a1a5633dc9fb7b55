"""The content of analysis.json, field by field.

`schema_version` grows when a field changes its meaning or goes. Numbers are finite or null. Read a
file back with `Analysis.model_validate_json(text)`.
"""

from typing import Literal

from kernelsift.model import Frozen
from kernelsift.report.stats import Correlation, Group, ScoreSpread, Spread

Slug = Literal[
    "static-judge",
    "few-rows",
    "unjudged-rows",
    "range-restriction",
    "floor-effect",
    "narrow-scale",
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


class RewardFilter(Frozen):
    """The reward filter that the rows had passed before they were judged."""

    min_reward: float
    dropped: int
    """Rows dropped by it."""


class Analysis(Frozen):
    """The content of analysis.json. It depends on the set of rows, not on their order."""

    schema_version: Literal[1] = 1
    judge: JudgedBy
    judged: int
    """Rows with a verdict; every number below is about these."""
    missing: dict[str, int]
    """Rows without a verdict, by failure class; in no number below."""
    reward_filter: RewardFilter | None
    """None when it is not known."""
    modules: int
    largest_module: int
    """Rows of the module that has most of them."""
    seed: int
    resamples: int
    """Draws of modules behind each `cluster_ci`."""
    correlations: tuple[Correlation, ...]
    """Three pairs, Pearson and Spearman each."""
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
