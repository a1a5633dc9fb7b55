"""What this machine can verify kernels with: each part is tried, in processes of their own."""

import functools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kernelsift.errors import KernelsiftError
from kernelsift.kernels import wire

OTHER_TARGETS = ("gfx942",)
_KERNEL = "double"
_SIGNATURE = [["x", "*fp32", {"aligned": True}], ["n", "i32", 20], ["BLOCK", "constexpr", 16]]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of verification, and how it fared. `ok` is None where it may well be missing."""

    name: str
    found: str
    ok: bool | None


@functools.cache
def look() -> tuple[Part, ...]:
    """Try interpreter, compile targets, sandbox and GPU; once in a process, in seconds."""
    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    trials: list[Callable[[], Part]] = [_sandbox, _gpu]
    if not missing:
        trials = [_interpreter, _targets, *trials]
    with ThreadPoolExecutor(len(trials)) as threads:
        return tuple(threads.map(_safely, trials))


def _safely(trial: Callable[[], Part]) -> Part:
    try:
        return trial()
    except (KernelsiftError, OSError) as error:
        name = trial.__name__.strip("_")
        return Part(name, str(error).partition("\n")[0], ok=False)


def _interpreter() -> Part:
    from kernelsift.kernels.isolation.pool import Pool

    nonce = secrets.token_hex(16)
    job = "kernelsift.kernels.machine_job:main"
    preload = ("torch", "triton", "kernelsift.kernels.candidate.interpret")
    with Pool(preload=preload) as pool:
        child = pool.run(job, wire.encode({"nonce": nonce}))
    said = [wire.decode(frame) for frame in child.frames]
    answers = [str(one["why"]) for one in said if one.get("nonce") == nonce]
    why = answers[0] if answers else f"{child.status} {child.reason} {child.output[-200:]}".strip()
    return Part("interpreter", why or "runs a kernel right", ok=not why)


def _targets() -> Part:
    from kernelsift.kernels import compiling
    from kernelsift.kernels.compiling.compiler import COMPILE_PRELOAD, Compiler
    from kernelsift.kernels.compiling.targets import DEFAULT_TARGETS, target
    from kernelsift.kernels.isolation.pool import Pool

    code = Path(compiling.__path__[0], "sample_kernel.py").read_text(encoding="utf-8")
    launch = {"kernel": _KERNEL, "line": 0, "signature": _SIGNATURE, "options": {}}
    targets = [target(name) for name in (*DEFAULT_TARGETS, *OTHER_TARGETS)]
    with Pool(preload=COMPILE_PRELOAD, interpret=False) as pool:
        facts = Compiler(pool, targets).compile(code, [launch])
    works = [one.target for one in facts if one.status == "ok"]
    broken = [f"{one.target} does not work ({one.why})" for one in facts if one.status != "ok"]
    ok = set(DEFAULT_TARGETS) <= set(works)
    return Part("compile targets", "; ".join([", ".join(works) or "none", *broken]), ok=ok)


def _sandbox() -> Part:
    from kernelsift.kernels.isolation.server import probe

    report = probe()
    notes = f"; missing: {'; '.join(report.notes)}" if report.notes else ""
    return Part("sandbox", f"{report.level}{notes}", ok=report.is_enough)


def _gpu() -> Part:
    from kernelsift.kernels.gpu.device import missing

    absent = missing()
    found = f"{absent}; kernels run in the interpreter" if absent else "there is a driver"
    return Part("GPU", found, ok=None if absent else True)
