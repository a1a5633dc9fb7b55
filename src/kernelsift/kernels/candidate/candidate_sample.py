"""Compare an answer of which only some programs were run: where they stored, and nowhere else."""

from collections.abc import Iterator
from typing import Any

from kernelsift.kernels.compare import Expected, compare, failed, leaves, structure_mismatch
from kernelsift.kernels.facts import Comparison


def compare_sample(
    expected: Expected, output: Any, sample: dict[str, Any], *, tf32: bool
) -> Comparison:
    """Compare the elements that the programs stored; `timeout` where that shows nothing.

    `sample`: ran, of (programs), spoiled (why not to compare), stored (a mask per tensor).
    """
    if sample.get("spoiled"):
        return failed(expected, "timeout", str(sample["spoiled"]))
    if structure_mismatch(expected.eager, output):
        return compare(expected, output, tf32=tf32)
    masks = list(sample.get("stored") or [])
    parts = [leaf for leaf in leaves(output) if hasattr(leaf, "shape")]
    if len(masks) != len(parts) or any(
        tuple(mask.shape) != tuple(part.shape) for mask, part in zip(masks, parts, strict=False)
    ):
        return failed(expected, "timeout", "what the programs stored is not known")
    stored = sum(int(mask.sum()) for mask in masks)
    if not stored:
        return failed(expected, "timeout", "nothing that the programs stored is in the answer")
    filled = _filled(output, expected.eager, iter(masks))
    share = stored / max(sum(mask.numel() for mask in masks), 1)
    found = compare(expected, filled, tf32=tf32)
    return found.model_copy(update={"sampled": min(share, 1.0), "elements": stored})


def _filled(got: Any, eager: Any, masks: Iterator[Any]) -> Any:
    """The answer with the right values where nothing was stored; same order as `leaves`."""
    import torch

    if isinstance(got, list | tuple):
        return [_filled(a, b, masks) for a, b in zip(got, eager, strict=True)]
    if isinstance(got, dict):
        return {key: _filled(got[key], eager[key], masks) for key in sorted(got, key=str)}
    if not hasattr(got, "shape"):
        return got
    return torch.where(next(masks), got, eager)
