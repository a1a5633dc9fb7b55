"""How hard a program is, 0-10, by a small model that was fitted to human labels.

The model is a file of the package: a head for Triton kernels and one for PyTorch modules. A head
weighs log(1 + feature) into an index and maps the index to 0-10 by straight lines between knots.
The K labels of its scale are K bands of equal width: label k of 5 is [2k - 2, 2k], level k of 3 is
[10 (k - 1) / 3, 10 k / 3]. `benchmarks/fit_difficulty.py` fits it and says how well it does.
"""

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from kernelsift.errors import DataError
from kernelsift.kernels.features import (
    Features,
    ReferenceFeatures,
    features_of,
    reference_features_of,
)
from kernelsift.kernels.metrics import Program, read_program

FORMAT = 1
MODEL_FILE = "difficulty-1.json"
HIGHEST = 10.0


@dataclass(frozen=True, slots=True)
class Head:
    """One index and its way to 0-10."""

    intercept: float
    coefficients: Mapping[str, float]
    """Feature -> weight of log(1 + feature)."""
    knots: Sequence[tuple[float, float]]
    """(index, difficulty), both ascending; beyond the ends the difficulty stays as it is there."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """A difficulty from 0 to 10 in steps of 0.1, and which head says so."""

    value: float
    head: Literal["kernel", "module"]


def static_difficulty(code: str) -> float:
    """How hard the task of a program is, 0 (nothing is computed) to 10, in steps of 0.1.

    `code` is a Triton kernel with its host code, or a PyTorch module: where a function is compiled
    by Triton the kernel head answers, else the module head. Nothing is run.

    Raises:
        DataError: Python cannot parse the text.
    """
    program = read_program(code)
    if program is None:
        raise DataError(
            f"no difficulty: the text is no Python ({code[:40]!r} …); take the program out of an "
            "answer with kernelsift.extract first"
        )
    return difficulty_of(program).value


def kernel_difficulty(features: Features) -> Difficulty:
    """How hard a Triton program is, by its kernels."""
    return Difficulty(_value(_heads()[1]["kernel"], features), "kernel")


def module_difficulty(features: ReferenceFeatures) -> Difficulty:
    """How hard a PyTorch module is to write as kernels; 0 where no computation is known in it."""
    if not features.operations + features.networks:
        return Difficulty(0.0, "module")
    return Difficulty(_value(_heads()[1]["module"], features), "module")


def difficulty_of(program: Program, features: Features | None = None) -> Difficulty:
    """How hard a parsed program is, by the head that fits it; `features` where they are known."""
    features = features or features_of(program)
    if features.kernels:
        return kernel_difficulty(features)
    return module_difficulty(reference_features_of(program))


def model() -> Mapping[str, object]:
    """The whole file of coefficients: data, licence, folds, agreement."""
    text = files("kernelsift.data").joinpath(MODEL_FILE).read_text(encoding="utf-8")
    found: dict[str, object] = json.loads(text)
    return found


def model_version() -> str:
    """Name of the fitted model, e.g. `difficulty-1`."""
    return _heads()[0]


def interpolate(knots: Sequence[tuple[float, float]], index: float) -> float:
    """Return the value at an index on the straight lines between knots; the ends go on level."""
    at = bisect.bisect_right(knots, index, key=lambda knot: knot[0])
    if at == 0:
        return knots[0][1]
    if at == len(knots):
        return knots[-1][1]
    (left, low), (right, high) = knots[at - 1], knots[at]
    return low + (high - low) * (index - left) / (right - left)


def in_steps(value: float) -> float:
    """Round down to a step of 0.1, so that rounding lifts nothing into the next band."""
    return math.floor(value * 10 + 1e-9) / 10


def _value(head: Head, features: Features | ReferenceFeatures) -> float:
    index = head.intercept + sum(
        weight * math.log1p(getattr(features, name)) for name, weight in head.coefficients.items()
    )
    return in_steps(interpolate(head.knots, index))


@cache
def _heads() -> tuple[str, Mapping[str, Head]]:
    """Version and heads of the model, read once."""
    found = model()
    heads = found["heads"]
    assert found["format"] == FORMAT
    assert isinstance(heads, dict)
    return str(found["version"]), {
        name: Head(h["intercept"], h["coefficients"], tuple((a, b) for a, b in h["knots"]))
        for name, h in heads.items()
    }
