"""The dataset card: README.md of a published dataset, with the front matter that the Hub reads."""

from kernelsift.errors import DataError
from kernelsift.privacy import no_telemetry
from kernelsift.report import card_sections as sections
from kernelsift.report.card_facts import CardFacts
from kernelsift.report.markdown import one_line, plain

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def render_card(facts: CardFacts) -> str:
    """Return the card: YAML front matter between lines of `---`, then Markdown.

    Raises DataError if the funnel does not account for every input row.
    """
    accounted = sum(step.rows for step in facts.funnel)
    if accounted != facts.input_rows:
        raise DataError(
            f"the funnel accounts for {accounted:,} rows, but the input has {facts.input_rows:,}"
        )
    parts = [f"---\n{front_matter(facts)}\n---", f"# {plain(facts.pretty_name)}"]
    parts.append(plain(facts.summary))
    for title, section in sections.SECTIONS:
        text = section(facts)
        if text:
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def front_matter(facts: CardFacts) -> str:
    """Return the YAML that the Hub reads. A split without rows has no file and is left out.

    Types of columns are not repeated here: parquet files hold them, and what reads a dataset
    (the viewer, `datasets`) takes them from there.
    """
    no_telemetry()
    from huggingface_hub import DatasetCardData

    files = [{"split": split.name, "path": split.path} for split in facts.splits if split.rows]
    known: dict[str, object] = {"license": one_line(facts.licence)} if facts.licence else {}
    if files:
        known["configs"] = [{"config_name": facts.config, "data_files": files}]
    return DatasetCardData(
        pretty_name=one_line(facts.pretty_name),
        size_categories=[size_category(facts.rows)],
        task_categories=["text-generation"],
        tags=list(dict.fromkeys(map(one_line, facts.tags))),
        **known,  # type: ignore[arg-type]  # what is absent must be left out
    ).to_yaml(line_break="\n")


def size_category(rows: int) -> str:
    """Return the Hub's size category."""
    return next((name for limit, name in SIZES if rows < limit), "10M<n<100M")
