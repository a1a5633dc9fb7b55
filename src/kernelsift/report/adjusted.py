"""p-values adjusted for the number of hypotheses that a report tests."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm 1979: the chance of any false one stays below alpha.

    The k-th smallest of m is multiplied by m - k + 1; never falling, at most 1.
    """
    m = len(p_values)
    out = [0.0] * m
    highest = 0.0
    for rank, place in enumerate(_ascending(p_values)):
        highest = max(highest, min(1.0, (m - rank) * p_values[place]))
        out[place] = highest
    return out


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Benjamini & Hochberg 1995: the expected share of false ones among
    those below alpha stays below alpha, for independent or positively dependent tests.

    The k-th smallest of m is multiplied by m / k; never falling, at most 1.
    """
    m = len(p_values)
    out = [0.0] * m
    lowest = 1.0
    for rank, place in reversed(list(enumerate(_ascending(p_values), start=1))):
        lowest = min(lowest, p_values[place] * m / rank)
        out[place] = lowest
    return out


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=p_values.__getitem__)
