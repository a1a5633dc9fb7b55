"""What this machine permits, found by trying each wall in a throw-away child."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace

from kernelsift.kernels.isolation import landlock, namespaces, sandbox, seccomp, syscalls
from kernelsift.kernels.isolation.limits import Limits

TRY_SECONDS = 10  # a trial that hangs is a wall that does not hold


def probe_here(
    visible: tuple[str, ...], samples: tuple[str, ...], tmp: str
) -> sandbox.SandboxReport:
    """Try all. `samples`: files that a job must be able to read; `tmp`: a folder for the trial."""
    notes: list[str] = []
    report = sandbox.SandboxReport(landlock=landlock.abi())
    if not report.landlock:
        notes.append("landlock: this kernel has none")
    failed = _trial(_try_seccomp)
    report = replace(report, seccomp=not failed)
    notes += [f"seccomp: {failed}"] if failed else []
    entry, failed = _entry(visible, tmp)
    report = replace(report, namespaces=entry)
    notes += [f"namespaces: {failed}"] if failed else []
    if os.geteuid() == 0 and entry != "user":
        failed = _trial(lambda: _try_other_user(report, visible, samples, tmp))
        report = replace(report, other_user=not failed)
        notes += [f"jobs run as root without privileges: {failed}"] if failed else []
    return replace(report, notes=tuple(notes))


def _trial(work: Callable[[], None]) -> str:
    """Run it in a child; what went wrong, or nothing."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(TRY_SECONDS)
        try:
            os.close(read)
            work()
            os.write(write, b"ok")
        except OSError as error:
            os.write(write, str(error).encode()[:1000])
        finally:
            os._exit(0)
    os.close(write)
    said = b"".join(iter(lambda: os.read(read, 4096), b""))
    os.close(read)
    os.waitpid(pid, 0)
    return "" if said == b"ok" else said.decode("utf-8", "replace") or "the trial died"


def _try_seccomp() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(signals_only_to_self=False)
    with contextlib.suppress(PermissionError):
        syscalls.unshare(syscalls.CLONE_NEWUTS)
        raise OSError(0, "the filter is in place and lets everything through")


def _entry(visible: tuple[str, ...], tmp: str) -> tuple[sandbox.Entry, str]:
    failed = ""
    if os.geteuid() == 0:
        failed = _trial(lambda: _try_namespaces("direct", visible, tmp))
        if not failed:
            return "direct", ""
    failed_user = _trial(lambda: _try_namespaces("user", visible, tmp))
    if not failed_user:
        return "user", ""
    return "", "; ".join(text for text in (failed, failed_user) if text)


def _try_namespaces(entry: sandbox.Entry, visible: tuple[str, ...], tmp: str) -> None:
    if entry == "user":
        namespaces.enter_user_namespace()
        syscalls.unshare(syscalls.CLONE_NEWPID)
        failed = _trial(lambda: _try_one_job(entry, visible, tmp))
        if failed:
            raise OSError(failed)
    else:
        _try_one_job(entry, visible, tmp)


def _try_one_job(entry: sandbox.Entry, visible: tuple[str, ...], tmp: str) -> None:
    """What the fork server does for each job, and the way back that it needs for the next."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWPID)
    report = sandbox.SandboxReport(namespaces=entry)
    place = sandbox.Place(visible, tmp, None)
    failed = _trial(lambda: sandbox.confine_first(report, place, Limits()))
    if failed:
        raise OSError(failed)
    syscalls.setns(home, syscalls.CLONE_NEWPID)


def _try_other_user(
    report: sandbox.SandboxReport, visible: tuple[str, ...], samples: tuple[str, ...], tmp: str
) -> None:
    user = sandbox.job_user(0)
    if report.namespaces:
        syscalls.unshare(syscalls.CLONE_NEWPID)
    place = sandbox.Place(visible, tmp, user)
    shown = report if report.namespaces else replace(report, seccomp=True)

    def look() -> None:
        sandbox.confine_first(shown, place, Limits())
        for sample in samples:
            os.close(os.open(sample, os.O_RDONLY))

    failed = _trial(look)
    if failed:
        raise OSError(failed)
