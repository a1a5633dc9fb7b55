"""Files that people write: human labels and canary sets, as CSV or JSONL. Read strictly."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelsift.errors import DataError
from kernelsift.model import Entry, SampleId

SCORE_COLUMNS = ("difficulty", "style")


@dataclass(frozen=True, slots=True)
class Label:
    """What one human says of one row."""

    sample: SampleId
    rater: str
    scores: Mapping[str, float]
    """On the scale of the judge, 0-10."""
    weight: float


@dataclass(frozen=True, slots=True)
class Canary:
    """A program with the scores that it is known to get."""

    id: str
    module: str
    code: str
    reference: str
    expected: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """The ends of the scale that labels are given on; they are stretched to 0-10."""

    low: float = 0.0
    high: float = 10.0

    def stretched(self, value: float) -> float:
        """The value on a scale of 0-10. Raises ValueError where it is off the scale."""
        if not self.low <= value <= self.high:
            raise ValueError(f"labels run from {self.low:g} to {self.high:g}")
        return 10 * (value - self.low) / (self.high - self.low)


def read_labels(path: Path, entries: Sequence[Entry], scale: Scale) -> list[Label]:
    """Read human labels.

    Columns: `id` (as in ledger.parquet) or `row` (position in the source, from 0), `difficulty` or
    `style` or both (an empty cell is no label), and where wanted `rater` and `weight`.

    Raises:
        DataError: the file cannot be read, or a line of it names no row of the run, holds no
            number, or labels a row twice by the same rater.
    """
    ids = {str(entry.id): entry.id for entry in entries}
    rows = {str(entry.row): entry.id for entry in entries}
    found: list[Label] = []
    seen: set[tuple[SampleId, str]] = set()
    for place, row in _rows(path):
        names, known = ("id", ids) if row.get("id") not in {None, ""} else ("row", rows)
        given = str(row.get(names, "")).strip()
        if given not in known:
            raise DataError(
                f"{place}: {names} {given!r} is no row of this run; `id` is that of "
                "ledger.parquet, `row` counts the source's rows from 0"
            )
        rater = str(row.get("rater") or "human").strip()
        if (known[given], rater) in seen:
            raise DataError(f"{place}: {rater} has labelled {given} before; leave one of them out")
        seen.add((known[given], rater))
        scores = _scores(place, row, scale)
        weight = _number(place, "weight", row["weight"]) if row.get("weight") else 1.0
        if weight <= 0:
            raise DataError(f"{place}: weight is {weight:g}; it is 1 / probability, so above 0")
        if scores:
            found.append(Label(known[given], rater, scores, weight))
    if not found:
        raise DataError(f"{path} has no label: it needs a column difficulty or style with numbers")
    return found


def read_canary(path: Path) -> list[Canary]:
    """Read a canary set: `code`, the expected `difficulty` and `style`, and where there is one the
    PyTorch module as `reference`, its name as `module`, and an `id`.

    Raises:
        DataError: the file cannot be read, a line has no code or no score, or an id comes twice.
    """
    found: dict[str, Canary] = {}
    for number, (place, row) in enumerate(_rows(path)):
        code = row.get("code")
        expected = _scores(place, row, Scale())
        if not isinstance(code, str) or not code.strip():
            raise DataError(f"{place}: there is no code; a canary needs the program itself")
        if not expected:
            raise DataError(f"{place}: there is no score; give difficulty, style or both")
        name = str(row.get("id") or number)
        if name in found:
            raise DataError(f"{place}: id {name} was there before; ids must differ")
        module = str(row.get("module") or name)
        found[name] = Canary(name, module, code, str(row.get("reference") or ""), expected)
    if not found:
        raise DataError(f"{path} is empty; write one with --save-canary FILE")
    return list(found.values())


def canary_lines(canaries: Sequence[Canary]) -> str:
    """A canary set as JSONL."""
    return "".join(
        json.dumps(
            {"id": c.id, "module": c.module, **c.expected, "code": c.code,
             "reference": c.reference},
            ensure_ascii=False,
        ) + "\n"
        for c in canaries
    )  # fmt: skip


def _scores(place: str, row: Mapping[str, Any], scale: Scale) -> dict[str, float]:
    scores = {}
    for name in SCORE_COLUMNS:
        given = row.get(name)
        if given is None or str(given).strip() == "":
            continue
        try:
            scores[name] = scale.stretched(_number(place, name, given))
        except ValueError as e:
            raise DataError(
                f"{place}: {name} is {given}; {e} (reliability.label_low, reliability.label_high)"
            ) from None
    return scores


def _number(place: str, name: str, given: object) -> float:
    try:
        value = float(str(given)) if not isinstance(given, bool) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: {name} is {given!r}, which is no number")
    return value


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the place (file:line) and the columns of each row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot read {path}: {e}; it must be CSV or JSONL in UTF-8") from e
    yield from _csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text)


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise DataError(f"{path.name}:{number}: no JSON object ({e})") from e
        if not isinstance(row, dict):
            raise DataError(f"{path.name}:{number}: a JSON object is needed, not {line[:40]!r}")
        yield f"{path.name}:{number}", row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path.name}:{reader.line_num}: {len(reader.fieldnames or ())} columns are "
                    "named in the first line, and here is another number of them"
                )
            yield f"{path.name}:{reader.line_num}", row
    except csv.Error as e:
        raise DataError(f"{path.name}:{reader.line_num}: no CSV ({e})") from e
