"""The dataset card: README.md of a published dataset, with the front matter that the Hub reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kernelsift.errors import DataError
from kernelsift.privacy import no_telemetry
from kernelsift.report.markdown import code, fenced, one_line, plain, table
from kernelsift.report.stats import counted, percent
from kernelsift.report.verified import Verdicts

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
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

    model: str
    prompt_version: str
    judged: int
    usd: float


@dataclass(frozen=True, slots=True)
class CardVerify:
    """How the kernels were run, by what policy rows were dropped, and what was found."""

    settings: Mapping[str, object]
    policy: Mapping[str, object]
    verdicts: Verdicts


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows came from."""

    name: str
    revision: str
    """Commit, digest or date; empty when the source has none."""
    licence_note: str
    """What is known of its licence; empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of the dataset."""

    name: str
    path: str
    """The files of the split inside the repository, as a path or glob."""
    rows: int
    modules: int


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
    split_seed: int
    validation: float
    """Share of modules meant for validation."""
    command: str
    """The exact command that made the dataset."""
    versions: Mapping[str, str]
    """Package name to version."""
    judge: CardJudge | None = None
    """None when the rows were not judged."""
    verify: CardVerify | None = None
    """None when the kernels were not run."""
    licence: str | None = None
    """A Hub licence identifier as the user gave it; None leaves it out: it is never guessed."""
    tags: tuple[str, ...] = TAGS
    config: str = "default"

    @property
    def rows(self) -> int:
        """Rows in all splits together."""
        return sum(split.rows for split in self.splits)


def render_card(facts: CardFacts) -> str:
    """Return the card: YAML front matter between lines of `---`, then Markdown.

    Raises DataError if the funnel does not account for every input row.
    """
    accounted = sum(step.rows for step in facts.funnel)
    if accounted != facts.input_rows:
        raise DataError(
            f"the funnel accounts for {accounted:,} rows, but the input has {facts.input_rows:,}"
        )
    parts = [
        f"---\n{front_matter(facts)}\n---",
        f"# {plain(facts.pretty_name)}",
        plain(facts.summary),
        "## Load it",
        fenced(_loading(facts), "python"),
        "## Where the rows went",
        _funnel(facts),
        "## Columns",
        table(
            ("column", "type", "meaning"),
            [(code(one.name), code(one.type), plain(one.meaning)) for one in facts.columns],
        ),
        "## Verification",
        _verify(facts.verify),
        "## Judge",
        _judge(facts.judge),
        "## Splits",
        _splits(facts),
        "## Sources and licence",
        _sources(facts),
        "## How it was made",
        fenced(facts.command, "bash"),
        table(
            ("package", "version"),
            [(code(name), code(version)) for name, version in sorted(facts.versions.items())],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(facts: CardFacts) -> str:
    """Return the YAML that the Hub reads. A split without rows has no file and is left out."""
    no_telemetry()
    from huggingface_hub import DatasetCardData

    files = [{"split": split.name, "path": split.path} for split in facts.splits if split.rows]
    known: dict[str, object] = {"license": one_line(facts.licence)} if facts.licence else {}
    if files:
        known["configs"] = [{"config_name": facts.config, "data_files": files}]
    return DatasetCardData(
        pretty_name=one_line(facts.pretty_name),
        size_categories=[size_category(facts.rows)],
        tags=list(dict.fromkeys(map(one_line, facts.tags))),
        **known,  # type: ignore[arg-type]  # what is absent must be left out
    ).to_yaml(line_break="\n")


def size_category(rows: int) -> str:
    """Return the Hub's size category."""
    return next((name for limit, name in SIZES if rows < limit), "10M<n<100M")


def _loading(facts: CardFacts) -> str:
    """Return Python that loads the dataset."""
    lines = ["from datasets import load_dataset", ""]
    lines.append(f"dataset = load_dataset({json.dumps(facts.repo_id)})")
    present = [split.name for split in facts.splits if split.rows]
    if present:
        lines.append(f"row = dataset[{json.dumps(present[0])}][0]")
    return "\n".join(lines)


def _funnel(facts: CardFacts) -> str:
    """Return one line per stage and reason; each row of the input is in exactly one of them."""
    lines = [
        (plain(step.stage), plain(step.reason), f"{step.rows:,}", _share(step.rows, facts))
        for step in facts.funnel
    ]
    lines.append(("**all**", "", f"**{facts.input_rows:,}**", _share(facts.input_rows, facts)))
    text = table(("stage", "reason", "rows", "of input"), lines, right=2)
    return f"Every one of the {facts.input_rows:,} input rows is in exactly one line.\n\n{text}"


def _share(rows: int, facts: CardFacts) -> str:
    """Return the share of the input."""
    return percent(rows / facts.input_rows) if facts.input_rows else "–"


def _verify(verify: CardVerify | None) -> str:
    """Say what running the kernels showed, with the settings that it rests on."""
    if verify is None:
        return "The kernels were not run: correctness is as the source's reward has it."
    seen = verify.verdicts
    rows = [
        *(("outcome", plain(name), f"{n:,}") for name, n in seen.outcomes.most_common()),
        *(("unverifiable", plain(name), f"{n:,}") for name, n in seen.unverifiable.most_common()),
        *(("work", plain(name), f"{n:,}") for name, n in seen.work.most_common()),
        *(("finding", plain(f"{i} {name} ({why})"), f"{n:,}") for i, name, why, n in seen.top()),
    ]
    said = (
        f"The kernels of {counted(seen.rows, 'row')} that passed the reward filter were run by "
        "kernelsift against their PyTorch module, in a sandbox. A row may have several findings; "
        "the commonest are listed."
    )
    settings = [(code(k), code(_shown(v))) for k, v in (*verify.settings.items(),
                                                       *verify.policy.items())]  # fmt: skip
    return "\n\n".join([
        said,
        table(("what", "which", "rows"), rows, right=2),
        table(("setting", "value"), settings),
    ])


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _judge(judge: CardJudge | None) -> str:
    """Say who gave the scores and what that cost."""
    if judge is None:
        return "The rows were not judged."
    if judge.model == "static":
        return (
            f"`static`, version {code(judge.prompt_version)}, rated "
            f"{counted(judge.judged, 'row')}: the ratings come from static features of the code, "
            "not from a language model."
        )
    rate = f" ({1000 * judge.usd / judge.judged:.2f} USD per 1,000 rows)" if judge.judged else ""
    return (
        f"{code(judge.model)} with prompt version {code(judge.prompt_version)} rated "
        f"{counted(judge.judged, 'row')} for {judge.usd:,.2f} USD{rate}, answers without a usable "
        "verdict included. The ratings are opinions of a model, not measurements."
    )


def _splits(facts: CardFacts) -> str:
    """Return the splits, and the rule that made them."""
    lines = [
        (
            code(split.name),
            code(split.path),
            f"{split.rows:,}",
            percent(split.rows / facts.rows) if facts.rows else "–",
            f"{split.modules:,}",
        )
        for split in facts.splits
    ]
    text = table(("split", "files", "rows", "share", "modules"), lines, right=3)
    rule = (
        f"Whole modules were assigned at random, about {percent(1 - facts.validation)} to training "
        f"and {percent(facts.validation)} to validation (seed {facts.split_seed}): "
        "no module is on both sides."
    )
    return f"{rule}\n\n{text}"


def _sources(facts: CardFacts) -> str:
    """Return the sources, and the licence that the publisher chose."""
    lines = [
        (code(one.name), code(one.revision) or "–", plain(one.licence_note) or "not known")
        for one in facts.sources
    ]
    text = table(("source", "revision", "licence note"), lines)
    chosen = (
        f"The publisher released this dataset under {code(facts.licence)}."
        if facts.licence
        else "The publisher named no licence for this dataset."
    )
    return f"{text}\n\n{chosen} Each row also keeps the terms of its source."
