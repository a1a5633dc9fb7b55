"""The verify stage: facts are measured once, decisions follow from facts and policy."""

import contextlib
import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import get_args
from unittest import mock

import pyarrow.parquet as pq
import pytest
from build import Counted, no_code, opened, reference, rollout, write_jsonl
from click.testing import CliRunner
from test_verdict_facts import WRONG, facts, provenance

import kernelsift
from kernelsift import pipeline, verifying
from kernelsift.cli.main import cli
from kernelsift.config_verify import Verify
from kernelsift.errors import ConfigError, DataError, RunError
from kernelsift.explain import explain
from kernelsift.kernels.facts import Difference, Finding, ReferenceRun, StaticSummary
from kernelsift.kernels.verdict import Policy, Unverifiable
from kernelsift.kernels.verifier import Effort
from kernelsift.manifest import write_manifest
from kernelsift.model import FailureClass

SAMPLE = Path(kernelsift.__file__).parent / "data" / "sample.jsonl"
CORRECT = facts()
DIFFERS = WRONG.model_copy(
    update={"differences": (Difference(output=0, index=(1, 2), expected="0.5", got="7"),)}
)
HARD = Finding(id="K40", severity="hard", line=7, evidence="CACHE[x.data_ptr()]")
ROUGH = Finding(id="K28", severity="suspicious", line=3, evidence="x.half()")
ANSWERS = {
    0: CORRECT,
    1: facts(comparisons=(DIFFERS,)),
    2: facts(reference=ReferenceRun(status="size", why="all sizes are too large")),
    3: facts(provenance=provenance(torch_share=0.9)),
    4: facts(static=StaticSummary(parsed=True, kernels=1, findings=(HARD,))),
    5: facts(static=StaticSummary(parsed=True, kernels=1, findings=(ROUGH,))),
}
"""Facts of the kernels in `ROWS`, by their tag."""
ROWS = [rollout(f"M{tag}", tag=tag) for tag in ANSWERS]
KEPT = {"M0", "M5"}


HONEST = """
import torch
import triton
import triton.language as tl


@triton.jit
def k(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.load(x + i, mask=i < n)
    tl.store(y + i, tl.maximum(v, 0.0), mask=i < n)


class ANew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        k[(triton.cdiv(x.numel(), 16),)](x, y, x.numel(), B=16)
        return y
"""
CHEAT = """
import torch

CACHE = {}


class BNew(torch.nn.Module):
    def forward(self, x):
        if x.data_ptr() in CACHE:
            return CACHE[x.data_ptr()]
        return x
"""


def answer(code):
    """A completion that holds a program."""
    return [{"role": "assistant", "content": f"BEGIN_PYTHON{code}END_PYTHON"}]


class Scripted:
    """Knows the facts of each kernel, and remembers what it was asked."""

    def __init__(self, answer=ANSWERS.__getitem__):
        self.asked = []
        self._answer = answer
        self._lock = threading.Lock()

    def verify(self, question):
        with self._lock:
            self.asked.append(question)
        return self._answer(tag_of(question))

    @property
    def count(self):
        return len(self.asked)

    @property
    def tags(self):
        return {tag_of(question) for question in self.asked}


def tag_of(question):
    return int(question.code.split("TAG = ")[1].split("\n")[0])


def always(found=CORRECT):
    return Scripted(lambda _: found)


@contextlib.contextmanager
def run_of(tmp_path, verifier, rows=ROWS, **dotted):
    """A session in which these rows are loaded and filtered."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, verifier=verifier, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        yield session


def verified(tmp_path, verifier=None, rows=ROWS, **dotted):
    """Verify and return the tally."""
    with run_of(tmp_path, verifier or Scripted(), rows, **dotted) as session:
        return pipeline.verify(session)


def states(session):
    """State by module."""
    found = session.run.states()
    return {entry.module: found[entry.id] for entry in session.run.entries()}


def reasons(session):
    made = session.run.decisions(("verify",))
    return {e.module: made[e.id][0].reason for e in session.run.entries() if e.id in made}


# --- decisions ----------------------------------------------------------------------------------


def test_right_kernels_are_kept_and_all_others_are_dropped_or_failed_with_a_reason(tmp_path):
    with run_of(tmp_path, Scripted()) as session:
        pipeline.verify(session)
        assert reasons(session) == {
            "M0": "verified",
            "M1": "wrong",
            "M2": "unverifiable-size",
            "M3": "figleaf",
            "M4": "K40",
            "M5": "verified",
        }
        assert states(session) == {
            "M0": "kept",
            "M1": "dropped",
            "M2": "failed",
            "M3": "dropped",
            "M4": "dropped",
            "M5": "kept",
        }


def test_the_judge_sees_only_what_verify_kept(tmp_path):
    with run_of(tmp_path, Scripted(), judge__judge="static") as session:
        pipeline.verify(session)
        assert {e.module for e in session.run.kept_before("judge")} == KEPT
        assert pipeline.judge(session).counts["rows"] == len(KEPT)
        pipeline.keep_best(session)
        assert {m for m, state in states(session).items() if state == "kept"} == KEPT


def test_rows_pass_unverified_where_the_stage_has_not_run(tmp_path):
    with run_of(tmp_path, None) as session:
        assert len(session.run.kept_before("judge")) == len(ROWS)
        assert "verify" not in session.run.status().stages
        assert set(states(session).values()) == {"kept"}


def test_the_states_sum_to_the_rows_and_the_counts_to_what_was_verified(tmp_path):
    with run_of(tmp_path, Scripted()) as session:
        pipeline.verify(session)
        status = session.run.status()
        assert status.states == {"kept": 2, "dropped": 3, "failed": 1, "pending": 0}
        assert status.stages["verify"] == {
            "kept": 2,
            "dropped: wrong": 1,
            "dropped: figleaf": 1,
            "dropped: K40": 1,
            "failed: unverifiable-size": 1,
        }


def test_a_cheat_is_named_before_a_wrong_answer(tmp_path):
    static = StaticSummary(parsed=True, kernels=1, findings=(HARD,))
    both = facts(comparisons=(DIFFERS,), static=static)
    with run_of(tmp_path, always(both), ROWS[:1]) as session:
        pipeline.verify(session)
        assert reasons(session) == {"M0": "K40"}


def test_a_cheat_that_could_not_be_run_is_dropped_all_the_same(tmp_path):
    unrun = ANSWERS[2].model_copy(update={"static": ANSWERS[4].static})
    with run_of(tmp_path, always(unrun), ROWS[:1], verify__unverifiable="keep") as session:
        pipeline.verify(session)
        assert (states(session), reasons(session)) == ({"M0": "dropped"}, {"M0": "K40"})


@pytest.mark.parametrize(
    ("setting", "state"), [("fail", "failed"), ("keep", "kept"), ("drop", "dropped")]
)
def test_the_policy_says_what_becomes_of_rows_that_could_not_be_checked(tmp_path, setting, state):
    with run_of(tmp_path, Scripted(), verify__unverifiable=setting) as session:
        pipeline.verify(session)
        assert states(session)["M2"] == state
        assert reasons(session)["M2"] == "unverifiable-size"


@pytest.mark.parametrize(
    ("change", "module", "state"),
    [
        ({"verify__drop_ids": ["K28"]}, "M5", "dropped"),
        ({"verify__keep_work": ["full_triton", "figleaf"], "verify__allow_ids": ["K06"]}, "M3",
         "kept"),
        ({"verify__figleaf_share": 0.95, "verify__partial_share": 0.95}, "M3", "kept"),
        ({"verify__drop_severities": ["hard", "suspicious"]}, "M5", "dropped"),
        ({"verify__allow_ids": ["K40"]}, "M4", "dropped"),
        ({"verify__unverifiable": "drop"}, "M2", "dropped"),
        ({"verify__sandbox": "off"}, "M0", "kept"),
        ({"verify__targets": "sm_80, sm_90"}, "M0", "kept"),
    ],
)  # fmt: skip
def test_another_policy_decides_anew_and_runs_nothing(tmp_path, change, module, state):
    verified(tmp_path)
    verifier = Scripted()
    with run_of(tmp_path, verifier, **change) as session:
        tally = pipeline.verify(session)
        assert states(session)[module] == state
    assert verifier.count == tally.counts["verified"] == 0
    assert any("nothing had to be run" in note for note in tally.notes)


def test_the_default_policy_and_effort_are_those_of_the_verifier():
    checks = verifying.checks_for(Verify())
    assert checks.policy == Policy()
    assert asdict(checks.effort) == asdict(Effort())


def test_every_reason_why_a_kernel_is_unverifiable_is_a_failure_class():
    wanted = {f"unverifiable-{reason}" for reason in get_args(Unverifiable)}
    assert wanted <= set(get_args(FailureClass))


def test_an_id_that_is_not_in_the_catalog_is_refused_before_anything_runs(tmp_path):
    verifier = Scripted()
    with (
        run_of(tmp_path, verifier, verify__drop_ids=["K99"]) as session,
        pytest.raises(ConfigError, match="K99"),
    ):
        pipeline.verify(session)
    assert verifier.count == 0


def test_a_device_that_cannot_be_had_is_refused_and_changes_no_state(tmp_path, monkeypatch):
    monkeypatch.setattr("kernelsift.kernels.gpu.opening.missing", lambda: "there is no driver")
    with run_of(tmp_path, Scripted(), verify__device="cuda") as session:
        with pytest.raises(ConfigError, match="cuda"):
            pipeline.verify(session)
        assert set(states(session).values()) == {"kept"}


# --- what is run, and what is known -------------------------------------------------------------


def test_the_same_again_runs_nothing_and_says_so(tmp_path):
    first = verified(tmp_path)
    verifier = Scripted()
    again = verified(tmp_path, verifier)
    assert verifier.count == again.counts["verified"] == 0
    assert again.counts["known already"] == first.counts["verified"] == len(ROWS)
    assert [n for n in again.notes if n.startswith("outcomes")] == [
        n for n in first.notes if n.startswith("outcomes")
    ]


def test_equal_code_for_an_equal_module_is_run_once_and_shared(tmp_path):
    verifier = Scripted()
    rows = [rollout("M1", tag=1, example_id=n) for n in range(4)]
    with run_of(tmp_path, verifier, rows) as session:
        tally = pipeline.verify(session)
        assert list(session.run.states().values()) == ["dropped"] * 4
    assert (verifier.count, tally.counts["sharing facts"]) == (1, 3)


def test_equal_code_for_another_module_is_run_again(tmp_path):
    verifier = Scripted()
    other = {"module_name": "M1", "python_code": reference("M1") + "\nEXTRA = 1\n"}
    verified(tmp_path, verifier, [rollout("M1", tag=1), rollout("M1", tag=1, info=other)])
    assert verifier.count == 2


@pytest.mark.parametrize(
    "change",
    [{"verify__budget_seconds": 9.0}, {"verify__limit_seconds": 9.0}, {"verify__targets": "sm_90"}],
)
def test_settings_that_could_change_the_facts_run_everything_again(tmp_path, change):
    verified(tmp_path)
    verifier = Scripted()
    verified(tmp_path, verifier, **change)
    assert verifier.count == len(ROWS)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("kernelsift.kernels.verifier", "VERIFIER_VERSION", "of-a-test"),
        ("kernelsift.verifying", "_version", lambda name: f"{name} of a test"),
    ],
)
def test_other_versions_run_everything_again_and_forget_nothing(
    tmp_path, monkeypatch, place, name, value
):
    monkeypatch.setattr(verifying, "missing_packages", lambda: ())
    verified(tmp_path)
    verifier = Scripted()
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{name}", value)
        verified(tmp_path, verifier)
    assert verifier.count == len(ROWS)
    back = Scripted()
    verified(tmp_path, back)
    assert back.count == 0


def test_the_class_that_is_meant_is_found_where_the_row_names_none(tmp_path):
    verifier = always()
    problem = {"module_name": "17_Some_Problem", "python_code": reference("Model")}
    verified(tmp_path, verifier, [rollout("M1"), rollout("M2", info=problem, tag=2)])
    assert {q.class_name for q in verifier.asked} == {"M1", "Model"}


def test_many_kernels_at_once_each_get_their_own_facts(tmp_path):
    rows = [rollout(f"M{n}", tag=n) for n in range(60)]
    verifier = Scripted(lambda tag: ANSWERS[tag % 2])
    with run_of(tmp_path, verifier, rows, workers=8) as session:
        pipeline.verify(session)
        found = states(session)
    assert [found[f"M{n}"] for n in range(60)] == ["kept", "dropped"] * 30
    assert verifier.count == 60


# --- rows that cannot be verified ---------------------------------------------------------------


def test_a_row_without_code_fails_without_being_run(tmp_path):
    verifier = Scripted()
    with run_of(tmp_path, verifier, [no_code("A")]) as session:
        pipeline.verify(session)
        assert session.run.status().stages["verify"] == {"failed: no-code": 1}
        assert states(session) == {"A": "failed"}
    assert verifier.count == 0


def test_a_row_without_module_is_only_read(tmp_path):
    verifier = Scripted()
    rows = [
        rollout("A", info={"module_name": "A"}, completion=answer(HONEST)),
        rollout("B", info={"module_name": "B"}, completion=answer(CHEAT)),
    ]
    with run_of(tmp_path, verifier, rows) as session:
        pipeline.verify(session)
        assert reasons(session)["A"] == "unverifiable-reference"
        assert states(session) == {"A": "failed", "B": "dropped"}
    assert verifier.count == 0


def broken(tag):
    if tag == 1:
        raise ZeroDivisionError("odd bytes")
    return ANSWERS[tag]


def test_a_row_that_the_verifier_cannot_cope_with_fails_and_the_others_go_on(tmp_path):
    with run_of(tmp_path, Scripted(broken)) as session:
        pipeline.verify(session)
        assert session.run.status().stages["verify"]["failed: verifier-error"] == 1
        assert states(session)["M0"] == "kept"
        lines = "\n".join(explain(session.run, "1").lines())
        assert "ZeroDivisionError: odd bytes" in lines


@pytest.mark.parametrize(
    ("retry", "tags"),
    [(None, []), ([], [1, 2]), (["verifier-error"], [1]), (["unverifiable-size"], [2])],
)
def test_what_failed_is_run_again_only_when_asked_for(tmp_path, retry, tags):
    verified(tmp_path, Scripted(broken))
    verifier = always()
    with run_of(tmp_path, verifier) as session:
        tally = pipeline.verify(session, retry=retry)
        found = states(session)
    assert sorted(map(tag_of, verifier.asked)) == tags
    assert tally.counts["verified"] == len(tags)
    assert tally.counts["known already"] == len(ROWS) - len(tags)
    assert all(found[f"M{tag}"] == "kept" for tag in tags)


def test_an_error_that_concerns_all_rows_ends_the_run_and_keeps_what_came_before(tmp_path):
    def dies(tag):
        if tag == 3:
            raise RunError("the fork server cannot be started")
        return ANSWERS[tag]

    with (
        run_of(tmp_path, Scripted(dies), workers=1) as session,
        pytest.raises(RunError, match="fork server"),
    ):
        pipeline.verify(session)
    again = Scripted()
    verified(tmp_path, again)
    assert {3, 5} <= again.tags <= {3, 4, 5}  # 4 may have been under way when 3 failed


def test_facts_of_another_shape_fail_and_are_run_again_when_asked_for(tmp_path):
    verified(tmp_path)
    with run_of(tmp_path, Scripted()) as session:
        session.run.store.write(
            lambda db: db.execute(
                """UPDATE facts SET body = '{"kind":"verification","facts":{}}'"""
            )
        )
        pipeline.verify(session)
        assert set(reasons(session).values()) == {"verifier-error"}
        pipeline.verify(session, retry=["verifier-error"])
        assert states(session)["M0"] == "kept"


# --- a part of the rows -------------------------------------------------------------------------


def test_a_limit_verifies_that_many_and_the_others_wait(tmp_path):
    verifier = always()
    with run_of(tmp_path, verifier) as session:
        tally = pipeline.verify(session, limit=2)
        assert verifier.count == 2
        assert tally.counts["pending"] == len(ROWS) - 2
        picked = sorted(e.id for e in session.run.entries())[:2]
        assert {e.id for e in session.run.kept_before("judge")} == set(picked)
        assert session.run.status().states["pending"] == len(ROWS) - 2
        pipeline.verify(session, limit=2)
        assert verifier.count == 4
        assert pipeline.verify(session).counts["pending"] == 0
    assert verifier.count == len(ROWS)


def test_rows_are_named_by_id_origin_or_number(tmp_path):
    verifier = always()
    with run_of(tmp_path, verifier) as session:
        entries = session.run.entries()
        ids = f"{entries[0].id}, {entries[1].origin},2"
        assert pipeline.verify(session, ids=ids).counts["verified"] == 3
        assert {m for m, state in states(session).items() if state == "kept"} == {"M0", "M1", "M2"}
        listed = tmp_path / "ids.txt"
        listed.write_text(f"{entries[3].id}\n\n{entries[0].id}\n")
        assert pipeline.verify(session, ids=str(listed)).counts["verified"] == 1


def test_a_row_that_is_not_there_or_was_dropped_is_told(tmp_path):
    rows = [*ROWS, rollout("Low", 0.1, tag=0)]
    with run_of(tmp_path, always(), rows) as session:
        with pytest.raises(DataError, match=r"no row of .* 'ffffffff'"):
            pipeline.verify(session, ids="ffffffff")
        with pytest.raises(DataError, match="names no row"):
            pipeline.verify(session, ids=" , ")
        tally = pipeline.verify(session, ids=f"{len(ROWS)},0")
        assert tally.counts["verified"] == 1
        assert any("1 of the rows asked for were dropped before" in n for n in tally.notes)


def test_rows_that_a_looser_filter_lets_in_wait_for_their_own_verification(tmp_path):
    rows = [*ROWS, rollout("New", 0.5, tag=0)]
    verified(tmp_path, rows=rows)
    with run_of(tmp_path, None, rows, filter__min_reward=0.4) as session:
        assert states(session)["New"] == "pending"
        assert {e.module for e in session.run.kept_before("judge")} == KEPT
    verifier = Scripted()
    verified(tmp_path, verifier, rows, filter__min_reward=0.4)
    assert [q.class_name for q in verifier.asked] == ["New"]


def test_other_verdicts_undo_what_was_the_best_of_a_module(tmp_path):
    with run_of(tmp_path, None, judge__judge="static") as session:
        pipeline.judge(session)
        pipeline.keep_best(session)
    verified(tmp_path)
    with run_of(tmp_path, None) as session:
        assert session.run.decisions(("dedup",)) == {}
        assert len(session.run.decisions(("verify",))) == len(ROWS)


def test_forgetting_lets_rows_pass_again_and_keeps_the_facts(tmp_path):
    verified(tmp_path)
    verifier = Scripted()
    with run_of(tmp_path, verifier) as session:
        assert pipeline.forget_verify(session).counts == {"forgotten": len(ROWS)}
        assert set(states(session).values()) == {"kept"}
        pipeline.verify(session)
        assert states(session)["M1"] == "dropped"
    assert verifier.count == 0


def test_deciding_again_keeps_facts_of_other_versions(tmp_path, monkeypatch):
    verified(tmp_path)
    monkeypatch.setattr("kernelsift.kernels.verifier.VERIFIER_VERSION", "of-a-test")
    verifier = Scripted()
    with run_of(tmp_path, verifier, verify__unverifiable="keep") as session:
        tally = pipeline.decide_again(session)
        assert states(session)["M2"] == "kept"
        assert tally.counts["pending"] == 0
        settings = session.run.stages()["verify"]["settings"]
        assert settings["policy"]["unverifiable"] == "keep"
        assert settings["facts"]["verifier"] != "of-a-test"
    assert verifier.count == 0


def test_there_is_nothing_to_decide_again_before_a_first_time(tmp_path):
    with (
        run_of(tmp_path, Scripted()) as session,
        pytest.raises(DataError, match="was verified yet"),
    ):
        pipeline.decide_again(session)


# --- without torch ------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setattr(verifying, "missing_packages", lambda: ("torch", "triton"))


def test_without_torch_code_is_read_and_cheats_that_show_are_dropped(tmp_path, bare):
    rows = [rollout("A", completion=answer(HONEST)), rollout("B", completion=answer(CHEAT))]
    with run_of(tmp_path, None, rows) as session:
        tally = pipeline.verify(session)
        assert reasons(session)["A"] == "unverifiable-dependency"
        assert states(session) == {"A": "failed", "B": "dropped"}
    assert any("torch and triton not installed" in note for note in tally.notes)
    assert any("kernelsift[verify]" in note for note in tally.notes)


def test_with_torch_installed_later_everything_is_run(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(verifying, "missing_packages", lambda: ("torch",))
        with run_of(tmp_path, None) as session:
            pipeline.verify(session)
    monkeypatch.setattr(verifying, "missing_packages", lambda: ())
    monkeypatch.setattr(verifying, "_version", lambda _: "3.0")
    verifier = Scripted()
    verified(tmp_path, verifier)
    assert verifier.count == len(ROWS)


def test_a_single_file_is_read_without_torch(tmp_path, bare):
    (tmp_path / "reference.py").write_text(reference("B"))
    (tmp_path / "answer.py").write_text(CHEAT)
    done = CliRunner().invoke(
        cli, ["verify-file", str(tmp_path / "reference.py"), str(tmp_path / "answer.py"), "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["outcome"], found["unverifiable"]) == ("unverifiable", "dependency")
    assert found["keep"] is False
    assert found["findings"]
    assert "kernelsift[verify]" in found["notes"][0]


# --- what people and machines see ---------------------------------------------------------------


def test_the_tally_counts_outcomes_work_and_findings(tmp_path):
    tally = verified(tmp_path)
    assert tally.counts == {
        "rows": 6,
        "verified": 6,
        "known already": 0,
        "kept": 2,
        "dropped": 3,
        "failed": 1,
        "pending": 0,
    }
    notes = "\n".join(tally.notes)
    assert "outcomes: correct 4, wrong 1, unverifiable 1" in notes
    assert "unverifiable: size 1" in notes
    assert "figleaf 1" in notes
    assert "K40 " in notes
    assert "--retry-failed" in notes


def test_why_shows_the_failing_case_its_elements_and_the_findings_with_their_line(tmp_path):
    with run_of(tmp_path, Scripted()) as session:
        pipeline.verify(session)
        wrong = "\n".join(explain(session.run, "1").lines())
        cheat = "\n".join(explain(session.run, "4").lines())
        size = "\n".join(explain(session.run, "2").lines())
        seen = explain(session.run, "1").as_json()
    assert "verify dropped it (wrong): wrong, full triton" in wrong
    assert "output 0 at [1, 2]: expected 0.5, got 7" in wrong
    assert "verify dropped it (K40)" in cheat
    assert "K40 pointer-cache (hard): line 7: CACHE[x.data_ptr()]" in cheat
    assert "verify could not tell (unverifiable-size)" in size
    assert "all sizes are too large" in size
    assert seen["verify"]["facts"]["comparisons"][0]["status"] == "differs"
    assert json.dumps(seen)


def test_the_tables_say_what_was_verified(tmp_path):
    with run_of(tmp_path, Scripted()) as session:
        pipeline.verify(session)
        pipeline.export(session)
        folder = session.run.path
        rows = pq.read_table(folder / "filtered.parquet").to_pylist()
        ledger = {r["module"]: r for r in pq.read_table(folder / "ledger.parquet").to_pylist()}
    assert [(r["module_name"], r["verify_outcome"], r["verify_work"]) for r in rows] == [
        ("M0", "correct", "full_triton"),
        ("M5", "correct", "full_triton"),
    ]
    assert [r["verify_findings"] for r in rows] == [[], ["K28"]]
    assert "verifier " in rows[0]["verify_version"]
    cheat, failed = ledger["M4"], ledger["M2"]
    assert (cheat["state"], cheat["stage"], cheat["reason"]) == ("dropped", "verify", "K40")
    assert json.loads(cheat["evidence"])["findings"][0]["line"] == 7
    assert (failed["state"], failed["stage"]) == ("failed", "verify")
    assert failed["reason"] == "unverifiable-size"


def test_the_tables_of_an_unverified_run_have_no_column_of_it(tmp_path):
    with run_of(tmp_path, None) as session:
        pipeline.export(session)
        names = pq.read_schema(session.run.path / "filtered.parquet").names
    assert not [name for name in names if name.startswith("verify")]


def test_a_failure_of_verify_and_one_of_the_judge_stand_apart_in_the_ledger(tmp_path):
    rows = [*ROWS[:1], no_code("A")]
    with run_of(tmp_path, always(), rows, chat=Counted("?")) as session:
        pipeline.verify(session)
        pipeline.judge(session)
        session.run.forget("dedup")
        with pytest.raises(DataError):
            pipeline.export(session)
        ledger = pq.read_table(session.run.path / "ledger.parquet").to_pylist()
    assert [(r["stage"], r["reason"]) for r in ledger] == [
        ("judge", "no-verdict"),
        ("verify", "no-code"),
    ]


def test_the_card_counts_verdicts_and_says_by_which_settings(tmp_path):
    with run_of(tmp_path, Scripted(), judge__judge="static") as session:
        pipeline.verify(session)
        pipeline.judge(session)
        pipeline.export(session)
        pipeline.publish(session)
        card = (session.run.path / "publish" / "filtered" / "README.md").read_text("utf-8")
    section = card.split("## Verification")[1].split("## Judge")[0]
    assert "| outcome | correct | 4 |" in section
    assert "| finding | K40 " in section
    assert "| `drop_severities` | `hard, not-a-kernel, bug` |" in section
    assert "| `limit_seconds` | `60.0` |" in section
    assert "| verify | dropped: K40 | 1 |" in card
    assert "| verify | failed: unverifiable-size | 1 |" in card


def test_the_card_of_an_unverified_run_says_that_nothing_was_run(tmp_path):
    with run_of(tmp_path, None, judge__judge="static") as session:
        pipeline.export(session)
        pipeline.publish(session)
        card = (session.run.path / "publish" / "filtered" / "README.md").read_text("utf-8")
    assert "The kernels were not run" in card


def test_the_manifest_has_settings_and_versions_of_the_verification(tmp_path):
    with run_of(tmp_path, Scripted()) as session:
        write_manifest(session, [pipeline.verify(session)])
        found = json.loads((session.run.path / "manifest.json").read_text("utf-8"))
    stage = found["stages"]["verify"]["settings"]
    assert {"verifier", "torch", "triton", "device", "limit_seconds"} <= stage["facts"].keys()
    assert stage["policy"]["drop_severities"] == ["hard", "not-a-kernel", "bug"]
    assert found["tallies"]["verify"]["counts"]["kept"] == 2


# --- the command line ---------------------------------------------------------------------------


def command(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_takes_the_run_as_its_argument_and_prints_one_object(tmp_path, bare):
    with run_of(tmp_path, None):
        pass
    run = tmp_path / "run"
    found = json.loads(command("verify", run, "--limit", 2, "--json"))
    assert found["tallies"][0]["counts"]["verified"] == 2
    assert found["states"]["pending"] > 0
    assert not (run / "filtered.parquet").exists(), "no tables while rows wait"
    found = json.loads(command("verify", "--run", run, "--unverifiable", "keep", "--json"))
    assert found["tallies"][0]["counts"]["verified"] == len(ROWS) - 2
    again = json.loads(command("verify", run, "--decide-only", "--json"))
    assert again["tallies"][0]["counts"]["verified"] == 0
    undone = json.loads(command("verify", run, "--forget", "--json"))
    assert undone["states"]["pending"] == 0


def test_the_whole_job_verifies_between_filter_and_judge_when_asked_to(tmp_path, bare):
    place = ("--run", tmp_path / "run", "--judge", "static", "--json", "--plots", tmp_path / "p")
    words = ("run", SAMPLE, *place)
    (tmp_path / "keep.toml").write_text('[verify]\nunverifiable = "keep"\n')
    with mock.patch("kernelsift.report.plots.render", return_value=b""):  # slow, seen elsewhere
        found = json.loads(command(*words, "--verify", "--config", tmp_path / "keep.toml"))
    stages = [tally["stage"] for tally in found["tallies"]]
    assert stages[:4] == ["load", "filter", "verify", "judge"]
    assert sum(found["states"].values()) == SAMPLE.read_bytes().count(b"\n")
