"""A whole verification, from two programs to a verdict, on the bundled rollouts."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kernelsift.cli.main import cli
from kernelsift.source import extract

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None:
    pytest.skip("torch and triton are not installed", allow_module_level=True)

from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import Effort, Verifier

MODULES = Path(__file__).parents[1] / "sample" / "modules"
SEED = 11


@pytest.fixture(scope="module")
def verifier(interpreters):
    return Verifier(interpreters)


def question(module, kind):
    folder = MODULES / module
    reference = (folder / "reference.py").read_text(encoding="utf-8")
    code = extract((folder / f"{kind}.md").read_text(encoding="utf-8")).code
    return Question(reference, code, module)


@pytest.mark.parametrize(
    ("module", "kind"),
    [("Swish", "fused"), ("LinearReLU", "fused"), ("TemperatureSoftmax", "fused")],
)
def test_an_honest_kernel_is_correct_and_kept(verifier, module, kind):
    verdict = decide(verifier.verify(question(module, kind), SEED))
    assert (verdict.outcome, verdict.work, verdict.keep) == ("correct", "full_triton", True), (
        verdict
    )


@pytest.mark.parametrize(("module", "kind"), [("Swish", "wrong"), ("RMSNorm", "wrong")])
def test_a_wrong_kernel_is_wrong_with_its_first_wrong_element(verifier, module, kind):
    facts = verifier.verify(question(module, kind), SEED)
    verdict = decide(facts)
    assert (verdict.outcome, verdict.keep) == ("wrong", False)
    assert any(c.differences for c in facts.comparisons)


def with_lower_precision(asked):
    flags = "\nimport torch\ntorch.backends.cuda.matmul.allow_tf32 = True\n"
    flags += "torch.set_float32_matmul_precision('medium')\n"
    return dataclasses.replace(asked, code=asked.code + flags)


def test_a_lower_precision_of_torch_is_suspected_and_the_row_kept(verifier):
    verdict = decide(verifier.verify(with_lower_precision(question("Swish", "fused")), SEED))
    assert (verdict.outcome, verdict.keep) == ("correct", True)
    told = [f for f in verdict.findings if f.evidence.startswith("it set torch.")]
    assert [(f.id, f.severity) for f in told] == [("K28", "suspicious")]


def test_a_lower_precision_of_its_own_process_makes_no_wrong_answer_right(verifier):
    asked = with_lower_precision(question("Swish", "wrong"))
    assert decide(verifier.verify(asked, SEED)).outcome == "wrong"


def test_a_cache_by_address_is_found_although_every_fresh_call_is_right(verifier):
    verdict = decide(verifier.verify(question("Swish", "cheat"), SEED))
    assert "K40" in {f.id for f in verdict.findings if f.severity == "hard"}
    assert not verdict.keep


def test_a_kernel_that_is_never_launched_is_no_kernel(verifier):
    verdict = decide(verifier.verify(question("ScaledBmm", "cheat"), SEED))
    assert (verdict.work, verdict.keep) == ("fallback", False)


LINEAR_THEN_RELU = """
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return torch.relu(self.fc(x))


def get_inputs():
    return [torch.randn(4, 16)]


def get_init_inputs():
    return []
"""
ONLY_THE_RELU = """
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def relu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, tl.maximum(x, 0.0), mask=mask)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        h = self.fc(x)
        out = torch.empty_like(h)
        relu_kernel[(triton.cdiv(h.numel(), 1024),)](h, out, h.numel(), BLOCK=1024)
        return out
"""


def test_masked_off_lanes_do_no_work(verifier):
    facts = verifier.verify(Question(LINEAR_THEN_RELU, ONLY_THE_RELU, "Model"), SEED)
    verdict = decide(facts)
    assert (verdict.outcome, verdict.work) == ("correct", "figleaf")  # 512 of 528 operations


TUNED = """
import torch
import triton
import triton.language as tl


@triton.autotune([triton.Config({"BLOCK": n}) for n in SIZES], key=["n"])
@triton.jit
def relu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * 64 + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, tl.maximum(x, 0.0), mask=mask)


def triton_kernel_wrapper(x):
    out = torch.empty_like(x)
    relu_kernel[(triton.cdiv(x.numel(), 64),)](x, out, x.numel())
    return out
"""
RELU = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)


def get_inputs():
    return [torch.randn(7, 40)]


def get_init_inputs():
    return []
"""


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ("(64, 32, 128)", "the second configuration"),  # the last writes twice what is right
        ("(64, 128, 32)", "the last configuration"),
        ("(64, 16, 32)", "the second and the last configuration"),
        ("(64, 64, 128)", None),
    ],
)
def test_a_configuration_of_autotuning_that_is_wrong_is_found_behind_one_that_is_right(
    verifier, sizes, told
):
    code = TUNED.replace("SIZES", sizes)
    verdict = decide(verifier.verify(Question(RELU, code, "Model"), SEED))
    found = [f.evidence for f in verdict.findings if "configuration of autotuning" in f.evidence]
    assert verdict.outcome == "correct"
    assert [text.partition(" of autotuning")[0] for text in found] == ([told] if told else [])
    assert verdict.keep is (told is None)


IN_PLACE = """
import torch
import triton
import triton.language as tl


@triton.autotune([triton.Config({"BLOCK": n}) for n in (512, 1024)], key=["n"])
@triton.jit
def one_more_kernel(x_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.store(x_ptr + offsets, x + 1, mask=offsets < n)


def triton_kernel_wrapper(x):
    x = x.clone()
    one_more_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, x.numel())
    return x
"""
"""In place: tuning adds one, and then the launch that was asked for adds one."""


def test_an_answer_that_only_tuning_makes_right_is_a_bug_and_no_cache(verifier):
    asked = Question(RELU.replace("torch.relu(x)", "x + 2"), IN_PLACE, "Model")
    verdict = decide(verifier.verify(asked, SEED))
    assert [f.severity for f in verdict.findings if f.id == "K41"] == ["bug"]
    assert (verdict.outcome, verdict.keep) == ("wrong", False)


def test_code_that_does_not_parse_is_a_compile_error(verifier):
    verdict = decide(verifier.verify(Question(question("Swish", "fused").reference, "def f(:\n")))
    assert verdict.outcome == "compile_error"


def test_a_reference_that_does_not_run_says_nothing_about_the_candidate(verifier):
    broken = "import torch\nimport not_a_package\n"
    verdict = decide(verifier.verify(Question(broken, question("Swish", "fused").code, "Swish")))
    assert (verdict.outcome, verdict.unverifiable) == ("unverifiable", "reference")


def test_an_endless_loop_ends_in_time_and_is_told(interpreters):
    honest = question("Swish", "fused")
    code = honest.code + "\nwhile True:\n    pass\n"
    quick = Verifier(interpreters, Effort(limit_seconds=3))
    verdict = decide(quick.verify(Question(honest.reference, code, "Swish"), SEED))
    assert (verdict.outcome, verdict.keep) == ("timeout", False)


def test_a_row_whose_time_is_spent_is_not_tried_again(interpreters):
    honest = question("Swish", "fused")
    load = "    x = tl.load(x_ptr + offsets, mask=mask)\n"
    assert load in honest.code
    endless = load + "    for _ in range(100_000_000):\n        x = x * 1.0\n"
    slow = Question(honest.reference, honest.code.replace(load, endless), "Swish")
    tries = []
    for row_seconds in (90.0, 0.01):
        effort = Effort(first_seconds=0.5, limit_seconds=3.0, row_seconds=row_seconds)
        facts = Verifier(interpreters, effort).verify(slow, SEED)
        tries.append(sum(timing.name == "candidate" for timing in facts.timings))
    assert tries[0] > tries[1] == 1


LARGE = """
import torch
from torch import nn

batch, width = 512, 4096


class Doubled(nn.Module):
    def forward(self, x):
        return x.reshape(-1) * 2 + 1


def get_inputs():
    return [torch.randn(batch, width)]


def get_init_inputs():
    return []
"""
FIXED = """
import torch
import triton
import triton.language as tl
from torch import nn


@triton.jit
def doubled(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x * 2 + 1, mask=at < n)


class DoubledNew(nn.Module):
    def forward(self, x):
        #CHECK
        y = torch.empty(2**21, device=x.device)
        doubled[(triton.cdiv(x.numel(), 4096),)](x, y, x.numel(), BLOCK=4096)
        return y
"""


@pytest.mark.parametrize("check", ["pass", "assert x.numel() == 2**21"])
def test_a_kernel_for_one_size_is_right_at_that_size_and_has_a_bug(verifier, check):
    code = FIXED.replace("#CHECK", check)
    facts = verifier.verify(Question(LARGE, code, "Doubled"), SEED)
    verdict = decide(facts)
    assert facts.reference.scaled
    assert verdict.outcome == "correct", verdict
    assert ("K25", "bug") in {(f.id, f.severity) for f in verdict.findings}
    assert not verdict.keep


def test_a_kernel_that_covers_only_smaller_sizes_is_wrong(verifier):
    code = FIXED.replace("(triton.cdiv(x.numel(), 4096),)", "(64,)").replace("2**21", "x.numel()")
    facts = verifier.verify(Question(LARGE, code, "Doubled"), SEED)
    assert facts.reference.scaled
    assert all(c.status == "equal" for c in facts.comparisons if c.group == "nominal")
    verdict = decide(facts)
    assert (verdict.outcome, verdict.keep) == ("wrong", False), verdict


ROW_MEANS = """
import torch
from torch import nn

rows, width = 256, 32768


class Means(nn.Module):
    def forward(self, x):
        return x.mean(1)


def get_inputs():
    return [torch.randn(rows, width)]


def get_init_inputs():
    return []
"""
ROW_MEANS_KERNEL = """
import torch
import triton
import triton.language as tl
from torch import nn


@triton.jit
def means(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n, BLOCK):
        at = START + tl.arange(0, BLOCK)
        total += tl.load(x_ptr + row * n + at, mask=at < n, other=0.0)
    tl.store(y_ptr + row, tl.sum(total, 0) / n)


class MeansNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty(x.shape[0], device=x.device)
        means[(x.shape[0],)](x, y, x.shape[1], BLOCK=2048)
        return y
"""


@pytest.mark.parametrize(("start", "right"), [("start", True), ("0", False)])
def test_a_loop_over_blocks_is_followed_to_its_second_block(interpreters, start, right):
    code = ROW_MEANS_KERNEL.replace("START", start)
    facts = Verifier(interpreters).verify(Question(ROW_MEANS, code, "Means"), SEED)
    verdict = decide(facts)
    assert verdict.keep == right, verdict
    assert right or verdict.outcome == "wrong" or "K25" in verdict.dropped_by


STARTED = """
import torch
from torch import nn


class Loss(nn.Module):
    def forward(self, x):
        return 1 - x.mean() * 1e-4


def get_inputs():
    return [torch.rand(64, 64)]


def get_init_inputs():
    return []
"""
STARTED_KERNEL = """
import torch
import triton
import triton.language as tl
from torch import nn


@triton.jit
def loss(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    total = tl.sum(tl.load(x_ptr + at, mask=at < n, other=0.0), 0)
    tl.store(y_ptr, tl.load(y_ptr) - total / n * 1e-4)


class LossNew(nn.Module):
    def forward(self, x):
        x, y = x.contiguous(), torch.ones((), device=x.device)
        loss[(1,)](x, y, x.numel(), BLOCK=triton.next_power_of_2(x.numel()))
        return y
"""


def test_work_that_changes_little_is_still_the_kernel_s(verifier):
    verdict = decide(verifier.verify(Question(STARTED, STARTED_KERNEL, "Loss"), SEED))
    assert verdict.outcome == "correct"
    assert verdict.work != "fallback"
    assert "K04" not in {finding.id for finding in verdict.findings}


PRODUCT = """
import torch, torch.nn as nn
class Product(nn.Module):
    def forward(self, a, b):
        return a @ b
def get_inputs():
    return [torch.rand([40, 160]), torch.rand([160, 24])]
def get_init_inputs():
    return [[], {}]
"""
WRAPPED = """
import torch, torch.nn as nn, triton, triton.language as tl
@triton.jit
def product(a, b, c, M, N, K, B: tl.constexpr):
    m = (tl.program_id(0) * B + tl.arange(0, B)) % M
    n = (tl.program_id(1) * B + tl.arange(0, B)) % N
    total = tl.zeros((B, B), dtype=tl.float32)
    for start in range(0, K, B):
        k = start + tl.arange(0, B)
        left = tl.load(a + m[:, None] * K + k, mask=(k < K)[None, :], other=0.0)
        right = tl.load(b + k[:, None] * N + n, mask=(k < K)[:, None], other=0.0)
        total += tl.dot(left, right, input_precision="ieee")
    tl.store(c + m[:, None] * N + n, total)
class ProductNew(nn.Module):
    def forward(self, a, b):
        a, b = a.contiguous(), b.contiguous()
        (M, K), N = a.shape, b.shape[1]
        c = torch.empty((M, N), device=a.device)
        product[(triton.cdiv(M, 16), triton.cdiv(N, 16))](a, b, c, M, N, K, B=16)
        return c
"""


def test_tiles_that_wrap_and_store_equal_values_twice_are_no_bug(verifier):
    facts = verifier.verify(Question(PRODUCT, WRAPPED, "Product"), SEED)
    assert {access.race for access in facts.sanitizer.races} == {"store-store-equal"}
    assert decide(facts).keep


def test_a_product_in_bfloat16_is_lower_precision_and_not_wrong(verifier):
    code = WRAPPED.replace('left, right, input_precision="ieee"', "left, right")
    code = code.replace(
        "tl.dot(left, right)", "tl.dot(left.to(tl.bfloat16), right.to(tl.bfloat16))"
    )
    code = code.replace("m[:, None] * N + n, total)", "m[:, None] * N + n, total.to(tl.bfloat16))")
    facts = verifier.verify(Question(PRODUCT, code, "Product"), SEED)
    assert {c.status for c in facts.comparisons if c.group == "nominal"} == {"imprecise"}
    assert ("K28", "bug") in {(f.id, f.severity) for f in decide(facts).findings}


def test_a_read_out_of_bounds_is_told_also_where_no_time_is_left_for_sanitizers(interpreters):
    code = WRAPPED.replace(", mask=(k < K)[None, :], other=0.0", "").replace("160", "150")
    hurried = Verifier(interpreters, Effort(candidate_seconds=0.01))
    facts = hurried.verify(Question(PRODUCT.replace("160", "150"), code, "Product"), SEED)
    (found,) = (f for f in decide(facts).findings if (f.id, f.severity) == ("K32", "bug"))
    assert "beyond the end of argument 'a'" in found.evidence
    assert "(case nominal" in found.evidence


def test_a_kernel_that_is_the_identity_on_its_own_inputs_is_no_copy(verifier):
    reference = (MODULES / "Swish" / "reference.py").read_text(encoding="utf-8")
    reference = reference.replace("torch.randn", "torch.rand").replace(
        "x * torch.sigmoid(x)", "torch.relu(x)"
    )
    assert "torch.rand(" in reference
    assert "torch.relu(x)" in reference
    code = question("Swish", "fused").code.replace(
        "x * tl.sigmoid(x), mask", "tl.maximum(x, 0.0), mask"
    )
    assert "tl.maximum" in code
    verdict = decide(verifier.verify(Question(reference, code, "Swish"), SEED))
    assert (verdict.work, verdict.keep) == ("full_triton", True), verdict


def test_verify_file_prints_one_json_object(tmp_path):
    answer = tmp_path / "answer.py"
    answer.write_text(question("Swish", "wrong").code, encoding="utf-8")
    reference = MODULES / "Swish" / "reference.py"
    given = ["verify-file", str(reference), str(answer), "--json", "--targets", "none"]
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["outcome"] == "wrong"
    assert {"id", "severity", "line", "evidence"} <= found["findings"][0].keys()


def test_a_verdict_tells_the_health_of_its_reference(verifier):
    reference = decide(verifier.verify(question("Swish", "fused"), SEED)).reference
    assert reference is not None
    assert (reference.stochastic, reference.stateful, reference.degenerate) == (False, False, ())
    assert reference.launch_bound
    assert reference.informative > 0.5


def test_verify_file_takes_markers_off_a_completion_of_bare_code():
    folder = MODULES / "LinearReLU"
    assert "BEGIN_PYTHON" in (folder / "fused.md").read_text(encoding="utf-8")
    given = ["verify-file", str(folder / "reference.py"), str(folder / "fused.md")]
    done = CliRunner().invoke(cli, given)
    assert done.stdout.startswith("correct, "), done.output
    assert "the reference: " in done.stdout


def test_verify_file_reads_a_completion_and_says_which_elements_differ():
    folder = MODULES / "Swish"
    given = ["verify-file", str(folder / "reference.py"), str(folder / "wrong.md")]
    done = CliRunner().invoke(cli, [*given, "--targets", "none"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("wrong, full triton · dropped by outcome:wrong")
    assert "called: class SwishNew" in done.stdout
    assert "expected" in done.stdout


def test_verify_file_calls_what_it_is_told_to(tmp_path):
    answer = tmp_path / "answer.py"
    answer.write_text(question("Swish", "fused").code, encoding="utf-8")
    given = ["verify-file", str(MODULES / "Swish" / "reference.py"), str(answer)]
    done = CliRunner().invoke(cli, [*given, "--entry", "Swosh"])
    assert "has no class or function 'Swosh'; leave --entry out to search" in str(done.exception)
