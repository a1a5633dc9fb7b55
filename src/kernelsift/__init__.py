"""Turn rollouts of kernel-writing models into a training set that one can trust.

    from kernelsift import Session, Settings, filter_rows, judge, load

    settings = Settings.read(None, {"load.source": "rollouts.jsonl", "judge.judge": "static"})
    with Session.open("outputs", settings) as session:
        for step in (load, filter_rows, judge):
            print(step(session))

Importing this package imports nothing heavy and does nothing; names below are found when used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelsift.config import Settings
    from kernelsift.errors import KernelsiftError
    from kernelsift.kernels.difficulty import static_difficulty
    from kernelsift.model import Decision, Entry, Fact, Failure, Judgement, Sample, Tally
    from kernelsift.pipeline import (
        analyze,
        export,
        filter_rows,
        judge,
        keep_best,
        load,
        prompts,
        publish,
        run_all,
        verify,
    )
    from kernelsift.run import Run
    from kernelsift.session import Session
    from kernelsift.source import extract

_HOME = {
    "config": ("Settings",),
    "errors": ("KernelsiftError",),
    "kernels.difficulty": ("static_difficulty",),
    "model": ("Decision", "Entry", "Fact", "Failure", "Judgement", "Sample", "Tally"),
    "pipeline": (
        "analyze",
        "export",
        "filter_rows",
        "judge",
        "keep_best",
        "load",
        "prompts",
        "publish",
        "run_all",
        "verify",
    ),
    "run": ("Run",),
    "session": ("Session",),
    "source": ("extract",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Decision",
    "Entry",
    "Fact",
    "Failure",
    "Judgement",
    "KernelsiftError",
    "Run",
    "Sample",
    "Session",
    "Settings",
    "Tally",
    "analyze",
    "export",
    "extract",
    "filter_rows",
    "judge",
    "keep_best",
    "load",
    "prompts",
    "publish",
    "run_all",
    "static_difficulty",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"kernelsift.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'kernelsift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
