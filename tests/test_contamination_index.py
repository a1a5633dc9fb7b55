"""Benchmark indexes: made from texts, without them; the same bytes everywhere."""

import ast
import io
import itertools
import json
import random
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
from build import environment, write_jsonl
from heldout import CLASSES, OTHER_INPUTS, PROBLEMS, write_problems
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.contamination import index as index_module
from kernelsift.contamination.building import MOST_GRAMS, About, Text, build, read_problems
from kernelsift.contamination.index import read_index, shipped, write_index
from kernelsift.contamination.matching import Matcher, Texts
from kernelsift.contamination.names import normalised
from kernelsift.errors import ConfigError, DataError

DATA = Path(__file__).parents[2] / "shared" / "data"
SHIPPED = Path(index_module.__file__).parents[1] / "data" / "benchmarks"
ABOUT = About("Held-out", "https://example.org/held-out", "MIT")
BUILT = build([Text(name, "", code, name) for name, code in PROBLEMS.items()], ABOUT).index
MATCHER = Matcher([BUILT], ("ast", "ngram", "name"), 0.6)


def found(code, side="reference", matcher=MATCHER):
    """Problem -> kind of the hits in a text."""
    texts = {"reference": "", "prompt": "", "answer": ""} | {side: code}
    hits = matcher.hits(Texts(name="", blocks=(), **texts))
    return {hit.problem: hit.kind for hit in hits}


# --- what cannot hide a problem -----------------------------------------------------------------

_LOCALS = (
    "Model", "width", "rate", "gate", "decay", "share", "x", "middle", "moved", "seen", "left",
    "right", "one", "other", "window", "bands", "rows",
)  # fmt: skip


def renamed(code, names):
    """The program with other names of its own; texts and keyword arguments stay."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        for field in ("id", "name", "arg", "attr"):
            value = getattr(node, field, None)
            if isinstance(node, ast.keyword) or not isinstance(value, str):
                continue
            setattr(node, field, names.get(value, value))
    return ast.unparse(tree)


def commented(code, rng):
    """The program with comments at the ends of its lines, and other blank lines."""
    ends = {t.end[0] for t in tokenize.generate_tokens(io.StringIO(code).readline)
            if t.type == tokenize.NEWLINE}  # fmt: skip
    lines = []
    for number, line in enumerate(code.splitlines(), 1):
        note = f"  # {rng.random()} return x" if number in ends and rng.random() < 0.5 else ""
        lines.append(line + note + ("\n" if number in ends and rng.random() < 0.3 else ""))
    return "\n".join(lines) + "\n"


@given(
    problem=st.sampled_from(sorted(PROBLEMS)),
    tails=st.lists(
        st.integers(0, 10**6), min_size=len(_LOCALS), max_size=len(_LOCALS), unique=True
    ),
    seed=st.integers(0, 10**6),
)
def test_renaming_and_comments_never_hide_a_problem(problem, tails, seed):
    names = {name: f"{name[::-1]}_{tail}" for name, tail in zip(_LOCALS, tails, strict=True)}
    names = {name: new for name, new in names.items() if f'"{name}"' not in PROBLEMS[problem]}
    code = commented(renamed(PROBLEMS[problem], names), random.Random(seed))
    assert found(code) == {problem: "ast"}
    assert problem in found(code, "answer")


@given(problem=st.sampled_from(sorted(PROBLEMS)), factor=st.integers(2, 99))
def test_other_numbers_never_hide_a_problem(problem, factor):
    code = PROBLEMS[problem].replace("48", str(48 * factor)).replace("0.25", f"0.{factor}1")
    assert found(code) == {problem: "ast-no-constants"}


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_other_inputs_and_another_way_to_import_never_hide_a_problem(problem):
    code = CLASSES[problem] + OTHER_INPUTS
    assert found(code) == {problem: "part"}
    dotted = code.replace("nn.", "torch.nn.").replace("import torch.torch.nn as nn\n", "")
    dotted = dotted.replace("import torch.nn as nn\n", "").replace("super(Model, self)", "super()")
    assert "as nn" not in dotted
    assert found(dotted) == {problem: "part"}


def test_what_only_shares_the_frame_is_another_problem():
    for name, code in PROBLEMS.items():
        assert found(code) == {name: "ast"}
    body = CLASSES["1_GatedDecay"].split("    def forward")[0]
    other = body + "    def forward(self, x):\n        return self.gate(x).relu().sum(dim=-1)\n"
    assert found(other + OTHER_INPUTS) == {}


def test_a_small_class_in_an_answer_is_an_idiom_and_in_a_task_it_is_the_task():
    small = "import torch\n\nclass Model(torch.nn.Module):\n    def forward(self, x):\n"
    small += "        return x * torch.sigmoid(x).square()\n"
    matcher = Matcher([build([Text("A", "", small, "A")], ABOUT).index], ("ast",), 0.6)
    assert found(small.replace("Model", "Square"), matcher=matcher) == {"A": "ast"}
    helper = small.replace("Model", "Square") + "\n\ndef run(x):\n    return Square()(x)\n"
    assert found(helper, "answer", matcher) == {}


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("19_ReLU", "relu"),
        ("level1/19_ReLU", "relu"),
        ("Conv2d_Add.py", "conv2dadd"),
        ("conv2d-add", "conv2dadd"),
        ("Model", ""),
        ("ModelNew", ""),
        ("12_Model", ""),
        ("7_", ""),
        ("x1", ""),
        ("", ""),
    ],
)
def test_names_are_compared_without_numbers_case_and_signs(name, plain):
    assert normalised(name) == plain


def test_a_name_that_says_nothing_never_matches():
    index = build([Text("3_Model", "", PROBLEMS["1_GatedDecay"], "x")], ABOUT).index
    texts = Texts("ModelNew", "", "", (), "")
    assert Matcher([index], ("name",), 0.6).hits(texts) == []


# --- files --------------------------------------------------------------------------------------


@given(st.permutations(sorted(PROBLEMS)))
def test_the_order_of_problems_changes_no_byte(tmp_path, order):
    texts = [Text(name, "", PROBLEMS[name], name) for name in order]
    write_index(tmp_path / "a.idx", build(texts, ABOUT).index)
    write_index(tmp_path / "b.idx", BUILT)
    assert (tmp_path / "a.idx").read_bytes() == (tmp_path / "b.idx").read_bytes()


def test_another_process_makes_the_same_bytes(tmp_path):
    folder = write_problems(tmp_path / "problems")
    names = ["--benchmark", "Held-out", "--license", "MIT", "--source", ABOUT.source]
    for seed in ("0", "77"):
        out = tmp_path / f"{seed}.idx"
        subprocess.run(
            [sys.executable, "-m", "kernelsift", "decontaminate", "--build-index", folder, *names,
             "--out", out],
            env=environment() | {"PYTHONHASHSEED": seed}, check=True, capture_output=True,
            timeout=60,
        )  # fmt: skip
    write_index(tmp_path / "here.idx", BUILT)
    assert len({path.read_bytes() for path in tmp_path.glob("*.idx")}) == 1


def test_an_index_read_back_is_what_was_written(tmp_path):
    write_index(tmp_path / "x.idx", BUILT)
    again = read_index(tmp_path / "x.idx")
    assert (again.benchmark, again.source, again.licence) == (
        "Held-out",
        "https://example.org/held-out",
        "MIT",
    )
    by_name = {problem.name: problem for problem in BUILT.problems}
    assert by_name.keys() == {problem.name for problem in again.problems} == PROBLEMS.keys()
    for problem in again.problems:
        before = by_name[problem.name]
        assert (problem.digests, problem.shapes) == (before.digests, before.shapes)
        assert np.array_equal(problem.grams, before.grams)


def test_no_text_of_a_problem_is_in_its_index(tmp_path):
    write_index(tmp_path / "x.idx", BUILT)
    text = (tmp_path / "x.idx").read_text()
    for line in "".join(CLASSES.values()).splitlines():
        assert len(line.strip()) < 8 or line.strip() not in text


def test_a_long_problem_keeps_a_fair_sample(tmp_path):
    steps = itertools.product(["mul", "add", "div", "sub"], ["sum", "mean", "std"], range(66))
    lines = [
        f"        x = torch.{one}(x, y[{n}]) + self.a.{other}(dim={n})" for one, other, n in steps
    ]
    rng = random.Random(3)
    rng.shuffle(lines)
    head = "import torch\n\n\nclass Model(torch.nn.Module):\n    def forward(self, x, y):\n"
    whole = head + "\n".join(lines) + "\n        return x\n"
    index = build([Text("Long", "", whole, "x")], ABOUT).index
    assert len(index.problems[0].grams) <= MOST_GRAMS
    matcher = Matcher([index], ("ngram",), 0.1)
    half = head + "\n".join(lines[: len(lines) // 2]) + "\n        return x\n"
    (hit,) = matcher.hits(Texts("", half, "", (), ""))
    assert hit.score < 1
    (hit,) = matcher.hits(Texts("", whole, "", (), ""))
    assert hit.score == 1


@pytest.mark.parametrize(("suffix", "columns"), [
    (".jsonl", ("name", "code")),
    (".jsonl", ("module_name", "python_code")),
    (".parquet", ("name", "code")),
])  # fmt: skip
def test_a_table_gives_the_index_of_the_folder(tmp_path, suffix, columns):
    rows = [dict(zip(columns, pair, strict=True)) for pair in PROBLEMS.items()]
    path = tmp_path / f"problems{suffix}"
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_jsonl(path, rows)
    write_index(tmp_path / "a.idx", build(read_problems(path), ABOUT).index)
    write_index(tmp_path / "b.idx", BUILT)
    assert (tmp_path / "a.idx").read_bytes() == (tmp_path / "b.idx").read_bytes()


# --- bad input ----------------------------------------------------------------------------------


def changed(path, **header):
    """The index with another header."""
    write_index(path, BUILT)
    first, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps(json.loads(first) | header) + "\n" + rest)
    return path


@pytest.mark.parametrize("header", [{"format": 99}, {"fingerprints": "0.9.9"}])
def test_an_index_of_another_version_names_both_and_how_to_rebuild_it(tmp_path, header):
    path = changed(tmp_path / "old.idx", **header)
    with pytest.raises(DataError) as caught:
        read_index(path)
    said = str(caught.value)
    (theirs,) = header.values()
    assert str(theirs) in said
    assert f"format {index_module.FORMAT}" in said
    assert index_module.FINGERPRINTS in said
    assert "--build-index" in said
    assert "--benchmark Held-out" in said


@pytest.mark.parametrize("content", [b"", b"hello\n", b"{}\n", b"\xff\xfe\x00", b"[1]\n"])
def test_a_file_that_is_no_index_is_refused(tmp_path, content):
    path = tmp_path / "x.idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no benchmark index"):
        read_index(path)


def test_a_cut_off_index_is_refused(tmp_path):
    path = tmp_path / "x.idx"
    write_index(path, BUILT)
    whole = path.read_bytes()
    for end in (len(whole) - 1, len(whole) - 200, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"cut off|damaged"):
            read_index(path)


def test_a_missing_index_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the benchmark index"):
        read_index(tmp_path / "none.idx")


def test_an_empty_folder_or_none_gives_no_index(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.py file"):
        list(read_problems(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="there is no file or folder"):
        list(read_problems(tmp_path / "none"))


def test_a_table_without_code_names_its_columns(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"name": "a", "text": "b"}])
    with pytest.raises(
        DataError, match=r"x\.jsonl:1 has no text in a column code or .* name, text"
    ):
        list(read_problems(path))


def test_two_problems_of_one_name_are_refused():
    texts = [Text("A", "", code, f"{n}") for n, code in enumerate(list(PROBLEMS.values())[:2])]
    with pytest.raises(DataError, match="are both called 'A' and differ"):
        build(texts, ABOUT)
    assert len(build([texts[0], texts[0]], ABOUT).index.problems) == 1


def test_a_problem_that_is_no_python_is_counted_and_found_by_its_ngrams():
    torn = PROBLEMS["1_GatedDecay"] + "\nreturn (((\n"
    built = build([Text("Torn", "", torn, "x")], ABOUT)
    assert built.unparsable == ("Torn",)
    matcher = Matcher([built.index], ("ast", "ngram"), 0.6)
    assert found(PROBLEMS["1_GatedDecay"], matcher=matcher) == {"Torn": "ngram"}


def test_a_problem_with_hardly_an_ngram_of_its_own_is_counted_and_found_by_its_tree():
    built = build([Text("Tiny", "", "x = 1\ny = x\n", "x")], ABOUT)
    assert built.without_grams == ("Tiny",)
    matcher = Matcher([built.index], ("ast", "ngram"), 0.6)
    assert found("one = 1\nother = one  # x\n", matcher=matcher) == {"Tiny": "ast"}


# --- what is shipped ----------------------------------------------------------------------------


def test_kernelbench_in_both_versions_and_tritonbench_are_shipped_and_small():
    by_name = {index.benchmark: index for index in shipped()}
    assert by_name.keys() == {"KernelBench", "TritonBench-G"}
    bench = by_name["KernelBench"]
    assert len(bench.problems) == 540
    assert {problem.version for problem in bench.problems} == {"v0", "head"}
    assert {problem.name.split("/")[0] for problem in bench.problems} == {
        "level1", "level2", "level3", "level4",
    }  # fmt: skip
    assert len(by_name["TritonBench-G"].problems) == 92
    assert all(index.licence and index.source for index in shipped())
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.idx")) < 2_000_000


@pytest.mark.parametrize(
    ("table", "file"),
    [("kernelbench.parquet", "kernelbench.idx"), ("difficulty-dev.parquet", "tritonbench-g.idx")],
)
def test_what_is_shipped_is_what_the_problems_give(tmp_path, table, file):
    if not (DATA / table).exists():
        pytest.skip(f"../shared/data/{table} is not here")
    before = read_index(SHIPPED / file)
    about = About(before.benchmark, before.source, before.licence)
    write_index(tmp_path / file, build(read_problems(DATA / table), about).index)
    assert (tmp_path / file).read_bytes() == (SHIPPED / file).read_bytes(), (
        f"rebuild {file} as docs/decontamination.md says"
    )
