"""gate: can kernels be verified against these modules? Each distinct one is measured once.

Results are lines of gate.jsonl. The same command again measures only what has no line yet.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kernelsift.config import Settings
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import names_in
from kernelsift.growing import Growing
from kernelsift.ingest import BadRow, open_source
from kernelsift.model import text_digest
from kernelsift.progress import Progress
from kernelsift.run import Run

if TYPE_CHECKING:
    from kernelsift.kernels.isolation.pool import Pool
    from kernelsift.kernels.reference.gate_record import GateRecord
    from kernelsift.report.health import Gated, Health

OUT = "gate.jsonl"
SEED = 0
"""Of inputs and weights. There is no candidate to guess it, and facts stay comparable."""
PRELOAD = (
    "torch",
    "kernelsift.kernels.reference.reference_job",
    "kernelsift.kernels.reference.gate:warm_up",
)
_JOB = "kernelsift.kernels.reference.reference_job:main"
_WALL_PER_CPU, _WALL_BESIDE = 4, 60.0
"""On a busy machine a process gets only a part of the time."""
_RESULT_BYTES = 16 << 20
Sandbox = Literal["auto", "required", "off"]


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What is gated, with what, and where results go."""

    limit: int | None = None
    """Only this many distinct modules: those with the smallest digests, so a fair sample."""
    ids: str | None = None
    """Only rows with one of these as origin, uuid, sample id, module or problem name: names with
    commas between them, or a file of one a line."""
    workers: int | None = None
    """Children at once; one per core when not given."""
    sandbox: Sandbox = "auto"
    out: Path | None = None
    """File of results; gate.jsonl in the run, or in the working folder for other sources."""
    seconds: float = 30.0
    """Processor time that one module may take."""
    retry: bool = False
    """Measure again what ended by a limit or a crash."""
    split: str | None = None
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    """Of the Hub."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What is known of the modules of a source now."""

    health: "Health"
    modules: "tuple[Gated, ...]"
    out: Path
    gated: int
    """Measured by this command."""
    without: tuple[BadRow, ...]
    """Rows of the source that hold no module."""
    seconds: float
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines: the counts, and where the facts of each module are."""
        return {
            "out": str(self.out),
            "gated": self.gated,
            "known": self.health.modules - self.gated,
            "rows_without_a_module": len(self.without),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            **self.health.model_dump(mode="json"),
        }


@dataclass(frozen=True, slots=True)
class _Module:
    """One row of a source."""

    origin: str
    name: str
    """Class that is meant; empty: the gate finds it."""
    code: str
    names: frozenset[str]
    """What the user may call it."""


@dataclass(slots=True)
class _Group:
    """All rows that have one distinct module."""

    first: _Module
    rows: int = 0


def gate(source: str, options: GateOptions, progress: Progress) -> GateReport:
    """Measure every distinct module of a source that has no line in the file of results yet.

    `source`: a file, folder or Hub dataset with modules or rollouts, a run directory, or one
    Python file.

    Raises:
        ConfigError: torch is missing, or the sandbox asked for cannot be had.
        DataError: the source cannot be read, or holds no module that is meant.
        RunError: another process writes to the file of results, or the disk refuses.
        KeyboardInterrupt: Ctrl-C came; what was measured is stored.
    """
    from kernelsift.kernels.reference.gate_record import BEGINS, key_of
    from kernelsift.report.health import Gated, summarise

    started = time.monotonic()
    torch = _torch_version()
    groups, without = _groups(source, options, lambda m: key_of(m.code, m.name, torch))
    with Growing.open(options.out or _default_out(source), BEGINS) as file:
        records = _known(file, groups)
        todo = {
            key: group.first
            for key, group in groups.items()
            if key not in records or (options.retry and records[key].facts is None)
        }
        notes = _measure_all(todo, options, file, records, progress) if todo else ()
    modules = tuple(Gated(records[k], g.rows, g.first.origin) for k, g in groups.items())
    return GateReport(
        health=summarise(modules),
        modules=modules,
        out=file.path,
        gated=len(todo),
        without=without,
        seconds=time.monotonic() - started,
        notes=notes,
    )


def _groups(
    source: str, options: GateOptions, key_of: Callable[[_Module], str]
) -> tuple[dict[str, _Group], tuple[BadRow, ...]]:
    """Rows by the key of their module, in the order of the source; and rows without one."""
    groups: dict[str, _Group] = {}
    without: list[BadRow] = []
    wanted = frozenset(names_in(options.ids) if options.ids is not None else ())
    met = set[str]()
    for row in _rows(source, options):
        if isinstance(row, BadRow):
            without.append(row)
        elif not wanted or wanted & row.names:
            met |= wanted & row.names
            group = groups.setdefault(key_of(row), _Group(row))
            group.rows += 1
    missing = sorted(wanted - met)
    if missing:
        raise DataError(
            f"no row of {source} has the origin, uuid, sample id or module name {missing[0]!r}"
        )
    if not groups:
        first = f": {without[0].origin}: {without[0].reason}" if without else ""
        raise DataError(f"{source} holds no PyTorch module{first}")
    return _sample(groups, options.limit), tuple(without)


def _sample(groups: dict[str, _Group], limit: int | None) -> dict[str, _Group]:
    """So many distinct modules, in the order of the source; the same ones for any order of it."""
    if limit is None or len(groups) <= limit:
        return groups
    order = {key: text_digest(f"{g.first.name} {g.first.code}") for key, g in groups.items()}
    chosen = set(sorted(groups, key=order.__getitem__)[:limit])
    return {key: group for key, group in groups.items() if key in chosen}


def _rows(source: str, options: GateOptions) -> Iterator[_Module | BadRow]:
    path = Path(source).expanduser()
    if (path / "run.sqlite").exists():
        yield from _rows_of_run(path)
    elif path.suffix == ".py" and path.is_file():
        yield _of_file(path)
    else:
        opened = open_source(
            source,
            split=options.split,
            revision=options.revision,
            kind="modules",
            token=options.token,
        )
        for row in opened.rows():
            yield row if isinstance(row, BadRow) else _of_row(row.origin, row.data)


def _rows_of_run(path: Path) -> Iterator[_Module | BadRow]:
    with Run.open(path, read_only=True) as run:
        for sample in run.samples.read(run.entries()):
            entry, code = sample.entry, sample.reference
            names = frozenset({entry.id, entry.origin, entry.module})
            if code.strip():
                yield _Module(entry.origin, _class(entry.module, code), code, names)
            else:
                yield BadRow(entry.origin, "the row has no reference module", "")


def _of_file(path: Path) -> _Module:
    try:
        return _Module(path.name, "", path.read_text(encoding="utf-8"), frozenset({path.name}))
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot read {path}: {e}") from e


def _of_row(origin: str, data: Mapping[str, Any]) -> _Module:
    code = str(data["python_code"])
    known = (origin, *(data.get(name) for name in ("uuid", "module_name", "name")))
    names = frozenset(str(name) for name in known if name is not None)
    return _Module(origin, _class(str(data["module_name"] or ""), code), code, names)


def _class(name: str, code: str) -> str:
    """The name if the code has such a class; a problem may have a name that is none."""
    return name if name.isidentifier() and f"class {name}" in code else ""


def _default_out(source: str) -> Path:
    path = Path(source).expanduser()
    return path / OUT if (path / "run.sqlite").exists() else Path(OUT)


def _known(file: Growing, groups: Mapping[str, _Group]) -> "dict[str, GateRecord]":
    """Lines of the modules that are meant; of several with one key the last counts."""
    from pydantic import ValidationError

    from kernelsift.kernels.reference.gate_record import GateRecord, key_in

    found = {}
    for number, line in file.lines():
        key = key_in(line)
        if key is None or key not in groups:
            continue
        try:
            found[key] = GateRecord.model_validate_json(line)
        except ValidationError as e:
            why = str(e.errors()[0]["msg"])
            raise DataError(
                f"{file.path}:{number}: not a line of the gate ({why}); remove the line"
            ) from e
    return found


def _measure_all(
    todo: Mapping[str, _Module],
    options: GateOptions,
    file: Growing,
    records: "dict[str, GateRecord]",
    progress: Progress,
) -> tuple[str, ...]:
    """Append a line for each; returns what the user should know of the sandbox."""
    from kernelsift.kernels.isolation.pool import Pool

    workers = options.workers or Settings().workers_or_cores()
    done = bad = 0
    with (
        Pool(workers=workers, sandbox=options.sandbox, preload=PRELOAD) as pool,
        progress.start("gate", len(todo)),
    ):
        try:
            for record in _as_they_come(pool, todo, options, workers):
                file.append(record.model_dump_json().encode())
                records[record.key] = record
                done += 1
                bad += not record.runs
                progress.update(done, f"{bad:,} do not run")
        except KeyboardInterrupt as e:
            raise KeyboardInterrupt(f"gate stopped with {len(todo) - done:,} left") from e
        return tuple(pool.notes)


def _as_they_come(
    pool: "Pool", todo: Mapping[str, _Module], options: GateOptions, workers: int
) -> "Iterator[GateRecord]":
    """Yield records in the order in which they are ready; an error ends what is under way."""
    waiting: set[Future[GateRecord]] = set()
    left = iter(todo.items())
    with ThreadPoolExecutor(workers) as threads:
        try:
            while True:
                for key, module in left:
                    waiting.add(threads.submit(_measure, pool, key, module, options.seconds))
                    if len(waiting) >= 2 * workers:
                        break
                if not waiting:
                    return
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            pool.close()  # ends the children, and so the threads that wait for them
            raise


def _measure(pool: "Pool", key: str, module: _Module, seconds: float) -> "GateRecord":
    """Run the gate on one module in a child of its own."""
    from kernelsift.kernels import wire
    from kernelsift.kernels.isolation.limits import Limits
    from kernelsift.kernels.reference.gate_record import Asked, record_of

    nonce = secrets.token_hex(16)
    request = {"nonce": nonce, "mode": "gate", "seed": SEED, "code": module.code}
    payload = wire.encode({**request, "class_name": module.name or None})
    limits = Limits(
        wall_seconds=_WALL_PER_CPU * seconds + _WALL_BESIDE,
        cpu_seconds=seconds,
        result_bytes=_RESULT_BYTES,
    )
    child = pool.run(_JOB, payload, limits)
    asked = Asked(key, module.name, text_digest(module.code), _torch_version())
    return record_of(child, nonce, asked)


def _torch_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torch")
    except PackageNotFoundError:
        raise ConfigError(
            "torch is not installed, and the gate runs PyTorch modules: "
            "pip install 'kernelsift[verify]'"
        ) from None
