"""A table with the marginals that the first runs of this pipeline published.

Known are: 7,181 rows; a histogram of difficulty that sums to 7,054 (mean 4.15, sd 1.76) and one of
style that sums to 7,040 (mean 1.60, sd 1.37, 559 at 0, 59.2 % at 1, 86.3 % at 0-2, 514 at 5-6,
9.0 % at 4-7); reward mean 1.006, sd 0.050; r = +0.07, -0.034 and -0.49. The histograms below were
searched for these numbers; the pairs come from a normal copula, and the reward is made to have
exactly its two correlations. Rows with a difficulty and no style (14) were no verdict, either.
"""

import numpy as np

from kernelsift.report.stats import Scored

STYLE = (559, 4168, 1349, 325, 60, 360, 154, 60, 5, 0, 0)
DIFFICULTY = (13, 217, 1393, 803, 1674, 1596, 674, 426, 137, 91, 30)
WITHOUT_STYLE = 14
"""Rows with a difficulty alone; they stand at 4 in the histogram above."""
ROWS, MODULES = 7181, 2967


def published_rows() -> list[Scored]:
    """The 7,040 rows that have both scores."""
    rng = np.random.default_rng(4)
    both = np.array(DIFFICULTY)
    both[4] -= WITHOUT_STYLE
    style, difficulty = (np.repeat(np.arange(11.0), counts) for counts in (STYLE, both))
    n = len(style)
    x = rng.normal(size=n)
    y = -0.64 * x + np.sqrt(1 - 0.64**2) * rng.normal(size=n)
    difficulty, style = difficulty[np.argsort(np.argsort(x))], style[np.argsort(np.argsort(y))]
    reward = _with_correlations(np.stack([difficulty, style]), (0.07, -0.034), rng)
    module = rng.integers(MODULES, size=n)
    columns = zip(module, reward, difficulty, style, strict=True)
    return [
        Scored(f"{i:05d}", f"M{m}", float(r), float(d), float(s))
        for i, (m, r, d, s) in enumerate(columns)
    ]


def _with_correlations(columns, wanted, rng):
    """A reward of mean 1.006 and sd 0.050, all above 0.85, with these correlations."""
    z = (columns - columns.mean(axis=1, keepdims=True)) / columns.std(axis=1, keepdims=True)
    slopes = np.linalg.solve(np.corrcoef(z), wanted)
    noise = np.clip(rng.normal(size=columns.shape[1]), -2.5, 2.5)
    basis = np.vstack([np.ones(columns.shape[1]), z])
    noise -= basis.T @ np.linalg.lstsq(basis.T, noise, rcond=None)[0]
    signal = slopes @ z
    mixed = signal + noise / noise.std() * np.sqrt(1 - signal.var())
    return 1.006 + 0.05 * mixed / mixed.std()
