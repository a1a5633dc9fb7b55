"""prompts: one specification per module, or a failure that is counted."""

import dataclasses

import pyarrow.parquet as pq
import pytest
from build import CLAIMS, SPECIFICATION, Counted, opened, reference, rollout, write_jsonl

from kernelsift import pipeline
from kernelsift.errors import DataError
from kernelsift.model import Failure, TaskPrompt

COLUMNS = ["prompt", "module_name", "python_code", "triton_code", "uuid"]


def module(name="Relu", **more):
    return {
        "uuid": f"u-{name}",
        "module_name": name,
        "python_code": reference(name),
        "triton_code": "import triton",
        **more,
    }


def answer(ask):
    """A good specification of the module that is asked about."""
    name = ask.messages[1].content.split("Module to describe: ")[1].split("\n")[0]
    return tagged(SPECIFICATION.format(name=name))


def tagged(text):
    return f"<specification>\n{text}\n</specification>\n{CLAIMS}"


GOOD = tagged(SPECIFICATION.format(name="Relu"))
LATE = "No, again:\n" + GOOD


def run(tmp_path, rows, chat, retry=None, **dotted):
    """Prompts for a file of modules; returns the written rows, the tally and the facts."""
    source = write_jsonl(tmp_path / "modules.jsonl", rows)
    dotted.setdefault("prompts__check_claims", "off")  # claims are in test_prompt_checks.py
    with opened(tmp_path / "run", chat=chat, prompts__source=str(source), **dotted) as session:
        tally = pipeline.prompts(session, retry=retry)
        facts = [f for f in session.run.latest("prompts").values() if f is not None]
    table = pq.read_table(tmp_path / "run" / "prompts.parquet")
    assert table.column_names == COLUMNS
    return table.to_pylist(), tally, facts


def test_a_prompt_has_the_five_columns_and_the_module_unchanged(tmp_path):
    (row,), tally, _ = run(tmp_path, [module()], Counted(answer))
    assert row == {
        "prompt": SPECIFICATION.format(name="Relu").strip() + "\n",
        "module_name": "Relu",
        "python_code": reference("Relu"),
        "triton_code": "import triton",
        "uuid": "u-Relu",
    }
    assert tally.counts["written"] == 1
    assert tally.usd == 0.25


def test_the_writer_is_shown_the_module_and_its_name_and_no_kernel(tmp_path):
    chat = Counted(answer)
    run(tmp_path, [module()], chat)
    assert reference("Relu").strip() in chat.asks[0].messages[1].content
    assert "ReluNew" in chat.asks[0].messages[1].content
    assert "import triton" not in "".join(m.content for m in chat.asks[0].messages)


BAD = {
    "no tags": (SPECIFICATION.format(name="Relu"), "no <specification>", "no-specification"),
    "not closed": (
        "<specification>" + SPECIFICATION.format(name="Relu"),
        "no <specification>",
        "no-specification",
    ),
    "empty": ("", "no <specification>", "no-specification"),
    "too short": (tagged("ReluNew."), "only 8 characters", "no-specification"),
    "no class": (
        tagged(SPECIFICATION.format(name="Gelu")),
        "does not name the class ReluNew",
        "prompt-incomplete",
    ),
    "code fence": (
        tagged(SPECIFICATION.format(name="Relu") + "\n```python\nx\n```"),
        "contains a code block",
        "prompt-leak",
    ),
    "other fence": (
        tagged(SPECIFICATION.format(name="Relu") + "\n~~~\nx\n~~~"),
        "contains a code block",
        "prompt-leak",
    ),
}


@pytest.mark.parametrize(("text", "why"), [bad[:2] for bad in BAD.values()], ids=BAD)
def test_an_unusable_prompt_is_asked_for_once_more_with_what_is_wrong(tmp_path, text, why):
    chat = Counted([text, GOOD])
    rows, tally, (fact,) = run(tmp_path, [module()], chat)
    assert len(rows) == 1
    assert isinstance(fact.body, TaskPrompt)
    assert why in chat.asks[1].messages[-1].content
    assert (fact.usd, tally.usd) == (0.5, 0.5)


@pytest.mark.parametrize(("text", "why", "failure"), BAD.values(), ids=BAD)
def test_two_unusable_prompts_are_a_failure_that_is_counted(tmp_path, text, why, failure):
    chat = Counted(text)
    rows, tally, (fact,) = run(tmp_path, [module()], chat)
    assert rows == []
    assert isinstance(fact.body, Failure)
    assert fact.body.failure == failure
    assert why in fact.body.why
    assert (chat.count, fact.usd) == (2, 0.5)
    assert (tally.counts[f"failed: {failure}"], tally.counts["written"]) == (1, 0)


def test_the_last_specification_counts(tmp_path):
    (row,), _, _ = run(tmp_path, [module()], Counted(tagged("a draft") + LATE))
    assert "again" not in row["prompt"]


def test_a_refusal_is_not_asked_again(tmp_path):
    chat = Counted("")

    async def refuse(ask):
        return dataclasses.replace(await chat(ask), refusal="no")

    _, _, (fact,) = run(tmp_path, [module()], refuse)
    assert (fact.body.failure, chat.count) == ("refusal", 1)


def test_an_answer_that_was_cut_off_is_asked_for_with_more_tokens(tmp_path):
    chat = Counted("<specification> The")

    async def cut(ask):
        return dataclasses.replace(await chat(ask), finish_reason="length")

    _, _, (fact,) = run(tmp_path, [module()], cut, prompts__max_tokens=100)
    assert [ask.max_tokens for ask in chat.asks] == [100, 200]
    assert fact.body.failure == "length"


def test_there_is_one_row_per_module_also_for_copies(tmp_path):
    other = module(uuid="another", triton_code=None)
    chat = Counted(answer)
    rows, tally, _ = run(tmp_path, [module(), module(), other, module("Gelu")], chat)
    assert [row["uuid"] for row in rows] == ["u-Relu", "u-Relu", "another", "u-Gelu"]
    assert [row["triton_code"] for row in rows][1:3] == ["import triton", None]
    assert chat.count == 2
    assert tally.counts["sharing an answer"] == 2


def test_a_rerun_asks_nothing_and_writes_the_same(tmp_path):
    rows = [module(f"M{n}") for n in range(5)]
    first, _, _ = run(tmp_path, rows, Counted(answer))
    chat = Counted(answer)
    second, _, _ = run(tmp_path, rows, chat)
    assert (second, chat.count) == (first, 0)


def test_failed_modules_are_asked_about_again_only_when_told_so(tmp_path):
    run(tmp_path, [module()], Counted("?"))
    chat = Counted(answer)
    assert run(tmp_path, [module()], chat)[0] == []
    assert chat.count == 0
    assert len(run(tmp_path, [module()], chat, ["no-specification"])[0]) == 1
    assert chat.count == 1


def test_a_limit_takes_the_first_modules(tmp_path):
    rows, _, _ = run(
        tmp_path, [module(f"M{n}") for n in range(5)], Counted(answer), prompts__limit=2
    )
    assert [row["module_name"] for row in rows] == ["M0", "M1"]


def test_the_template_asks_nobody_and_says_who_wrote(tmp_path):
    rows, tally, facts = run(
        tmp_path, [module(), module("Gelu")], None, prompts__generator="template"
    )
    assert ["ReluNew" in rows[0]["prompt"], "GeluNew" in rows[1]["prompt"]] == [True, True]
    assert {f.body.generator for f in facts} == {"template"}
    assert tally.usd == 0


def test_a_module_that_the_template_cannot_read_is_a_failure(tmp_path):
    broken = module("Broken", python_code="class (")
    rows, tally, _ = run(tmp_path, [module(), broken], None, prompts__generator="template")
    assert len(rows) == 1
    assert tally.counts["failed: no-specification"] == 1


def test_the_modules_of_kept_rows_are_written_for_when_no_source_is_named(tmp_path):
    rows = [rollout("A"), rollout("A", tag=1), rollout("B"), rollout("C", reward=0.1)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, chat=Counted(answer)) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        pipeline.prompts(session)
    found = pq.read_table(tmp_path / "run" / "prompts.parquet").to_pylist()
    assert [row["module_name"] for row in found] == ["A", "B"]
    assert found[0]["python_code"] == reference("A")


def test_no_module_at_all_is_an_error_that_says_what_to_do(tmp_path):
    bare = rollout(info={"module_name": "A"})
    source = write_jsonl(tmp_path / "x.jsonl", [bare])
    with opened(tmp_path / "run", source, chat=Counted(answer)) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        with pytest.raises(DataError, match=r"no PyTorch module.*--source"):
            pipeline.prompts(session)


def test_a_bad_module_row_is_named(tmp_path):
    with pytest.raises(DataError, match=r"modules\.jsonl:2: python_code is empty"):
        run(tmp_path, [module(), module(python_code="")], Counted(answer))


def test_a_module_without_a_name_is_called_by_its_class(tmp_path):
    rows, _, _ = run(tmp_path, [module(module_name=None)], None, prompts__generator="template")
    assert rows[0]["module_name"] == "Relu"
