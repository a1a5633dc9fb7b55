"""reliability.json and probes.json: what `kernelsift reliability` and `kernelsift probes` write."""

from collections.abc import Mapping
from typing import Literal

from kernelsift.model import Frozen
from kernelsift.reliability.outcome import Measure
from kernelsift.report.stats import Interval, ScoreSpread

Score = Literal["difficulty", "style"]
SCORES: tuple[Score, ...] = ("difficulty", "style")


class Coverage(Frozen):
    """How many rows have scores, and what kept the others from having them."""

    rows: int
    """Rows that were to be judged."""
    scored: int
    failed: Mapping[str, int]
    """Rows per failure class of the answer that stands."""
    pending: int
    attempts: int
    """Measurements stored by the stage judge, those of other judges and settings included."""
    attempts_failed: Mapping[str, int]
    """Failed ones among them per class; a later attempt may have mended it."""


class Group(Frozen):
    """Agreement of some raters about one score."""

    raters: tuple[str, ...]
    measures: tuple[Measure, ...]
    of_mean: float | None = None
    """Reliability of the mean of all raters, from ICC(A,1) by the Spearman-Brown formula."""
    difference: Measure | None = None
    """Mean of the first rater's scores less the second's; only of two."""


class Within(Frozen):
    """Difficulty of different answers to the same normalised module, which must be the same."""

    measure: Measure
    repeated: int
    """Modules with two judged answers or more."""
    agreeing: int
    """Those whose answers all have the same difficulty."""
    by_construction: bool
    """True where the judge sees the module alone: then agreement says nothing."""


class Ties(Frozen):
    """The largest rank correlation that a score can have with anything, given its ties."""

    spearman: float | None = None
    kendall: float | None = None
    why: str | None = None


class ScoreReliability(Frozen):
    """What is known of one score of one judge's rows."""

    score: Score
    levels: ScoreSpread
    ties: Ties
    retest: tuple[Group, ...]
    """One group per judge that judged the same items several times."""
    between: Group | None = None
    """All judges, each by the mean of its scores; None with fewer than two."""
    pairs: tuple[Group, ...] = ()
    within: Within | None = None
    """Of difficulty alone."""


class Drift(Frozen):
    """Scores of a canary set now, against those expected."""

    score: Score
    judge: str
    items: int
    shift: Measure
    """Mean of the scores now less those expected."""
    moved: float | None = None
    """Share of the items that moved by more than the tolerance."""
    agreement: tuple[Measure, ...]


class BlockRow(Frozen):
    """Judge scores that stand for the same human score."""

    low: float
    high: float
    human: float
    items: int


class Powered(Frozen):
    """The mean human score of all judged rows (PPI++), beside simpler means."""

    value: float
    ci: Interval
    trust: float
    """λ: 0 ignores the judge, 1 uses it fully."""
    labels_only: float
    labels_only_ci: Interval
    judge_only: float
    labelled: int
    unlabelled: int


class Validity(Frozen):
    """One score of the judge against human labels."""

    score: Score
    labelled: int
    """Rows with a label and a score."""
    without_score: int
    """Rows with a label and no score."""
    humans: Group | None = None
    """Human raters among each other: the most one can expect of a judge."""
    measures: tuple[Measure, ...]
    shift: Measure
    """Mean of the judge's scores less the human ones."""
    exact: float | None = None
    """Share of rows with the same level."""
    near: float | None = None
    """Share of rows at most one level apart."""
    calibration: tuple[BlockRow, ...]
    calibration_why: str | None = None
    """Why there is no calibration."""
    error: float | None = None
    """Mean absolute error of the judge's scores as they are."""
    error_calibrated: float | None = None
    """The same after calibration on other modules; None with too few modules."""
    mean: Powered | None = None
    mean_why: str | None = None
    """Why there is no corrected mean."""


class Reliability(Frozen):
    """reliability.json."""

    schema_version: Literal[1] = 1
    judge: str
    prompt_version: str
    coverage: Coverage
    scores: tuple[ScoreReliability, ...]
    drift: tuple[Drift, ...] = ()
    validity: tuple[Validity, ...] = ()
    cautions: tuple[str, ...]
    """What a reader must know before any number, most important first."""
    resamples: int
    seed: int


class Violation(Frozen):
    """A row that a probe moved in a way it must not."""

    id: str
    origin: str
    module: str
    score: Score
    before: float
    after: float


class ProbeResult(Frozen):
    """What one probe did to one judge's scores."""

    probe: str
    what: str
    style_expects: Literal["lower", "same"]
    """What a sound judge's style does; difficulty is always to stay."""
    rows: int
    """Rows that were changed and judged before and after."""
    not_applicable: int
    """Rows that offered nothing to change."""
    unjudged: Mapping[str, int]
    """Rows without a score before or after, per failure class."""
    style_shift: Measure
    style_right: Measure
    """Share of rows whose style did what it should."""
    style_wrong_way: float | None = None
    """Share whose style rose although it should fall; for `same`: share that rose at all."""
    difficulty_shift: Measure
    difficulty_right: Measure
    violations: tuple[Violation, ...]
    """The worst first."""


class Probes(Frozen):
    """probes.json: one block per judge."""

    schema_version: Literal[1] = 1
    rows: int
    """Rows that were drawn."""
    drop: float
    """Points by which style must fall where it should."""
    tolerance: float
    """Points that a score may move where it should stay."""
    judges: Mapping[str, tuple[ProbeResult, ...]]
    usd: float
    resamples: int
    seed: int
