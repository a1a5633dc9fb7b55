"""Does the GPU path work on this machine? One command, one table, a line for each surprise.

    python benchmarks/gpu_check.py              # on a machine with an NVIDIA GPU; some minutes
    python benchmarks/gpu_check.py --rehearse   # without one: the CPU in its place, no time counts

A handful of kernels of tests/hacks goes through the whole path: CPU checks, cases on the device
with guard bands, launch log, memory checker where it is installed, timing. Inputs are enlarged
(--factor) until a kernel is no longer bound by its launch. At the end stands what was expected and
did not come: on a GPU that has never been tried, begin there.
"""

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hacks.corpus import TASKS, Case, cases, honest
from machine import say, show

from kernelsift.kernels.facts import VerifyFacts
from kernelsift.kernels.gpu.device_timing import TimingEffort
from kernelsift.kernels.gpu.device_verifier import (
    PRELOAD as GPU_PRELOAD,
)
from kernelsift.kernels.gpu.device_verifier import (
    DeviceEffort,
    DeviceVerifier,
    device_pool,
)
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import Verdict, decide
from kernelsift.kernels.verifier import PRELOAD, Verifier

FIRST_SIZE = re.compile(r"(torch\.rand\(\[)(\d+)")
ANY = ("correct", "wrong", "crash")


@dataclass(frozen=True)
class Check:
    """One candidate, and what must come of it on a GPU."""

    name: str
    case: Case
    outcomes: tuple[str, ...] = ("correct",)
    findings: frozenset[str] = frozenset()
    """At least one of these, where any is named."""
    claims: bool | None = None
    """Whether a speedup is claimed; None where either may be."""


def _one(pool: list[Case], task: str, catalog_id: str, style: str = "") -> Case | None:
    fitting = [c for c in pool if c.task == task and c.id == catalog_id]
    return next((c for c in fitting if c.style == style), fitting[0] if fitting else None)


def checks() -> Iterator[Check]:
    """Honest kernels of every task, then cheats that only a GPU or a timer shows."""
    good, bad = honest(), cases()
    for task in TASKS:
        plain = _one(good, task.name, "honest", "plain")
        if plain is not None:
            yield Check(f"{task.name} honest", plain)
    first = TASKS[0].name
    tuned = _one(good, first, "honest", "autotune")
    if tuned is not None:
        yield Check(f"{first} autotuned", tuned)
    wanted: tuple[tuple[str, str, frozenset[str], bool | None], ...] = (
        ("K01", "PyTorch only", frozenset({"K01", "K02"}), None),
        ("K05", "copy decoy", frozenset({"K05"}), None),
        ("K32", "no mask on a store", frozenset({"K32"}), None),
        ("K40", "cache by address", frozenset({"K40", "K41"}), False),
        ("K43", "cache by contents", frozenset({"K43", "K41", "K40", "K79"}), None),
        ("K52", "patched timer", frozenset({"K52", "K50"}), None),
        ("K61", "tensor subclass", frozenset({"K61"}), False),
        ("K62", "background thread", frozenset({"K62"}), None),
        ("K70", "side stream", frozenset({"K70"}), None),
    )
    for catalog_id, words, found, claims in wanted:
        case = _one(bad, first, catalog_id)
        if case is not None:
            yield Check(f"{first} {words}", case, ANY, found, claims)


def question(case: Case, factor: int) -> Question:
    """The candidate with the reference of its task, its first input size times the factor."""
    task = next(task for task in TASKS if task.name == case.task)
    reference = FIRST_SIZE.sub(lambda m: f"{m[1]}{int(m[2]) * factor}", task.reference, count=1)
    return Question(reference, case.code, case.task)


def surprises(check: Check, facts: VerifyFacts, verdict: Verdict, *, gpu: bool) -> Iterator[str]:
    """What was expected and did not come."""
    ids = {finding.id for finding in verdict.findings}
    seen = facts.gpu
    if verdict.outcome not in check.outcomes:
        yield f"{verdict.outcome}: {'; '.join(verdict.reasons[:2])}"
    if check.findings and not check.findings & ids:
        yield f"none of {', '.join(sorted(check.findings))} among {', '.join(sorted(ids))}"
    if seen is None or seen.why:
        yield f"GPU: {seen.why if seen else 'not used'}"
        return
    if seen.interpreter_disagrees:
        yield f"interpreter and GPU disagree on {', '.join(seen.interpreter_disagrees[:4])}"
    if seen.memcheck is not None and seen.memcheck.status == "failed":
        yield f"memcheck: {seen.memcheck.why}"
    if not gpu:
        return
    if check.case.id == "honest" and not seen.kernels:
        yield "the launch log is empty"
    if check.claims is not None and (facts.speedup is not None) != check.claims:
        yield "a speedup is claimed" if facts.speedup else "no speedup is claimed"


def row(check: Check, facts: VerifyFacts, verdict: Verdict, seconds: float) -> list[object]:
    """One line of the table."""
    seen, timing = facts.gpu, facts.gpu.timing if facts.gpu else None
    sides = {side.side: side.device * 1e6 for side in timing.sides} if timing else {}
    claim = facts.speedup
    doubts = sorted({doubt.kind for doubt in timing.doubts if doubt.blocks}) if timing else []
    return [
        check.name,
        verdict.outcome,
        verdict.work,
        " ".join(sorted({finding.id for finding in verdict.findings})),
        len(seen.kernels) if seen else None,
        len(seen.guards.hits) if seen and seen.guards else None,
        seen.memcheck.status if seen and seen.memcheck else None,
        sides.get("candidate"),
        sides.get("eager"),
        sides.get("compiled"),
        f"{claim.low:.2f} to {claim.high:.2f}" if claim else ", ".join(doubts),
        seconds,
    ]


COLUMNS = (
    "candidate", "outcome", "work", "findings", "kernels", "band hits", "memcheck", "µs",
    "eager µs", "compiled µs", "speedup, or why none", "s",
)  # fmt: skip


@contextlib.contextmanager
def opened(args: argparse.Namespace) -> Iterator[DeviceVerifier]:
    """The verifier with both pools."""
    timing = TimingEffort(seconds=args.seconds, compiled=not args.rehearse)
    effort = DeviceEffort(memcheck_share=1.0 if args.memcheck else 0.0, timing=timing)
    if args.rehearse:
        effort = replace(effort, timing=replace(timing, seconds=0.0, memory_bytes=1 << 18))
    rehearsal: Callable[[], Pool] = lambda: Pool(2, args.sandbox, GPU_PRELOAD)  # noqa: E731 -- two words
    with (
        Pool(1, args.sandbox, PRELOAD) as pool,
        rehearsal() if args.rehearse else device_pool(args.sandbox) as gpu,
    ):
        device = "cpu" if args.rehearse else "cuda"
        yield DeviceVerifier(Verifier(pool), pool, gpu, effort, device=device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rehearse", action="store_true", help="the CPU in the GPU's place")
    parser.add_argument("--limit", type=int, default=100, help="so many candidates")
    parser.add_argument("--factor", type=int, default=0, help="on the first input size")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one timing")
    parser.add_argument("--sandbox", choices=("auto", "required", "off"), default="auto")
    parser.add_argument("--memcheck", action="store_true", help="compute-sanitizer on all of them")
    args = parser.parse_args()
    factor = args.factor or (1 if args.rehearse else 4096)
    rows, odd = [], []
    with opened(args) as verifier:
        found = verifier.available()
        if isinstance(found, str):
            say(f"No GPU to check: {found}")
            return 1
        peaks = f"{found.bytes_per_second / 1e12:.2f} TB/s, {found.flops_per_second / 1e12:.0f}"
        say(f"{found.name} {found.capability}, CUDA {found.driver or '-'}, {peaks} TFLOP/s in fp32")
        for check in list(checks())[: args.limit]:
            began = time.monotonic()
            facts = verifier.verify(question(check.case, factor))
            verdict = decide(facts)
            rows.append(row(check, facts, verdict, time.monotonic() - began))
            said = list(surprises(check, facts, verdict, gpu=not args.rehearse))
            odd += [f"{check.name}: {text}" for text in said]
            say(f"{check.name}: {verdict.outcome}" + (f"; {said}" if said else ""))
    show(f"GPU path, sizes times {factor}", COLUMNS, rows)
    say("\nNothing unexpected." if not odd else "\nNot as expected:")
    for text in odd:
        say(f"  {text}")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
