"""Single measurements of the gate: sensitivity, train mode, double precision. Runs in a child."""

import copy
import time
from typing import TYPE_CHECKING, Any

from kernelsift.kernels.reference.gate_trivial import leaves, wrong_share
from kernelsift.kernels.reference.reference_module import (
    call,
    doubled,
    map_tensors,
    seed_all,
    tensors_in,
    upcast,
)
from kernelsift.kernels.reference.reference_random import (
    load_state,
    plain_tensors,
    start_over,
    state_of,
)

if TYPE_CHECKING:
    from kernelsift.kernels.reference.gate import Prepared

SENSITIVITY_SECONDS = 1.0
"""Parameters are tried one by one for this long; the rest count as used."""
DISAGREE = 1e-2
"""Where fp32 and fp64 differ by more than this share of the largest value, neither is a measure."""


def parameter_sensitivity(module: Any, prepared: "Prepared") -> dict[str, Any]:
    """Give one parameter after the other other values: which never change the answer?"""
    import torch

    right = leaves(prepared.outputs)
    started, unused = time.perf_counter(), []
    for name, parameter in module.named_parameters():
        other = prepared.other_state.get(name)
        if other is None or torch.equal(other, prepared.state[name]):
            continue
        if time.perf_counter() - started > SENSITIVITY_SECONDS:
            break
        load_state(module, prepared.state)
        with torch.no_grad():
            parameter.copy_(other)
            try:
                answer = leaves(call(module, prepared.inputs))
            finally:
                parameter.copy_(prepared.state[name])
        if not wrong_share(answer, right, "relative"):
            unused.append(name)
    return {"unused_parameters": tuple(unused)}


def unused_inputs(module: Any, prepared: "Prepared", seed: int) -> dict[str, Any]:
    """Replace one input tensor after the other: which never change the answer?"""
    right = leaves(prepared.outputs)
    others = [tensors_in(prepared.maker.make(seed + n)) for n in (24, 25)]
    unused = tuple(
        at
        for at in range(len(tensors_in(prepared.inputs)))
        if not any(_input_matters(module, prepared, at, new[at], right) for new in others)
    )
    return {"unused_inputs": unused}


def _input_matters(module: Any, prepared: "Prepared", at: int, new: Any, right: list[Any]) -> bool:
    position = iter(range(10**6))
    inputs = map_tensors(lambda old: new if next(position) == at else old, prepared.inputs)
    try:
        answer = leaves(start_over(module, prepared.state, inputs))
    except (Exception, SystemExit):  # noqa: BLE001 -- that it raises shows that the input is looked at
        return True
    return bool(wrong_share(answer, right, "relative"))


def double_precision(prepared: "Prepared") -> dict[str, Any]:
    """Can the module run in fp64, and does it agree with itself in fp32?"""
    _, label, why = reference_answer(prepared.module, prepared.inputs, prepared.outputs)
    return {"double": label, "double_why": why}


def reference_answer(module: Any, inputs: list[Any], outputs: Any) -> tuple[Any, str, str]:
    """Return the answer in the best precision there is, `fp64` or `fp32`, and why not fp64.

    `outputs` is the eager answer. Modules that fix a dtype stay in fp32, so the answer is theirs.
    """
    try:
        with doubled():
            wide = copy.deepcopy(module).double()
            for name, owner, value in list(plain_tensors(wide)):
                setattr(owner, name.rpartition(".")[2], upcast(value))
            answer = call(wide, upcast(inputs))
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- foreign code raises anything
        return outputs, "fp32", f"{type(error).__name__}: {error}"[:200]
    return (
        (answer, "fp64", "")
        if (why := _mismatch(answer, outputs)) is None
        else (
            outputs,
            "fp32",
            why,
        )
    )


def _mismatch(wide: Any, narrow: Any) -> str | None:
    import torch

    doubles, singles = tensors_in(wide), tensors_in(narrow)
    if [t.shape for t in doubles] != [t.shape for t in singles]:
        return "other outputs in fp64"
    for double, single in zip(doubles, singles, strict=True):
        if single.is_floating_point() != double.is_floating_point():
            return "other dtypes in fp64"
        if single.is_floating_point() and double.dtype != torch.float64:
            return "the answer is not fp64"
        if not single.numel() or single.is_complex():
            continue
        reference = double.to(torch.float64)
        scale = float(reference.abs().nan_to_num(posinf=0.0).max())
        apart = (reference - single.to(torch.float64)).abs().nan_to_num(posinf=0.0)
        if float(apart.max()) > DISAGREE * scale and single.element_size() >= 4:
            return "fp32 and fp64 disagree"
    return None


def train_facts(prepared: "Prepared", seed: int) -> dict[str, Any]:
    """Run in train mode: random, other than eval, changing its state?"""
    module, inputs = prepared.module, prepared.inputs
    module.train()
    try:
        answers = []
        for n in (0, 1):
            load_state(module, prepared.state)
            seed_all(seed + 30 + n)
            answers.append(leaves(call(module, inputs)))
        after = state_of(module)
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code raises anything
        return {"train_fails": True}
    finally:
        module.eval()
        load_state(module, prepared.state)
    random = bool(wrong_share(answers[1], answers[0], "relative"))
    right = leaves(prepared.outputs)
    return {
        "train_random": random,
        "train_differs": None if random else bool(wrong_share(answers[0], right, "relative")),
        "train_stateful": not _same(prepared.state, after),
    }


def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    import torch

    return all(
        torch.equal(torch.nan_to_num(after[name]), torch.nan_to_num(value))
        for name, value in before.items()
        if name in after
    )
