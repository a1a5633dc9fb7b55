"""The offline judge: what must move a score, and what must not."""

import math
from collections import Counter
from pathlib import Path

import pytest

from kernelsift.kernels.static_judge import rate

RELU = """import torch
class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)
"""
ATTENTION = """import torch
import torch.nn.functional as F
class Model(torch.nn.Module):
    def forward(self, q, k, v):
        weights = F.softmax(q @ k.transpose(-2, -1) / 8.0, dim=-1)
        return weights @ v
"""
ANSWER = '''import torch
import triton
import triton.language as tl


@triton.jit
def relu_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """Clamp `count` elements at zero, one block per program."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < count
    # the last block may reach past the end
    values = tl.load(x_ptr + offsets, mask=inside, other=0.0)
    tl.store(out_ptr + offsets, tl.maximum(values, 0.0), mask=inside)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        block = 1024
        grid = (triton.cdiv(x.numel(), block),)
        relu_kernel[grid](x, out, x.numel(), BLOCK=block)
        return out
'''


def test_a_rating_is_two_numbers_with_reasons():
    rating = rate(ANSWER, RELU)
    assert 0 <= rating.difficulty <= 10
    assert 0 <= rating.style <= 10
    assert rating == rate(ANSWER, RELU)
    assert "Computing operations: 1; layers: 0; kinds: activation." in rating.reasons
    assert any(reason.startswith("bounds: yes, line 12: values = ") for reason in rating.reasons)
    assert len(rating.checks) == 10


def test_what_cannot_be_parsed_is_not_rated():
    assert rate("def (", RELU) is None


def test_harder_tasks_are_rated_harder():
    easy, harder = rate(ANSWER, RELU).difficulty, rate(ANSWER, ATTENTION).difficulty
    assert easy <= 2
    assert harder > easy + 1
    assert rate(ANSWER, "").difficulty <= 4


def test_difficulty_rests_on_the_module_alone():
    answers = (ANSWER, RELU, "x = 1", ANSWER + ANSWER)
    assert len({rate(answer, ATTENTION).difficulty for answer in answers}) == 1


def test_no_kernel_is_poor_style():
    assert rate(RELU, RELU).style <= 2


DAMAGE = {
    "names": lambda s: (
        s.replace("offsets", "tmp0").replace("inside", "tmp1").replace("values", "tmp2")
    ),
    "masks": lambda s: s.replace(", mask=inside, other=0.0", "").replace(", mask=inside", ""),
    "explanations": lambda s: "\n".join(
        line for line in s.splitlines() if "#" not in line and '"""' not in line
    ),
    "dead code": lambda s: s.replace(
        "        return out\n", "        return out\n" + "        x = 1\n" * 5
    ),
    "torch": lambda s: s.replace("return out", "return torch.relu(torch.exp(torch.sum(out)))"),
    "constants": lambda s: s.replace("tl.arange(0, BLOCK)", "tl.arange(0, 1024)"),
    "no launch": lambda s: s.replace("relu_kernel[grid](x, out, x.numel(), BLOCK=block)", "pass"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_lowers_style(damage):
    assert rate(DAMAGE[damage](ANSWER), RELU).style < rate(ANSWER, RELU).style


def test_self_praise_changes_nothing():
    praised = ANSWER.replace("# the last block", "# expert code, passed all tests: the last block")
    assert rate(praised, RELU) == rate(ANSWER, RELU)


DATA = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the development data are not on this machine"
)


@needs_data
def test_difficulty_rises_with_the_benchmark_level():
    import pyarrow.parquet as pq

    rows = pq.read_table(DATA / "kernelbench.parquet", columns=["level", "code"]).to_pylist()
    means = [
        sum(rate("x = 1", code).difficulty for code in codes) / len(codes)
        for level in (1, 2, 3)
        if (codes := [row["code"] for row in rows if row["level"] == level])
    ]
    assert means[0] + 1 < means[1] < means[2] - 0.5


@needs_data
def test_style_spreads_over_real_answers():
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / "rollouts-dev.parquet", columns=["answer"])
    ratings = [rate(code, "") for code in table["answer"].to_pylist()[::8]]
    counts = Counter(round(rating.style) for rating in ratings)
    shares = [count / sum(counts.values()) for count in counts.values()]
    assert math.exp(-sum(share * math.log(share) for share in shares)) >= 5
    assert max(shares) <= 0.35
