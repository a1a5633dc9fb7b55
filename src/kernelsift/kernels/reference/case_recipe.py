"""What a case is made from. Pure data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernelsift.kernels.facts import CaseGroup


@dataclass(frozen=True, slots=True)
class CaseOptions:
    """What the parent wants."""

    seed: int
    """Secret, 64 bits: inputs follow from it."""
    literals: tuple[int, ...] = ()
    """Integers that the candidate compares with sizes."""
    blocks: tuple[int, ...] = ()
    """Block sizes that the candidate uses."""
    extents: tuple[tuple[int, int], ...] = ()
    """Sizes that were made smaller, and what they grow to again: two blocks of the candidate."""
    budget_seconds: float = 20.0
    """For all cases together, as predicted."""
    max_elements: int = 1 << 20
    """No input tensor of a resized case is larger."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make the inputs of one case."""

    name: str
    group: CaseGroup
    make: Callable[[], list[Any] | None]
    """None where the case does not apply."""
    other_mode: bool = False
    """In the mode (train or eval) that the nominal cases do not use."""
    grad: bool = False
    own: bool = False
    """With inputs as the module itself makes them."""
    initial: bool = False
    """With the weights as constructed, not with random ones."""
    may_be_flat: bool = False
    """Kept although a trivial answer would be right: shows NaN and division by zero."""
