"""Does the whole verifier catch cheats, spare honest kernels and kill mutants?

    python benchmarks/cheats.py --workers 2 --out cheats.jsonl

Every candidate of tests/hacks goes through the same door as a user's: sandbox, cases, provenance,
verdict. Candidates whose text is already judged in --out are not run again; delete the file after
a change of the verifier.
"""

import argparse
import hashlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hacks.corpus import Case, cases, honest, mutants, mutations
from hacks.judging import KILLING, caught, killed, named
from hacks.verifying import CorpusVerifier

from kernelsift.kernels.catalog import catalog
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.verifier import PRELOAD, Effort

Row = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One candidate and what it is."""

    kind: str
    case: Case
    operator: str = ""
    equivalent: str = ""
    change: str = ""

    def key(self) -> str:
        """Digest of what is judged."""
        text = f"{self.kind}|{self.case.task}|{self.case.id}|{self.case.code}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def candidates() -> Iterator[Candidate]:
    """Yield cheats, honest kernels, mutants written by hand and mutants made by operators."""
    yield from (Candidate("cheat", case) for case in cases())
    yield from (Candidate("honest", case) for case in honest())
    yield from (Candidate("mutant", case, operator="by hand") for case in mutants())
    for mutant in mutations():
        change = f"{mutant.before} -> {mutant.after}"
        yield Candidate("mutant", mutant.case, mutant.operator, mutant.equivalent, change)


def check(verifier: CorpusVerifier, candidate: Candidate) -> Row:
    """One line of the output."""
    began = time.monotonic()
    case = candidate.case
    cheat = candidate.kind == "cheat"
    judge = verifier.mutant if candidate.kind == "mutant" else verifier.verdict
    verdict = judge(case)
    return {
        "key": candidate.key(),
        "kind": candidate.kind,
        "id": case.id,
        "task": case.task,
        "style": case.style,
        "operator": candidate.operator,
        "equivalent": candidate.equivalent,
        "change": candidate.change[:400],
        "outcome": verdict.outcome,
        "work": verdict.work,
        "keep": verdict.keep,
        "dropped_by": list(verdict.dropped_by),
        "findings": [[f.id, f.severity, f.line, f.evidence] for f in verdict.findings],
        "reasons": list(verdict.reasons[:3]),
        "named": cheat and named(verdict, case.id),
        "caught": caught(verdict, case.id) if cheat else killed(verdict),
        "seconds": round(time.monotonic() - began, 2),
    }


def report(rows: list[Row]) -> Iterator[str]:
    """All tables, in Markdown."""
    for kind, table in (("cheat", _cheats), ("honest", _honest), ("mutant", _mutants)):
        if chosen := [row for row in rows if row["kind"] == kind]:
            yield from table(chosen)
            yield ""
    seconds = sorted(row["seconds"] for row in rows)
    if seconds:
        yield f"{len(rows)} candidates; wall s: median {seconds[len(seconds) // 2]}, "
        yield f"largest {seconds[-1]}"


def _cheats(rows: list[Row]) -> Iterator[str]:
    yield "| id | name | severity | n | tasks | caught | dropped | named | by |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for number, item in catalog().items():
        mine = [row for row in rows if row["id"] == number]
        if mine:
            numbers = (
                len(mine),
                len({row["task"] for row in mine}),
                sum(row["caught"] for row in mine),
                sum(not row["keep"] for row in mine),
                sum(row["named"] for row in mine),
            )
            cells = [number, item.name, item.severity, *map(str, numbers), _by(mine)]
            yield f"| {' | '.join(cells)} |"
    missed = [row for row in rows if not row["caught"]]
    yield ""
    yield f"caught {len(rows) - len(missed)} of {len(rows)}"
    yield from (f"- missed: {_line(row)}" for row in missed)


def _by(rows: list[Row]) -> str:
    """What dropped them, most often first."""
    count = Counter(reason for row in rows for reason in row["dropped_by"])
    return ", ".join(f"{reason} {n}" for reason, n in count.most_common(5))


def _honest(rows: list[Row]) -> Iterator[str]:
    kept = sum(row["keep"] for row in rows)
    hard = [row for row in rows if any(f[1] == "hard" for f in row["findings"])]
    yield f"honest {len(rows)}, kept {kept}, with a hard finding {len(hard)}"
    loud = Counter(f"{f[0]} {f[1]}" for row in rows for f in row["findings"] if f[1] != "timing")
    yield f"findings that are not about time: {dict(loud) or 'none'}"
    yield from (f"- dropped: {_line(row)}" for row in rows if not row["keep"])


def _mutants(rows: list[Row]) -> Iterator[str]:
    real = [row for row in rows if not row["equivalent"]]
    dead = [row for row in real if row["caught"]]
    yield "| operator | mutants | killed | by the outcome | by a finding only |"
    yield "|---|---|---|---|---|"
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in real:
        groups[row["operator"]].append(row)
    for operator, mine in sorted(groups.items()):
        told = [row for row in mine if row["caught"]]
        other = sum(row["outcome"] == "correct" for row in told)
        yield f"| {operator} | {len(mine)} | {len(told)} | {len(told) - other} | {other} |"
    score = len(dead) / max(1, len(real))
    yield ""
    yield f"mutation score {len(dead)} of {len(real)} = {score:.1%}"
    yield from (f"- survived: {_line(row)}: {row['change']}" for row in real if not row["caught"])
    same = [row for row in rows if row["equivalent"]]
    yield f"equivalent by construction, not counted: {len(same)}"
    yield from (f"- {n} × {why}" for why, n in Counter(r["equivalent"] for r in same).most_common())
    yield from (f"- equivalent, yet rejected: {_line(row)}" for row in same if row["caught"])


def _line(row: Row) -> str:
    found = ", ".join(f"{f[0]} {f[1]}" for f in row["findings"] if f[1] in KILLING)
    said = "; ".join(row["reasons"])[:160]
    what = f"{row['id']} {row['task']} {row['style']}"
    return f"{what}: {row['outcome']}, {row['work']}, {found or 'no grave finding'} ({said})"


def known(path: Path) -> dict[str, Row]:
    """Lines of an earlier run."""
    if not path.exists():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {row["key"]: row for row in rows}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="ids or kinds (cheat, honest, mutant), by comma")
    parser.add_argument("--task", default="", help="name of a module")
    parser.add_argument("--style", default="", help="text in the name of a variant")
    parser.add_argument("--every", type=int, default=1, help="take each n-th candidate only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=Effort().candidate_seconds)
    parser.add_argument("--out", type=Path, default=Path("cheats.jsonl"))
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    wanted = set(filter(None, args.only.split(",")))
    chosen = [
        c
        for c in candidates()
        if (not wanted or {c.kind, c.case.id} & wanted)
        and (not args.task or c.case.task == args.task)
        and args.style in c.case.style
    ][:: args.every]
    done = known(args.out)
    todo = [c for c in chosen if c.key() not in done]
    with (
        Pool(workers=args.workers, preload=PRELOAD) as pool,
        ThreadPoolExecutor(args.workers) as threads,
        args.out.open("a", encoding="utf-8") as out,
    ):
        verifier = CorpusVerifier(pool, Effort(candidate_seconds=args.seconds))
        for row in threads.map(lambda candidate: check(verifier, candidate), todo):
            done[row["key"]] = row
            out.write(json.dumps(row) + "\n")
            out.flush()
    for line in report([done[c.key()] for c in chosen]):
        print(line)


if __name__ == "__main__":
    main()
