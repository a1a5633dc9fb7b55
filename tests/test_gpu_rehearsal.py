"""The whole path of a GPU verification with the CPU in the device's place: children, talks, facts.

Kernels run in Triton's interpreter, so no time means anything here; what is looked at is who says
what. The launch log needs a GPU's driver and is not part of a rehearsal.
"""

import importlib.util
import sys
from dataclasses import replace

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None:
    pytest.skip("torch and triton are not installed", allow_module_level=True)
if sys.platform != "linux":
    pytest.skip("the fork server is for Linux", allow_module_level=True)

from kernelsift.kernels.facts import ReferenceRun
from kernelsift.kernels.gpu import memcheck
from kernelsift.kernels.gpu.device_timing import Stopwatch, TimedQuestion, TimingEffort
from kernelsift.kernels.gpu.device_verifier import PRELOAD, DeviceEffort, DeviceVerifier, chosen
from kernelsift.kernels.gpu.gpu_facts import DeviceFacts
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.static_verifier import read_only
from kernelsift.kernels.verdict import decide

SEED = 11
HOST = DeviceFacts(name="host", capability=(0, 0))
QUICK = TimingEffort(seconds=0.0, compiled=False, memory_bytes=1 << 18)
REFERENCE = """
import torch

class Scale(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(size))

    def forward(self, x):
        return x * self.weight

def get_inputs():
    return [torch.rand(6, 40)]

def get_init_inputs():
    return [[], {"size": 40}]
"""
KERNEL = """
import torch, triton, triton.language as tl

@triton.jit
def scale(x, w, o, n, cols, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    inside = r < n
    y = tl.load(x + r, mask=inside) * tl.load(w + r % cols, mask=inside)
    tl.store(o + r, y, mask=inside)

def launch(x, w):
    o = torch.empty_like(x)
    n = x.numel()
    scale[(triton.cdiv(n, 64),)](x, w, o, n, x.shape[-1], B=64)
    return o

class ScaleNew(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(size))
        self.cache = {}

    def forward(self, x):
"""
HONEST = KERNEL + "        return launch(x.contiguous(), self.weight)\n"
CACHED = KERNEL + (
    "        if x.data_ptr() not in self.cache:\n"
    "            self.cache[x.data_ptr()] = launch(x.contiguous(), self.weight)\n"
    "        return self.cache[x.data_ptr()]\n"
)
SPILLING = HONEST.replace("tl.store(o + r, y, mask=inside)", "tl.store(o + r, y, mask=r < n + 2)")
WRONG = HONEST.replace("* tl.load(w", "+ tl.load(w")
TORCH = """
import torch

class ScaleNew(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(size))

    def forward(self, x):
        return {}
"""


class ReadOnly:
    """Stands for the CPU's verifier: it has only read the code."""

    def __init__(self, status="ok"):
        self.status = status

    def verify(self, question, seed=None):
        return read_only(question, reference=ReferenceRun(status=self.status))


@pytest.fixture(scope="module")
def pool():
    with Pool(2, preload=PRELOAD) as made:
        yield made


def rehearsed(pool, code, *, reference=REFERENCE, timing=None, status="ok"):
    effort = DeviceEffort(timing=timing)
    verifier = DeviceVerifier(ReadOnly(status), pool, pool, effort, device="cpu")
    return verifier.verify(Question(reference, code, "Scale"), SEED)


def timed(pool, code, reference=REFERENCE, **more):
    watch = Stopwatch(pool, "cpu", Limits(wall_seconds=60), replace(QUICK, **more))
    return watch.time(TimedQuestion(Question(reference, code, "Scale"), SEED), HOST)


# --- cases


def test_an_honest_kernel_answers_every_case_right_and_writes_into_no_band(pool):
    facts = rehearsed(pool, HONEST)
    assert facts.device == "cuda"
    assert {c.status for c in facts.comparisons} == {"equal"}
    assert len(facts.comparisons) > 10
    assert facts.run.status == "done"
    assert facts.gpu.guards.bands > len(facts.comparisons)
    assert facts.gpu.guards.hits == ()
    assert not any(
        getattr(facts.behaviour, name)
        for name in ("repeat_differs", "stale_on_new_contents", "late_call_differs", "patched")
    )
    assert decide(facts).outcome == "correct"


def test_a_write_past_the_end_is_found_by_the_band(pool):
    facts = rehearsed(pool, SPILLING)
    hit = facts.gpu.guards.hits[0]
    assert (hit.where, hit.offset, hit.changed) == ("after", 0, 8)
    assert hit.tensor.startswith("memory")
    found = [f for f in decide(facts).findings if f.id == "K32"]
    assert found
    assert {f.severity for f in found} == {"bug"}


def test_a_write_into_an_input_is_no_matter_of_bands(pool):
    inside = HONEST.replace("    return o\n", "    x.zero_()\n    return o\n", 1)
    facts = rehearsed(pool, inside)
    assert facts.gpu.guards.hits == ()
    assert facts.behaviour.inputs_changed


def test_a_wrong_kernel_is_wrong_on_the_device(pool):
    facts = rehearsed(pool, WRONG)
    assert decide(facts).outcome == "wrong"
    assert any(c.differences for c in facts.comparisons)


def test_a_cache_by_address_is_stale_on_the_device_too(pool):
    facts = rehearsed(pool, CACHED)
    assert facts.behaviour.stale_on_new_contents
    assert "K40" in {f.id for f in decide(facts).findings}


def test_a_kernel_that_raises_on_the_device_is_a_crash_whatever_was_said_before(pool):
    facts = rehearsed(pool, HONEST.replace("n = x.numel()", "raise RuntimeError('no image')"))
    assert decide(facts).outcome == "crash"


def test_sizes_that_the_interpreter_cannot_bear_are_verified_on_the_device(pool):
    facts = rehearsed(pool, HONEST, status="size")
    assert facts.reference.status == "ok"
    assert decide(facts).outcome == "correct"


def test_without_a_usable_reference_the_device_is_left_alone(pool):
    facts = rehearsed(pool, HONEST, status="stochastic")
    assert facts.comparisons == ()
    assert "nothing to compare" in facts.gpu.why
    broken = rehearsed(pool, HONEST, reference="import not_a_package\n")
    assert broken.comparisons == ()
    assert broken.gpu.why


# --- timing


def test_both_sides_are_timed_on_the_same_inputs_and_answer_alike(pool):
    facts = timed(pool, HONEST)
    assert [time.side for time in facts.sides] == ["candidate", "eager", "empty"]
    assert facts.answers_compared >= 20
    assert facts.answers_wrong == 0
    for time in facts.sides:
        assert time.device > 0
        assert time.wall > 0
        assert time.calls > 20
    assert facts.floors.moved_bytes == 4 * (6 * 40 + 40 + 6 * 40)
    assert facts.floors.roofline is None


def test_a_kernel_that_remembers_addresses_gives_wrong_answers_when_timed(pool):
    facts = timed(pool, CACHED)
    assert facts.answers_wrong > facts.answers_compared // 2
    assert facts.speedup is None


@pytest.mark.parametrize(
    "returned",
    [
        "torch.zeros_like(x)",
        "(x * self.weight).half()",
        "(x * self.weight)[:-1]",
        "(x * self.weight, x)",
        "None",
    ],
)
def test_timed_answers_must_be_those_of_the_reference(pool, returned):
    facts = timed(pool, TORCH.format(returned))
    assert facts.answers_wrong == facts.answers_compared > 0
    assert "wrong-answers" in {doubt.kind for doubt in facts.doubts}


def test_a_tensor_subclass_is_no_plain_answer(pool):
    kind = "(x * self.weight).as_subclass(type('Lazy', (torch.Tensor,), {}))"
    facts = timed(pool, TORCH.format(kind))
    assert "lazy" in {doubt.kind for doubt in facts.doubts}


def test_patched_clocks_do_not_move_the_parents(pool):
    patching = "\nimport time\nreal = time.perf_counter\ntime.perf_counter = lambda: real() / 100\n"
    work = "[x * self.weight for _ in range(200)][0]"
    facts = timed(pool, TORCH.format(work) + patching)
    honest = timed(pool, TORCH.format(work))
    assert facts.of("candidate").wall > honest.of("candidate").wall / 10


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import not_a_package\n" + TORCH.format("x"), "not_a_package"),
        ("x = 1\n", "no entry"),
        (TORCH.format("1 / 0"), "ZeroDivisionError"),
        (TORCH.format("x") + "\nimport os\nos._exit(0)\n", "crash"),
    ],
)
def test_a_candidate_that_cannot_be_timed_says_why(pool, code, said):
    facts = timed(pool, code)
    assert facts.speedup is None
    assert any(said in doubt.evidence for doubt in facts.doubts), facts.doubts


def test_a_reference_that_cannot_be_timed_says_why(pool):
    facts = timed(pool, HONEST, "import torch\nraise RuntimeError('too old')\n")
    assert [doubt.kind for doubt in facts.doubts] == ["failed"]
    assert "too old" in facts.doubts[0].evidence


def test_a_function_is_timed_with_its_weights_matched(pool):
    code = (
        KERNEL.split("class ScaleNew")[0]
        + "def forward(x, weight):\n    return launch(x, weight)\n"
    )
    facts = timed(pool, code)
    assert facts.answers_compared > 0 == facts.answers_wrong


def test_indices_come_as_the_module_makes_them(pool):
    reference = REFERENCE.replace("return x * self.weight", "return self.weight[x]").replace(
        "torch.rand(6, 40)", "torch.randint(0, 40, (50,))"
    )
    facts = timed(pool, TORCH.format("self.weight[x]"), reference)
    assert facts.answers_compared > 0 == facts.answers_wrong
    assert facts.floors.moved_bytes == 4 * 50  # nobody knows which weights have to be read


def test_the_compiled_reference_is_optional(pool):
    facts = timed(
        pool, TORCH.format("x * self.weight"), REFERENCE + "torch.compile = None\n", compiled=True
    )
    assert facts.of("compiled") is None
    compiled = [d for d in facts.doubts if d.evidence.startswith("compiled: ")]
    assert [d.blocks for d in compiled] == [False]
    assert facts.of("candidate").calls > 20


# --- the memory checker, with a tool of our own in its place

TOOL = """#!/bin/sh
while [ "$1" != "--log-file" ]; do shift; done
report="$2"
shift 2
"$@"
cat > "$report" <<'END'
{}
END
"""


def checked(tmp_path, report, code=HONEST):
    from kernelsift.kernels import wire

    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL.format(report), encoding="utf-8")
    tool.chmod(0o755)
    import torch

    job = wire.encode({
        "nonce": "inner",
        "code": code,
        "module_name": "Scale",
        "init": {"args": [], "kwargs": {"size": 40}},
        "state": {"weight": torch.rand(40)},
        "cases": [{"name": "nominal-0", "inputs": [torch.rand(6, 40)]}],
        "options": {"device": "cpu", "watch": False, "seed": 1},
    })
    request = {"nonce": "outer", "tool": str(tool), "seconds": 60, "job": job}
    with Pool(1, "off", preload=PRELOAD) as pool:
        payload = wire.encode(request)
        limits = Limits(wall_seconds=90, cpu_seconds=90)
        child = pool.run("kernelsift.kernels.gpu.memcheck_job:main", payload, limits)
    (frame,) = map(wire.decode, child.frames)
    return memcheck.report_of(frame["text"], answered=frame["answered"])


CLEAN = "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors"


def test_a_clean_report_of_a_call_that_came_back_is_clean(tmp_path):
    assert checked(tmp_path, CLEAN).status == "clean"


def test_a_clean_report_of_a_call_that_raised_is_none(tmp_path):
    raising = HONEST.replace("n = x.numel()", "raise RuntimeError('no image')")
    found = checked(tmp_path, CLEAN, raising)
    assert (found.status, "no answer" in found.why) == ("failed", True)


def test_the_sample_is_chosen_by_the_code_alone():
    codes = [f"x = {i}" for i in range(2000)]
    assert not any(chosen(code, 0.0) for code in codes)
    assert all(chosen(code, 1.0) for code in codes)
    taken = [code for code in codes if chosen(code, 0.1)]
    assert 140 < len(taken) < 260
    assert taken == [code for code in codes if chosen(code, 0.1)]
