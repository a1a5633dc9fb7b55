"""Timing on a simulated GPU: honest times give a speedup, every cheat gives its doubt instead."""

import math
from dataclasses import replace
from statistics import median

import fake_gpu as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.kernels.gpu.blocks import run_block
from kernelsift.kernels.gpu.gpu_facts import (
    DeviceFacts,
    GpuFacts,
    GuardFacts,
    GuardHit,
    MemcheckError,
    MemcheckFacts,
)
from kernelsift.kernels.gpu.measured import Block, Trouble
from kernelsift.kernels.gpu.schedule import Plan, measure
from kernelsift.kernels.gpu.timing import Work, judge
from kernelsift.kernels.gpu.timing_findings import gpu_findings
from kernelsift.kernels.gpu.timing_stats import (
    between,
    drift,
    median_interval,
    noise,
    telling,
    wrong_calls,
)

PLAN = Plan(seed=11, most_calls=64)
DEVICE = DeviceFacts(
    name="simulated",
    capability=(9, 0),
    l2_bytes=50 << 20,
    bytes_per_second=3e12,
    flops_per_second=6e13,
    tensor_flops_per_second=1e15,
)
SMALL = Work(read_bytes=1 << 20, written_bytes=1 << 20, flops=1 << 20)


def timed(candidate, work=SMALL, plan=PLAN, **bench):
    made = fake.Bench(candidate, **bench)
    return judge(measure(made.ask, plan, made.clock), work, DEVICE)


def kinds(facts):
    return {doubt.kind for doubt in facts.doubts if doubt.blocks}


# --- claims


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 4.0])
def test_the_speedup_of_an_honest_kernel_is_found_with_its_interval(factor):
    facts = timed(fake.Honest(2e-4 / factor))
    assert kinds(facts) == set()
    assert facts.speedup.low <= factor * 1.01
    assert facts.speedup.high >= factor * 0.99
    assert facts.speedup.middle == pytest.approx(factor, rel=0.03)
    assert facts.speedup_compiled.middle == pytest.approx(0.75 * factor, rel=0.03)
    assert facts.of("candidate").device == pytest.approx(2e-4 / factor, rel=0.03)
    assert facts.of("candidate").noise < 0.02
    assert facts.answers_wrong == 0 < facts.answers_compared


def test_measuring_ends_when_the_interval_is_narrow_and_goes_on_while_it_is_not():
    assert timed(fake.Honest(1e-4)).rounds == PLAN.least_rounds
    loud = timed(fake.Honest(1e-4), gpu=fake.FakeGpu(jitter=0.9), plan=replace(PLAN, most_calls=4))
    assert loud.rounds == PLAN.most_rounds
    assert timed(fake.Honest(1e-4), plan=replace(PLAN, budget_seconds=0.0)).rounds == 5


def test_a_reference_that_torch_compile_makes_faster_is_a_weak_baseline_and_still_a_claim():
    facts = timed(fake.Honest(1e-4), compiled=1e-4)
    assert [doubt.kind for doubt in facts.doubts] == ["weak-baseline"]
    assert facts.speedup is not None


def test_a_steady_drift_of_the_clock_does_not_move_the_ratio():
    facts = timed(fake.Honest(1e-4), gpu=fake.FakeGpu(slowing=0.15))
    assert facts.drift > 0
    assert facts.speedup.middle == pytest.approx(2.0, rel=0.04)


def test_clocks_that_come_up_at_first_are_waited_for():
    class Waking(fake.FakeGpu):
        def launch(self, seconds, stream="default"):
            pace = 1 + 2 * max(0.0, 1 - self.time / 0.2)
            return super().launch(seconds * pace, stream)

    facts = timed(fake.Honest(1e-4), gpu=Waking())
    assert kinds(facts) == set()
    assert facts.speedup.middle == pytest.approx(2.0, rel=0.03)


def test_a_reference_that_waits_for_the_host_is_no_measure():
    bench = fake.Bench(fake.Honest(1e-4))
    bench.sides["eager"] = fake.Honest(5e-5, host=1e-4)
    facts = judge(measure(bench.ask, PLAN, bench.clock), SMALL, DEVICE)
    assert kinds(facts) == {"host-bound"}
    assert facts.speedup is None


def test_a_call_that_keeps_the_host_busy_for_long_is_not_faster_for_it():
    facts = timed(fake.Honest(1e-4, host=5e-4))
    assert facts.of("candidate").host > 4e-4
    assert facts.speedup.high < 0.6


# --- doubts


@pytest.mark.parametrize(
    ("candidate", "kind", "found"),
    [
        (fake.SideStream(1e-4), "side-stream", "K70"),
        (fake.SideStream(1e-4), "wrong-answers", "K79"),
        (fake.WaitingSideStream(1.5e-4), "host-bound", "K77"),
        (fake.Cached(1e-4), "wrong-answers", "K79"),
        (fake.EveryOther(1e-4), "wrong-answers", "K79"),
        (fake.Lazy(1e-4), "lazy", "K61"),
        (fake.Subclass(1e-4), "lazy", "K61"),
        (fake.Background(1e-4), "wrong-answers", "K79"),
        (fake.Remembering(1e-4), "content-cache", "K43"),
        (fake.Honest(4e-6), "launch-bound", "K77"),
        (fake.Honest(3e-5, host=7e-5), "host-bound", "K77"),
    ],
)
def test_a_cheat_gives_a_doubt_and_no_speedup(candidate, kind, found):
    facts = timed(candidate)
    assert kind in kinds(facts), facts
    assert facts.speedup is None
    assert facts.speedup_compiled is None
    assert found in {finding.id for finding in gpu_findings(GpuFacts(timing=facts))}


def test_patched_events_are_contradicted_by_the_wall_clock():
    facts = timed(fake.Honest(2e-4), forged=fake.ForgedEvents)
    assert "side-stream" in kinds(facts)
    assert facts.speedup is None


def test_patched_clocks_are_contradicted_by_the_parents_clock():
    facts = timed(fake.Honest(2e-4), forged=fake.ForgedClocks)
    assert "clock" in kinds(facts)
    assert facts.speedup is None
    (finding,) = [f for f in gpu_findings(GpuFacts(timing=facts)) if f.id == "K52"]
    assert finding.severity == "suspicious"


def test_a_time_below_the_roofline_is_no_speedup():
    facts = timed(fake.Honest(1e-4), Work(read_bytes=1 << 30))
    assert kinds(facts) == {"beyond-roofline"}
    facts = timed(fake.Honest(1e-4), Work(flops=10**12))
    assert kinds(facts) == {"beyond-roofline"}
    assert "K76" in {finding.id for finding in gpu_findings(GpuFacts(timing=facts))}


def test_an_answer_that_fits_the_cache_need_not_reach_memory():
    assert kinds(timed(fake.Honest(1e-4), Work(written_bytes=48 << 20))) == set()
    facts = timed(fake.Honest(1e-4), Work(written_bytes=1 << 30))
    assert facts.floors.moved_bytes == (1 << 30) - DEVICE.l2_bytes
    assert kinds(facts) == {"beyond-roofline"}


def test_a_device_that_slows_down_much_is_no_ground_for_a_claim():
    facts = timed(fake.Honest(1e-4), gpu=fake.FakeGpu(slowing=4.0))
    assert "drift" in kinds(facts)


def test_a_wide_interval_is_no_speedup_and_no_finding():
    plan = replace(PLAN, most_calls=1)
    facts = timed(fake.Honest(1e-4), gpu=fake.FakeGpu(jitter=0.95), plan=plan)
    assert "noisy" in kinds(facts)
    assert facts.speedup is None


def test_a_reference_whose_answers_are_alike_supports_no_claim():
    bench = fake.Bench(fake.Honest(1e-4))
    for side in bench.sides.values():
        side.right = lambda index: 0.25
    facts = judge(measure(bench.ask, PLAN, bench.clock), SMALL, DEVICE)
    assert (facts.answers_compared, kinds(facts)) == (0, {"untold"})


@pytest.mark.parametrize("side", ["candidate", "eager", "empty"])
def test_a_side_that_cannot_be_timed_is_no_neutral_speedup(side):
    bench = fake.Bench(fake.Honest(1e-4))
    bench.sides[side] = fake.Raising(1e-4)
    facts = judge(measure(bench.ask, PLAN, bench.clock), SMALL, DEVICE)
    assert facts.speedup is None
    assert "failed" in kinds(facts)
    assert any("no kernel image" in doubt.evidence for doubt in facts.doubts)
    assert list(gpu_findings(GpuFacts(timing=facts))) == []


def test_a_reference_that_does_not_compile_costs_only_that_comparison():
    bench = fake.Bench(fake.Honest(1e-4))
    bench.sides["compiled"] = fake.Raising(1e-4)
    facts = judge(measure(bench.ask, PLAN, bench.clock), SMALL, DEVICE)
    assert facts.speedup.middle == pytest.approx(2.0, rel=0.03)
    assert facts.speedup_compiled is None


def test_a_side_that_fails_on_the_way_ends_the_measuring():
    bench = fake.Bench(fake.Honest(1e-4))

    def ask(side, order):
        if side == "candidate" and len(bench.orders) > 15:
            return Trouble(side, "illegal memory access")
        return bench.ask(side, order)

    facts = judge(measure(ask, PLAN, bench.clock), SMALL, DEVICE)
    assert facts.speedup is None
    assert any("illegal memory access" in doubt.evidence for doubt in facts.doubts)


def test_another_layout_of_the_answer_is_a_wrong_answer():
    bench = fake.Bench(fake.Honest(1e-4))

    def ask(side, order):
        block = bench.ask(side, order)
        return replace(block, layout="float16[1]; ") if side == "candidate" else block

    assert "wrong-answers" in kinds(judge(measure(ask, PLAN, bench.clock), SMALL, DEVICE))


# --- the order of things in a block, and of blocks


class Recorder:
    """A device and a subject that write down what is done."""

    def __init__(self):
        self.done = []

    def __getattr__(self, name):
        def note(*_arguments):
            self.done.append(name)
            return 0.0

        return note


@pytest.mark.parametrize(
    ("regime", "each"),
    [
        ("queue", "flush mark call mark keep"),
        ("sync", "flush synchronize now mark call mark now synchronize now touch now keep between"),
    ],
)
def test_a_call_is_timed_on_an_empty_cache_and_its_answer_copied_at_once(regime, each):
    recorder = Recorder()
    run_block(recorder, recorder, 2, regime)
    end = ["synchronize", "between", "between"] if regime == "queue" else []
    assert recorder.done == ["synchronize", *each.split() * 2, *end]


def test_inputs_are_shared_within_a_round_and_never_used_again_but_once_at_the_end():
    bench = fake.Bench(fake.Honest(1e-4))
    measure(bench.ask, PLAN, bench.clock)
    orders = bench.orders[16:]  # of each of four sides, two small blocks and two warm ones
    seen: dict[str, list[int]] = {}
    for side, order in orders:
        seen.setdefault(side, []).append(order.seed)
    candidate = seen["candidate"]
    assert len(set(candidate)) == len(candidate) - 1
    assert candidate[-1] in candidate[:-1]
    assert set(candidate) <= set(seen["eager"])
    assert len(set(seen["eager"])) == len(seen["eager"])


def test_every_turn_of_the_candidate_stands_between_two_of_the_reference():
    bench = fake.Bench(fake.Honest(1e-4))
    blocks = measure(bench.ask, PLAN, bench.clock)
    queued = [b.side for b in blocks if b.order.regime == "queue"][:-1]
    for at, side in enumerate(queued):
        if side == "candidate":
            assert "eager" in queued[:at]
            assert "eager" in queued[at:]
    first = [queued.index("candidate"), queued.index("compiled")]
    later = [queued.index(s, 4) for s in ("candidate", "compiled")]
    assert (first[0] < first[1]) != (later[0] < later[1])


def test_blocks_are_long_enough_to_be_timed_from_outside_but_fit_the_memory():
    for most in (3, 64, 100_000):
        bench = fake.Bench(fake.Honest(1e-4))
        measure(bench.ask, replace(PLAN, most_calls=most), bench.clock)
        count = bench.orders[-1][1].count
        assert count <= most
        if most == 100_000:
            assert count * 2e-4 == pytest.approx(PLAN.block_seconds, rel=0.2)


# --- statistics


@given(st.lists(st.floats(1e-7, 1e-2), min_size=5, max_size=20))
def test_the_interval_holds_the_median_and_lies_within_the_values(values):
    found = median_interval(values)
    assert found.middle == median(values)
    assert min(values) <= found.low <= found.middle <= found.high <= max(values)


def test_few_values_have_no_interval_but_noise():
    assert median_interval([1.0] * 4) is None
    assert noise([1.0, 3.0]) == 0.5
    assert noise([]) == 0.0
    assert noise([2.0] * 9) == 0.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    import random

    draw = random.Random(1)
    hits = 0
    for _ in range(200):
        found = median_interval([draw.gauss(1, 0.1) for _ in range(12)], 300)
        hits += found.low <= 1 <= found.high
    assert 175 <= hits <= 199


@given(st.floats(0.5, 2), st.floats(-0.01, 0.01), st.integers(1, 6))
def test_a_linear_drift_falls_out_of_the_ratio(truth, slope, rounds):
    names = ["a", "b"] * rounds + ["a"]
    series = [(n, (1 + slope * i) * (truth if n == "a" else 1)) for i, n in enumerate(names)]
    for ratio in between(series, "a", "b"):
        assert ratio == pytest.approx(truth, rel=1e-9)


def test_a_turn_without_a_reference_after_it_uses_the_one_before():
    assert between([("a", 2.0), ("b", 1.0)], "a", "b") == [2.0]
    assert between([("b", 1.0)], "a", "b") == []
    assert between([("a", 1.0), ("b", 0.0)], "a", "b") == []


def test_drift_is_the_change_from_the_first_third_to_the_last():
    assert drift([1.0, 1.0]) is None
    assert drift([1, 1, 1, 1, 1, 1.5]) == pytest.approx(0.25)


def test_wrong_calls_are_counted_by_their_elements():
    rows = [[float(i + j) for j in range(100)] for i in range(5)]
    assert wrong_calls(rows, rows, 0.02) == 0
    slightly = [[v * 1.005 for v in row] for row in rows]
    assert wrong_calls(rows, slightly, 0.02) == 0
    one_off = [list(row) for row in rows]
    one_off[2][7] = 1e6
    assert wrong_calls(rows, one_off, 0.02) == 0  # one in a hundred: rounding of a rare case
    one_off[2][8] = one_off[2][9] = 1e6
    assert wrong_calls(rows, one_off, 0.02) == 1
    assert wrong_calls(rows, rows[:-1], 0.02) == 1
    assert wrong_calls(rows, [row[:-1] for row in rows], 0.02) == 5


def test_infinite_elements_must_be_the_same():
    inf, nan = math.inf, math.nan
    assert wrong_calls([[inf, nan, 1.0]], [[inf, nan, 1.0]], 0.02) == 0
    assert wrong_calls([[inf]], [[-inf]], 0.02) == 1
    assert wrong_calls([[1.0]], [[nan]], 0.02) == 1


def test_answers_tell_when_neighbours_differ():
    assert telling([[1.0], [2.0], [3.0]], 0.02)
    assert not telling([[1.0], [1.0], [1.0]], 0.02)
    assert not telling([[1.0]], 0.02)


# --- findings


def test_guard_bands_and_the_memory_checker_make_bugs():
    facts = GpuFacts(
        guards=GuardFacts(
            hits=(
                GuardHit(tensor="input 0", where="after", offset=0, changed=4, case="nominal-0"),
                GuardHit(tensor="memory 1", where="before", offset=8, changed=4, case="x"),
            )
        ),
        memcheck=MemcheckFacts(
            status="errors", errors=(MemcheckError(kind="Invalid write", kernel="k", line=12),)
        ),
    )
    found = list(gpu_findings(facts))
    assert {(f.id, f.severity) for f in found} == {("K32", "bug")}
    assert "4 bytes written past the end of input 0, 0 bytes from it" in found[0].evidence
    assert found[2].line == 12


def test_nothing_measured_is_no_finding_and_no_claim():
    assert list(gpu_findings(GpuFacts(why="no GPU"))) == []
    facts = judge([], SMALL, None)
    assert facts.speedup is None
    assert kinds(facts) == {"failed"}


def test_without_the_peaks_of_the_device_there_is_no_roofline():
    bench = fake.Bench(fake.Honest(1e-4))
    blocks = measure(bench.ask, PLAN, bench.clock)
    assert all(isinstance(block, Block) for block in blocks)
    facts = judge(blocks, Work(read_bytes=1 << 40), None)
    assert facts.floors.roofline is None
    assert facts.speedup is not None
