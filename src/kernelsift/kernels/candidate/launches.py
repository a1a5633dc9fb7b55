"""What a candidate's kernel launches did: the record that becomes facts."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelsift.kernels.candidate.memory import Memory
from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LAUNCHES = 256
MAX_PLACES = 64
NARROW = frozenset(words("fp16 bf16 fp8e4nv fp8e5 fp8e4b8 fp8e4b15 fp8e5b16"))
"""Float types with at most 10 bits of mantissa."""
WIDE = frozenset(("fp32", "fp64"))
WORK = (
    "float_ops",
    "dot_flops",
    "tf32_flops",  # those of dot_flops whose inputs were rounded to TF32
    "loaded_bytes",
    "stored_bytes",
    "lanes",  # of memory accesses
    "live_lanes",  # those of them that were not masked off
)
"""What is counted."""


@dataclasses.dataclass(slots=True)
class Controls:
    """How kernels are interpreted; one object, changed between runs.

    `masked` fills masked-off lanes that have no `other` (None: zero, as a GPU mostly does);
    `poison` fills refused loads and, with `fill`, torch.empty. `order` is natural, reversed or
    shuffled:SEED. `launch_seconds`: processor time after which a launch is cut; its programs then
    run in an order of chance, so those that ran are a sample. 0 for no limit. `config`: which
    configuration an autotuner chooses; -1 is its last.
    """

    tf32: bool = True
    masked: float | None = None
    poison: float = float("nan")
    fill: bool = True
    order: str = "natural"
    ablate: str | None = None
    sanitize: bool = False
    launch_seconds: float = 0.0
    config: int = 0
    source: str = ""


@dataclasses.dataclass(slots=True)
class Launch:
    """One launch, or several equal ones (`times`). `line` is that of the kernel's definition."""

    kernel: str
    grid: tuple[int, ...]
    signature: list[tuple[str, str, Any]]
    options: dict[str, Any]
    line: int = 0
    times: int = 1
    copies: bool = False
    changed: int = 0

    def key(self) -> tuple[Any, ...]:
        """What makes two launches equal."""
        return (self.kernel, self.line, self.grid, repr(self.signature), repr(self.options))

    def facts(self) -> dict[str, Any]:
        """The launch as plain values."""
        return {
            "kernel": self.kernel,
            "line": self.line,
            "grid": list(self.grid),
            "signature": [list(item) for item in self.signature],
            "options": self.options,
            "times": self.times,
            "copies": self.copies,
            "changed": self.changed,
        }


@dataclasses.dataclass(slots=True)
class Access:
    """One recorded access of a sanitized launch; `values` only for stores."""

    kind: str
    window: int
    pointers: Any
    width: int
    program: int
    line: int
    values: Any = None


@dataclasses.dataclass(slots=True)
class Sample:
    """A launch that was cut: only some of its programs ran."""

    ran: int
    of: int
    spoiled: str = ""
    """Why what was stored cannot be compared."""


class Log:
    """Everything recorded between two resets (one call of the candidate)."""

    def __init__(self, controls: Controls) -> None:
        """Start an empty log that follows the given controls."""
        self.controls = controls
        self.memory = Memory()
        self.kernel = ""
        self.program = 0
        self.launches: dict[tuple[Any, ...], Launch] = {}
        self.total = 0
        self.programs = 0
        self.work = dict.fromkeys(WORK, 0)
        self.places: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.accesses: list[Access] = []
        self.accessed = 0
        self.sample: Sample | None = None
        self.atomics = False

    def reset(self) -> None:
        """Forget launches and findings; storages stay known."""
        self.launches.clear()
        self.total = self.programs = self.accessed = 0
        self.work = dict.fromkeys(self.work, 0)
        self.places.clear()
        self.accesses.clear()
        self.sample = None
        self.atomics = False

    def spoils(self) -> str:
        """Why the programs that ran say nothing about what they stored; empty if they do."""
        return "programs add to what others store" if self.atomics else ""

    def add(self, launch: Launch) -> Launch:
        """Record a launch, merged with an equal earlier one."""
        self.total += 1
        known = self.launches.get(launch.key())
        if known is not None:
            known.times += 1
            return known
        if len(self.launches) < MAX_LAUNCHES:
            self.launches[launch.key()] = launch
        return launch

    def place(self, kind: str, count: int, **details: Any) -> None:
        """Count a finding of some kind at a place of the candidate's source."""
        found = self.places.setdefault(kind, {})
        key = (self.kernel, details.get("line"), details.get("access"))
        if key in found:
            found[key]["count"] += count
        elif len(found) < MAX_PLACES:
            found[key] = {"kernel": self.kernel, "count": count, **details}

    def rounded(self, source: str, target: str) -> None:
        """Count a cast from a wide float type to a narrow one; both by Triton's names."""
        if target in NARROW and source in WIDE:
            self.place("rounded", 1, line=self.line(), access=target)

    def use(self, lanes: Any) -> None:
        """Count the lanes of a memory access, and those that are not masked off."""
        self.work["lanes"] += lanes.size
        self.work["live_lanes"] += int(np.count_nonzero(lanes))

    def found(self, kind: str) -> list[dict[str, Any]]:
        """The findings of one kind."""
        return list(self.places.get(kind, {}).values())

    def line(self) -> int:
        """The line of the candidate that is being interpreted, 0 if there is none."""
        frame: Any = sys._getframe(1)  # noqa: SLF001  the only way to the line that is running
        while frame is not None:
            if frame.f_code.co_filename == self.controls.source:
                return int(frame.f_lineno)
            frame = frame.f_back
        return 0


def unique_names(launches: Iterable[Launch]) -> list[str]:
    """Names of the kernels, in order of their first launch."""
    return list(dict.fromkeys(launch.kernel for launch in launches))
