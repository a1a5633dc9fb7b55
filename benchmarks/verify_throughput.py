"""Verify KernelBook-sized kernels: our pool against a fresh process per kernel, in one run.

    python benchmarks/verify_throughput.py --kernels 40
    python benchmarks/verify_throughput.py --soak 10000     # does anything leak?

The fresh process does five trials at 1e-2 and nothing else. The second line is our pool of children
with just those trials; the others run all cases, behaviour, provenance and sanitizers, and
compile every launch for two targets. Processor time counts children. All run one at a time, but the
last lines, which show what more workers bring.
"""

import argparse
import contextlib
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from machine import environment, say

from kernelsift.kernels import wire
from kernelsift.kernels.compiling.compiler import open_compiler
from kernelsift.kernels.compiling.targets import parse_targets
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verdict import decide
from kernelsift.kernels.verifier import PRELOAD, Effort, Verifier
from kernelsift.source import answer_text, extract, module_class_name

SAMPLE = Path(__file__).parents[1] / "src" / "kernelsift" / "data" / "sample.jsonl"
HARNESS = Path(__file__).with_name("fresh_harness.py")
POINTS = 10
SOAK_FROM = 30
SOAK_KERNELS = 8
"""The soak takes those right ones of the first so many rollouts that need least time."""
SOAK_SECONDS = 0.3
"""What leaks, leaks with each candidate and not with each case of it."""
SOAK_EVERY = 7
"""One candidate in so many of the soak misbehaves."""
MISBEHAVIOUR = (
    "raise ValueError('at import')",
    "import os; os._exit(0)",
    "print('x' * 30_000_000)",
    "import os\nif os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(600)",
    "import os\nkept = [open(os.devnull) for _ in range(200)]",
    "import tempfile\nfor n in range(50):\n    open(f'{tempfile.mkdtemp()}/left', 'w').write('x')",
    "import ctypes; ctypes.string_at(0)",
)
OURS = re.compile(r"/(kernelsift-job-|compile-|reference-|candidate-|triton)")


def questions(count: int) -> list[Question]:
    """Rollouts of the bundled sample that have code, in an order of chance."""
    found = []
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        reference = row["info"]["python_code"]
        code = extract(answer_text(row["completion"])).code
        if code:
            found.append(Question(reference, code, module_class_name(reference)))
    random.Random(0).shuffle(found)
    return found[:count]


def timed(work: Callable[[Question], object], todo: list[Question]) -> tuple[float, list[float]]:
    """Wall seconds in all, and processor seconds of each."""
    each, began = [], time.monotonic()
    for question in todo:
        before = spent()
        work(question)
        each.append(spent() - before)
    return time.monotonic() - began, each


def spent() -> float:
    """Processor seconds of this process and its ended children."""
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def server_seconds(pid: int) -> float:
    """Processor seconds of a fork server and its ended children, which are not ours."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def fresh(question: Question) -> None:
    """One kernel in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        reference, answer = Path(folder) / "reference.py", Path(folder) / "answer.py"
        reference.write_text(question.reference, encoding="utf-8")
        answer.write_text(question.code, encoding="utf-8")
        command = [sys.executable, str(HARNESS), str(reference), str(answer)]
        subprocess.run(command, check=False, capture_output=True, env=environment())


def same_trials(todo: list[Question]) -> tuple[float, list[float]]:
    """The five trials of the fresh process in children of our pool."""
    with Pool(workers=1, preload=PRELOAD, import_paths=[HARNESS.parent]) as pool:
        return timed_in_pool(lambda q: _trials(pool, q), pool, todo)


def _trials(pool: Pool, question: Question) -> None:
    payload = wire.encode({"reference": question.reference, "answer": question.code})
    pool.run("fresh_harness:job", payload, Limits(wall_seconds=240, cpu_seconds=60))


def with_workers(workers: int, todo: list[Question]) -> tuple[float, list[float]]:
    """All of stages 0-2 with several workers; processor time is the mean."""
    with Pool(workers=workers, preload=PRELOAD) as pool, ThreadPoolExecutor(workers) as threads:
        verifier, pid = Verifier(pool), pool.server_pid()
        began, before = time.monotonic(), spent() + server_seconds(pid)
        list(threads.map(verifier.verify, todo))
        used = spent() + server_seconds(pid) - before
        return time.monotonic() - began, [used / len(todo)] * len(todo)


def compared(count: int) -> None:
    """Print the table."""
    todo = questions(count)
    wall, each = timed(fresh, todo)
    rows = [("fresh process, 5 trials", wall, each), ("our pool, 5 trials", *same_trials(todo))]
    with (
        open_compiler(parse_targets("sm_80,sm_90"), 1, "auto") as compiler,
        Pool(workers=1, preload=PRELOAD) as pool,
    ):
        for name, verifier in (
            ("kernelsift, stages 0-2", Verifier(pool)),
            ("kernelsift, stages 0-3, cold", Verifier(pool, compiler=compiler)),
            ("kernelsift, stages 0-3, warm", Verifier(pool, compiler=compiler)),
        ):
            rows.append((name, *timed_in_pool(verifier.verify, pool, todo)))
    cores = len(os.sched_getaffinity(0))
    for workers in (n for n in (2, 4, 8, 16) if n <= cores):
        name = f"kernelsift, stages 0-2, {workers} workers"
        rows.append((name, *with_workers(workers, todo)))
    say(f"\n{len(todo)} kernels of the bundled sample, one at a time\n")
    say("| | kernels/minute | times the fresh process | median CPU s | mean CPU s |")
    say("|---|---|---|---|---|")
    for name, seconds, cpu in rows:
        rate, ratio = 60 * len(todo) / seconds, wall / seconds
        median, mean = statistics.median(cpu), statistics.mean(cpu)
        say(f"| {name} | {rate:.0f} | {ratio:.1f} | {median:.2f} | {mean:.2f} |")


def timed_in_pool(
    work: Callable[[Question], object], pool: Pool, todo: list[Question]
) -> tuple[float, list[float]]:
    """As `timed`; processor time is that of the pool's fork server and ours."""
    each, began, pid = [], time.monotonic(), pool.server_pid()
    for question in todo:
        before = spent() + server_seconds(pid)
        work(question)
        each.append(spent() + server_seconds(pid) - before)
    return time.monotonic() - began, each


def soak(count: int) -> None:
    """Verify small kernels over and over, misbehaving ones between them; what grows, leaks."""
    todo = questions(SOAK_FROM)
    outcomes: Counter[str] = Counter()
    with (
        open_compiler(parse_targets("sm_80,sm_90"), 1, "auto") as compiler,
        Pool(workers=1, preload=PRELOAD) as pool,
    ):
        effort = Effort(budget_seconds=SOAK_SECONDS, candidate_seconds=SOAK_SECONDS)
        verifier = Verifier(pool, effort, compiler)
        right: list[bool] = []
        _, each = timed_in_pool(lambda q: right.append(is_right(verifier, q)), pool, todo)
        good = sorted((at for at in range(len(todo)) if right[at]), key=each.__getitem__)
        cheap = [todo[at] for at in good[:SOAK_KERNELS]]
        bad = [replace(cheap[0], code=f"{cheap[0].code}\n{extra}") for extra in MISBEHAVIOUR]
        say("| candidates | our MB | server MB | open files | processes | left in tmp | outcomes |")
        say("|---|---|---|---|---|---|---|")
        for number in range(count + 1):
            if number % max(count // POINTS, 1) == 0:
                seen = ", ".join(f"{name} {times}" for name, times in sorted(outcomes.items()))
                cells = " | ".join(map(str, state(pool.server_pid())))
                say(f"| {number:,} | {cells} | {seen} |")
            turn, other = divmod(number, SOAK_EVERY)
            from_bad = other == SOAK_EVERY - 1
            question = bad[turn % len(bad)] if from_bad else cheap[number % len(cheap)]
            outcomes[decide(verifier.verify(question)).outcome] += 1


def is_right(verifier: Verifier, question: Question) -> bool:
    """Whether the verdict is `correct`."""
    return decide(verifier.verify(question)).outcome == "correct"


def state(server: int) -> tuple[int, int, int, int, int]:
    """Memory of both processes, our descriptors, processes of the sandbox, its entries in tmp."""
    return (
        memory(os.getpid()),
        memory(server),
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        like(server),
        sum(1 for path in Path(tempfile.gettempdir()).rglob("*") if OURS.search(str(path))),
    )


def like(server: int) -> int:
    """Processes with the server's command line: itself and all that were forked from it."""
    own = Path(f"/proc/{server}/cmdline").read_bytes()
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes() == own
    return found


def memory(pid: int) -> int:
    """Resident megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, default=40)
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.soak:
        soak(args.soak)
    else:
        compared(10 if args.quick else args.kernels)


if __name__ == "__main__":
    main()
