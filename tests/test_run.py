"""The run directory: one state per row, decisions that rest on each other, one writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from build import Counted, environment, fact, judgement, no_code, opened, rollout, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift import pipeline
from kernelsift.errors import RunError
from kernelsift.model import Decision, Failure
from kernelsift.run import Run

FAILED = Failure(failure="no-verdict", why="x")
HOLD = """
import sys, time
from pathlib import Path
from kernelsift.run import Run
with Run.open(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def decision(sample, stage, keep):
    return Decision(sample=sample, stage=stage, keep=keep, reason="kept" if keep else "gone")


def loaded(tmp_path, rows=3, **dotted):
    """A run of a few rows of different modules."""
    source = write_jsonl(tmp_path / "x.jsonl", [rollout(f"M{n}") for n in range(rows)])
    return opened(tmp_path / "run", source, **dotted)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A samples.parquet of six rows."""
    folder = tmp_path_factory.mktemp("template")
    with loaded(folder, 6) as session:
        pipeline.load(session)
    return folder / "run" / "samples.parquet"


def measured(run, bodies):
    run.begin("judge", {}, "1")
    run.point("judge", {sample: f"key-{sample}" for sample in bodies})
    run.save_facts([fact(s, body) for s, body in bodies.items() if body is not None])


# --- states -------------------------------------------------------------------------------------

KEEPS = st.lists(st.sampled_from([True, False, None]), min_size=6, max_size=6)
BODIES = st.lists(
    st.sampled_from([judgement(), FAILED, None, "no pointer"]), min_size=6, max_size=6
)


@settings(max_examples=20)
@given(KEEPS, BODIES, KEEPS)
def test_the_states_sum_to_the_rows_and_follow_their_precedence(template, first, bodies, last):
    with TemporaryDirectory() as folder:
        (Path(folder) / "samples.parquet").hardlink_to(template)
        with Run.open(Path(folder)) as run:
            ids = [e.id for e in run.entries()]
            pairs = zip(ids, first, strict=True)
            run.save_decisions(
                "filter", [decision(s, "filter", k) for s, k in pairs if k is not None]
            )
            run.begin("filter", {}, "1")
            pointed = {s: b for s, b in zip(ids, bodies, strict=True) if b != "no pointer"}
            measured(run, pointed)
            pairs = zip(ids, last, strict=True)
            run.save_decisions(
                "dedup", [decision(s, "dedup", k) for s, k in pairs if k is not None]
            )
            run.begin("dedup", {}, "1")
            states = run.states()
            assert set(states) == set(ids)
            assert sum(run.status().states.values()) == len(ids)
            for at, sample in enumerate(ids):
                body = pointed.get(sample)
                if False in {first[at], last[at]}:
                    assert states[sample] == "dropped"
                elif isinstance(body, Failure):
                    assert states[sample] == "failed"
                elif body is None or None in {first[at], last[at]}:
                    assert states[sample] == "pending"
                else:
                    assert states[sample] == "kept"


def test_rows_are_pending_until_a_stage_has_said_something(tmp_path):
    with loaded(tmp_path) as session:
        pipeline.load(session)
        assert session.run.status().states == {"kept": 0, "dropped": 0, "failed": 0, "pending": 3}


def test_a_row_that_failed_is_neither_kept_nor_dropped(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", [rollout("A"), no_code("B"), rollout("C", 0.1)])
    with opened(tmp_path / "run", source, chat=Counted()) as session:
        for step in (pipeline.load, pipeline.filter_rows, pipeline.judge, pipeline.keep_best):
            step(session)
        assert session.run.status().states == {"kept": 1, "dropped": 1, "failed": 1, "pending": 0}
        assert session.run.status().stages["judge"] == {"measured": 1, "failed: no-code": 1}


def test_an_empty_run_has_no_states_and_no_samples(tmp_path):
    with Run.open(tmp_path / "run") as run:
        assert sum(run.status().states.values()) == 0
        with pytest.raises(RunError, match="holds no samples yet; run `kernelsift load"):
            run.entries()


# --- decisions ----------------------------------------------------------------------------------


def judged(tmp_path, chat, **dotted):
    """Two rows of each of two modules, with rewards 0.9 and 0.95."""
    rows = [rollout(f"M{n // 2}", 0.9 + 0.05 * (n % 2), tag=n) for n in range(4)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    return opened(tmp_path / "run", source, chat=chat, **dotted)


def whole(session):
    for step in (pipeline.load, pipeline.filter_rows, pipeline.judge, pipeline.keep_best):
        step(session)


def test_the_same_decisions_again_leave_later_stages_alone(tmp_path):
    with judged(tmp_path, Counted()) as session:
        whole(session)
        pipeline.filter_rows(session)
        assert len(session.run.decisions(("dedup",))) == 4
        assert session.run.status().states["kept"] == 2


def test_other_decisions_undo_those_of_later_stages(tmp_path):
    with judged(tmp_path, Counted()) as session:
        whole(session)
    with judged(tmp_path, Counted(), filter__min_reward=0.92) as session:
        pipeline.filter_rows(session)
        assert session.run.decisions(("dedup",)) == {}
        assert "dedup" not in session.run.stages()
        assert session.run.status().states == {"kept": 2, "dropped": 2, "failed": 0, "pending": 0}


def test_a_first_filter_undoes_a_dedup_that_ran_before_it(tmp_path):
    with judged(tmp_path, Counted(), dedup__score="-reward", filter__min_reward=0.92) as session:
        pipeline.load(session)
        pipeline.keep_best(session)
        assert session.run.status().states["kept"] == 2
        pipeline.filter_rows(session)
        assert session.run.decisions(("dedup",)) == {}
        assert session.run.status().states["kept"] == 2


def test_other_answers_undo_the_decisions_that_rest_on_them(tmp_path):
    with judged(tmp_path, Counted()) as session:
        whole(session)
    with judged(tmp_path, Counted(), judge__model="another") as session:
        pipeline.judge(session)
        assert session.run.decisions(("dedup",)) == {}
        pipeline.keep_best(session)
    chat = Counted()
    with judged(tmp_path, chat) as session:
        pipeline.judge(session)  # all answers of the first model are there already
        assert chat.count == 0
        assert session.run.decisions(("dedup",)) == {}


def test_the_same_answers_leave_the_decisions_alone(tmp_path):
    with judged(tmp_path, Counted()) as session:
        whole(session)
        pipeline.judge(session)
        assert len(session.run.decisions(("dedup",))) == 4


def test_what_was_decided_of_an_old_source_is_forgotten_with_it(tmp_path):
    with judged(tmp_path, Counted()) as session:
        whole(session)
        write_jsonl(tmp_path / "x.jsonl", [rollout("Z")])
        pipeline.load(session)
        status = session.run.status()
        assert status.states == {"kept": 0, "dropped": 0, "failed": 0, "pending": 1}
        assert list(status.stages) == ["load"]


# --- one writer ---------------------------------------------------------------------------------


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_writer_is_told_who_the_first_is(tmp_path, holder):
    with (
        pytest.raises(RunError, match=f"in use by another kernelsift .process {holder.pid}"),
        Run.open(tmp_path / "run"),
    ):
        pass


def test_a_reader_may_look_while_another_writes(tmp_path, holder):
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert run.stages() == {}


def test_a_writer_that_was_killed_holds_nothing(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    with Run.open(tmp_path / "run") as run:
        assert run.stages() == {}


def test_reading_makes_no_run(tmp_path):
    with (
        pytest.raises(RunError, match="there is no run in"),
        Run.open(tmp_path / "run", read_only=True),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_a_file_where_the_run_should_be_is_explained(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match=r"choose another|cannot write"), Run.open(tmp_path / "run"):
        pass


def test_a_damaged_samples_file_is_explained(tmp_path):
    with loaded(tmp_path) as session:
        pipeline.load(session)
    file = tmp_path / "run" / "samples.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with loaded(tmp_path) as session, pytest.raises(RunError, match="load the source again"):
        session.run.entries()
