"""The parts of the GPU path that need none: numbers of devices, recipes, bands, logs, talks."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

from kernelsift.kernels import wire
from kernelsift.kernels.facts import (
    BehaviourFacts,
    Comparison,
    ProvenanceFacts,
    ReferenceRun,
    RunFacts,
    StaticSummary,
    VerifyFacts,
)
from kernelsift.kernels.gpu import device as device_module
from kernelsift.kernels.gpu import memcheck
from kernelsift.kernels.gpu.device import NoDeviceError, device_from, missing, query
from kernelsift.kernels.gpu.device_result import DeviceRun, joined_behaviour, with_device
from kernelsift.kernels.gpu.gpu_facts import (
    DeviceFacts,
    GpuFacts,
    GuardFacts,
    Interval,
    KernelBuild,
    TimingFacts,
)
from kernelsift.kernels.gpu.measured import Block, BlockOrder, Trouble
from kernelsift.kernels.gpu.partner import Partner
from kernelsift.kernels.isolation.dialogue import Heard

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

# --- devices


@pytest.mark.parametrize(
    ("name", "numbers", "terabytes", "fp32", "fp16"),
    [
        ("A100", (1_410_000, 108, 1_215_000, 5120, 8, 0), 1.555, 19.5, 312),
        ("H100 SXM", (1_830_000, 132, 2_619_000, 5120, 9, 0), 3.35, 61.8, 989),
        ("L4", (2_040_000, 58, 6_251_000, 192, 8, 9), 0.300, 30.3, 121),
        ("T4", (1_590_000, 40, 5_001_000, 256, 7, 5), 0.320, 8.1, 65),
    ],
)
def test_peaks_are_those_of_the_data_sheets(name, numbers, terabytes, fp32, fp16):
    words = ("clock_khz", "processors", "memory_clock_khz", "bus_bits", "major", "minor")
    found = device_from(name, 1 << 34, 13000, dict(zip(words, numbers, strict=True)))
    assert found.bytes_per_second / 1e12 == pytest.approx(terabytes, rel=0.01)
    assert found.flops_per_second / 1e12 == pytest.approx(fp32, rel=0.01)
    assert found.tensor_flops_per_second / 1e12 == pytest.approx(fp16, rel=0.01)
    assert (found.driver, found.capability) == ("13.0", numbers[4:])


def test_an_unknown_architecture_has_no_peak_but_a_name():
    found = device_from("new", 0, 0, {"major": 99, "minor": 1, "clock_khz": 1, "processors": 1})
    assert (found.flops_per_second, found.bytes_per_second, found.driver) == (0.0, 0.0, "")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(device_module, "gpu_devices", lambda: ())
    assert "/dev/nvidia0" in missing()
    monkeypatch.setattr(device_module, "gpu_devices", lambda: ("/dev/nvidia0",))
    monkeypatch.setattr(device_module, "PLACES", ())
    monkeypatch.setattr(device_module, "LIBRARY", "libnothing-of-this-name.so.1")
    assert "libnothing" in missing()
    with pytest.raises(NoDeviceError, match="libnothing"):
        query()


NUMBERS = {75: 9, 76: 0, 13: 1_830_000, 16: 132, 36: 2_619_000, 37: 5120, 38: 50 << 20}


def fake_driver(numbers):
    """libcuda with one device: each function fills what its argument points to."""

    def put(pointer, value):
        pointer._obj.value = value
        return 0

    def name(buffer, _size, _device):
        buffer.value = b"Fake H100"
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: 0,
        cuDeviceGet=lambda device, ordinal: 0 if ordinal == 0 else 101,
        cuDriverGetVersion=lambda version: put(version, 12080),
        cuDeviceTotalMem_v2=lambda total, device: put(total, 80 << 30),
        cuDeviceGetName=name,
        cuDeviceGetAttribute=lambda value, number, device: (
            put(value, numbers[number]) if number in numbers else 1
        ),
    )


def test_the_driver_is_asked_for_name_memory_and_numbers(monkeypatch):
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: fake_driver(NUMBERS))
    found = query()
    assert (found.name, found.driver, found.capability) == ("Fake H100", "12.8", (9, 0))
    assert (found.memory_bytes, found.l2_bytes, found.processors) == (80 << 30, 50 << 20, 132)
    assert found.tensor_flops_per_second == pytest.approx(989e12, rel=0.01)
    with pytest.raises(NoDeviceError, match="cuDeviceGet: error 101"):
        query(3)


def test_a_number_that_the_driver_does_not_know_is_left_out(monkeypatch):
    fewer = {75: 9, 76: 0, 16: 132}
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: fake_driver(fewer))
    assert query().bytes_per_second == 0.0


# --- recipes


def batches(tensor, seed, count=3):
    from kernelsift.kernels.gpu.recipe import Batch, recipe

    made = wire.decode(wire.encode(recipe([tensor])))
    batch = Batch(made, count, "cpu")
    batch.fill(seed)
    return batch.tensors()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(40, 30),
        torch.rand(7, 5).half(),
        torch.randn(6, 8).bfloat16().t(),
        torch.randn(4, 1, 5).expand(4, 3, 5),
        torch.randn(50).double() * 1e-3 + 4,
        torch.randint(0, 9, (20,)),
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.tensor(3.5),
    ],
)
def test_the_same_seed_makes_the_same_tensors_and_another_others(tensor):
    first, again, other = batches(tensor, 1), batches(tensor, 1), batches(tensor, 2)
    for one, two in zip(first, again, strict=True):
        assert one.shape == two.shape == tensor.shape
        assert one.stride() == tensor.stride()
        assert one.dtype == tensor.dtype
        assert torch.equal(one, two)
    if tensor.is_floating_point() and tensor.numel() > 1:
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first[0], other[0])


def test_drawn_values_look_like_the_first_ones():
    uniform = batches(torch.rand(1000) * 3 + 2, 1, 4)[2]
    assert 2 <= float(uniform.min()) < 2.1
    assert 4.9 < float(uniform.max()) <= 5
    normal = batches(torch.randn(1000) * 2 - 1, 1, 4)[2]
    assert float(normal.mean()) == pytest.approx(-1, abs=0.3)
    assert float(normal.std()) == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12).reshape(3, 4),
        torch.ones(5, 5).tril(),
        torch.full((9,), 2.0),
        torch.tensor([1.0, math.inf, 2.0, 3.0, -math.inf, 0.5]),
        torch.rand(6) > 0.5,
    ],
)
def test_masks_tables_and_indices_come_as_they_are(tensor):
    for made in batches(tensor, 5):
        assert torch.equal(made, tensor)


def test_several_occasions_give_several_variants():
    from kernelsift.kernels.gpu.recipe import Batch, recipe

    variants = [torch.full((3,), n) for n in range(8)]
    batch = Batch(recipe(variants), 64, "cpu")
    batch.fill(1)
    assert {int(made[0]) for made in batch.tensors()} == set(range(8))


def test_inputs_lie_apart_and_aligned():
    made = batches(torch.randn(33), 1, 5)
    addresses = [tensor.data_ptr() for tensor in made]
    assert {b - a for a, b in pairwise(addresses)} == {512}


def test_what_can_be_neither_drawn_nor_sent_is_refused():
    from kernelsift.kernels.gpu import recipe as module

    with pytest.raises(module.RecipeError, match="sparse"):
        module.recipe([torch.eye(3).to_sparse()])
    with pytest.raises(module.RecipeError, match="cannot be drawn"):
        module.recipe([torch.zeros(1, dtype=torch.int64).expand((64 << 20) // 8 + 1)])
    with pytest.raises(module.RecipeError, match="object"):
        module.taken_out([object()])


def test_arguments_keep_their_nesting():
    from kernelsift.kernels.gpu.recipe import Inputs, put_back, recipe, taken_out

    arguments = [torch.ones(2), [torch.zeros(3), 4], {"k": (torch.ones(1), None)}, "word"]
    tree, tensors = taken_out(arguments)
    assert len(tensors) == 3
    again = put_back(wire.decode(wire.encode(tree)), tensors)
    assert again[1][1] == 4
    assert again[2]["k"][0] is tensors[2]
    recipes = [recipe([tensor]) for tensor in tensors]
    rows = Inputs(tree, recipes, 2, "cpu").arguments()
    assert [row[1][0].shape for row in rows] == [(3,), (3,)]
    assert Inputs([5], [], 2, "cpu").arguments() == [[5], [5]]


def test_shared_weights_stay_shared_and_buffers_stay_as_they_are():
    from kernelsift.kernels.gpu.recipe import given, made_state, weight_recipe

    weight, mask = torch.randn(4, 4), torch.ones(4).cumsum(0)
    recipes = {
        "a": weight_recipe("a", weight, learned=True),
        "b": {"same": "a"},
        "mask": weight_recipe("mask", mask, learned=False),
        "running_var": weight_recipe("bn.running_var", torch.ones(4), learned=False),
        "gain": weight_recipe("norm.weight", torch.ones(50), learned=True),
        "sent": given(weight),
    }
    state = made_state(recipes, 3, "cpu")
    assert state["a"] is state["b"]
    assert not torch.equal(state["a"], weight)
    assert torch.equal(state["mask"], mask)
    assert torch.equal(state["sent"], weight)
    assert bool((state["running_var"] >= 0.5).all())
    assert float(state["gain"].std()) > 0.05


# --- guard bands


def guards():
    from kernelsift.kernels.gpu.guard import Guards

    return Guards("cpu")


def poke(tensor, offset, size=1):
    """Write bytes at a distance from the start of a tensor."""
    import ctypes

    ctypes.memset(tensor.data_ptr() + offset, 7, size)


def test_fresh_memory_has_bands_and_is_poisoned_unless_it_was_filled():
    made = guards()
    with made:
        empty, zeros, like = torch.empty(5, 3), torch.zeros(4), torch.empty_like(torch.ones(2, 2))
        total = zeros + 1
    assert bool(empty.isnan().all())
    assert bool(like.isnan().all())
    assert torch.equal(zeros, torch.zeros(4))
    assert made.hits() == []
    assert made.bands >= 3
    assert torch.equal(total, torch.ones(4))
    assert made.ops["add"]["kind"] == "compute"


def test_writes_beside_a_tensor_are_found_with_their_distance():
    made = guards()
    with made:
        first, second = torch.empty(10), torch.empty(6, dtype=torch.int8)
    poke(first, 40 + 8, 4)
    poke(second, -3, 2)
    assert made.hits() == [
        {"tensor": "memory 1", "where": "after", "offset": 8, "changed": 4},
        {"tensor": "memory 2", "where": "before", "offset": 1, "changed": 2},
    ]
    made.reset()
    assert made.hits() == []


def test_inputs_keep_their_contents_strides_and_bands_over_a_reset():
    made = guards()
    given = torch.randn(4, 6).t()
    guarded = made.input(given)
    assert torch.equal(guarded, given)
    assert guarded.stride() == given.stride()
    made.reset()
    poke(guarded, 24 * 4)
    assert [hit["tensor"] for hit in made.hits()] == ["input 0"]
    made.forget_inputs()
    assert made.hits() == []


def test_operations_in_place_and_on_views_get_no_new_memory():
    made = guards()
    base = torch.randn(8)
    with made:
        base.fill_(2).zero_()
        view = base[2:4]
    assert made.bands == 0
    assert view.data_ptr() == base.data_ptr() + 8


def test_there_is_an_end_to_guarded_memory(monkeypatch):
    from kernelsift.kernels.gpu import guard

    monkeypatch.setattr(guard, "MOST_BYTES", 40_000)
    made = guards()
    with made:
        small, large = torch.empty(100), torch.empty(100_000)
    assert made.bands == 1
    assert bool(small.isnan().all())
    assert large.numel() == 100_000


# --- the launch log


@pytest.fixture
def log(monkeypatch):
    """A log over a JITFunction whose run does nothing but return a compiled kernel."""
    from triton.runtime.jit import JITFunction

    from kernelsift.kernels.gpu import launch_log

    hooks = []
    monkeypatch.setattr(launch_log, "install_hook", hooks.append)
    kernel = SimpleNamespace(
        name="k",
        n_regs=32,
        n_spills=0,
        metadata=SimpleNamespace(shared=1024),
        asm={"ptx": "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"},
    )

    def run(self, *args, **kwargs):
        hooks[0](SimpleNamespace(data={"name": "k"}))
        return kernel

    monkeypatch.setattr(JITFunction, "run", run)
    made = launch_log.LaunchLog()
    made.call = lambda: JITFunction.run(SimpleNamespace(), grid=(1,), warmup=False)
    return made


def test_launches_are_counted_with_what_was_compiled(log):
    log.call()
    log.call()
    expected = {"registers": 32, "spills": 0, "shared_bytes": 1024, "tf32": True}
    assert log.builds() == [{"kernel": "k", "times": 2, **expected}]
    log.reset()
    assert log.builds() == []


def test_ablated_launches_do_nothing_or_raise(log):
    from kernelsift.kernels.gpu.launch_log import AblatedLaunchError

    log.ablate = "noop"
    assert log.call() is None
    log.ablate = "raise"
    with pytest.raises(AblatedLaunchError):
        log.call()
    assert log.builds() == []


def test_the_name_of_a_launch_is_read_in_every_form():
    from kernelsift.kernels.gpu.launch_log import build_facts, launched_name

    assert launched_name({"name": "a"}) == "a"
    assert launched_name(SimpleNamespace(data={"name": "b"})) == "b"
    assert launched_name(SimpleNamespace(name="c")) == "c"
    assert launched_name({}) == "?"
    assert set(build_facts(None).values()) == {None}
    assert build_facts(SimpleNamespace(asm={"cubin": b""}, n_regs="?"))["tf32"] is None


def test_the_hook_joins_the_chain_that_triton_has():
    from triton import knobs

    from kernelsift.kernels.gpu.launch_log import install_hook

    before = knobs.runtime.launch_enter_hook

    def hook(_metadata):
        """Nothing."""

    install_hook(hook)
    try:
        assert hook in before.calls
    finally:
        before.remove(hook)


# --- talking with a timed child


class Script:
    """A conversation whose answers are written down."""

    result = None
    problem = ""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.said = []
        self.time = 0.0

    def say(self, message):
        self.said.append(wire.decode(message))
        return self.time

    def hear(self, seconds):
        if not self.answers:
            return None
        self.time += 1.0
        answer = self.answers.pop(0)
        raw = answer if isinstance(answer, bytes) else wire.encode({"nonce": "n", **answer})
        return Heard(raw, self.time)


ORDER = BlockOrder(seed=5, count=2, regime="sync", picks=9)
TIMES = {
    "event": "done",
    "events": [1e-4, 2e-4],
    "hosts": [1e-5, 1e-5],
    "walls": [1.2e-4, 2.2e-4],
    "touches": [1e-6, 1e-6],
    "plain": True,
}
SHOWN = {"event": "done", "samples": [[1.0, 2.0], [3.0, math.nan]], "layout": "float32[2]; "}


def test_a_block_is_ordered_then_shown_and_timed_here():
    talk = Script(TIMES, SHOWN)
    block = Partner(talk, "n").ask("candidate", ORDER)
    assert isinstance(block, Block)
    assert (block.elapsed, block.events, block.plain) == (2.0, (1e-4, 2e-4), True)
    assert [message["do"] for message in talk.said] == ["block", "show"]
    assert "picks" not in talk.said[0]
    assert talk.said[1]["picks"] == 9


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ((), "no answer in time"),
        ((b"garbage",), "no message"),
        (({**TIMES, "nonce": "other"},), "secret"),
        (({"event": "trouble", "why": "CUDA error"},), "CUDA error"),
        (({"event": "loaded"},), "something else"),
        ((TIMES,), "no answer in time"),
        (({**TIMES, "events": [1e-4]}, SHOWN), "2 times were expected"),
        (({**TIMES, "walls": [math.inf, 1.0]}, SHOWN), "not finite"),
        (({**TIMES, "hosts": "fast"}, SHOWN), "times were expected"),
        (({**TIMES, "events": [None, None]}, SHOWN), "not one"),
        ((TIMES, {**SHOWN, "samples": [[1.0]]}), "one row"),
        ((TIMES, {**SHOWN, "samples": [[1.0], 2.0]}), "not a row"),
        ((TIMES, {"event": "done"}), "samples"),
    ],
)
def test_a_report_that_is_none_is_trouble(answers, why):
    found = Partner(Script(*answers), "n").ask("candidate", ORDER)
    assert isinstance(found, Trouble)
    assert why in found.why


def test_a_child_that_ended_says_how():
    talk = Script()
    talk.result = SimpleNamespace(status="crash", reason="signal 11", output="")
    assert "signal 11" in Partner(talk, "n").ask("eager", ORDER).why
    assert Partner(talk, "n").loaded() == "crash: signal 11"


# --- compute-sanitizer

REPORT = """
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at {place}
=========     by thread (0,0,0) in block (1,0,0)
=========     Access at 0x7f0000000190 is out of bounds
=========     and is 1 bytes after the nearest allocation at 0x7f0000000000 of size 400 bytes
=========
========= Invalid __global__ write of size 4 bytes
=========     at {place}
=========     by thread (1,0,0) in block (1,0,0)
=========
========= ERROR SUMMARY: 2 errors
"""


@pytest.mark.parametrize(
    ("place", "kernel", "line"),
    [
        ("add_kernel+0x1c0 in /tmp/candidate.py:12", "add_kernel", 12),
        ("0x1c0 in /tmp/candidate.py:12:add_kernel", "add_kernel", 12),
        ("add_kernel+0x1c0", "add_kernel", None),
        ("0x1c0 in add_kernel", "add_kernel", None),
        ("something else", "", None),
    ],
)
def test_errors_of_one_place_are_one_with_kernel_and_line(place, kernel, line):
    found = memcheck.report_of(REPORT.format(place=place), answered=True)
    assert found.status == "errors"
    (error,) = found.errors
    assert (error.kernel, error.line) == (kernel, line)
    assert error.kind == "Invalid __global__ write of size 4 bytes"


def test_only_a_last_summary_without_errors_is_clean():
    clean, dirty = "========= ERROR SUMMARY: 0 errors\n", "========= ERROR SUMMARY: 3 errors\n"
    assert memcheck.report_of(clean, answered=True).status == "clean"
    assert memcheck.report_of(clean + dirty, answered=True).status == "failed"
    assert memcheck.report_of(clean, answered=False).status == "failed"
    assert memcheck.report_of("", answered=True).why == "it said nothing"
    device = "========= Error: Device not supported\n"
    assert "Device not supported" in memcheck.report_of(device, answered=False).why


def test_the_tool_is_looked_for_in_the_home_of_cuda(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    tool = tmp_path / "bin" / memcheck.TOOL
    tool.parent.mkdir()
    tool.touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert memcheck.installed() == str(tool)


# --- joining the GPU's answers with the rest

RIGHT = Comparison(case="nominal-0", group="nominal", status="equal")
OFF = Comparison(case="nominal-0", group="nominal", status="differs", ratio=50.0)
ONLY_CPU = Comparison(case="stress", group="stress", status="equal")
LAUNCHED = ProvenanceFacts(launches=1, kernels=("k",), coverage=1.0)


def base(**more):
    return VerifyFacts(
        static=StaticSummary(parsed=True, kernels=1),
        reference=more.pop("reference", ReferenceRun(status="ok")),
        run=more.pop("run", RunFacts(status="done", entry="ModelNew")),
        comparisons=more.pop("comparisons", (RIGHT, ONLY_CPU)),
        **more,
    )


def seen(**more):
    return DeviceRun(
        run=more.pop("run", RunFacts(status="done", entry="ModelNew")),
        comparisons=more.pop("comparisons", (RIGHT,)),
        behaviour=None,
        provenance=LAUNCHED,
        kernels=(KernelBuild(name="k", launches=1, tf32=True),),
        guards=GuardFacts(bands=2),
        gate=None,
    )


def joined(facts, run):
    return with_device(facts, run, GpuFacts(device=DeviceFacts(name="x", capability=(9, 0))))


def test_the_devices_answer_counts_and_the_interpreters_is_a_remark():
    found = joined(base(comparisons=(OFF, ONLY_CPU)), seen())
    assert [c.status for c in found.comparisons] == ["equal", "equal"]
    assert found.gpu.interpreter_disagrees == ("nominal-0",)
    assert found.device == "cuda"
    assert found.gpu.kernels[0].tf32
    found = joined(base(), seen(comparisons=(OFF,)))
    assert [c.case for c in found.comparisons if c.status == "differs"] == ["nominal-0"]
    assert found.gpu.interpreter_disagrees == ("nominal-0",)


def test_what_only_the_interpreter_answered_stays_unless_it_cannot_be_trusted():
    assert ONLY_CPU in joined(base(), seen()).comparisons
    gaps = RunFacts(status="done", interpreter_gaps=("bf16 dot",))
    assert joined(base(run=gaps), seen()).comparisons == (RIGHT,)
    scaled = ReferenceRun(status="ok", scaled=True, unpinned=True)
    found = joined(base(reference=scaled), seen())
    assert found.comparisons == (RIGHT,)
    assert not found.reference.unpinned


def test_a_device_run_that_our_side_ended_changes_nothing():
    before = base()
    for status in ("killed", "not-run", "missing-package"):
        found = joined(before, seen(run=RunFacts(status=status, why="memory"), comparisons=()))
        assert found.comparisons == before.comparisons
        assert found.device == "cpu"
        assert "memory" in found.gpu.why
    assert joined(before, seen(comparisons=())).device == "cpu"


def test_a_crash_on_the_device_is_a_crash():
    found = joined(base(), seen(run=RunFacts(status="crash", why="signal 11"), comparisons=()))
    assert (found.run.status, found.device) == ("crash", "cuda")


def test_behaviour_is_bad_if_it_was_bad_once():
    one = BehaviourFacts(repeat_differs=False, late_call_differs=True, patched=("a",))
    two = BehaviourFacts(repeat_differs=True, patched=("b",), threads_left=2)
    both = joined_behaviour(one, two)
    assert (both.repeat_differs, both.late_call_differs, both.inputs_changed) == (True, True, None)
    assert (both.patched, both.threads_left) == (("a", "b"), 2)
    assert joined_behaviour(None, one) is one
    assert joined_behaviour(one, None) is one


def test_the_speedup_of_facts_is_that_of_the_timing():
    assert base().speedup is None
    assert base(gpu=GpuFacts()).speedup is None
    claimed = Interval(low=1.9, middle=2.0, high=2.1)
    assert base(gpu=GpuFacts(timing=TimingFacts(speedup=claimed))).speedup == claimed


# --- whether a GPU is used, and what is said of it


def test_auto_takes_a_gpu_where_its_driver_is(monkeypatch):
    from kernelsift.errors import ConfigError
    from kernelsift.kernels.gpu import opening

    monkeypatch.setattr(opening, "missing", lambda: "")
    assert [opening.device_for(w) for w in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(opening, "missing", lambda: "there is no /dev/nvidia0")
    assert [opening.device_for(w) for w in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(ConfigError, match="there is no /dev/nvidia0; use 'auto' or 'cpu'"):
        opening.device_for("cuda")


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_gpu_that_does_not_work_is_left_out_unless_it_was_wanted(monkeypatch, wanted):
    from contextlib import nullcontext

    from kernelsift.errors import ConfigError
    from kernelsift.kernels.gpu import opening

    monkeypatch.setattr(opening, "missing", lambda: "")
    monkeypatch.setattr(opening, "device_pool", lambda sandbox: nullcontext())
    monkeypatch.setattr(opening.DeviceVerifier, "available", lambda self: "cuInit: error 304")
    base = object()
    if wanted == "cuda":
        with (
            pytest.raises(ConfigError, match="cuInit: error 304"),
            opening.on_device(base, None, wanted, "auto"),
        ):
            pass
        return
    with opening.on_device(base, None, wanted, "auto") as (verifier, notes):
        assert verifier is base
        assert notes == ("The GPU is not used: cuInit: error 304",)


def test_a_timing_is_told_in_words():
    from kernelsift.kernels.gpu.gpu_facts import Doubt, SideTime
    from kernelsift.kernels.gpu.gpu_words import gpu_lines

    assert list(gpu_lines(None)) == []
    sides = (
        SideTime(side="candidate", device=1e-4, noise=0.01),
        SideTime(side="eager", device=2e-4, noise=0.02),
    )
    claimed = Interval(low=1.9, middle=2.0, high=2.1)
    facts = GpuFacts(
        device=DeviceFacts(name="NVIDIA H100", capability=(9, 0)),
        kernels=(KernelBuild(name="k", launches=1),),
        timing=TimingFacts(sides=sides, speedup=claimed),
    )
    assert list(gpu_lines(facts)) == [
        "GPU: NVIDIA H100",
        "  kernels launched: k",
        "  time: the answer 100 µs ±1.0%, the module 200 µs ±2.0%",
        "  speedup: 2.00 (1.90 to 2.10) over the module",
    ]
    doubt = Doubt(kind="launch-bound", evidence="candidate: 3 µs, an empty launch takes 2 µs")
    facts = GpuFacts(why="no cases", timing=TimingFacts(doubts=(doubt,)))
    assert list(gpu_lines(facts)) == [
        "GPU: none; no cases",
        "  no speedup is claimed",
        "    launch-bound: candidate: 3 µs, an empty launch takes 2 µs",
    ]
