"""Run modules in the sandbox, so that what is claimed of them can be compared with what they do."""

import asyncio
import secrets
import threading
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kernelsift.errors import ConfigError, RunError
from kernelsift.model import Module
from kernelsift.prompting.claims import Interface

if TYPE_CHECKING:
    from kernelsift.kernels.isolation.limits import ChildResult
    from kernelsift.kernels.isolation.pool import Pool

SECONDS = 30.0
"""Processor time that one module may take."""
_WALL_PER_CPU, _WALL_BESIDE = 4, 60.0
"""On a busy machine a process gets only a part of the time."""
_JOB = "kernelsift.kernels.reference.interface_job:main"
_PRELOAD = ("torch", "kernelsift.kernels.reference.interface_job")


class Runner:
    """Says what a module takes and returns. Each distinct one runs once; a sandbox is started when
    the first is asked for."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: Pool | None = None
        self._missing = "" if find_spec("torch") else "torch is not installed"
        self._starting = threading.Lock()
        self._known: dict[tuple[str, str], asyncio.Future[Interface | str]] = {}

    def notes(self) -> tuple[str, ...]:
        """What the user should know: of the sandbox, and of claims that were not checked."""
        if self._missing and (self._known or not find_spec("torch")):
            return (f"claims about modules were not checked by a run: {self._missing}",)
        return self._pool.notes if self._pool else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every child."""
        if self._pool is not None:
            self._pool.close()

    async def __call__(self, module: Module) -> Interface | str:
        """Return what was seen, or why the module could not be run."""
        if self._missing:
            return self._missing
        key = (module.name, module.reference)
        if key not in self._known:
            work = asyncio.get_running_loop().run_in_executor(None, self._run, module)
            self._known[key] = work
        return await asyncio.shield(self._known[key])

    def _run(self, module: Module) -> Interface | str:
        from kernelsift.kernels import wire
        from kernelsift.kernels.isolation.limits import Limits

        nonce = secrets.token_hex(16)
        name = module.name if module.name.isidentifier() else None
        payload = wire.encode({"nonce": nonce, "code": module.reference, "class_name": name})
        wall = _WALL_PER_CPU * SECONDS + _WALL_BESIDE
        limits = Limits(wall_seconds=wall, cpu_seconds=SECONDS, result_bytes=1 << 20)
        pool = self._live_pool()
        if isinstance(pool, str):
            return pool
        try:
            child = pool.run(_JOB, payload, limits)
        except (OSError, ConfigError, RunError) as error:
            return f"no process for it: {error}"
        return read_child(child, nonce)

    def _live_pool(self) -> "Pool | str":
        from kernelsift.kernels.isolation.pool import Pool

        with self._starting:
            if self._pool is None and not self._missing:
                try:
                    pool = Pool(workers=self._workers, sandbox="required", preload=_PRELOAD)
                    self._pool = pool.__enter__()
                except (OSError, ConfigError, RunError) as error:
                    self._missing = f"there is no sandbox: {error}"
            return self._pool or self._missing


def read_child(child: "ChildResult", nonce: str) -> Interface | str:
    """Return what a child says of a module, or why it says nothing; it is not believed blindly."""
    from pydantic import ValidationError

    from kernelsift.kernels import wire

    for frame in child.frames:
        try:
            said: Any = wire.decode(frame)
            if isinstance(said, dict) and said.get("nonce") == nonce:
                if "why" in said:
                    return f"the module does not run: {said['why']}"[:400]
                return Interface.model_validate(said["interface"])
        except (wire.WireError, ValidationError, KeyError):
            return "its process sent something that is no description"
    why = child.reason or child.output.strip()[-200:]
    return f"its process ended before it said anything ({child.status}): {why}"


def how_executed(setting: str) -> str:
    """What claims are checked with on this machine, in a few words; part of every key."""
    from importlib.metadata import version

    if setting == "off":
        return "off"
    return f"torch {version('torch')}" if find_spec("torch") else "no torch"
