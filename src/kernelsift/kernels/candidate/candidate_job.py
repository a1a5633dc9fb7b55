"""The candidate's child: load its code, call it on the cases, report facts, judge nothing."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.kernels import wire
from kernelsift.kernels.candidate.entry import find_entry
from kernelsift.kernels.candidate.failure import describe_error
from kernelsift.kernels.candidate.function_call import NoMatchError
from kernelsift.kernels.outline import filled
from kernelsift.kernels.reference.reference_module import MOCK_KEY, MockConfig

clock = time.process_time
SLOW = 102
"""Exit code of a child that gave up on its first call."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelsift.kernels.candidate.calling import Caller

    MakeCaller = Callable[[dict[str, Any], str], Caller]


@dataclasses.dataclass(slots=True)
class Job:
    """The decoded payload of one candidate."""

    nonce: str
    code: str
    module_name: str | None
    entry: str | None
    init: dict[str, Any]
    state: dict[str, Any]
    initial: dict[str, tuple[str | None, str | None]]
    """Digests of the reference's weights as constructed from the job's seed, by name."""
    cases: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    plan: list[str]
    """Names of cases and steps in the order of their work; empty for all cases, then all steps."""
    budget: float
    """Processor seconds after which only what must run is run."""
    patience: float
    """Processor seconds after which the first call is given up."""
    options: dict[str, Any]
    names: dict[str, Any]
    outline: bool
    """Tensors come without contents: nothing but the launches is of interest."""


def job_from(payload: bytes) -> Job:
    """Decode a payload; missing optional parts are empty."""
    raw = wire.decode(payload)
    outline = bool(raw.get("outline"))
    if outline:
        raw |= {"state": filled(raw["state"]), "cases": filled(raw["cases"])}
    return Job(
        nonce=raw["nonce"],
        code=raw["code"],
        module_name=raw.get("module_name"),
        entry=raw.get("entry"),
        init=_revived(raw.get("init") or {"args": [], "kwargs": {}}),
        state=raw.get("state") or {},
        initial={name: tuple(pair) for name, pair in (raw.get("initial") or {}).items()},
        cases=raw.get("cases") or [],
        steps=raw.get("steps") or [],
        plan=raw.get("plan") or [],
        budget=float(raw.get("budget") or math.inf),
        patience=float(raw.get("patience") or 0.0),
        options=raw.get("options") or {},
        names=raw.get("names") or {},
        outline=outline,
    )


def _revived(value: Any) -> Any:
    """Construction arguments, with the configuration objects of KernelBook back in place."""
    if isinstance(value, dict):
        if value.keys() == {MOCK_KEY}:
            return MockConfig(**_revived(value[MOCK_KEY]))
        return {key: _revived(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_revived(part) for part in value)
    return value


def main(payload: bytes, send: Callable[[bytes], None]) -> None:
    """Run one candidate in the interpreter; every result is a frame with the job's nonce."""
    from kernelsift.kernels.candidate.running import Runner

    serve(payload, send, Runner)


def serve(payload: bytes, send: Callable[[bytes], None], make: MakeCaller) -> None:
    """The same wherever it runs: `make` gets the job's options and the candidate's file."""
    job = job_from(payload)

    def emit(event: str, **body: Any) -> None:
        send(wire.encode({"event": event, "nonce": job.nonce, **body}))

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="candidate-") as folder:
        source = Path(folder) / "candidate.py"
        source.write_text(job.code, encoding="utf-8", errors="surrogatepass")
        _run(job, str(source), emit, make)
    emit("end")


def _run(job: Job, source: str, emit: Callable[..., None], make: MakeCaller) -> None:
    try:
        entry, seen = find_entry(job.code, job.module_name, job.entry)
    except (SyntaxError, ValueError, RecursionError) as error:
        emit("load_error", error=describe_error(error, source), stage="parse")
        return
    runner = make(job.options, source)
    if runner.broken:
        emit("interpreter_error", message=runner.broken)
        return
    try:
        with runner.active():
            module = import_file(source)
    except BaseException as error:  # noqa: BLE001  the candidate may raise anything, also SystemExit
        emit("load_error", error=describe_error(error, source), stage="import")
        return
    if entry is None:
        emit("no_entry", seen=seen)
        return
    if job.outline and entry.kind == "class":
        job.state = {}  # its own are as good
    try:
        runner.prepare(job, entry, getattr(module, entry.name))
    except NoMatchError as error:
        emit("no_entry", seen=error.seen)
        return
    except BaseException as error:  # noqa: BLE001  as above
        emit("load_error", error=describe_error(error, source), stage="construct")
        return
    emit("loaded", entry=dataclasses.asdict(entry), seen=seen, **runner.built_facts())
    _work(job, runner, emit)


def _work(job: Job, runner: Caller, emit: Callable[..., None]) -> None:
    """Run cases and steps in order while the budget lasts; what is left out is said."""
    cases = {case["name"]: case for case in job.cases}
    steps = {step["name"]: step for step in job.steps}
    purse = Purse(job.budget)
    if not runner.sure:
        for one in job.cases:
            one["must"] = one.get("must") or bool(one.get("initial"))
    _give_up_after(job.patience, emit)
    for name in job.plan or [*cases, *steps]:
        item = cases.get(name) or steps[name]
        if item.get("initial") and runner.entry.kind != "class":
            continue
        if not purse.allows(item):
            emit("skipped", name=name)
            continue
        began = clock()
        body = runner.run_case(item) if name in cases else runner.run_step(item)
        signal.setitimer(signal.ITIMER_PROF, 0)
        purse.spent(item, clock() - began)
        case, step = (name, None) if name in cases else (item["case"], name)
        emit("output", case=case, step=step, **body)


def _give_up_after(seconds: float, emit: Callable[..., None]) -> None:
    """End this process unless the timer is stopped in time; 0 waits for ever."""

    def slow(_number: int, _frame: Any) -> None:
        emit("slow")
        os._exit(SLOW)

    signal.signal(signal.SIGPROF, slow)
    signal.setitimer(signal.ITIMER_PROF, seconds)


class Purse:
    """Processor time that is left, and what the next piece will need by the pace so far."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: from now on."""
        self._end = clock() + seconds
        self._pace = 1.0

    def allows(self, item: dict[str, Any]) -> bool:
        """Whether a case or step must run, or fits."""
        needed = self._pace * float(item.get("seconds") or 0.0)
        return bool(item.get("must")) or clock() + needed <= self._end

    def spent(self, item: dict[str, Any], seconds: float) -> None:
        """Learn the pace from a piece that must run: seconds needed per second predicted."""
        predicted = float(item.get("seconds") or 0.0)
        if item.get("must") and predicted:
            self._pace = seconds / predicted


def import_file(source: str) -> Any:
    """Import the candidate from its file, so that Triton can read its source."""
    spec = importlib.util.spec_from_file_location("candidate", source)
    if spec is None or spec.loader is None:
        raise ImportError(source)
    module = importlib.util.module_from_spec(spec)
    sys.modules["candidate"] = module
    spec.loader.exec_module(module)
    return module
