"""The gate tells healthy reference modules from those on which nothing can be verified."""

import inspect

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from kernelsift.kernels import wire  # noqa: E402
from kernelsift.kernels.reference import reference_job, reference_module  # noqa: E402
from kernelsift.kernels.reference.gate import gate_module  # noqa: E402
from kernelsift.kernels.reference.reference_module import MOCK_KEY, load_reference  # noqa: E402
from kernelsift.kernels.reference.reference_result import read_reference  # noqa: E402


def module(forward, init="pass", inputs="torch.rand([4, 4, 4, 4])", init_inputs="[[], {}]"):
    return f"""
import torch
import torch.nn as nn
import torch.nn.functional as F

class Task(nn.Module):
    def __init__(self, size=4, config=None):
        super().__init__()
        {init}

    def forward(self, x, y=None):
        {forward}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return {init_inputs}
"""


LINEAR = module("return F.silu(self.layer(x))", "self.layer = nn.Linear(size, size)")


def trivial(facts, rule, inputs="own"):
    return set(facts.passes(rule, inputs))


def test_a_healthy_module_has_nothing_against_it():
    facts = gate_module(LINEAR, "Task")
    assert facts.runs
    assert facts.class_name == "Task"
    assert (facts.deterministic, facts.finite, facts.train_random) == (True, True, False)
    assert (facts.stateful, facts.mutates_inputs, facts.train_differs) == (False, False, False)
    assert (facts.unused_inputs, facts.unused_parameters) == ((), ())
    assert (facts.double, facts.input_source, facts.weight_source) == ("fp64", "randn", "added")
    assert not trivial(facts, "relative", "hardened")
    assert not facts.degenerate
    assert facts.axes == (0, 1, 2)
    assert facts.launch_bound
    assert facts.computes
    assert facts.parameters == 20
    assert {"addmm", "silu"} <= {op.name for op in facts.ops}
    assert {op.name: op.flops for op in facts.ops}["addmm"] == 2 * 64 * 4 * 4


@pytest.mark.parametrize(
    ("code", "rule", "slug"),
    [
        (module("return x * 0"), "relative", "zeros"),
        (module("return F.relu(x)"), "relative", "input"),
        (module("return x.softmax(-1).sum()"), "1e-4", "constant"),
        (module("return torch.sigmoid(x * 1e-3)"), "1e-2", "previous"),
        (
            module("return F.layer_norm(x, (4,), self.w)", "self.w = nn.Parameter(torch.ones(4))"),
            "1e-4",
            "weights",
        ),
    ],
)
def test_trivial_answers_that_pass_are_named(code, rule, slug):
    facts = gate_module(code, "Task")
    assert facts.runs, facts.error
    assert slug in trivial(facts, rule)


def test_hardened_inputs_and_weights_cure_what_can_be_cured():
    norm = module("return F.layer_norm(x, (4,), self.w)", "self.w = nn.Parameter(torch.ones(4))")
    for code in (module("return F.relu(x)"), norm, module("return torch.sigmoid(x * 1e-3)")):
        facts = gate_module(code, "Task")
        assert facts.trivial
        assert not trivial(facts, "relative", "hardened")
    assert gate_module(module("return x * 0"), "Task").degenerate


def test_randomness_state_and_mutation_are_seen():
    dropout = gate_module(module("return F.dropout(x, 0.5, self.training)"), "Task")
    assert (dropout.deterministic, dropout.train_random) == (True, True)
    noise = gate_module(module("return x + torch.randn_like(x)"), "Task")
    assert noise.deterministic is False
    asleep = module(
        "return x + self.w * torch.randn_like(x)", "self.w = nn.Parameter(torch.zeros(1))"
    )
    assert gate_module(asleep, "Task").deterministic is False
    batch_norm = gate_module(module("return self.n(x)", "self.n = nn.BatchNorm2d(4)"), "Task")
    assert (batch_norm.train_differs, batch_norm.train_stateful) == (True, True)
    assert gate_module(module("return x.add_(1) * 2"), "Task").mutates_inputs
    counting = module("self.n += 1; return x * self.n", "self.register_buffer('n', torch.zeros(1))")
    assert gate_module(counting, "Task").stateful


def test_a_module_that_leaves_on_some_inputs_is_measured_as_far_as_it_goes():
    leaves = "\n        if bool((x < 0).any()): raise SystemExit(3)\n        return torch.sin(x)"
    facts = gate_module(module(leaves), "Task")
    assert facts.runs
    assert (facts.finite_randn, facts.input_source) == (None, "own")
    fails_at_other_weights = module(
        "\n        if float(self.w) != 1: raise RuntimeError('no')\n        return x * self.w",
        "self.w = nn.Parameter(torch.ones(()))",
    )
    facts = gate_module(fails_at_other_weights, "Task")
    assert (facts.runs, facts.weight_source) == (True, "initial")


def test_unused_inputs_and_parameters_are_named():
    code = module(
        "return x * self.used",
        "self.used = nn.Parameter(torch.ones(4)); self.idle = nn.Parameter(torch.ones(4))",
        inputs="torch.rand(4, 4), torch.rand(4, 4)",
    )
    facts = gate_module(code, "Task")
    assert facts.unused_inputs == (1,)
    assert facts.unused_parameters == ("idle",)


def test_moving_data_is_no_computing():
    facts = gate_module(module("return torch.cat([x, x.transpose(1, 2)], 1).reshape(-1)"), "Task")
    assert not facts.computes
    assert gate_module(module("return x + 1"), "Task").computes


def test_outputs_are_described():
    several = gate_module(module("return x + 1, {'a': x.sum(0)}"), "Task")
    assert (several.output_kind, len(several.outputs)) == ("several", 2)
    assert gate_module(module("return x.sum(), 3"), "Task").output_kind == "other"
    assert gate_module(module("return (x * x).sum()"), "Task").scalar


def test_masks_stay_and_running_statistics_move():
    init = "self.register_buffer('mask', torch.tril(torch.ones(4, 4))); self.n = nn.BatchNorm2d(4)"
    facts = gate_module(module("return self.n(x) * self.mask", init), "Task")
    assert facts.constant_buffers == ("mask", "n.num_batches_tracked")


def test_positive_inputs_are_kept_where_a_normal_one_breaks_the_module():
    facts = gate_module(module("return torch.log(x) + torch.sqrt(x)"), "Task")
    assert (facts.finite_randn, facts.input_source) == (False, "own")


def test_a_module_that_insists_on_fp32_is_labelled():
    facts = gate_module(module("return (x.float() * 3).float()"), "Task")
    assert (facts.double, facts.double_why) == ("fp32", "the answer is not fp64")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package_here", "no_such_package_here"),
        ("x = (", "SyntaxError"),
        ("def get_inputs(): return []", "no nn.Module"),
        ("import torch\nclass Model(torch.nn.Module): pass", "get_inputs"),
        ("raise SystemExit(3)", "SystemExit"),
        (module("return x @ torch.ones(3, 3)"), "RuntimeError"),
    ],
)
def test_what_does_not_run_says_why(code, said):
    facts = gate_module(code)
    assert not facts.runs
    assert said in facts.error


def test_configuration_objects_and_source_lookup_work():
    code = "from _paritybench_helpers import _mock_config\n" + module(
        "return x * self.k",
        "self.k = config.k + config['k']",
        init_inputs="[[], {'config': _mock_config(k=2)}]",
    )
    facts = gate_module(code, "Task")
    assert facts.runs, facts.error
    assert facts.portable_init
    loaded = load_reference(code, "Task")
    assert "def forward" in inspect.getsource(loaded.namespace["Task"])
    assert reference_job.sendable(loaded.init_kwargs) == {"config": {MOCK_KEY: {"k": 2}}}


def run(code, **options):
    frames = []
    request = {"nonce": "n", "code": code, "class_name": "Task", "mode": "cases", "seed": 2**63 + 5}
    reference_job.main(wire.encode(request | options), frames.append)
    return read_reference(frames, "n")


def test_cases_cover_values_sizes_and_modes():
    result = run(LINEAR, literals=[32], blocks=[128])
    assert result.complete
    assert not result.problems
    assert set(result.state) == {"layer.weight", "layer.bias"}
    names = {case.name for case in result.cases}
    assert {"nominal-0", "nominal-4", "blocks", "odd", "batch-1", "zeros", "negative"} <= names
    assert {"small", "large", "offset", "binary", "ties", "ones", "transposed", "grad"} <= names
    assert {f"literal-32-axis-0-size-{n}" for n in (31, 32, 33)} <= names
    by_name = {case.name: case for case in result.cases}
    assert by_name["blocks"].inputs[0].numel() > 3 * 128
    assert not by_name["transposed"].inputs[0].is_contiguous()
    assert by_name["batch-1"].inputs[0].shape[0] == 1
    assert set(by_name["binary"].inputs[0].unique().tolist()) == {0.0, 1.0}
    assert by_name["nominal-0"].expected.precise.dtype == torch.float64
    assert "expected" not in by_name["nominal-0"].for_candidate()


def test_the_answers_follow_from_state_and_inputs():
    result = run(LINEAR)
    for case in result.cases:
        if case.expected.group in {"initial", "nonfinite"}:
            continue
        weight, bias = result.state["layer.weight"], result.state["layer.bias"]
        right = torch.nn.functional.silu(case.inputs[0] @ weight.T + bias)
        assert torch.allclose(case.expected.eager, right, atol=1e-4)


def test_another_seed_gives_other_inputs_and_weights():
    one, two = run(LINEAR), run(LINEAR, seed=7)
    assert not torch.equal(one.cases[0].inputs[0], two.cases[0].inputs[0])
    assert not torch.equal(one.state["layer.weight"], two.state["layer.weight"])


def test_batch_norm_is_asked_as_harnesses_call_it_and_in_eval_too():
    result = run(module("return self.n(x)", "self.n = nn.BatchNorm2d(4)"))
    by_name = {case.name: case for case in result.cases}
    assert by_name["nominal-0"].train
    assert by_name["nominal-0"].state_after is not None
    assert not by_name["other-mode"].train


def test_indices_stay_in_range():
    code = module(
        "return self.table(x)",
        "self.table = nn.Embedding(10, 4)",
        inputs="torch.ones([4, 4], dtype=torch.int64) * 9",
    )
    result = run(code)
    assert result.gate.runs
    assert len(result.cases) > 5
    for case in result.cases:
        assert case.inputs[0].dtype == torch.int64
        assert int(case.inputs[0].max()) <= 9


def test_a_small_budget_keeps_the_most_telling_cases():
    names = [case.name for case in run(LINEAR, budget_seconds=0.03).cases]
    assert names[:2] == ["nominal-0", "nominal-1"]
    everything = run(LINEAR, budget_seconds=20.0).cases
    assert len(names) < len(everything) / 2


def test_frames_without_the_nonce_are_refused():
    frames = []
    request = {"nonce": "a", "code": LINEAR, "class_name": "Task", "mode": "gate", "seed": 1}
    reference_job.main(wire.encode(request), frames.append)
    result = read_reference([*frames, b"junk"], "b")
    assert result.gate is None
    assert not result.complete
    assert len(result.problems) == len(frames) + 1


@pytest.fixture
def cuda_restored(monkeypatch):
    """Undo what is meant to last as long as a child process."""
    monkeypatch.setattr(torch.nn.Module, "cuda", torch.nn.Module.cuda)
    yield
    while reference_module._entered:
        reference_module._entered.pop().__exit__(None, None, None)


@pytest.mark.usefixtures("cuda_restored")
def test_a_module_made_for_cuda_runs_on_the_cpu():
    code = module(
        "return self.layer(x.cuda()).to('cuda:0')",
        "self.layer = nn.Linear(4, 4, device='cuda').cuda()",
        inputs="torch.rand(4, 4, device=torch.device('cuda'))",
    )
    facts = gate_module(code, "Task")
    assert facts.runs, facts.error
