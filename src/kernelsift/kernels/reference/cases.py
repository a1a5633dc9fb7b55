"""Make the cases that a candidate has to answer, most telling first. Runs in a child.

Every case is tried on the reference: only inputs that it accepts, with finite answers that fp32 can
hold, become cases. Their predicted time in the interpreter is kept within a budget.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.facts import CaseGroup
from kernelsift.kernels.reference.case_recipe import CaseOptions, Recipe
from kernelsift.kernels.reference.case_shapes import extent_recipes, shape_recipes
from kernelsift.kernels.reference.case_values import value_recipes
from kernelsift.kernels.reference.cost import predict_seconds
from kernelsift.kernels.reference.gate_probe import reference_answer
from kernelsift.kernels.reference.gate_trivial import leaves, wrong_share
from kernelsift.kernels.reference.reference_module import call, map_tensors, seed_all, tensors_in
from kernelsift.kernels.reference.reference_random import finite, load_state, state_of

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate import Prepared
    from kernelsift.kernels.reference.gate_facts import GateFacts

NOMINAL = 5
INITIAL = 2
ALWAYS = 2
"""So many nominal cases are made whatever they cost."""
_ANY_ANSWER = frozenset({"nominal", "initial", "nonfinite"})
"""Groups whose answers need not be finite."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case with the reference's answers."""

    name: str
    group: CaseGroup
    inputs: list[Any]
    train: bool
    grad: bool
    own: bool
    """With inputs as the module itself makes them."""
    initial: bool
    """With the weights as constructed: the candidate keeps its own."""
    eager: Any
    precise: Any
    precision: str
    informative: bool
    seconds: float
    """Predicted time of the candidate in the interpreter."""
    state_after: dict[str, Any] | None
    """Parameters and buffers after the call, where it changed them."""


def make_cases(prepared: "Prepared", facts: "GateFacts", options: CaseOptions) -> Iterator[Case]:
    """Yield the cases in order of value until the budget is spent."""
    train_first = bool(facts.train_differs) and not facts.train_fails
    left, nominal = options.budget_seconds, 0
    initial = prepared.initial(options.seed) if prepared.state else {}
    for recipe in recipes(prepared, facts, options):
        must = (recipe.group == "nominal" and nominal < ALWAYS) or recipe.initial
        train = train_first != recipe.other_mode
        limit = None if must else left
        state = initial if recipe.initial else prepared.state
        case = _made(prepared, facts, recipe, _Setting(state, train, limit))
        if case is None:
            continue
        nominal += recipe.group == "nominal"
        left -= case.seconds
        yield case


def recipes(prepared: "Prepared", facts: "GateFacts", options: CaseOptions) -> list[Recipe]:
    """Return all recipes, most telling first."""
    seed, maker = options.seed, prepared.maker
    initial = [
        Recipe(
            f"initial-{n}",
            "initial",
            _nominal(maker, seed + 80 + n, own=True),
            own=True,
            initial=True,
        )
        for n in range(INITIAL if prepared.state else 0)
    ]
    nominal = [
        Recipe(f"nominal-{n}", "nominal", _nominal(maker, seed + n, own=n % 2 == 0), own=n % 2 == 0)
        for n in range(NOMINAL)
    ]
    shapes = shape_recipes(prepared, facts, options)
    values = value_recipes(prepared, options)
    modes = [Recipe("grad", "mode", lambda: maker.make(seed + 90), grad=True)]
    if facts.train_random is False:
        make = lambda: maker.make(seed + 91)  # noqa: E731 -- two words are enough
        modes.insert(0, Recipe("other-mode", "mode", make, other_mode=True))
    long = [recipe for recipe in shapes if recipe.name.startswith("long")]
    shapes = [recipe for recipe in shapes if recipe not in long]
    early = 3 + sum(recipe.name.startswith("beyond") for recipe in shapes)
    first, rest = shapes[:early], shapes[early:]
    extents = extent_recipes(prepared, options)
    begin = [*nominal[:2], *initial, *extents, *first]
    return [*begin, *modes, *values, *long, *nominal[2:], *rest]


def _nominal(maker: Any, seed: int, *, own: bool) -> Callable[[], list[Any]]:
    return lambda: maker.own(seed) if own else maker.make(seed)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a case is run with."""

    state: dict[str, Any]
    train: bool
    limit: float | None
    """Predicted seconds that it may take; None for any."""


def _made(
    prepared: "Prepared",
    facts: "GateFacts",
    recipe: Recipe,
    setting: _Setting,
) -> Case | None:
    """Try a recipe on the reference; None where it is refused, not finite, flat or too dear."""
    module = prepared.module
    try:
        inputs = recipe.make()
        if inputs is None:
            return None
        inputs = map_tensors(lambda tensor: tensor.detach(), inputs)
        seconds = _seconds(facts, inputs)
        if setting.limit is not None and seconds > setting.limit:
            return None
        module.train(setting.train)
        load_state(module, setting.state)
        seed_all(0)
        eager = call(module, inputs)
        after = state_of(module)
        load_state(module, setting.state)
        if not finite(eager) and recipe.group not in _ANY_ANSWER:
            return None
        precise, precision, _ = reference_answer(module, inputs, eager)
    except Exception:  # noqa: BLE001 -- foreign code raises anything
        return None
    finally:
        module.eval()
        load_state(module, prepared.state)
    if precision == "fp32" and facts.double == "fp64" and recipe.group not in _ANY_ANSWER:
        return None
    told = _informative(prepared, eager)
    if not told and not recipe.may_be_flat and recipe.group not in {"nominal", "initial"}:
        return None
    return Case(
        name=recipe.name,
        group=recipe.group,
        inputs=inputs,
        train=setting.train,
        grad=recipe.grad,
        own=recipe.own,
        initial=recipe.initial,
        eager=eager,
        precise=precise,
        precision=precision,
        informative=told,
        seconds=seconds,
        state_after=after if _state_changed(setting.state, after) else None,
    )


def _seconds(facts: "GateFacts", inputs: list[Any]) -> float:
    """Predict the candidate's time; work grows with the elements of the inputs."""
    numel_in = sum(tensor.numel() for tensor in tensors_in(inputs))
    was_in = sum(tensor.numel for tensor in facts.inputs) or 1
    was_out = sum(tensor.numel for tensor in facts.outputs) or 1
    growth = max(numel_in / was_in, 1e-3)
    return predict_seconds(numel_in, int(was_out * growth) + 1, int(facts.flops * growth))


def _informative(prepared: "Prepared", eager: Any) -> bool:
    """Would zeros, or the answer for the nominal inputs, be taken for this one?"""
    import torch

    right = leaves(eager)
    zeros = [torch.zeros_like(leaf) for leaf in right]
    others = leaves(prepared.outputs)
    same = [leaf.shape for leaf in others] == [leaf.shape for leaf in right]
    stale = same and not wrong_share(others, right, "relative")
    return bool(wrong_share(zeros, right, "relative")) and not stale


def _state_changed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    import torch

    return any(
        not torch.equal(torch.nan_to_num(after[name]), torch.nan_to_num(value))
        for name, value in before.items()
        if name in after
    )
