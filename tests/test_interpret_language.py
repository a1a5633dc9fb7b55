"""One honest kernel for each part of Triton's language: what it computes is what torch computes."""

from __future__ import annotations

import textwrap

import pytest
from candidate_child import CandidateChild, outputs

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

HEADER = """
import torch, triton, triton.language as tl
from triton.language.extra import libdevice
@triton.jit
def larger(a, b):
    return tl.maximum(a, b)
@triton.jit
def both(a, b, c, d):
    return tl.maximum(a, c), b + d
@triton.jit
def decayed(a, b, c, d):
    return a * c, c * b + d
FACTOR: tl.constexpr = tl.constexpr(3.0)
"""
LAUNCHER = """
@triton.jit
def k(x, o, n, N: tl.constexpr):
    i = tl.arange(0, N)
{body}
def forward(x):
    o = {out}
    k[(1,)](x, o, x.numel(), N={size})
    return o
"""
X = torch.linspace(-3, 5, 128).roll(37)
SMALL = torch.linspace(0.1, 0.9, 128)
WHOLE = torch.arange(128, dtype=torch.int32).roll(5)
BINS = (torch.arange(100) ** 2 % 16).int()
LIKE = "torch.empty_like(x)"


def scanned(x):
    held, all_ = torch.zeros(()), []
    for value in x:
        held = value * held + value
        all_.append(held)
    return torch.stack(all_)


CASES = {
    "cumsum": ("tl.store(o + i, tl.cumsum(tl.load(x + i), 0))", X, lambda x: x.cumsum(0)),
    "reverse cumsum": (
        "tl.store(o + i, tl.cumsum(tl.load(x + i), 0, reverse=True))",
        X,
        lambda x: x.flip(0).cumsum(0).flip(0),
    ),
    "cumprod": ("tl.store(o + i, tl.cumprod(tl.load(x + i), 0))", SMALL, lambda x: x.cumprod(0)),
    "scan": (
        "tl.store(o + i, tl.associative_scan(tl.load(x + i), 0, larger))",
        X,
        lambda x: x.cummax(0).values,
    ),
    "scan of pairs": (
        "v = tl.load(x + i)\na, b = tl.associative_scan((v, v), 0, decayed)\ntl.store(o + i, b)",
        SMALL,
        scanned,
    ),
    "reduction of pairs": (
        "v = tl.load(x + i)\na, b = tl.reduce((v, v), 0, both)\ntl.store(o + i, a + b + v * 0)",
        X,
        lambda x: (x.max() + x.sum()).expand(128),
    ),
    "sort": ("tl.store(o + i, tl.sort(tl.load(x + i)))", X, lambda x: x.sort().values),
    "flip": ("tl.store(o + i, tl.flip(tl.load(x + i), 0))", X, lambda x: x.flip(0)),
    "gather": (
        "tl.store(o + i, tl.gather(tl.load(x + i), i * 7 % N, 0))",
        X,
        lambda x: x[torch.arange(128) * 7 % 128],
    ),
    "join and split": (
        "v = tl.load(x + i)\na, b = tl.split(tl.join(v, v * 2))\ntl.store(o + i, a + b)",
        X,
        lambda x: x * 3,
    ),
    "transpose": (
        "v = tl.trans(tl.reshape(tl.load(x + i), (8, N // 8)))\ntl.store(o + i, tl.ravel(v))",
        X,
        lambda x: x.view(8, 16).t().flatten(),
    ),
    "random numbers": (
        "u = tl.rand(7, i)\nv = tl.randn(7, i)\na, b, c, d = tl.randint4x(7, i)\n"
        "inside = (u >= 0) & (u < 1) & (v > -9) & (v < 9) & (a != b)\n"
        "tl.store(o + i, tl.where(inside, tl.load(x + i), 0.0))",
        X,
        lambda x: x,
    ),
    "libdevice": (
        "v = tl.load(x + i)\n"
        "r = libdevice.tanh(v) + libdevice.erf(v) + libdevice.nearbyint(v) + libdevice.expm1(v)\n"
        "s = libdevice.copysign(v * 0 + 1.0, v) + libdevice.lgamma(tl.abs(v) + 1)\n"
        "tl.store(o + i, r + s + libdevice.fma(v, v, v) + tl.extra.cuda.libdevice.atan(v))",
        X,
        lambda x: (
            x.tanh() + x.erf() + x.round() + x.expm1() + x.sign()
            + torch.lgamma(x.abs() + 1) + x * x + x + x.atan()
        ),
    ),
    "constants": (
        "tl.store(o + i, tl.load(x + i) * FACTOR + FACTOR.value)",
        X,
        lambda x: x * 3 + 3,
    ),
    "one instruction of PTX": (
        "v = tl.load(x + i)\ntl.store(o + i, tl.inline_asm_elementwise("
        "'ex2.approx.ftz.f32 $0, $1;', '=f,f', [v], tl.float32, True, 1))",
        X,
        lambda x: x.exp2(),
    ),
    "several instructions of PTX": (
        "v = tl.load(x + i)\ntl.store(o + i, tl.inline_asm_elementwise('''{ .reg .f32 t; "
        ".reg .pred p;\n  mul.f32 t, $1, 0f40000000;  // twice\n  setp.gt.f32 p, t, $2;\n"
        "  selp.f32 $0, t, $2, p; }''', '=f,f,f', [v, v], tl.float32, True, 1))",
        X,
        lambda x: torch.maximum(2 * x, x),
    ),
    "bits in PTX": (
        "v = tl.load(x + i)\ntl.store(o + i, tl.inline_asm_elementwise("
        "'and.b32 $0, $1, 0x7fffffff;', '=f,f', [v], tl.float32, True, 1))",
        X,
        lambda x: x.abs(),
    ),
    "float8": (
        "v = tl.load(x + i)\na = v.to(tl.float8e5).to(tl.float32)\n"
        "tl.store(o + i, a + v.to(tl.float8e4nv).to(tl.float32))",
        X,
        lambda x: x.to(torch.float8_e5m2).float() + x.to(torch.float8_e4m3fn).float(),
    ),
    "hints and checks": (
        "i = tl.max_contiguous(tl.multiple_of(i, N), N)\ntl.assume(n > 0)\n"
        "tl.device_assert(n > 0, 'n')\ntl.debug_barrier()\n"
        "v = tl.load(x + i, cache_modifier='.ca', eviction_policy='evict_last')\n"
        "tl.store(o + i, v, cache_modifier='.wb')",
        X,
        lambda x: x,
    ),
    "integer division": (
        "v = tl.load(x + i) - 64\ntl.store(o + i, v // 3 * 100 + v % 3)",
        WHOLE,
        lambda x: (
            torch.div(x - 64, 3, rounding_mode="trunc") * 100 + torch.fmod(x - 64, 3)
        ).int(),
    ),
}  # fmt: skip
MADE = {
    "histogram": (
        "tl.store(o + tl.arange(0, 16), tl.histogram(tl.load(x + i, i < n, 0), 16, mask=i < n))",
        BINS,
        lambda x: torch.bincount(x, minlength=16).int(),
        "torch.empty(16, dtype=torch.int32)",
    ),
    "largest": (
        "tl.store(o + tl.arange(0, 8), tl.topk(tl.load(x + i), 8))",
        X,
        lambda x: x.topk(8).values,
        "x.new_empty(8)",
    ),
    "interleave": (
        "v = tl.load(x + i)\ntl.store(o + tl.arange(0, 2 * N), tl.interleave(v, v * 2))",
        X,
        lambda x: torch.stack([x, 2 * x], 1).flatten(),
        "x.new_empty(256)",
    ),
    "bfloat16 atomics on one address": (
        "tl.atomic_add(o + i % 4, tl.load(x + i).to(tl.bfloat16))",
        WHOLE % 3,
        lambda x: x.view(32, 4).sum(0).bfloat16(),
        "torch.zeros(4, dtype=torch.bfloat16)",
    ),
    "float atomics": (
        "tl.atomic_max(o + i % 4, tl.load(x + i))",
        X,
        lambda x: x.view(32, 4).amax(0),
        "torch.full((4,), -1e30)",
    ),
    "reduction through a descriptor": (
        "d = tl.make_tensor_descriptor(o, shape=[N], strides=[1], block_shape=[N])\n"
        "d.atomic_add([0], tl.load(x + i))\nd.atomic_add([0], tl.load(x + i))",
        X,
        lambda x: 2 * x,
        "torch.zeros(128)",
    ),
}


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


def answer(child, code, *inputs):
    frames = child.run(
        code=HEADER + code,
        module_name=None,
        cases=[{"name": "a", "inputs": list(inputs)}],
        steps=[{"name": "s", "kind": "again", "case": "a", "options": {"sanitize": True}}],
    )
    found = outputs(frames)
    assert "output" in found["a"], frames[1:2]
    facts = found["s"]["facts"]
    assert not [facts[kind] for kind in ("oob", "races", "uninitialised") if facts[kind]]
    return found["a"]["output"]


def written(body, out=LIKE, size=128):
    return LAUNCHER.format(body=textwrap.indent(body, "    "), out=out, size=size)


@pytest.mark.parametrize("part", CASES)
def test_elementwise_and_scanning_parts_of_the_language_compute_what_torch_does(child, part):
    body, x, expected = CASES[part]
    torch.testing.assert_close(answer(child, written(body), x), expected(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", MADE)
def test_parts_that_make_something_else_compute_what_torch_does(child, part):
    body, x, expected, out = MADE[part]
    torch.testing.assert_close(answer(child, written(body, out), x), expected(x))


TWO_DIMENSIONS = """
@triton.jit
def k(a, c, M, N, B: tl.constexpr):
    p, q = tl.program_id(0) * B, tl.program_id(1) * B
{body}
def forward(a):
    c = torch.empty_like(a)
    k[(triton.cdiv(a.shape[0], 16), triton.cdiv(a.shape[1], 16))](a, c, *a.shape, B=16)
    return c
"""
BLOCKS = {
    "block pointers": """
    s = tl.make_block_ptr(a, (M, N), (N, 1), (p, 0), (B, B), (1, 0))
    t = tl.make_block_ptr(c, (M, N), (N, 1), (p, q), (B, B), (1, 0))
    v = tl.load(tl.advance(s, (0, q)), boundary_check=(0, 1), padding_option="zero")
    tl.store(t, v * 2, boundary_check=(0, 1))""",
    "descriptors": """
    s = tl.make_tensor_descriptor(a, shape=[M, N], strides=[N, 1], block_shape=[B, B])
    t = tl.make_tensor_descriptor(c, shape=[M, N], strides=[N, 1], block_shape=[B, B])
    t.store([p, q], s.load([p, q]) * 2)""",
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_at_the_edge_read_and_write_only_what_is_there(child, kind):
    a = torch.randn(37, 24)
    code = TWO_DIMENSIONS.format(body=BLOCKS[kind])
    assert torch.equal(answer(child, code, a), a * 2)


def test_descriptors_made_by_the_host_work(child):
    code = """
from triton.tools.tensor_descriptor import TensorDescriptor
@triton.jit
def k(s, t, B: tl.constexpr):
    t.store([tl.program_id(0) * B, 0], s.load([tl.program_id(0) * B, 0]) + 1)
def forward(a):
    c = torch.empty_like(a)
    s, t = (TensorDescriptor.from_tensor(x, [16, 8]) for x in (a, c))
    k[(3,)](s, t, B=16)
    return c
"""
    a = torch.randn(40, 8)
    assert torch.equal(answer(child, code, a), a + 1)


def test_kernels_see_what_the_function_round_them_holds(child):
    code = """
def made(scale):
    SCALE, shift = tl.constexpr(scale), 0.5
    @triton.jit
    def k(x, o, N: tl.constexpr):
        i = tl.arange(0, N)
        tl.store(o + i, tl.load(x + i) * SCALE)
    return k
twice, thrice = made(2.0), made(3.0)
def forward(x):
    a, b = torch.empty_like(x), torch.empty_like(x)
    twice[(1,)](x, a, N=128)
    thrice[(1,)](x, b, N=128)
    return a, b
"""
    twice, thrice = answer(child, code, X)
    assert torch.equal(twice, 2 * X)
    assert torch.equal(thrice, 3 * X)


def test_kernels_follow_a_table_of_addresses(child):
    code = """
@triton.jit
def k(table, o, N: tl.constexpr):
    i = tl.arange(0, N)
    at = tl.load(table + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    to = tl.load(table + 2).to(tl.pointer_type(tl.float32))
    tl.store(to + tl.program_id(0) * N + i, tl.load(at + i) + 1)
def forward(x, y):
    o = torch.empty(256)
    table = torch.tensor([t.data_ptr() for t in (x, y, o)])
    k[(2,)](table, o, N=128)
    return o
"""
    x, y = torch.randn(2, 128)
    assert torch.equal(answer(child, code, x, y), torch.cat([x, y]) + 1)


def test_a_lock_is_no_race(child):
    code = """
@triton.jit
def k(x, o, lock, N: tl.constexpr):
    s = tl.sum(tl.load(x + tl.program_id(0) * N + tl.arange(0, N)))
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    tl.store(o, tl.load(o) + s)
    tl.atomic_xchg(lock, 0)
def forward(x):
    o, lock = torch.zeros(1), torch.zeros(1, dtype=torch.int32)
    k[(8,)](x, o, lock, N=16)
    return o
"""
    torch.testing.assert_close(answer(child, code, X), X.sum().reshape(1))


@pytest.mark.parametrize(
    "asm",
    [
        ("'vote.sync.any.pred $0, $1, -1;'", "'=f,f'", 1),
        ("'cvt.rn.bf16x2.f32 $0, $1, $2;'", "'=r,f,f'", 2),
        ("'@p mov.f32 $0, $1;'", "'=f,f'", 1),
    ],
)
def test_other_assembly_is_a_gap_of_ours_and_no_fault_of_the_kernel(child, asm):
    text, constraints, pack = asm
    count = constraints.count("f") - constraints.count("=f")
    values = ", ".join(["tl.load(x + i)"] * count)
    given = f"{text}, {constraints}, [{values}], tl.float32, True, {pack}"
    body = f"v = tl.inline_asm_elementwise({given})"
    frames = child.run(
        code=HEADER + written(f"{body}\ntl.store(o + i, v)"),
        module_name=None,
        cases=[{"name": "a", "inputs": [X]}],
    )
    assert outputs(frames)["a"]["error"]["origin"] == "interpreter"
