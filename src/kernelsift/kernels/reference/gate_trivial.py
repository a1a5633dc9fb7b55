"""Could an answer that needs no kernel be taken for the right one? Runs in a child."""

from collections.abc import Sequence
from typing import Any

from kernelsift.kernels.reference.gate_facts import Rule, Trivial, TrivialFacts
from kernelsift.kernels.reference.reference_module import flatten

INFORMATIVE = 0.05
"""Under this share of informative elements nearly all of the answer may be wrong unseen."""


def leaves(value: Any) -> list[Any]:
    """Return the numbers of an answer as tensors, in order; other leaves are left out."""
    import torch

    found = []
    for leaf in flatten(value):
        if isinstance(leaf, torch.Tensor):
            found.append(leaf.detach())
        elif isinstance(leaf, bool | int | float):
            found.append(torch.tensor(leaf))
    return found


def wrong_share(answer: Sequence[Any], right: Sequence[Any], rule: Rule) -> float:
    """Share of elements of `answer` that the rule tells from `right`; 1 where shapes differ."""
    if len(answer) != len(right):
        return 1.0
    total = wrong = 0
    for got, want in zip(answer, right, strict=True):
        count = max(want.numel(), 1)
        total += count
        wrong += count if got.shape != want.shape else _wrong(got, want, rule)
    return wrong / total if total else 0.0


def _wrong(got: Any, want: Any, rule: Rule) -> int:
    import torch

    if not want.numel():
        return 0
    if not (want.is_floating_point() or want.is_complex()):
        return int((got.to(torch.float64) != want.to(torch.float64)).sum())
    wide = torch.complex128 if want.is_complex() or got.is_complex() else torch.float64
    got, want = got.to(wide), want.to(wide)
    known = torch.isfinite(want)
    same = torch.isfinite(got) == known
    size = want.abs()
    bound = _bound(size, known, rule)
    close = torch.where(known, (got - want).abs() <= bound, same)
    return int((~(close & same)).sum())


def _bound(size: Any, known: Any, rule: Rule) -> Any:
    if rule == "relative":
        scale = float(size[known].max()) if bool(known.any()) else 0.0
        return 1e-5 * size + 1e-6 * scale
    tolerance = float(rule)
    return tolerance + tolerance * size


def trivial_facts(
    rule: Rule,
    kind: Any,
    right: Sequence[Any],
    previous: Sequence[Any],
    inputs: Sequence[Any],
    weights: Sequence[Any] | None,
) -> TrivialFacts:
    """Try all trivial answers under one rule. `weights`: the answer for other weights."""
    import torch

    informative = wrong_share(previous, right, rule)
    zeros = [torch.zeros_like(leaf) for leaf in right]
    constant = [torch.full_like(leaf, _middle(old)) for leaf, old in _pairs(right, previous)]
    tries: list[tuple[Trivial, bool]] = [
        ("zeros", not wrong_share(zeros, right, rule)),
        ("constant", bool(constant) and not wrong_share(constant, right, rule)),
        ("previous", informative == 0),
        ("input", _is_input(right, inputs, rule)),
        ("weights", weights is not None and not wrong_share(weights, right, rule)),
        ("uninformative", informative < INFORMATIVE),
    ]
    passes = tuple(name for name, passed in tries if passed) if right else ()
    return TrivialFacts(rule=rule, inputs=kind, passes=passes, informative=informative)


def _pairs(right: Sequence[Any], previous: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(right, previous, strict=True)) if len(right) == len(previous) else []


def _middle(leaf: Any) -> float:
    import torch

    if not leaf.numel() or leaf.is_complex():
        return 0.0
    middle = float(leaf.to(torch.float64).mean())
    if leaf.is_floating_point():
        return middle
    return float(round(middle)) if middle == middle else 0.0  # noqa: PLR0124 -- not NaN


def _is_input(right: Sequence[Any], inputs: Sequence[Any], rule: Rule) -> bool:
    """Every output is one of the inputs."""
    return all(
        any(not wrong_share([given], [leaf], rule) for given in inputs if given.shape == leaf.shape)
        for leaf in right
    )
