"""What stands on the page, as plain values. Text may hold anything: drawing escapes it."""

from dataclasses import dataclass

from kernelsift.report.card_facts import FunnelStep
from kernelsift.report.health_tables import Table
from kernelsift.report.stats import Group


@dataclass(frozen=True, slots=True)
class Caution:
    """What to know before quoting a number."""

    title: str
    """Empty where the text says it all."""
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram."""

    label: str
    """What its rows have in common, e.g. `level 3`."""
    rows: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    """Share of the axis, 0 to 1."""
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the rows are spread over one quantity."""

    title: str
    axis: str
    """Name and range of the quantity."""
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    facts: tuple[tuple[str, str], ...]
    """Names and values of what is known of all rows."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One estimate with its 95 % interval; without a value, `note` says why."""

    group: str
    label: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str


@dataclass(frozen=True, slots=True)
class Cell:
    """The rows of one difficulty and one style."""

    difficulty: int
    style: int
    rows: int
    reward: float
    """Their mean."""


@dataclass(frozen=True, slots=True)
class Point:
    """One row of the scatter."""

    id: str
    module: str
    difficulty: float
    style: float
    reward: float
    listed: bool
    """Whether it is among the disagreements."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """Rows by score and reward: all of them, or some that were drawn by digest."""

    points: tuple[Point, ...]
    rows: int
    """Rows that the points were drawn from."""
    low: float
    high: float
    """Ends of the reward axis."""
    outside: int
    """Rows beyond it; no points."""
    by_difficulty: tuple[Group, ...]
    by_style: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one judge, or a person, gave a row. None: not asked for that score."""

    who: str
    difficulty: float | None
    style: float | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row that opinions differ about."""

    id: str
    module: str
    origin: str
    reward: float
    gap: str
    """How far they are apart, in words."""
    opinions: tuple[Opinion, ...]
    words: str
    """What the judge said."""
    code: str


@dataclass(frozen=True, slots=True)
class Disagreements:
    """The rows that differ most by one rule."""

    title: str
    rule: str
    rows: tuple[Disagreement, ...]
    none: str
    """What to say where there are none."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known of the judge's reliability."""

    tables: tuple[Table, ...]
    cautions: tuple[str, ...]
    note: str
    """Where the numbers come from, and what else could be measured."""


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one model was paid for one stage."""

    stage: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    usd: float
    unpriced: int
    """Requests whose price is not known; they are not in `usd`."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Requests of one stage without a usable answer that may have been billed."""

    stage: str
    requests: int
    usd: float
    """Known to have been billed."""
    at_risk: float
    """USD at most, for those that nobody knows about."""
    unpriced: int
    """Requests for which not even that is known."""


@dataclass(frozen=True, slots=True)
class Cost:
    """All that the run directory has ever cost."""

    rows: tuple[CostRow, ...] = ()
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the page says of the run beside its analysis."""

    name: str
    facts: tuple[tuple[str, str], ...]
    """Where the rows come from, and when each stage ran."""
    funnel: tuple[FunnelStep, ...]
    trust: Trust
    cost: Cost
    disagreements: tuple[Disagreements, ...]


@dataclass(frozen=True, slots=True)
class PageData:
    """The whole page."""

    title: str
    facts: tuple[tuple[str, str], ...]
    cautions: tuple[Caution, ...]
    funnel: tuple[FunnelStep, ...]
    histograms: tuple[Histogram, ...]
    forest: tuple[ForestRow, ...]
    forest_note: str
    numbers: Table
    """All correlations with both intervals."""
    cells: tuple[Cell, ...]
    scatter: Scatter
    groups: tuple[Table, ...]
    trust: Trust
    cost: Cost
    disagreements: tuple[Disagreements, ...]
