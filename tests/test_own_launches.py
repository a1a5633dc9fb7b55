"""Launches at a problem's own sizes, where running its kernels would take too long."""

import dataclasses
import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None:
    pytest.skip("torch and triton are not installed", allow_module_level=True)

import torch

from kernelsift.kernels import wire
from kernelsift.kernels.compiling.compiler import open_compiler
from kernelsift.kernels.compiling.targets import parse_targets
from kernelsift.kernels.outline import filled, outlined
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import Verifier

SEED = 11
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
SCALED_ROWS = """
import torch


class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.rand(width))

    def forward(self, x):
        return x * self.scale


rows = 100_000
width = 20_000


def get_inputs():
    return [torch.randn(rows, width)]


def get_init_inputs():
    return [width]
"""
"""Eight gigabytes: nothing here may touch them."""
HEAD = """
import torch
import triton
import triton.language as tl


@triton.jit
def scale_kernel(x_ptr, scale_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(AXIS).to(tl.int64)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = columns < width
        x = tl.load(x_ptr + row * width + columns, mask=mask)
        scale = tl.load(scale_ptr + columns, mask=mask)
        tl.store(out_ptr + row * width + columns, x * scale, mask=mask)


def launch(x, scale):
    out = torch.empty_like(x)
    rows, width = x.shape
    scale_kernel[GRID](x, scale, out, width, BLOCK=BLOCK_OF)
    return out
"""
AS_FUNCTION = """
def triton_kernel_wrapper(x, scale):
    return launch(x, scale)
"""
AS_CLASS = """
class ModelNew(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.rand(width))

    def forward(self, x):
        return launch(x, self.scale)
"""


def candidate(entry, axis="0", grid="(rows,)", block="1024"):
    code = HEAD.replace("AXIS", axis).replace("GRID", grid).replace("BLOCK_OF", block)
    return Question(SCALED_ROWS, code + entry, "Model")


@pytest.fixture(scope="module")
def verifier(interpreters):
    with open_compiler(parse_targets("sm_90"), 1, "auto") as compiler:
        yield Verifier(interpreters, compiler=compiler)


@pytest.mark.parametrize("entry", [AS_FUNCTION, AS_CLASS], ids=["function", "class"])
def test_launches_are_compiled_as_they_are_at_the_own_sizes(verifier, entry):
    facts = verifier.verify(candidate(entry, block="triton.next_power_of_2(width)"), SEED)
    assert decide(facts).outcome == "correct"
    assert [(c.status, c.group) for c in facts.compiled] == [("ok", "nominal")], facts.compiled
    assert "BLOCK=32768" in facts.compiled[0].signature


@pytest.mark.parametrize("entry", [AS_FUNCTION, AS_CLASS], ids=["function", "class"])
def test_more_programs_than_cuda_takes_are_a_crash_although_it_is_right_at_smaller_sizes(
    verifier, entry
):
    verdict = decide(verifier.verify(candidate(entry, axis="1", grid="(1, rows)"), SEED))
    assert verdict.outcome == "crash"
    assert "100000 programs along axis 1 of the grid, CUDA takes 65535" in verdict.reasons[0]


def test_what_is_refused_at_the_own_sizes_does_not_compile(verifier):
    asked = candidate(AS_CLASS, block="128 if width < 9_000 else 96")
    verdict = decide(verifier.verify(asked, SEED))
    assert verdict.outcome == "compile_error"
    assert "power of 2" in verdict.reasons[0]


@pytest.mark.parametrize(
    "grid",
    ["(rows,) if float(x[0, 0]) != 0 else None", "(rows, 1 if float(x[0, 0]) != 0 else 10**6)"],
    ids=["raises", "refused"],
)
def test_a_candidate_that_asks_what_a_tensor_holds_is_not_told_by_tensors_that_hold_nothing(
    verifier, grid
):
    facts = verifier.verify(candidate(AS_FUNCTION, grid=grid), SEED)
    assert decide(facts).outcome == "correct"
    assert facts.refused_launch == ""
    assert {c.status for c in facts.compiled} == {"ok"}


@pytest.mark.parametrize(("reached", "outcome"), [(True, "compile_error"), (False, "correct")])
def test_a_chained_comparison_is_refused_in_a_kernel_and_nowhere_else(verifier, reached, outcome):
    asked = candidate(AS_FUNCTION + "assert 0 < 1 < 2\n")
    plain = "mask = columns < width"
    assert plain in asked.code
    chained = asked.code.replace(plain, "mask = 0 <= columns < width")
    asked = dataclasses.replace(asked, code=chained) if reached else asked
    assert decide(verifier.verify(asked, SEED)).outcome == outcome


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(DTYPES),
    meta=st.booleans(),
    turned=st.booleans(),
)
def test_an_outline_keeps_shape_strides_and_type(shape, dtype, meta, turned):
    tensor = torch.empty(shape, dtype=dtype, device="meta" if meta else "cpu")
    tensor = tensor.transpose(0, -1) if turned and shape else tensor
    sent = wire.decode(wire.encode({"value": outlined([tensor, {"n": (1, "x", None)}])}))
    found, rest = filled(sent["value"])
    assert (found.shape, found.stride(), found.dtype) == (
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )
    assert found.device.type == "cpu"
    assert not found.to(torch.float32).any()
    assert rest == {"n": (1, "x", None)}
