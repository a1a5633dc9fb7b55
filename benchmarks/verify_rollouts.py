"""Verify real rollouts without a GPU and compare the verdicts with what a real GPU found.

    python benchmarks/verify_rollouts.py --limit 100 --workers 2 --out verdicts.jsonl

Rows come in an order drawn by --seed; rows already in --out are not run again. A label is an
artefact of its harness where `info.flags` or `info.error` says so; those rows stand apart.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kernelsift.kernels.compiling.compiler import COMPILE_PRELOAD, Compiler
from kernelsift.kernels.facts import VerifyFacts
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import PRELOAD, Verifier
from kernelsift.source import answer_text, extract

DATA = Path(__file__).parents[2] / "shared" / "data" / "rollouts-dev.parquet"
ARTEFACTS = ("partial_trials", "entry_not_defined", "no_kernel_launch", "could not get source")


def rows(path: Path, seed: int) -> list[dict[str, Any]]:
    """The rows with what is needed of them, shuffled."""
    table = pq.read_table(path, columns=["completion", "info"]).to_pylist()
    found = [
        {
            "row": number,
            "code": extract(answer_text(row["completion"])).code,
            "reference": row["info"]["python_code"],
            "class": row["info"]["entry_point"],
            "entry": row["info"]["triton_entry"],
            "module": row["info"]["module_name"],
            "correct": bool(row["info"]["correct"]),
            "flags": row["info"]["flags"] or [],
            "error": row["info"]["error"] or "",
        }
        for number, row in enumerate(table)
    ]
    random.Random(seed).shuffle(found)
    return found


def is_artefact(row: dict[str, Any]) -> bool:
    """Whether the label says more about its harness than about the kernel."""
    said = " ".join([*row["flags"], row["error"]])
    return any(mark in said for mark in ARTEFACTS)


def check(verifier: Verifier, row: dict[str, Any]) -> dict[str, Any]:
    """One line of the output."""
    began = time.monotonic()
    facts = verifier.verify(Question(row["reference"], row["code"], row["class"], row["entry"]))
    verdict = decide(facts)
    return {
        "row": row["row"],
        "module": row["module"],
        "label": row["correct"],
        "artefact": is_artefact(row),
        "label_error": row["error"][:200],
        "outcome": verdict.outcome,
        "unverifiable": verdict.unverifiable,
        "work": verdict.work,
        "passes_loose": verdict.passes_loose,
        "findings": [f"{f.id} {f.severity}" for f in verdict.findings],
        "reasons": list(verdict.reasons[:3]),
        "scaled": facts.reference.scaled_from,
        "error": _loose(facts),
        "reduced": facts.run.uses_tf32 or any(c.status == "imprecise" for c in facts.comparisons),
        "weights": facts.run.weight_map,
        "groups": _groups(facts),
        "cases": len(facts.comparisons),
        "seconds": round(time.monotonic() - began, 2),
        "timings": {t.name: t.seconds for t in facts.timings},
    }


def _loose(facts: VerifyFacts) -> dict[str, float]:
    """Largest error by group in units of 1e-2 + 1e-2·|y|, as expected at the original sizes."""
    growth = max(facts.reference.deeper, 1.0) ** 0.5
    found: dict[str, float] = {}
    for c in facts.comparisons:
        if c.loose_ratio is not None:
            found[c.group] = max(found.get(c.group, 0.0), round(c.loose_ratio * growth, 4))
    return found


def _groups(facts: VerifyFacts) -> dict[str, str]:
    """Statuses by group of cases."""
    found: dict[str, set[str]] = {}
    for c in facts.comparisons:
        found.setdefault(c.group, set()).add(c.status)
    return {group: " ".join(sorted(statuses)) for group, statuses in found.items()}


def known(path: Path) -> dict[int, dict[str, Any]]:
    """Lines of an earlier run, by row."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {found["row"]: found for found in map(json.loads, lines)}


def report(found: list[dict[str, Any]]) -> Iterator[str]:
    """Tables: coverage, agreement, and every disagreement."""
    sure = [r for r in found if not r["artefact"]]
    judged = [r for r in sure if r["outcome"] != "unverifiable"]
    agree = [r for r in judged if (r["outcome"] == "correct") == r["label"]]
    right = [r for r in judged if r["label"]]
    false_wrong = [r for r in right if r["outcome"] != "correct"]
    yield f"rows {len(found)}, labels that are artefacts {len(found) - len(sure)}"
    yield f"verdict on {len(judged)}/{len(sure)} = {len(judged) / max(1, len(sure)):.1%}"
    yield f"agreement {len(agree)}/{len(judged)} = {len(agree) / max(1, len(judged)):.1%}"
    yield f"false wrong {len(false_wrong)}/{len(right)}"
    yield f"outcomes {Counter((r['label'], r['outcome'], r['unverifiable']) for r in found)}"
    seconds = sorted(r["seconds"] for r in found)
    yield f"seconds: median {seconds[len(seconds) // 2]}, largest {seconds[-1]}"
    for r in judged:
        if r not in agree:
            seen = f"label {r['label']}, {r['outcome']}: {r['reasons']}"
            yield f"  row {r['row']} {r['module']}: {seen} | {r['label_error'][:120]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("verdicts.jsonl"))
    args = parser.parse_args()
    chosen = rows(DATA, args.seed)[: args.limit]
    done = known(args.out)
    todo = [row for row in chosen if row["row"] not in done]
    with (
        Pool(workers=args.workers, preload=PRELOAD) as pool,
        Pool(workers=args.workers, preload=COMPILE_PRELOAD, interpret=False) as compile_pool,
        ThreadPoolExecutor(args.workers) as threads,
        args.out.open("a", encoding="utf-8") as out,
    ):
        verifier = Verifier(pool, compiler=Compiler(compile_pool))
        for found in threads.map(lambda row: check(verifier, row), todo):
            done[found["row"]] = found
            out.write(json.dumps(found) + "\n")
            out.flush()
    for line in report([done[row["row"]] for row in chosen]):
        print(line)


if __name__ == "__main__":
    main()
