"""Find smaller sizes at which a reference is still the same problem. Runs foreign code: in a child.

Sizes are tried without computing (on the meta device), largest first, halved so that divisibility
and powers of two stay; the plan counts only when the scaled module passes its own gate.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field
from functools import cache
from typing import Any

from kernelsift.kernels.cpu_time import SlowError, at_most
from kernelsift.kernels.reference.gate import SMALL_MODULE, gate_module, said
from kernelsift.kernels.reference.gate_facts import GateFacts
from kernelsift.kernels.reference.reference_module import load_reference, tensors_in
from kernelsift.kernels.reference.reference_ops import recorded
from kernelsift.kernels.reference.scale import (
    Change,
    Constant,
    constants,
    is_structure,
    rewrite_constants,
    smaller,
)

STEPS = 80
PLAN_SECONDS = 12.0
"""One way to shrink is given up after so much processor time."""
SIZING_SECONDS = 0.8
"""Processor time after which a forward pass without data counts as too large."""
_TIGHTER = 16


@dataclass(frozen=True, slots=True)
class ScaleLimits:
    """What the interpreter can bear."""

    numel_out: int = 100_000
    flops: int = 10_000_000
    numel_in: int = 400_000

    def times(self, factor: float) -> "ScaleLimits":
        """All limits, by a factor."""
        return ScaleLimits(*(max(int(limit * factor), 1) for limit in astuple(self)))


@dataclass(frozen=True, slots=True)
class Size:
    """What one forward pass takes in, gives out and costs."""

    numel_in: int
    numel_out: int
    flops: int

    def excess(self, limits: ScaleLimits) -> float:
        """How many times over the worst limit; at most 1 is within."""
        return max(
            self.numel_in / limits.numel_in,
            self.numel_out / limits.numel_out,
            self.flops / limits.flops,
        )


HUGE = Size(1 << 60, 1, 1 << 60)
"""Stands for a size that could not be found in time."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """The outcome: the changes (none where it is small enough), and the gate of what came out."""

    status: str
    """`small` (as it is), `scaled`, `too-large` (nothing smaller is valid) or `fails`."""
    changes: tuple[Change, ...] = ()
    size: Size | None = None
    original: Size | None = None
    gate: GateFacts | None = None
    why: str = ""
    tried: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the wire."""
        return {
            "status": self.status,
            "changes": [asdict(change) for change in self.changes],
            "size": asdict(self.size) if self.size else None,
            "original": asdict(self.original) if self.original and self.original != HUGE else None,
            "facts": self.gate.model_dump(mode="json") if self.gate else None,
            "why": self.why,
            "tried": list(self.tried),
        }


def measure_size(code: str, class_name: str | None = None) -> Size:
    """Run forward on the meta device: sizes without memory or time; raises what it raises."""
    import torch

    with torch.device("meta"):
        reference = load_reference(code, class_name)
        module = reference.build(0).eval()
        inputs = reference.inputs(0)
        with torch.no_grad(), recorded() as record:
            out = module(*inputs)
    return Size(
        sum(tensor.numel() for tensor in tensors_in(inputs))
        + sum(parameter.numel() for parameter in module.parameters()),
        sum(tensor.numel() for tensor in tensors_in(out)),
        sum(work.flops for work in record.values()),
    )


def _sized(code: str, class_name: str | None) -> Size:
    """The size, or a huge one where finding it takes too long."""
    try:
        with at_most(SIZING_SECONDS):
            return measure_size(code, class_name)
    except SlowError:
        return HUGE


@cache
def warm_up() -> None:
    """Import what sizing needs (torch's meta kernels: seconds), once in a process that forks."""
    measure_size(SMALL_MODULE)


def scale_reference(
    code: str,
    class_name: str | None = None,
    limits: ScaleLimits | None = None,
    pinned: frozenset[str] = frozenset(),
) -> Scaled:
    """Find sizes within the limits at which the module passes its own gate.

    Where a trivial answer passes at all of them, the first are taken; the gate says so.
    """
    warm_up()  # imports of torch would count as slow sizing
    limits = limits or ScaleLimits()
    try:
        original = _sized(code, class_name)
        found = constants(code)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- foreign code raises anything
        return Scaled("fails", why=said(error))
    if original.excess(limits) <= 1:
        gate = gate_module(code, class_name)
        return Scaled("small", size=original, original=original, gate=gate)
    tried: list[str] = []
    flat: Scaled | None = None
    tighter = limits.times(1 / _TIGHTER)
    for order in _orders(found, pinned):
        for bounds in (limits, tighter):
            plan = _shrink(code, class_name, bounds, order)
            if plan is None:
                tried.append("no smaller size within the limits")
                break
            changes, size = plan
            gate = gate_module(rewrite_constants(code, changes), class_name)
            refused = _refused(gate)
            if not refused:
                return Scaled("scaled", changes, size, original, gate, tried=tuple(tried))
            tried.append(refused)
            if not (gate.runs and gate.degenerate and gate.finite):
                break
            flat = flat or Scaled("scaled", changes, size, original, gate, refused)
    return flat or Scaled(
        "too-large", original=original, why="; ".join(dict.fromkeys(tried)), tried=tuple(tried)
    )


def _refused(gate: GateFacts) -> str:
    """Say why the gate does not let the scaled module pass; empty where it does."""
    if not gate.runs:
        return gate.error
    if gate.degenerate:
        return f"a trivial answer passes: {', '.join(gate.passes('relative', 'hardened'))}"
    return "" if gate.finite else "the answer is not finite"


@dataclass(frozen=True, slots=True)
class _Order:
    """Which constants may shrink, and down to what."""

    free: tuple[Constant, ...]
    floors: dict[str, int]
    everything: tuple[Constant, ...]
    """All constants, also those that stay."""


def _orders(found: tuple[Constant, ...], pinned: frozenset[str]) -> Iterator[_Order]:
    """Ways to shrink, gentlest first: keep channels, then everything, then lower floors."""
    free = tuple(c for c in found if not is_structure(c) and c.key not in pinned)
    for keep, floor in ((True, 16), (False, 16), (True, 8), (False, 8), (True, 4), (False, 4)):
        chosen = tuple(c for c in free if not (keep and _is_channel(c)))
        if chosen:
            yield _Order(chosen, {c.key: _floor(c, floor) for c in chosen}, found)


def _is_channel(constant: Constant) -> bool:
    words = ("channel", "feature", "hidden", "embed", "group", "head", "classes", "input_size")
    return any(word in constant.key.lower() for word in words)


def _floor(constant: Constant, floor: int) -> int:
    """Batches may go down to 2 (a batch of 1 hides errors), groups and heads hardly at all."""
    name = constant.key.lower()
    if "batch" in name:
        return 2
    if "group" in name or "head" in name:
        return 2 if floor <= 8 else constant.value
    return floor


def _shrink(
    code: str, class_name: str | None, limits: ScaleLimits, order: _Order
) -> tuple[tuple[Change, ...], Size] | None:
    """Halve one constant at a time, the largest for its floor first, while forward still runs."""
    values = {c.key: c.value for c in order.free}
    stuck: set[str] = set()
    size: Size | None = None
    deadline = time.process_time() + PLAN_SECONDS
    for _ in range(STEPS):
        if time.process_time() > deadline:
            return None
        key = _next(values, order.floors, stuck)
        if key is None:
            return None
        step = _step(code, class_name, order, values, key)
        if step is None:
            stuck.add(key)
            continue
        values, size = step
        stuck.discard(key)
        if size.excess(limits) <= 1:
            return _changes(order, values), size
    return None


def _step(
    code: str, class_name: str | None, order: _Order, values: dict[str, int], key: str
) -> tuple[dict[str, int], Size] | None:
    """Halve the constant with all that have the same value; else it alone; else with another."""
    shrunk = dict(_together(values, key))
    trials = [values | shrunk, values | {key: shrunk[key]}]
    for other in values:
        pair = dict(_together(values, other))
        if other not in shrunk and pair:
            trials += [values | shrunk | pair, values | {key: shrunk[key], other: pair[other]}]
    for trial in trials:
        if keeps_structure(order.everything, trial):
            size = _try_size(code, class_name, order, trial)
            if size is not None:
                return trial, size
    return None


def _together(values: dict[str, int], key: str) -> Iterator[tuple[str, int]]:
    """Constants with the same value shrink together: two sides of a square, or of a product."""
    old = values[key]
    new = smaller(old)
    for twin, value in values.items():
        if value == old and new is not None:
            yield twin, new


def _next(values: dict[str, int], floors: dict[str, int], stuck: set[str]) -> str | None:
    ratios = {
        key: value / floors[key]
        for key, value in values.items()
        if key not in stuck and (smaller(value) or 0) >= floors[key]
    }
    return max(ratios, key=lambda key: (ratios[key], key), default=None)


def _try_size(
    code: str, class_name: str | None, order: _Order, values: dict[str, int]
) -> Size | None:
    try:
        return _sized(rewrite_constants(code, _changes(order, values)), class_name)
    except Exception:  # noqa: BLE001 -- foreign code raises anything
        return None


def keeps_structure(found: tuple[Constant, ...], values: dict[str, int]) -> bool:
    """Say whether groups and heads keep dividing what they divided, with two elements or more.

    A group norm with as many groups as channels is another problem.
    """
    counts = [c for c in found if _is_count(c)]
    for count in counts:
        parts = values.get(count.key, count.value)
        for whole in found:
            if whole in counts or whole.value % count.value or whole.value <= count.value:
                continue
            if _is_channel(whole) or whole.key in {"dim", "d_model", "n_embd"}:
                now = values.get(whole.key, whole.value)
                if now % parts or now <= parts:
                    return False
    return True


def _is_count(constant: Constant) -> bool:
    return any(word in constant.key.lower() for word in ("group", "head")) and constant.value > 1


def _changes(order: _Order, values: dict[str, int]) -> tuple[Change, ...]:
    return tuple(
        Change(c.key, c.value, values[c.key]) for c in order.free if values[c.key] != c.value
    )
