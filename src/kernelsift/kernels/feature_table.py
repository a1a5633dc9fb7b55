"""The features of a row as named numbers: what `features.parquet` holds. See docs/features.md."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

from kernelsift.kernels.difficulty import difficulty_of, model_version, module_difficulty
from kernelsift.kernels.features import (
    FEATURES_VERSION,
    Features,
    ReferenceFeatures,
    features_of,
    reference_features_of,
)
from kernelsift.kernels.lint import RULES, lint
from kernelsift.kernels.metrics import read_program
from kernelsift.kernels.operations import FREE, Group

VERSION = f"features-{FEATURES_VERSION}.1"
"""Changes whenever the same row may get other numbers."""
Numbers = Mapping[str, float]
_MODULES = 4096
"""Modules whose features are remembered: many rows answer the same one."""
ANSWER_NAMES: tuple[str, ...] = (
    *(f.name for f in fields(Features) if f.name != "compute_names"),
    "difficulty",
    "lint",
    *(f"lint_{rule.replace('-', '_')}" for rule in RULES),
)
"""Features of an answer, in the order of the table's columns."""
REFERENCE_NAMES: tuple[str, ...] = (
    *(f.name for f in fields(ReferenceFeatures) if f.name not in {"groups", "names"}),
    "difficulty",
)
"""Features of a PyTorch module."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """What can be seen of one row; None where Python cannot read the text, or there is none."""

    answer: Numbers | None
    """`ANSWER_NAMES` -> value."""
    reference: Numbers | None
    """`REFERENCE_NAMES` -> value."""
    kinds: tuple[Group, ...]
    """Classes of the module's computing operations, each once, in the order of `GROUPS`."""


def versions() -> tuple[str, str]:
    """What, besides the texts, decides the numbers: of the features and of the fitted model."""
    return VERSION, model_version()


def feature_row(code: str, reference: str = "") -> FeatureRow:
    """Measure an answer and its PyTorch module. Never raises, whatever the texts are."""
    task = _reference(reference)
    return FeatureRow(_answer(code), task and task[0], task[1] if task else ())


def _answer(code: str) -> Numbers | None:
    program = read_program(code) if code.strip() else None
    if program is None:
        return None
    features = features_of(program)
    found = vars(features)
    counts = Counter(finding.rule for finding in lint(program))
    values = {name: float(found[name]) for name in ANSWER_NAMES if name in found}
    values |= {"difficulty": difficulty_of(program, features).value, "lint": float(counts.total())}
    return values | {f"lint_{rule.replace('-', '_')}": float(counts[rule]) for rule in RULES}


@lru_cache(_MODULES)
def _reference(reference: str) -> tuple[Numbers, tuple[Group, ...]] | None:
    program = read_program(reference) if reference.strip() else None
    if program is None:
        return None
    found = reference_features_of(program)
    values = {name: float(vars(found)[name]) for name in REFERENCE_NAMES if name in vars(found)}
    kinds = tuple(group for group in found.groups if group not in FREE)
    return values | {"difficulty": module_difficulty(found).value}, kinds
