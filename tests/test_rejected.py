"""judge --also-rejected: a known sample of dropped rows, judged for comparison only."""

import os
import signal
from collections import Counter

import pyarrow.parquet as pq
import pytest
from build import Counted, entry, no_code, opened, rollout, write_jsonl
from fake_openai import FakeOpenAI, error, ok
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call
from test_judge_checklist import checks, level
from test_judge_samples import panel, there, verdict, written_by
from test_story import GOOD, ROWS, WORKERS, Shell, judge, number, sent

from kernelsift import pipeline, rejected
from kernelsift.errors import BudgetError, ConfigError
from kernelsift.estimating import estimate
from kernelsift.explain import explain
from kernelsift.judgements import read_judgements
from kernelsift.model import Failure, Judgement

KEPT = [rollout(f"K{n}", 1.0, tag=n) for n in range(4)]
DROPPED = [rollout(f"D{n}", 0.0 if n < 12 else n / 50, tag=100 + n) for n in range(32)]
ROWS_OF_BOTH = KEPT + DROPPED


def by_number(body):
    return ok(verdict(3, number(body) % 11), cost=0.5)


def run(tmp_path, rows=None, chat=None, retry=None, look=lambda session: None, **dotted):
    """Load, filter and judge rows; returns what `look` sees then, and the tally."""
    source = write_jsonl(tmp_path / "x.jsonl", ROWS_OF_BOTH if rows is None else rows)
    with opened(tmp_path / "run", source, chat=chat, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.judge(session, retry=retry)
        return look(session), tally


def sample(session):
    return rejected.sampled(session.run), rejected.judged(session.run)


# --- the choice ---------------------------------------------------------------------------------

REWARDS = st.lists(
    st.one_of(st.sampled_from([-1.0, 0.0, 0.25, 0.5]), st.floats(-1, 0.85)), min_size=1, max_size=60
)


def rows_of(rewards):
    return [entry(f"{n:04x}", n, reward=reward) for n, reward in enumerate(rewards)]


def chosen(rows, wanted, seed=0):
    return {e.id for e in rejected.pick(rows, rejected.design(rows, wanted, seed))}


@given(REWARDS, st.integers(0, 70), st.integers(0, 70), st.integers(0, 3))
def test_a_larger_sample_holds_every_smaller_one(rewards, one, other, seed):
    rows = rows_of(rewards)
    small, large = sorted((one, other))
    assert chosen(rows, small, seed) <= chosen(rows, large, seed)
    assert len(chosen(rows, large, seed)) == min(large, len(rows))


@given(REWARDS, st.integers(0, 70), st.randoms())
def test_the_choice_does_not_depend_on_the_order_of_rows(rewards, wanted, random):
    rows = rows_of(rewards)
    mixed = random.sample(rows, len(rows))
    assert chosen(rows, wanted) == chosen(mixed, wanted)
    assert rejected.design(rows, wanted, 0) == rejected.design(mixed, wanted, 0)


@given(REWARDS, st.integers(0, 70))
def test_probabilities_sum_to_the_sample_and_their_inverses_to_the_rows(rewards, wanted):
    rows = rows_of(rewards)
    design = rejected.design(rows, wanted, 0)
    each = [design.stratum(e.reward).probability for e in rows]
    assert sum(each) == pytest.approx(min(wanted, len(rows)))
    picked = rejected.pick(rows, design)
    assert all(0 < design.stratum(e.reward).probability <= 1 for e in picked)
    for stratum in design.strata:
        mine = [e for e in picked if design.stratum(e.reward) == stratum]
        assert len(mine) == stratum.chosen
        if mine:
            assert sum(1 / stratum.probability for _ in mine) == pytest.approx(stratum.rows)


@given(REWARDS)
def test_strata_hold_all_rows_and_failed_rows_are_one(rewards):
    design = rejected.design(rows_of(rewards), "all", 0)
    assert sum(one.rows for one in design.strata) == len(rewards)
    assert all(one.rows for one in design.strata)
    failed = [one for one in design.strata if one.high <= 0]
    assert sum(one.rows for one in failed) == sum(reward <= 0 for reward in rewards)
    assert len(failed) <= 1
    assert len(design.strata) - len(failed) <= rejected.BINS
    assert design.strata[-1].high == max(rewards)


def test_places_go_by_the_square_root_of_a_stratum_and_each_gets_two():
    rows = rows_of([0.0] * 900 + [0.1] * 100 + [0.2] * 100 + [0.3] * 100 + [0.4] * 100)
    design = rejected.design(rows, 70, 0)
    assert [one.chosen for one in design.strata] == [30, 10, 10, 10, 10]
    assert [one.chosen for one in rejected.design(rows, 10, 0).strata] == [2, 2, 2, 2, 2]
    assert [one.chosen for one in rejected.design(rows, 3, 0).strata] == [1, 1, 1, 0, 0]


def test_a_weighted_mean_over_the_sample_is_right_on_average():
    rows = rows_of([0.0] * 60 + [n / 100 for n in range(1, 41)])
    true = sum(e.reward for e in rows)
    totals = []
    for seed in range(400):
        design = rejected.design(rows, 20, seed)
        picked = rejected.pick(rows, design)
        totals.append(sum(e.reward / design.stratum(e.reward).probability for e in picked))
    assert sum(totals) / len(totals) == pytest.approx(true, rel=0.01)
    assert len({frozenset(chosen(rows, 20, seed)) for seed in range(20)}) == 20


# --- judging them -------------------------------------------------------------------------------


def everything(session):
    """All that must not change when rejected rows are judged as well."""
    pipeline.keep_best(session)
    pipeline.export(session)
    pipeline.publish(session)
    found, folder = session.run, session.run.path
    tables = [pq.read_table(folder / f"{n}.parquet") for n in ("filtered", "unique", "ledger")]
    cards = [p.read_text() for p in sorted((folder / "publish").rglob("README.md"))]
    status = found.status()
    scores = {s: f and f.body for s, f in found.latest("judge").items()}
    return (
        [table.to_pylist() for table in tables],
        cards, dict(status.states), status.stages, scores, found.states(),
    )  # fmt: skip


def test_rejected_rows_stay_dropped_and_nothing_about_the_kept_ones_changes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    alone, _ = run(tmp_path / "a", look=everything, judge__judge="static")
    beside, tally = run(
        tmp_path / "b", look=everything, judge__judge="static", judge__also_rejected=10
    )
    for before, after in zip(alone, beside, strict=True):
        assert after == before
    assert beside[2] == {"kept": 4, "dropped": 32, "failed": 0, "pending": 0}
    assert tally.counts["also rejected"] == 10
    assert any("10 of 32 rows that the filter dropped: 10 judged" in n for n in tally.notes)


def test_the_sample_and_its_judgements_are_read_with_their_probabilities(tmp_path):
    (probabilities, facts), _ = run(
        tmp_path, look=sample, judge__judge="static", judge__also_rejected=10
    )
    assert len(probabilities) == len(facts) == 10
    assert sum(1 / p for p in probabilities.values()) == pytest.approx(32)
    assert all(isinstance(fact.body, Judgement) for fact in facts.values())


def test_all_rejected_rows_can_be_judged_and_a_row_without_code_is_a_failure(tmp_path):
    rows = [*KEPT, *DROPPED, no_code("N", 0.0)]
    (probabilities, facts), tally = run(
        tmp_path, rows, look=sample, judge__judge="static", judge__also_rejected="all"
    )
    assert set(probabilities.values()) == {1}
    failed = [f.body.failure for f in facts.values() if isinstance(f.body, Failure)]
    assert (len(facts), failed) == (33, ["no-code"])
    assert any("32 judged, 1 failed" in note for note in tally.notes)
    assert "failed" not in tally.counts, "no kept row has failed"


def test_without_a_sample_there_is_none(tmp_path):
    found, _ = run(tmp_path, look=sample, judge__judge="static")
    assert found == ({}, {})


def test_where_the_filter_has_dropped_nothing_there_is_nothing_to_compare_with(tmp_path):
    found, tally = run(tmp_path, KEPT, look=sample, judge__judge="static", judge__also_rejected=5)
    assert found == ({}, {})
    assert any("dropped no row" in note for note in tally.notes)


def test_raising_the_number_judges_the_new_rows_only(tmp_path):
    with FakeOpenAI(by_number) as server:
        (few, _), _ = run(tmp_path, look=sample, **there(server, judge__also_rejected=5))
        assert server.count == 4 + 5
        (more, facts), tally = run(tmp_path, look=sample, **there(server, judge__also_rejected=12))
        assert server.count == 4 + 12
        assert few.keys() < more.keys()
        assert all(facts[s].body.style is not None for s in more)
        assert tally.usd == 7 * 0.5
        run(tmp_path, look=sample, **there(server, judge__also_rejected=5))
        assert server.count == 16
    assert set(sent(server).values()) == {1}


def test_a_program_that_a_kept_row_has_as_well_is_judged_once(tmp_path):
    rows = [*KEPT, *(rollout(f"K{n}", 0.1, tag=n) for n in range(4))]
    with FakeOpenAI(by_number) as server:
        (_, facts), tally = run(
            tmp_path, rows, look=sample, **there(server, judge__also_rejected="all")
        )
        assert server.count == 4
    assert all(isinstance(fact.body, Judgement) for fact in facts.values())
    assert tally.usd == 4 * 0.5


def test_without_being_told_so_again_the_sample_stays_as_it_was(tmp_path):
    with FakeOpenAI(by_number) as server:
        before, _ = run(tmp_path, look=sample, **there(server, judge__also_rejected=5))
        after, _ = run(tmp_path, look=sample, **there(server))
        assert after == before
        (_, facts), tally = run(tmp_path, look=sample, **there(server, judge__model="other"))
        assert set(facts.values()) == {None}, "no other judge is asked unless told to"
        assert any("5 pending" in note for note in tally.notes)
        assert server.count == 9 + 4
        found, _ = run(tmp_path, look=sample, **there(server, judge__also_rejected=0))
        assert found == ({}, {})


def test_another_filter_makes_the_sample_void_until_it_is_judged_again(tmp_path):
    def refiltered(session):
        first = sample(session)
        with opened_again(session, 0.5) as other:
            pipeline.filter_rows(other)
            void = sample(other), rejected.summary(other.run)
            pipeline.judge(other)
            return first, void, sample(other)

    (first, (void, said), again), _ = run(
        tmp_path, look=refiltered, judge__judge="static", judge__also_rejected=10
    )
    assert void == ({}, {})
    assert "drops others now" in said
    assert len(again[0]) == 10
    assert sum(1 / p for p in again[0].values()) == pytest.approx(26)
    assert first[0].keys() != again[0].keys()


def opened_again(session, min_reward):
    """The same open run with another filter."""
    import contextlib
    from dataclasses import replace

    cfg = session.settings
    other = cfg.model_copy(update={"filter": cfg.filter.model_copy(
        update={"min_reward": min_reward})})  # fmt: skip
    return contextlib.nullcontext(replace(session, settings=other))


def test_failed_ones_are_asked_for_again_only_when_told_so(tmp_path):
    ill = [True]

    def answer(body):
        return error(400, "too long") if ill and number(body) >= 100 else by_number(body)

    with FakeOpenAI(answer) as server:
        chosen = there(server, judge__also_rejected=6)
        (_, facts), tally = run(tmp_path, look=sample, **chosen)
        assert {f.body.failure for f in facts.values()} == {"bad-request"}
        assert any("6 failed" in note for note in tally.notes)
        ill.clear()
        count = server.count
        run(tmp_path, look=sample, **chosen)
        assert server.count == count
        (_, facts), _ = run(tmp_path, look=sample, retry=[], **chosen)
        assert server.count == count + 6
    assert all(isinstance(f.body, Judgement) for f in facts.values())


def test_kept_rows_come_first_under_a_cap_and_what_is_left_waits(tmp_path):
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__also_rejected=6)
        with pytest.raises(BudgetError):
            run(tmp_path, **chosen, llm__max_requests=7)
        with opened(tmp_path / "run", **chosen) as session:
            facts = rejected.judged(session.run)
            assert session.run.status().states["pending"] == 0
        assert Counter(f is None for f in facts.values()) == {True: 3, False: 3}
        run(tmp_path, **chosen)
        assert server.count == 4 + 6


def test_the_checklist_and_a_panel_judge_them_too(tmp_path):
    def answer(body):
        is_module = "MODULE-START" in body["messages"][1]["content"]
        return ok(level() if is_module else checks(), cost=0.5)

    with FakeOpenAI(answer) as server:
        chosen = there(server, judge__rubric="checklist", judge__panel=panel("a", "b"))
        (_, facts), _ = run(tmp_path, look=sample, **chosen, judge__also_rejected=5)
        assert server.count == 2 * 2 * (4 + 5)
    assert {f.body.judge for f in facts.values()} == {"a, b"}
    assert {f.body.style for f in facts.values()} == {10}


def test_near_a_threshold_they_are_asked_again_as_kept_rows_are(tmp_path):
    rows = [*KEPT, *(rollout(f"D{n}", 0.0, tag=n) for n in range(4, 8))]
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__near_style=6, judge__near_share=0)
        (_, facts), _ = run(tmp_path, rows, look=sample, **chosen, judge__also_rejected="all")
        assert server.count == 4 + 4 + 3 * 2
    assert sorted(len(f.body.opinions) for f in facts.values()) == [0, 3, 3, 3]


def test_a_judge_of_the_family_that_has_written_them_is_refused(tmp_path):
    rows = [*KEPT, written_by("zai-org/GLM-4.6", reward=0.1)]
    chat = Counted()
    with pytest.raises(ConfigError, match="family glm"):
        run(tmp_path, rows, chat, judge__model="z-ai/glm-5", judge__also_rejected=5)
    assert chat.count == 0
    run(tmp_path, rows, chat, judge__model="z-ai/glm-5")
    assert chat.count == 4


def test_a_run_that_was_killed_pays_again_for_no_more_than_was_in_flight(tmp_path):
    words = ("judge", "--also-rejected", "10")
    with FakeOpenAI(judge, delay=0.03) as server:
        shell = Shell(tmp_path / "shell", server)
        shell.prepare()
        process = shell.start(*words)
        shell.wait_for(GOOD + 3, process)
        os.killpg(process.pid, signal.SIGKILL)
        assert shell.end(process) == -signal.SIGKILL
        assert shell.command(*words) == 0, shell.said
        asked = sent(server)
        assert len(asked) == GOOD + 10
        assert sum(asked.values()) - len(asked) <= WORKERS
        states = shell.status().states
        assert (states["kept"] + states["dropped"], states["pending"]) == (len(ROWS), 0)


# --- what is said of them -----------------------------------------------------------------------


def test_the_estimate_counts_them(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", ROWS_OF_BOTH)
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__also_rejected=6)
        with opened(tmp_path / "run", source, **chosen) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            found = estimate(session, "judge")
        assert (found.rows, found.rejected, found.requests) == (10, 6, 10)
        run(tmp_path, **chosen)
        with opened(tmp_path / "run", source, **chosen) as session:
            assert estimate(session, "judge").requests == 0


def test_why_and_status_say_that_they_are_for_comparison_only(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS_OF_BOTH)
    for words in (("load", "rows.jsonl"), ("filter",)):
        assert call(tmp_path, *words).code == 0
    assert call(tmp_path, "judge", "--judge", "static", "--also-rejected", 32).code == 0
    said = call(tmp_path, "why", "20").out
    assert "chosen with probability 1 for comparison only; it stays dropped" in said
    assert "judge static" in said
    assert said.rstrip().endswith("so it is dropped")
    assert "comparison" not in call(tmp_path, "why", "1").out
    status = call(tmp_path, "status")
    assert "for comparison only, 32 of 32 rows that the filter dropped: 32 judged" in status.out
    counts = call(tmp_path, "status", "--json").json["judge_rejected"]
    assert counts == {"judged": 32, "failed": 0, "pending": 0}
    row = call(tmp_path, "why", "20", "--json").json["judge_rejected"]
    assert (row["probability"], row["judge"]["judge"]) == (1, "static")


def test_a_row_that_waits_is_said_to_wait(tmp_path):
    with FakeOpenAI(by_number) as server:
        chosen = there(server, judge__also_rejected="all")
        with pytest.raises(BudgetError):
            run(tmp_path, **chosen, llm__max_requests=4)
        with opened(tmp_path / "run", **chosen) as session:
            said = explain(session.run, "20").lines()
    assert any("has not come to it yet" in line for line in said)


def test_reliability_is_that_of_the_kept_rows(tmp_path):
    def looked(session):
        found = read_judgements(session.run)
        return {one.item for one in found.said}, found.attempts, set(found.entries)

    (items, attempts, kept), _ = run(
        tmp_path, look=looked, judge__judge="static", judge__also_rejected="all"
    )
    assert items == kept
    assert attempts == 4
