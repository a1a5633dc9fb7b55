from __future__ import annotations

import textwrap

import pytest
from candidate_child import CandidateChild, outputs

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

HEADER = """
import torch, torch.nn as nn, triton, triton.language as tl
from triton.language.extra import libdevice
"""


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


def run(child, code, inputs, steps=(), **options):
    cases = [{"name": "a", "inputs": list(inputs)}]
    frames = child.run(
        code=HEADER + textwrap.dedent(code),
        module_name="M",
        cases=cases,
        steps=[{"name": name, "kind": "again", "case": "a", "options": o} for name, o in steps],
        options={"seed": 1, **options},
    )
    found = outputs(frames)
    assert "a" in found, frames
    return found


DOT = """
@triton.jit
def k(a, b, o, N: tl.constexpr):
    r = tl.arange(0, N)
    at = r[:, None] * N + r[None, :]
    tl.store(o + at, tl.dot(tl.load(a + at), tl.load(b + at){precision}))
def forward(a, b):
    o = torch.empty_like(a)
    k[(1,)](a, b, o, N=16)
    return o
"""


def test_dot_rounds_its_inputs_to_tf32_unless_told_otherwise(child):
    a, b = torch.randn(2, 16, 16)
    exact = a.double() @ b.double()

    def error(code, **options):
        out = run(child, code, [a, b], **options)["a"]["output"]
        return float((out - exact).abs().max())

    rounded = error(DOT.format(precision=""))
    assert 1e-4 < rounded < 1e-2
    assert error(DOT.format(precision=", input_precision='ieee'")) < 1e-5
    assert error(DOT.format(precision=""), tf32=False) < 1e-5


def test_bfloat16_computes_as_a_gpu_does(child):
    code = """
    @triton.jit
    def k(x, y, o, d, N: tl.constexpr):
        r = tl.arange(0, N)
        at = r[:, None] * N + r[None, :]
        a, b = tl.load(x + at), tl.load(y + at)
        tl.store(o + at, a * 2 + b)
        tl.store(d + at, tl.dot(a, b).to(tl.bfloat16))
    def forward(x, y):
        o, d = torch.empty_like(x), torch.empty_like(x)
        k[(1,)](x, y, o, d, N=16)
        return o, d
    """
    x, y = torch.randn(2, 16, 16).bfloat16()
    out, dot = run(child, code, [x, y])["a"]["output"]
    torch.testing.assert_close(out, x * 2 + y, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(dot, (x.float() @ y.float()).bfloat16(), rtol=1e-2, atol=1e-2)


SUM = """
@triton.jit
def k(x, o, n, B: tl.constexpr):
    r = tl.arange(0, B)
    v = tl.load(x + r, mask=r < n)
    tl.store(o, tl.sum(v, axis=0))
def forward(x):
    o = torch.empty(1, device=x.device)
    k[(1,)](x, o, x.numel(), B=16)
    return o
"""


def test_masked_lanes_without_a_value_can_be_poisoned(child):
    steps = [("poisoned", {"masked": float("nan")}), ("second", {"masked": 1e6})]
    found = run(child, SUM, [torch.ones(10)], steps)
    assert float(found["a"]["output"]) == 10
    assert bool(found["poisoned"]["output"].isnan())
    assert float(found["second"]["output"]) == 6_000_010
    assert found["a"]["facts"]["masked_undefined"][0]["count"] == 6


def test_accesses_outside_a_tensor_are_reported_with_their_place_and_never_done(child):
    code = """
    @triton.jit
    def k(x, o, B: tl.constexpr):
        r = tl.arange(0, B)
        tl.store(o + r, tl.load(x + r) + 1)
    def forward(x):
        o = torch.empty_like(x)
        k[(1,)](x, o, B=16)
        return o
    """
    found = run(child, code, [torch.ones(10)])["a"]
    assert torch.equal(found["output"], torch.full((10,), 2.0))
    places = {place["access"]: place for place in found["facts"]["oob"]}
    assert places["load"]["count"] == places["store"]["count"] == 6
    assert (places["load"]["argument"], places["load"]["offset"]) == ("x", 40)
    assert places["load"]["line"] == 8


RACE = """
@triton.jit
def k(x, o, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    v = tl.sum(tl.load(x + r), axis=0)
    {update}
def forward(x):
    o = torch.zeros(1, device=x.device)
    k[(4,)](x, o, B=16)
    return o
"""


def test_a_race_between_programs_is_found_and_atomics_are_none(child):
    steps = [("checked", {"sanitize": True})]
    racy = RACE.format(update="tl.store(o, tl.load(o) + v)")
    races = run(child, racy, [torch.ones(64)], steps)["checked"]["facts"]["races"]
    assert {race["access"] for race in races} == {"store-store", "store-load"}
    honest = run(child, RACE.format(update="tl.atomic_add(o, v)"), [torch.ones(64)], steps)
    assert honest["checked"]["facts"]["races"] == []
    assert float(honest["checked"]["output"]) == 64


TWICE = """
@triton.jit
def k(x, o, N, S: tl.constexpr, B: tl.constexpr):
    r = (tl.program_id(0) * B + tl.arange(0, B)) % N
    v = tl.load(x + r).to(tl.float32) * (1.0 + tl.program_id(0) * S)
    tl.store(o + r, v)
def forward(x):
    o = torch.empty_like(x)
    k[(3,)](x, o, 40, S={scale}, B=16)
    return o
"""


@pytest.mark.parametrize(
    ("dtype", "scale", "race"),
    [
        ("float32", 0.0, "store-store-equal"),
        ("float32", 1e-6, "store-store-equal"),
        ("float32", 1e-2, "store-store"),
        ("float16", 1e-3, "store-store-equal"),
        ("float16", 1e-1, "store-store"),
        ("bfloat16", 5e-3, "store-store-equal"),
        ("bfloat16", 1e-1, "store-store"),
        ("int32", 1e-1, "store-store"),
    ],
)
def test_values_stored_twice_are_equal_up_to_rounding(child, dtype, scale, race):
    x = (100 + torch.arange(40)).to(getattr(torch, dtype))
    steps = [("checked", {"sanitize": True})]
    found = run(child, TWICE.format(scale=scale), [x], steps)["checked"]["facts"]["races"]
    assert [(one["access"], one["argument"]) for one in found] == [(race, "o")]


def test_a_read_of_fresh_memory_is_found(child):
    code = """
    @triton.jit
    def k(x, o, B: tl.constexpr):
        r = tl.arange(0, B)
        tl.store(o + r, tl.load(o + r) + tl.load(x + r))
    def forward(x):
        o = torch.{make}(x)
        k[(1,)](x, o, B=16)
        return o
    """
    steps = [("checked", {"sanitize": True})]
    found = run(child, code.replace("{make}", "empty_like"), [torch.ones(16)], steps)["checked"]
    assert found["facts"]["uninitialised"][0]["count"] == 16
    assert bool(found["output"].isnan().all())
    clean = run(child, code.replace("{make}", "zeros_like"), [torch.ones(16)], steps)["checked"]
    assert clean["facts"]["uninitialised"] == []


def test_program_order_can_be_changed(child):
    code = """
    @triton.jit
    def k(o):
        tl.store(o, tl.program_id(0))
    def forward(x):
        o = torch.zeros(1, dtype=torch.int32, device=x.device)
        k[(5,)](o)
        return o
    """
    found = run(child, code, [torch.ones(1)], [("back", {"order": "reversed"})])
    assert (int(found["a"]["output"]), int(found["back"]["output"])) == (4, 0)


def test_own_combine_functions_reduce_and_scan(child):
    code = """
    @triton.jit
    def mul(a, b):
        return a * b
    @triton.jit
    def pair(a, i, b, j):
        return tl.where(a > b, a, b), tl.where(a > b, i, j)
    @triton.jit
    def k(x, o, s, m, B: tl.constexpr):
        r = tl.arange(0, B)
        v = tl.load(x + r)
        tl.store(o, tl.reduce(v, 0, mul))
        tl.store(s + r, tl.associative_scan(v, 0, mul))
        best, at = tl.reduce((v, r), 0, pair)
        tl.store(m, at)
    def forward(x):
        o, s, m = torch.empty(1), torch.empty_like(x), torch.empty(1, dtype=torch.int32)
        k[(1,)](x, o, s, m, B=32)
        return o, s, m
    """
    x = torch.rand(32) + 0.5
    product, scan, at = run(child, code, [x])["a"]["output"]
    torch.testing.assert_close(product[0], x.prod())
    torch.testing.assert_close(scan, x.cumprod(0))
    assert int(at) == int(x.argmax())


def test_block_pointers_work_also_where_triton_has_removed_them(child):
    code = """
    @triton.jit
    def k(x, o, n, B: tl.constexpr):
        source = tl.make_block_ptr(x, (n, n), (n, 1), (0, 0), (B, B), (1, 0))
        source = tl.advance(source, (0, 1))
        target = tl.make_block_ptr(o, (n, n), (n, 1), (0, 0), (B, B), (1, 0))
        v = tl.load(source, boundary_check=(0, 1), padding_option="zero")
        tl.store(target, v, boundary_check=(0, 1))
    def forward(x):
        o = torch.empty_like(x)
        k[(1,)](x, o, 5, B=8)
        return o
    """
    x = torch.randn(5, 5)
    want = torch.cat([x[:, 1:], torch.zeros(5, 1)], 1)
    assert torch.equal(run(child, code, [x])["a"]["output"], want)


@pytest.mark.parametrize("kind", ["t.dtype.element_ty", "t.type.element_ty.element_ty"])
def test_a_block_pointer_tells_the_type_of_its_elements(child, kind):
    code = f"""
    @triton.jit
    def k(x, o, n, B: tl.constexpr):
        s = tl.make_block_ptr(x, (n,), (1,), (0,), (B,), (0,))
        t = tl.advance(tl.make_block_ptr(o, (n,), (1,), (0,), (B,), (0,)), (0,))
        tl.store(t, tl.load(s, boundary_check=(0,)).to({kind}) * 0.5, boundary_check=(0,))
    def forward(x):
        o = torch.empty_like(x, dtype=torch.int32)
        k[(1,)](x, o, 5, B=8)
        return o
    """
    x = torch.tensor([1.5, 2.5, 3.5, 4.0, 5.0])
    want = torch.tensor([0, 1, 1, 2, 2], dtype=torch.int32)
    assert torch.equal(run(child, code, [x])["a"]["output"], want)


def test_libdevice_and_autotune_work_without_a_gpu(child):
    code = """
    ONE = tl.constexpr(1.0)
    @triton.autotune(configs=[triton.Config({"B": 16}), triton.Config({"B": 32})], key=["n"])
    @triton.jit
    def k(x, o, n, B: tl.constexpr):
        r = tl.program_id(0) * B + tl.arange(0, B)
        v = tl.load(x + r, mask=r < n, other=0.0)
        tl.store(o + r, libdevice.tanh(ONE * v) + libdevice.pow(v, 2.0), mask=r < n)
    def forward(x):
        o = torch.empty_like(x)
        k[lambda meta: (triton.cdiv(x.numel(), meta["B"]),)](x, o, x.numel())
        return o
    """
    x = torch.randn(40)
    found = run(child, code, [x])["a"]
    torch.testing.assert_close(found["output"], x.tanh() + x**2, rtol=1e-5, atol=1e-6)
    assert found["facts"]["launches"][0]["grid"] == [3, 1, 1]


def test_a_tuning_key_that_is_no_argument_is_passed_over_and_noted(child):
    tuned = '@triton.autotune(configs=[triton.Config({"B": 16})], key=["BLOCK", "x"])'
    code = SUM.replace("@triton.jit", f"{tuned}\n@triton.jit").replace(", B=16)", ")")
    found = run(child, code, [torch.ones(3)])["a"]
    assert float(found["output"]) == 3
    assert found["facts"]["shim"]["autotune: key without BLOCK"] == 1


def test_unknown_launch_options_and_clashing_configurations_are_errors(child):
    unknown = SUM.replace("B=16)", "B=16, BLOCKS=3)")
    error = run(child, unknown, [torch.ones(3)])["a"]["error"]
    assert (error["type"], error["origin"]) == ("KeyError", "candidate")
    configs = (
        "@triton.autotune(configs=[triton.Config({'B': 16}), triton.Config({'B': 32})], key=[])"
    )
    clash = SUM.replace("@triton.jit", f"{configs}\n@triton.jit")
    error = run(child, clash, [torch.ones(3)])["a"]["error"]
    assert "Conflicting meta-parameters" in error["message"]


def test_what_only_the_interpreter_lacks_is_marked_as_its_gap(child):
    code = """
    @triton.jit
    def k(x, o):
        v = tl.inline_asm_elementwise("mov $0, $1;", "=r,r", [tl.load(x)], tl.float32, True, 1)
        tl.store(o, v)
    def forward(x):
        o = torch.empty_like(x)
        k[(1,)](x, o)
        return o
    """
    assert run(child, code, [torch.ones(1)])["a"]["error"]["origin"] == "interpreter"


def test_the_self_test_passes_with_the_installed_triton(child):
    frames = child.run(code="def forward(x):\n    return x\n", module_name=None, cases=[])
    assert [frame["event"] for frame in frames] == ["loaded", "end"]


ROWS = """
@triton.jit
def k(x, o, B: tl.constexpr):
    at = tl.program_id(0) * B + tl.arange(0, B)
    for _ in range(20):
        tl.store(o + at, tl.load(x + at) + 1)
def forward(x):
    first = torch.empty_like(x)
    k[(x.numel() // 4,)](x, first, B=4)
    return first
"""


def test_a_launch_that_takes_too_long_is_a_sample_of_its_programs(child):
    x = torch.zeros(40_000)
    frame = run(child, ROWS, [x], launch_seconds=0.1)["a"]
    sample = frame["facts"]["sample"]
    (stored,) = sample["stored"]
    assert 0 < sample["ran"] < sample["of"] == 10_000
    assert sample["spoiled"] == ""
    assert int(stored.sum()) == 4 * sample["ran"]
    assert frame["output"][stored].eq(1).all()
    assert frame["output"][~stored].isnan().all()


def test_a_launch_that_uses_what_a_sample_stored_spoils_it_also_where_it_is_cut_itself(child):
    again = """
    then = torch.empty_like(x)
    k[(x.numel() // 4,)](first, then, B=4)
    return then"""
    code = ROWS.replace("\n    return first", again)
    frame = run(child, code, [torch.zeros(40_000)], launch_seconds=0.1)["a"]
    assert "only some programs have stored" in frame["facts"]["sample"]["spoiled"]
