"""Compare a candidate's answer with the reference. Runs in the parent, on plain tensors only.

The bound for an element is `rtol·|y64| + floor·scale + k·max|y32 − y64|`: relative, a floor for
sums that cancel (scale: largest value of the tensor), and what eager PyTorch itself gets wrong.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kernelsift.kernels.facts import CaseGroup, Comparison, ComparisonStatus, Difference

RTOL = {"float64": 1e-9, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1.6e-2}
FLOOR = {"float64": 1e-10, "float32": 1e-6, "float16": 5e-4, "bfloat16": 4e-3}
EAGER_FACTOR = 4.0
TF32_EPS = 2.0**-11
REDUCED_EPS = 2.0**-11
"""Rounding of fp16 (and of TF32), for the question whether an error is lower precision only."""
BF16_EPS = 2.0**-8
HALF_BYTES = 2
LOOSE = 1e-2
SHOWN = 5
BIG = 1e30
"""Stands for an error that is infinite or not a number."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the reference said for one case."""

    case: str
    group: CaseGroup
    precise: Any
    """Nested answer in the best precision there is."""
    eager: Any
    """Nested answer of the module as it is: decides structure, shapes and dtypes."""
    precision: Literal["fp64", "fp32"] = "fp64"
    informative: bool = True
    own: bool = False
    """The inputs are those that the module itself makes."""


@dataclass(slots=True)
class _Sum:
    """Running result over all output tensors."""

    ratio: float = 0.0
    loose: float = 0.0
    reduced: float = 0.0
    relative: float = 0.0
    wrong: int = 0
    total: int = 0
    nonfinite: bool = False


def compare(expected: Expected, got: Any, *, tf32: bool = False, bf16: bool = False) -> Comparison:
    """Compare one answer. `tf32`: the candidate multiplied with TF32 inputs, which is allowed for.

    `bf16`: it cast to bfloat16, which is not allowed for; it explains larger errors of fp32.
    Types, structure, shapes and dtypes must be exactly those of the eager answer.
    """
    why = structure_mismatch(expected.eager, got)
    if why:
        return _made(expected, "structure", tf32=tf32, why=why)
    eager, answer = list(leaves(expected.eager)), list(leaves(got))
    precise = list(leaves(expected.precise))
    if len(precise) != len(eager):
        precise = eager
    found = _Sum()
    shown: list[Difference] = []
    for at, (want, narrow, have) in enumerate(zip(precise, eager, answer, strict=True)):
        wrong = _compare_leaf(found, want, narrow, have, tf32=tf32, bf16=bf16)
        if len(shown) < SHOWN:
            shown += _differences(at, want, have, wrong, SHOWN - len(shown))
    made = _made(expected, _status(found), tf32=tf32, exact=_all_exact(eager))
    return made.model_copy(
        update={
            "ratio": _capped(found.ratio),
            "loose_ratio": _capped(found.loose),
            "reduced_ratio": _capped(found.reduced),
            "relative": _capped(found.relative),
            "elements": found.total,
            "wrong_share": found.wrong / found.total if found.total else 0.0,
            "differences": tuple(shown),
        }
    )


def failed(expected: Expected, status: ComparisonStatus, why: str) -> Comparison:
    """Return the comparison of a case without an answer: error, timeout, unsupported, missing."""
    return _made(expected, status, tf32=False, why=why)


def _made(
    expected: Expected,
    status: ComparisonStatus,
    *,
    tf32: bool,
    why: str = "",
    exact: bool = False,
) -> Comparison:
    return Comparison(
        case=expected.case,
        group=expected.group,
        status=status,
        tf32=tf32,
        reference="exact" if exact else expected.precision,
        informative=expected.informative,
        own=expected.own,
        why=why[:500],
    )


def _status(found: _Sum) -> ComparisonStatus:
    if found.nonfinite:
        return "nonfinite"
    if found.ratio <= 1:
        return "equal"
    return "imprecise" if found.reduced <= 1 else "differs"


def _capped(ratio: float) -> float:
    return min(ratio, BIG) if ratio == ratio else BIG  # noqa: PLR0124 -- not NaN


def leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the leaves of a nested answer in order."""
    if isinstance(value, list | tuple) and depth < 16:
        for part in value:
            yield from leaves(part, depth + 1)
    elif isinstance(value, dict) and depth < 16:
        for key in sorted(value, key=str):
            yield from leaves(value[key], depth + 1)
    else:
        yield value


def structure_mismatch(want: Any, got: Any, at: str = "output", depth: int = 0) -> str:
    """Say in words how type, structure, shape or dtype differ; empty when they do not."""
    if depth > 16:
        return ""
    if isinstance(want, list | tuple) and isinstance(got, list | tuple):
        if len(want) != len(got):
            return f"{at} has {len(got)} parts, the reference returns {len(want)}"
        pairs = ((f"{at}[{i}]", a, b) for i, (a, b) in enumerate(zip(want, got, strict=True)))
        return _first_mismatch(pairs, depth)
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(want) != set(got):
            return (
                f"{at} is {_kind(got)}, the reference returns a dict with {sorted(map(str, want))}"
            )
        return _first_mismatch(((f"{at}[{key!r}]", want[key], got[key]) for key in want), depth)
    if _is_tensor(want):
        return _tensor_mismatch(want, got, at)
    sequence = isinstance(want, list | tuple)
    if sequence or type(want) is not type(got):
        return f"{at} is {_kind(got)}, the reference returns {_kind(want)}"
    return ""


def _first_mismatch(pairs: Iterator[tuple[str, Any, Any]], depth: int) -> str:
    return next(filter(None, (structure_mismatch(a, b, at, depth + 1) for at, a, b in pairs)), "")


def _tensor_mismatch(want: Any, got: Any, at: str) -> str:
    if not _is_tensor(got):
        return f"{at} is {_kind(got)}, the reference returns a tensor"
    if tuple(want.shape) != tuple(got.shape):
        return f"{at} has shape {tuple(got.shape)}, the reference returns {tuple(want.shape)}"
    if want.dtype != got.dtype:
        return f"{at} is {_dtype(got)}, the reference returns {_dtype(want)}"
    return ""


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "stride")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    return "a tensor" if _is_tensor(value) else f"of type {type(value).__name__}"


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _all_exact(eager: Sequence[Any]) -> bool:
    return not any(_is_tensor(leaf) and _continuous(leaf) for leaf in eager)


def _continuous(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _compare_leaf(found: _Sum, want: Any, narrow: Any, have: Any, *, tf32: bool, bf16: bool) -> Any:
    """Add one leaf to the result; returns the mask of wrong elements (None for plain values)."""
    if not _is_tensor(narrow):
        same = narrow == have or (narrow != narrow and have != have)  # noqa: PLR0124 -- both NaN
        if isinstance(narrow, float) and isinstance(have, float):
            same = same or math.isclose(want, have, rel_tol=1e-5, abs_tol=1e-8)
        found.total += 1
        found.wrong += not same
        if not same:
            found.ratio = found.loose = found.reduced = found.relative = BIG
        return None
    if not _continuous(narrow):
        wrong = have != narrow
        if bool(wrong.any()):
            found.ratio = found.loose = found.reduced = found.relative = BIG
    else:
        bf16 &= narrow.dtype.itemsize > HALF_BYTES
        wrong = _compare_continuous(found, want, narrow, have, tf32=tf32, bf16=bf16)
    found.total += narrow.numel()
    found.wrong += int(wrong.sum())
    return wrong


def _compare_continuous(
    found: _Sum, want: Any, narrow: Any, have: Any, *, tf32: bool, bf16: bool
) -> Any:
    import torch

    wide = torch.complex128 if narrow.is_complex() else torch.float64
    want, eager, have = want.to(wide), narrow.to(wide), have.to(wide)
    # the eager answer decides what is finite: fp64 may hold values that fp32 cannot
    known = torch.isfinite(eager) & torch.isfinite(want)
    want = torch.where(known, want, eager)
    bad = torch.isfinite(have) != torch.isfinite(eager)
    if not narrow.is_complex():
        infinite = torch.isinf(eager)
        bad |= infinite & (have != eager)
        bad |= torch.isnan(have) != torch.isnan(eager)
    found.nonfinite |= bool(bad.any())
    if not bool(known.any()):
        return bad
    error = torch.where(known, (have - want).abs(), 0.0).nan_to_num(nan=BIG, posinf=BIG)
    size = torch.where(known, want.abs(), 0.0)
    scale = float(size.max())
    doubt = float(torch.where(known, (eager - want).abs(), 0.0).max())
    name = str(narrow.dtype).removeprefix("torch.").replace("complex64", "float32")
    rtol, floor = RTOL.get(name, 1e-9), FLOOR.get(name, 1e-10)
    slack = EAGER_FACTOR * doubt
    strict = rtol * size + floor * scale + slack
    reduced = 4 * (BF16_EPS if bf16 else REDUCED_EPS) * (size + scale) + slack + strict
    allowed = strict + 4 * TF32_EPS * (size + scale) if tf32 else strict
    found.ratio = max(found.ratio, _worst(error, allowed))
    found.reduced = max(found.reduced, _worst(error, reduced))
    found.loose = max(found.loose, _worst(error, LOOSE + LOOSE * size))
    found.relative = max(found.relative, _worst(error, size))
    return bad | (error > allowed)


def _worst(error: Any, bound: Any) -> float:
    """Largest error in units of its bound; an error where the bound is zero counts as BIG."""
    import torch

    zero = torch.where(error > 0, BIG, 0.0)
    return float(torch.where(bound > 0, error / bound.clamp_min(1e-300), zero).max())


def _differences(at: int, want: Any, have: Any, wrong: Any, limit: int) -> list[Difference]:
    """Return the first wrong elements with what was expected and what came."""
    if wrong is None:
        if not _is_tensor(want) and want != have:
            return [Difference(output=at, index=(), expected=repr(want)[:40], got=repr(have)[:40])]
        return []
    places = wrong.nonzero()[:limit].tolist()
    return [
        Difference(
            output=at,
            index=tuple(place),
            expected=_text(want[tuple(place)]),
            got=_text(have[tuple(place)]),
        )
        for place in places
    ]


def _text(element: Any) -> str:
    value = element.item()
    return f"{value:.9g}" if isinstance(value, float) else str(value)
