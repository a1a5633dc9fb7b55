"""filter, dedup, score expressions and splits: what is kept, and why."""

import pytest
from build import entry, fact, judgement, opened, rollout, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from kernelsift import pipeline
from kernelsift.config import Filter
from kernelsift.errors import ConfigError, DataError
from kernelsift.expression import parse
from kernelsift.stages.dedup import Candidate
from kernelsift.stages.dedup import select as keep_best
from kernelsift.stages.filter import select as filter_rows

SCORE = parse("reward * difficulty * style")

# --- filter -------------------------------------------------------------------------------------


def test_a_reward_equal_to_the_threshold_is_dropped():
    entries = [entry("a", reward=0.85), entry("b", reward=0.8500001), entry("c", reward=-1.0)]
    decisions = filter_rows(entries, Filter(min_reward=0.85))
    assert [(d.keep, d.reason) for d in decisions] == [
        (False, "low-reward"),
        (True, "reward"),
        (False, "low-reward"),
    ]
    assert decisions[0].evidence == {"reward": 0.85, "min_reward": 0.85}


def test_nothing_left_after_the_filter_says_what_the_best_reward_is(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(reward=0.2), rollout(reward=0.3)])
    with opened(tmp_path / "run", source) as session:
        pipeline.load(session)
        with pytest.raises(DataError, match=r"at most 0\.3.*above 0\.85.*--min-reward"):
            pipeline.filter_rows(session)
        assert session.run.status().states["dropped"] == 2


# --- dedup --------------------------------------------------------------------------------------


def candidate(id_, module="M", reward=1.0, difficulty=1.0, style=1.0):
    values = {"reward": reward, "difficulty": difficulty, "style": style}
    return Candidate(entry(id_, module=module, reward=reward), values)


def test_the_best_score_of_a_module_is_kept():
    found = keep_best([candidate("a", style=2), candidate("b", style=5), candidate("c")], SCORE)
    assert {d.sample: d.keep for d in found} == {"a": False, "b": True, "c": False}


def test_ties_go_to_the_smaller_id():
    found = keep_best([candidate("b"), candidate("a"), candidate("c")], SCORE)
    assert [d.sample for d in found if d.keep] == ["a"]


def test_modules_do_not_compete_with_each_other():
    found = keep_best([candidate("a", "M"), candidate("b", "N")], SCORE)
    assert all(d.keep for d in found)


CANDIDATES = st.lists(
    st.builds(
        candidate,
        st.integers(0, 99).map("{:02}".format),
        st.sampled_from("MNO"),
        st.sampled_from([0.9, 1.0]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=15,
    unique_by=lambda c: c.entry.id,
)


@given(CANDIDATES, st.randoms())
def test_the_order_of_rows_decides_nothing(candidates, random):
    def by_sample(found):
        return {d.sample: d for d in found}

    shuffled = random.sample(candidates, len(candidates))
    assert by_sample(keep_best(candidates, SCORE)) == by_sample(keep_best(shuffled, SCORE))


@given(CANDIDATES)
def test_every_dropped_row_names_the_kept_row_that_beat_it(candidates):
    found = {d.sample: d for d in keep_best(candidates, SCORE)}
    assert set(found) == {c.entry.id for c in candidates}
    module_of = {c.entry.id: c.entry.module for c in candidates}
    for sample, decision in found.items():
        if not decision.keep:
            winner = decision.evidence["best"]
            assert found[winner].keep
            assert module_of[winner] == module_of[sample]
            assert (-decision.evidence["best_score"], winner) < (
                -decision.evidence["score"],
                sample,
            )


def judged_run(tmp_path, **dotted):
    """Two rows of one module, loaded and judged alike, with columns of their own."""
    rows = [rollout(tag=n, tokens=10 * n, note="x", holes=None if n else 3) for n in range(2)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    return opened(tmp_path / "run", source, judge__judge="static", **dotted)


def upto_judge(session):
    pipeline.load(session)
    pipeline.filter_rows(session)
    pipeline.judge(session)


def test_a_score_may_use_a_column_of_the_source(tmp_path):
    with judged_run(tmp_path, dedup__score="reward * tokens") as session:
        upto_judge(session)
        pipeline.keep_best(session)
        best = next(e for e in session.run.entries() if e.row == 1)
        kept = [s for s, ds in session.run.decisions(("dedup",)).items() if ds[-1].keep]
        assert kept == [best.id]


def test_a_score_may_use_the_length_of_the_code(tmp_path):
    with judged_run(tmp_path, dedup__score="-code_length") as session:
        upto_judge(session)
        assert pipeline.keep_best(session).counts == {"kept": 1, "dropped": 1}


@pytest.mark.parametrize("name", ["tokenz", "note", "info"])
def test_a_score_of_a_column_that_has_no_numbers_says_what_there_is(tmp_path, name):
    with judged_run(tmp_path, dedup__score=f"reward * {name}") as session:
        upto_judge(session)
        with pytest.raises(ConfigError, match=f"{name} is no numeric column.*tokens"):
            pipeline.keep_best(session)
        assert session.run.status().states["kept"] == 2


def test_a_row_without_a_value_in_the_score_is_named(tmp_path):
    with judged_run(tmp_path, dedup__score="holes") as session:
        upto_judge(session)
        with pytest.raises(DataError, match=r"x\.jsonl:2: .*needs holes"):
            pipeline.keep_best(session)


def test_a_division_by_zero_is_named_with_its_row(tmp_path):
    with judged_run(tmp_path, dedup__score="reward / tokens") as session:
        upto_judge(session)
        with pytest.raises(DataError, match=r"x\.jsonl:1: .*tokens = 0.*--score"):
            pipeline.keep_best(session)


def test_rows_that_were_not_judged_cannot_be_compared_by_a_judge_score(tmp_path):
    with judged_run(tmp_path) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        with pytest.raises(DataError, match="judge first"):
            pipeline.keep_best(session)


def test_the_winner_of_a_run_is_the_best_by_judge_score(tmp_path):
    with judged_run(tmp_path) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        first, second = (e.id for e in session.run.entries())
        session.run.begin("judge", {}, "1")
        session.run.point("judge", {s: f"key-{s}" for s in (first, second)})
        session.run.save_facts([fact(first, judgement(2, 2)), fact(second, judgement(5, 5))])
        pipeline.keep_best(session)
        (dropped,) = session.run.dropped().items()
        assert dropped[0] == first
        assert dropped[1].evidence["best"] == second
        assert dropped[1].evidence["best_score"] == 25


# --- expressions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("reward", 2.0),
        ("reward * difficulty + style / 2 - 1", 7.0),
        ("-reward ** 2", -4.0),
        ("+reward", 2.0),
        ("max(reward, difficulty, 1)", 3.0),
        ("min(reward, 1)", 1.0),
        ("abs(-reward)", 2.0),
        ("sqrt(style)", 2.0),
        ("log(style, 2)", 2.0),
        ("log1p(0)", 0.0),
        ("1e3", 1000.0),
    ],
)
def test_arithmetic_over_columns_has_its_value(text, value):
    assert parse(text)({"reward": 2.0, "difficulty": 3.0, "style": 4.0}) == pytest.approx(value)


def test_an_expression_knows_the_columns_it_needs():
    assert parse("b * max(a, 1) / b").names == ("a", "b")
    assert parse("min").names == ("min",)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "reward *", "reward.real", "reward[0]", "__import__('os')", "exec('1')", "open(x)",
        "reward if 1 else 2", "reward > 1", "reward and 1", "not reward", "lambda: 1", "[1]",
        "(1,)",
        "'text'", "f'{reward}'", "True", "None", "1j", "x := 1", "x = 1", "reward // 2",
        "reward % 2", "reward @ 2", "1 << 9", "~1", "min()", "min(1)", "min(*reward)",
        "max(1, key=2)",
        "abs()", "abs(1, 2)", "sqrt(1, 2)", "log(1, 2, 3)", "log(x=1)", "a b", "(lambda: 1)()",
        "1" * 501, "(" * 250 + "1" + ")" * 250, "\0", "\ud800", "await x", "yield", "...",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ConfigError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9", "9**9**9**9", "10**1000000", "2.0**100000", "9" * 400, "1e308 * 10", "1/0",
        "0**-1",
        "(-1)**0.5", "max((-8)**0.5, 1)", "log(0)", "log(-1)", "log(2, 1)", "sqrt(-1)", "log1p(-1)",
        "1e999", "1e999 - 1e999",
    ],
)  # fmt: skip
def test_what_has_no_finite_value_is_an_error_at_once(text):
    with pytest.raises((ArithmeticError, ValueError)):
        parse(text)({})


@given(st.text(alphabet="9*()-+/. reward,minlogsqt", max_size=40))
def test_no_text_makes_an_expression_misbehave(text):
    try:
        value = parse(text)(dict.fromkeys(parse(text).names, 2.0))
    except (ConfigError, ArithmeticError, ValueError):
        return
    assert isinstance(value, float)


def test_a_deep_expression_is_read():
    assert parse("-" * 400 + "1")({}) == 1.0
