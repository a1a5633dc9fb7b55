"""How much of the work PyTorch did in a candidate, at the original sizes. Pure."""

from collections.abc import Iterable

from kernelsift.kernels.facts import TorchOp, VerifyFacts

_NOTHING = 1e-9
"""Too small a share to be anything at other sizes."""


def torch_share(facts: VerifyFacts) -> float | None:
    """Return PyTorch's share of the floating-point work, None where nothing is known.

    Where a problem was made smaller, products and convolutions lost more work than what is done
    once for each element: theirs is multiplied by what a single output takes more at the original
    sizes. That of kernels is, too, but where all that were launched do the same work for each
    element at any size.
    """
    seen = facts.provenance
    if seen is None or seen.torch_share is None or seen.torch_share < _NOTHING:
        return seen.torch_share if seen else None
    deeper = max(facts.reference.deeper, 1.0)
    computed = [op for op in seen.torch_ops if op.compute]
    here = _flops(computed)
    kernels = here / seen.torch_share - here
    if not set(seen.kernels) <= set(facts.static.pointwise):
        kernels *= deeper
    summed = _flops(op for op in computed if op.flops > op.elements)
    torch = here + summed * (deeper - 1.0)
    return torch / (torch + kernels) if torch else seen.torch_share


def _flops(ops: Iterable[TorchOp]) -> float:
    return float(sum(op.flops for op in ops))
