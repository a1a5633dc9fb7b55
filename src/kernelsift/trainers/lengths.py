"""Token lengths of rows: percentiles, buckets, and which sequence length covers how many."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.5, 100.0)
COVERAGES = (99.0, 99.5, 100.0)
USUAL = (2048, 4096, 8192, 16384, 32768)
"""Sequence lengths that people train with."""
STEP = 256
"""Sequence lengths are rounded up to a multiple of this, which suits every attention kernel."""


@dataclass(frozen=True, slots=True)
class RowLength:
    """Tokens of a row: all, and those of the prompt up to where the model begins to speak."""

    sample: str
    total: int
    prompt: int

    @property
    def completion(self) -> int:
        return self.total - self.prompt


@dataclass(frozen=True)
class Lengths:
    """Lengths of all rows, and how they were counted."""

    rows: tuple[RowLength, ...]
    counter: str
    exact: bool
    template: str

    def percentiles(self) -> dict[str, list[int]]:
        """Part -> its length at each of PERCENTILES."""
        parts = {
            "prompt": sorted(row.prompt for row in self.rows),
            "completion": sorted(row.completion for row in self.rows),
            "whole": self.totals(),
        }
        return {
            name: [percentile(values, q) for q in PERCENTILES] for name, values in parts.items()
        }

    def totals(self) -> list[int]:
        """Lengths of whole rows, the shortest first."""
        return sorted(row.total for row in self.rows)

    def covering(self) -> dict[float, int]:
        """Share of rows in percent -> the sequence length that holds as many whole."""
        totals = self.totals()
        return {q: STEP * -(-percentile(totals, q) // STEP) for q in COVERAGES}

    def cut(self) -> dict[int, int]:
        """Usual sequence length -> rows that are longer."""
        totals = self.totals()
        return {size: len(totals) - bisect.bisect_right(totals, size) for size in USUAL}

    def buckets(self) -> list[tuple[int, int, int]]:
        """(more than, up to, rows) for each doubling of the length that has rows between."""
        totals = self.totals()
        edges = [0, *(2**n for n in range(8, 31))]
        counts = [bisect.bisect_right(totals, edge) for edge in edges]
        found = [
            (low, high, more - less)
            for low, high, less, more in zip(edges, edges[1:], counts, counts[1:], strict=False)
        ]
        used = [at for at, (_, _, rows) in enumerate(found) if rows]
        return found[used[0] : used[-1] + 1] if used else []

    def longest(self, count: int = 3) -> list[RowLength]:
        """The longest rows, longest first; equal ones by id."""
        return sorted(self.rows, key=lambda row: (-row.total, row.sample))[:count]

    def as_json(self) -> Mapping[str, Any]:
        """For machines."""
        parts = self.percentiles().items()
        return {
            "rows": len(self.rows),
            "counter": self.counter,
            "exact": self.exact,
            "chat_template": self.template,
            "tokens": sum(row.total for row in self.rows),
            "percentiles": {
                name: {f"{q:g}": v for q, v in zip(PERCENTILES, values, strict=True)}
                for name, values in parts
            },
            "seq_len": {f"{q:g}": size for q, size in self.covering().items()},
            "cut": {str(size): rows for size, rows in self.cut().items()},
            "buckets": [{"over": a, "up_to": b, "rows": n} for a, b, n in self.buckets()],
            "longest": [{"sample_id": r.sample, "tokens": r.total} for r in self.longest()],
        }


def percentile(ordered: Sequence[int], q: float) -> int:
    """Return the smallest length that at least q percent of the rows do not pass (nearest rank,
    Hyndman and Fan 1996, definition 1). 0 where there are no rows."""
    rank = math.ceil(q / 100 * len(ordered) - 1e-9)
    return ordered[max(rank, 1) - 1] if ordered else 0
