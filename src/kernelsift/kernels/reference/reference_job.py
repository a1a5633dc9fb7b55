"""The job of a child that holds a reference: measure it, make cases, say what is right.

Payload (a wire dict): nonce, code, class_name, mode (gate, cases, scale, shipped, outline), seed,
and for cases literals, blocks, extents, budget_seconds, max_elements; for scale pinned (names) and
factor (on what the interpreter can bear).
Frames: `gate` {facts}; `loaded` {init, state, hidden}; `case` …; `scaled` {changes, facts};
`outline` {init, state, inputs}; `end`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernelsift.kernels import wire
from kernelsift.kernels.fingerprints import prints
from kernelsift.kernels.outline import outlined
from kernelsift.kernels.reference.case_recipe import CaseOptions
from kernelsift.kernels.reference.cases import Case, make_cases
from kernelsift.kernels.reference.gate import Prepared, gate_and_prepare
from kernelsift.kernels.reference.reference_module import (
    MOCK_KEY,
    MockConfig,
    call,
    load_reference,
    map_tensors,
    seed_all,
)
from kernelsift.kernels.reference.reference_random import state_of
from kernelsift.kernels.reference.scale_plan import ScaleLimits, scale_reference

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate_facts import GateFacts

Send = Callable[[bytes], None]


def main(payload: bytes, send: Send) -> None:
    """Run the job; what the reference raises is a fact in the `gate` frame."""
    _one_thread()
    request = wire.decode(payload)
    nonce = request["nonce"]

    def tell(event: str, **values: Any) -> None:
        send(wire.encode({"nonce": nonce, "event": event, **values}))

    if request["mode"] == "scale":
        limits = ScaleLimits().times(float(request.get("factor", 1.0)))
        pinned = frozenset(request.get("pinned", ()))
        scaled = scale_reference(request["code"], request["class_name"], limits, pinned)
        tell("scaled", **scaled.as_dict())
    elif request["mode"] == "shipped":
        _tell_shipped(tell, request)
    elif request["mode"] == "outline":
        _tell_outline(tell, request)
    else:
        facts, prepared = gate_and_prepare(request["code"], request["class_name"], request["seed"])
        tell("gate", facts=facts.model_dump(mode="json"))
        if request["mode"] == "cases" and prepared is not None:
            _tell_cases(tell, prepared, facts, options_from(request))
    tell("end")


def options_from(request: dict[str, Any]) -> CaseOptions:
    """Read the options of a request; missing ones keep their defaults."""
    known = {"budget_seconds", "max_elements"} & request.keys()
    return CaseOptions(
        seed=request["seed"],
        literals=tuple(request.get("literals", ())),
        blocks=tuple(request.get("blocks", ())),
        extents=tuple((size, grown) for size, grown in request.get("extents", ())),
        **{name: request[name] for name in known},
    )


def _tell_cases(
    tell: Callable[..., None], prepared: Prepared, facts: "GateFacts", options: CaseOptions
) -> None:
    reference = prepared.reference
    tell(
        "loaded",
        init={
            "args": sendable(reference.init_args),
            "kwargs": sendable(reference.init_kwargs),
        },
        state=prepared.state,
        initial=prints(prepared.initial(options.seed)),
        hidden=list(facts.hidden_tensors),
    )
    for case in make_cases(prepared, facts, options):
        try:
            tell("case", **case_frame(case))
        except wire.WireError as error:
            tell("case-error", name=case.name, why=str(error)[:300])


def _tell_shipped(tell: Callable[..., None], request: dict[str, Any]) -> None:
    """One case as most harnesses make it: own sizes and inputs, weights as constructed."""
    reference = load_reference(request["code"], request["class_name"])
    seed = request["seed"]
    module = reference.build(seed % 2**31)
    state = state_of(module)
    inputs = map_tensors(lambda tensor: tensor.detach(), reference.inputs(seed))
    seed_all(0)
    eager = call(module, inputs)
    init = {"args": sendable(reference.init_args), "kwargs": sendable(reference.init_kwargs)}
    tell("loaded", init=init, state={}, initial=prints(state), hidden=[])
    case = Case(
        name="own-sizes",
        group="initial",
        inputs=inputs,
        train=True,
        grad=False,
        own=True,
        initial=True,
        eager=eager,
        precise=eager,
        precision="fp32",
        informative=True,
        seconds=1.0,
        state_after=None,
    )
    tell("case", **case_frame(case))


def _tell_outline(tell: Callable[..., None], request: dict[str, Any]) -> None:
    """Weights and inputs of the own sizes without contents: nothing is too large for that."""
    import torch

    reference = load_reference(request["code"], request["class_name"])
    with torch.device("meta"):
        state = state_of(reference.build(request["seed"] % 2**31))
        inputs = reference.inputs(request["seed"])
    init = {"args": sendable(reference.init_args), "kwargs": sendable(reference.init_kwargs)}
    tell("outline", init=init, state=outlined(state), inputs=sendable(outlined(inputs)))


def case_frame(case: Case) -> dict[str, Any]:
    """Return the case as a wire dict: what goes to the candidate, and what stays here."""
    return {
        "name": case.name,
        "group": case.group,
        "inputs": sendable(case.inputs),
        "train": case.train,
        "grad": case.grad,
        "initial": case.initial,
        "own": case.own,
        "eager": sendable(case.eager),
        "precise": sendable(case.precise),
        "precision": case.precision,
        "informative": case.informative,
        "seconds": case.seconds,
        "state_after": case.state_after,
    }


def sendable(value: Any, depth: int = 0) -> Any:
    """Return the value in the wire's terms; what it has no word for becomes a described text."""
    import torch

    if isinstance(value, MockConfig):
        return {MOCK_KEY: {key: sendable(part, depth + 1) for key, part in value.items()}}
    if depth > 32:
        return repr(type(value))
    if isinstance(value, dict):
        return {str(key): sendable(part, depth + 1) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(sendable(part, depth + 1) for part in value)
    if isinstance(value, list):
        return [sendable(part, depth + 1) for part in value]
    if isinstance(value, torch.Tensor):
        return value.detach()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
