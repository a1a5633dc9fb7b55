from __future__ import annotations

import pytest
from candidate_child import CandidateChild, outputs

from kernelsift.kernels.candidate.entry import find_entry, match_weights
from kernelsift.kernels.candidate.function_call import Offer, match_arguments
from kernelsift.kernels.fingerprints import Weight, weight

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

KERNEL = """
import torch, torch.nn as nn, triton, triton.language as tl
@triton.jit
def scale(x, w, o, n, B: tl.constexpr):
    r = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + r, tl.load(x + r, mask=r < n) * tl.load(w), mask=r < n)
def launch(x, w, out=None):
    out = torch.empty_like(x) if out is None else out
    scale[(triton.cdiv(x.numel(), 16),)](x, w, out, x.numel(), B=16)
    return out
class ModelNew(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), float(start), device="cuda"))
        self.calls, self.cache, self.out = 0, {}, None
    def forward(self, x):
"""
HONEST = KERNEL + "        return launch(x, self.weight)\n"
WEIGHT = {"weight": torch.tensor([3.0])}
INIT = {"args": [2.0], "kwargs": {}}
X, Y = torch.arange(40.0), torch.arange(40.0) - 7


@pytest.fixture(scope="module")
def child():
    process = CandidateChild()
    yield process
    process.close()


def behave(child, body, *steps):
    frames = child.run(
        code=KERNEL + body,
        module_name="Scale",
        init=INIT,
        state=WEIGHT,
        cases=[{"name": "x", "inputs": [X]}, {"name": "y", "inputs": [Y]}],
        steps=[{"name": kind, "kind": kind, "case": "x", "with": "y"} for kind in steps],
    )
    return outputs(frames)


def test_an_honest_kernel_gives_its_output_and_facts(child):
    frames = child.run(
        code=HONEST, module_name=None, init=INIT, state=WEIGHT, cases=[{"name": "x", "inputs": [X]}]
    )
    loaded, output, end = frames
    assert {frame["nonce"] for frame in frames} == {"a nonce"}
    assert loaded["entry"] == {"kind": "class", "name": "ModelNew", "style": "plain"}
    assert loaded["weight_map"] == {"weight": ["weight", "name"]}
    assert torch.equal(output["output"], X * 3)
    assert output["inputs_changed"] == [False]
    facts = output["facts"]
    assert facts["coverage"] == [{"stored": 1.0, "derived": True}]
    assert facts["launches"][0]["signature"][0][:2] == ["x", "*fp32"]
    assert not [name for name, op in facts["torch_ops"].items() if op["kind"] == "compute"]
    assert (facts["launch_count"], facts["tampered"], facts["copy_only"]) == (1, [], [])
    assert end["event"] == "end"


def test_an_honest_kernel_passes_every_behaviour_step(child):
    found = behave(
        child, "        return launch(x, self.weight)\n", "again", "mutate", "late", "keep"
    )
    for name in ("again", "mutate", "late", "keep"):
        want = {"x": X, "y": Y}[found[name]["answers"]] * 3
        assert torch.equal(found[name]["output"], want), name


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ("        k = x.data_ptr()\n        if k not in self.cache:\n"
         "            self.cache[k] = launch(x, self.weight)\n        return self.cache[k]\n",
         "mutate"),
        ("        self.calls += 1\n        if self.calls > 10: return x * 0\n"
         "        return launch(x, self.weight)\n", "late"),
        ("        if self.out is None: self.out = torch.empty_like(x)\n"
         "        return launch(x, self.weight, self.out)\n", "keep"),
    ],
)  # fmt: skip
def test_a_cheat_shows_in_its_behaviour_step(child, body, step):
    frame = behave(child, body, step)[step]
    want = {"x": X, "y": Y}[frame["answers"]] * 3
    assert not torch.equal(frame["output"], want)


def test_ablated_launches_leave_a_fallback_unchanged(child):
    body = "        launch(x, self.weight)\n        return x * self.weight\n"
    frames = child.run(
        code=KERNEL + body,
        module_name=None,
        init=INIT,
        state=WEIGHT,
        cases=[{"name": "x", "inputs": [X]}],
        steps=[
            {"name": how, "kind": "again", "case": "x", "fresh": True, "options": {"ablate": how}}
            for how in ("noop", "raise")
        ],
    )
    found = outputs(frames)
    assert torch.equal(found["noop"]["output"], X * 3)
    assert found["raise"]["error"]["type"] == "AblatedLaunchError"
    assert found["x"]["facts"]["coverage"] == [{"stored": 0.0, "derived": False}]
    assert found["x"]["facts"]["torch_ops"]["mul"]["kind"] == "compute"


def test_a_copying_kernel_and_a_changed_input_are_seen(child):
    copying = "        return launch(x * 3, torch.ones(1))\n"
    assert behave(child, copying)["x"]["facts"]["copy_only"] == ["scale"]
    assert behave(child, "        return launch(x, self.weight, x)\n")["x"]["inputs_changed"] == [
        True
    ]


def test_errors_carry_the_candidates_lines(child):
    error = behave(child, "        raise ValueError('no')\n")["x"]["error"]
    assert (error["type"], error["message"], error["origin"]) == ("ValueError", "no", "candidate")
    assert error["lines"][-1]["text"] == "raise ValueError('no')"
    exit_ = behave(child, "        raise SystemExit(0)\n")["x"]["error"]
    assert exit_["type"] == "SystemExit"


def test_a_chained_assignment_in_a_kernel_is_the_candidates_error(child):
    store = "    tl.store("
    assert store in KERNEL
    code = KERNEL.replace(store, "    p = q = 0.0\n" + store, 1)
    code += "        return launch(x, self.weight)\n"
    frames = child.run(
        code=code, module_name=None, init=INIT, state=WEIGHT, cases=[{"name": "x", "inputs": [X]}]
    )
    error = outputs(frames)["x"]["error"]
    assert "Multiple assignments" in error["message"]
    assert error["origin"] == "candidate"


@pytest.mark.parametrize(
    ("code", "event", "stage"),
    [
        ("def f(:", "load_error", "parse"),
        ("import nothing_of_this_name", "load_error", "import"),
        ("x = 1", "no_entry", None),
        ("class ModelNew:\n    def __init__(self):\n        1 / 0", "load_error", "construct"),
    ],
)
def test_a_candidate_that_cannot_be_loaded_says_where(child, code, event, stage):
    frame = child.run(code=code, module_name=None, cases=[])[0]
    assert (frame["event"], frame.get("stage")) == (event, stage)


def test_patched_functions_and_odd_outputs_are_seen(child):
    body = "        torch.allclose = lambda *a, **k: True\n        return launch(x, self.weight)\n"
    assert behave(child, body)["x"]["facts"]["tampered"] == ["torch:allclose"]
    lazy = "        return launch(x, self.weight).as_subclass(type('L', (torch.Tensor,), {}))\n"
    assert "!unsupported" in behave(child, lazy)["x"]["output"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("torch.backends.cuda.matmul.allow_tf32 = True", "cuda:matmul.allow_tf32 = True"),
        ("torch.set_float32_matmul_precision('high')", "cuda:matmul.allow_tf32 = True"),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", "cuda:matmul.allow_tf32 = tf32"),
    ],
)
def test_a_lower_precision_is_told_with_its_value_and_lasts_for_no_other_child(child, line, told):
    body = f"        {line}\n        return launch(x, self.weight)\n"
    assert behave(child, body)["x"]["facts"]["tampered"] == [f"torch.backends.{told}"]
    assert behave(child, "        return launch(x, self.weight)\n")["x"]["facts"]["tampered"] == []


def test_a_higher_precision_is_nothing_to_tell(child):
    body = "        torch.backends.cudnn.conv.fp32_precision = 'ieee'\n"
    body += "        return launch(x, self.weight)\n"
    assert behave(child, body)["x"]["facts"]["tampered"] == []


def test_a_function_gets_inputs_weights_and_init_values_by_name_then_order(child):
    code = KERNEL.split("class ModelNew")[0] + "def forward(value, start, weight):\n"
    code += "    assert start == 2.0\n    return launch(value, weight)\n"
    frames = child.run(
        code=code,
        module_name=None,
        init=INIT,
        state=WEIGHT,
        names={"inputs": ["x"], "init": ["start"]},
        cases=[{"name": "x", "inputs": [X]}],
    )
    assert torch.equal(outputs(frames)["x"]["output"], X * 3), frames


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("class ModelNew: pass\nclass FooNew: pass", "ModelNew"),
        ("class FooNew: pass\nclass Foo: pass", "FooNew"),
        ("class Foo: pass\nclass Bar: pass", "Foo"),
        ("class BarNew: pass\nclass Bar: pass", "BarNew"),
        ("def kernel_function(x): pass\ndef g(x): pass", "kernel_function"),
        ("def run(x):\n    k[(1,)](x)\ndef g(x): pass", "run"),
        ("def a(x):\n    k[(1,)](x)\ndef b(x):\n    return a(x)", "b"),
        ("from torch._inductor.async_compile import AsyncCompile\ndef call(args): pass", "call"),
    ],
)
def test_the_entry_point_is_found(code, name):
    entry, _ = find_entry(code, "Foo", None)
    assert entry is not None
    assert entry.name == name


def test_a_copy_of_the_reference_beside_a_wrapper_is_not_called():
    copy = "import torch\nclass Foo(torch.nn.Module):\n    def forward(self, x): return {}\n"
    code = copy + "def kernel_function(x):\n    k[(1,)](x)\n    return x\n"
    found = [find_entry(code.format(does), "Foo", None)[0] for does in ("x", "kernel_function(x)")]
    assert [entry.name for entry in found if entry] == ["kernel_function", "Foo"]
    named, _ = find_entry(code.format("x"), "Foo", "Foo")
    assert named is not None
    assert named.name == "Foo"


def test_no_entry_tells_what_was_seen():
    assert find_entry("def a(): pass\ndef b(): pass", "Foo", None) == (None, ["def a", "def b"])


def test_weights_match_by_name_then_unambiguous_shape():
    own = {"w": Weight((2, 3)), "b": Weight((2,)), "c": Weight((2,)), "odd": Weight((7,))}
    given = {"w": Weight((2, 3)), "x": Weight((2,)), "y": Weight((2,)), "odd": Weight((8,))}
    assert match_weights(own, given) == {
        "w": ("w", "name"),
        "b": ("x", "order"),
        "c": ("y", "order"),
    }
    assert match_weights({"b": Weight((2,))}, {"x": Weight((2,)), "y": Weight((2,))}) == {}


def test_weights_with_the_same_initial_values_belong_together_whatever_their_names():
    one, two = torch.randn(3), torch.randn(3)
    matrix = torch.randn(3, 4)
    own = {"bias": weight(two), "extra": weight(one), "turned": weight(matrix.t())}
    given = {"bias": weight(one), "layer.bias": weight(two), "layer.weight": weight(matrix)}
    assert match_weights(own, given) == {
        "bias": ("layer.bias", "value"),
        "extra": ("bias", "value"),
        "turned": ("layer.weight", "turned"),
    }


def test_constant_weights_are_not_recognised_by_their_values():
    own = {"gain": weight(torch.ones(3)), "shift": weight(torch.zeros(3))}
    given = {"shift": weight(torch.zeros(3)), "gain": weight(torch.ones(3))}
    assert {how for _, how in match_weights(own, given).values()} == {"name"}


def test_star_arguments_get_the_inputs_and_then_the_weights():
    offer = Offer([("x", 1), ("y", 2)], [("layer.weight", 3), ("layer.bias", 4)], [("eps", 5)])
    call, weights = match_arguments(lambda *args: None, offer)
    assert call.args == (1, 2, 3, 4)
    assert {how for _, how in weights.values()} == {"order"}
    call, _ = match_arguments(lambda y, eps=0, *rest, scale=7: None, offer)
    assert (call.args, call.kwargs) == ((2, 5, 1, 3, 4), {"scale": 7})


def test_an_argument_without_a_source_is_an_error():
    with pytest.raises(TypeError, match="'b'"):
        match_arguments(lambda a, b: None, Offer([("x", 1)], [], []))
