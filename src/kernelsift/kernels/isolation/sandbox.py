"""The walls round one child, put up before any foreign code runs, and what this machine permits.

namespaces  nothing of the machine is there: no processes, no network, no files but the interpreter
seccomp     seldom-used system calls fail (see seccomp.py)
landlock    files outside the listed paths cannot be opened; the second wall, or the only one
rlimits     memory, CPU, processes, file size, descriptors; always

A level is one fact for a whole pool: a child either gets all of it or does not run.
"""

import contextlib
import os
import re
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernelsift.kernels.isolation import landlock, namespaces, seccomp, syscalls
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.visible import TMP, private_variables

Sandbox = Literal["auto", "required", "off"]
Entry = Literal["", "direct", "user"]  # how namespaces are had: not, as root, by a user namespace

TMP_FILES = 4  # the private tmp holds this many of the largest files
ADDRESS_SLACK = 2 << 30  # address space that is reserved and never touched
OWN_PROC = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo")  # what a job may see of the real /proc
FIRST_JOB_USER, JOB_USERS = 0x70000000, 256
FIRST_SMALL_USER, SMALL_USERS = 40000, 20000


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What this machine permits. `notes`: in words, why something is missing."""

    namespaces: Entry = ""
    seccomp: bool = False
    landlock: int = 0  # its version; 0 for none
    other_user: bool = False  # running as root: jobs run as nobody that exists
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """For a verdict's row: "namespaces+seccomp+landlock+rlimits" … "rlimits only"."""
        walls = [
            name
            for name, held in (
                ("namespaces", self.namespaces),
                ("seccomp", self.seccomp),
                ("landlock", self.landlock),
            )
            if held
        ]
        return "+".join((*walls, "rlimits")) if walls else "rlimits only"

    @property
    def is_enough(self) -> bool:
        """Whether `--sandbox required` is content."""
        return bool(self.namespaces) or (self.seccomp and self.landlock > 0)

    @property
    def is_full(self) -> bool:
        """Whether every wall stands."""
        return bool(self.namespaces) and self.seccomp and self.landlock > 0


NO_SANDBOX = SandboxReport()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one job runs: what it sees, its tmp, and who it runs as (None: as whoever this is).

    `devices`: files of a GPU's driver that it may use. They cost walls: the driver reserves more
    address space than any limit, makes memory files, writes its threads' names into /proc and
    reads /sys. In a network of its own (namespaces) such a job may also use sockets, which tools
    like compute-sanitizer need. What the device can reach by itself nothing here bounds.
    """

    visible: tuple[str, ...]
    tmp: str
    user: int | None
    devices: tuple[str, ...] = ()


def job_user(slot: int) -> int:
    """A user that nobody else is, different for jobs that run at the same time."""
    ranges = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    last = max((int(line.split()[0]) + int(line.split()[2]) for line in ranges), default=0)
    if last > 0xF0000000:
        return FIRST_JOB_USER + os.getpid() * JOB_USERS + slot % JOB_USERS
    return FIRST_SMALL_USER + (os.getpid() * 7 + slot) % SMALL_USERS


def confine_first(report: SandboxReport, place: Place, limits: Limits) -> None:
    """The walls round a job's first process, which is ours and watches the others.

    OSError where one of them cannot be had.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if report.namespaces:
        own_user = report.namespaces == "user" and os.geteuid() != 0
        tmp_bytes = TMP_FILES * limits.file_bytes
        devices = place.devices
        namespaces.isolate(place.visible, tmp_bytes, own_user=own_user, devices=devices)
    elif place.user is not None:
        for path in (place.tmp, *(f"{place.tmp}/{name}" for name in namespaces.DIRECTORIES)):
            os.chown(path, place.user, place.user)
    if report != NO_SANDBOX:
        _drop_privileges(place)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    os.umask(0o077)


def _drop_privileges(place: Place) -> None:
    number = 0
    with contextlib.suppress(OSError):  # ends at the first capability the kernel does not know
        for number in range(64):
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    with contextlib.suppress(OSError):
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    if place.user is not None:
        os.setgroups([])
        os.setresgid(place.user, place.user, place.user)
        os.setresuid(place.user, place.user, place.user)
    version_3 = syscalls.buffer(0x20080522.to_bytes(4, "little") + bytes(4))
    syscalls.syscall("capset", version_3, syscalls.buffer(bytes(24)))


def confine_worker(report: SandboxReport, place: Place, limits: Limits) -> None:
    """The walls round the process that will run foreign code. OSError where one fails."""
    tmp = TMP if report.namespaces else place.tmp
    os.environ.update(private_variables(tmp))
    tempfile.tempdir = None
    os.chdir(f"{tmp}/work")
    others = 0 if _counts_alone(report, place) else _threads_of_user()
    _set_limits(limits, others=others, reserves=bool(place.devices))
    sockets = bool(place.devices) and bool(report.namespaces)
    if report.landlock:
        _confine_files(report, place, tmp, network=sockets)
    if report.seccomp:
        bounded = report.namespaces or report.landlock >= landlock.SIGNAL_SCOPE_SINCE
        seccomp.install(
            signals_only_to_self=not bounded,
            marks=bool(report.namespaces),
            allowed=(seccomp.FOR_GPU if place.devices else ())
            + (seccomp.NETWORK if sockets else ()),
        )


def _confine_files(report: SandboxReport, place: Place, tmp: str, *, network: bool) -> None:
    devices = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
    readable = ["/"] if report.namespaces else [*place.visible, *OWN_PROC]
    names: tuple[str, ...] = ()
    if place.devices:
        # in its own namespace all else in /proc is read-only already
        names = ("/proc",) if report.namespaces else ("/proc/self/task",)
        readable = readable if report.namespaces else [*readable, "/proc/driver/nvidia"]
    written = [tmp, "/dev/null", *place.devices]
    landlock.restrict([*readable, *devices[1:]], written, names, network=network)


def _counts_alone(report: SandboxReport, place: Place) -> bool:
    return place.user is not None or report.namespaces == "user"


def _threads_of_user() -> int:
    """How many threads this user has now: where a job shares its user, they count against it."""
    mine = os.geteuid()
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid in {mine, 0}:
                total += int(status_field(folder / "status", "Threads"))
    return total


def status_field(path: Path, name: str) -> str:
    """The first word of a field of a /proc/…/status; "0" if it has none. OSError once gone."""
    text = path.read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"^{name}:\s+(\w+)", text, re.MULTILINE)
    return found[1] if found else "0"


def _set_limits(limits: Limits, *, others: int, reserves: bool) -> None:
    """`reserves`: a driver in the process reserves and pins memory as it likes."""
    me = Path("/proc/self/status")
    address_space = int(status_field(me, "VmSize")) * 1024
    data = int(status_field(me, "VmData")) * 1024
    cpu = max(1, round(limits.cpu_seconds + 0.999))
    asked = limits.address_bytes or limits.memory_bytes
    wanted = {
        resource.RLIMIT_AS: address_space + asked + ADDRESS_SLACK,
        resource.RLIMIT_DATA: data + asked,
        resource.RLIMIT_NPROC: limits.processes + others + 2,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    if reserves:
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_MEMLOCK):
            del wanted[kind]
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
