"""The system calls that Python 3.11 has no function for, by ctypes. Linux only.

Each raises OSError with the errno and the name of the call.
"""

import ctypes
import functools
import os
import platform

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# number on x86-64, number on arm64
NUMBERS = {
    "pivot_root": (155, 41),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def column() -> int:
    """Which column of a table of call numbers is this machine's; OSError where none is."""
    machine = platform.machine()
    if machine not in {"x86_64", "aarch64"} or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(38, f"no table of system calls for {machine}")
    return 0 if machine == "x86_64" else 1


def _checked(name: str, answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return answer


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """A raw system call by name; integers are passed as 64 bits."""
    number = NUMBERS[name][column()]
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(name, libc().syscall(ctypes.c_long(number), *passed))


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """A copy of the bytes at a fixed place, to point a system call at."""
    return ctypes.create_string_buffer(data, len(data))


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for fresh ones."""
    _checked("unshare", libc().unshare(ctypes.c_int(flags)))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that the descriptor stands for."""
    _checked("setns", libc().setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def prctl(option: int, *arguments: int) -> None:
    """prctl(2); missing arguments are zero."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(f"prctl {option}", libc().prctl(ctypes.c_int(option), *padded))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). The message of an error names the target."""
    _checked(
        f"mount {kind or 'bind'} on {target}",
        libc().mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
    )


def detach(target: str) -> None:
    """Take a mount away from the tree at once."""
    _checked(f"umount {target}", libc().umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)))
