"""The fork server: imports what is slow once, in one thread, then forks one child per job.

Run by `pool.py` as a process of its own with a bare environment. It obeys one socket and ends when
that closes. It runs nothing foreign itself, and no child of it keeps a descriptor of it.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kernelsift.kernels.isolation import namespaces, sandbox, syscalls
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.probing import probe_here
from kernelsift.kernels.isolation.supervisor import Pipes, Task, kill_descendants, supervise

LARGEST_MESSAGE = 1 << 18
DESCRIPTORS = 5  # payload, result, output, report, and for some the messages


@dataclass(frozen=True, slots=True)
class _Child:
    """A running job: its number with the parent, our copy of its report pipe, its private tmp."""

    job: int
    report: int
    tmp: str


class ForkServer:
    """The loop: a job comes in, a child is forked; a child ends, its end is reported."""

    def __init__(self, control: socket.socket, setting: dict[str, Any]) -> None:
        """`setting`: what `pool.py` sends first."""
        self._control = control
        self._visible = tuple(setting["visible"])
        self._devices = tuple(setting["devices"])
        self._report = report_from(setting["report"])
        self._children: dict[int, _Child] = {}
        self._slot = 0
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY) if self._report.namespaces else -1

    def serve(self) -> None:
        """Until the parent closes its end."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._control.fileno(), wake_read], [], [], 1.0)
            if wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
            self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        if not self._report.namespaces:
            kill_descendants()  # what a supervisor leaves comes to us
            for child in self._children.values():  # the parent removes them, if it still can
                shutil.rmtree(child.tmp, ignore_errors=True)

    def _obey(self) -> bool:
        try:
            message, fds, _, _ = socket.recv_fds(self._control, LARGEST_MESSAGE, DESCRIPTORS)
        except ConnectionResetError:
            return False
        if not message:
            return False
        order = json.loads(message)
        if "kill" in order:
            for pid, child in self._children.items():
                if child.job == order["kill"]:
                    os.kill(pid, signal.SIGKILL)
            return True
        pipes = Pipes(*fds)
        try:
            pid = self._fork(order, pipes)
            self._children[pid] = _Child(order["run"], os.dup(pipes.report), order["tmp"])
        except OSError as error:
            text = f"the fork server could not fork: {error}"
            os.write(pipes.report, json.dumps({"why": "killed", "reason": text}).encode() + b"\n")
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _fork(self, order: dict[str, Any], pipes: Pipes) -> int:
        self._slot += 1
        user = sandbox.job_user(self._slot) if self._report.other_user else None
        place = sandbox.Place(self._visible, order["tmp"], user, self._devices)
        task = Task(order["job"], Limits(**order["limits"]), place, self._report)
        if self._home >= 0:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if self._home >= 0 and pid != 0:
                syscalls.setns(self._home, syscalls.CLONE_NEWPID)
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            supervise(task, pipes)
        return pid

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _, use = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                child = self._children.pop(pid, None)
                if child is not None:
                    self._tell_end(child, use)
        if not self._report.namespaces:
            self._kill_orphans()

    def _tell_end(self, child: _Child, use: resource.struct_rusage) -> None:
        ended = {"ended": True, "cpu_seconds": use.ru_utime + use.ru_stime}
        with contextlib.suppress(OSError):
            os.write(child.report, json.dumps(ended).encode() + b"\n")
        os.close(child.report)

    def _kill_orphans(self) -> None:
        """A supervisor that was killed leaves its job's processes to us."""
        with contextlib.suppress(OSError):
            mine = Path("/proc/self/task", str(os.getpid()), "children")
            for pid in map(int, mine.read_text(encoding="ascii").split()):
                if pid not in self._children:
                    os.kill(pid, signal.SIGKILL)


def report_from(raw: dict[str, Any]) -> sandbox.SandboxReport:
    """The report that came as JSON."""
    return replace(sandbox.SandboxReport(**raw), notes=tuple(raw["notes"]))


def _enter_own_namespaces(control: socket.socket) -> None:
    """Without privileges: a user namespace to be privileged in, and go on as the first process of
    a pid namespace that belongs to it. This process only waits for that one.
    """
    namespaces.enter_user_namespace()
    syscalls.unshare(syscalls.CLONE_NEWPID)
    pid = os.fork()
    if pid != 0:
        control.close()
        _, status = os.waitpid(pid, 0)
        os._exit(min(255, abs(os.waitstatus_to_exitcode(status))))
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare(control: socket.socket, setting: dict[str, Any]) -> None:
    """First the walls that need a single thread, then the slow imports."""
    if setting["report"]["namespaces"] == "user":
        _enter_own_namespaces(control)
    for entry in setting["preload"]:
        module, _, function = entry.partition(":")
        found = importlib.import_module(module)
        if function:
            getattr(found, function)()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    gc.freeze()


def main(fd: int) -> None:
    """Serve the socket that is this descriptor. Says {"ready"} once, or {"error"} and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    setting = json.loads(control.recv(LARGEST_MESSAGE))
    try:
        _prepare(control, setting)
        server = ForkServer(control, setting)
    except (ImportError, OSError) as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    threads = len(list(Path("/proc/self/task").iterdir()))
    control.send(json.dumps({"ready": True, "threads": threads}).encode())
    server.serve()
    os._exit(0)


def main_probe(fd: int) -> None:
    """Answer what this machine permits on the socket that is this descriptor, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    setting = json.loads(control.recv(LARGEST_MESSAGE))
    report = probe_here(tuple(setting["visible"]), tuple(setting["samples"]), setting["tmp"])
    control.send(json.dumps(asdict(report)).encode())
