"""Sizes made smaller without changing the problem."""

import pytest

from kernelsift.kernels.reference.cost import Launch, launch_seconds, predict_seconds
from kernelsift.kernels.reference.scale import (
    Change,
    constants,
    pinned_names,
    rewrite_constants,
    smaller,
)
from kernelsift.kernels.sizing import extents_of

NORM = """
import torch

class Model(torch.nn.Module):
    def __init__(self, features, groups):
        super().__init__()
        self.norm = torch.nn.GroupNorm(groups, features)

    def forward(self, x):
        return torch.relu(self.norm(x))

batch_size = 128  # é
features, unused = 64, 3
features = 64
num_groups = 16
height: int = 256
kernel_size = (3, 5)

def get_inputs():
    return [torch.randn(batch_size, features, height, 512)]

def get_init_inputs():
    return [features, num_groups]
"""


def test_constants_are_named_by_where_they_stand():
    found = {c.key: c.value for c in constants(NORM)}
    assert found == {
        "unused": 3,
        "batch_size": 128,
        "features": 64,
        "num_groups": 16,
        "height": 256,
        "kernel_size[0]": 3,
        "kernel_size[1]": 5,
        "get_inputs:0": 512,
    }


def test_only_the_numbers_change():
    changes = (Change("batch_size", 128, 2), Change("get_inputs:0", 512, 32))
    assert rewrite_constants(NORM, changes) == NORM.replace("= 128", "= 2").replace("512", "32")


def test_a_candidate_follows_by_name_and_value():
    changes = (Change("batch_size", 128, 2), Change("features", 64, 16))
    candidate = "batch_size = 128\nfeatures = 32\nBLOCK = 64\n"
    assert rewrite_constants(candidate, changes) == "batch_size = 2\nfeatures = 32\nBLOCK = 64\n"


def test_a_size_that_the_candidate_writes_into_its_kernels_is_pinned():
    candidate = "batch_size = 128\ndef forward(x):\n    return k[(x.shape[0],)](x, BLOCK=256)\n"
    assert pinned_names(candidate, constants(NORM)) == {"height"}


@pytest.mark.parametrize(
    ("size", "less"), [(512, 256), (96, 48), (7, 3), (5, 3), (3, 1), (1, None)]
)
def test_sizes_keep_their_kind(size, less):
    assert smaller(size) == less


def test_more_programs_and_trips_take_longer():
    assert launch_seconds(Launch(100)) > 5 * launch_seconds(Launch(10))
    assert launch_seconds(Launch(10, trips=8)) > 5 * launch_seconds(Launch(10))
    assert predict_seconds(1 << 20, 1 << 20, 0) > predict_seconds(1 << 10, 1 << 10, 0)
    assert 0.05 < predict_seconds(2 * 128 * 128, 128 * 128, 2 * 128**3, 1024) < 1.0


def test_a_large_problem_is_scaled_and_keeps_its_groups():
    pytest.importorskip("torch", reason="torch is not installed")
    from kernelsift.kernels.reference.scale_plan import ScaleLimits, measure_size, scale_reference

    scaled = scale_reference(NORM)
    assert scaled.status == "scaled", scaled.why
    assert scaled.original.numel_out == 128 * 64 * 256 * 512
    assert scaled.size.excess(ScaleLimits()) <= 1
    assert scaled.gate.runs
    assert not scaled.gate.degenerate
    values = {c.key: c.value for c in constants(rewrite_constants(NORM, scaled.changes))}
    assert values["features"] % values["num_groups"] == 0
    assert values["features"] > values["num_groups"]
    assert values["batch_size"] >= 2
    assert measure_size(rewrite_constants(NORM, scaled.changes)) == scaled.size


def test_pinned_sizes_stay_and_a_small_problem_is_left_alone():
    pytest.importorskip("torch", reason="torch is not installed")
    from kernelsift.kernels.reference.scale_plan import scale_reference

    scaled = scale_reference(NORM, pinned=frozenset({"height"}))
    assert "height" not in {change.key for change in scaled.changes}
    everything = frozenset(c.key for c in constants(NORM))
    assert scale_reference(NORM, pinned=everything).status == "too-large"
    small = NORM.replace("128", "2").replace("256", "8").replace("512", "8")
    assert scale_reference(small).status == "small"


def test_a_module_that_cannot_be_sized_says_why():
    pytest.importorskip("torch", reason="torch is not installed")
    from kernelsift.kernels.reference.scale_plan import scale_reference

    scaled = scale_reference("import no_such_package_here\n")
    assert scaled.status == "fails"
    assert "no_such_package_here" in scaled.why


def test_sizes_assigned_together_are_found_and_changed():
    code = "depth, height = 16, 32\n"
    assert {c.key: c.value for c in constants(code)} == {"depth": 16, "height": 32}
    assert rewrite_constants(code, (Change("height", 32, 8),)) == "depth, height = 16, 8\n"


def test_a_size_written_as_a_product_is_a_size():
    code = "m = 128 * 4\nn = 2 * (8 + 8)\n"
    assert {c.key: c.value for c in constants(code)} == {"m": 512, "n": 32}
    assert rewrite_constants(code, [Change("m", 512, 64)]) == "m = 64\nn = 2 * (8 + 8)\n"


def test_tiles_that_an_autotuner_chooses_from_pin_nothing():
    tuned = "[triton.Config({'ROWS': 256}), triton.Config({'ROWS': 64})]"
    fixed = "[triton.Config({'ROWS': 256}), triton.Config({'ROWS': 256}, num_warps=8)]"
    code = "@triton.autotune(configs={}, key=[])\n@triton.jit\ndef k(x, ROWS): pass\n"
    assert pinned_names(code.format(tuned), constants(NORM)) == set()
    assert pinned_names(code.format(fixed), constants(NORM)) == {"height"}


@pytest.mark.parametrize(
    ("blocks", "extents"),
    [
        ((128,), [(32, 256)]),
        ((64, 1024), [(32, 2048)]),
        ((4096,), []),
        ((16,), []),
        ((), []),
    ],
)
def test_a_size_grows_again_to_two_blocks_where_the_original_has_them(blocks, extents):
    assert extents_of([Change("dim", 4096, 32)], blocks) == extents


def test_of_two_sizes_that_became_one_the_smaller_original_counts():
    changes = [Change("rows", 4096, 32), Change("columns", 256, 32)]
    assert extents_of(changes, (64, 1024)) == [(32, 128)]


@pytest.mark.parametrize(
    ("loop", "pinned"),
    [
        ("for c in range(8): pass", {"channels"}),
        ("for c in tl.static_range(0, 8): pass", {"channels"}),
        ("for c in range(0, n, 8): pass", set()),
        ("offsets = tl.arange(0, 8)", set()),
        ("for c in range(3): pass", set()),
    ],
)
def test_a_small_number_pins_a_size_only_as_the_end_of_a_loop(loop, pinned):
    module = "channels = 8\nkernel_size = 3\n"
    assert pinned_names(f"def kernel(n):\n    {loop}\n", constants(module)) == pinned
