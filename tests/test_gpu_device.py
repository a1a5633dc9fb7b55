"""What only a GPU can show. Skipped where there is none; never run on one so far.

`python benchmarks/gpu_check.py` is the longer look.
"""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the fork server is for Linux", allow_module_level=True)
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

from kernelsift.kernels.gpu import memcheck
from kernelsift.kernels.gpu.device import missing
from kernelsift.kernels.gpu.device_timing import TimingEffort
from kernelsift.kernels.gpu.device_verifier import DeviceEffort, DeviceVerifier, device_pool
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import PRELOAD, Verifier

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=f"no GPU: {missing()}"),
]
SEED = 11
REFERENCE = """
import torch

class Scale(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(size))

    def forward(self, x):
        return torch.relu(x * self.weight) + x

def get_inputs():
    return [torch.rand({rows}, 1024)]

def get_init_inputs():
    return [[], {{"size": 1024}}]
"""
KERNEL = """
import torch, triton, triton.language as tl

@triton.jit
def scale(x_ptr, w_ptr, o_ptr, n, cols, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    inside = r < n
    x = tl.load(x_ptr + r, mask=inside)
    y = tl.maximum(x * tl.load(w_ptr + r % cols, mask=inside), 0.0) + x
    tl.store(o_ptr + r, y, mask=inside)

class ScaleNew(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(size))
        self.stream = None

    def forward(self, x):
        x = x.contiguous()
        o, n = torch.empty_like(x), x.numel()
        scale[(triton.cdiv(n, 1024),)](x, self.weight, o, n, x.shape[-1], B=1024)
        return o
"""
SIDE_STREAM = KERNEL.replace(
    "        scale[",
    "        self.stream = self.stream or torch.cuda.Stream()\n"
    "        with torch.cuda.stream(self.stream):\n            scale[",
)
SPILLING = KERNEL.replace("tl.store(o_ptr + r, y, mask=inside)", "tl.store(o_ptr + r, y)")
LARGE, SMALL = REFERENCE.format(rows=16384), REFERENCE.format(rows=2)


@pytest.fixture(scope="module")
def verify():
    with Pool(1, preload=PRELOAD) as pool, device_pool() as gpu:

        def run(reference, code, *, timing=True, share=0.0):
            effort = DeviceEffort(
                memcheck_share=share, timing=TimingEffort(seconds=15) if timing else None
            )
            verifier = DeviceVerifier(Verifier(pool), pool, gpu, effort)
            return verifier.verify(Question(reference, code, "Scale"), SEED)

        yield run


def test_an_honest_kernel_is_right_and_its_launches_are_seen(verify):
    facts = verify(SMALL, KERNEL, timing=False)
    assert facts.gpu.why == ""
    assert facts.gpu.device.processors > 0
    assert facts.device == "cuda"
    assert decide(facts).outcome == "correct"
    (kernel,) = facts.gpu.kernels
    assert kernel.name == "scale"
    assert kernel.registers
    assert facts.gpu.guards.hits == ()
    assert facts.gpu.interpreter_disagrees == ()


def test_a_store_without_a_mask_changes_a_band(verify):
    facts = verify(
        SMALL.replace("1024)]", "1000)]").replace("1024}", "1000}"), SPILLING, timing=False
    )
    assert facts.gpu.guards.hits
    assert "K32" in {finding.id for finding in decide(facts).findings}


def test_a_large_problem_has_a_speedup_near_what_it_moves(verify):
    facts = verify(LARGE, KERNEL)
    timing = facts.gpu.timing
    assert [doubt for doubt in timing.doubts if doubt.blocks] == []
    assert 1.2 < facts.speedup.middle < 6  # eager moves two and a half times as many bytes
    assert timing.of("compiled").device > 0
    assert timing.floors.roofline < timing.of("candidate").device
    assert timing.answers_wrong == 0 < timing.answers_compared


def test_a_small_problem_has_none(verify):
    facts = verify(SMALL, KERNEL)
    assert facts.speedup is None
    assert "launch-bound" in {doubt.kind for doubt in facts.gpu.timing.doubts}


def test_work_on_another_stream_is_no_speedup(verify):
    facts = verify(LARGE, SIDE_STREAM)
    kinds = {doubt.kind for doubt in facts.gpu.timing.doubts}
    assert facts.speedup is None
    assert kinds & {"side-stream", "wrong-answers"}


@pytest.mark.skipif(memcheck.installed() is None, reason="compute-sanitizer is not installed")
def test_the_memory_checker_names_the_kernel(verify):
    assert verify(SMALL, KERNEL, timing=False, share=1.0).gpu.memcheck.status == "clean"
    small = SMALL.replace("1024)]", "1000)]").replace("1024}", "1000}")
    found = verify(small, SPILLING, timing=False, share=1.0).gpu.memcheck
    assert found.status == "errors"
    assert found.errors[0].kernel.startswith("scale")
