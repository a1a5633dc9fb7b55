"""judge: one verdict per row, paid for once, failures kept apart."""

import asyncio
import dataclasses

import pytest
from build import VERDICT, Counted, no_code, opened, rollout, write_jsonl

from kernelsift import pipeline
from kernelsift.instrument import SCHEMA, Instrument
from kernelsift.llm.chat import CallFailedError, scripted
from kernelsift.model import Failure, Judgement


def run(tmp_path, rows, chat, retry=None, **dotted):
    """Load, filter and judge rows; returns each row's fact and the tally."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, chat=chat, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.judge(session, retry=retry)
        facts = session.run.latest("judge")
        return [facts[e.id] for e in session.run.kept_before("judge")], tally


def altered(chat, **changes):
    """A chat whose replies have other fields."""

    async def ask(ask):
        return dataclasses.replace(await chat(ask), **changes)

    return ask


def test_a_verdict_becomes_a_judgement(tmp_path):
    chat = Counted()
    (fact,), tally = run(tmp_path, [rollout()], chat, judge__model="m")
    body = fact.body
    assert isinstance(body, Judgement)
    assert (body.difficulty, body.style, body.raw, body.judge) == (3, 4, VERDICT, "m")
    assert (fact.usd, tally.usd) == (0.25, 0.25)
    assert body.returned_model == "scripted"
    assert body.prompt_version.startswith("judge-original-1:")


def test_the_judge_sees_the_code_and_not_the_reasoning(tmp_path):
    chat = Counted()
    run(tmp_path, [rollout()], chat)
    (ask,) = chat.asks
    assert "class ReluNew" in ask.messages[1].content
    assert "I think." not in ask.messages[1].content
    assert "python_code" not in ask.messages[1].content
    assert ask.json_schema == SCHEMA


def test_the_judge_sees_the_whole_answer_when_told_so(tmp_path):
    chat = Counted()
    run(tmp_path, [rollout()], chat, judge__show="completion")
    assert "I think." in chat.asks[0].messages[1].content


def test_code_with_a_placeholder_is_shown_as_it_is(tmp_path):
    chat = Counted()
    run(tmp_path, [rollout(tag="{{mark}} {{code}} MODULE-END")], chat)
    assert "{{mark}} {{code}}" in chat.asks[0].messages[1].content


def test_a_bad_verdict_is_asked_for_once_more_with_what_is_wrong(tmp_path):
    chat = Counted(["<difficulty>11</difficulty><style>4</style>", VERDICT])
    (fact,), tally = run(tmp_path, [rollout()], chat)
    assert isinstance(fact.body, Judgement)
    assert fact.usd == tally.usd == 0.5
    said, complaint = chat.asks[1].messages[-2:]
    assert (said.role, complaint.role) == ("assistant", "user")
    assert "11" in said.content
    assert "difficulty is 11" in complaint.content


def test_two_bad_verdicts_are_a_failure_and_both_are_paid_for(tmp_path):
    chat = Counted(["?", "<difficulty>4-5</difficulty><style>4</style>"])
    (fact,), tally = run(tmp_path, [rollout()], chat)
    assert isinstance(fact.body, Failure)
    assert fact.body.failure == "double-verdict"
    assert (fact.usd, tally.usd, chat.count) == (0.5, 0.5, 2)
    assert tally.counts["failed: double-verdict"] == 1


def test_a_refusal_is_not_asked_again(tmp_path):
    chat = Counted()
    (fact,), _ = run(tmp_path, [rollout()], altered(chat, refusal="I will not", text=""))
    assert (fact.body.failure, chat.count, fact.usd) == ("refusal", 1, 0.25)


def test_an_answer_that_was_cut_off_is_asked_for_with_more_tokens(tmp_path):
    chat = Counted("Difficulty reason: it")
    (fact,), _ = run(
        tmp_path, [rollout()], altered(chat, finish_reason="length"), judge__max_tokens=100
    )
    assert [ask.max_tokens for ask in chat.asks] == [100, 400]
    assert len(chat.asks[1].messages) == 2
    assert fact.body.failure == "length"


def test_a_verdict_in_an_answer_that_was_cut_off_later_counts(tmp_path):
    chat = Counted()
    (fact,), _ = run(tmp_path, [rollout()], altered(chat, finish_reason="length"))
    assert isinstance(fact.body, Judgement)


def test_a_row_the_service_rejects_fails_alone_and_keeps_what_it_cost(tmp_path):
    rejected = CallFailedError("bad-request", "too long", usd=0.125)
    chat = Counted([rejected, VERDICT, VERDICT], usd=0.25)
    facts, tally = run(tmp_path, [rollout(tag=n) for n in range(3)], chat)
    assert sorted(f.body.kind for f in facts) == ["failure", "judgement", "judgement"]
    assert tally.usd == 0.625


def test_a_rerun_asks_nothing(tmp_path):
    rows = [rollout(tag=n) for n in range(5)]
    run(tmp_path, rows, Counted())
    again = Counted()
    facts, tally = run(tmp_path, rows, again)
    assert again.count == 0
    assert (tally.counts["known already"], tally.usd) == (5, 0)
    assert all(isinstance(f.body, Judgement) for f in facts)


def test_a_failed_row_is_not_asked_again_unless_told_so(tmp_path):
    rows = [rollout()]
    run(tmp_path, rows, Counted("?"))
    for retry in (None, ["timeout"]):
        chat = Counted()
        run(tmp_path, rows, chat, retry)
        assert chat.count == 0


@pytest.mark.parametrize("retry", [[], ["no-verdict"], ["timeout", "no-verdict"]])
def test_a_failed_row_is_asked_again_when_told_so(tmp_path, retry):
    rows = [rollout(), rollout(tag=1)]
    run(
        tmp_path,
        rows,
        Counted(lambda ask: VERDICT if "TAG = 1" in ask.messages[1].content else "?"),
    )
    chat = Counted()
    facts, _ = run(tmp_path, rows, chat, retry)
    assert chat.count == 1
    assert all(isinstance(f.body, Judgement) for f in facts)


def test_a_retry_is_a_request_of_its_own(tmp_path):
    first, second = Counted("?"), Counted("?")
    run(tmp_path, [rollout()], first)
    run(tmp_path, [rollout()], second, [])
    assert [ask.sample for ask in (*first.asks, *second.asks)] == [0, 1, 2, 3]


def test_a_success_is_never_asked_again(tmp_path):
    run(tmp_path, [rollout()], Counted())
    chat = Counted()
    run(tmp_path, [rollout()], chat, [])
    assert chat.count == 0


def test_equal_code_is_asked_about_once_and_shared(tmp_path):
    chat = Counted()
    facts, tally = run(tmp_path, [rollout(example_id=n) for n in range(4)], chat)
    assert chat.count == 1
    assert len(facts) == 4
    assert tally.counts["sharing an answer"] == 3


def test_equal_code_is_not_shared_when_the_whole_answer_is_shown(tmp_path):
    chat = Counted()
    run(tmp_path, [rollout(example_id=n) for n in range(4)], chat, judge__show="completion")
    assert chat.count == 4


@pytest.mark.parametrize(
    "change",
    [
        {"judge__model": "another"},
        {"judge__show": "completion"},
        {"judge__temperature": 0.5},
        {"judge__max_tokens": 77},
        {"judge__reasoning_effort": "low"},
        {"judge__structured": False},
        {"llm__base_url": "http://127.0.0.1:9/v1"},
    ],
)
def test_what_could_change_the_answer_is_asked_again(tmp_path, change):
    run(tmp_path, [rollout()], Counted())
    chat = Counted()
    run(tmp_path, [rollout()], chat, **change)
    assert chat.count == 1


def test_another_prompt_text_is_another_key(tmp_path):
    with opened(tmp_path / "run") as session:
        one = pipeline.instrument(session)
    other = Instrument(one.cfg, dataclasses.replace(one.prompt, digest="another"), one.base_url)
    source = write_jsonl(tmp_path / "x.jsonl", [rollout()])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        (entry,) = session.run.entries()
        assert one.key(entry) != other.key(entry)


@pytest.mark.parametrize(
    "change",
    [
        {"filter__min_reward": 0.5},
        {"dedup__score": "reward"},
        {"llm__concurrency": 2},
        {"llm__max_usd": 5.0},
        {"prompts__model": "another"},
        {"split__seed": 1},
    ],
)
def test_what_cannot_change_the_answer_is_not_asked_again(tmp_path, change):
    run(tmp_path, [rollout()], Counted())
    chat = Counted()
    run(tmp_path, [rollout()], chat, **change)
    assert chat.count == 0


def test_a_row_without_code_fails_without_being_asked_about(tmp_path):
    chat = Counted()
    (fact,), tally = run(tmp_path, [no_code()], chat)
    assert (fact.body.failure, fact.usd, chat.count) == ("no-code", 0, 0)
    assert tally.counts["failed: no-code"] == 1


def test_the_static_judge_names_itself_in_every_column(tmp_path):
    (fact, none), tally = run(tmp_path, [rollout(), no_code()], None, judge__judge="static")
    body = fact.body
    assert (body.judge, body.returned_model) == ("static", "static")
    assert body.prompt_version.startswith("static-")
    assert body.raw.startswith("static judge: ")
    assert (none.body.failure, tally.usd) == ("no-code", 0)


def test_the_static_judge_fails_on_code_that_is_no_python(tmp_path):
    broken = [{"role": "assistant", "content": "BEGIN_PYTHON\ndef f(:\n  x\nEND_PYTHON"}]
    (fact,), _ = run(tmp_path, [rollout(completion=broken)], None, judge__judge="static")
    assert fact.body.failure in {"unparsable-code", "no-code"}


def test_many_rows_at_once_are_each_judged_by_their_own_answer(tmp_path):
    def answer(ask):
        number = int(ask.messages[1].content.split("TAG = ")[1].split("\n")[0])
        return f"<difficulty>{number % 11}</difficulty><style>{number % 7}</style>"

    async def slow(ask):
        await asyncio.sleep(len(ask.messages[1].content) % 3 / 1000)
        return await scripted(answer)(ask)

    facts, _ = run(tmp_path, [rollout(tag=n) for n in range(80)], slow, llm__concurrency=8)
    assert [(f.body.difficulty, f.body.style) for f in facts] == [
        (n % 11, n % 7) for n in range(80)
    ]


def test_a_bug_in_the_chat_stops_the_run_and_keeps_what_came_before(tmp_path):
    rows = [rollout(tag=n) for n in range(40)]
    chat = Counted([VERDICT, VERDICT, ZeroDivisionError("a bug"), *[VERDICT] * 40])
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, rows, chat, llm__concurrency=1)
    assert chat.count < 15
    again = Counted()
    facts, _ = run(tmp_path, rows, again)
    assert chat.count - 1 + again.count == 40
    assert all(isinstance(f.body, Judgement) for f in facts)
