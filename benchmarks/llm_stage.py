"""The whole judge stage against a local mock server, beside the way of the original script.

Prompt building, limiter, journal, retries and parse are all in it. The server has a core of its
own; "ideal" is rows x latency / calls in flight.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data import table
from machine import (
    ROLLOUTS,
    WORK,
    Measured,
    cpu_seconds,
    fresh,
    measure,
    median,
    own_peak_mb,
    pin,
    put_result,
    say,
    show,
    worker,
)
from server import Mock, build

from kernelsift import pipeline
from kernelsift.config import Settings
from kernelsift.session import Session

LATENCY_MS = 200
IN_FLIGHT = (64, 256, 1024)
FAULTS = {"p429": 0.05, "p500": 0.02, "preset": 0.01, "phang": 0.01, "retry_after": 1, "hang_s": 30}
FAULT_KINDS = ("e429", "e500", "reset", "hang")
_EVERYTHING = -1.0


def prepare(rows: int) -> Path:
    """A run directory with that many rows, all of them above the filter."""
    base = WORK / f"judge-base-{rows}"
    if not (base / "samples.parquet").exists():
        say(f"loading {rows:,} rows …")
        measure(worker(__file__, "--worker", "load", table("parquet"), fresh(base), rows))
    return base


def a_run(rows: int, name: str) -> Path:
    """A new run directory on those rows, nothing judged yet."""
    path = fresh(WORK / "runs" / name)
    os.link(prepare(rows) / "samples.parquet", path / "samples.parquet")
    return path


def judge(path: Path, mock: Mock, at_once: int, *, timeout: float = 120.0) -> Measured:
    """Judge a run in a process of its own."""
    return measure(worker(__file__, "--worker", "judge", path, mock.url, at_once, timeout), core=1)


def original(mock: Mock, at_once: int, rows: int) -> Measured | None:
    """The same rows the original way; None where no such client can be had."""
    python = sdk_python()
    script = str(Path(__file__).with_name("original_judge.py"))
    out = WORK / "original.jsonl"
    command = [python, script, str(table("jsonl")), mock.url, str(at_once), str(rows), str(out)]
    try:
        return measure(command, core=1)
    except RuntimeError as error:
        say(f"the original way did not run: {str(error)[-300:]}")
        return None


def sdk_python() -> str:
    """A Python with the openai SDK, installed beside the work files; else this one."""
    folder = WORK / "sdk"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        say("installing the openai SDK into an environment of its own …")
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True
            )
            install = [str(python), "-m", "pip", "install", "--quiet", "openai"]
            subprocess.run(install, check=True, capture_output=True)
            (folder / "ready").touch()
        except (subprocess.CalledProcessError, OSError):
            say("it cannot be installed; httpx stands in for it")
            shutil.rmtree(folder, ignore_errors=True)
            return sys.executable
    return str(python)


def speed(mock: Mock, rows: int, repeats: int) -> None:
    """Wall against ideal, processor time, memory, connections."""
    shown: list[list[object]] = []
    for at_once in IN_FLIGHT:
        found = []
        for number in range(1 if at_once == 64 else repeats):
            mock.configure(lat=LATENCY_MS)
            took = judge(a_run(rows, f"speed-{at_once}-{number}"), mock, at_once)
            found.append(_speed_row("kernelsift", rows, at_once, took, mock.stats()))
        shown.append(_medians(found))
        few = min(rows, 2_048 if at_once < 1_024 else 4_096)
        shown.append(_thin(mock, rows, at_once))
        mock.configure(lat=LATENCY_MS)
        other = original(mock, at_once, few)
        if other:
            name = f"original way, {other.result['client']}"
            shown.append(_speed_row(name, few, at_once, other, mock.stats()))
    columns = ["client", "in flight", "rows", "wall s", "wall/ideal", "best", "CPU ms/call"]
    columns += ["peak MB", "connections", "scored"]
    show(f"Judge stage, {LATENCY_MS} ms answers", columns, shown)


def _thin(mock: Mock, rows: int, at_once: int) -> list[object]:
    script = str(Path(__file__).with_name("thin_client.py"))
    samples = prepare(rows) / "samples.parquet"
    mock.configure(lat=LATENCY_MS)
    took = measure(worker(script, samples, mock.url, at_once, rows), core=1)
    return _speed_row("floor: thin aiohttp", rows, at_once, took, mock.stats())


def _speed_row(
    name: str, rows: int, at_once: int, took: Measured, stats: dict[str, Any]
) -> list[object]:
    result = took.result
    ratio = result["seconds"] / (rows * LATENCY_MS / 1000 / at_once)
    cpu = result["cpu"] * 1000 / rows
    wall, mb = result["seconds"], result["peak_mb"]
    found = (stats["connections"], result["scored"])
    return [name, at_once, rows, wall, ratio, ratio, cpu, mb, *found]


def _medians(rows: list[list[Any]]) -> list[object]:
    first = list(rows[0])
    for at in (3, 4, 6, 7, 8, 9):
        first[at] = median([row[at] for row in rows])
    first[5] = min(row[5] for row in rows)
    first[8:] = [int(value) for value in first[8:]]
    return first


def faults(mock: Mock, rows: int, *, beside: bool) -> None:
    """Refusals, errors, resets and hangs: every row must end scored."""
    shown = []
    mock.configure(lat=LATENCY_MS, **FAULTS)
    took = judge(a_run(rows, "faults"), mock, 256, timeout=3.0)
    shown.append(_fault_row("kernelsift", rows, took, mock.stats()))
    if beside:
        mock.configure(lat=LATENCY_MS, **FAULTS)
        other = original(mock, 256, rows)
        if other:
            shown.append(_fault_row("original way", rows, other, mock.stats()))
    columns = ["client", "rows", "scored", "wall s", "requests", "injected", "extra − injected"]
    show("5 % 429 (Retry-After 1), 2 % 500, 1 % reset, 1 % hang; 256 in flight", columns, shown)


def _fault_row(name: str, rows: int, took: Measured, stats: dict[str, Any]) -> list[object]:
    injected = sum(stats[kind] for kind in FAULT_KINDS)
    beyond = stats["nreq"] - rows - injected
    result = took.result
    return [name, rows, result["scored"], result["seconds"], stats["nreq"], injected, beyond]


def kill(mock: Mock, rows: int) -> None:
    """Kill -9 in the middle, then the same command again, then once more."""
    path = a_run(rows, "kill")
    measure(worker(__file__, "--worker", "filter", path))
    mock.configure(lat=LATENCY_MS)
    command = [*pin(1), sys.executable, "-m", "kernelsift", "judge", "--judge", "llm"]
    command += ["--run", str(path), "--base-url", mock.url, "--concurrency", "256", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and mock.stats()["sent200"] < rows / 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    at_kill = mock.stats()
    again = judge(path, mock, 256)
    stats = mock.stats()
    mock.reset()
    finished = judge(path, mock, 256)
    after = mock.stats()["nreq"]
    columns = ["", "requests", "re-sent", "answered twice", "scored", "judge s", "process s"]
    shown: list[list[object]] = [
        ["killed", at_kill["nreq"], None, None, None, None, None],
        [
            *("same again", stats["nreq"] - at_kill["nreq"], stats["nreq"] - rows),
            *(stats["ok_dups"], again.result["scored"], again.result["seconds"], again.seconds),
        ],
        [
            *("finished run again", after, None, None, finished.result["scored"]),
            *(finished.result["seconds"], finished.seconds),
        ],
    ]
    show(f"kill -9 after half of {rows:,} rows, 256 in flight", columns, shown)


def rerun(mock: Mock, rows: int) -> None:
    """A run that has all its answers."""
    path = WORK / "runs" / "speed-1024-0"
    mock.reset()
    took = judge(path, mock, 256)
    columns = ["rows", "requests", "judge s", "process s", "peak MB"]
    row = [rows, mock.stats()["nreq"], took.result["seconds"], took.seconds, took.result["peak_mb"]]
    show("A finished run again", columns, [row])


def work(what: str, arguments: list[str]) -> None:
    """One part, in a process of its own."""
    if what == "load":
        source, path, rows = arguments
        settings = Settings.read(None, {"load.source": source, "load.limit": int(rows)})
        with Session.open(path, settings) as session:
            pipeline.load(session)
        return
    path, url, at_once, timeout = arguments if what == "judge" else (arguments[0], "http://x", 1, 1)
    values = {
        "filter.min_reward": _EVERYTHING,
        "judge.judge": "llm",
        "llm.base_url": url,
        "llm.concurrency": int(at_once),
        "llm.timeout_seconds": float(timeout),
    }
    with Session.open(path, Settings.read(None, values)) as session:
        if "filter" not in session.run.stages():
            pipeline.filter_rows(session)
        if what == "filter":
            return
        import aiohttp  # noqa: F401 - starting up is measured elsewhere

        before, started = cpu_seconds(), time.monotonic()
        tally = pipeline.judge(session)
        seconds, cpu = time.monotonic() - started, cpu_seconds() - before
    scored = tally.counts.get("measured", 0) + tally.counts.get("known already", 0)
    scored += tally.counts.get("sharing an answer", 0)
    put_result({"seconds": seconds, "cpu": cpu, "peak_mb": own_peak_mb(), "scored": scored})


def main() -> None:
    """Run all parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=3, help="of 256 and 1,024 in flight")
    parser.add_argument("--only", choices=["speed", "faults", "kill"])
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker[0], options.worker[1:])
        return
    binary = build()
    if binary is None:
        return
    rows = 4_096 if options.quick else ROLLOUTS
    with Mock(binary) as mock:
        if options.only in {None, "speed"}:
            speed(mock, rows, 1 if options.quick else options.repeats)
            rerun(mock, rows)
        if options.only in {None, "faults"}:
            faults(mock, 2_000, beside=not options.quick)
        if options.only in {None, "kill"}:
            kill(mock, 2_048 if options.quick else 8_192)
    shutil.rmtree(WORK / "runs", ignore_errors=True)


if __name__ == "__main__":
    main()
