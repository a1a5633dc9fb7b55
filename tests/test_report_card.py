"""The dataset card: its front matter, its tables, and what it refuses to say."""

import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift.errors import DataError
from kernelsift.report.card import render_card, size_category
from kernelsift.report.card_facts import (
    CardFacts,
    CardJudge,
    ColumnNote,
    Figure,
    FunnelStep,
    Results,
    Source,
    Split,
    Spread,
)
from kernelsift.report.markdown import code, fenced, plain

FACTS = CardFacts(
    repo_id="someone/kernels",
    pretty_name="Sifted kernels",
    summary="Triton kernels that passed.",
    input_rows=18_162,
    funnel=(FunnelStep("filter", "low-reward", 10_981), FunnelStep("export", "kept", 7181)),
    columns=(ColumnNote("style", "int64", "style of the code, 0-10"),),
    sources=(Source("someone/rollouts", "1576375b", "MIT at this revision"),),
    splits=(
        Split("train", "data/train-*.parquet", 6463, 2670),
        Split("validation", "data/validation-*.parquet", 718, 297),
    ),
    split_rule="Clusters were assigned whole (seed 42).",
    commands=("kernelsift load rows.jsonl", "kernelsift publish --name kernels"),
    versions={"kernelsift": "0.1.0", "numpy": "2.4.6"},
    judge=CardJudge(
        "openai/gpt-5.2", {"gpt-5.2-2026-01-02": 7181}, "original-1:9f2c", 7181, {}, 35.8
    ),
    licence="mit",
)
UNESCAPED_PIPE = re.compile(r"(?<!\\)(?:\\\\)*\|")
words = st.text(max_size=30)


def front(card):
    """The parsed front matter."""
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def test_the_front_matter_has_the_keys_that_the_hub_reads():
    assert front(render_card(FACTS)) == {
        "license": "mit",
        "pretty_name": "Sifted kernels",
        "size_categories": ["1K<n<10K"],
        "task_categories": ["text-generation"],
        "tags": ["triton", "gpu-kernels", "code", "kernelsift"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "data/train-*.parquet"},
                    {"split": "validation", "path": "data/validation-*.parquet"},
                ],
            }
        ],
    }


def test_a_licence_is_never_guessed():
    card = render_card(replace(FACTS, licence=None))
    assert "license" not in front(card)
    assert "named no licence" in card


def test_a_split_without_rows_is_not_promised_to_the_hub():
    empty = (FACTS.splits[0], replace(FACTS.splits[1], rows=0))
    files = front(render_card(replace(FACTS, splits=empty)))["configs"][0]["data_files"]
    assert [file["split"] for file in files] == ["train"]


@given(words, words, words)
@settings(max_examples=150, deadline=None)
def test_any_text_survives_the_front_matter(name, licence, tag):
    card = render_card(replace(FACTS, pretty_name=name, licence=licence, tags=(tag,)))
    found = front(card)
    spaced = [re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip() for text in (name, licence, tag)]
    assert found.get("pretty_name", "") == spaced[0]
    assert found.get("license", "") == spaced[1]
    assert found["tags"] == [spaced[2]]


@pytest.mark.parametrize("value", ["no", "1.0", "a: b", "# c", "---", "- x", "'q", '"', "{", "*a"])
def test_yaml_words_stay_text(value):
    assert front(render_card(replace(FACTS, pretty_name=value)))["pretty_name"] == value


def test_a_table_survives_pipes_and_line_ends():
    nasty = "a|b\nc\\|d `e|f` \r\n| g |"
    facts = replace(
        FACTS,
        columns=(ColumnNote(nasty, nasty, nasty),),
        funnel=(FunnelStep(nasty, nasty, FACTS.input_rows),),
        sources=(Source(nasty, nasty, nasty),),
        duplicates=Results({nasty: [nasty, {nasty: 1}]}, ((nasty, nasty, 3),), (nasty,)),
        contamination=Results({nasty: nasty}, ((nasty, nasty, 3),)),
        leaks=((nasty, 3),),
        spreads=(Spread(nasty, 3, 0, 1, 2, 3, 4),),
    )
    tables = re.findall(r"(?:^\|.*\n)+", render_card(facts), re.MULTILINE)
    assert len(tables) == 11
    for found in tables:
        widths = {len(UNESCAPED_PIPE.findall(line)) for line in found.splitlines()}
        assert len(widths) == 1, found


def test_a_funnel_that_loses_rows_is_refused():
    with pytest.raises(DataError, match="accounts for 10,981 rows, but the input has 18,162"):
        render_card(replace(FACTS, funnel=FACTS.funnel[:1]))


def test_the_funnel_shows_rows_and_shares():
    assert "| filter | low-reward | 10,981 | 60.5 % |" in render_card(FACTS)


def test_the_judge_is_named_with_prompt_and_cost():
    card = render_card(FACTS)
    assert "`openai/gpt-5.2` with prompt version `original-1:9f2c` rated 7,181 rows" in card
    assert "35.80 USD (4.99 USD per 1,000 rows)" in card


def test_the_models_that_answered_and_the_rows_without_a_rating_are_named():
    judge = replace(FACTS.judge, answered={"a-1": 7000, "a-2": 181}, failures={"no-verdict": 12})
    card = render_card(replace(FACTS, judge=judge))
    assert "these models answered: `a-1` 7,000, `a-2` 181" in card
    assert "12 rows got no rating: no-verdict 12." in card


def test_a_source_without_a_licence_is_plain_to_see():
    card = render_card(replace(FACTS, sources=(Source("rows.jsonl", "", ""),)))
    assert "| `rows.jsonl` | – | **not given** |" in card


def test_pictures_stand_in_their_sections_with_relative_links():
    figures = {"funnel": Figure("plots/funnel.png", "a [funnel]")}
    card = render_card(replace(FACTS, figures=figures))
    section = card.split("## Where the rows went")[1].split("## ")[0]
    assert "![a \\[funnel\\]](plots/funnel.png)" in section


def test_what_was_not_looked_for_is_said_to_be_so():
    card = render_card(FACTS)
    assert "Duplicates were not dropped from these rows." in card
    assert "not compared with any benchmark" in card


def test_what_a_split_by_row_would_have_leaked_stands_beside_the_splits():
    card = render_card(replace(FACTS, leaks=(("near answer", 12),)))
    assert "| near answer | 12 |" in card.split("## Splits")[1]


def test_the_static_judge_is_said_not_to_be_a_language_model():
    card = render_card(replace(FACTS, judge=CardJudge("static", {}, "static-1", 7181, {}, 0.0)))
    assert "not from a language model" in card
    assert "USD" not in card


def test_rows_that_nobody_judged_are_said_to_be_so():
    assert "The rows were not judged." in render_card(replace(FACTS, judge=None))


def test_the_card_tells_how_to_load_how_it_was_made_and_how_it_was_split():
    card = render_card(FACTS)
    assert 'load_dataset("someone/kernels")' in card
    assert "```bash\nkernelsift load rows.jsonl\nkernelsift publish --name kernels\n```" in card
    assert "Clusters were assigned whole (seed 42)." in card
    assert "| `kernelsift` | `0.1.0` |" in card
    assert "| `someone/rollouts` | `1576375b` | MIT at this revision |" in card


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**5, "100K<n<1M"), (10**8, "10M<n<100M")],
)
def test_the_size_category_is_the_hubs(rows, size):
    assert size_category(rows) == size


def test_a_command_with_backticks_cannot_close_its_block():
    assert fenced("a\n````\nb") == "`````\na\n````\nb\n`````"


def test_a_code_span_holds_backticks():
    assert code("a`b") == "``a`b``"
    assert code("`a`") == "`` `a` ``"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("# a", "\\# a"), ("- a", "\\- a"), ("1. a", "1\\. a"), ("<b>", "&lt;b&gt;"), ("3", "3")],
)
def test_plain_text_starts_no_heading_list_or_tag(text, shown):
    assert plain(text) == shown


def test_a_pipe_in_a_code_span_is_escaped_for_the_table():
    assert code("a|b") == "`a\\|b`"
