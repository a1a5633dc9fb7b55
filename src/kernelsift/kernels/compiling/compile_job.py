"""The job of a child that compiles: import the candidate, compile each order, launch nothing.

Payload (a wire dict): nonce, code, targets (names), orders (id, target, kernel, line, arguments,
options). Frames: `unable` {why, lasting}; or per order `begun` {id} and `compiled` {id, status,
why, …}; `end`. A line with the id goes to the standard error before each order, so that what the
compiler prints there can be told apart.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.kernels import wire
from kernelsift.kernels.compiling.marks import mark
from kernelsift.kernels.compiling.sizes import OTHER_CONFIGURATION
from kernelsift.kernels.compiling.targets import Target, target

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelsift.kernels.compiling.toolchain import Order, Toolchain

MAX_CONFIGURATIONS = 8
"""Configurations of an autotuned kernel that are tried where the recorded one does not fit."""
MAX_UNDERSTOOD = 32
"""Configurations of an autotuned kernel whose types and shapes are looked at."""
WATCHED = (
    "triton:jit",
    "triton.runtime.jit:JITFunction.create_binder",
    "triton.runtime.jit:JITFunction._do_compile",
    "triton.compiler:compile",
    "triton.compiler.compiler:compile",
    "triton.backends.nvidia.compiler:CUDABackend.add_stages",
    "kernelsift.kernels.wire:encode",
    "kernelsift.kernels.compiling.toolchain:Toolchain.compiled",
)


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """Compile every order of one candidate."""
    job = wire.decode(payload)

    def tell(event: str, **body: Any) -> None:
        send(wire.encode({"event": event, "nonce": job["nonce"], **body}))

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="compile-") as folder:
        source = Path(folder) / "candidate.py"
        source.write_text(job["code"], encoding="utf-8", errors="surrogatepass")
        _run(job, str(source), tell)
    tell("end")


def _run(job: dict[str, Any], source: str, tell: Callable[..., None]) -> None:
    from kernelsift.kernels.compiling.toolchain import Order, broken

    if problem := broken():
        tell("unable", why=problem, lasting=False)
        return
    targets = {name: target(name) for name in job["targets"]}
    try:
        toolchain = _imported(source, list(targets.values()))
    except BaseException as error:  # noqa: BLE001  the candidate may raise anything, also SystemExit
        why = f"{type(error).__name__}: {str(error)[:200]}"
        tell("unable", why=why, lasting=not isinstance(error, MemoryError | OSError))
        return
    for raw in job["orders"]:
        order = Order(raw["kernel"], raw["line"], raw["arguments"], raw["options"])
        tell("begun", id=raw["id"])
        os.write(2, mark(raw["id"]))
        tell("compiled", id=raw["id"], **_compiled(toolchain, order, targets[raw["target"]]))


def _imported(source: str, targets: list[Target]) -> Toolchain:
    """Import the candidate where it sees a GPU. Raises what it raises.

    Raises:
        CannotTryError: it replaced a part of the compiler.
    """
    from kernelsift.kernels.candidate import driver, inductor, shim
    from kernelsift.kernels.candidate.candidate_job import import_file
    from kernelsift.kernels.candidate.launches import Controls
    from kernelsift.kernels.candidate.tamper import Snapshot
    from kernelsift.kernels.compiling.problems import CannotTryError
    from kernelsift.kernels.compiling.toolchain import Toolchain

    note, controls = shim.Notes(), Controls(source=source)
    devices = shim.install(note)
    driver.install_driver(note, controls)
    inductor.install(source, note)
    toolchain = Toolchain(note, controls, targets)
    untouched = Snapshot(WATCHED)
    with devices, toolchain.importing():
        import_file(source)
    if changed := untouched.changed():
        raise CannotTryError(f"it replaced {', '.join(changed)}")
    return toolchain


def _compiled(toolchain: Toolchain, order: Order, wanted: Target) -> dict[str, Any]:
    """The first try, or where autotuning would have looked further, what it would have found."""
    first = _attempt(toolchain, order, wanted)
    if not first.pop("tuned_away"):
        return _with_all_configurations(toolchain, order, wanted, first)
    others = toolchain.configurations(order.kernel, order.line)[:MAX_CONFIGURATIONS]
    for number, configuration in enumerate(others):
        found = _attempt(toolchain, order.configured(configuration), wanted)
        if found["status"] == "ok" and not found.pop("tuned_away"):
            why = f"configuration {number} of autotuning; the one that was run: {_reason(first)}"
            return {**found, "why": why}
    return first


def _with_all_configurations(
    toolchain: Toolchain, order: Order, wanted: Target, first: dict[str, Any]
) -> dict[str, Any]:
    """Autotuning compiles every configuration and ends where one is refused."""
    from kernelsift.kernels.compiling.problems import problem_of

    if first["status"] != "ok" or toolchain.prunes(order.kernel, order.line):
        return first
    others = toolchain.configurations(order.kernel, order.line)[:MAX_UNDERSTOOD]
    for number, configuration in enumerate(others):
        try:
            toolchain.understand(order.configured(configuration), wanted)
        except Exception as error:  # noqa: BLE001  the compiler raises what it likes
            problem = problem_of(error, toolchain.sources())
            if problem.status == "error" and not problem.tuned_away:
                why = f"{OTHER_CONFIGURATION} {number} of autotuning: {problem.why}"
                return {"status": "error", "why": why, "line": problem.line}
    return first


def _reason(found: dict[str, Any]) -> str:
    return str(found["why"] or f"{found['shared_bytes']} bytes of shared memory")


def _attempt(toolchain: Toolchain, order: Order, wanted: Target) -> dict[str, Any]:
    """One compilation as the body of a frame. `tuned_away`: autotuning would go on."""
    from kernelsift.kernels.compiling.problems import problem_of

    try:
        usage = toolchain.compiled(order, wanted)
    except Exception as error:  # noqa: BLE001  the compiler raises what it likes
        return dataclasses.asdict(problem_of(error, toolchain.sources()))
    threads = usage.threads_problem()
    return {
        "status": "error" if threads else "ok",
        "why": threads,
        "tuned_away": bool(threads) or usage.shared_bytes > wanted.shared_limit,
        **dataclasses.asdict(usage),
    }
