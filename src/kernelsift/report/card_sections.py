"""The sections of a dataset card, in order. Each is a function from the facts to Markdown."""

import json
from collections.abc import Callable, Mapping

from kernelsift.report.card_facts import CardFacts, Results
from kernelsift.report.markdown import code, fenced, one_line, plain, table
from kernelsift.report.stats import counted, percent

HUB = "https://huggingface.co"


def loading(facts: CardFacts) -> str:
    """Python that loads the dataset."""
    lines = ["from datasets import load_dataset", ""]
    lines.append(f"dataset = load_dataset({json.dumps(facts.repo_id)})")
    present = [split.name for split in facts.splits if split.rows]
    if present:
        lines.append(f"row = dataset[{json.dumps(present[0])}][0]")
    return fenced("\n".join(lines), "python")


def funnel(facts: CardFacts) -> str:
    """One line per stage and reason; each row of the input is in exactly one of them."""
    lines = [
        (plain(step.stage), plain(step.reason), f"{step.rows:,}", _share(step.rows, facts))
        for step in facts.funnel
    ]
    lines.append(("**all**", "", f"**{facts.input_rows:,}**", _share(facts.input_rows, facts)))
    text = table(("stage", "reason", "rows", "of input"), lines, right=2)
    said = f"Every one of the {facts.input_rows:,} input rows is in exactly one line."
    return _joined(said, _figure(facts, "funnel"), text)


def columns(facts: CardFacts) -> str:
    """Every column with its type and meaning."""
    return table(
        ("column", "type", "meaning"),
        [(code(one.name), code(one.type), plain(one.meaning)) for one in facts.columns],
    )


def scores(facts: CardFacts) -> str:
    """How reward, difficulty and style are spread over the published rows."""
    if not facts.spreads:
        return ""
    lines = [
        (code(one.column), f"{one.rows:,}", *(f"{value:.4g}" for value in (
            one.low, one.quarter, one.median, one.three_quarters, one.high)))
        for one in facts.spreads
    ]  # fmt: skip
    text = table(("column", "rows", "least", "25 %", "median", "75 %", "most"), lines, right=6)
    return _joined("Of the published rows, all splits together.", _figure(facts, "scores"), text)


def verification(facts: CardFacts) -> str:
    """What running the kernels showed, with the settings that it rests on."""
    verify = facts.verify
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
    return _joined(
        said,
        table(("what", "which", "rows"), rows, right=2),
        _settings({**verify.settings, **verify.policy}),
    )


def judge(facts: CardFacts) -> str:
    """Who gave the scores, who answered, what failed and what that cost."""
    found = facts.judge
    if found is None:
        return "The rows were not judged."
    rated = counted(found.judged, "row")
    failed = sum(found.failures.values())
    classes = ", ".join(f"{plain(name)} {n:,}" for name, n in found.failures.items())
    without = f"{counted(failed, 'row')} got no rating: {classes}." if failed else ""
    if found.asked == "static":
        said = (
            f"`static`, version {code(found.prompt_version)}, rated {rated}: the ratings come "
            "from static features of the code, not from a language model."
        )
        return " ".join(filter(None, (said, without)))
    rate = f" ({1000 * found.usd / found.judged:.2f} USD per 1,000 rows)" if found.judged else ""
    said = (
        f"{code(found.asked)} with prompt version {code(found.prompt_version)} rated "
        f"{rated} for {found.usd:,.2f} USD{rate}, answers without a usable "
        "verdict included. The ratings are opinions of a model, not measurements."
    )
    answered = ", ".join(f"{code(name)} {n:,}" for name, n in found.answered.items())
    by = f"As the service names them, these models answered: {answered}." if answered else ""
    return " ".join(filter(None, (said, by, without)))


def duplicates(facts: CardFacts) -> str:
    """What was dropped as a repeat, and of what."""
    if facts.duplicates is None:
        return "Duplicates were not dropped from these rows."
    return _results(facts.duplicates)


def contamination(facts: CardFacts) -> str:
    """What was found of the benchmarks that models are scored on."""
    if facts.contamination is None:
        return (
            "These rows were not compared with any benchmark: they may hold problems that models "
            "are scored on."
        )
    return _results(facts.contamination)


def splits(facts: CardFacts) -> str:
    """The splits, the rule that made them, and what a split by row would have leaked."""
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
    leaks = [(plain(what), f"{rows:,}") for what, rows in facts.leaks]
    more = table(("by row, alike in", "rows"), leaks, right=1) if leaks else ""
    return _joined(plain(facts.split_rule), text, more)


def sources(facts: CardFacts) -> str:
    """The sources with their licences, and the licence that the publisher chose."""
    lines = [
        (code(one.name), code(one.revision) or "–", plain(one.licence) or "**not given**")
        for one in facts.sources
    ]
    text = table(("source", "revision", "licence"), lines)
    chosen = (
        f"The publisher released this dataset under {code(facts.licence)}."
        if facts.licence
        else "The publisher named no licence for this dataset."
    )
    named = ", ".join(f"{code(name)} {n:,}" for name, n in facts.row_licences.items())
    rows = f" Rows name their own licence in `info.license`: {named}." if named else ""
    said = (
        "Licences of sources are as the publisher gave them; kernelsift guesses none. "
        f"{chosen} Each row also keeps the terms of its source.{rows}"
    )
    return _joined(text, said)


def making(facts: CardFacts) -> str:
    """The exact commands, the manifest, the versions, and the description for machines."""
    more = []
    if facts.manifest:
        more.append(
            f"[{facts.manifest}]({facts.manifest}) holds the settings and version of every stage, "
            "the counts, and the SHA-256 of every file."
        )
    more.append(
        f"[Croissant metadata]({HUB}/api/datasets/{facts.repo_id}/croissant) is made by the Hub "
        "from the parquet files and this card, and follows every commit; there is none while the "
        "Hub's viewer does not serve the dataset, as for private ones without a paid plan."
    )
    versions = table(
        ("package", "version"),
        [(code(name), code(version)) for name, version in sorted(facts.versions.items())],
    )
    return _joined(fenced("\n".join(facts.commands), "bash"), " ".join(more), versions)


SECTIONS: tuple[tuple[str, Callable[[CardFacts], str]], ...] = (
    ("Load it", loading),
    ("Where the rows went", funnel),
    ("Columns", columns),
    ("Scores", scores),
    ("Verification", verification),
    ("Judge", judge),
    ("Duplicates", duplicates),
    ("Benchmark contamination", contamination),
    ("Splits", splits),
    ("Sources and licences", sources),
    ("How it was made", making),
)
"""Titles and contents in order; a section without text is left out."""


def _results(found: Results) -> str:
    rows = [(plain(what), plain(which), f"{n:,}") for what, which, n in found.counts]
    counts = table(("what", "which", "number"), rows, right=1) if rows else ""
    return _joined(" ".join(map(plain, found.notes)), counts, _settings(found.settings))


def _settings(settings: Mapping[str, object]) -> str:
    rows = [(code(name), code(_shown(value)) or "–") for name, value in settings.items()]
    return table(("setting", "value"), rows) if rows else ""


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(v)}" for name, v in value.items()) or "none"
    return str(value)


def _figure(facts: CardFacts, section: str) -> str:
    found = facts.figures.get(section)
    return f"![{plain(found.alt)}]({one_line(found.path)})" if found else ""


def _share(rows: int, facts: CardFacts) -> str:
    """Return the share of the input."""
    return percent(rows / facts.input_rows) if facts.input_rows else "–"


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
