"""The table that the benchmarks work on: 18,162 rollouts of ~45 KB, made from real ones.

Every row is a real rollout with a long reasoning text before its code, a comment of its own in the
code (so that no two rows share an answer), and a module name of KernelBook. The same arguments
always give the same rows. Where the real rollouts are not at hand, the bundled sample stands in.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from machine import ROLLOUTS, WORK, say

from kernelsift.source import answer_text, extract

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SAMPLE = Path(__file__).resolve().parents[1] / "src" / "kernelsift" / "data" / "sample.jsonl"
MODULES = SHARED / "kernelbook-modules.parquet"
ROW_BYTES = 45_000
PASSING = 0.40
"""Share of rewards above 0.85."""
_NAMES = 6_980
_CORPUS_WORDS = 2_500_000
_CHUNK = 256


def table(kind: str, rows: int = ROLLOUTS) -> Path:
    """The table as `jsonl` or `parquet`, written when it is not there yet."""
    path = WORK / f"rollouts-{rows}.{kind}"
    if not path.exists():
        say(f"writing {path.name} …")
        WORK.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{kind}.part")
        base, schema = _base()
        if kind == "jsonl":
            with draft.open("wb") as out:
                for row in make_rows(rows, base):
                    out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        else:
            _write_parquet(draft, make_rows(rows, base), schema)
        draft.replace(path)
    return path


def make_rows(count: int, base: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows one at a time."""
    rng = random.Random(1)
    words = _corpus(base)
    names = _module_names(count)
    codes = [extract(answer_text(row["completion"])).code for row in base]
    for number in range(count):
        at = number % len(base)
        row = dict(base[at])
        code = f"# attempt REQ-ID:{number:06d}\n{codes[at]}"
        row["example_id"] = number
        row["reward"] = _reward(rng)
        row["info"] = {**row["info"], "module_name": names[number]}
        rest = len(orjson.dumps(row)) - len(orjson.dumps(row["completion"])) + len(code)
        size = int(ROW_BYTES * rng.uniform(0.4, 1.6)) - rest
        thoughts = _slice(words, max(2_000, size), rng)
        if number % 2:
            thoughts = f"<think>\n{thoughts}\n</think>"
        text = f"{thoughts}\n\nBEGIN_PYTHON\n{code}END_PYTHON\n"
        row["completion"] = [{"role": "assistant", "content": text}]
        yield row


def _base() -> tuple[list[dict[str, Any]], pa.Schema]:
    path = SHARED / "rollouts-dev.parquet"
    if path.exists():
        found = pq.read_table(path)
    else:
        say(f"{path.name} is not at hand: the rows are made from the bundled sample")
        rows = [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()]
        found = pa.Table.from_pylist(rows)
    kept = [row for row in found.to_pylist() if extract(answer_text(row["completion"])).code]
    return kept, found.schema.remove_metadata()


def _module_names(count: int) -> list[str]:
    if MODULES.exists():
        found: list[str] = pq.read_table(MODULES, columns=["module_name"])[0].to_pylist()
        return [found[number % len(found)] for number in range(count)]
    return [f"Module{number * 7919 % _NAMES}" for number in range(count)]


def _reward(rng: random.Random) -> float:
    if rng.random() < PASSING:
        return round(0.86 + rng.expovariate(3.0), 4)
    return 0.0 if rng.random() < 0.7 else round(rng.uniform(0.05, 0.85), 4)


def _corpus(base: list[dict[str, Any]]) -> str:
    """Text that compresses as prose does: the words of the real rows, by their frequency."""
    counts = Counter[str]()
    for row in base[:: max(1, len(base) // 400)]:
        counts.update(re.findall(r"[A-Za-z_]\w*|\d+|[^\w\s`<>]+", row["prompt"][0]["content"]))
        counts.update(re.findall(r"[A-Za-z_]\w*|\d+", answer_text(row["completion"])))
    known = sorted(word for word in counts if "PYTHON" not in word)
    weights = np.array([counts[word] for word in known], dtype=float) ** 0.75
    rng = np.random.default_rng(1)
    picks = rng.choice(len(known), _CORPUS_WORDS, p=weights / weights.sum())
    chosen = [known[pick] for pick in picks]
    lines = (" ".join(chosen[at : at + 14]) for at in range(0, len(chosen), 14))
    return "\n".join(lines)


def _slice(words: str, size: int, rng: random.Random) -> str:
    """A few pieces of the corpus, `size` characters in all."""
    pieces = []
    while size > 0:
        length = min(size, rng.randint(4_000, 12_000))
        start = rng.randrange(len(words) - length)
        pieces.append(words[start : start + length])
        size -= length
    return "\n".join(pieces)


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := [row for _, row in zip(range(_CHUNK), rows, strict=False)]:
            writer.write_table(pa.Table.from_pylist(chunk, schema))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROLLOUTS)
    options = parser.parse_args()
    for form in ("jsonl", "parquet"):
        made = table(form, options.rows)
        say(f"{made.name}: {made.stat().st_size / 1e6:,.0f} MB")
