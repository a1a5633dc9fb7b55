"""The offline job the way of the project's first scripts, written anew for comparison.

`datasets` loads the table, rows become a list of dicts, each script hands the next a JSONL file of
whole rows, plots come from matplotlib, and the result goes through `Dataset.from_list` to parquet.
The scripts had no offline judge: kernelsift's is called row by row in its place.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from machine import put_result, timed

Rows = list[dict[str, Any]]


def load(table: Path, cache: str) -> tuple[Rows, int]:
    """All rows with a reward above 0.85, as dicts; and how many rows there were."""
    from datasets import load_dataset

    kind = {".jsonl": "json", ".parquet": "parquet"}[table.suffix]
    rows = load_dataset(kind, data_files=str(table), split="train", cache_dir=cache)
    kept = [at for at, row in enumerate(rows) if row["reward"] > 0.85]
    return [rows[at] for at in kept], len(rows)


def judge(rows: Rows) -> None:
    """Rate every row, one after the other."""
    from kernelsift.kernels.static_judge import rate
    from kernelsift.source import extract

    for row in rows:
        code = extract(row["completion"][0]["content"]).code
        rating = rate(code, row["info"]["python_code"])
        row["difficulty"] = rating.difficulty if rating else None
        row["style"] = rating.style if rating else None


def write_jsonl(rows: Rows, path: Path) -> None:
    """Whole rows, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def read_jsonl(path: Path) -> Rows:
    """Every script starts with this."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def analyze(path: Path, out: Path) -> None:
    """Six correlations and two figures."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    from scipy import stats

    names = ["reward", "difficulty", "style"]
    rows = [{name: row[name] for name in names} for row in read_jsonl(path)]
    frame = pd.DataFrame(rows).dropna()
    pairs = [("difficulty", "reward"), ("style", "reward"), ("difficulty", "style")]
    figure, axes = plt.subplots(2, 3, figsize=(15, 10))
    for at, (x, y) in enumerate(pairs):
        r = stats.pearsonr(frame[x], frame[y])[0]
        rho = stats.spearmanr(frame[x], frame[y])[0]
        axes[0, at].scatter(frame[x], frame[y], alpha=0.3, s=10)
        line = np.linspace(frame[x].min(), frame[x].max(), 100)
        axes[0, at].plot(line, np.poly1d(np.polyfit(frame[x], frame[y], 1))(line), "r-")
        axes[0, at].set_title(f"{x} vs {y}: r={r:.3f}, rho={rho:.3f}")
    for at, name in enumerate(("difficulty", "style")):
        groups = [group["reward"].to_numpy() for _, group in frame.groupby(name)]
        axes[1, at].boxplot(groups)
    means = frame.pivot_table("reward", "difficulty", "style", aggfunc="mean")
    axes[1, 2].imshow(means.to_numpy())
    figure.tight_layout()
    figure.savefig(out / "correlation_analysis.png", dpi=150, bbox_inches="tight")
    joint, axis = plt.subplots(figsize=(10, 8))
    axis.scatter(frame["difficulty"], frame["style"], c=frame["reward"], alpha=0.6, s=20)
    joint.savefig(out / "joint_distribution.png", dpi=150, bbox_inches="tight")


def keep_best(rows: Rows) -> Rows:
    """The best row of each module, best first."""

    def score(row: dict[str, Any]) -> float:
        if row["difficulty"] is None or row["style"] is None:
            return 0.0
        return float(row["reward"] * row["difficulty"] * row["style"])

    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["info"]["module_name"]
        if name not in best or score(row) > score(best[name]):
            best[name] = row
    return sorted(best.values(), key=score, reverse=True)


def save(path: Path, target: Path) -> None:
    """A JSONL file to parquet."""
    from datasets import Dataset

    Dataset.from_list(read_jsonl(path)).to_parquet(str(target))


def main() -> None:
    """Do the whole job and print the seconds of its parts, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    options = parser.parse_args()
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.table.parent) as folder:
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        out = Path(folder)
        with timed(took, "load"):
            rows, total = load(options.table, folder)
        with timed(took, "judge"):
            judge(rows)
            write_jsonl(rows, out / "filtered.jsonl")
        filtered = len(rows)
        del rows
        with timed(took, "keep_best"):
            best = keep_best(read_jsonl(out / "filtered.jsonl"))
            write_jsonl(best, out / "unique.jsonl")
        with timed(took, "analyze"):
            analyze(out / "filtered.jsonl", out)
        with timed(took, "export"):
            save(out / "filtered.jsonl", out / "filtered.parquet")
            save(out / "unique.jsonl", out / "unique.parquet")
    put_result({"took": took, "rows": total, "filtered": filtered, "unique": len(best)})


if __name__ == "__main__":
    main()
