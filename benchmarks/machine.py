"""What every benchmark here needs: processes measured with their children, medians, tables."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORK = Path(__file__).resolve().parent / ".work"
"""Everything that the benchmarks make; git ignores it."""
ROLLOUTS = 18_162
"""Rows of the data set that the project began with."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process, its children included, took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    """Highest sum of resident memory; pages that processes share count for each of them."""
    result: dict[str, Any]
    """The JSON object in the last line of its output."""


def measure(command: Sequence[str], *, core: int | None = None) -> Measured:
    """Run a command to its end. Raises RuntimeError with its last words where it fails."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*pin(core), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    peak = _Peak(process.pid)
    with peak:
        out, err = process.communicate()
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{err[-3000:]}")
    lines = out.strip().splitlines()
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Measured(seconds, peak.cpu_seconds, peak.mb, result)


def environment() -> dict[str, str]:
    """This environment; compiled modules are kept, as on any user's machine, but with our files."""
    found = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**found, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(WORK / "pycache")}


def worker(script: str, *arguments: object) -> list[str]:
    """The command that runs a part of a benchmark in a process of its own."""
    return [sys.executable, script, *(str(argument) for argument in arguments)]


def pin(core: int | None) -> list[str]:
    """The prefix that keeps a command on one core; empty where that cannot be."""
    cores = sorted(os.sched_getaffinity(0))
    if core is None or len(cores) < 2 or not shutil.which("taskset"):
        return []
    return ["taskset", "-c", str(cores[core % len(cores)])]


def own_peak_mb() -> float:
    """The most resident memory that this process has had."""
    return _status_kb("self", "VmHWM:") / 1024


def cpu_seconds() -> float:
    """Processor time of this process so far, all threads."""
    times = os.times()
    return times.user + times.system


class _Peak:
    """Watches a process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mb = 0.0
        self.cpu_seconds = 0.0

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        spent: dict[int, int] = {}
        while not self._ended.wait(_POLL_SECONDS):
            tree = _descendants(self._pid)
            self.mb = max(self.mb, sum(_status_kb(pid, "VmRSS:") for pid in tree) / 1024)
            for pid in tree:
                spent[pid] = max(spent.get(pid, 0), _ticks(pid))
            self.cpu_seconds = sum(spent.values()) / ticks


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [
                    int(child) for child in (task / "children").read_text(encoding="ascii").split()
                ]
    return found


def _status_kb(pid: int | str, key: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return float(line.split()[1])
    return 0.0


def _ticks(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


@contextlib.contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall seconds of a block to `into[name]`."""
    started = time.monotonic()
    yield
    into[name] = into.get(name, 0.0) + time.monotonic() - started


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    print(f"\n### {title}\n")
    for number, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    sys.stdout.flush()


def say(text: str) -> None:
    """One line of progress or of explanation."""
    print(text, flush=True)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def put_result(values: Mapping[str, object]) -> None:
    """What a worker hands back to `measure`."""
    print(json.dumps(dict(values)), flush=True)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
