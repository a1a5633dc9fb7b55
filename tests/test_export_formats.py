"""Rows reach each trainer's file as they are, or are left out by name."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from build import kernel, opened, rollout, write_jsonl
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kernelsift import pipeline, thinking, training
from kernelsift.cli.main import cli
from kernelsift.config import FORMATS
from kernelsift.trainers.conversation import Conversation, LeftOut, from_source, in_mode
from kernelsift.trainers.files import read_note, read_rows, write_rows
from kernelsift.trainers.formats import TRAINERS
from kernelsift.trainers.records import Keys, answer_of, reasoning_of, to_view

DEV = Path(__file__).parents[2] / "shared" / "data" / "rollouts-dev.parquet"
PROGRAM = kernel("Relu")
ANSWER = f"BEGIN_PYTHON\n{PROGRAM}END_PYTHON"
ASKED = [{"role": "user", "content": "Write Relu"}]


def said(content: str, **more) -> list[dict]:
    return [{"role": "assistant", "content": content, **more}]


def rows_of(run: Path, name: str) -> list[dict]:
    """All records of an export, whatever their split."""
    folder = run / "export" / name
    suffix = TRAINERS[name].suffix
    files = sorted(folder.glob(f"*{suffix}"))
    return [row for file in files for row in read_rows(TRAINERS[name], file)]


def unlike(count: int) -> list[dict]:
    """Rollouts of modules and kernels that are not alike, so that splits can hold them apart."""
    names = ["sin", "cos", "exp", "log", "tanh", "relu", "abs", "sqrt", "erf", "floor", "ceil"]
    rows = []
    for number in range(count):
        draw = random.Random(number)
        lines = [
            f"        x = torch.{draw.choice(names)}(x) + {draw.random():.6f}\n" for _ in names
        ]
        body = "    def forward(self, x):\n" + "".join(lines) + "        return x\n"
        module = f"import torch\n\n\nclass M{number}(torch.nn.Module):\n{body}"
        code = f"import torch\n\n\nclass M{number}New(torch.nn.Module):\n{body}"
        info = {"module_name": f"M{number}", "python_code": module}
        answer = said(f"BEGIN_PYTHON\n{code}END_PYTHON")
        rows.append(rollout(f"M{number}", info=info, completion=answer))
    return rows


def exported(tmp_path, rows, *formats, **settings):
    """Export rollouts; returns the tallies."""
    source = write_jsonl(tmp_path / "rollouts.jsonl", rows)
    values = {f"export__{name}": value for name, value in settings.items()}
    formats = formats or FORMATS
    with opened(tmp_path / "run", source, export__formats=formats, **values) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        return list(training.export_formats(session))


def reasoned(module: str, **more) -> dict:
    content = f"<think>\nOne kernel.\n</think>\n\n{ANSWER}"
    return rollout(module, completion=said(content), **more)


@pytest.mark.parametrize("name", FORMATS)
def test_reasoning_reaches_every_trainer_where_it_reads_it(tmp_path, name):
    exported(tmp_path, [reasoned("A"), rollout("B"), rollout("C")], name)
    answers = []
    for record in rows_of(tmp_path / "run", name):
        view = to_view(TRAINERS[name], record, "here")
        answers.append((*reasoning_of(view.messages[-1]), answer_of(view.messages[-1])))
    inline = name == "llamafactory"
    assert ("One kernel.", inline, ANSWER) in answers
    assert sum(bool(reasoning) for reasoning, _, _ in answers) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_no_file_has_a_key_for_reasoning_where_no_row_has_any(tmp_path, name):
    exported(tmp_path, [rollout("A"), rollout("B")], name)
    assert "reasoning_content" not in json.dumps(rows_of(tmp_path / "run", name))


def test_inline_reasoning_stands_in_the_text_and_nowhere_else(tmp_path):
    exported(tmp_path, [reasoned("A"), rollout("B")], "trl", reasoning="inline")
    texts = [r["completion"][0] for r in rows_of(tmp_path / "run", "trl")]
    wanted = {"role": "assistant", "content": f"<think>\nOne kernel.\n</think>\n\n{ANSWER}"}
    assert wanted in texts
    assert all("reasoning_content" not in text for text in texts)


@pytest.mark.parametrize("name", FORMATS)
def test_stripped_rows_hold_the_answer_alone(tmp_path, name):
    apart = rollout("B", completion=said(ANSWER, reasoning_content="Beside."))
    exported(tmp_path, [reasoned("A"), apart], name, reasoning="strip")
    text = json.dumps(rows_of(tmp_path / "run", name))
    assert "think" not in text
    assert "One kernel." not in text
    assert "Beside." not in text


def test_an_empty_think_is_not_kept(tmp_path):
    empty = rollout("A", completion=said(f"<think>\n\n</think>\n\n{ANSWER}"))
    exported(tmp_path, [empty, rollout("B")], reasoning="inline")
    for name in FORMATS:
        assert "think>" not in json.dumps(rows_of(tmp_path / "run", name))


def test_no_file_has_both_prompt_and_messages(tmp_path):
    exported(tmp_path, [rollout("A"), rollout("B")])
    for name in FORMATS:
        columns = rows_of(tmp_path / "run", name)[0].keys()
        shapes = [{"prompt", "completion"}, {"messages"}, {"conversations"}, {"input", "output"}]
        assert sum(shape <= columns for shape in shapes) == 1
        assert not {"prompt", "messages"} <= columns


def test_a_row_that_cannot_be_read_is_left_out_by_name_and_counted(tmp_path):
    cut = rollout("A", completion=said("<think>\nnever closed"))
    twice = rollout("B", completion=said(f"<think>one</think>{ANSWER}", reasoning_content="two"))
    _, tally = exported(tmp_path, [cut, twice, rollout("C"), rollout("D")], "trl")
    assert tally.counts["left out"] == 2
    assert sum(tally.counts.values()) == 4
    assert any("its reasoning is never closed (rollouts.jsonl:1)" in n for n in tally.notes)
    lines = (tmp_path / "run" / "export" / "trl-left-out.jsonl").read_text().splitlines()
    reasons = {json.loads(line)["origin"]: json.loads(line)["reason"] for line in lines}
    assert reasons["rollouts.jsonl:2"] == "it has reasoning in its text and another one beside it"


def test_turns_that_must_not_be_learned_keep_a_row_out_of_messages_but_not_out_of_trl(tmp_path):
    shots = [*ASKED, *said("A wrong kernel."), {"role": "user", "content": "Again"}]
    rows = [rollout("A", prompt=shots), rollout("B"), rollout("C")]
    tallies = {t.stage: t.counts["left out"] for t in exported(tmp_path, rows)[1:]}
    assert tallies.pop("export trl") == tallies.pop("export openrlhf") == 0
    assert set(tallies.values()) == {1}


def test_tool_calls_reach_those_that_read_them(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "run", "arguments": {"n": 1}}}
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        *said(ANSWER),
    ]
    tools = [{"type": "function", "function": {"name": "run", "parameters": {}}}]
    rows = [rollout("A", completion=turns, oai_tools=json.dumps(tools)), rollout("B")]
    tallies = {t.stage: t.counts["left out"] for t in exported(tmp_path, rows)[1:]}
    assert {n for n, out in tallies.items() if out} == {
        "export trl", "export llamafactory", "export openrlhf"
    }  # fmt: skip
    for name in ("trl-messages", "prime-rl", "axolotl", "nemo"):
        views = [to_view(TRAINERS[name], r, "x") for r in rows_of(tmp_path / "run", name)]
        (view,) = [view for view in views if view.tools]
        calls = view.messages[1]["tool_calls"]
        assert calls[0]["function"] == {"name": "run", "arguments": '{"n": 1}'}
        assert view.messages[2]["tool_call_id"] == "1"
        assert list(view.tools) == tools


def test_the_program_alone_keeps_the_fence_that_the_source_had(tmp_path):
    fenced = rollout("A", completion=said(f"So:\n```python\n{PROGRAM}```\nDone."))
    none = rollout("C", completion=said("I cannot."))
    _, tally = exported(tmp_path, [fenced, rollout("B"), none], "axolotl", answer="code")
    texts = {r["messages"][-1]["content"] for r in rows_of(tmp_path / "run", "axolotl")}
    assert f"```python\n{PROGRAM}```" in texts
    assert f"BEGIN_PYTHON\n{kernel('B')}END_PYTHON" in texts
    assert tally.counts["left out"] == 1


def test_the_generated_prompt_takes_the_place_of_the_sources(tmp_path):
    source = write_jsonl(tmp_path / "r.jsonl", [rollout("Relu"), rollout("Gelu")])
    values = {"export__formats": ("trl",), "export__prompt": "generated"}
    with opened(tmp_path / "run", source, prompts__generator="template", **values) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        pipeline.prompts(session)
        list(training.export_formats(session))
    prompts = pq.read_table(tmp_path / "run" / "prompts.parquet")["prompt"].to_pylist()
    asked = [r["prompt"] for r in rows_of(tmp_path / "run", "trl")]
    assert sorted(p[0]["content"] for p in asked) == sorted(prompts)
    assert all(len(p) == 1 for p in asked)


def test_unique_rows_are_the_default_once_repeats_are_gone(tmp_path):
    rows = [rollout("A", tag=1), rollout("A", tag=2, reward=0.9), rollout("B")]
    source = write_jsonl(tmp_path / "r.jsonl", rows)
    for chosen, count in ((None, 2), ("filtered", 3)):
        given = {"export__rows": chosen, "export__formats": ("trl",), "dedup__score": "reward"}
        with opened(tmp_path / "run", source, **given) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            pipeline.keep_best(session)
            list(training.export_formats(session))
        assert len(rows_of(tmp_path / "run", "trl")) == count


def test_the_note_beside_the_files_counts_their_rows(tmp_path):
    exported(tmp_path, [reasoned("A"), *unlike(40)])
    for name in FORMATS:
        folder = tmp_path / "run" / "export" / name
        note = read_note(folder)
        for split, count in note.counts.items():
            path = folder / f"{split}{TRAINERS[name].suffix}"
            assert len(list(read_rows(TRAINERS[name], path))) == count > 0
        assert note.reasoning == ("inline" if name == "llamafactory" else "keep")
        assert sum(note.counts.values()) == 41


def test_lines_end_only_where_a_record_ends_for_readers_that_split_at_unicode_line_ends(tmp_path):
    odd = "a\u2028b\u2029c\x85d\x0be\x1cf"
    exported(tmp_path, [rollout("A", completion=said(odd)), rollout("B")], "nemo")
    files = (tmp_path / "run" / "export" / "nemo").glob("*.jsonl")
    lines = [line for f in files for line in f.read_text(encoding="utf-8").splitlines()]
    texts = [json.loads(line)["messages"][-1]["content"] for line in lines]
    assert odd in texts


def test_the_configuration_names_the_files_that_are_there(tmp_path):
    exported(tmp_path, unlike(40))
    for name in FORMATS:
        folder = tmp_path / "run" / "export" / name
        suffix = TRAINERS[name].suffix
        told = "".join(f.read_text() for f in folder.iterdir() if f.suffix not in {suffix, ".json"})
        assert f"train{suffix}" in told
    info = json.loads((tmp_path / "run/export/llamafactory/dataset_info.json").read_text())
    for entry in info.values():
        assert (tmp_path / "run/export/llamafactory" / entry["file_name"]).exists()


def test_axolotls_configuration_is_yaml_with_both_files(tmp_path):
    yaml = pytest.importorskip("yaml")
    exported(tmp_path, unlike(40), "axolotl")
    text = (tmp_path / "run/export/axolotl/axolotl.yaml").read_text()
    found = yaml.safe_load(text)
    assert found["datasets"][0]["path"] == "train.jsonl"
    assert found["test_datasets"][0]["path"] == "validation.jsonl"


def test_an_unknown_format_is_answered_with_the_nearest(tmp_path):
    found = CliRunner().invoke(cli, ["export", "--format", "trll", "--run", str(tmp_path)])
    assert found.exit_code != 0
    assert "did you mean trl?" in str(found.exception)


def test_a_run_with_nothing_kept_says_why(tmp_path):
    source = write_jsonl(tmp_path / "r.jsonl", [rollout("A", reward=0.1)])
    with opened(tmp_path / "run", source, export__formats=("trl",)) as session:
        pipeline.load(session)
        with pytest.raises(Exception, match="no row is left"):
            pipeline.filter_rows(session)
        with pytest.raises(Exception, match="lower it with --min-reward"):
            list(training.export_formats(session))
    assert not (tmp_path / "run" / "export").exists()


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
PIECES = st.lists(
    st.sampled_from([
        "<think>",
        "</think>",
        "\n",
        "`</think>`",
        "code",
        "\u2028",
        "é",
        " ",
        "{{x}}",
    ]),
    max_size=8,
).map("".join)
CONTENTS = st.one_of(TEXTS, PIECES)


@given(CONTENTS, CONTENTS, st.one_of(st.none(), CONTENTS), st.sampled_from(FORMATS))
def test_any_row_comes_back_equal_from_every_file_or_is_left_out(
    tmp_path_factory, asked, answer, reasoning, name
):
    prompt = [{"role": "user", "content": asked}]
    extra = {} if reasoning is None else {"reasoning_content": reasoning}
    row = from_source("id", prompt, said(answer, **extra))
    if isinstance(row, LeftOut):
        assert row.reason
        return
    trainer = TRAINERS[name]
    mode = "keep" if trainer.keeps_reasoning else "inline"
    out = in_mode(row, mode)
    path = tmp_path_factory.mktemp("rows") / f"train{trainer.suffix}"
    assert write_rows(trainer, path, [out, out], Keys.of([out])) == 2
    for record in read_rows(trainer, path):
        view = to_view(trainer, record, "here")
        assert view.messages[0]["content"] == asked
        last = view.messages[-1]
        assert reasoning_of(last)[0] == row.answer[0].reasoning
        assert answer_of(last) == row.answer[0].content


@given(PIECES)
def test_what_the_extractor_calls_the_answer_is_what_is_exported(text):
    parts = thinking.split(text)
    if not parts.problem:
        assert thinking.without_thinking(text).strip("\n") == parts.answer.strip("\n")


@given(PIECES, PIECES)
def test_reasoning_and_answer_that_were_joined_come_apart_again(reasoning, answer):
    clean = not any(thinking.tags(reasoning)) and not any(thinking.tags(answer))
    reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
    if clean and reasoning.strip():
        parts = thinking.split(thinking.join(reasoning, answer))
        assert (parts.reasoning, parts.answer) == (reasoning, answer)


def test_real_rollouts_go_into_every_format(tmp_path):
    if not DEV.exists():
        pytest.skip("shared/data/rollouts-dev.parquet is not here")
    with opened(tmp_path / "run", DEV, export__formats=FORMATS) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        _, *tallies = training.export_formats(session)
    for tally in tallies:
        assert sum(tally.counts.values()) == 348
        assert tally.counts["left out"] == 0


def test_a_conversation_needs_an_answer_that_ends_with_the_assistant():
    turns = [*said("Half"), {"role": "user", "content": "Go on"}]
    assert isinstance(from_source("x", ASKED, turns), LeftOut)
    assert isinstance(from_source("x", ASKED, said(" ")), LeftOut)
    assert isinstance(from_source("x", [], said("ok")), LeftOut)
    assert isinstance(from_source("x", "Write", "Done"), Conversation)
