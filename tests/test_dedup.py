"""dedup by exact and near programs: who stays, and what is said of those that go."""

import json

import pytest
from build import entry, kernel, no_code, opened, reference, rollout, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import call

from kernelsift import pipeline
from kernelsift.config import Dedup
from kernelsift.errors import DataError
from kernelsift.explain import explain
from kernelsift.repeats import Texts
from kernelsift.stages.dedup import Ranked, alarm, decide, find_repeats


def answer(code, module="Relu", reward=1.0, **more):
    said = [{"role": "assistant", "content": f"BEGIN_PYTHON\n{code}\nEND_PYTHON"}]
    return rollout(module, reward, completion=said, **more)


A, B, C = (kernel(name) for name in ("A", "B", "C"))
NEAR_A = A + "\n\nscale = torch.ones(3)\n"
RENAMED_A = "# another hand\n" + A.replace("ANew", "MyModel").replace("TAG", "label")


def deduped(tmp_path, rows, **dotted):
    """Decisions by row number, and the run's clusters."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    values = {"filter__min_reward": -1.0, **dotted}
    with opened(tmp_path / "run", source, **values) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.keep_best(session)
        run = session.run
        made = run.decisions(("dedup",))
        rows = {e.row: made[e.id][-1] for e in run.entries()}
        number = {e.id: e.row for e in run.entries()}
        clusters = {
            (side, kind, number[sample], number[leader])
            for side, kind, sample, leader in run.store.rows(
                "SELECT side, kind, sample, leader FROM clusters"
            )
        }
        return rows, clusters, tally, number


def test_the_same_program_under_other_names_is_dropped_for_the_better_reward(tmp_path):
    rows = [answer(A, "Relu", 1.0), answer(RENAMED_A, "Gelu", 2.0), answer(B, "Relu", 0.5)]
    made, clusters, tally, number = deduped(tmp_path, rows, dedup__by="exact")
    assert [made[n].keep for n in range(3)] == [False, True, True]
    assert made[0].reason == "exact-repeat"
    seen = made[0].evidence
    assert (number[seen["survivor"]], seen["kind"], seen["side"]) == (1, "exact", "answer")
    assert seen["similarity"] == 1.0
    assert 0.5 < seen["raw_similarity"] < 1.0
    assert ("answer", "exact", 0, 1) in clusters
    assert dict(tally.counts) == {"kept": 2, "dropped": 1}


def test_different_kernels_for_one_module_all_stay_and_near_copies_go(tmp_path):
    rows = [answer(A, reward=3), answer(B, reward=2), answer(NEAR_A, reward=1), answer(C, reward=0)]
    made, clusters, _, number = deduped(tmp_path, rows, dedup__by="near")
    assert [made[n].keep for n in range(4)] == [True, True, False, True]
    seen = made[2].evidence
    assert number[seen["survivor"]] == 0
    assert 0.8 <= seen["similarity"] < 1
    assert {c for c in clusters if c[0] == "reference"} == {
        ("reference", "near", n, 0) for n in (1, 2, 3)
    }, "the clusters of both sides are stored"
    assert {c for c in clusters if c[0] == "answer"} == {("answer", "near", 2, 0)}


def test_by_reference_one_row_of_each_task_stays_whatever_its_name(tmp_path):
    info = {"python_code": reference("Relu").replace("class Relu", "class Renamed")}
    rows = [answer(A, "Relu"), answer(B, "Renamed", 2.0, info={"module_name": "X", **info})]
    made, *_ = deduped(tmp_path, rows, dedup__by="exact", dedup__side="reference")
    assert [made[n].keep for n in range(2)] == [False, True]


def test_both_sides_must_be_alike_when_that_is_asked_for(tmp_path):
    rows = [answer(A, "Relu", 3), answer(NEAR_A, "Gelu", 2), answer(NEAR_A, "Relu", 1)]
    made, _, _, number = deduped(tmp_path, rows, dedup__by="near", dedup__side="both")
    assert [made[n].keep for n in range(3)] == [True, True, False]
    assert number[made[2].evidence["survivor"]] == 0


def test_any_of_several_ways_of_being_the_same_is_enough(tmp_path):
    rows = [answer(A, "Relu", 4), answer(B, "Relu", 3), answer(NEAR_A, "Gelu", 2),
            answer(RENAMED_A, "Tanh", 1)]  # fmt: skip
    made, *_ = deduped(tmp_path, rows, dedup__by=("module-name", "exact", "near"))
    assert [made[n].reason for n in range(4)] == [
        "best-of-repeats", "same-repeat", "near-repeat", "exact-repeat",
    ]  # fmt: skip


def test_more_than_one_may_stay_of_a_cluster(tmp_path):
    rows = [answer(A, reward=n) for n in range(5)]
    made, *_ = deduped(tmp_path, rows, dedup__by="exact", dedup__keep=2)
    assert [made[n].keep for n in range(5)] == [False, False, False, True, True]
    assert made[3].reason == "more-of-repeats"


def test_nothing_stays_of_a_cluster_when_none_is_asked_for(tmp_path):
    rows = [answer(A), answer(A, reward=2.0), answer(B)]
    made, _, _, number = deduped(tmp_path, rows, dedup__by="exact", dedup__keep="none")
    assert [made[n].keep for n in range(3)] == [False, False, True]
    assert [number[made[n].evidence["like"]] for n in range(2)] == [1, 0]


def test_verified_comes_before_reward_and_shorter_code_breaks_ties(tmp_path):
    long = A + "\n# a comment that says nothing\n"
    rows = [answer(long, reward=1.0), answer(A, reward=1.0), answer(A + "#", reward=0.9)]
    made, *_ = deduped(tmp_path, rows, dedup__by="exact")
    assert [made[n].keep for n in range(3)] == [False, True, False]


def test_rows_with_equal_scores_are_kept_by_id(tmp_path):
    rows = [answer(A, note=n) for n in range(4)]
    made, _, _, number = deduped(tmp_path, rows, dedup__by="near", dedup__score="reward")
    (kept,) = [n for n in range(4) if made[n].keep]
    assert kept == number[min(number)]


def test_a_user_s_score_is_followed_part_by_part(tmp_path):
    rows = [answer(A, reward=1.0, tokens=5), answer(A, reward=2.0, tokens=3),
            answer(A, reward=1.0, tokens=3)]  # fmt: skip
    score = "-tokens, min(reward, 9)"
    made, *_ = deduped(tmp_path, rows, dedup__by="exact", dedup__score=score)
    assert [made[n].keep for n in range(3)] == [False, True, False]
    assert made[1].evidence["score"] == [-3.0, 2.0]


def test_a_score_that_needs_verify_says_so(tmp_path):
    with pytest.raises(DataError, match=r"needs verified.*verify first"):
        deduped(tmp_path, [answer(A)], dedup__by="exact", dedup__score="verified")


def test_broken_empty_and_huge_answers_are_all_counted(tmp_path):
    broken = A + "def ("
    huge = B + "x = torch.zeros(1)\n" * 55_000
    rows = [answer(broken, reward=2.0), answer("# again\n" + broken), no_code(), no_code("Gelu"),
            answer(huge), answer(huge.replace("(1", "(2"))]  # fmt: skip
    made, _, tally, number = deduped(tmp_path, rows, dedup__by=("exact", "near"))
    assert len(made) == len(rows) == sum(tally.counts.values())
    assert number[made[1].evidence["survivor"]] == 0
    assert made[1].evidence["kind"] == "exact"
    assert made[2].keep
    assert made[3].keep
    assert sum(made[n].keep for n in (4, 5)) == 1
    assert any("2 rows have no answer" in note for note in tally.notes)
    assert any("4 answers do not parse, or are very long" in note for note in tally.notes)


def test_a_cluster_that_swallows_the_data_is_reported(tmp_path):
    rows = [answer(A, f"M{n}", reward=n, note=n) for n in range(40)]
    rows += [answer(kernel(f"K{n}"), f"N{n}") for n in range(20)]
    _, _, tally, _ = deduped(tmp_path, rows, dedup__by="near")
    (note,) = [n for n in tally.notes if "one cluster holds" in n]
    assert "40 of 60 rows (67%)" in note


def test_why_tells_what_a_row_repeats(tmp_path):
    rows = [answer(A, reward=3), answer(NEAR_A, "Gelu", reward=1), answer(RENAMED_A, "Elu", 2)]
    deduped(tmp_path, rows, dedup__by=("exact", "near"))
    with opened(tmp_path / "run") as session:
        texts = ["\n".join(explain(session.run, str(n)).lines()) for n in range(3)]
    assert "the best of 3 rows that are alike" in texts[0]
    assert "nearly the same answer (similarity 0." in texts[1]
    assert "the same answer (names, comments and formatting aside)" in texts[2]


def test_the_command_takes_several_ways_and_the_sizes(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [answer(A), answer(RENAMED_A, "Gelu"), answer(NEAR_A)])
    run = ("--run", tmp_path / "run", "--json")
    assert call(tmp_path, "load", tmp_path / "x.jsonl", *run).code == 0
    assert call(tmp_path, "filter", *run).code == 0
    ways = ("--by", "exact", "--by", "near", "--threshold", "0.7")
    done = call(tmp_path, "dedup", *ways, "--keep", "2", *run)
    assert done.code == 0, done.err
    done = call(tmp_path, "why", "0", *run)
    (decision,) = [d for d in done.json["decisions"] if d["stage"] == "dedup"]
    assert decision["evidence"]["of"] == 3
    done = call(tmp_path, "dedup", "--by", "near", "--keep", "some", *run)
    assert done.code == 2
    assert "dedup.keep" in json.dumps(done.json)


# --- properties ---------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(
        st.sampled_from("MNO"), st.integers(-1, 5), st.sampled_from([0.9, 1.0]), st.integers(0, 2)
    ),
    max_size=12,
)
NEAR_TEXTS = {0: {1: 0.9}, 1: {0: 0.9, 2: 0.85}, 2: {1: 0.85}, 4: {5: 0.8}, 5: {4: 0.8}}
BYS = st.sets(st.sampled_from(["exact", "near", "module-name"]), min_size=1).map(tuple)


def ranked_rows(rows):
    """Rows of (module, text, reward, …) with ids by content, ranked by reward and id."""
    entries = [entry(f"{n:02}", n, module, reward) for n, (module, _, reward, _) in enumerate(rows)]
    scores = [(reward,) for *_, reward, _ in rows]
    order = sorted(range(len(rows)), key=lambda n: (-rows[n][2], entries[n].id))
    texts = Texts(
        part="answer", of=tuple(text for _, text, *_ in rows),
        exact=tuple("aabcde"), first=tuple(range(6)), near=NEAR_TEXTS, broken=0,
    )  # fmt: skip
    return Ranked(entries, order, scores), texts


@given(ROWS, BYS, st.integers(1, 3))
def test_every_dropped_row_names_a_kept_one_that_it_is_like(rows, by, keep):
    ranked, texts = ranked_rows(rows)
    cfg = Dedup(by=by, keep=keep)
    found = {d.sample: d for d in decide(ranked, cfg, find_repeats(ranked, cfg, [texts]))}
    assert len(found) == len(rows)
    place = {ranked.entries[n].id: p for p, n in enumerate(ranked.order)}
    for sample, decision in found.items():
        if decision.keep:
            continue
        seen = decision.evidence
        survivor = seen["survivor"]
        assert found[survivor].keep
        assert place[survivor] < place[sample]
        one, other = int(sample), int(survivor)
        if seen["kind"] == "near":
            assert seen["similarity"] >= cfg.threshold
            assert seen["similarity"] == texts.around(texts.node(one))[texts.node(other)]
        elif seen["kind"] == "exact":
            assert texts.exact_key(one) == texts.exact_key(other) != ""
        else:
            assert rows[one][0] == rows[other][0]


@given(ROWS, BYS)
def test_no_two_best_rows_are_alike(rows, by):
    ranked, texts = ranked_rows(rows)
    cfg = Dedup(by=by)
    made = decide(ranked, cfg, find_repeats(ranked, cfg, [texts]))
    kept = [int(d.sample) for d in made if d.keep]
    for i, one in enumerate(kept):
        for other in kept[i + 1 :]:
            if "module-name" in by:
                assert rows[one][0] != rows[other][0]
            if "near" in by and min(texts.of[one], texts.of[other]) >= 0:
                assert texts.node(other) not in texts.around(texts.node(one))


@given(ROWS)
def test_where_nothing_may_stay_only_rows_like_no_other_do(rows):
    ranked, texts = ranked_rows(rows)
    cfg = Dedup(by=("exact",), keep="none")
    made = {int(d.sample): d for d in decide(ranked, cfg, find_repeats(ranked, cfg, [texts]))}
    keys = [texts.exact_key(n) for n in range(len(rows))]
    assert {n for n, d in made.items() if d.keep} == {
        n for n, key in enumerate(keys) if not key or keys.count(key) == 1
    }


PROGRAMS = st.lists(st.sampled_from([A, B, C, NEAR_A, RENAMED_A, "def (", ""]), max_size=8)


@given(PROGRAMS, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_source_decides_nothing(tmp_path_factory, programs, shuffler):
    rows = [answer(code, reward=1.0 + n % 2, note=n) for n, code in enumerate([A, *programs])]
    found = []
    for mixed in (rows, shuffler.sample(rows, len(rows))):
        made, *_ = deduped(tmp_path_factory.mktemp("run"), mixed, dedup__by=("exact", "near"))
        found.append({d.sample: (d.keep, d.reason, d.evidence) for d in made.values()})
    assert found[0] == found[1]


def test_few_rows_raise_no_alarm():
    ranked, texts = ranked_rows([("M", 0, 1.0, 0)] * 10)
    cfg = Dedup(by=("exact",))
    assert alarm(ranked, cfg, find_repeats(ranked, cfg, [texts])) is None
