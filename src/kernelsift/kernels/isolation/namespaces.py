"""New namespaces and a new root: a tree with the interpreter, read-only, and nothing else.

The root is built from a list of what may be seen, not of what must be hidden: home, the run
directory and every other secret are absent because nobody put them there.
"""

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from kernelsift.kernels.isolation import syscalls
from kernelsift.kernels.isolation.visible import TMP

NULL_DEVICES = ("null", "zero", "full", "random", "urandom")
TOP_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
ATTRIBUTE_RDONLY, ATTRIBUTE_NOSUID = 1, 2
TMP_INODES = 16384
SET_INTERFACE_FLAGS = 0x8914  # SIOCSIFFLAGS
INTERFACE_UP, INTERFACE_RUNNING = 1, 64
DIRECTORIES = ("home", "cache", "work")  # in the private tmp; the job starts in the last


def enter_user_namespace() -> None:
    """A new user namespace in which this process keeps its user and has every capability."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # or the maps belong to root and cannot be written
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        Path("/proc/self", name).write_text(text, encoding="ascii")


def isolate(
    visible: Iterable[str], tmp_bytes: int, *, own_user: bool, devices: tuple[str, ...] = ()
) -> None:
    """Give this process (the first of a new pid namespace) its own everything.

    `visible`: absolute paths to keep, read-only. /tmp becomes a fresh memory file system of
    `tmp_bytes`, /proc a fresh one. `own_user`: enter a further user namespace, so that the count
    of processes is this job's alone. `devices`: device files to keep; with them the loopback of
    the otherwise empty network is up, and the job's own files in /proc can be written (the
    driver's library names its threads there). OSError where the machine does not permit it.
    """
    syscalls.unshare(
        syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    )
    sources = [(path, os.path.realpath(path)) for path in visible]
    links = [(path, Path(path).readlink()) for path in TOP_LINKS if Path(path).is_symlink()]
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("root", TMP, "tmpfs", syscalls.MS_NOSUID, "size=1m,nr_inodes=4096,mode=755")
    Path(TMP, ".old").mkdir()
    syscalls.syscall("pivot_root", TMP.encode(), f"{TMP}/.old".encode())
    os.chdir("/")
    _furnish(tmp_bytes)
    for path, target in links:
        Path(path).symlink_to(target)
    bound = [where for where, real in sources if _bind(f"/.old{real}", where)]
    for device in devices:
        _bind(f"/.old{device}", device)
    syscalls.detach("/.old")
    Path("/.old").rmdir()
    if devices:
        _raise_loopback()
        bound += _pin_kernel_files()
    writable = (TMP, "/proc") if own_user or devices else (TMP,)
    _make_read_only(bound, writable)
    if own_user:
        enter_user_namespace()


def _raise_loopback() -> None:
    """Up with 127.0.0.1 of this network, which nobody else is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", INTERFACE_UP | INTERFACE_RUNNING)
        fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, request)


def _pin_kernel_files() -> list[str]:
    """Make each part of /proc that belongs to no process a mount, which is then read-only."""
    entries = [p for p in Path("/proc").iterdir() if not p.name.isdigit() and not p.is_symlink()]
    return [str(entry) for entry in entries if _bind(str(entry), str(entry))]


def _furnish(tmp_bytes: int) -> None:
    for name in ("proc", "tmp", "dev", "etc"):
        Path("/", name).mkdir()
    quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("proc", "/proc", "proc", quiet | syscalls.MS_NOEXEC)
    options = f"size={tmp_bytes},nr_inodes={TMP_INODES},mode=1777"
    syscalls.mount("tmp", TMP, "tmpfs", quiet, options)
    make_directories(TMP)
    for name in NULL_DEVICES:
        _bind(f"/.old/dev/{name}", f"/dev/{name}")
    Path("/dev", "shm").symlink_to(TMP)
    Path("/dev/fd").symlink_to("/proc/self/fd")


def make_directories(tmp: str) -> None:
    """The folders of a private tmp, writable for whoever the job runs as."""
    for name in DIRECTORIES:
        Path(tmp, name).mkdir()
        Path(tmp, name).chmod(0o777)


def _bind(source: str, target: str) -> bool:
    """Show a file or folder at the target; False where there is none."""
    try:
        is_folder = stat.S_ISDIR(Path(source).stat().st_mode)
    except OSError:
        return False
    place = Path(target)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            place.mkdir()
        else:
            place.touch()
    syscalls.mount(source, target, "", syscalls.MS_BIND | syscalls.MS_REC)
    return True


def _set_attributes(path: str, flags: int, add: int, clear: int) -> None:
    attributes = struct.pack("<4Q", add, clear, 0, 0)
    held = syscalls.buffer(attributes)
    syscalls.syscall("mount_setattr", AT_FDCWD, os.fsencode(path), flags, held, len(attributes))


def _make_read_only(bound: Iterable[str], writable: tuple[str, ...]) -> None:
    """Everything but the writable mounts; before Linux 5.12 mount by mount."""
    try:
        _set_attributes("/", AT_RECURSIVE, ATTRIBUTE_RDONLY | ATTRIBUTE_NOSUID, 0)
        for path in writable:
            _set_attributes(path, 0, 0, ATTRIBUTE_RDONLY)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _remount_read_only(p for p in (*bound, "/proc", "/") if p not in writable)


def _remount_read_only(paths: Iterable[str]) -> None:
    for path in paths:
        flags = os.statvfs(path).f_flag
        kept = flags & (syscalls.MS_NODEV | syscalls.MS_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
        if flags & os.ST_RELATIME:
            kept |= 1 << 21  # MS_RELATIME
        add = syscalls.MS_RDONLY | syscalls.MS_NOSUID
        syscalls.mount("", path, "", syscalls.MS_REMOUNT | syscalls.MS_BIND | add | kept)
