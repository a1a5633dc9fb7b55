"""What a candidate finds round its kernels: operators, CUDA graphs and CUDA C++ of torch."""

from __future__ import annotations

import pytest
from candidate_child import CandidateChild, outputs

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

KERNEL = """
import torch, triton, triton.language as tl
from torch.library import Library, custom_op, impl, register_kernel, triton_op, wrap_triton
@triton.jit
def twice(x, o, n, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + r, 2 * tl.load(x + r, mask=r < n), mask=r < n)
def launch(x: torch.Tensor) -> torch.Tensor:
    o = torch.empty(x.shape, device=x.device, dtype=x.dtype)
    twice[(triton.cdiv(x.numel(), 16),)](x, o, x.numel(), B=16)
    return o
def on_the_cpu(x: torch.Tensor) -> torch.Tensor:
    return x * 0
SCHEMA = "run(Tensor x) -> Tensor"
"""
CALL = """
def forward(x):
    return torch.ops.mine.run(x)
"""
OPERATORS = {
    "custom_op": "custom_op('mine::run', launch, mutates_args=(), device_types='cuda')",
    "custom_op for two kinds of device": """
custom_op('mine::run', launch, mutates_args=(), device_types=('cuda', 'cpu'))
""",
    "custom_op for any device": "custom_op('mine::run', launch, mutates_args=())",
    "triton_op": """
@triton_op('mine::run', mutates_args=())
def run(x: torch.Tensor) -> torch.Tensor:
    o = torch.empty(x.shape, device=x.device, dtype=x.dtype)
    wrap_triton(twice)[(triton.cdiv(x.numel(), 16),)](x, o, x.numel(), B=16)
    return o
""",
    "register_kernel": """
custom_op('mine::run', on_the_cpu, mutates_args=(), device_types='cpu')
register_kernel('mine::run', 'cuda', launch)
""",
    "register_kernel, and the CPU's comes later": """
custom_op('mine::run', launch, mutates_args=(), device_types='cuda')
@register_kernel('mine::run', 'cpu')
def _(x):
    return on_the_cpu(x)
""",
    "impl for a device": """
torch.library.define('mine::run', '(Tensor x) -> Tensor')
impl('mine::run', 'cuda', launch)
""",
    "impl in a library": """
mine = Library('mine', 'DEF')
mine.define(SCHEMA)
@impl(mine, 'run', 'CUDA')
def _(x):
    return launch(x)
""",
    "Library.impl": """
mine = Library('mine', 'DEF')
mine.define(SCHEMA)
mine.impl('run', launch, 'CUDA')
mine.impl('run', on_the_cpu, 'CPU')
""",
    "a library for one key": """
mine = Library('mine', 'DEF')
mine.define(SCHEMA)
for_gpu = Library('mine', 'IMPL', 'CUDA')
for_gpu.impl('run', launch)
""",
    "an operator without tensors": """
@custom_op('mine::like', mutates_args=(), device_types='cuda')
def like(n: int, device: torch.device) -> torch.Tensor:
    return torch.empty(n, device=device).fill_(2.0)
@custom_op('mine::run', mutates_args=(), device_types='cuda')
def run(x: torch.Tensor) -> torch.Tensor:
    return launch(x) + like(x.numel(), x.device) * 0
""",
}
X = torch.arange(40.0) - 7


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


def loaded(child, code):
    return child.run(
        code=KERNEL + code, module_name=None, cases=[{"name": "x", "inputs": [X]}], entry="forward"
    )


def called(child, code):
    return outputs(loaded(child, code))["x"]


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_for_a_gpu_runs_its_kernel(child, name):
    frame = called(child, OPERATORS[name] + CALL)
    assert torch.equal(frame["output"], 2 * X), frame
    assert frame["facts"]["launch_count"] == 1


def test_what_a_kernel_stores_inside_an_operator_is_the_kernels(child):
    facts = called(child, OPERATORS["custom_op"] + CALL)["facts"]
    assert facts["coverage"] == [{"stored": 1.0, "derived": True}]
    assert set(facts["torch_ops"]) == {"empty"}


def test_what_torch_computes_inside_nested_operators_is_counted_once(child):
    frame = called(
        child,
        """
@custom_op('mine::inner', mutates_args=(), device_types='cuda')
def inner(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x)
@custom_op('mine::run', mutates_args=(), device_types='cuda')
def run(x: torch.Tensor) -> torch.Tensor:
    return inner(x) + inner(x)
"""
        + CALL,
    )
    assert torch.equal(frame["output"], 2 * X.exp())
    calls = {name: op["calls"] for name, op in frame["facts"]["torch_ops"].items()}
    assert calls == {"exp": 2, "add": 1}


def test_an_operator_is_called_without_torchs_compiler(child):
    code = OPERATORS["triton_op"] + CALL + "import sys\nbefore = set(sys.modules)\n"
    told = "torch.full((1,), float(any('_dynamo' in m for m in set(sys.modules) - before)))"
    code += f"def told(x):\n    forward(x)\n    return {told}\n"
    frames = child.run(
        code=KERNEL + code, module_name=None, cases=[{"name": "x", "inputs": [X]}], entry="told"
    )
    assert outputs(frames)["x"]["output"].tolist() == [0.0]


def test_an_operator_of_torch_stays_counted_although_the_candidate_has_one_for_it(child):
    frame = called(
        child,
        """
mine = Library('aten', 'IMPL')
mine.impl('exp', on_the_cpu, 'CompositeExplicitAutograd')
def forward(x):
    return torch.exp(x)
""",
    )
    assert frame["facts"]["torch_ops"]["exp"]["kind"] == "compute"


@pytest.mark.parametrize(
    "replayed",
    [
        "g = torch.cuda.CUDAGraph()\n    with torch.cuda.graph(g):\n        o = launch(x)\n"
        "    g.replay()\n    return o",
        "return torch.cuda.make_graphed_callables(launch, (x,))(x)",
    ],
)
def test_a_replayed_graph_is_a_gap_of_the_stand_in(child, replayed):
    error = called(child, f"def forward(x):\n    {replayed}\n")["error"]
    assert error["origin"] == "interpreter"
    assert "the stand-in for torch.cuda." in error["message"]


BUILD = """
from torch.utils.cpp_extension import load_inline
def built():
    return load_inline('mine', cpp_sources='', cuda_sources='void run();', functions=['run'])
"""


def test_cuda_sources_are_a_package_that_is_missing(child):
    frame = loaded(child, BUILD + "mine = built()\ndef forward(x):\n    return mine.run(x)\n")[0]
    assert (frame["event"], frame["error"]["type"]) == ("load_error", "ImportError")
    assert frame["error"]["message"].startswith("CUDA C++ is not run here (")


def test_cuda_sources_that_are_built_late_are_a_gap(child):
    error = called(child, BUILD + "def forward(x):\n    return built().run(x)\n")["error"]
    assert error["origin"] == "interpreter"


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("tl.make_tensor_descriptor(x, [8, 5], [5, 1], [8, 4]).load([0, 0])", "candidate"),
        ("tl.make_tensor_descriptor(x + 1, [8, 4], [4, 1], [8, 4]).load([0, 0])", "candidate"),
        ("tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,)).nothing_here", "interpreter"),
    ],
)
def test_whose_fault_an_error_inside_a_kernel_is(child, line, origin):
    code = f"""
@triton.jit
def k(x, five):
    {line.replace("[5, 1]", "[five, 1]")}
def forward(x):
    k[(1,)](x, 5)
    return x
"""
    assert called(child, code)["error"]["origin"] == origin
