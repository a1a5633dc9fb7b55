"""The offline job on 18,162 rows of ~45 KB, beside the way of the original scripts.

load (with the filter), static judge, keep best, analyze, export: seconds of each, and the peak
memory of the process and its children together.
"""

import argparse
import time
from pathlib import Path

from data import table
from machine import (
    ROLLOUTS,
    WORK,
    Measured,
    fresh,
    measure,
    own_peak_mb,
    put_result,
    say,
    show,
    worker,
)

from kernelsift import pipeline
from kernelsift.config import Settings
from kernelsift.session import Session

STAGES = {
    "load": (pipeline.load, pipeline.filter_rows),
    "judge": (pipeline.judge,),
    "keep_best": (pipeline.keep_best,),
    "analyze": (pipeline.analyze,),
    "export": (pipeline.export,),
}


def work(source: str, path: str) -> None:
    """The whole job, in a process of its own."""
    values = {"load.source": source, "judge.judge": "static"}
    took, peak = {}, {}
    counts: dict[str, int] = {}
    with Session.open(path, Settings.read(None, values)) as session:
        for name, functions in STAGES.items():
            started = time.monotonic()
            for function in functions:
                counts |= function(session).counts
            took[name] = time.monotonic() - started
            peak[name] = own_peak_mb()
    put_result({"took": took, "peak": peak, **counts})


def compare(kind: str, rows: int) -> None:
    """One table: both ways on one form of the data."""
    source = table(kind, rows)
    ours = measure(worker(__file__, "--worker", source, fresh(WORK / "runs" / "offline")))
    script = str(Path(__file__).with_name("original_offline.py"))
    other: Measured | None = None
    try:
        other = measure(worker(script, source))
    except RuntimeError as error:
        say(f"the original way did not run: {str(error)[-600:]}")
    shown: list[list[object]] = []
    for name in STAGES:
        seconds = ours.result["took"][name]
        before = other.result["took"][name] if other else None
        shown.append([name, seconds, before, before / seconds if before else None])
    pairs = [("total s", ours.seconds, other and other.seconds)]
    pairs.append(("CPU s", ours.cpu_seconds, other and other.cpu_seconds))
    pairs.append(("peak MB", ours.peak_mb, other and other.peak_mb))
    shown += [[name, mine, theirs, theirs and theirs / mine] for name, mine, theirs in pairs]
    columns = ["stage", "kernelsift s", "original way s", "ratio"]
    size = source.stat().st_size / 1e6
    show(f"Offline job, {rows:,} rows as {kind} ({size:,.0f} MB)", columns, shown)
    peak = ours.result["peak"]
    loaded, all_of_it = peak["load"], peak["export"]
    say(f"kernelsift's own process: {loaded:,.0f} MB after load, {all_of_it:,.0f} MB in the end;")
    say(f"filtered {ours.result['filtered']:,}, unique {ours.result['unique']:,} rows")
    if other:
        say(f"the original way: {other.result['filtered']:,} and {other.result['unique']:,} rows")


def main() -> None:
    """Run both forms and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    for kind in ("jsonl", "parquet"):
        compare(kind, 2_000 if options.quick else ROLLOUTS)
    fresh(WORK / "runs")


if __name__ == "__main__":
    main()
