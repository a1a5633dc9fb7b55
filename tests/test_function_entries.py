"""Answers that are functions: what they are called with, from two programs to a verdict."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None:
    pytest.skip("torch and triton are not installed", allow_module_level=True)

from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import Verifier

HEAD = "import torch, triton, triton.language as tl\n"
NORM = """
import torch, torch.nn as nn
class Model(nn.Module):
    def __init__(self, dim, eps=1e-3):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)
    def forward(self, x, residual):
        return self.norm(x + residual)
def get_inputs():
    return [torch.randn(8, 64), torch.randn(8, 64)]
def get_init_inputs():
    return [64]
"""
NORM_KERNEL = """
@triton.jit
def norm_kernel(x, r, w, b, o, n, eps, B: tl.constexpr):
    i, row = tl.arange(0, B), tl.program_id(0)
    m = i < n
    v = tl.load(x + row * n + i, mask=m, other=0.0) + tl.load(r + row * n + i, mask=m, other=0.0)
    d = tl.where(m, v - tl.sum(v, 0) / n, 0.0)
    y = d / tl.sqrt(tl.sum(d * d, 0) / n + eps)
    if w is not None:
        y = y * tl.load(w + i, mask=m)
    if b is not None:
        y = y + tl.load(b + i, mask=m)
    tl.store(o + row * n + i, y, mask=m)
def {signature}:
    x, {second} = x.contiguous(), {second}.contiguous()
    o, n = torch.empty_like(x), x.shape[-1]
    norm_kernel[(x.numel() // n,)]({passed}, o, n, eps, B=triton.next_power_of_2(n))
    return o
"""
TWO = """
import torch, torch.nn as nn
class Model(nn.Module):
    def __init__(self, n_in, n_out, scale):
        super().__init__()
        self.fc1 = nn.Linear(n_in, n_out)
        self.fc2 = nn.Linear(n_in, n_out)
        self.scale = scale
    def forward(self, x):
        return self.fc1(x) * self.scale + torch.relu(self.fc2(x))
def get_inputs():
    return [torch.randn(16, 32)]
def get_init_inputs():
    return [32, 48, 0.5]
"""
TWO_KERNEL = """
@triton.jit
def two(x, w1, b1, w2, b2, o, K, N, scale, BN: tl.constexpr, BK: tl.constexpr):
    row, k = tl.program_id(0), tl.arange(0, BK)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    m = (n[:, None] < N) & (k[None, :] < K)
    v = tl.load(x + row * K + k, mask=k < K, other=0.0)[None, :]
    a = tl.sum(tl.load(w1 + n[:, None] * K + k[None, :], mask=m, other=0.0) * v, 1)
    c = tl.sum(tl.load(w2 + n[:, None] * K + k[None, :], mask=m, other=0.0) * v, 1)
    a = (a + tl.load(b1 + n, mask=n < N, other=0.0)) * scale
    c = c + tl.load(b2 + n, mask=n < N, other=0.0)
    tl.store(o + row * N + n, a + tl.maximum(c, 0.0), mask=n < N)
def {signature}:
    x, (K, N) = x.contiguous(), ({weight}.shape[1], {weight}.shape[0])
    o = torch.empty((x.shape[0], N), device=x.device)
    grid = (x.shape[0], triton.cdiv(N, 16))
    two[grid](x, {passed}, o, K, N, scale, BN=16, BK=triton.next_power_of_2(K))
    return o
"""


@pytest.fixture(scope="module")
def verifier(interpreters):
    return Verifier(interpreters)


def verdict(verifier, reference, code):
    facts = verifier.verify(Question(reference, HEAD + code, "Model"), 3)
    return facts.run, decide(facts)


def norm(signature, second="residual", w="weight", b="bias"):
    passed = f"x, {second}, {w}, {b}"
    return NORM_KERNEL.format(signature=signature, second=second, passed=passed)


def two(signature, names=("w1", "b1", "w2", "b2")):
    passed = ", ".join(names)
    return TWO_KERNEL.format(signature=signature, weight=names[0], passed=passed)


@pytest.mark.parametrize(
    ("code", "weights"),
    [
        (norm("kernel_function(x, residual, weight, bias, eps)"), "by-name"),
        (norm("forward(x, residual, weight=None, bias=None, eps: float = 1e-5)"), "by-name"),
        (norm("triton_kernel_wrapper(x, residual, norm_weight, norm_bias, eps)", "residual",
              "norm_weight", "norm_bias"), "by-name"),
        (norm("triton_run(x, y, g, b, eps=1e-5)", "y", "g", "b"), "by-order"),
        (norm("add_and_norm(x, y, w=None, b=None, *, eps=1e-5)", "y", "w", "b"), "by-order"),
    ],
)  # fmt: skip
def test_inputs_weights_and_defaults_find_their_place(verifier, code, weights):
    run, said = verdict(verifier, NORM, code)
    assert (said.outcome, said.work, run.weight_map) == ("correct", "full_triton", weights), said


@pytest.mark.parametrize(
    "code",
    [
        two("kernel_function(x, w1, b1, w2, b2, scale=0.25)"),
        two("kernel_function(x, w1, w2, b1, b2, scale)"),
        two("kernel_function(x, fc2_bias, fc2_weight, fc1_weight, fc1_bias, scale)",
            ("fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias")),
    ],
)  # fmt: skip
def test_two_layers_find_their_weights_by_name_kind_and_order(verifier, code):
    _, said = verdict(verifier, TWO, code)
    assert (said.outcome, said.keep) == ("correct", True), said


def test_a_wrong_answer_with_named_weights_is_wrong(verifier):
    code = norm("kernel_function(x, residual, weight, bias, eps)", b="None")
    assert verdict(verifier, NORM, code)[1].outcome == "wrong"


def test_a_wrong_answer_with_weights_by_order_alone_shows_nothing(verifier):
    run, said = verdict(verifier, TWO, two("kernel_function(x, w2, b2, w1, b1, scale)"))
    assert run.weight_map == "by-order"
    assert (said.outcome, said.unverifiable) == ("unverifiable", "entry")


def test_a_function_of_star_arguments_is_called_with_inputs_and_weights(verifier):
    star = two("kernel_function(*args)").replace(
        "    x, (K, N)", "    x, w1, b1, w2, b2 = args\n    scale = 0.5\n    x, (K, N)"
    )
    assert "= args" in star
    _, said = verdict(verifier, TWO, star)
    assert (said.outcome, said.keep) == ("correct", True), said


def test_an_argument_that_nothing_fits_is_no_entry_and_says_what_there_is(verifier):
    code = norm("kernel_function(x, residual, weight, bias, eps, a, b, c)")
    run, said = verdict(verifier, NORM, code)
    assert (said.outcome, said.unverifiable) == ("unverifiable", "entry")
    assert "'b'" in run.why
    assert "norm.weight" in run.why
