"""Answers as TorchInductor writes them: published data sets are full of them."""

from __future__ import annotations

import pytest
from candidate_child import CandidateChild, outputs

from kernelsift.kernels.candidate.function_call import NoMatchError
from kernelsift.kernels.candidate.inductor_call import leading, match_call, wanted_arguments
from kernelsift.kernels.candidate.inductor_grid import blocks_for, grid, grid_of

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

GUARDS = """
import torch
import torch.nn as nn
from torch._C import _cuda_getCurrentRawStream as get_raw_stream
aten = torch.ops.aten
assert_size_stride = torch._C._dynamo.guards.assert_size_stride
empty_strided_cuda = torch._C._dynamo.guards._empty_strided_cuda
reinterpret_tensor = torch._C._dynamo.guards._reinterpret_tensor
"""
AS_CLASS = (
    GUARDS
    + """
from torch._inductor.select_algorithm import extern_kernels
import triton
import triton.language as tl
from torch._inductor.runtime.triton_heuristics import grid
from torch._inductor.runtime import triton_helpers
from torch._inductor.runtime.triton_helpers import libdevice, math as tl_math


@triton.jit
def triton_poi_fused_relu_tanh_0(in_out_ptr0, in_ptr0, xnumel, XBLOCK: tl.constexpr):
    xnumel = 24
    xoffset = tl.program_id(0) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:]
    xmask = xindex < xnumel
    x2 = xindex
    x0 = xindex % 6
    tmp0 = tl.load(in_out_ptr0 + x2, xmask)
    tmp1 = tl.load(in_ptr0 + x0, xmask, eviction_policy='evict_last')
    tmp2 = tmp0 + tmp1
    tmp3 = tl.full([1], 0, tl.int32)
    tmp4 = triton_helpers.maximum(tmp3, tmp2)
    tmp5 = libdevice.tanh(tmp4)
    tmp6 = tl_math.exp(tmp5)
    tl.store(in_out_ptr0 + x2, tmp6, xmask)


def call(args):
    primals_1, primals_2, primals_3 = args
    args.clear()
    assert_size_stride(primals_1, (6, 5), (5, 1))
    assert_size_stride(primals_2, (6,), (1,))
    assert_size_stride(primals_3, (4, 5), (5, 1))
    with torch.cuda._DeviceGuard(0):
        torch.cuda.set_device(0)
        buf0 = empty_strided_cuda((4, 6), (6, 1), torch.float32)
        extern_kernels.mm(primals_3, reinterpret_tensor(primals_1, (5, 6), (1, 5), 0), out=buf0)
        buf1 = buf0
        del buf0
        get_raw_stream(0)
        triton_poi_fused_relu_tanh_0[grid(24)](
            buf1, primals_2, 24, XBLOCK=32, num_warps=1, num_stages=1)
        del primals_2
    return buf1, primals_3, buf1


class GateNew(nn.Module):
    def __init__(self, size, out):
        super(GateNew, self).__init__()
        self.fc = nn.Linear(size, out)

    def forward(self, input_0):
        primals_1 = self.fc.weight
        primals_2 = self.fc.bias
        primals_3 = input_0
        output = call([primals_1, primals_2, primals_3])
        return output[0]
"""
)
AS_TEXT = (
    GUARDS
    + """
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.select_algorithm import extern_kernels
from torch._C._dynamo.guards import copy_if_misaligned
from torch._inductor.runtime.triton_heuristics import start_graph, end_graph
async_compile = AsyncCompile()

triton_red_fused_sum_0 = async_compile.triton('triton_red_fused_sum_0', '''
import triton
import triton.language as tl

from torch._inductor.runtime import triton_helpers, triton_heuristics
from torch._inductor.runtime.hints import AutotuneHint, ReductionHint, TileHint, DeviceProperties
triton_helpers.set_driver_to_gpu()

@triton_heuristics.reduction(
    size_hints={'x': 4, 'r0_': 8192},
    reduction_hint=ReductionHint.INNER,
    filename=__file__,
    triton_meta={'signature': {'in_ptr0': '*fp32', 'out_ptr0': '*fp32', 'xnumel': 'i32'},
                 'constants': {}, 'device': DeviceProperties(type='cuda', index=0, cc=90,
                 multi_processor_count=132, major=9, regs_per_multiprocessor=65536,
                 max_threads_per_multi_processor=2048, warp_size=32)},
    inductor_meta={'grid_type': 'Grid1D', 'kernel_name': 'triton_red_fused_sum_0'}
)
@triton.jit
def triton_red_fused_sum_0(in_ptr0, out_ptr0, xnumel, r0_numel, XBLOCK : tl.constexpr,
                           R0_BLOCK : tl.constexpr):
    xnumel = 3
    r0_numel = 5000
    xoffset = tl.program_id(0) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:, None]
    xmask = xindex < xnumel
    r0_base = tl.arange(0, R0_BLOCK)[None, :]
    x0 = xindex
    _tmp2 = tl.full([XBLOCK, R0_BLOCK], 0, tl.float32)
    for r0_offset in range(0, r0_numel, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < r0_numel
        tmp0 = tl.load(in_ptr0 + (r0_index + 5000*x0), r0_mask & xmask, other=0.0)
        tmp1 = tl.broadcast_to(tmp0, [XBLOCK, R0_BLOCK])
        tmp3 = _tmp2 + tmp1
        _tmp2 = tl.where(r0_mask & xmask, tmp3, _tmp2)
    tmp2 = tl.sum(_tmp2, 1)[:, None]
    tl.store(out_ptr0 + (x0), tmp2, xmask)
''', device_str='cuda')

async_compile.wait(globals())
del async_compile

class Runner:
    def __init__(self, partitions):
        self.partitions = partitions

    def call(self, args):
        arg0_1, = args
        args.clear()
        assert_size_stride(arg0_1, (3, 5000), (5000, 1), 'input')
        with torch.cuda._DeviceGuard(0):
            torch.cuda.set_device(0)
            arg0_1 = copy_if_misaligned(arg0_1)
            buf0 = empty_strided_cuda((3, ), (1, ), torch.float32)
            raw_stream0 = get_raw_stream(0)
            triton_red_fused_sum_0.run(arg0_1, buf0, 3, 5000, stream=raw_stream0)
            del arg0_1
        return (buf0, )

runner = Runner(partitions=[])
call = runner.call
"""
)
OLDEST = (
    GUARDS
    + """
from torch._inductor.codecache import AsyncCompile
from torch._inductor.triton_heuristics import grid
from torch._C import _cuda_getCurrentRawStream as get_cuda_stream
async_compile = AsyncCompile()

triton_poi_fused_add_0 = async_compile.triton('triton_', '''
import triton
import triton.language as tl
from torch._inductor.ir import ReductionHint
from torch._inductor.ir import TileHint
from torch._inductor.triton_heuristics import pointwise
from torch._inductor.utils import instance_descriptor
from torch._inductor import triton_helpers

@pointwise(size_hints=[8, 32], filename=__file__, meta={'signature': {0: '*fp32', 1: '*fp32',
    2: 'i32', 3: 'i32'}, 'device': 0, 'constants': {}, 'mutated_arg_names': [],
    'configs': [instance_descriptor(divisible_by_16=(0, 1), equal_to_1=())]})
@triton.jit
def triton_(in_ptr0, out_ptr0, ynumel, xnumel, YBLOCK : tl.constexpr, XBLOCK : tl.constexpr):
    ynumel = 7
    xnumel = 20
    yindex = tl.program_id(1) * YBLOCK + tl.arange(0, YBLOCK)[None, :]
    ymask = yindex < ynumel
    xindex = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)[:, None]
    xmask = xindex < xnumel
    tmp0 = tl.load(in_ptr0 + (xindex + 20*yindex), xmask & ymask)
    tmp1 = triton_helpers.maximum(tmp0, tmp0 * 2)
    tl.store(out_ptr0 + (yindex + 7*xindex), tmp1, xmask & ymask)
''')

async_compile.wait(globals())
del async_compile

def call(args):
    arg0_1, = args
    args.clear()
    assert_size_stride(arg0_1, (7, 20), (20, 1))
    with torch.cuda._DeviceGuard(0):
        torch.cuda.set_device(0)
        buf0 = empty_strided_cuda((20, 7), (7, 1), torch.float32)
        stream0 = get_cuda_stream(0)
        triton_poi_fused_add_0.run(arg0_1, buf0, 7, 20, grid=grid(7, 20), stream=stream0)
        return (buf0, )

if __name__ == "__main__":
    from torch._inductor.wrapper_benchmark import compiled_module_main
"""
)


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


def run(child, code, *inputs, state=None, **more):
    return child.run(
        code=code,
        module_name=more.pop("module_name", None),
        cases=[{"name": "a", "inputs": list(inputs)}],
        steps=[{"name": "s", "kind": "again", "case": "a", "options": {"sanitize": True}}],
        state=state or {},
        **more,
    )


def test_a_class_round_call_is_right_and_its_operators_count_as_torchs(child):
    weight, bias, x = torch.randn(6, 5), torch.randn(6), torch.randn(4, 5)
    frames = run(
        child,
        AS_CLASS,
        x,
        state={"fc.weight": weight, "fc.bias": bias},
        init={"args": [5, 6], "kwargs": {}},
        module_name="Gate",
    )
    assert frames[0]["entry"] == {"kind": "class", "name": "GateNew", "style": "inductor"}
    answer = outputs(frames)["a"]
    expected = torch.relu(x @ weight.t() + bias).tanh().exp()
    torch.testing.assert_close(answer["output"], expected)
    ops = answer["facts"]["torch_ops"]
    assert (ops["mm"]["kind"], ops["mm"]["flops"]) == ("compute", 2 * 4 * 5 * 6)
    assert answer["facts"]["coverage"] == [{"stored": 1.0, "derived": True}]
    assert not outputs(frames)["s"]["facts"]["oob"]


def test_kernels_kept_as_text_reduce_in_loops_over_blocks(child):
    x = torch.randn(3, 5000)
    answer = outputs(run(child, AS_TEXT, x))["a"]
    torch.testing.assert_close(answer["output"], x.sum(1), rtol=1e-4, atol=1e-3)
    (launch,) = answer["facts"]["launches"]
    blocks = {name: value for name, kind, value in launch["signature"] if kind == "constexpr"}
    assert blocks["XBLOCK"] <= 4
    assert blocks["R0_BLOCK"] < 5000


def test_a_fault_in_a_kernel_kept_as_text_has_its_line_in_the_answer(child):
    broken = AS_TEXT.replace("r0_mask & xmask, other=0.0", "xmask, other=0.0")
    places = outputs(run(child, broken, torch.randn(3, 5000)))["a"]["facts"]["oob"]
    line = broken.splitlines()[places[0]["line"] - 1]
    assert "tl.load(in_ptr0" in line


def test_the_oldest_style_runs_with_names_that_torch_has_dropped(child):
    x = torch.randn(7, 20)
    answer = outputs(run(child, OLDEST, x))["a"]
    assert torch.equal(answer["output"], torch.maximum(x, 2 * x).t().contiguous())


def test_a_text_put_together_at_run_time_loads_too(child):
    made = AS_TEXT.replace("''', device_str", "''' + '# more' + chr(10), device_str")
    x = torch.randn(3, 5000)
    torch.testing.assert_close(
        outputs(run(child, made, x))["a"]["output"], x.sum(1), rtol=1e-4, atol=1e-3
    )


def test_a_wrong_shape_is_refused_as_on_a_gpu(child):
    error = outputs(run(child, OLDEST, torch.randn(7, 20).t().contiguous().t()))["a"]["error"]
    assert (error["type"], error["origin"]) == ("AssertionError", "candidate")


def test_an_operators_result_gets_the_layout_that_the_code_asserts(child):
    code = (
        AS_CLASS.split("class GateNew")[0].replace("def call", "def unused")
        + """
def call(args):
    arg0_1, arg1_1 = args
    args.clear()
    assert_size_stride(arg0_1, (2, 3, 8, 8), (192, 64, 8, 1))
    assert_size_stride(arg1_1, (4, 3, 3, 3), (27, 9, 3, 1))
    buf0 = extern_kernels.convolution(arg0_1, arg1_1, stride=(1, 1), padding=(1, 1),
        dilation=(1, 1), transposed=False, output_padding=(0, 0), groups=1, bias=None)
    assert_size_stride(buf0, (2, 4, 8, 8), (256, 1, 32, 4))
    return (reinterpret_tensor(buf0, (2, 8, 8, 4), (256, 32, 4, 1), 0), )
"""
    )
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    answer = outputs(run(child, code, x, state={"weight": weight}))["a"]["output"]
    expected = torch.nn.functional.conv2d(x, weight, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_a_list_that_cannot_be_told_is_no_entry_and_says_what_there_is(child):
    code = (
        GUARDS
        + """
from torch._inductor.async_compile import AsyncCompile
def call(args):
    arg0_1, arg1_1 = args
    assert_size_stride(arg0_1, (4, 4), (4, 1))
    assert_size_stride(arg1_1, (4, 4), (4, 1))
    return (arg0_1 - arg1_1, )
"""
    )
    frames = run(child, code, torch.randn(4, 4), state={"w": torch.randn(4, 4)})
    assert frames[0]["event"] == "no_entry"
    assert "arg0_1, arg1_1 of shape (4, 4) may be argument_0, w" in frames[0]["seen"][0]


def test_the_list_is_filled_by_shape_then_by_order_and_the_answer_comes_first():
    code = """
def call(args):
    p1, p2, p3, p4 = args
    assert_size_stride(p1, (6, 5), (5, 1))
    assert_size_stride(p3, (2, 5), (5, 1))
    assert_size_stride(p4, (6, ), (1, ))
def benchmark_compiled_module():
    p2 = rand_strided((6, ), (1, ), device='cuda:0', dtype=torch.float32)
"""
    state = {"w": torch.zeros(6, 5), "a": torch.zeros(6), "b": torch.ones(6)}
    values, found = match_call(wanted_arguments(code), [("x", torch.zeros(2, 5))], state)
    assert [tuple(value.shape) for value in values] == [(6, 5), (6,), (2, 5), (6,)]
    assert found == {
        "p1": ("w", "shape"),
        "p2": ("a", "order"),
        "p3": ("x", "shape"),
        "p4": ("b", "order"),
    }
    with pytest.raises(NoMatchError, match="may be nothing"):
        match_call(wanted_arguments(code), [("x", torch.zeros(3, 5))], state)
    assert leading((1, 2, 3), None) == 1
    assert leading((1, 2, 3), 2) == (1, 2)


@pytest.mark.parametrize(
    ("numels", "meta", "expected"),
    [
        ((100,), {"XBLOCK": 32}, (4, 1, 1)),
        ((7, 100), {"XBLOCK": 32, "YBLOCK": 4}, (4, 2, 1)),
        ((3, 7, 100), {"XBLOCK": 32, "YBLOCK": 4, "ZBLOCK": 1}, (4, 2, 3)),
        ((200_000, 1), {"XBLOCK": 1, "YBLOCK": 1}, (1, 50_000, 4)),
    ],
)
def test_grids_have_the_sizes_of_inductors_own(numels, meta, expected):
    assert grid(*numels)(meta) == expected


@pytest.mark.parametrize("x", [1, 5, 64, 5000])
@pytest.mark.parametrize("y", [1, 33, 300])
def test_chosen_blocks_cover_every_element_and_are_no_larger_than_the_next_power_of_two(x, y):
    values = {"xnumel": x, "ynumel": y}
    blocks = blocks_for(("XBLOCK", "YBLOCK"), values, {})
    columns, rows, _ = grid_of("Grid2D", {}, values | blocks)
    assert columns * blocks["XBLOCK"] >= x
    assert rows * blocks["YBLOCK"] >= y
    assert blocks["XBLOCK"] < 2 * x
    assert blocks["YBLOCK"] < 2 * y


def test_a_grid_that_is_not_known_is_a_gap_of_ours():
    with pytest.raises(NotImplementedError, match="not supported in interpreter mode"):
        grid_of("RoundRobinComboKernelGrid", {}, {})


def test_other_answers_keep_the_real_modules(child):
    code = """
import torch._inductor.config as config
def forward(x):
    return x + (config.__file__ is not None)
"""
    found = outputs(run(child, code, torch.zeros(3)))["a"]
    assert torch.equal(found["output"], torch.ones(3))
    assert "Inductor's runtime" not in found["facts"]["shim"]
