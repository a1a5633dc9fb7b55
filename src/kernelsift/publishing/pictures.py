"""The pictures of a card: the funnel, and how the scores of the published rows are spread."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernelsift.report.card_facts import CardFacts, Figure, Spread

if TYPE_CHECKING:
    from kernelsift.report.bootstrap import FloatArray

FOLDER = "plots"
SCORES = ("reward", "difficulty", "style")
_FEW = 2
"""A funnel of fewer steps is no picture."""


def draw(card: CardFacts, table: Path, folder: Path, title: str) -> CardFacts:
    """Draw what there is to draw below `folder`; returns the card with its figures and spreads."""
    from kernelsift.report.card_figures import funnel_figure, scores_figure, spread_of
    from kernelsift.report.plots import save

    figures: dict[str, Figure] = {}
    spreads: tuple[Spread, ...] = ()
    if len(card.funnel) >= _FEW and card.input_rows:
        path = f"{FOLDER}/funnel.png"
        save(funnel_figure(card.funnel, f"Where {card.input_rows:,} rows went · {title}"),
             folder / path)  # fmt: skip
        figures["funnel"] = Figure(path, "Bars: rows that came to each stage and went on")
    values = _columns(table)
    if values:
        path = f"{FOLDER}/scores.png"
        save(scores_figure(values, f"Scores of the published rows · {title}"), folder / path)
        names = ", ".join(values)
        figures["scores"] = Figure(path, f"Histograms of {names}")
        spreads = tuple(spread_of(name, found) for name, found in values.items())
    return replace(card, figures=figures, spreads=spreads)


def _columns(table: Path) -> "dict[str, FloatArray]":
    """The numeric score columns of a table, nulls and what is not finite left out."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(table)
    names = [name for name in SCORES if name in schema.names]
    found = pq.read_table(table, columns=names)
    out = {}
    for name in names:
        kind = schema.field(name).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            numbers = found.column(name).drop_null().to_numpy().astype(np.float64)
            finite = numbers[np.isfinite(numbers)]
            if len(finite):
                out[name] = finite
    return out
