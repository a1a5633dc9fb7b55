"""What a candidate's child is asked to do: cases, behaviour steps, and the names of arguments."""

import ast
import contextlib
from collections.abc import Iterator
from typing import Any

from kernelsift import source
from kernelsift.kernels import wire
from kernelsift.kernels.reference.reference_result import ReferenceCase, ReferenceResult

POISON = 1234.5
"""Second value for fresh memory and masked-off lanes; the first is NaN."""
LATE_CALLS = 12
OUTLINE_CASE = "outline"
CONFIGURATIONS = {"second": 1, "last": -1}
"""Of an autotuner, those that are tried besides its first."""
_FIRST_CASES = 6
"""Cases between the first steps and the others."""
MASKED = {"masked": POISON, "poison": POISON}


MUST = 2
"""So many nominal cases are run whatever they cost."""
_FACTORS = {"noop": 0.0, "raise": 0.0, "sanitize": 3.0, "mutate": 2.0, "keep": 2.0, "late": 1.2}
"""Time of a step in units of one nominal call."""
_EARLY = ("noop", "raise", "sanitize", "mutate", "repeat", "late")
"""Steps that come before the cases with other values: cheap, or the most telling."""


def steps_for(
    cases: list[ReferenceCase], *, random_training: bool = False, tuned: bool = False
) -> list[dict[str, Any]]:
    """A second look at the same object, ablations and sanitizers, on the nominal cases.

    `random_training`: the reference is random in training mode, as with dropout. `tuned`: kernels
    have an autotuner, and other configurations are tried, too.
    """
    nominal = [case for case in cases if case.expected.group == "nominal"]
    if not nominal:
        return []
    first = nominal[0].name
    steps: list[dict[str, Any]] = [
        {"name": "noop", "kind": "again", "case": first, "options": {"ablate": "noop"}},
        {"name": "raise", "kind": "again", "case": first, "options": {"ablate": "raise"}},
        {"name": "sanitize", "kind": "again", "case": first, "options": {"sanitize": True}},
        {"name": "repeat", "kind": "again", "case": first},
        {"name": "poison", "kind": "again", "case": first, "options": MASKED},
        {"name": "reversed", "kind": "again", "case": first, "options": {"order": "reversed"}},
    ]
    other = next((case.name for case in nominal[1:] if _alike(nominal[0], case)), None)
    if other:
        steps += [
            {"name": "mutate", "kind": "mutate", "case": first, "with": other},
            {"name": "late", "kind": "late", "case": first, "with": other, "calls": LATE_CALLS},
            {"name": "keep", "kind": "keep", "case": first, "with": other},
        ]
    if random_training:
        steps.append({"name": "training", "kind": "again", "case": first, "train": True})
    for name, config in CONFIGURATIONS.items() if tuned else ():
        options = {"config": config}
        steps.append({"name": f"tuned-{name}", "kind": "again", "case": first, "options": options})
    for step in steps:
        step["seconds"] = _FACTORS.get(step["name"], 1.0) * nominal[0].seconds
    if larger := next((case for case in cases if case.expected.group == "shape"), None):
        # what is one program for the nominal inputs may be several that race for larger ones
        step = {"name": "sanitize-larger", "kind": "again", "case": larger.name}
        seconds = _FACTORS["sanitize"] * larger.seconds
        steps.append(step | {"options": {"sanitize": True}, "seconds": seconds})
    return steps


def plan_for(cases: list[ReferenceCase], steps: list[dict[str, Any]]) -> list[str]:
    """Names in the order of work: nominal cases, the most telling steps, cases, other steps."""
    must = _must(cases)
    must += [case.name for case in cases if case.expected.group == "initial"]
    early = [step["name"] for step in steps if step["name"] in _EARLY]
    late = [step["name"] for step in steps if step["name"] not in _EARLY]
    rest = [case.name for case in cases if case.name not in must]
    return [*must, *early, *rest[:_FIRST_CASES], *late, *rest[_FIRST_CASES:]]


def _must(cases: list[ReferenceCase]) -> list[str]:
    nominal = [case.name for case in cases if case.expected.group == "nominal"]
    return nominal[:MUST] or [case.name for case in cases[:1]]


def payload_for(
    request: dict[str, Any], reference: ReferenceResult, options: dict[str, Any]
) -> bytes:
    """The wire payload of a candidate job.

    `request`: nonce, code, module_name, entry, reference (its source), budget and patience
    (processor seconds); `tuned` where kernels have an autotuner whose choice can be made.
    """
    random = bool(reference.gate and reference.gate.train_random)
    tuned, must = bool(request.get("tuned")), _must(reference.cases)
    steps = steps_for(reference.cases, random_training=random, tuned=tuned)
    return wire.encode({
        "nonce": request["nonce"],
        "code": request["code"],
        "module_name": request["module_name"],
        "entry": request["entry"],
        "init": reference.init,
        "state": reference.state,
        "initial": reference.initial,
        "cases": [
            case.for_candidate() | {"seconds": case.seconds, "must": case.name in must}
            for case in reference.cases
        ],
        "steps": steps,
        "plan": plan_for(reference.cases, steps),
        "budget": request["budget"],
        "patience": request["patience"],
        "options": options,
        "names": {
            **argument_names(request["reference"], request["module_name"]),
            "outputs": _outputs(reference.cases),
        },
    })


def outline_payload(request: dict[str, Any], outline: dict[str, Any], seed: int) -> bytes:
    """The wire payload of a job that is after the launches at the problem's own sizes.

    Kernels do nothing in it, and tensors hold nothing.
    """
    case = {"name": OUTLINE_CASE, "inputs": outline["inputs"], "train": True, "must": True}
    return wire.encode({
        **{name: request[name] for name in ("nonce", "code", "module_name", "entry")},
        "init": outline["init"],
        "state": outline["state"],
        "cases": [case],
        "options": {"seed": seed, "ablate": "noop", "fill": False},
        "names": argument_names(request["reference"], request["module_name"]),
        "outline": True,
    })


def _outputs(cases: list[ReferenceCase]) -> int | None:
    """How many values the module returns; None where it is one by itself."""
    answer = cases[0].expected.eager if cases else None
    return len(answer) if isinstance(answer, tuple | list) else None


def argument_names(code: str, class_name: str | None) -> dict[str, Any]:
    """Names of forward's and __init__'s parameters, for candidates that are functions.

    Also their defaults by name (`defaults`), where they are plain values.
    """
    tree = source.parse(code)
    classes = (
        {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)} if tree else {}
    )
    found = classes.get(class_name or "") or (source.module_class(tree) if tree else None)
    if found is None:
        return {"inputs": [], "init": [], "defaults": {}}
    methods = [source.method(found, name) for name in ("forward", "__init__")]
    forward, init = ([arg.arg for arg in m.args.args[1:]] if m else [] for m in methods)
    defaults = {name: value for m in methods if m for name, value in _defaults(m)}
    return {"inputs": forward, "init": init, "defaults": defaults}


def _defaults(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, Any]]:
    """Parameters whose default is a number, a text, a truth value or a tuple of such."""
    given = function.args.defaults
    for argument, default in zip(function.args.args[-len(given) :], given, strict=False):
        with contextlib.suppress(ValueError):
            value = ast.literal_eval(default)
            if isinstance(value, bool | int | float | str | tuple):
                yield argument.arg, value


def _alike(one: ReferenceCase, other: ReferenceCase) -> bool:
    """Same shapes and dtypes, so that contents can be swapped."""
    return bool(_shapes(one.inputs) == _shapes(other.inputs))


def _shapes(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_shapes(part) for part in value]
    if isinstance(value, dict):
        return {key: _shapes(part) for key, part in value.items()}
    shape = getattr(value, "shape", None)
    return (tuple(shape), str(value.dtype)) if shape is not None else type(value).__name__
