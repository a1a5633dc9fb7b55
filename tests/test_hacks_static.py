import ast
import time
from collections import Counter
from pathlib import Path

import pytest
from hacks.corpus import TASKS, cases, honest, mutants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelsift import source
from kernelsift.kernels.catalog import SEVERITIES, catalog, entry
from kernelsift.kernels.hacks import StaticFacts, static_facts

ROLLOUTS = Path(__file__).parents[2] / "shared" / "data" / "rollouts-dev.parquet"
MODULES = Path(__file__).parents[1] / "sample" / "modules"
HARD = [
    *["K20", "K21", "K22", "K23", "K40", "K41", "K42", "K47", "K49", "K50", "K51", "K52"],
    *["K55", "K57", "K58", "K59", "K61", "K62"],
]
"""Ids whose every cheat is rejected by static facts alone."""
NOT_A_KERNEL = ["K01", "K02", "K04", "K05", "K08", "K09", "K10", "K11", "K13"]
DYNAMIC = {
    *[("K24", "grid"), ("K07", "getattr"), ("K38", "sampled"), ("K39", "range")],
    *[("K31", "clamp"), ("K31", "statistics")],
}
"""Variants where the running of the code has to decide."""


@pytest.fixture(scope="module")
def facts() -> list[tuple[object, StaticFacts]]:
    return [(case, static_facts(case.code, case.task)) for case in cases()]


def found(facts: StaticFacts, catalog_id: str) -> set[str]:
    return {f.severity for f in facts.findings if f.id == catalog_id}


def test_the_catalog_has_each_id_once_with_a_sentence() -> None:
    assert len(catalog()) == 67
    for number, item in catalog().items():
        assert number == item.id
        assert item.severity in SEVERITIES
        assert item.description.endswith(".")
    assert entry("K40").name == "pointer-cache"


def test_the_corpus_covers_every_task_and_is_large_enough() -> None:
    ids = {case.id for case in cases()}
    assert len(ids) >= 45
    assert len(honest()) >= 100
    assert len(mutants()) >= 35
    for cases_of in (cases(), honest(), mutants()):
        assert {case.task for case in cases_of} >= {task.name for task in TASKS}
    counted = Counter(case.id for case in cases())
    assert not {number for number, count in counted.items() if count < 5} - {"K11"}
    no_gpu = {number for number, item in catalog().items() if item.evidence != "gpu"}
    of_the_problem = {"K14", "K77"}
    assert ids == no_gpu - of_the_problem


def test_all_of_the_corpus_is_python() -> None:
    for case in [*cases(), *honest(), *mutants()]:
        assert source.parse(case.code) is not None, (case.task, case.id, case.style)


def test_every_cheat_is_at_least_suspected(facts) -> None:
    missed = {
        (case.id, case.style)
        for case, seen in facts
        if not found(seen, case.id) and (case.id, case.style) not in DYNAMIC
    }
    assert not missed


@pytest.mark.parametrize("number", HARD)
def test_hard_cheats_are_hard_on_every_task(facts, number: str) -> None:
    soft = [
        (c.task, c.style) for c, f in facts if c.id == number and "hard" not in found(f, number)
    ]
    assert not soft


@pytest.mark.parametrize("number", NOT_A_KERNEL)
def test_answers_without_kernel_work_are_named_as_such(facts, number: str) -> None:
    soft = [
        (c.task, c.style)
        for c, f in facts
        if c.id == number and "not-a-kernel" not in found(f, number)
    ]
    assert not soft


def test_findings_stand_on_real_lines_and_quote_them(facts) -> None:
    for case, seen in facts:
        lines = case.code.splitlines()
        for finding in seen.findings:
            assert 1 <= finding.line <= len(lines)
            assert finding.evidence == lines[finding.line - 1].strip()[:160]
            assert finding.severity in SEVERITIES
            assert finding.id in catalog()


def test_honest_answers_are_neither_hard_nor_called_no_kernel() -> None:
    for case in honest():
        seen = static_facts(case.code, case.task)
        grave = [f for f in seen.findings if f.severity in {"hard", "not-a-kernel", "bug"}]
        assert not grave, (case.task, case.style, grave)
        assert seen.complete
        assert any(kernel.reachable for kernel in seen.kernels), (case.task, case.style)


def test_honest_answers_give_few_suspicions() -> None:
    suspected = [case for case in honest() if static_facts(case.code, case.task).findings]
    assert len(suspected) <= 0.05 * len(honest())


def test_the_bundled_rollouts_are_judged_by_their_kind() -> None:
    cheats = caught = 0
    for path in sorted(MODULES.glob("*/*.md")):
        code = source.extract(path.read_text(encoding="utf-8")).code
        seen = static_facts(code, path.parent.name)
        grave = {f.severity for f in seen.findings} & {"hard", "not-a-kernel"}
        kind = path.stem.partition("-")[0]
        if kind == "cheat":
            cheats += 1
            caught += bool(grave)
        elif kind in {"good", "fused", "slow", "messy"}:
            assert not grave, path
    assert cheats > 20
    assert caught >= 0.5 * cheats


@pytest.mark.skipif(not ROLLOUTS.exists(), reason="the rollouts of the development set are absent")
def test_real_correct_answers_get_no_hard_finding() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(ROLLOUTS, columns=["completion", "info"]).to_pylist()
    correct = [r for r in rows if r["info"]["correct"]]
    assert len(correct) == 1284
    hard, ids = [], Counter()
    for row in correct:
        code = source.extract(row["completion"][-1]["content"]).code
        seen = static_facts(code, row["info"]["entry_point"])
        assert seen.parsed
        assert seen.entries[0].name == "ModelNew"
        hard += [f for f in seen.findings if f.severity in {"hard", "bug"}]
        ids.update({f.id for f in seen.findings if f.severity == "not-a-kernel"})
    assert not hard
    # heavy PyTorch beside a trivial kernel, looked at by hand; no other id has such a severity
    assert set(ids) <= {"K05", "K06", "K07"}


def test_shape_literals_are_the_numbers_that_sizes_are_compared_with() -> None:
    code = (
        "import torch\nimport torch.nn as nn\nLIMIT = 4096\n\nclass ModelNew(nn.Module):\n"
        "    def forward(self, x):\n        n = x.numel()\n"
        "        if n > LIMIT or x.shape[0] == 7:\n            return x * 2\n"
        "        if x.dim() == 3:\n            return x * 3\n"
        "        if n % 48 != 0:\n            return x + 1\n        return x\n"
    )
    assert static_facts(code, None).shape_literals == (7, 48, 4096)


BLOCKS = """
import triton, triton.language as tl
TILE = 512
@triton.autotune(configs=[triton.Config({"ROWS": 64}), triton.Config({"ROWS": 128})], key=["n"])
@triton.jit
def first(x, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr = 32): pass
@triton.jit
def second(x, n, EVEN: tl.constexpr, TILE_N: tl.constexpr): pass
def run(x):
    width = 1024
    first[(1,)](x, 256)
    second[(1,)](x, 2048, 1, TILE_N=width)
    second[(1,)](x, 8, True, TILE, num_warps=16)
"""


def test_blocks_are_what_constexpr_parameters_get() -> None:
    assert static_facts(BLOCKS, None).blocks == (32, 64, 128, 512, 1024)


def test_a_class_that_only_copies_the_reference_is_no_entry_beside_a_wrapper() -> None:
    code = (
        "import torch, triton\n@triton.jit\ndef k(x): pass\nclass Model(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x\n"
        "def kernel_function(x):\n    k[(1,)](x)\n    return x\n"
    )
    launching = code.replace("        return x", "        return kernel_function(x)")
    assert static_facts(code, "Model").entries[0].name == "kernel_function"
    assert static_facts(launching, "Model").entries[0].name == "Model"


def test_kernel_facts_tell_what_a_kernel_does() -> None:
    case = next(c for c in honest() if c.style == "storing-helper" and c.task == "LearnedSwish")
    helper, kernel = static_facts(case.code, case.task).kernels
    assert (helper.name, kernel.name) == ("put", "swish_kernel")
    assert helper.reachable
    assert kernel.reachable
    assert kernel.stored == ("out_ptr",)
    assert kernel.masked_loads == 1
    assert kernel.loads == 2
    assert kernel.constexprs == ("BLOCK",)
    assert not kernel.copy_only
    copy = next(c for c in cases() if c.id == "K05")
    assert static_facts(copy.code, copy.task).kernels[0].copy_only


def test_entry_points_are_found_best_first() -> None:
    plain = next(c for c in honest() if c.style == "function")
    seen = static_facts(plain.code, plain.task)
    assert [(e.kind, e.name) for e in seen.entries] == [("function", "kernel_function")]
    inductor = (
        "import torch\nfrom torch._inductor.async_compile import AsyncCompile\n"
        "async_compile = AsyncCompile()\n"
        "triton_poi_0 = async_compile.triton('triton_poi_0', '''\nimport triton\n"
        "import triton.language as tl\n@triton.jit\n"
        "def triton_poi_0(in_ptr0, out_ptr0, xnumel, XBLOCK : tl.constexpr):\n"
        "    i = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)\n"
        "    tl.store(out_ptr0 + i, tl.load(in_ptr0 + i, i < xnumel) * 2, i < xnumel)\n''')\n\n\n"
        "def call(args):\n    primals_1, = args\n    args.clear()\n"
        "    buf0 = torch.empty_strided((4, 4), (4, 1), device='cuda')\n"
        "    triton_poi_0.run(primals_1, buf0, 16, grid=(1,), stream=0)\n    return (buf0, )\n"
    )
    seen = static_facts(inductor, None)
    assert seen.inductor_style
    assert seen.uses_cuda
    assert seen.entries[0].kind == "call"
    assert seen.kernels[0].reachable
    assert not [f for f in seen.findings if f.severity in {"hard", "not-a-kernel"}]


def test_text_that_is_not_python_is_not_parsed() -> None:
    for text in ("def f(:", "\x00", "BEGIN", "x = (" * 5000, "\ud800"):
        seen = static_facts(text, "X")
        assert isinstance(seen, StaticFacts)
    assert not static_facts("def f(:", None).parsed
    assert static_facts("", None).parsed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=400))
def test_no_text_makes_it_raise(text: str) -> None:
    assert isinstance(static_facts(text, "Model"), StaticFacts)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_cut_or_shuffled_program_makes_it_raise(data: st.DataObject) -> None:
    codes = [c.code for c in [*cases()[::7], *honest()[::5]]]
    lines = data.draw(st.sampled_from(codes)).splitlines()
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    other = data.draw(st.sampled_from(codes)).splitlines()
    at = data.draw(st.integers(0, len(other)))
    text = "\n".join([*other[:at], *lines[start:end], *other[at:]])
    seen = static_facts(text, "LearnedSwish")
    assert isinstance(seen, StaticFacts)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_swapped_node_makes_it_raise(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from([c.code for c in cases()[::11]]))
    tree = ast.parse(code)
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    picked = data.draw(st.sampled_from(names))
    picked.id = data.draw(st.sampled_from(["torch", "self", "x", "tl", "F", "getattr", "super"]))
    assert isinstance(static_facts(ast.unparse(tree), None), StaticFacts)


def test_a_very_branchy_program_ends_early() -> None:
    branches = "".join(
        f"        if x.shape[0] > {i}:\n            x = x + {i}\n" for i in range(400)
    )
    head = "import torch.nn as nn\nclass ModelNew(nn.Module):\n    def forward(self, x):\n"
    code = f"{head}{branches}        return x\n"
    start = time.process_time()
    seen = static_facts(code, None)
    assert time.process_time() - start < 2
    assert len(seen.shape_literals) > 5


def test_a_kernel_unrolled_a_thousand_times_ends_early() -> None:
    start, body = time.process_time(), ""
    for i in range(1000):
        body += f"    v{i} = tl.load(p + v{max(i - 1, 0)} + {i})\n    tl.store(p + v{i}, v{i})\n"
    launch = "def kernel_function(x):\n    k[(1,)](x)\n    return x\n"
    code = f"import triton\nimport triton.language as tl\n@triton.jit\ndef k(p):\n{body}\n{launch}"
    assert static_facts(code, None).kernels[0].reachable
    assert time.process_time() - start < 5


def test_reading_is_fast() -> None:
    codes = [c.code for c in honest()]
    start = time.process_time()
    for code in codes:
        static_facts(code, None)
    per_5_kilobytes = (time.process_time() - start) / sum(map(len, codes)) * 5000
    assert per_5_kilobytes < 0.05  # seconds; about 0.005 on an idle core


DESCRIBED = """
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def double_kernel(x_desc, out_desc, rows, B: tl.constexpr):
    row = tl.program_id(0) * B + rows * 0
    {body}


class ModelNew(torch.nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        source, target = (TensorDescriptor.from_tensor(t, [16, 8]) for t in (x, out))
        double_kernel[(triton.cdiv(x.shape[0], 16),)](source, target, x.shape[0], B=16)
        return out
"""


@pytest.mark.parametrize(
    "body",
    [
        "out_desc.store([row, 0], x_desc.load([row, 0]) * 2)",
        "out_desc.atomic_add([row, 0], x_desc.load([row, 0]) * 2)",
        "out_desc.scatter(x_desc.gather(row + tl.arange(0, B), 0) * 2, row + tl.arange(0, B), 0)",
        "tl.store_tensor_descriptor(out_desc, [row, 0], x_desc.load([row, 0]) * 2)",
    ],
)
def test_a_kernel_writes_through_the_descriptor_whose_method_it_calls(body: str) -> None:
    seen = static_facts(DESCRIBED.format(body=body), None)
    assert seen.kernels[0].stored == ("out_desc",)
    assert not {f.id for f in seen.findings} & {"K04", "K23", "K32", "K33"}


def test_a_descriptor_that_is_read_and_written_at_offsets_of_the_program_is_no_race() -> None:
    body = "out_desc.store([row, 0], out_desc.load([row, 0]) + x_desc.load([row, 0]))"
    assert not found(static_facts(DESCRIBED.format(body=body), None), "K33")


def test_an_answer_beside_the_descriptor_that_the_kernel_writes_is_left_uninitialised() -> None:
    body = "out_desc.store([row, 0], x_desc.load([row, 0]) * 2)"
    code = DESCRIBED.format(body=body).replace("return out", "return torch.empty_like(x)")
    assert found(static_facts(code, None), "K23") == {"hard"}


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("triton.knobs.compilation.disable_line_info = True", "suspicious"),
        ("triton.knobs = None", "hard"),
        ("triton.runtime = None", "hard"),
    ],
)
def test_settings_of_triton_are_no_replaced_functions(line: str, severity: str) -> None:
    plain = next(c for c in honest() if c.style == "function").code
    seen = static_facts(f"{plain}\n{line}\n", None)
    assert {f.severity for f in seen.findings if f.id in {"K50", "K51"}} == {severity}
