"""Run one job at a time per worker, each in a child of its own in the sandbox, and keep its bytes.

    with Pool(workers=2, sandbox="auto", preload=("torch", "triton")) as pool:
        result = pool.run("kernelsift.kernels.candidate.candidate_job:main", payload, Limits())

A job is a function `main(payload: bytes, send: Callable[[bytes], None])` of our own; what it runs
may be foreign. Nothing of a child survives its job, and nothing it sends is interpreted here.
"""

import contextlib
import itertools
import json
import os
import re
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from kernelsift.errors import ConfigError, RunError
from kernelsift.kernels.isolation.dialogue import Dialogue
from kernelsift.kernels.isolation.limits import RETURNED, ChildResult, FrameReader, Limits, Tail
from kernelsift.kernels.isolation.sandbox import NO_SANDBOX, Sandbox, SandboxReport
from kernelsift.kernels.isolation.server import Server, ServerSetting, private_tmp, probe, required

GRACE_SECONDS = 10.0  # a child ends itself at its limit; after this long we end it
END_SECONDS = 5.0  # a job that is talked with has so long to end once nobody talks any more
FLOOD_BYTES = 64 << 20  # of output, over which a child is ended
CHUNK = 1 << 20
LARGEST_ACCOUNT = 1 << 16
LARGEST_PAYLOAD = 256 << 20
JOB_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(slots=True)
class _Conversation:
    """What came back from one child so far."""

    frames: FrameReader
    output: Tail
    account: bytearray = field(default_factory=bytearray)
    flooded: str = ""
    dialogue: Dialogue | None = None

    def take(self, name: str, chunk: bytes) -> None:
        if name == "account":
            if len(self.account) < LARGEST_ACCOUNT:
                self.account += chunk
            return
        if name == "result":
            known = len(self.frames.frames)
            self.frames.feed(chunk)
            if self.dialogue is not None:
                for frame in self.frames.frames[known:]:
                    self.dialogue.take(frame)
        else:
            self.output.feed(chunk)
        if self.frames.overflow:
            self.flooded = "more results than the limit"
        elif self.output.seen > FLOOD_BYTES:
            self.flooded = f"more than {FLOOD_BYTES >> 20} MiB of output"

    def parsed(self) -> dict[str, Any]:
        """What our supervisor and fork server said; a child cannot write there."""
        said: dict[str, Any] = {}
        for line in bytes(self.account).splitlines():
            with contextlib.suppress(ValueError):
                said |= json.loads(line)
        return said


@dataclass(slots=True)
class _Order:
    """One job. `commands`: what a job that is talked with reads its messages from, handed over."""

    job: str
    payload: bytes
    limits: Limits
    tmp: str
    dialogue: Dialogue | None = None
    commands: int = -1
    number: int = 0


class Pool:
    """At most `workers` children at once. `run` blocks and may be called from many threads."""

    def __init__(
        self,
        workers: int = 1,
        sandbox: Sandbox = "auto",
        preload: Sequence[str] = (),
        *,
        interpret: bool = True,
        gpu: bool = False,
        import_paths: Sequence[Path] = (),
    ) -> None:
        """`preload`: modules imported before any job; of `module:function` it is called, too.

        `interpret`: with Triton's interpreter. `gpu`: jobs may use the GPU, at the cost of some
        walls (see `sandbox.Place`); nothing that is preloaded may start its driver.

        ConfigError if `sandbox` is "required" and this machine cannot give it.
        """
        if workers < 1:
            raise ConfigError(f"workers = {workers}; at least 1 is needed")
        self.report = _report_for(sandbox)
        self.notes = _notes_for(sandbox, self.report)
        self._setting = ServerSetting(
            preload=tuple(preload),
            interpret=interpret,
            import_paths=tuple(Path(p).absolute() for p in import_paths),
            report=self.report,
            gpu=gpu,
        )
        self._free = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._numbers = itertools.count(1)
        self._closed = False

    def __enter__(self) -> Self:
        """Start the fork server. RunError if its imports fail."""
        self._live_server()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the fork server and every child."""
        self.close()

    def close(self) -> None:
        """End the fork server and every child; the pool is of no use afterwards."""
        with self._lock:
            self._closed = True
            if self._server is not None:
                self._server.close()
                self._server = None

    @property
    def level(self) -> str:
        """The sandbox that every child of this pool is in."""
        return f"{self.report.level}, open to the GPU" if self._setting.gpu else self.report.level

    def server_pid(self) -> int:
        """The process of the fork server, started if need be."""
        return self._live_server().pid

    def run(self, job: str, payload: bytes, limits: Limits | None = None) -> ChildResult:
        """Run one job to its end. Whatever happens in the child is in the result."""
        _check(job, payload)
        with self._free, self._tmp() as tmp:
            return self._run(_Order(job, payload, limits or Limits(), tmp))

    @contextlib.contextmanager
    def converse(
        self, job: str, payload: bytes, limits: Limits | None = None
    ) -> Iterator[Dialogue]:
        """Run a job that is talked with. It takes a worker, and ends with the block."""
        _check(job, payload)
        with self._free, self._tmp() as tmp, contextlib.ExitStack() as stack:
            theirs, mine = os.pipe()
            stack.callback(os.close, theirs)
            dialogue = Dialogue(mine)
            stack.callback(dialogue.close)
            order = _Order(job, payload, limits or Limits(), tmp, dialogue, os.dup(theirs))
            listener = threading.Thread(target=self._listen_to, args=(order, dialogue), daemon=True)
            listener.start()
            try:
                yield dialogue
            finally:
                dialogue.close()
                listener.join(END_SECONDS)
                if listener.is_alive():
                    self._live_server().kill(order.number)
                    listener.join()

    def _listen_to(self, order: "_Order", dialogue: Dialogue) -> None:
        try:
            dialogue.finish(self._run(order), "")
        except (OSError, ConfigError, RunError) as error:
            dialogue.finish(None, str(error))

    def _tmp(self) -> contextlib.AbstractContextManager[str]:
        return contextlib.nullcontext("") if self.report.namespaces else private_tmp()

    def _live_server(self) -> Server:
        with self._lock:
            if self._closed:
                raise ConfigError("the pool is closed")
            if self._server is not None and not self._server.is_alive():
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = Server(self._setting)
            return self._server

    def _run(self, job: "_Order") -> ChildResult:
        limits = job.limits
        number = job.number = next(self._numbers)
        order = {"run": number, "job": job.job, "limits": asdict(limits), "tmp": job.tmp}
        with contextlib.ExitStack() as stack:
            held, given = _descriptors(job.payload, stack)
            if job.commands >= 0:
                given.append(job.commands)
            try:
                server = self._live_server()
                server.submit(order, given)
            except OSError:  # it died since it was looked at; the next one is fresh
                server = self._live_server()
                server.submit(order, given)
            for fd in given:
                os.close(fd)
            given.clear()
            started = time.monotonic()
            talk = _Conversation(
                FrameReader(limits.result_bytes), Tail(limits.output_bytes), dialogue=job.dialogue
            )
            late = _listen(held, talk, limits, lambda: server.kill(number))
            if late and "ended" not in talk.parsed():
                server.kill_now()
            return _result(talk, limits, self.level, time.monotonic() - started, late=late)


def _check(job: str, payload: bytes) -> None:
    if JOB_NAME.fullmatch(job) is None:
        raise ConfigError(f"{job!r} is no job; expected package.module:function")
    if len(payload) > LARGEST_PAYLOAD:
        raise ConfigError(f"a payload of {len(payload)} bytes is over {LARGEST_PAYLOAD}")


def _report_for(sandbox: Sandbox) -> SandboxReport:
    if sandbox == "off":
        return NO_SANDBOX
    report = probe()
    return required(report) if sandbox == "required" else report


def _notes_for(sandbox: Sandbox, report: SandboxReport) -> tuple[str, ...]:
    if sandbox == "off":
        return ("The sandbox is off: kernels run with your rights on your files and network.",)
    if report.is_full:
        return report.notes
    missing = "; ".join(report.notes)
    weak = "" if report.is_enough else " Kernels can reach your files or network."
    return (f"The sandbox is only {report.level}.{weak} Missing: {missing}",)


def _descriptors(
    payload: bytes, stack: contextlib.ExitStack
) -> tuple[dict[Literal["result", "output", "account"], int], list[int]]:
    """What this process reads, by name, and what the child gets; all closed with the stack."""
    given: list[int] = []

    def close_given() -> None:
        for fd in given:
            os.close(fd)

    stack.callback(close_given)
    memory = os.memfd_create("payload")
    given.append(memory)
    view = memoryview(payload)
    while view:
        view = view[os.write(memory, view) :]
    held: dict[Literal["result", "output", "account"], int] = {}
    names: tuple[Literal["result", "output", "account"], ...] = ("result", "output", "account")
    for name in names:
        read, write = os.pipe()
        stack.callback(os.close, read)
        os.set_blocking(read, False)
        held[name] = read
        given.append(write)
    return held, given


def _listen(
    held: dict[Literal["result", "output", "account"], int],
    talk: _Conversation,
    limits: Limits,
    kill: Callable[[], None],
) -> bool:
    """Read until the account closes, which is when the child is gone; True if it was too late.

    What still lies in the other pipes then is read, but nobody's end is waited for.
    """
    deadline = time.monotonic() + limits.wall_seconds + GRACE_SECONDS
    killed = late = False
    with selectors.DefaultSelector() as selector:
        for name, fd in held.items():
            selector.register(fd, selectors.EVENT_READ, name)
        while held["account"] in selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                if late:
                    break
                late, deadline = True, time.monotonic() + GRACE_SECONDS
            if (late or talk.flooded) and not killed:
                killed = True
                kill()
            for key, _ in selector.select(max(0.0, min(left, 1.0))):
                if _read_some(key.fd, key.data, talk):
                    selector.unregister(key.fd)
        for key in list(selector.get_map().values()):
            _drain(key.fd, key.data, talk)
    return late


def _drain(fd: int, name: str, talk: _Conversation) -> None:
    """Read what still lies in the pipe, which is bounded: the writers are gone or ignored."""
    before = -1
    while not talk.flooded and before != talk.frames.seen + talk.output.seen:
        before = talk.frames.seen + talk.output.seen
        if _read_some(fd, name, talk):
            break


def _read_some(fd: int, name: str, talk: _Conversation) -> bool:
    """Read what is there; True at the end of the pipe."""
    try:
        chunk = os.read(fd, CHUNK)
    except BlockingIOError:
        return False
    talk.take(name, chunk)
    return not chunk


def _result(
    talk: _Conversation, limits: Limits, level: str, seconds: float, *, late: bool
) -> ChildResult:
    said = talk.parsed()
    status, reason = _status(talk, said, late=late)
    return ChildResult(
        status=status,
        frames=tuple(talk.frames.frames),
        exit_code=0 if said.get("exit_code") == RETURNED else said.get("exit_code"),
        signal=said.get("signal"),
        seconds=float(said.get("seconds") or min(seconds, limits.wall_seconds + GRACE_SECONDS)),
        cpu_seconds=float(said.get("cpu_seconds", 0.0)),
        peak_bytes=int(said.get("peak_bytes", 0)),
        output=talk.output.text(),
        sandbox=level,
        reason=reason,
    )


def _status(
    talk: _Conversation, said: dict[str, Any], *, late: bool
) -> tuple[Literal["done", "crash", "timeout", "killed", "flooded"], str]:
    reason = str(said.get("reason", ""))
    if talk.flooded:
        return "flooded", talk.flooded
    if late:
        return "timeout", "it did not end at its wall clock and was killed"
    if said.get("why") == "timeout":
        return "timeout", reason
    if said.get("why") == "killed":
        return "killed", reason
    if "exit_code" not in said:
        return "killed", "its first process or the fork server died"
    if said["exit_code"] == RETURNED:
        return "done", ""
    code, signal = said["exit_code"], said["signal"]
    return "crash", f"signal {signal}" if signal else f"exit code {code}"
