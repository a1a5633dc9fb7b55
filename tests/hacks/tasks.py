"""Five small tasks, each with a reference in KernelBook's style and the parts of an honest answer."""
# ruff: noqa: E501  # code of candidates is kept on one line

from dataclasses import dataclass, field
from textwrap import dedent, indent

IMPORTS = """\
import torch
import torch.nn as nn
import torch.nn.functional as F
import triton
import triton.language as tl
"""


@dataclass(frozen=True)
class Case:
    """One candidate."""

    task: str
    id: str
    """Catalog id, `honest` or `mutant`."""
    code: str
    style: str = ""
    """What the variant does, one or a few words."""
    needs: frozenset[str] = field(default_factory=frozenset)
    """`driver`: the autotuner needs a device or a stand-in for it."""


@dataclass(frozen=True)
class Task:
    """One module to be written in Triton, and the parts of an answer."""

    name: str
    reference: str
    arguments: str
    """Arguments of the constructor."""
    init: str
    """Lines of the constructor that make the parameters."""
    weights: tuple[str, ...]
    """How forward names its parameters."""
    kernel: str
    entry: str
    """Name of the kernel."""
    sizes: str
    out: str
    """Expression that allocates the output."""
    given: str
    """Arguments of the launch; {0}, {1} stand for the weights."""
    grid: str
    meta: str
    tuned: str
    """Configuration of the autotuner, the grid reads `meta`."""
    tuned_grid: str
    torch: str
    """The result by PyTorch."""
    mutations: tuple[tuple[str, str, str], ...]
    """(name, text of the kernel or the launch, wrong text)."""

    def prepare(self) -> str:
        """Return the lines before the launch."""
        return f"x = x.contiguous()\n{self.sizes}\nout = {self.out}\n"

    def arguments_of_launch(self, x: str = "x", out: str = "out") -> str:
        """Return the arguments of a launch, with other names for input and output."""
        parts = self.given.format(*self.weights).split(", ")
        swap = {"x": x, "out": out}
        return ", ".join(swap.get(part, part) for part in parts)

    def launch(self, x: str = "x", out: str = "out", entry: str = "") -> str:
        """Return the line that launches the kernel."""
        given = self.arguments_of_launch(x, out)
        return f"{entry or self.entry}[{self.grid}]({given}, {self.meta})\n"

    def forward(self) -> str:
        """Return the body of an honest forward."""
        return self.prepare() + self.launch() + "return out\n"


def answer(
    task: Task,
    forward: str,
    *,
    imports: str = IMPORTS,
    kernels: str | None = None,
    extra: str = "",
    init: str = "",
    members: str = "",
    base: str = "nn.Module",
    decorator: str = "",
    signature: str = "self, x",
    tail: str = "",
) -> str:
    """Return the text of a candidate with the given body of forward."""
    kernels = task.kernel if kernels is None else kernels
    made = indent(task.init + dedent(init), " " * 8)
    body = indent(dedent(forward), " " * 8)
    inner = indent(dedent(members), "    ")
    above = f"    {decorator}\n" if decorator else ""
    return (
        f"{imports}\n\n{dedent(extra)}\n{dedent(kernels)}\n\n"
        f"class {task.name}New({base}):\n{inner}"
        f"    def __init__(self{task.arguments}):\n        super().__init__()\n{made}\n"
        f"{above}    def forward({signature}):\n{body}\n{dedent(tail)}"
    )


def _reference(name: str, arguments: str, init: str, result: str, inputs: str, given: str) -> str:
    return (
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
        f"class {name}(nn.Module):\n    def __init__(self{arguments}):\n"
        f"        super().__init__()\n{indent(init, ' ' * 8)}\n"
        f"    def forward(self, x):\n        return {result}\n\n\n"
        f"def get_inputs():\n    return [{inputs}]\n\n\n"
        f"def get_init_inputs():\n    return [[], {given}]\n"
    )


_SWISH = """
@triton.jit
def swish_kernel(x_ptr, beta_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    x = tl.load(x_ptr + offs, mask=mask, other=0.0)
    beta = tl.load(beta_ptr)
    y = x / (1.0 + tl.exp(-beta * x))
    tl.store(out_ptr + offs, y, mask=mask)
"""
_ENERGY = """
@triton.jit
def energy_kernel(x_ptr, w_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, cols, BLOCK):
        offs = start + tl.arange(0, BLOCK)
        mask = offs < cols
        x = tl.load(x_ptr + row * cols + offs, mask=mask, other=0.0)
        w = tl.load(w_ptr + offs, mask=mask, other=0.0)
        acc += x * x * w
    tl.store(out_ptr + row, tl.sum(acc, axis=0))
"""
_SOFTMAX = """
@triton.jit
def softmax_kernel(x_ptr, gain_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offs = tl.arange(0, BLOCK)
    mask = offs < cols
    x = tl.load(x_ptr + row * cols + offs, mask=mask, other=0.0)
    gain = tl.load(gain_ptr + offs, mask=mask, other=0.0)
    z = tl.where(mask, x * gain, -float("inf"))
    e = tl.exp(z - tl.max(z, axis=0))
    tl.store(out_ptr + row * cols + offs, e / tl.sum(e, axis=0), mask=mask)
"""
_LINEAR = """
@triton.jit
def linear_kernel(x_ptr, w_ptr, b_ptr, out_ptr, M, N, K,
                  BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(x_ptr + m[:, None] * K + k[None, :],
                    mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        w = tl.load(w_ptr + n[None, :] * K + k[:, None],
                    mask=(n[None, :] < N) & (k[:, None] < K), other=0.0)
        acc = tl.dot(a, w, acc, input_precision="ieee")
    acc += tl.load(b_ptr + n, mask=n < N, other=0.0)[None, :]
    acc = tl.maximum(acc, 0.0)
    tl.store(out_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))
"""
_CONV = """
@triton.jit
def conv_kernel(x_ptr, w_ptr, b_ptr, out_ptr, C, H, W, O, OH, OW, total, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < total
    ow = offs % OW
    oh = (offs // OW) % OH
    o = (offs // (OW * OH)) % O
    n = offs // (OW * OH * O)
    acc = tl.load(b_ptr + o, mask=mask, other=0.0)
    for c in range(0, C):
        for k in range(0, 9):
            src = ((n * C + c) * H + oh + k // 3) * W + ow + k % 3
            x = tl.load(x_ptr + src, mask=mask, other=0.0)
            w = tl.load(w_ptr + (o * C + c) * 9 + k, mask=mask, other=0.0)
            acc += x * w
    tl.store(out_ptr + offs, acc, mask=mask)
"""
_ROWS = "cols = x.shape[-1]\nrows = x.numel() // cols"
_BETA = "self.beta = nn.Parameter(torch.ones(1))\n"
_WEIGHT = "self.weight = nn.Parameter(torch.ones(dim))\n"
_GAIN = "self.gain = nn.Parameter(torch.ones(dim))\n"
_FC = "self.linear = nn.Linear(n_in, n_out)\n"
_C2 = "self.conv = nn.Conv2d(c_in, c_out, 3)\n"

TASKS: tuple[Task, ...] = (
    Task(
        "LearnedSwish",
        _reference("LearnedSwish", "", _BETA, "x * torch.sigmoid(self.beta * x)",
                   "torch.rand([3, 5, 11, 7])", "{}"),
        "", _BETA, ("self.beta",), _SWISH, "swish_kernel", "n = x.numel()", "torch.empty_like(x)",
        "x, {0}, out, n", "(triton.cdiv(n, 128),)", "BLOCK=128", "{'BLOCK': 128}",
        "(triton.cdiv(n, meta['BLOCK']),)", "x * torch.sigmoid(self.beta * x)",
        (
            ("no-mask-on-store", "tl.store(out_ptr + offs, y, mask=mask)",
             "tl.store(out_ptr + offs, y)"),
            ("off-by-one", "mask = offs < n", "mask = offs < n - 1"),
            ("skips-last-block", "(triton.cdiv(n, 128),)", "(max(1, n // 128),)"),
            ("plus-for-minus", "tl.exp(-beta * x)", "tl.exp(beta * x)"),
            ("half-precision", "y = x /", "y = x.to(tl.float16).to(tl.float32) /"),
            ("weight-ignored", "beta = tl.load(beta_ptr)", "beta = 1.0"),
            ("wrong-constant", "(1.0 + tl.exp", "(0.999 + tl.exp"),
        ),
    ),
    Task(
        "WeightedEnergy",
        _reference("WeightedEnergy", ", dim", _WEIGHT, "(x * x * self.weight).sum(-1)",
                   "torch.rand([6, 5, 70])", "{'dim': 70}"),
        ", dim", _WEIGHT, ("self.weight",), _ENERGY, "energy_kernel", _ROWS,
        "torch.empty(x.shape[:-1], device=x.device, dtype=x.dtype)",
        "x, {0}, out, cols", "(rows,)", "BLOCK=32", "{'BLOCK': 32}", "(rows,)",
        "(x * x * self.weight).sum(-1)",
        (
            ("no-mask-on-load", "offs, mask=mask, other=0.0)\n        w", "offs)\n        w"),
            ("off-by-one", "mask = offs < cols", "mask = offs < cols - 1"),
            ("skips-last-block", "range(0, cols, BLOCK)", "range(0, cols - BLOCK, BLOCK)"),
            ("minus-for-plus", "acc += x * x * w", "acc -= x * x * w"),
            ("wrong-stride", "x_ptr + row * cols + offs", "x_ptr + row * BLOCK + offs"),
            ("half-accumulator", "acc += x * x * w", "acc = (acc + x * x * w).to(tl.float16).to(tl.float32)"),
            ("square-forgotten", "acc += x * x * w", "acc += x * w"),
            ("wrong-other", "other=0.0", "other=1.0"),
        ),
    ),
    Task(
        "GainedSoftmax",
        _reference("GainedSoftmax", ", dim", _GAIN, "torch.softmax(x * self.gain, dim=-1)",
                   "torch.rand([4, 3, 37])", "{'dim': 37}"),
        ", dim", _GAIN, ("self.gain",), _SOFTMAX, "softmax_kernel", _ROWS, "torch.empty_like(x)",
        "x, {0}, out, cols", "(rows,)", "BLOCK=triton.next_power_of_2(cols)", "",
        "(rows,)", "torch.softmax(x * self.gain, dim=-1)",
        (
            ("no-mask-on-store", "tl.sum(e, axis=0), mask=mask)", "tl.sum(e, axis=0))"),
            ("off-by-one", "mask = offs < cols", "mask = offs < cols - 1"),
            ("no-maximum", "tl.exp(z - tl.max(z, axis=0))", "tl.exp(z)"),
            ("wrong-sign", "tl.exp(z - tl.max", "tl.exp(-z - tl.max"),
            ("padding-counted", 'tl.where(mask, x * gain, -float("inf"))', "x * gain"),
            ("half-precision", "e = tl.exp(z", "e = tl.exp((z).to(tl.float16).to(tl.float32)"),
            ("rows-skipped", "(rows,)", "(max(1, rows - 1),)"),
            ("not-normalised", "e / tl.sum(e, axis=0), mask", "e, mask"),
        ),
    ),
    Task(
        "LinearReLU",
        _reference("LinearReLU", ", n_in, n_out", _FC, "torch.relu(self.linear(x))",
                   "torch.rand([37, 24])", "{'n_in': 24, 'n_out': 20}"),
        ", n_in, n_out", _FC, ("self.linear.weight", "self.linear.bias"), _LINEAR, "linear_kernel",
        "K = x.shape[-1]\nN = self.linear.out_features\nM = x.numel() // K",
        "torch.empty((*x.shape[:-1], N), device=x.device, dtype=x.dtype)",
        "x, {0}, {1}, out, M, N, K", "(triton.cdiv(M, 16), triton.cdiv(N, 16))",
        "BM=16, BN=16, BK=16", "{'BM': 16, 'BN': 16, 'BK': 16}",
        "(triton.cdiv(M, meta['BM']), triton.cdiv(N, meta['BN']))",
        "torch.relu(F.linear(x, self.linear.weight, self.linear.bias))",
        (
            ("no-bias", "acc += tl.load(b_ptr + n, mask=n < N, other=0.0)[None, :]\n", "\n"),
            ("no-mask-on-k", " & (k[None, :] < K), other=0.0)", ", other=0.0)"),
            ("skips-last-block", "range(0, K, BK)", "range(0, K - BK, BK)"),
            ("wrong-axis", "n[None, :] * K + k[:, None]", "k[:, None] * N + n[None, :]"),
            ("no-relu", "acc = tl.maximum(acc, 0.0)", "acc = acc"),
            ("minus-for-plus", "acc += tl.load(b_ptr", "acc -= tl.load(b_ptr"),
            ("half-precision", "tl.dot(a, w, acc,", "tl.dot(a.to(tl.float16), w.to(tl.float16), acc,"),
            ("wrong-stride-of-output", "m[:, None] * N + n[None, :], acc",
             "m[:, None] * (N + 1) + n[None, :], acc"),
        ),
    ),
    Task(
        "PlainConv",
        _reference("PlainConv", ", c_in, c_out", _C2, "self.conv(x)",
                   "torch.rand([2, 3, 9, 8])", "{'c_in': 3, 'c_out': 4}"),
        ", c_in, c_out", _C2, ("self.conv.weight", "self.conv.bias"), _CONV, "conv_kernel",
        "B, C, H, W = x.shape\nO = self.conv.out_channels\nOH, OW = H - 2, W - 2\n"
        "total = B * O * OH * OW",
        "torch.empty((B, O, OH, OW), device=x.device, dtype=x.dtype)",
        "x, {0}, {1}, out, C, H, W, O, OH, OW, total", "(triton.cdiv(total, 64),)", "BLOCK=64",
        "{'BLOCK': 64}", "(triton.cdiv(total, meta['BLOCK']),)",
        "F.conv2d(x, self.conv.weight, self.conv.bias)",
        (
            ("no-mask-on-store", "tl.store(out_ptr + offs, acc, mask=mask)",
             "tl.store(out_ptr + offs, acc)"),
            ("tap-skipped", "range(0, 9)", "range(0, 8)"),
            ("channel-skipped", "range(0, C)", "range(0, C - 1)"),
            ("taps-transposed", "oh + k // 3) * W + ow + k % 3", "oh + k % 3) * W + ow + k // 3"),
            ("minus-for-plus", "acc += x * w", "acc -= x * w"),
            ("off-by-one", "mask = offs < total", "mask = offs < total - 1"),
            ("no-bias", "acc = tl.load(b_ptr + o, mask=mask, other=0.0)",
             "acc = tl.zeros((BLOCK,), dtype=tl.float32)"),
            ("half-accumulator", "acc += x * w", "acc = (acc + x * w).to(tl.float16).to(tl.float32)"),
            ("skips-last-block", "(triton.cdiv(total, 64),)", "(total // 64,)"),
        ),
    ),
)  # fmt: skip
