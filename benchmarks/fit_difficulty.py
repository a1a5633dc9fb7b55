"""Fit the static judge's difficulty to labelled programs; say how well it does by cross-validation.

    python benchmarks/fit_difficulty.py            # print the tables, write the file
    python benchmarks/fit_difficulty.py --check    # whether the file comes out, up to last digits

Two heads: `kernel` learns from 92 Triton kernels labelled 1-5, `module` from KernelBench levels
1-3. A program's index is a weighted sum of log(1 + feature); knots map it to 0-10, so that the K
labels of a scale are K bands of equal width. Programs that are nearly the same never stand on both
sides of a fold: the two versions of a KernelBench problem, and kernels that repeat each other.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import say, show
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import spearmanr

from kernelsift.kernels.difficulty import FORMAT, HIGHEST, MODEL_FILE, in_steps, interpolate
from kernelsift.kernels.features import FEATURES_VERSION, features_of, reference_features_of
from kernelsift.kernels.metrics import read_program

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHIPPED = Path(__file__).resolve().parents[1] / "src" / "kernelsift" / "data" / MODEL_FILE
VERSION = "difficulty-1"
FITTED = "2026-11-23"
FOLDS = 10
REPEATS = 20
NESTED_REPEATS = 5
PENALTY = 1.0
"""Ridge penalty of the ordinal fit, on standardised features."""
ALIKE = 0.5
"""Kernels whose runs of five tokens are this similar (Jaccard) stay in one fold."""
_TOKEN = re.compile(r"\w+|[^\w\s]")
DIGITS = 4
LAST_DIGITS = 2e-3
"""Coefficients, knots and measures that differ by no more are the same."""

SIZE = ("kernel_nodes", "kernel_names", "kernel_arithmetic", "widest_kernel")
KERNEL_FEATURES = (*SIZE, "conversions", "host_nodes")
KERNEL_CANDIDATES = {
    "size": SIZE,
    "size, conversions": (*SIZE, "conversions"),
    "size, host": (*SIZE, "host_nodes"),
    "size, conversions, host": KERNEL_FEATURES,
    "size, control": (*SIZE, "nesting", "cyclomatic"),
    "size, Halstead": (*SIZE, "halstead_effort"),
    "size, matrix units": (*SIZE, "looped_dots", "exponentials"),
    "all of these": (*KERNEL_FEATURES, "nesting", "cyclomatic", "halstead_effort", "looped_dots",
                     "exponentials"),
}  # fmt: skip
MODULE_FEATURES = ("computing_calls", "operators", "layers", "classes", "loops", "networks")
MODULE_CANDIDATES = {
    "calls": ("computing_calls", "operators"),
    "calls, layers": ("computing_calls", "operators", "layers"),
    "calls, layers, networks": ("computing_calls", "operators", "layers", "networks"),
    "calls, layers, classes, loops, networks": MODULE_FEATURES,
    "distinct calls, layers, networks": ("unique_calls", "layers", "networks"),
}
SHARED_FEATURES = ("nodes", "calls", "cyclomatic", "halstead_effort", "code_lines", "functions")
"""What kernels and modules both have: for the question whether one head would do."""


@dataclass(frozen=True)
class Data:
    """Programs with their features, labels from 0, and the group that each belongs to."""

    name: str
    features: list[dict[str, float]]
    labels: Labels
    groups: list[str]
    scale: int
    """Labels that the scale has; those that no row carries count as well."""
    source: Mapping[str, object]

    def matrix(self, names: Sequence[str]) -> Matrix:
        return np.log1p(np.array([[row[name] for name in names] for row in self.features], float))


@dataclass(frozen=True)
class Fitted:
    """A head without the names of its features."""

    intercept: float
    weights: Matrix
    knots: list[tuple[float, float]]

    def values(self, features: Matrix) -> Matrix:
        """Difficulties, as `kernelsift.static_difficulty` gives them."""
        indices = self.intercept + features @ self.weights
        return np.array([in_steps(interpolate(self.knots, i)) for i in indices.tolist()])


@dataclass(frozen=True)
class Method:
    """A way to fit an index and its knots."""

    name: str
    fit: Callable[[Matrix, Labels, int], "Fitted"]


@dataclass(frozen=True)
class Score:
    """Agreement with the labels over repeats of the cross-validation."""

    spearman: tuple[float, float]
    kappa: tuple[float, float]

    def cells(self) -> list[str]:
        return [f"{mean:.3f} ± {sd:.3f}" for mean, sd in (self.spearman, self.kappa)]


# ---- data ---------------------------------------------------------------------------------------


def kernels() -> Data:
    """The labelled Triton kernels."""
    path = SHARED / "difficulty-dev.parquet"
    rows = pq.read_table(path, columns=["code", "difficulty"]).to_pylist()
    codes = [row["code"] for row in rows]
    labels = np.array([row["difficulty"] - 1 for row in rows])
    licence = "Apache-2.0 (TritonBench); each kernel keeps the licence of its repository"
    source = _source(path, labels + 1, licence)
    return Data("kernel", [measured(c) for c in codes], labels, _alike(codes), 5, source)


def modules() -> Data:
    """KernelBench levels 1-3, both versions."""
    path = SHARED / "kernelbench.parquet"
    rows = pq.read_table(path, columns=["code", "level", "problem_id"]).to_pylist()
    rows = [row for row in rows if row["level"] <= 3]
    labels = np.array([row["level"] - 1 for row in rows])
    source = _source(path, labels + 1, "MIT (KernelBench)")
    groups = [f"{row['level']}/{row['problem_id']}" for row in rows]
    return Data("module", [measured(r["code"]) for r in rows], labels, groups, 3, source)


def measured(code: str) -> dict[str, float]:
    """Features of a program, those of a kernel and those of a module."""
    program = read_program(code)
    assert program is not None
    both = {**vars(features_of(program)), **vars(reference_features_of(program))}
    found = {name: float(v) for name, v in both.items() if isinstance(v, int | float)}
    found["tokens"] = float(len(_TOKEN.findall(code)))
    return found


def _source(path: Path, labels: Labels, licence: str) -> dict[str, object]:
    counts = {str(k): int(v) for k, v in sorted(Counter(labels.tolist()).items())}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "rows": len(labels), "labels": counts,
            "licence": licence}  # fmt: skip


def _alike(codes: list[str]) -> list[str]:
    """A group per code: those that share half of their runs of five tokens, and so on in chains."""
    runs = [{tuple(tokens[at : at + 5]) for at in range(len(tokens))}
            for tokens in map(_TOKEN.findall, codes)]  # fmt: skip
    group = list(range(len(codes)))
    for left, right in combinations(range(len(codes)), 2):
        if len(runs[left] & runs[right]) >= ALIKE * len(runs[left] | runs[right]):
            one, other = sorted((group[left], group[right]))
            group = [one if g == other else g for g in group]
    return [str(g) for g in group]


# ---- two ways to fit ----------------------------------------------------------------------------


def by_covariance(features: Matrix, labels: Labels, scale: int) -> Fitted:
    """Weigh each standardised feature by its covariance with the label (one PLS component).

    The knots lay the shares of the labels over the index: as many programs fall into each band as
    carry its label. Nothing is inverted, so that features which say the same do no harm. Beyond
    the lowest program and the highest cut the lines go on.
    """
    mean, sd = _moments(features)
    weights = ((features - mean) / sd).T @ (labels - labels.mean()) / len(labels) / sd
    intercept = -float(mean @ weights)
    index = np.sort(intercept + features @ weights)
    width = HIGHEST / scale
    first = int(labels.min())
    shares = np.cumsum(np.bincount(labels, minlength=scale)) / len(labels)
    cuts = [(float(np.quantile(index, shares[k])), width * (k + 1)) for k in range(scale - 1)
            if 0 < shares[k] < 1]  # fmt: skip
    lowest, bottom = float(index[0]), width * first
    low = max(cuts[0][0] - lowest, 1e-3) / width
    high = max(cuts[-1][0] - cuts[-2][0], 1e-3) / width
    start = lowest - low * bottom - 1e-3
    end = cuts[-1][0] + high * (HIGHEST - cuts[-1][1])
    knots = [(start, 0.0), (lowest, bottom), *cuts, (end, HIGHEST)]
    return Fitted(intercept, weights, knots)


def by_odds(features: Matrix, labels: Labels, scale: int) -> Fitted:
    """Fit a proportional-odds model: P(label > k) = logistic(index - cut k), ridge on the weights.

    The value is the centre of the expected band; only labels that occur have cuts. One more cut,
    as far above the last as that is above the one before, stands for what is harder than the
    scale: it is assumed, not fitted.
    """
    mean, sd = _moments(features)
    scaled = (features - mean) / sd
    first, kinds = int(labels.min()), int(labels.max() - labels.min()) + 1
    weights, cuts = _maximum_likelihood(scaled, labels - first, kinds)
    weights = weights / sd
    cuts = [*cuts, 2 * cuts[-1] - cuts[-2]]
    width = HIGHEST / scale
    lowest = width * (first + 0.5)
    steps = [*[width] * (kinds - 1), HIGHEST - lowest - width * (kinds - 1)]
    grid = np.linspace(cuts[0] - 4, cuts[-1] + 4, 25)
    values = lowest + sum(s * expit(grid - cut) for s, cut in zip(steps, cuts, strict=True))
    knots = list(zip(grid.tolist(), np.asarray(values).tolist(), strict=True))
    return Fitted(-float(mean @ weights), weights, knots)


def _moments(features: Matrix) -> tuple[Matrix, Matrix]:
    return features.mean(0), np.maximum(features.std(0), 1e-9)


def _maximum_likelihood(features: Matrix, labels: Labels, scale: int) -> tuple[Matrix, list[float]]:
    count = features.shape[1]

    def cuts_of(free: Matrix) -> Matrix:
        return np.asarray(free[0] + np.concatenate([[0.0], np.cumsum(np.exp(free[1:]))]))

    def loss(free: Matrix) -> float:
        index = features @ free[:count]
        below = expit(cuts_of(free[count:])[None, :] - index[:, None])
        ends = np.ones((len(index), 1))
        below = np.hstack([0 * ends, below, ends])
        rows = np.arange(len(index))
        chance = below[rows, labels + 1] - below[rows, labels]
        ridge = PENALTY * float(free[:count] @ free[:count]) / 2
        return ridge - float(np.log(np.maximum(chance, 1e-12)).sum())

    start = np.concatenate([np.zeros(count), [-1.0], np.zeros(scale - 2)])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 500})
    return found.x[:count], cuts_of(found.x[count:]).tolist()


COVARIANCE = Method("covariance", by_covariance)
ODDS = Method("proportional odds", by_odds)


# ---- how well -----------------------------------------------------------------------------------


def kappa(one: Labels, other: Labels, scale: int) -> float:
    """Cohen's kappa with quadratic weights."""
    seen = np.zeros((scale, scale))
    np.add.at(seen, (one, other), 1)
    weights = np.subtract.outer(np.arange(scale), np.arange(scale)) ** 2
    expected = np.outer(seen.sum(1), seen.sum(0)) / seen.sum()
    return float(1 - (weights * seen).sum() / (weights * expected).sum())


def bands(values: Matrix, scale: int) -> Labels:
    """The label whose band a difficulty falls into, from 0."""
    return np.clip(np.floor(values * scale / HIGHEST + 1e-9), 0, scale - 1).astype(np.int64)


def folds(data: Data, seed: int) -> Labels:
    """A fold per program; a group is never split."""
    names = sorted(set(data.groups))
    order = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    fold = dict(zip(names, order.tolist(), strict=True))
    return np.array([fold[group] for group in data.groups])


Choose = Callable[[Data, Labels, NDArray[np.bool_]], tuple[Method, Sequence[str]]]


def cross_validate(data: Data, choose: Choose, repeats: int = REPEATS) -> Score:
    """Agreement of predictions made out of fold; the method is chosen on the rest alone."""
    found = []
    for seed in range(repeats):
        fold = folds(data, seed)
        values = np.zeros(len(fold))
        for number in range(FOLDS):
            rest = fold != number
            method, names = choose(data, fold, rest)
            features = data.matrix(names)
            fitted = method.fit(features[rest], data.labels[rest], data.scale)
            values[~rest] = fitted.values(features[~rest])
        found.append(_agreement(values, data))
    means, sds = np.mean(found, axis=0), np.std(found, axis=0)
    return Score((float(means[0]), float(sds[0])), (float(means[1]), float(sds[1])))


def _agreement(values: Matrix, data: Data) -> tuple[float, float]:
    rho = float(spearmanr(values, data.labels).statistic)
    return rho, kappa(bands(values, data.scale), data.labels, data.scale)


def always(method: Method, names: Sequence[str]) -> Choose:
    """The same features in every fold."""
    return lambda _data, _fold, _rest: (method, names)


def best_of(options: Sequence[tuple[Method, Sequence[str]]]) -> Choose:
    """The option that does best by cross-validation within the training folds."""

    def choose(data: Data, fold: Labels, rest: NDArray[np.bool_]) -> tuple[Method, Sequence[str]]:
        return max(options, key=lambda option: _inner(data, fold, rest, option))

    return choose


def _inner(
    data: Data, fold: Labels, rest: NDArray[np.bool_], option: tuple[Method, Sequence[str]]
) -> float:
    method, names = option
    features = data.matrix(names)
    values = np.zeros(len(fold))
    for number in sorted(set(fold[rest].tolist())):
        training, test = rest & (fold != number), fold == number
        fitted = method.fit(features[training], data.labels[training], data.scale)
        values[test] = fitted.values(features[test])
    return float(spearmanr(values[rest], data.labels[rest]).statistic)


# ---- tables and the file ------------------------------------------------------------------------


def compare(data: Data, method: Method, chosen: Sequence[str],
            candidates: Mapping[str, Sequence[str]]) -> dict[str, Score]:  # fmt: skip
    """Cross-validate the shipped head, its rivals and the plain baselines."""
    other = ODDS if method is COVARIANCE else COVARIANCE
    plain = {"log tokens": "tokens", "log lines": "code_lines",
             "log Halstead volume": "halstead_volume",
             "log Halstead effort": "halstead_effort", "log calls": "calls"}  # fmt: skip
    found = {name: cross_validate(data, always(COVARIANCE, [f])) for name, f in plain.items()}
    found[f"shipped ({method.name}, {len(chosen)} features)"] = cross_validate(
        data, always(method, chosen)
    )
    found[f"same features, {other.name}"] = cross_validate(data, always(other, chosen))
    options = [(method, names) for names in candidates.values()]
    found["nested: features chosen in the training folds"] = cross_validate(
        data, best_of(options), NESTED_REPEATS
    )
    return found


def one_head(kernel: Data, module: Data) -> list[list[str]]:
    """One head for both, on what both have: agreement within each set of labels."""
    rows = []
    for method in (COVARIANCE, ODDS):
        found = []
        for seed in range(NESTED_REPEATS):
            sides = [(d, folds(d, seed), d.matrix(SHARED_FEATURES)) for d in (kernel, module)]
            values = [np.zeros(len(d.labels)) for d, _, _ in sides]
            for number in range(FOLDS):
                # labels of both scales as tenths of 0-10, laid on five bands
                features = np.concatenate([x[f != number] for _, f, x in sides])
                labels = np.concatenate([_fifths(d)[f != number] for d, f, _ in sides])
                fitted = method.fit(features, labels, 5)
                for at, (_, f, x) in enumerate(sides):
                    values[at][f == number] = fitted.values(x[f == number])
            found.append([float(spearmanr(v, d.labels).statistic)
                          for v, (d, _, _) in zip(values, sides, strict=True)])  # fmt: skip
        means, sds = np.mean(found, axis=0), np.std(found, axis=0)
        rows.append([f"one head, {method.name}",
                     *(f"{m:.3f} ± {s:.3f}" for m, s in zip(means, sds, strict=True))])  # fmt: skip
    return rows


def _fifths(data: Data) -> Labels:
    centres = (data.labels + 0.5) * HIGHEST / data.scale
    return bands(centres, 5)


def head(data: Data, method: Method, names: Sequence[str], score: Score | None) -> dict[str, Any]:
    """A head as it stands in the file."""
    fitted = method.fit(data.matrix(names), data.labels, data.scale)
    return {
        "data": data.source,
        "labels": data.scale,
        "method": method.name,
        "intercept": round(fitted.intercept, DIGITS),
        "coefficients": {n: round(w, DIGITS) for n, w in
                         zip(names, fitted.weights.tolist(), strict=True)},
        "knots": [[round(a, DIGITS), round(b, DIGITS)] for a, b in fitted.knots],
        "cross_validation": score and {
            "folds": FOLDS, "repeats": REPEATS, "groups": len(set(data.groups)),
            "spearman": [round(v, 3) for v in score.spearman],
            "quadratic_weighted_kappa": [round(v, 3) for v in score.kappa],
        },
    }  # fmt: skip


def main() -> None:
    """Fit; print tables and write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the shipped file")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    text = fitted_file()
    if options.check:
        same = alike(json.loads(text), json.loads(options.out.read_text(encoding="utf-8")))
        say("the shipped file comes out" if same else "the shipped file does NOT come out")
        sys.exit(not same)
    options.out.write_text(text, encoding="utf-8")
    columns = ("", "Spearman", "quadratic-weighted kappa")
    for data, method, chosen, candidates in heads():
        found = compare(data, method, chosen, candidates)
        rows = [[name, *score.cells()] for name, score in found.items()]
        groups = len(set(data.groups))
        title = f"{data.name}: {len(data.labels)} programs, {groups} groups, {REPEATS} repeats"
        show(title, columns, rows)
    show("one head, Spearman", ("", "kernels", "modules"), one_head(kernels(), modules()))


def alike(made: Any, shipped: Any) -> bool:
    """Whether two fits are one: where the optimiser stops depends on the machine's arithmetic."""
    if isinstance(made, dict) and isinstance(shipped, dict):
        return made.keys() == shipped.keys() and all(alike(made[k], shipped[k]) for k in made)
    if isinstance(made, list) and isinstance(shipped, list):
        return len(made) == len(shipped) and all(map(alike, made, shipped))
    if isinstance(made, float) and isinstance(shipped, float):
        return abs(made - shipped) <= LAST_DIGITS
    return bool(made == shipped)


def heads() -> list[tuple[Data, Method, Sequence[str], Mapping[str, Sequence[str]]]]:
    """What the file holds."""
    return [
        (kernels(), COVARIANCE, KERNEL_FEATURES, KERNEL_CANDIDATES),
        (modules(), ODDS, MODULE_FEATURES, MODULE_CANDIDATES),
    ]


def fitted_file() -> str:
    """The text of the file of coefficients."""
    found = {}
    for data, method, chosen, _ in heads():
        score = cross_validate(data, always(method, chosen))
        found[data.name] = head(data, method, chosen, score)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "fitted": FITTED,
        "features_version": FEATURES_VERSION,
        "by": "benchmarks/fit_difficulty.py",
        "scale": "0-10; the K labels of a head are K bands of equal width",
        "heads": found,
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    main()
