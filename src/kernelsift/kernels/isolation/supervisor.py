"""The first process of a job: ours, inside the walls. It starts the worker, watches, reports.

In a pid namespace its end is the end of every process of the job; elsewhere it is the reaper of
all orphans below it and kills them itself.
"""

import contextlib
import faulthandler
import fcntl
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

from kernelsift.kernels.isolation import sandbox, syscalls
from kernelsift.kernels.isolation.dialogue import receiver
from kernelsift.kernels.isolation.limits import HEADER, RETURNED, Limits
from kernelsift.kernels.isolation.visible import TMP

FIRST_WAIT, LONGEST_WAIT = 0.005, 0.05  # seconds between two looks at the processes
KILL_ROUNDS = 200
COMMANDS = 6  # the descriptor that a job which is talked with reads its messages from


@dataclass(frozen=True, slots=True)
class Pipes:
    """Descriptors of one job: what it reads, and the pipes it writes. `commands`: messages to a
    job that is talked with.
    """

    payload: int
    result: int
    output: int
    report: int
    commands: int = -1

    def all(self) -> list[int]:
        """Those that are open, lowest first."""
        every = (self.payload, self.result, self.output, self.report, self.commands)
        return sorted(fd for fd in every if fd >= 0)


@dataclass(frozen=True, slots=True)
class Task:
    """One job as the fork server has it."""

    job: str
    limits: Limits
    place: sandbox.Place
    report: sandbox.SandboxReport


@dataclass(frozen=True, slots=True)
class Account:
    """What the supervisor says at the end; it is the only one who can write it."""

    why: str = ""  # "timeout", "killed" or "" if the worker ended by itself
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Usage:
    memory: int
    threads: int
    cpu_seconds: float


def supervise(task: Task, pipes: Pipes) -> NoReturn:
    """Run the job to its end and leave. Called in a fresh child of the fork server."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        _keep_only(pipes)
        try:
            account = _run(task, pipes)
        except Exception as error:  # noqa: BLE001 - the account must be written whatever happened
            account = Account(why="killed", reason=f"supervisor: {type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            os.write(pipes.report, json.dumps(asdict(account)).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _keep_only(pipes: Pipes) -> None:
    kept = pipes.all()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    start = 3
    for fd in (*kept, 1 << 20):
        os.closerange(start, fd)
        start = fd + 1


def _run(task: Task, pipes: Pipes) -> Account:
    try:
        function = _job_function(task.job)  # imported before the walls stand; it is our own code
        sandbox.confine_first(task.report, task.place, task.limits)
        # after the change of user, which clears it
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        base = int(sandbox.status_field(Path("/proc/self/status"), "RssAnon")) * 1024
        started = time.monotonic()
        walls_read, walls_write = os.pipe()
        worker = os.fork()
    except (OSError, ImportError, AttributeError) as error:
        return Account(why="killed", reason=f"could not start: {type(error).__name__}: {error}")
    if worker == 0:
        _work(task, replace(pipes, report=walls_write), function)
    for fd in (*pipes.all(), walls_write):
        if fd != pipes.report:
            os.close(fd)
    account = _watch(task, worker, base, started)
    if not account.why and not os.read(walls_read, 1):  # it ended before foreign code began
        account = replace(account, why="killed", reason="the sandbox could not be put up")
    if not task.report.namespaces:
        kill_descendants()
    return account


def _job_function(job: str) -> Callable[..., None]:
    module, _, name = job.partition(":")
    function: Callable[..., None] = getattr(importlib.import_module(module), name)
    return function


def _work(task: Task, pipes: Pipes, function: Callable[..., None]) -> NoReturn:
    """The worker: foreign code runs in here."""
    code = 1
    try:
        result = _own_descriptors(pipes)
        _become_worker(task)
        os.write(5, b"1")  # the walls stand
        os.close(5)
        payload = _read_all(4)
        os.close(4)

        def send(frame: bytes) -> None:
            _write_all(result, HEADER.pack(len(frame)))
            _write_all(result, frame)

        if pipes.commands >= 0:
            function(payload, send, receiver(COMMANDS))
        else:
            function(payload, send)
        sys.stdout.flush()
        code = RETURNED
    except BaseException:  # noqa: BLE001 - foreign code may raise anything, also to leave
        with contextlib.suppress(BaseException):
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _own_descriptors(pipes: Pipes) -> int:
    """Leave 0 to 2, the result pipe as 3, payload as 4, report as 5, messages as 6; no other."""
    used = [pipes.result, pipes.payload, pipes.report]
    used += [pipes.commands] if pipes.commands >= 0 else []
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in used]
    os.dup2(pipes.output, 1)
    os.dup2(pipes.output, 2)
    for number, fd in enumerate(high, 3):
        os.dup2(fd, number, inheritable=False)
    os.closerange(3 + len(used), 1 << 20)
    return 3


def _become_worker(task: Task) -> None:
    os.setsid()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sandbox.confine_worker(task.report, task.place, task.limits)


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = bytearray()
    while len(data) < size:
        chunk = os.pread(fd, size - len(data), len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _watch(task: Task, worker: int, base: int, started: float) -> Account:
    """Wait for the worker's end, or for the first limit that it passes."""
    wait, peak, why, reason = FIRST_WAIT, 0, "", ""
    while not why:
        signal.sigtimedwait({signal.SIGCHLD}, wait)
        ended = _reap(worker)
        if ended is not None:
            status, peak_rss = ended
            return _ended(task, status, max(peak, peak_rss - base), time.monotonic() - started)
        wait = min(2 * wait, LONGEST_WAIT)
        use = _usage(task, base)
        peak = max(peak, use.memory)
        why, reason = _passed(task.limits, use, time.monotonic() - started)
    return Account(
        why=why, reason=reason, seconds=time.monotonic() - started, peak_bytes=max(0, peak)
    )


def _reap(worker: int) -> tuple[int, int] | None:
    """Reap whatever ended; the worker's wait status and its own largest memory, once it did."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, use = os.wait4(-1, os.WNOHANG)
            if pid == worker:
                return status, use.ru_maxrss * 1024 - _shared_pages()
            if pid == 0:
                break
    return None


def _shared_pages() -> int:
    rss = int(sandbox.status_field(Path("/proc/self/status"), "RssFile"))
    return rss * 1024


def _ended(task: Task, status: int, peak: int, seconds: float) -> Account:
    code = os.waitstatus_to_exitcode(status)
    why = reason = ""
    if code == -signal.SIGXCPU:
        why, reason = "timeout", f"CPU time over {task.limits.cpu_seconds:g} s"
    return Account(
        why=why,
        reason=reason,
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        seconds=seconds,
        peak_bytes=max(0, peak),
    )


def _passed(limits: Limits, use: _Usage, seconds: float) -> tuple[str, str]:
    if seconds > limits.wall_seconds:
        return "timeout", f"wall clock over {limits.wall_seconds:g} s"
    if use.cpu_seconds > limits.cpu_seconds + 1:
        return "timeout", f"CPU time over {limits.cpu_seconds:g} s"
    if use.memory > limits.memory_bytes:
        return "killed", f"memory {use.memory >> 20} MiB over {limits.memory_bytes >> 20} MiB"
    if use.threads > limits.processes:
        return "killed", f"{use.threads} processes over {limits.processes}"
    return "", ""


def _usage(task: Task, base: int) -> _Usage:
    """Over all processes of the job. Pages still shared with the fork server cost nothing."""
    memory = threads = 0
    ticks = 0
    pids = _pids_of_namespace() if task.report.namespaces else _descendants(os.getpid())
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, LookupError):  # a zombie has no memory
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
            anonymous = int(fields["RssAnon"].split()[0]) + int(fields["RssShmem"].split()[0])
            memory += max(0, anonymous * 1024 - base)
            threads += int(fields["Threads"])
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            ticks += sum(int(word) for word in stat.rpartition(")")[2].split()[11:15])
    if task.report.namespaces:
        tmp = os.statvfs(TMP)
        memory += (tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize
    return _Usage(memory, threads, ticks / os.sysconf("SC_CLK_TCK"))


def _pids_of_namespace() -> Iterable[int]:
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if p.name != "1"]


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                children = (thread / "children").read_text(encoding="ascii").split()
                found += [int(child) for child in children]
                todo += [int(child) for child in children]
    return found


def kill_descendants() -> None:
    """Until none is left. Orphans come back to this process, so a new session hides nobody."""
    for _ in range(KILL_ROUNDS):
        pids = _descendants(os.getpid())
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        _reap(-1)
        time.sleep(0.001)
