"""All that a dataset card says, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelsift.report.verified import Verdicts

TAGS = ("triton", "gpu-kernels", "code", "kernelsift")


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """Rows that left at one stage for one reason, or (last) were kept."""

    stage: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class ColumnNote:
    """One column of the published files."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class CardJudge:
    """Who gave the scores, and what it cost."""

    asked: str
    """The model asked for, or `static`."""
    answered: Mapping[str, int]
    """Model that the service says has answered -> rows."""
    prompt_version: str
    judged: int
    failures: Mapping[str, int]
    """Failure class -> rows that have no rating."""
    usd: float


@dataclass(frozen=True, slots=True)
class CardVerify:
    """How the kernels were run, by what policy rows were dropped, and what was found."""

    settings: Mapping[str, object]
    policy: Mapping[str, object]
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class Results:
    """What a stage that compares rows came to, with the settings that it rests on."""

    settings: Mapping[str, object]
    counts: tuple[tuple[str, str, int], ...]
    """What, which, how many."""
    notes: tuple[str, ...] = ()
    """Sentences."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How the values of one numeric column are spread over the published rows."""

    column: str
    rows: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows came from."""

    name: str
    revision: str
    """Commit, digest or date; empty when the source has none."""
    licence: str
    """As the user gave it; empty when it was not given: it is never guessed."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of the dataset."""

    name: str
    path: str
    """The files of the split inside the repository, as a path or glob."""
    rows: int
    modules: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture beside the card."""

    path: str
    """Relative to the card."""
    alt: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that a card says. Text may hold anything: the renderer escapes it."""

    repo_id: str
    pretty_name: str
    summary: str
    """One paragraph: what the rows are."""
    input_rows: int
    funnel: tuple[FunnelStep, ...]
    columns: tuple[ColumnNote, ...]
    sources: tuple[Source, ...]
    splits: tuple[Split, ...]
    split_rule: str
    """The sentences that say how rows were assigned, and what that prevents."""
    commands: tuple[str, ...]
    """The exact commands that made the dataset, in order."""
    versions: Mapping[str, str]
    """Package name to version."""
    leaks: tuple[tuple[str, int], ...] = ()
    """What a split by row would have put on both sides -> rows."""
    judge: CardJudge | None = None
    """None when the rows were not judged."""
    verify: CardVerify | None = None
    """None when the kernels were not run."""
    duplicates: Results | None = None
    """None when no duplicates were dropped."""
    contamination: Results | None = None
    """None when the rows were not compared with benchmarks."""
    spreads: tuple[Spread, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By section: `funnel`, `scores`."""
    row_licences: Mapping[str, int] = field(default_factory=dict)
    """Licence that the rows themselves name (`info.license`) -> rows."""
    licence: str | None = None
    """A Hub licence identifier as the user gave it; None leaves it out: it is never guessed."""
    manifest: str | None = None
    """Path of the manifest beside the card."""
    tags: tuple[str, ...] = TAGS
    config: str = "default"

    @property
    def rows(self) -> int:
        """Rows in all splits together."""
        return sum(split.rows for split in self.splits)
