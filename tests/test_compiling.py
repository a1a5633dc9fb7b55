"""Kernels are compiled for GPUs that are not here, from launches that the interpreter recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from candidate_child import CandidateChild, outputs

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

from kernelsift.errors import ConfigError  # noqa: E402
from kernelsift.kernels import machine  # noqa: E402
from kernelsift.kernels.compiling import compiler as compiling  # noqa: E402
from kernelsift.kernels.compiling.binary import cubin_usage, uses_tensor_cores  # noqa: E402
from kernelsift.kernels.compiling.cache import CompileCache  # noqa: E402
from kernelsift.kernels.compiling.compiler import COMPILE_PRELOAD, Compiler  # noqa: E402
from kernelsift.kernels.compiling.signatures import MAX_SIGNATURES, signatures  # noqa: E402
from kernelsift.kernels.compiling.targets import parse_targets  # noqa: E402
from kernelsift.kernels.isolation.pool import Pool  # noqa: E402
from kernelsift.kernels.sizing import Question  # noqa: E402
from kernelsift.kernels.verdict import decide  # noqa: E402
from kernelsift.kernels.verdict_compiled import compile_findings, refused  # noqa: E402
from kernelsift.kernels.verifier import Verifier  # noqa: E402

HEAD = "import torch, torch.nn as nn, triton, triton.language as tl\n"
SCALE = """
@triton.jit
def scale(x, y, n, s, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i < n) * s, mask=i < n)
"""
MATRIX = """
@triton.jit
def matrix(a, b, c, M: tl.constexpr, K: tl.constexpr):
    i, k = tl.arange(0, M), tl.arange(0, K)
    left = tl.load(a + i[:, None] * K + k[None, :])
    right = tl.load(b + k[:, None] * M + i[None, :])
    tl.store(c + i[:, None] * M + i[None, :], tl.dot(left, right))
"""
STAGED = """
@triton.jit
def staged(a, b, c, K, B: tl.constexpr):
    i = tl.arange(0, 64)
    total = tl.zeros((64, 64), tl.float32)
    for k in range(0, K, 64):
        left = tl.load(a + i[:, None] * K + k + i[None, :])
        right = tl.load(b + (k + i[:, None]) * 64 + i[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + i[:, None] * 64 + i[None, :], total)
"""
BOTH = parse_targets("sm_80,sm_90")
HOPPER = parse_targets("sm_90")


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1, preload=COMPILE_PRELOAD, interpret=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


class Counting:
    """A pool that counts its children."""

    def __init__(self, pool):
        self.pool, self.children = pool, []

    def run(self, *args):
        self.children.append(self.pool.run(*args))
        return self.children[-1]


def pointer(name, kind="*fp32", *, aligned=True):
    return [name, kind, {"aligned": aligned}]


def launch(kernel, *arguments, line=0, **options):
    return {"kernel": kernel, "line": line, "signature": list(arguments), "options": options}


def scale_launch(n=1000, block=128, **options):
    vectors = [pointer("x"), pointer("y")]
    numbers = [["n", "i32", n], ["s", "fp32", 2.0], ["B", "constexpr", block]]
    return launch("scale", *vectors, *numbers, **options)


def matrix_launch(size, inner=32, **options):
    matrices = [pointer("a", "*fp16"), pointer("b", "*fp16"), pointer("c")]
    sizes = [["M", "constexpr", size], ["K", "constexpr", inner]]
    return launch("matrix", *matrices, *sizes, **options)


def staged_launch(stages):
    matrices = [pointer("a", "*fp16"), pointer("b", "*fp16"), pointer("c")]
    sizes = [["K", "i32", 4096], ["B", "constexpr", 64]]
    return launch("staged", *matrices, *sizes, num_stages=stages)


def compiled(pool, code, *launches, targets=HOPPER, **how):
    return Compiler(pool, targets).compile(HEAD + code, launches, **how)


def test_a_good_kernel_compiles_for_each_target_with_its_registers(pool):
    found = compiled(pool, SCALE, scale_launch(), targets=BOTH)
    assert [(f.target, f.status) for f in found] == [("sm_80", "ok"), ("sm_90", "ok")]
    for facts in found:
        assert facts.registers
        assert 4 <= facts.registers <= 64
        assert (facts.spills, facts.shared_bytes, facts.tensor_cores) == (0, 0, False)
    assert [f.shared_limit for f in found] == [163 << 10, 227 << 10]
    assert "n: i32, s: fp32, B=128" in found[0].signature


def test_a_matrix_product_uses_tensor_cores_and_shared_memory(pool):
    for facts in compiled(pool, MATRIX, matrix_launch(32), targets=BOTH):
        assert facts.status == "ok", facts.why
        assert facts.tensor_cores
        assert facts.shared_bytes


def test_amd_is_a_target_too(pool):
    targets = parse_targets("gfx942")
    plain, product = compiled(
        pool, SCALE + MATRIX, scale_launch(), matrix_launch(32), targets=targets
    )
    assert (plain.status, plain.tensor_cores, plain.shared_limit) == ("ok", False, 64 << 10)
    assert (product.status, product.tensor_cores) == ("ok", True)
    assert plain.registers


def test_registers_that_do_not_fit_are_counted_as_spills(pool):
    (facts,) = compiled(pool, MATRIX, matrix_launch(64, num_warps=1, maxnreg=32))
    assert facts.status == "ok", facts.why
    assert facts.spills


def test_more_shared_memory_than_a_block_has_is_in_the_facts(pool):
    older, newer = compiled(pool, STAGED, staged_launch(20), targets=BOTH)
    for facts in (older, newer):
        assert facts.status == "ok", facts.why
        assert facts.shared_bytes > facts.shared_limit


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    if n > 3:\n        v = v & 1.5", "invalid operands"),
        ("    while True:\n        break", "Break"),
        ("    v = v + nothing", "nothing is not defined"),
        ("    v = v + FACTOR", "Cannot access global variable FACTOR"),
        ("    tl.static_assert(B < 4)", ""),
    ],
)
def test_what_only_the_interpreter_accepts_is_an_error_with_its_line(pool, body, said):
    code = f"FACTOR = 3.0\n{SCALE}".replace(
        "    tl.store", f"    v = tl.load(x + i)\n{body}\n    tl.store"
    )
    (facts,) = compiled(pool, code, scale_launch())
    assert facts.status == "error"
    assert said in facts.why
    line = (HEAD + code).splitlines().index(body.splitlines()[-1]) + 1
    assert f"(line {line}: " in facts.why


def test_pytorch_inside_a_kernel_is_an_error(pool):
    (facts,) = compiled(pool, SCALE.replace("* s", "* torch.relu(s)"), scale_launch())
    assert facts.status == "error"
    assert "relu" in facts.why


def test_an_error_in_a_function_that_the_kernel_calls_names_the_line_in_it(pool):
    code = "@triton.jit\ndef inner(v):\n    return v @ v\n" + SCALE.replace("* s", "* inner(s)")
    (facts,) = compiled(pool, code, scale_launch())
    assert facts.status == "error"
    assert "(line 4: return v @ v)" in facts.why


@pytest.mark.parametrize("warps", [3, 64])
def test_a_block_that_no_gpu_can_start_is_an_error(pool, warps):
    (facts,) = compiled(pool, SCALE, scale_launch(num_warps=warps))
    assert facts.status == "error"


@pytest.mark.parametrize(
    ("code", "recorded", "said"),
    [
        (SCALE, launch("other"), "other is not made"),
        (SCALE, launch("scale", pointer("x")), "y was not recorded"),
        (SCALE, scale_launch(block={"repr": "<object>"}), "<object>"),
        (SCALE, scale_launch(no_such_option=1), "unrecognised"),
        (SCALE + "raise ValueError('not here')", scale_launch(), "not here"),
        (SCALE + "raise SystemExit(0)", scale_launch(), "SystemExit"),
        (SCALE + "import os\nos._exit(0)", scale_launch(), "the process ended"),
        (SCALE + "triton.compiler.compile = print", scale_launch(), "it replaced triton.compiler"),
    ],
)
def test_what_we_cannot_try_is_no_error_of_the_kernel(pool, code, recorded, said):
    (facts,) = compiled(pool, code, recorded)
    assert facts.status == "not-run"
    assert said in facts.why


def test_a_setting_of_torchs_own_precision_does_not_stop_the_compiler(pool):
    code = SCALE + "torch.backends.cuda.matmul.allow_tf32 = True\n"
    code += "torch.set_float32_matmul_precision('high')\n"
    (facts,) = compiled(pool, code, scale_launch())
    assert facts.status == "ok"


def test_a_block_pointer_is_no_error_where_this_triton_has_none(pool):
    made = "tl.make_block_ptr(x, (n,), (1,), (0,), (B,), (0,))"
    code = SCALE.replace("tl.load(x + i, mask=i < n)", f"tl.load({made})")
    (facts,) = compiled(pool, code, scale_launch())
    assert facts.status in {"ok", "not-run"}


def test_one_kernel_that_crashes_the_compiler_loses_no_other(pool):
    abort = "import os\ndef aborting():\n    os.abort()\ntl.aborting = aborting\n"
    crashing = "@triton.jit\ndef crashing(x):\n    tl.aborting()\n"
    counted = Counting(pool)
    first, broken, last = compiled(
        counted, abort + crashing + SCALE, scale_launch(), launch("crashing", pointer("x")),
        scale_launch(block=64),
    )  # fmt: skip
    assert (first.status, broken.status, last.status) == ("ok", "error", "ok"), broken.why
    assert "crashed" in broken.why
    assert [child.status for child in counted.children] == ["crash", "crash", "done"]


def test_one_kernel_that_takes_too_long_loses_no_other(pool):
    loop = "def looping():\n    while True: pass\ntl.looping = looping\n"
    endless = "@triton.jit\ndef endless(x):\n    tl.looping()\n"
    code = HEAD + loop + endless + SCALE
    slow, good = Compiler(pool, HOPPER, seconds=4.0).compile(
        code, [launch("endless", pointer("x")), scale_launch()]
    )
    assert (slow.status, good.status) == ("timeout", "ok")


def test_a_tuning_key_that_is_no_argument_is_passed_over(pool):
    tuned = '@triton.autotune([triton.Config({"B": 64})], key=["BLOCK"])'
    code = HEAD + SCALE.replace("@triton.jit", f"{tuned}\n@triton.jit")
    (found,) = Compiler(pool, HOPPER).compile(code, [scale_launch()])
    assert (found.status, found.why) == ("ok", "")


def test_an_autotuned_kernel_compiles_as_recorded(child, pool):
    tuned = (
        HEAD
        + """
@triton.autotune([triton.Config({"B": 64}, num_warps=2), triton.Config({"B": 32})], key=["n"])
@triton.heuristics({"EVEN": lambda named: named["n"] % named["B"] == 0})
@triton.jit
def add(x, bias, o, n, B: tl.constexpr, EVEN: tl.constexpr, T: tl.constexpr, F: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    v = F(tl.load(x + i) if EVEN else tl.load(x + i, mask=i < n)).to(T)
    if bias is not None:
        v += tl.load(bias)
    tl.store(o + i, v, mask=i < n)
@triton.jit
def twice(v):
    return v * 2
class ModelNew(nn.Module):
    def forward(self, x):
        o, grid = torch.empty_like(x), lambda named: (triton.cdiv(x.numel(), named["B"]),)
        add[grid](x, None, o, x.numel(), T=tl.float32, F=twice)
        return o
"""
    )
    frames = outputs(
        child.run(
            code=tuned, module_name="Model", cases=[{"name": "x", "inputs": [torch.ones(100)]}]
        )
    )
    recorded = frames["x"]["facts"]["launches"]
    assert recorded, frames["x"]
    found = Compiler(pool, BOTH).compile(tuned, recorded)
    assert {f.status for f in found} == {"ok"}, found
    (said,) = {f.signature for f in found}
    assert "bias=None" in said
    assert "B=64, EVEN=False; " in said
    assert "T=fp32, F=twice" in said
    assert "num_warps=2" in said


def test_autotuning_goes_on_where_its_first_configuration_does_not_fit(pool):
    configurations = "[triton.Config({}, num_stages=20), triton.Config({}, num_stages=2)]"
    code = f"@triton.autotune({configurations}, key=[]){STAGED}"
    (facts,) = compiled(pool, code, staged_launch(20))
    assert facts.status == "ok"
    assert facts.shared_bytes < facts.shared_limit
    assert "configuration 1" in facts.why


@pytest.mark.parametrize("scaled", [False, True])
def test_a_configuration_that_the_compiler_refuses_ends_autotuning(pool, scaled):
    configurations = '[triton.Config({"K": 32}), triton.Config({"K": 24})]'
    code = f"@triton.autotune({configurations}, key=[]){MATRIX}"
    (facts,) = compiled(pool, code, matrix_launch(32), scaled=scaled)
    assert facts.status == "error"
    assert "configuration 1 of autotuning" in facts.why


def test_kernels_of_one_name_are_told_apart_by_line(pool):
    shadowed = MATRIX.replace("def matrix", "def scale")
    code = SCALE + "first = scale\n" + shadowed
    recorded = scale_launch()
    line = (HEAD + code).splitlines().index("def scale(x, y, n, s, B: tl.constexpr):") + 1
    (facts,) = compiled(pool, code, {**recorded, "line": line})
    assert facts.status == "ok", facts.why


def test_launches_that_the_compiler_treats_alike_are_compiled_once():
    same = [scale_launch(n) for n in (17, 18, 1001)] + [scale_launch(n) for n in (16, 32)]
    assert len(signatures(same)) == 2
    assert len(signatures([scale_launch(1), scale_launch(17), scale_launch(1 << 40)])) == 3
    assert len(signatures([scale_launch(), scale_launch(num_warps=8), scale_launch(block=64)])) == 3


@pytest.mark.parametrize(
    "launches", [[None], [{}], [{"kernel": "k", "signature": 3, "options": {}}]]
)
def test_what_is_no_launch_is_left_out(launches):
    assert signatures(launches) == {}


def test_launches_over_the_cap_are_said_to_be_left_out(pool):
    many = [scale_launch(block=0, s=number) for number in range(MAX_SIGNATURES + 3)]
    found = compiled(pool, SCALE, *many)
    assert len(found) == MAX_SIGNATURES + 3
    assert all("more than 16" in f.why for f in found[MAX_SIGNATURES:])


def test_a_refusal_that_smaller_sizes_explain_is_none_where_they_were_made_smaller(pool):
    code = MATRIX.replace("tl.arange(0, M)", "tl.arange(0, M + 4)")
    plain = compiled(pool, code, matrix_launch(32))
    scaled = compiled(pool, code, matrix_launch(32), scaled=True)
    assert (plain[0].status, scaled[0].status) == ("error", "not-run")
    typed = compiled(pool, SCALE.replace("* s", "* no"), scale_launch(), scaled=True)
    assert typed[0].status == "error"


@pytest.mark.parametrize(
    ("otherwise", "status"),
    [
        ("0.0", "error"),
        ("tl.zeros((B,), tl.int32)", "error"),
        ("tl.zeros((8,), tl.float32)", "not-run"),
    ],
)
def test_a_name_with_two_types_is_an_error_where_more_than_the_length_differs(
    pool, otherwise, status
):
    body = f"""
    if n > s:
        v = tl.load(x + i, mask=i < n)
    else:
        v = {otherwise}
    tl.store(y + i, v, mask=i < n)
"""
    code = SCALE.replace("    tl.store(y + i, tl.load(x + i, mask=i < n) * s, mask=i < n)\n", body)
    (facts,) = compiled(pool, code, scale_launch(), scaled=True)
    assert (facts.status, "Mismatched type" in facts.why) == (status, True)


# --- the cache -----------------------------------------------------------------------------------


def test_what_was_compiled_is_not_compiled_again_by_this_or_another_process(pool, tmp_path):
    counted = Counting(pool)

    def fresh():
        return Compiler(counted, BOTH, compiling.compile_cache(tmp_path))

    one = fresh()
    first = one.compile(HEAD + SCALE, [scale_launch()])
    assert one.compile(HEAD + SCALE, [scale_launch()]) == first
    assert fresh().compile(HEAD + SCALE, [scale_launch()]) == first
    assert len(counted.children) == 1
    fresh().compile(HEAD + SCALE, [scale_launch(), scale_launch(block=64)])
    assert len(counted.children) == 2


def test_a_broken_cache_file_is_as_good_as_none(pool, tmp_path):
    def run():
        return Compiler(pool, HOPPER, compiling.compile_cache(tmp_path)).compile(
            HEAD + SCALE, [scale_launch()]
        )

    first = run()
    (file,) = tmp_path.rglob("*.json")
    for content in ("", "{", "[]", json.dumps({"x": {"status": "ok"}})):
        file.write_text(content, encoding="utf-8")
        assert run() == first


def test_a_cache_folder_that_cannot_be_written_costs_no_answer(pool, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = compiling.compile_cache(tmp_path / "file")
    (facts,) = Compiler(pool, HOPPER, cache).compile(HEAD + SCALE, [scale_launch()])
    assert facts.status == "ok"


def test_the_cache_keeps_the_candidates_used_last(tmp_path, monkeypatch):
    monkeypatch.setattr("kernelsift.kernels.compiling.cache.MAX_FILES", 10)
    facts = compiling.CompileFacts(kernel="k", target="sm_90", status="ok")
    cache = CompileCache(tmp_path)
    for number in range(25):
        cache.add(f"code {number}", {"name": facts})
    assert len(list(tmp_path.rglob("*.json"))) <= 10
    assert CompileCache(tmp_path).known("code 24") == {"name": facts}


def test_bad_luck_is_not_remembered(pool, tmp_path):
    cache = compiling.compile_cache(tmp_path)
    code = HEAD + SCALE + "import os\nos._exit(0)\n"
    Compiler(pool, HOPPER, cache).compile(code, [scale_launch()])
    assert cache.known(code) == {}


# --- small parts ---------------------------------------------------------------------------------


def test_targets_are_read_from_text():
    assert parse_targets("none") == parse_targets("") == ()
    assert [t.name for t in parse_targets(" sm_90, gfx942 ,sm_90")] == ["sm_90", "gfx942"]
    for wrong in ("sm_1", "sm90", "h100", "sm_80,none"):
        with pytest.raises(ConfigError, match="known are sm_70"):
            parse_targets(wrong)


@pytest.mark.parametrize(
    "file", [b"", b"\x7fELF\x02\x01" + bytes(40), b"\x7fELF\x02\x01" + b"\xff" * 200]
)
def test_a_file_that_is_no_cubin_says_nothing(file):
    assert cubin_usage(file) == (None, None)


def test_tensor_core_instructions_are_known_by_name():
    assert uses_tensor_cores("  mma.sync.aligned.m16n8k16.row.col")
    assert uses_tensor_cores("\twgmma.mma_async.sync")
    assert uses_tensor_cores("  v_mfma_f32_32x32x8_f16")
    assert not uses_tensor_cores("fma.rn.f32 %f1, %f2; // summa.sync_v_mfma")


def test_the_doctor_tries_interpreter_compiler_sandbox_and_gpu():
    found = {part.name: part for part in machine.look()}
    assert found["interpreter"].ok, found
    assert found["compile targets"].found.startswith("sm_80, sm_90"), found
    assert "rlimits" in found["sandbox"].found
    assert "GPU" in found


def test_the_folder_of_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from kernelsift.kernels.compiling.cache import default_folder

    assert default_folder() == Path(tmp_path, "kernelsift", "compiled")


# --- the verdict ---------------------------------------------------------------------------------


def facts_of(target, status="ok", *, shared=0, group="nominal", signature="one"):
    return compiling.CompileFacts(
        kernel="k", target=target, signature=signature, status=status, why="it says no",
        shared_bytes=shared, shared_limit=100, group=group,
    )  # fmt: skip


DECISIVE = frozenset({"nominal", "values"})


@pytest.mark.parametrize(
    ("found", "refusals", "severities"),
    [
        ([facts_of("a"), facts_of("b")], 0, []),
        ([facts_of("a", "error"), facts_of("b", "error")], 1, ["bug"]),
        ([facts_of("a", "error"), facts_of("b")], 0, ["suspicious"]),
        ([facts_of("a", "error"), facts_of("b", "timeout")], 1, ["bug"]),
        ([facts_of("a", shared=200), facts_of("b", shared=200)], 1, ["bug"]),
        ([facts_of("a", shared=200), facts_of("b")], 0, ["suspicious"]),
        ([facts_of("a", "timeout"), facts_of("b", "not-run")], 0, []),
        ([facts_of("a", "error", group="shape")], 0, ["suspicious"]),
        ([facts_of("a"), facts_of("a", "error", signature="two")], 1, ["bug"]),
    ],
)
def test_a_launch_is_refused_if_no_target_takes_it(found, refusals, severities):
    assert len(refused(found, DECISIVE)) == refusals
    assert [finding.severity for finding in compile_findings(found, DECISIVE)] == severities


def test_a_kernel_that_only_the_interpreter_runs_is_a_compile_error(pool, interpreters):
    reference = (
        "import torch\nclass Twice(torch.nn.Module):\n    def forward(self, x):\n"
        "        return x * 2\ndef get_inputs():\n    return [torch.randn(64)]\n"
        "def get_init_inputs():\n    return [[], {}]\n"
    )
    answer = (
        HEAD
        + """
@triton.jit
def double(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.load(x + i, mask=i < n)
    while True:
        v = v * 2
        break
    tl.store(o + i, v, mask=i < n)
class TwiceNew(nn.Module):
    def forward(self, x):
        o = torch.empty_like(x)
        double[(triton.cdiv(x.numel(), 32),)](x, o, x.numel(), B=32)
        return o
"""
    )
    verifier = Verifier(interpreters, compiler=Compiler(pool, BOTH))
    broken = verifier.verify(Question(reference, answer, "Twice"), seed=3)
    good = answer.replace("    while True:\n        v = v * 2\n        break\n", "    v = v * 2\n")
    right = verifier.verify(Question(reference, good, "Twice"), seed=3)
    assert decide(broken).outcome == "compile_error"
    assert "Break" in decide(broken).reasons[0]
    assert decide(right).outcome == "correct"
    assert {facts.status for facts in right.compiled} == {"ok"}
    assert {facts.target for facts in right.compiled} == {"sm_80", "sm_90"}
