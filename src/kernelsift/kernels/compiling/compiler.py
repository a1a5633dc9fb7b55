"""Compile what a candidate launched, in children of a pool, and remember what came out."""

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kernelsift.kernels import wire
from kernelsift.kernels.compiling.cache import CompileCache, default_folder
from kernelsift.kernels.compiling.marks import error_text, printed
from kernelsift.kernels.compiling.signatures import MAX_SIGNATURES, Signature, signatures
from kernelsift.kernels.compiling.sizes import doubted
from kernelsift.kernels.compiling.targets import DEFAULT_TARGETS, Target, target
from kernelsift.kernels.facts import CompileFacts
from kernelsift.kernels.isolation.limits import ChildResult, Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.isolation.sandbox import Sandbox

COMPILER_VERSION = "2"
"""Raised when the same launch may give other facts."""
COMPILE_PRELOAD = (
    "torch",
    "triton",
    "kernelsift.kernels.candidate.candidate_job",
    "kernelsift.kernels.candidate.shim",
    "kernelsift.kernels.candidate.driver",
    "kernelsift.kernels.compiling.compile_job",
    "kernelsift.kernels.compiling.toolchain:warm_up",
)
"""For a pool of its own: `Pool(workers, sandbox, preload=COMPILE_PRELOAD, interpret=False)`."""
MAX_CHILDREN = 4
"""Children for one candidate: each that dies or runs out of time is followed by another."""
WALL_FACTOR = 8
"""Wall clock that a child may take, in units of its processor time: the machine may be busy."""
OUTPUT_BYTES = 1 << 20
_JOB = "kernelsift.kernels.compiling.compile_job:main"
_BAD_LUCK = ("MemoryError", "OSError", "BlockingIOError", "FileNotFoundError", "RecursionError")
_MEMORY_WORDS = ("out of memory", "bad_alloc", "Cannot allocate memory")


@dataclass(frozen=True, slots=True)
class _Order:
    """One signature for one target."""

    signature: Signature
    target: Target

    @property
    def name(self) -> str:
        return f"{self.target.name}:{self.signature.digest}"

    def facts(self, status: str, why: str = "", **found: Any) -> CompileFacts:
        return CompileFacts.model_validate({
            "kernel": self.signature.kernel,
            "target": self.target.name,
            "signature": self.signature.text(),
            "shared_limit": self.target.shared_limit,
            "status": status,
            "why": why,
            **found,
        })


@dataclass(slots=True)
class _Answers:
    """The frames of one child, sorted."""

    unable: str | None = None
    lasting: bool = False
    """The candidate's own doing, not this machine's."""
    begun: int | None = None
    compiled: dict[int, dict[str, Any]] = field(default_factory=dict)


class _Work:
    """The orders of one candidate until each has its facts."""

    def __init__(self, orders: Sequence[_Order]) -> None:
        self.orders = orders
        self.todo = list(range(len(orders)))
        self.lasting: dict[str, CompileFacts] = {}
        """What would come out so again."""
        self.passing: dict[str, CompileFacts] = {}
        """What may have been bad luck."""
        self._crashed: set[int] = set()

    def take(self, child: ChildResult, answers: _Answers) -> None:
        """Read what one child said, and blame an order for its end if it did not end well."""
        said = printed(child.output)
        for number in tuple(self.todo):
            order = self.orders[number]
            if answers.unable is not None:
                facts = order.facts("not-run", answers.unable)
                self._settle(number, facts, lasting=answers.lasting)
            elif number in answers.compiled:
                facts = _answered(order, answers.compiled[number], said.get(number, ""))
                self._settle(number, facts, lasting=not facts.why.startswith(_BAD_LUCK))
        if not self.todo:
            return
        if answers.begun in self.todo:
            self._blame(answers.begun, child, said.get(answers.begun, ""))
        else:
            self.give_up(f"the process ended: {child.status} {child.reason}".strip())

    def _blame(self, number: int, child: ChildResult, said: str) -> None:
        order = self.orders[number]
        if child.status != "crash" or any(word in child.output for word in _MEMORY_WORDS):
            status = "timeout" if child.status == "timeout" else "not-run"
            for other in tuple(self.todo):  # it would be no faster for another target
                if self.orders[other].signature == order.signature:
                    facts = self.orders[other].facts(status, f"{child.status}: {child.reason}")
                    self._settle(other, facts, lasting=False)
        elif number in self._crashed:
            why = f"the compiler crashed ({child.reason}) {error_text(said)}".strip()
            self._settle(number, order.facts("error", why))
        else:  # once more, first of all: then nothing else can have done it
            self._crashed.add(number)
            self.todo.remove(number)
            self.todo.insert(0, number)

    def _settle(self, number: int, facts: CompileFacts, *, lasting: bool = True) -> None:
        found = self.lasting if lasting else self.passing
        found[self.orders[number].name] = facts
        self.todo.remove(number)

    def give_up(self, why: str) -> None:
        """Nothing more is tried for what is left."""
        for number in tuple(self.todo):
            self._settle(number, self.orders[number].facts("not-run", why), lasting=False)


class Compiler:
    """Compiles launches for targets that need not be there. Thread-safe."""

    def __init__(
        self,
        pool: Pool,
        targets: Sequence[Target] = tuple(map(target, DEFAULT_TARGETS)),
        cache: CompileCache | None = None,
        seconds: float = 40.0,
    ) -> None:
        """`pool`: of children that do not interpret, see `COMPILE_PRELOAD`. `seconds`: processor
        time for one candidate. Without a cache, results are kept in memory.
        """
        self.targets = tuple(targets)
        self._pool = pool
        self._cache = cache or compile_cache(None)
        self._seconds = seconds

    def compile(
        self, code: str, launches: Iterable[Any], *, scaled: bool = False
    ) -> tuple[CompileFacts, ...]:
        """Compile every different launch (as a candidate's child recorded it) for every target.

        The answer holds each signature for each target, in order; those over `MAX_SIGNATURES`
        are `not-run` and say so. `scaled`: sizes were made smaller for the interpreter, so a
        refusal that sizes may explain is `not-run` as well.
        """
        seen = signatures(launches)
        orders = [_Order(one, t) for one in list(seen)[:MAX_SIGNATURES] for t in self.targets]
        known = self._cache.known(code)
        missing = [order for order in orders if order.name not in known]
        if missing:
            work = self._run(code, missing)
            self._cache.add(code, work.lasting)
            known |= work.lasting | work.passing
        why = f"more than {MAX_SIGNATURES} different launches"
        found = []
        for number, (signature, group) in enumerate(seen.items()):
            for order in (_Order(signature, t) for t in self.targets):
                left_out = number >= MAX_SIGNATURES
                facts = order.facts("not-run", why) if left_out else known[order.name]
                facts = doubted(facts) if scaled else facts
                found.append(facts.model_copy(update={"group": group}))
        return tuple(found)

    def _run(self, code: str, orders: Sequence[_Order]) -> _Work:
        work, left = _Work(orders), self._seconds
        for _ in range(MAX_CHILDREN):
            if work.todo and left > 0:
                seconds = min(left, self._seconds / 2)
                child, answers = self._child(code, work, seconds)
                work.take(child, answers)
                left -= max(child.cpu_seconds, child.seconds / WALL_FACTOR)
        work.give_up("no time was left")
        return work

    def _child(self, code: str, work: _Work, seconds: float) -> tuple[ChildResult, _Answers]:
        nonce = secrets.token_hex(16)
        payload = wire.encode({
            "nonce": nonce,
            "code": code,
            "targets": [one.name for one in self.targets],
            "orders": [
                {
                    "id": number,
                    "target": work.orders[number].target.name,
                    **work.orders[number].signature.as_dict(),
                }
                for number in work.todo
            ],
        })
        limits = Limits(
            wall_seconds=WALL_FACTOR * seconds, cpu_seconds=seconds, output_bytes=OUTPUT_BYTES
        )
        child = self._pool.run(_JOB, payload, limits)
        return child, _read(child.frames, nonce)


@contextlib.contextmanager
def open_compiler(
    targets: Sequence[Target], workers: int = 1, sandbox: Sandbox = "auto"
) -> Iterator[Compiler | None]:
    """A compiler with the user's cache, None without targets. Its processes start when something
    has to be compiled, and end with the block.

    ConfigError if `sandbox` is "required" and this machine cannot give it.
    """
    if not targets:
        yield None
        return
    made = Pool(workers=workers, sandbox=sandbox, preload=COMPILE_PRELOAD, interpret=False)
    with contextlib.closing(made) as pool:
        yield Compiler(pool, targets, compile_cache(default_folder()))


def compile_cache(folder: Path | None) -> CompileCache:
    """A cache of what this version compiles with the Triton that is installed."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = ""
    return CompileCache(folder, (COMPILER_VERSION, triton))


def _answered(order: _Order, body: dict[str, Any], said: str) -> CompileFacts:
    """One `compiled` frame as facts; a frame that makes no sense is `not-run`."""
    kept = ("shared_bytes", "registers", "spills", "tensor_cores")
    status, why = body.get("status"), str(body.get("why") or "")
    if status == "error" and (printed_error := error_text(said)):
        why = f"{why}: {printed_error}"
    try:
        found = {name: body.get(name) for name in kept}
        return order.facts(str(status), why[:500], **found)
    except ValueError:
        return order.facts("not-run", "the child's answer made no sense")


def _read(frames: Sequence[bytes], nonce: str) -> _Answers:
    answers = _Answers()
    for raw in frames:
        try:
            frame = wire.decode(raw)
        except wire.WireError:
            continue
        if not isinstance(frame, dict) or frame.get("nonce") != nonce:
            continue
        number = frame.get("id")
        if frame.get("event") == "unable":
            answers.unable = str(frame.get("why"))[:500]
            answers.lasting = frame.get("lasting") is True
        elif frame.get("event") == "begun" and type(number) is int:
            answers.begun = number
        elif frame.get("event") == "compiled" and type(number) is int:
            answers.compiled.setdefault(number, frame)
    return answers
