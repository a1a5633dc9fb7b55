"""Landlock: a process gives up, for good, every file that is not under a listed path.

Needs no privilege. It holds under the namespaces as a second wall, and is the only wall round the
files where namespaces are not permitted.
"""

import contextlib
import os
import stat
import struct
from collections.abc import Iterable

from kernelsift.kernels.isolation import syscalls

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
SIGNAL_SCOPE_SINCE = 6


def abi() -> int:
    """The version of landlock that this kernel has; 0 for none."""
    try:
        return syscalls.syscall("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def _handled(version: int) -> int:
    rights = (1 << 13) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEVICE)):
        if version >= since:
            rights |= right
    return rights


def _allow(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= ON_FILES
            rule = struct.pack("<Qi", rights, fd)
            held = syscalls.buffer(rule)
            syscalls.syscall("landlock_add_rule", ruleset, 1, held, 0)
        finally:
            os.close(fd)


def restrict(
    readable: Iterable[str],
    writable: Iterable[str],
    rewritable: Iterable[str] = (),
    *,
    network: bool = False,
) -> None:
    """Confine this process to what lies under the paths; outside signals go too, and TCP unless
    `network`. What exists under `rewritable` may be written, but nothing made there.

    Needs no_new_privs. A path that does not exist is skipped. OSError where landlock is not.
    """
    version = abi()
    rights = _handled(version)
    scopes = 3 if version >= SIGNAL_SCOPE_SINCE else 0
    fields = [rights, 3 if version >= 4 and not network else 0, scopes]
    known = fields[: 1 + (version >= 4) + (version >= SIGNAL_SCOPE_SINCE)]
    attributes = struct.pack(f"<{len(known)}Q", *known)
    held = syscalls.buffer(attributes)
    ruleset = syscalls.syscall("landlock_create_ruleset", held, len(attributes), 0)
    try:
        for path in readable:
            _allow(ruleset, path, READ & rights)
        for path in writable:
            _allow(ruleset, path, rights)
        for path in rewritable:
            _allow(ruleset, path, (READ | WRITE_FILE | TRUNCATE) & rights)
        syscalls.syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
