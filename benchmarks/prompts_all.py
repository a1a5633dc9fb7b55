"""Task prompts for all 18,162 modules of KernelBook: the offline template, then a mock model."""

import argparse
import time
from collections import Counter

from data import MODULES
from machine import WORK, fresh, measure, own_peak_mb, put_result, say, show, worker
from server import Mock, build

from kernelsift import pipeline
from kernelsift.config import Settings
from kernelsift.session import Session

LATENCY_MS = 200
IN_FLIGHT = 256


def work(generator: str, path: str, url: str, limit: int) -> None:
    """The stage, in a process of its own."""
    values = {
        "prompts.source": str(MODULES),
        "prompts.generator": generator,
        "prompts.limit": limit or None,
        "llm.base_url": url,
        "llm.concurrency": IN_FLIGHT,
    }
    with Session.open(path, Settings.read(None, values)) as session:
        started = time.monotonic()
        tally = pipeline.prompts(session)
        seconds = time.monotonic() - started
    counts = Counter(tally.counts)
    failures = {k: v for k, v in counts.items() if k.startswith("failed: ")}
    found = {name: counts[name] for name in ("rows", "measured", "failed", "written")}
    put_result({"seconds": seconds, "peak_mb": own_peak_mb(), "failures": failures, **found})


def main() -> None:
    """Run both generators and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        generator, path, url, limit = options.worker
        work(generator, path, url, int(limit))
        return
    if not MODULES.exists():
        say(f"skipped: {MODULES.name} is not at hand (see shared/data)")
        return
    limit = 2_000 if options.quick else 0
    shown = [_row("template", None, limit)]
    binary = build()
    if binary:
        with Mock(binary) as mock:
            mock.configure(lat=LATENCY_MS, spec=1)
            shown.append(_row("llm", mock, limit))
    columns = ["generator", "modules", "distinct", "prompts", "failed", "requests"]
    show("Prompts for all modules of KernelBook", [*columns, "wall s", "peak MB"], shown)


def _row(generator: str, mock: Mock | None, limit: int) -> list[object]:
    path = fresh(WORK / "runs" / f"prompts-{generator}")
    url = mock.url if mock else "http://127.0.0.1:9"
    core = 1 if mock else None
    took = measure(worker(__file__, "--worker", generator, path, url, limit), core=core)
    found = took.result
    name = f"mock model, {IN_FLIGHT} in flight" if mock else "template"
    failures = ", ".join(f"{k.removeprefix('failed: ')} {v}" for k, v in found["failures"].items())
    requests = mock.stats()["nreq"] if mock else 0
    distinct = found["measured"] + found["failed"]
    sizes = (found["rows"], distinct, found["written"])
    return [name, *sizes, failures or 0, requests, found["seconds"], took.peak_mb]


if __name__ == "__main__":
    main()
