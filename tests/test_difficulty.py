"""The fitted difficulty: its range, its order, and the file that it comes from."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from build import environment
from hypothesis import given
from hypothesis import strategies as st
from test_static_judge import ANSWER, RELU

import kernelsift
from kernelsift.errors import DataError
from kernelsift.kernels import difficulty
from kernelsift.kernels.difficulty import interpolate, model, static_difficulty

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the development data are not on this machine"
)
ADD = """import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    tl.store(out_ptr + at, tl.load(x_ptr + at, inside) + tl.load(y_ptr + at, inside), inside)


def add(x, y):
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), BLOCK=1024)
    return out
"""
FLASH = """import torch
import triton
import triton.language as tl


@triton.jit
def attention_kernel(q_ptr, k_ptr, v_ptr, out_ptr, stride_b, stride_m, length, scale,
                     WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, WIDTH)
    base = tl.program_id(1) * stride_b
    q = tl.load(q_ptr + base + rows[:, None] * stride_m + columns[None, :],
                mask=rows[:, None] < length, other=0.0)
    highest = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    mixed = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    for start in range(0, length, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        inside = keys[:, None] < length
        k = tl.load(k_ptr + base + keys[:, None] * stride_m + columns[None, :], inside, 0.0)
        v = tl.load(v_ptr + base + keys[:, None] * stride_m + columns[None, :], inside, 0.0)
        scores = tl.dot(q, tl.trans(k)).to(tl.float32) * scale
        scores = tl.where(keys[None, :] < length, scores, float("-inf"))
        above = tl.maximum(highest, tl.max(scores, axis=1))
        weights = tl.exp(scores - above[:, None])
        shrink = tl.exp(highest - above)
        total = total * shrink + tl.sum(weights, axis=1)
        mixed = mixed * shrink[:, None] + tl.dot(weights.to(v.dtype), v)
        highest = above
    tl.store(out_ptr + base + rows[:, None] * stride_m + columns[None, :],
             (mixed / total[:, None]).to(q.dtype), mask=rows[:, None] < length)


def attention(q, k, v):
    out = torch.empty_like(q)
    grid = (triton.cdiv(q.shape[1], 64), q.shape[0])
    attention_kernel[grid](q, k, v, out, q.stride(0), q.stride(1), q.shape[1],
                           q.shape[-1] ** -0.5, q.shape[-1], BLOCK_M=64, BLOCK_N=64)
    return out
"""
NETWORK = """import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 8)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y)[0]
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Model(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return torch.softmax(self.head(x.mean(1)), dim=-1)
"""
FUSED = RELU.replace(
    "return torch.relu(x)", "return torch.tanh(torch.relu(torch.matmul(x, x)).sum(-1) * 2)"
)


def test_it_is_public():
    assert kernelsift.static_difficulty is static_difficulty


def test_an_addition_is_easier_than_flash_attention():
    assert static_difficulty(ADD) + 3 < static_difficulty(FLASH)


def test_modules_get_harder_with_what_they_compute():
    found = [static_difficulty(code) for code in (RELU, FUSED, NETWORK)]
    assert found == sorted(found)
    assert found[0] < 10 / 3 < found[1] < 20 / 3 < found[2]


def test_a_published_network_is_no_small_module():
    loaded = RELU.replace(
        "return torch", "self.net = AutoModel.from_pretrained('x')\n        return torch"
    )
    assert static_difficulty(loaded) > static_difficulty(RELU) + 2


def test_nothing_computed_is_nothing_to_write():
    assert static_difficulty("x = 1") == 0.0
    assert static_difficulty(RELU.replace("torch.relu(x)", "x")) == 0.0


def test_no_python_has_no_difficulty():
    with pytest.raises(DataError, match="no Python"):
        static_difficulty("I cannot do that.")


@given(st.text(max_size=200))
def test_any_text_has_a_difficulty_in_range_or_is_no_python(text):
    try:
        assert 0 <= static_difficulty(text) <= 10
    except DataError:
        assert difficulty.read_program(text) is None


@given(st.integers(0, 40), st.integers(1, 30))
def test_difficulty_is_in_range_and_rises_with_the_kernel(statements, more):
    def program(count):
        lines = "".join(f"    value_{n} = tl.load(x_ptr + {n}) * {n}\n" for n in range(count))
        return f"@triton.jit\ndef kernel(x_ptr, out_ptr):\n    pass\n{lines}"

    low, high = (
        static_difficulty(program(statements)),
        static_difficulty(program(statements + more)),
    )
    assert 0 <= low <= high <= 10


@pytest.mark.parametrize("code", [ADD, FLASH, NETWORK, ANSWER])
def test_comments_and_blank_lines_change_no_difficulty(code):
    loud = code.replace("\n\n\n", "\n\n\n# hard, expert code\n\n\n")
    assert loud != code
    assert static_difficulty(loud) == static_difficulty(code)


@pytest.mark.parametrize("code", [ADD, FLASH])
def test_other_names_change_no_difficulty(code):
    assert static_difficulty(code.replace("_ptr", "_of").replace("BLOCK", "TILE")) == (
        static_difficulty(code)
    )


def test_lines_between_knots_are_straight_and_level_outside():
    knots = ((0.0, 1.0), (2.0, 5.0))
    assert [interpolate(knots, at) for at in (-9, 0, 1, 2, 9)] == [1, 1, 3, 5, 5]


def test_the_file_says_how_it_was_fitted():
    found = model()
    assert (
        found["features_version"]
        == __import__("kernelsift.kernels.features", fromlist=["x"]).FEATURES_VERSION
    )
    for head in found["heads"].values():
        assert {"file", "sha256", "rows", "licence", "labels"} <= head["data"].keys()
        assert head["cross_validation"]["folds"] == 10
        assert len(head["coefficients"]) <= 8
        assert all(math.isfinite(weight) for weight in head["coefficients"].values())
        assert head["knots"] == sorted(head["knots"])
        assert 0 <= head["knots"][0][1] <= head["knots"][-1][1] <= 10


def test_importing_it_loads_no_numbers_library():
    code = (
        "from kernelsift import static_difficulty as s; s('x = 1'); import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True,
                          text=True, check=True, timeout=60)  # fmt: skip
    assert not {"numpy", "scipy", "pyarrow", "torch", "pydantic"} & set(done.stdout.split())


@needs_data
def test_the_file_comes_out_of_the_fit_again(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fit_difficulty as fit

    for data, method, names, _ in fit.heads():
        made = fit.head(data, method, names, None)
        shipped = model()["heads"][data.name] | {"cross_validation": None}
        assert fit.alike(made | {"cross_validation": None}, shipped), made
        moved = {**shipped, "intercept": shipped["intercept"] + 0.01}
        assert not fit.alike(moved, shipped)


@needs_data
def test_it_beats_the_published_baselines_out_of_fold(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fit_difficulty as fit

    wanted = {"kernel": (0.66, 0.64), "module": (0.90, 0.945)}
    for data, method, names, _ in fit.heads():
        score = fit.cross_validate(data, fit.always(method, names), repeats=2)
        assert (
            score.spearman[0] > wanted[data.name][0],
            score.kappa[0] > wanted[data.name][1],
        ) == (
            True,
            True,
        )
