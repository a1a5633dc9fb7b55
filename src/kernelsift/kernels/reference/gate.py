"""The reference gate: can a right answer to this module be told from a wrong one? Runs in a child.

Measured twice: as the module comes (its own inputs and initial weights, what most harnesses use)
and hardened (normal inputs, random weights, relative tolerance, what we use).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from kernelsift.kernels.reference.gate_facts import GateFacts, TensorFacts
from kernelsift.kernels.reference.gate_probe import (
    double_precision,
    parameter_sensitivity,
    train_facts,
    unused_inputs,
)
from kernelsift.kernels.reference.gate_shapes import shape_facts
from kernelsift.kernels.reference.gate_trivial import leaves, trivial_facts, wrong_share
from kernelsift.kernels.reference.reference_module import (
    MockConfig,
    Reference,
    ReferenceUnusableError,
    call,
    copied,
    flatten,
    load_reference,
    tensors_in,
)
from kernelsift.kernels.reference.reference_ops import inventory, recorded
from kernelsift.kernels.reference.reference_random import (
    WEIGHT_SOURCES,
    InputMaker,
    State,
    constant_integers,
    finite,
    fixed_names,
    floating_positions,
    hidden_tensors,
    load_state,
    random_state,
    start_over,
    state_of,
)

GATE_SECONDS = 6.0
"""After this no further measurement is begun; what was left out is named in `skipped`."""
LAUNCH_BOUND_BYTES = 1 << 24
LAUNCH_BOUND_FLOPS = 1 << 28
"""A GPU moves or computes less than this in about ten microseconds, the time of a launch."""


@dataclass(slots=True)
class Prepared:
    """A reference that ran, with its random weights in place, in eval mode."""

    reference: Reference
    module: Any
    maker: InputMaker
    state: State
    other_state: State
    inputs: list[Any]
    """Hardened inputs, and the answer for them."""
    outputs: Any
    facts: dict[str, Any] = field(default_factory=dict)

    def initial(self, seed: int) -> State:
        """The weights as constructed from the seed; empty where that fails."""
        try:
            return state_of(self.reference.build(seed % 2**31))
        except (Exception, SystemExit):  # noqa: BLE001 -- foreign code raises anything
            return {}


def gate_module(code: str, class_name: str | None = None, seed: int = 0) -> GateFacts:
    """Load a reference and measure its health. What it raises becomes a fact."""
    facts, _ = gate_and_prepare(code, class_name, seed)
    return facts


def gate_and_prepare(
    code: str, class_name: str | None = None, seed: int = 0
) -> tuple[GateFacts, Prepared | None]:
    """Measure, and return what cases need as well (None where the module does not run)."""
    started = time.process_time()
    try:
        reference = load_reference(code, class_name)
        prepared = prepare(reference, seed)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- foreign code raises anything
        return GateFacts(runs=False, error=said(error)), None
    facts = prepared.facts
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "hardened": lambda: _hardened(prepared, seed),
        "double": lambda: double_precision(prepared),
        "train": lambda: train_facts(prepared, seed),
        "shapes": lambda: shape_facts(prepared, seed),
        "inputs": lambda: unused_inputs(prepared.module, prepared, seed),
        "parameters": lambda: parameter_sensitivity(prepared.module, prepared),
    }
    skipped = []
    for name, measure in measures.items():
        late = time.process_time() - started > GATE_SECONDS
        found = None if late else _optional(measure)
        if found is None:
            skipped.append(name)
        facts |= found or {}
    facts["skipped"] = tuple(skipped)
    facts["seconds"] = time.process_time() - started
    return GateFacts(runs=True, **facts), prepared


def warm_up() -> None:
    """Import all that a gate needs, by running it on a module of our own.

    To be called once in a process that forks: a cold gate spends seconds in imports of torch.
    """
    gate_module(SMALL_MODULE)


SMALL_MODULE = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.layer(x)).sum(-1)

def get_inputs():
    return [torch.rand(2, 4)]
"""


def said(error: BaseException) -> str:
    """Return type and first line of an error, at most 300 characters."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def _optional(measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return what was measured; None where the module raises."""
    try:
        return measure()
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code raises anything
        return None


def prepare(reference: Reference, seed: int) -> Prepared:
    """Build the module twice, run it as it comes, then give it random weights."""
    module, twin = reference.build(seed).eval(), reference.build(seed + 1).eval()
    first, second = reference.inputs(seed + 2), reference.inputs(seed + 3)
    facts, right = _as_it_comes(module, twin, first, second)
    fixed, buffers = fixed_names(module, twin)
    facts |= {
        "class_name": reference.class_name,
        "constant_buffers": tuple(sorted(buffers)),
        "hidden_tensors": hidden_tensors(module, twin),
        "portable_init": portable([*reference.init_args, reference.init_kwargs]),
        "parameters": sum(p.numel() for p in module.parameters()),
    }
    maker = InputMaker(reference, template=first, index=constant_integers(first, second))
    prepared = Prepared(reference, module, maker, state_of(module), {}, first, right, facts)
    _choose_weights(prepared, seed, fixed)
    _choose_inputs(prepared, seed)
    return prepared


def _as_it_comes(
    module: Any, twin: Any, first: list[Any], second: list[Any]
) -> tuple[dict[str, Any], Any]:
    call(module, first)  # lazy modules take their shapes now; what is remembered has settled
    before, given = state_of(module), copied(first)
    with recorded() as record:
        out = _call_in_place(module, given)
    ops, stateful = inventory(record), _changed(before, state_of(module))
    right, again = leaves(out), leaves(start_over(module, before, first))
    previous, inputs = leaves(start_over(module, before, second)), tensors_in(first)
    load_state(module, before)
    weights = leaves(call(twin, first)) if any(True for _ in module.parameters()) else None
    facts = _sizes(first, out, module) | {
        "deterministic": not wrong_share(again, right, "relative"),
        "stateful": stateful,
        "mutates_inputs": bool(wrong_share(tensors_in(given), inputs, "relative")),
        "finite": finite(out),
        "ops": ops,
        "flops": sum(op.flops for op in ops),
        "median": _median(right),
        "constant_axes": _constant_axes(right),
        "trivial": tuple(
            trivial_facts(rule, "own", right, previous, inputs, weights)
            for rule in ("1e-2", "1e-4", "relative")
        ),
    }
    facts["launch_bound"] = (
        facts["bytes"] < LAUNCH_BOUND_BYTES and facts["flops"] < LAUNCH_BOUND_FLOPS
    )
    return facts, out


def _call_in_place(module: Any, inputs: list[Any]) -> Any:
    import torch

    with torch.no_grad():
        return copied(module(*inputs))


def _changed(before: State, after: State) -> bool:
    import torch

    return before.keys() != after.keys() or any(
        before[name].shape != after[name].shape
        or not torch.equal(torch.nan_to_num(before[name]), torch.nan_to_num(after[name]))
        for name in before
    )


def _sizes(inputs: list[Any], out: Any, module: Any) -> dict[str, Any]:
    import torch

    parts = list(flatten(out))
    answer = tensors_in(out)
    if not answer or len(answer) < len(parts):
        kind: Literal["tensor", "several", "other"] = "other"
    else:
        kind = "tensor" if isinstance(out, torch.Tensor) else "several"
    moved = [*tensors_in(inputs), *answer, *module.parameters()]
    return {
        "inputs": tuple(map(described, tensors_in(inputs))),
        "other_inputs": tuple(
            type(leaf).__name__ for leaf in flatten(inputs) if not isinstance(leaf, torch.Tensor)
        ),
        "outputs": tuple(map(described, answer)),
        "output_kind": kind,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in moved),
    }


def described(tensor: Any) -> TensorFacts:
    """Return shape and dtype, the dtype without `torch.`."""
    return TensorFacts(shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


def _median(right: list[Any]) -> float | None:
    import torch

    known = [_real(leaf).flatten() for leaf in right if leaf.numel()]
    if not known:
        return None
    median = float(torch.cat(known).nan_to_num(posinf=0, neginf=0).median())
    return min(median, 1e300)


def _real(leaf: Any) -> Any:
    """Return absolute values in fp64, of any dtype."""
    import torch

    return leaf.abs().to(torch.float64) if leaf.is_complex() else leaf.to(torch.float64).abs()


def _constant_axes(right: list[Any]) -> tuple[int, ...]:
    """Axes along which the first answer does not change relative to its size."""
    import torch

    if not right or not right[0].numel() or right[0].is_complex():
        return ()
    first = right[0].to(torch.float64).nan_to_num()
    scale = float(first.abs().max())
    spread = [float((first.amax(axis) - first.amin(axis)).max()) for axis in range(first.dim())]
    return tuple(
        axis for axis, width in enumerate(spread) if first.shape[axis] > 1 and width <= 1e-6 * scale
    )


def portable(value: Any) -> bool:
    """Say whether construction arguments can be written down and sent."""
    import torch

    plain = (bool, int, float, str, type(None), torch.Tensor)
    parts = list(flatten(value))
    return all(isinstance(leaf, plain) and not isinstance(leaf, MockConfig) for leaf in parts)


def _choose_weights(prepared: Prepared, seed: int, fixed: frozenset[str]) -> None:
    """Take the strongest change of the weights under which the answer stays finite."""
    module = prepared.module
    initial = state_of(module)
    for how in WEIGHT_SOURCES:
        load_state(module, initial)
        state = random_state(module, how, seed + 10, fixed)
        load_state(module, state)
        try:
            outputs = call(module, prepared.inputs)
        except (Exception, SystemExit):  # noqa: BLE001, S112 -- foreign code raises anything
            continue
        if finite(outputs) or how == "initial":
            prepared.outputs, prepared.state = outputs, state
            load_state(module, initial)
            prepared.other_state = random_state(module, how, seed + 11, fixed)
            load_state(module, state)
            prepared.facts["weight_source"] = how
            return
    raise ReferenceUnusableError("it does not run with any weights")


def _choose_inputs(prepared: Prepared, seed: int) -> None:
    """Use normal inputs where the answer stays finite: for all tensors, else one by one."""
    maker, facts = prepared.maker, prepared.facts
    floats = floating_positions(prepared.inputs)
    for index in (maker.index, frozenset[int]()):
        maker.index = index
        if not index or _try(prepared, seed) is not None:
            break
    maker.randn = frozenset(floats)
    outcome = _try(prepared, seed) if floats else True
    facts["finite_randn"] = outcome
    if not outcome:
        maker.randn = frozenset()
        for at in floats if len(floats) > 1 else []:
            maker.randn |= {at}
            if not _try(prepared, seed):
                maker.randn -= {at}
    chosen = len(maker.randn)
    facts["input_source"] = "own" if not chosen else "randn" if chosen == len(floats) else "mixed"
    prepared.inputs = maker.make(seed + 20)
    prepared.outputs = start_over(prepared.module, prepared.state, prepared.inputs)
    load_state(prepared.module, prepared.state)


def _try(prepared: Prepared, seed: int) -> bool | None:
    """Say whether two fresh sets of inputs give finite answers; None where forward raises."""
    try:
        answers = [call(prepared.module, prepared.maker.make(seed + n)) for n in (21, 22)]
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code raises anything
        return None
    return all(map(finite, answers))


def _hardened(prepared: Prepared, seed: int) -> dict[str, Any]:
    right = leaves(prepared.outputs)
    module, state = prepared.module, prepared.state
    again = leaves(start_over(module, state, prepared.inputs))
    previous = leaves(start_over(module, state, prepared.maker.make(seed + 23)))
    weights = None
    if prepared.other_state:
        try:
            weights = leaves(start_over(module, prepared.other_state, prepared.inputs))
        finally:
            load_state(prepared.module, prepared.state)
    found = tuple(
        trivial_facts(rule, "hardened", right, previous, tensors_in(prepared.inputs), weights)
        for rule in ("1e-2", "1e-4", "relative")
    )
    return {
        "trivial": (*prepared.facts["trivial"], *found),
        # noise is often scaled by a weight that starts as zero
        "deterministic": prepared.facts["deterministic"]
        and not wrong_share(again, right, "relative"),
    }
