"""Facts of code, counted on programs small enough to count by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.kernels.features import measure_features, measure_reference

SCALE = '''import torch
import triton
import triton.language as tl
import unused


@triton.autotune(configs=[], key=["count"])
@triton.jit
def scale_kernel(x_ptr, out_ptr, count, stride_x, BLOCK: tl.constexpr):
    """Multiply by 7."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    total = tl.sum(tl.load(x_ptr + at, mask=inside, other=0.0), axis=0)
    for step in range(4):
        for inner in range(4):
            value = tl.load(x_ptr + at, inside)  # not filled
            total += tl.dot(value, value)
    tl.store(out_ptr + at, total * 7, mask=inside)
    tl.store(out_ptr, "# no comment")


class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)

    def forward(self, x):
        tmp0 = torch.empty_like(x)
        scale_kernel[(1,)](x, tmp0, x.numel(), 1, BLOCK=64)
        y = torch.softmax(self.fc(x), dim=-1)
        return tmp0.view(-1).sum()
        print("never")
'''


def test_a_small_program_is_counted_as_by_hand():
    seen = measure_features(SCALE)
    assert (seen.kernels, seen.autotuned, seen.launches, seen.program_axes) == (1, 1, 1, 1)
    assert (seen.kernel_parameters, seen.constexprs, seen.strides) == (5, 1, 1)
    assert (seen.loads, seen.masked_loads, seen.filled_loads) == (2, 2, 1)
    assert (seen.stores, seen.masked_stores) == (2, 1)
    assert (seen.dots, seen.looped_dots, seen.reductions, seen.looped_reductions) == (1, 1, 1, 0)
    assert (seen.kernel_loops, seen.kernel_loop_depth) == (2, 2)
    assert seen.kernel_integers == 3
    assert seen.compute_names == ("Linear", "softmax", "sum")
    assert seen.layers == 1
    assert (seen.comment_lines, seen.docstrings) == (1, 1)
    assert (seen.unused_imports, seen.unused_variables, seen.dead_statements) == (1, 1, 1)
    assert not seen.identity
    assert 0 < seen.poor_names < 0.2


def test_an_identity_is_seen():
    code = "class A(nn.Module):\n  def forward(self, x):\n    'doc'\n    return x\n"
    assert measure_features(code).identity


@pytest.mark.parametrize("code", ["def (", "a\x00b", "(" * 5000])
def test_what_cannot_be_parsed_is_not_measured(code):
    assert measure_features(code) is None
    assert measure_reference(code) is None


def test_a_reference_names_its_operations():
    reference = """import torch
import torch.nn as nn
import torch.nn.functional as F
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
        self.norm = nn.LayerNorm(4)
    def forward(self, x):
        for _ in range(2):
            x = F.softmax(self.norm(self.net(x)), dim=1)
        return (x @ x.t()).mean() + 1
"""
    seen = measure_reference(reference)
    assert seen.groups == (
        "shape",
        "elementwise",
        "activation",
        "reduction",
        "normalisation",
        "softmax",
        "matmul",
        "convolution",
    )
    assert seen.names == ("@", "Conv2d", "LayerNorm", "ReLU", "mean", "operator", "softmax")
    assert (seen.layers, seen.loops, seen.classes, seen.operations) == (3, 1, 1, 7)


@given(st.text(max_size=300))
def test_any_text_is_measured_or_refused(text):
    seen = measure_features(text)
    assert seen is None or seen.code_lines >= 0


def test_a_hash_in_a_string_is_no_comment():
    seen = measure_features("x = 'é # no'  # yes\ny = f'''\n# no {x}\n'''\n# yes\n")
    assert (seen.comment_lines, seen.code_lines) == (2, 4)


def test_a_deep_expression_is_measured():
    measure_features("x = " + "+".join(["1"] * 3000))
