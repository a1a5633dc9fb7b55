"""judge near a threshold: more answers for rows that are near it, and for some by chance."""

import os
import signal
from collections import Counter as Count

import pytest
from build import no_code, opened, rollout, write_jsonl
from fake_openai import FakeOpenAI, error, ok
from test_judge_checklist import checks, level
from test_judge_samples import panel, there, verdict
from test_story import GOOD, ROWS, WORKERS, Shell, judge, number, sent

from kernelsift import pipeline
from kernelsift.config import Judge, Settings
from kernelsift.decision_words import judged
from kernelsift.errors import BudgetError, ConfigError
from kernelsift.estimating import estimate
from kernelsift.instrument import Instrument
from kernelsift.judgements import read_judgements
from kernelsift.llm.prompts import load
from kernelsift.model import Entry, SampleId

TEN = [rollout(f"M{n}", tag=n) for n in range(10)]
NO_CHANCE = {"judge__near_share": 0}


def by_number(body):
    """Style is the row's number; each further answer to the same row is the same."""
    return ok(verdict(3, number(body)), cost=0.5)


def run(tmp_path, rows, chat=None, retry=None, **dotted):
    """Load, filter and judge rows; returns each row's fact and the tally."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, chat=chat, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.judge(session, retry=retry)
        facts = session.run.latest("judge")
        return [facts[e.id] for e in session.run.kept_before("judge")], tally


def answers(facts):
    """How many answers are behind each row's style."""
    return [len([o for o in f.body.opinions if o.style is not None]) or 1 for f in facts]


# --- who is asked again -------------------------------------------------------------------------


def test_only_rows_whose_mean_is_near_the_threshold_get_more_answers(tmp_path):
    with FakeOpenAI(by_number) as server:
        facts, tally = run(tmp_path, TEN, **there(server, judge__near_style=6, **NO_CHANCE))
        assert server.count == 10 + 3 * 2
    assert answers(facts) == [1, 1, 1, 1, 1, 3, 3, 3, 1, 1]
    assert [o.extra for o in facts[6].body.opinions] == [None, "near", "near"]
    assert [o.sample for o in facts[6].body.opinions] == [0, 1, 2]
    assert sum(f.usd for f in facts) == tally.usd == 16 * 0.5
    assert any("3 near a threshold" in note for note in tally.notes)


def test_the_mean_and_the_spread_are_over_all_answers(tmp_path):
    styles = iter([6, 8, 10])
    with FakeOpenAI(lambda _: ok(verdict(3, next(styles)))) as server:
        (fact,), _ = run(tmp_path, TEN[:1], **there(server, judge__near_style=6, **NO_CHANCE))
    assert (fact.body.style, fact.body.style_spread) == (8, 2)
    assert (fact.body.difficulty, fact.body.difficulty_spread) == (3, 0)
    assert "(answers: 3, as it is near a threshold)" in judged(fact)


def test_width_and_number_of_answers_are_settings(tmp_path):
    more = {"judge__near_width": 2.5, "judge__near_samples": 5, "judge__samples": 2}
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, **more, **NO_CHANCE)
        facts, _ = run(tmp_path, TEN, **chosen)
        assert server.count == 10 * 2 + 5 * 3
    assert answers(facts) == [2, 2, 2, 2, 5, 5, 5, 5, 5, 2]


def test_a_threshold_of_difficulty_counts_as_well(tmp_path):
    with FakeOpenAI(by_number) as server:
        run(tmp_path, TEN, **there(server, judge__near_difficulty=4, **NO_CHANCE))
        assert server.count == 10 * 3, "the difficulty of all of them is 3"


def test_chance_draws_the_same_rows_whatever_the_threshold_the_judge_and_the_order(tmp_path):
    def drawn(folder, rows, share, **more):
        folder.mkdir()
        with FakeOpenAI(by_number) as server:
            chosen = there(server, judge__near_style=0, judge__near_share=share, **more)
            facts, _ = run(folder, rows, **chosen, judge__near_width=0.1)
        return {f.sample for f in facts if any(o.extra == "drawn" for o in f.body.opinions)}

    rows = [rollout(f"M{n}", tag=n % 11) for n in range(40)]
    some = drawn(tmp_path / "a", rows, 0.3)
    assert 0 < len(some) < len(rows)
    assert drawn(tmp_path / "c", rows[::-1], 0.3) == some
    assert drawn(tmp_path / "d", rows, 0.3, judge__model="other") == some
    assert drawn(tmp_path / "e", rows, 0.6) > some
    assert len(drawn(tmp_path / "f", rows, 1)) == len(rows)


def test_the_share_is_about_as_large_as_told():
    cfg = Judge(model="m", near_style=5, near_share=0.05)
    judging = Instrument(cfg, load("judge-original-1"), "http://h/v1")
    entries = [Entry(SampleId(f"{n}"), n, "o", "M", 1.0, "", f"{n:032x}") for n in range(4000)]
    share = sum(judging.drawn(entry) for entry in entries) / len(entries)
    assert share == pytest.approx(0.05, abs=0.015)


# --- what is paid -------------------------------------------------------------------------------


def test_what_was_answered_without_a_threshold_is_not_paid_for_again(tmp_path):
    with FakeOpenAI(by_number) as server:
        run(tmp_path, TEN, **there(server))
        run(tmp_path, TEN, **there(server, judge__near_style=6, **NO_CHANCE))
        assert server.count == 10 + 3 * 2
        run(tmp_path, TEN, **there(server))
        assert server.count == 16


def test_another_threshold_asks_only_about_rows_that_are_near_it_alone(tmp_path):
    with FakeOpenAI(by_number) as server:
        run(tmp_path, TEN, **there(server, judge__near_style=6, **NO_CHANCE))
        facts, _ = run(tmp_path, TEN, **there(server, judge__near_style=7, **NO_CHANCE))
        assert server.count == 10 + (3 + 1) * 2
        assert answers(facts) == [1, 1, 1, 1, 1, 1, 3, 3, 3, 1]
        run(tmp_path, TEN, **there(server, judge__near_style=6, **NO_CHANCE))
        assert server.count == 18


def test_every_setting_of_it_is_in_the_key_and_none_of_them_without_a_threshold():
    def key(**more):
        judging = Instrument(Judge(model="m", **more), load("judge-original-1"), "http://h/v1")
        return judging.key(Entry(SampleId("s"), 0, "o", "M", 1.0, "ref", "c" * 32))

    near = {"near_style": 6.0}
    others = [
        {},
        near,
        {"near_style": 5.0},
        {"near_difficulty": 6.0},
        {**near, "near_width": 2.0},
        {**near, "near_samples": 5},
        {**near, "near_share": 0.1},
    ]
    assert len({key(**more) for more in others}) == len(others)
    judging = Instrument(Judge(model="m", near_style=6.0), load("judge-original-1"), "http://h/v1")
    assert judging.first.key(Entry(SampleId("s"), 0, "o", "M", 1.0, "ref", "c" * 32)) == key()


def test_a_cap_is_spent_on_first_answers_before_any_row_is_asked_again(tmp_path):
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, **NO_CHANCE)
        with pytest.raises(BudgetError):
            run(tmp_path, TEN, **chosen, llm__max_requests=12)
        assert len(sent(server)) == 10, "every row was asked once before the cap was reached"
        run(tmp_path, TEN, **chosen)
        assert server.count == 16


def test_a_further_answer_that_fails_is_asked_for_anew_and_the_others_are_kept(tmp_path):
    texts = iter([verdict(3, 6), verdict(3, 7), "?", "?", verdict(3, 8)])
    with FakeOpenAI(lambda _: ok(next(texts))) as server:
        chosen = there(server, judge__near_style=6, **NO_CHANCE)
        (fact,), _ = run(tmp_path, TEN[:1], **chosen)
        assert (fact.body.failure, server.count) == ("no-verdict", 4)
        (fact,), _ = run(tmp_path, TEN[:1], **chosen)
        assert server.count == 4
        (fact,), tally = run(tmp_path, TEN[:1], retry=[], **chosen)
        assert server.count == 5
    assert [o.style for o in fact.body.opinions] == [6, 7, 8]
    assert tally.counts["measured"] == 1


def test_a_first_answer_that_failed_is_a_failure_until_it_is_asked_for_again(tmp_path):
    ill = [True]

    def answer(body):
        return error(400, "too long") if ill and number(body) == 6 else by_number(body)

    with FakeOpenAI(answer) as server:
        chosen = there(server, judge__near_style=6, **NO_CHANCE)
        facts, tally = run(tmp_path, [*TEN, no_code()], **chosen)
        assert facts[6].body.failure == "bad-request"
        assert (tally.counts["measured"], tally.counts["failed"]) == (9, 2)
        ill.clear()
        facts, _ = run(tmp_path, [*TEN, no_code()], retry=["bad-request"], **chosen)
    assert answers(facts[:10]) == [1, 1, 1, 1, 1, 3, 3, 3, 1, 1]


def test_a_run_that_was_killed_pays_again_for_no_more_than_was_in_flight(tmp_path):
    words = ("judge", "--near-style", "3")
    with FakeOpenAI(judge, delay=0.03) as server:
        shell = Shell(tmp_path / "shell", server)
        shell.prepare()
        process = shell.start(*words)
        shell.wait_for(GOOD + 6, process)
        os.killpg(process.pid, signal.SIGKILL)
        assert shell.end(process) == -signal.SIGKILL
        assert shell.command(*words) == 0, shell.said
        asked = sent(server)
        tags = [n for n, row in enumerate(ROWS) if row["reward"] > 0.85]
        near = [n for n in tags if abs(n % 7 - 3) <= 1]
        assert len(asked) == GOOD
        thrice = Count(number(body) for body in server.bodies)
        assert all(thrice[n] >= 3 for n in near)
        with opened(shell.run, judge__model="m") as session:
            needed = shell.replies()
            facts = session.run.latest("judge").values()
            drawn = sum(any(o.extra == "drawn" for o in f.body.opinions) for f in facts)
            also = sum(any(o.extra == "near" for o in f.body.opinions) for f in facts)
        assert needed == GOOD + 2 * (drawn + also)
        assert server.count - needed <= WORKERS
        assert shell.status().states["pending"] == 0
        count = server.count
        assert shell.command(*words) == 0, shell.said
        assert server.count == count


# --- the checklist and panels -------------------------------------------------------------------


def test_the_checklist_asks_again_for_style_by_row_and_for_difficulty_by_module(tmp_path):
    def answer(body):
        text = body["messages"][1]["content"]
        if "MODULE-START" in text:
            return ok(level(5 if "class Near" in text else 9), cost=0.5)
        faults = {"bounds": ("no", "import torch")} if "TAG = 1" in text else {}
        return ok(checks(**faults), cost=0.5)

    rows = [rollout(m, tag=t) for m in ("Near", "Far") for t in (0, 1)]
    chosen = {"judge__rubric": "checklist", **NO_CHANCE}
    with FakeOpenAI(answer) as server:
        here = there(server, **chosen, judge__near_difficulty=5)
        facts, tally = run(tmp_path, rows, **here)
        assert server.count == 4 + 2 + 2, "one of two modules is near"
        levels = [[o.extra for o in f.body.opinions if o.difficulty is not None] for f in facts]
        assert levels == [[None, "near", "near"]] * 2 + [[None]] * 2
        assert answers(facts) == [1, 1, 1, 1]
        assert tally.usd == 8 * 0.5
        here = there(server, **chosen, judge__near_difficulty=5, judge__near_style=8.5,
                     judge__near_width=0.6)  # fmt: skip
        facts, _ = run(tmp_path, rows, **here)
        assert server.count == 8 + 2 * 2, (
            "two rows have a style of 9; the module is as near as before"
        )
    assert answers(facts) == [1, 3, 1, 3]
    assert [len(f.body.opinions) for f in facts] == [4, 6, 2, 4]


def test_each_judge_of_a_panel_is_asked_again_by_what_it_said_itself(tmp_path):
    def answer(body):
        styles = {"a": 2, "b": 6}
        return ok(verdict(3, styles[body["model"]]), cost=0.5)

    with FakeOpenAI(answer) as server:
        chosen = there(server, judge__panel=panel("a", "b"), judge__near_style=6, **NO_CHANCE)
        (fact,), tally = run(tmp_path, TEN[:1], **chosen)
        assert server.count == 1 + 3
    assert [(o.judge, o.sample, o.extra) for o in fact.body.opinions] == [
        ("a", 0, None), ("b", 0, None), ("b", 1, "near"), ("b", 2, "near"),
    ]  # fmt: skip
    assert fact.body.style == 4, "the mean of judges, not of answers"
    assert (fact.usd, tally.usd) == (2, 2)


def test_the_static_judge_is_asked_once_and_says_so(tmp_path):
    facts, tally = run(tmp_path, TEN[:2], judge__judge="static", judge__near_style=6)
    assert answers(facts) == [1, 1]
    assert any("asked once" in note for note in tally.notes)


# --- what else reads it -------------------------------------------------------------------------


def test_the_estimate_counts_what_is_certain_and_says_what_is_not(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", TEN)
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, **NO_CHANCE)
        with opened(tmp_path / "run", source, **chosen) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            before = estimate(session, "judge")
        assert (before.requests, before.not_foreseen) == (10, 20)
        assert any("up to 20 requests" in line for line in before.lines())
        run(tmp_path, TEN, **there(server))
        with opened(tmp_path / "run", source, **chosen) as session:
            found = estimate(session, "judge")
        assert (found.requests, found.not_foreseen) == (6, 0)
        run(tmp_path, TEN, **chosen)
        assert server.count == 16
        with opened(tmp_path / "run", source, **chosen) as session:
            assert estimate(session, "judge").requests == 0


def test_rows_that_chance_has_drawn_are_in_the_estimate(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", TEN)
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, judge__near_share=1,
                       judge__rubric="original")  # fmt: skip
        with opened(tmp_path / "run", source, **chosen) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            found = estimate(session, "judge")
    assert (found.requests, found.not_foreseen) == (30, 0)


def test_reliability_is_estimated_from_the_rows_that_chance_has_drawn(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", TEN)
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, judge__near_share=0.2)
        facts, _ = run(tmp_path, TEN, **chosen)
        drawn = {f.sample for f in facts if any(o.extra == "drawn" for o in f.body.opinions)}
        near = {f.sample for f in facts if any(o.extra == "near" for o in f.body.opinions)}
        assert near
        with opened(tmp_path / "run", source, **chosen) as session:
            said = read_judgements(session.run).said
    assert {one.item for one in said if one.sample > 0} == drawn
    assert {one.item for one in said} == {f.sample for f in facts}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"judge.near_width": 2}, "judge.near_style"),
        ({"judge.near_style": 6, "judge.samples": 3}, "near_samples = 3 must be above"),
        ({"judge.near_style": 11}, "less than or equal to 10"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        Settings.read(None, values)
