"""decontaminate: no row that holds a benchmark problem goes on, whatever it looks like."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from build import Counted, kernel, opened, reference, rollout, write_jsonl
from click.testing import CliRunner
from heldout import CLASSES, OTHER_INPUTS, PROBLEMS, write_problems

from kernelsift import pipeline
from kernelsift.cli.main import cli
from kernelsift.contamination.building import About, build, read_problems
from kernelsift.contamination.index import write_index
from kernelsift.errors import ConfigError, DataError
from kernelsift.explain import explain

DATA = Path(__file__).parents[2] / "shared" / "data"
ABOUT = About("Held-out", "https://example.org/held-out", "MIT")
DECAY = "1_GatedDecay"
CLEAN = "Plain"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """An index of the held-out problems."""
    folder = tmp_path_factory.mktemp("heldout")
    path = folder / "held-out.idx"
    write_index(path, build(read_problems(write_problems(folder / "problems")), ABOUT).index)
    return path


def told(module, code, **more):
    """A rollout whose task is this program."""
    return rollout(module, info={"module_name": module, "python_code": code}, **more)


def answered(module, code):
    """A rollout without a reference whose answer is this program."""
    said = [{"role": "assistant", "content": f"BEGIN_PYTHON\n{code}\nEND_PYTHON"}]
    return rollout(module, completion=said, info={"module_name": module})


ROWS = [
    rollout(CLEAN),
    told("Renamed", PROBLEMS[DECAY].replace("share", "kept").replace("gate", "door")),
    told("Sizes", PROBLEMS[DECAY].replace("48", "64").replace("0.25", "0.5")),
    told("Harness", CLASSES[DECAY] + OTHER_INPUTS),
    told("GatedDecay", reference("GatedDecay")),
    answered("Answer", CLASSES[DECAY] + kernel("Model")),
]
KINDS = {
    "Renamed": ("ast", "reference"),
    "Sizes": ("ast-no-constants", "reference"),
    "Harness": ("part", "reference"),
    "GatedDecay": ("name", "name"),
    "Answer": ("part", "answer"),
}


def run_of(tmp_path, index, rows=ROWS, **dotted):
    """A session in which these rows are loaded and filtered."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    return opened(
        tmp_path / "run", source, decontaminate__index=[str(index)], filter__min_reward=-1, **dotted
    )


def loaded(session):
    pipeline.load(session)
    pipeline.filter_rows(session)
    return session


def states(session):
    found = session.run.states()
    return {entry.module: found[entry.id] for entry in session.run.entries()}


def best_hits(session):
    """Kind and side of the strongest hit of each module's row."""
    made = session.run.decisions(("decontaminate",))
    hits = {e.module: made[e.id][-1].evidence.get("hits", []) for e in session.run.entries()}
    return {module: (found[0]["kind"], found[0]["side"]) for module, found in hits.items() if found}


# --- decisions ----------------------------------------------------------------------------------


def test_each_row_is_decided_by_its_strongest_evidence_and_a_name_alone_drops_nothing(
    tmp_path, index
):
    with run_of(tmp_path, index) as session:
        tally = pipeline.decontaminate(loaded(session))
        assert best_hits(session) == KINDS
        assert states(session) == {
            CLEAN: "kept",
            "Renamed": "dropped",
            "Sizes": "dropped",
            "Harness": "dropped",
            "GatedDecay": "kept",
            "Answer": "dropped",
        }
        assert (tally.counts["dropped"], tally.counts["reported"]) == (4, 1)
        (dropped,) = session.run.decisions(("decontaminate",))[
            next(e.id for e in session.run.entries() if e.module == "Renamed")
        ]
        hit = dropped.evidence["hits"][0]
        assert dropped.reason == "contaminated"
        assert hit == {
            "benchmark": "Held-out",
            "version": "",
            "problem": DECAY,
            "kind": "ast",
            "side": "reference",
            "score": 1.0,
        }


@pytest.mark.parametrize(
    ("drop_on", "dropped"),
    [
        ("ast", {"Renamed", "Sizes", "Harness", "Answer"}),
        ("name", {"Renamed", "Sizes", "Harness", "GatedDecay", "Answer"}),
    ],
)
def test_what_drops_a_row_is_a_setting(tmp_path, index, drop_on, dropped):
    with run_of(tmp_path, index, decontaminate__drop_on=drop_on) as session:
        pipeline.decontaminate(loaded(session))
        assert {m for m, state in states(session).items() if state == "dropped"} == dropped


def test_a_problem_with_a_changed_line_is_found_by_its_ngrams(tmp_path, index):
    code = PROBLEMS[DECAY].replace(
        "        return torch.where", "        share = share + 1\n        return torch.where"
    )
    assert code != PROBLEMS[DECAY]
    with run_of(tmp_path, index, [told("Edited", code)]) as session:
        pipeline.decontaminate(loaded(session))
        assert best_hits(session) == {"Edited": ("ngram", "reference")}
        assert states(session) == {"Edited": "dropped"}


def test_a_row_without_a_reference_is_looked_at_by_its_prompt(tmp_path, index):
    text = f"Rewrite this.\n\n```python\n{PROBLEMS[DECAY]}\n```\nMake it fast."
    row = rollout("Asked", info={}, module_name="Asked", prompt=[{"role": "user", "content": text}])
    with run_of(tmp_path, index, [row, rollout(CLEAN)]) as session:
        tally = pipeline.decontaminate(loaded(session))
        assert best_hits(session) == {"Asked": ("ast", "prompt")}
        assert any("1 rows have no reference" in note for note in tally.notes)


def test_rows_that_hold_nothing_or_no_python_are_kept_and_counted(tmp_path, index):
    empty = rollout("Empty", prompt=[], completion=[], info={"module_name": "Empty"})
    broken = told("Broken", "class Model(nn.Module:\n    def forward(self, x)\n")
    with run_of(tmp_path, index, [empty, broken]) as session:
        pipeline.decontaminate(loaded(session))
        reasons = [ds[-1].reason for ds in session.run.decisions(("decontaminate",)).values()]
        assert sorted(reasons) == ["no-benchmark", "nothing-to-compare"]
        assert set(states(session).values()) == {"kept"}


def test_broken_code_is_found_by_ngrams(tmp_path, index):
    with run_of(tmp_path, index, [told("Torn", PROBLEMS[DECAY] + "\nreturn (((")]) as session:
        pipeline.decontaminate(loaded(session))
        assert best_hits(session) == {"Torn": ("ngram", "reference")}


def test_a_megabyte_of_code_is_looked_through(tmp_path, index):
    code = PROBLEMS[DECAY] + "\nTABLE = [" + "1.5, " * 200_000 + "]\n"
    with run_of(tmp_path, index, [answered("Long", code)]) as session:
        pipeline.decontaminate(loaded(session))
        assert states(session) == {"Long": "dropped"}


def test_processes_and_the_order_of_rows_change_nothing(tmp_path, index):
    rows = [told(f"M{n}", PROBLEMS[DECAY] + f"\nn = {n}\n") for n in range(8)]
    rows += [rollout(f"R{n}", tag=n) for n in range(210)]
    seen = []
    for number, (workers, listed) in enumerate([(1, rows), (2, rows[::-1])]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with run_of(folder, index, listed, workers=workers) as session:
            pipeline.decontaminate(loaded(session))
            made = session.run.decisions(("decontaminate",))
            seen.append({e.module: made[e.id][-1].evidence for e in session.run.entries()})
    assert seen[0] == seen[1]
    assert sum(bool(evidence) for evidence in seen[0].values()) == 8


# --- its place among the stages -----------------------------------------------------------------


def test_nothing_is_spent_on_a_contaminated_row(tmp_path, index):
    chat = Counted()
    with run_of(tmp_path, index, chat=chat) as session:
        pipeline.decontaminate(loaded(session))
        pipeline.judge(session)
        assert chat.count == 2
        pipeline.keep_best(session)
        pipeline.export(session)
        assert states(session)["Renamed"] == "dropped"
        table = pq.read_table(session.run.path / "unique.parquet")
        assert sorted(table["module_name"].to_pylist()) == ["GatedDecay", CLEAN]


def test_rows_pass_where_it_has_not_run_and_again_once_it_is_undone(tmp_path, index):
    with run_of(tmp_path, index) as session:
        loaded(session)
        assert set(states(session).values()) == {"kept"}
        pipeline.decontaminate(session)
        pipeline.forget_decontaminate(session)
        assert set(states(session).values()) == {"kept"}
        assert "decontaminate" not in session.run.status().stages


def test_the_states_sum_to_the_rows(tmp_path, index):
    with run_of(tmp_path, index) as session:
        pipeline.decontaminate(loaded(session))
        status = session.run.status()
        assert status.stages["decontaminate"] == {"kept": 2, "dropped: contaminated": 4}
        assert sum(status.states.values()) == len(ROWS)


def test_a_row_that_the_filter_lets_pass_later_waits(tmp_path, index):
    rows = [rollout(CLEAN), told("Late", PROBLEMS[DECAY], reward=0.5)]
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    more = {"decontaminate__index": [str(index)]}
    with opened(tmp_path / "run", source, **more) as session:
        pipeline.decontaminate(loaded(session))
        assert states(session) == {CLEAN: "kept", "Late": "dropped"}
    with opened(tmp_path / "run", source, filter__min_reward=0.1, **more) as session:
        pipeline.filter_rows(session)
        assert states(session)["Late"] == "pending"
        assert {e.module for e in session.run.kept_before("judge")} == {CLEAN}
        pipeline.decontaminate(session)
        assert states(session) == {CLEAN: "kept", "Late": "dropped"}


def test_what_compares_rows_is_decided_again_and_the_command_is_named(tmp_path, index):
    with run_of(tmp_path, index, judge__judge="static") as session:
        loaded(session)
        pipeline.judge(session)
        pipeline.keep_best(session)
        tally = pipeline.decontaminate(session)
        assert any("kernelsift dedup" in note for note in tally.notes)
        assert "dedup" not in session.run.stages()
        assert states(session)["Renamed"] == "dropped"


def test_rows_that_come_back_wait_for_the_judge_and_the_command_is_named(tmp_path, index):
    with run_of(tmp_path, index, judge__judge="static") as session:
        pipeline.decontaminate(loaded(session))
        pipeline.judge(session)
    with run_of(tmp_path, index, decontaminate__match=["name"]) as session:
        tally = pipeline.decontaminate(session)
        assert any("4 rows wait for `kernelsift judge" in note for note in tally.notes)
        assert states(session)["Renamed"] == "pending"


def test_a_report_decides_nothing(tmp_path, index):
    with run_of(tmp_path, index) as session:
        loaded(session)
        tally = pipeline.decontaminate(session, report_only=True)
        assert tally.counts["would be dropped"] == 4
        assert set(states(session).values()) == {"kept"}
        assert "decontaminate" not in session.run.stages()
        report = json.loads((session.run.path / "decontamination.json").read_text())
        assert report["by_benchmark"] == {"Held-out": 4}
        hits = pq.read_table(session.run.path / "decontamination.parquet").to_pylist()
        assert {hit["module"] for hit in hits} == set(KINDS)
        assert {hit["problem"] for hit in hits} == {DECAY}


def test_why_says_in_words_what_matched(tmp_path, index):
    with run_of(tmp_path, index) as session:
        pipeline.decontaminate(loaded(session))
        lines = {}
        for entry in session.run.entries():
            lines[entry.module] = "\n".join(explain(session.run, entry.id).lines())
    assert (
        f"{DECAY} of Held-out: the reference is the same program but for names"
        in (lines["Renamed"])
    )
    assert "decontaminate kept it on weak evidence" in lines["GatedDecay"]
    assert "the module has its name" in lines["GatedDecay"]
    assert "the answer holds its module class" in lines["Answer"]
    assert "no benchmark problem was found" in lines[CLEAN]


def test_a_run_without_an_index_is_refused(tmp_path):
    source = write_jsonl(tmp_path / "x.jsonl", ROWS[:1])
    with opened(tmp_path / "run", source, decontaminate__shipped=False) as session:
        loaded(session)
        with pytest.raises(ConfigError, match="give one with --index FILE"):
            pipeline.decontaminate(session)


def test_a_wrong_index_stops_the_whole_job_before_anything_is_loaded(tmp_path):
    wrong = tmp_path / "wrong.idx"
    wrong.write_text("nothing\n")
    with run_of(tmp_path, wrong, judge__judge="static", prompts__generator="template") as session:
        with pytest.raises(DataError, match="is no benchmark index"):
            next(pipeline.run_all(session, drop_benchmarks=True))
        assert not session.run.samples.exists()


# --- the command --------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def test_the_command_drops_says_so_as_json_and_writes_the_tables(tmp_path, index, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_jsonl(tmp_path / "x.jsonl", ROWS)
    invoke("load", source, "--run", "R")
    found = invoke("decontaminate", "--run", "R", "--index", index, "--json")
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["contaminated"] == 4
    assert said["by_benchmark"] == {"Held-out": 4}
    assert said["by_kind"] == {"part": 2, "ast": 1, "ast-no-constants": 1}
    assert said["states"] == {"kept": 2, "dropped": 4, "failed": 0, "pending": 0}
    assert pq.read_table(tmp_path / "R" / "filtered.parquet").num_rows == 2
    settings = json.loads((tmp_path / "R" / "manifest.json").read_text())["stages"]
    assert settings["decontaminate"]["settings"]["index"] == [index.name]


def test_no_table_of_rows_stays_where_all_are_contaminated(tmp_path, index, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_jsonl(tmp_path / "x.jsonl", [told("A", PROBLEMS[DECAY])])
    invoke("load", source, "--run", "R")
    invoke("filter", "--run", "R")
    assert (tmp_path / "R" / "filtered.parquet").exists()
    found = invoke("decontaminate", "--run", "R", "--index", index, "--json")
    assert json.loads(found.stdout)["contaminated"] == 1
    assert not (tmp_path / "R" / "filtered.parquet").exists()
    assert pq.read_table(tmp_path / "R" / "ledger.parquet")["reason"].to_pylist() == [
        "contaminated"
    ]


def test_the_whole_job_can_decontaminate(tmp_path, index, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernelsift.toml").write_text(f'[decontaminate]\nindex = ["{index}"]\n')
    source = write_jsonl(tmp_path / "x.jsonl", ROWS)
    found = invoke("run", source, "--run", "R", "--judge", "static", "--decontaminate")
    assert found.exit_code == 0, found.output
    kept = pq.read_table(tmp_path / "R" / "filtered.parquet")["module_name"].to_pylist()
    assert sorted(kept) == ["GatedDecay", CLEAN]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--build-index", ".", "--benchmark", "B"), "--build-index needs --license"),
        (("--license", "MIT"), "--license belongs to --build-index"),
        (("--match", "ast,colour"), "decontaminate.match"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(cli, ["decontaminate", *arguments])
    assert found.exit_code != 0
    assert says in found.output or says in str(found.exception)


# --- real rows ----------------------------------------------------------------------------------


def test_every_row_that_comes_from_kernelbench_is_found_by_more_than_its_name(tmp_path):
    source = DATA / "rollouts-dev.parquet"
    if not source.exists():
        pytest.skip("../shared/data/rollouts-dev.parquet is not here")
    with opened(tmp_path / "run", source, filter__min_reward=-1) as session:
        tally = pipeline.decontaminate(loaded(session))
        assert tally.counts["dropped"] == tally.counts["rows"] == 3272
        made = session.run.decisions(("decontaminate",))
        best = [ds[-1].evidence["hits"][0] for ds in made.values()]
        assert {hit["benchmark"] for hit in best} == {"KernelBench"}
        assert "name" not in {hit["kind"] for hit in best}
        modules = {e.module for e in session.run.entries()}
        assert len(modules) == 130


def test_modules_that_are_no_benchmark_problem_are_kept(tmp_path):
    source = DATA / "kernelbook-modules.parquet"
    if not source.exists():
        pytest.skip("../shared/data/kernelbook-modules.parquet is not here")
    rows = pq.read_table(source).slice(0, 1500).to_pylist()
    listed = [told(row["module_name"], row["python_code"]) for row in rows]
    with opened(
        tmp_path / "run", write_jsonl(tmp_path / "x.jsonl", listed), filter__min_reward=-1
    ) as session:
        tally = pipeline.decontaminate(loaded(session))
        assert tally.counts["rows"] == 1500
        assert tally.counts["dropped"] <= 3
