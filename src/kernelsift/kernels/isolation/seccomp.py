"""A seccomp filter: the system calls that a kernel under test has no business with fail.

A deny-list in front of the namespaces: it takes away what could reach other processes, other
machines or seldom-used parts of the operating system. Refused calls return EPERM, so a candidate
that merely looks gets an exception and goes on.
"""

import ctypes
import os
import struct

from kernelsift.kernels.isolation import syscalls

# name: (number on x86-64, number on arm64); None where the machine has no such call
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # the operating system itself
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "personality": (135, 92),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "vhangup": (153, 58),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "nfsservctl": (180, 42),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # the view of the files
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # the network, and memory that outlives a process or escapes the limits
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}
NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4")
FOR_GPU = ("memfd_create",)  # the driver's library does not start without it
# the marks on files, which landlock does not guard: refused where no mount is read-only
MARKS: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
IOCTL = (16, 29)
PRLIMIT = (302, 261)
SOCKETPAIR = (53, 199)

AUDIT_ARCH = (0xC000003E, 0xC00000B7)
X32_BIT = 0x40000000
NEW_NAMESPACE = 0x7E020000  # every CLONE_NEW* bit that clone(2) takes
TERMINAL_REQUESTS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing into somebody's terminal

ALLOW = 0x7FFF0000
KILL = 0x80000000
EPERM = 0x00050000 | 1
ENOSYS = 0x00050000 | 38

LOAD = 0x20  # word at an absolute offset
EQUAL = 0x15
AT_LEAST = 0x35
ANY_BIT = 0x45
RETURN = 0x06
NUMBER_AT, ARCH_AT, ARGUMENT_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]


def _answer_to(number: int, answer: int) -> list[Instruction]:
    return [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]


def _only_if_argument(number: int, argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """The call passes if the low word of its argument is one of the values, else EPERM."""
    tests = [(EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    body: list[Instruction] = [
        (LOAD, 0, 0, ARGUMENT_AT + 8 * argument),
        *tests,
        (RETURN, 0, 0, EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    return [(EQUAL, 0, len(body), number), *body]


def _unless_argument(
    number: int, argument: int, test: int, values: tuple[int, ...]
) -> list[Instruction]:
    """The call fails with EPERM if a test of its argument holds for one of the values."""
    tests = [(test, len(values) - i, 0, value) for i, value in enumerate(values)]
    body: list[Instruction] = [
        (LOAD, 0, 0, ARGUMENT_AT + 8 * argument),
        *tests,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, EPERM),
    ]
    return [(EQUAL, 0, len(body), number), *body]


def program(
    machine: int,
    signals_only_to: int | None = None,
    *,
    marks: bool = True,
    allowed: tuple[str, ...] = (),
) -> list[Instruction]:
    """The filter for a machine (0 x86-64, 1 arm64).

    `marks`: whether rights, owners and times of files may be changed. `signals_only_to`: the one
    process that may be signalled; None leaves signals alone, for where a pid namespace or landlock
    bounds them. `allowed`: calls of DENIED that pass all the same.
    """
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH_AT),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    if machine == 0:
        code += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, EPERM)]
    code += _answer_to(CLONE3[machine], ENOSYS)  # its flags lie in memory; the libc then asks clone
    for name, numbers in (DENIED if marks else DENIED | MARKS).items():
        number = numbers[machine]
        if number is not None and name not in allowed:
            code += _answer_to(number, EPERM)
    if signals_only_to is not None:
        for numbers in SIGNALS.values():
            number = numbers[machine]
            assert number is not None
            code += _only_if_argument(number, 0, (signals_only_to,))
    code += _unless_argument(CLONE[machine], 0, ANY_BIT, (NEW_NAMESPACE,))
    code += _unless_argument(IOCTL[machine], 1, EQUAL, TERMINAL_REQUESTS)
    code += _only_if_argument(PRLIMIT[machine], 0, (0,))
    code += _only_if_argument(SOCKETPAIR[machine], 0, (1,))  # AF_UNIX
    return [*code, (RETURN, 0, 0, ALLOW)]


def install(
    *, signals_only_to_self: bool, marks: bool = True, allowed: tuple[str, ...] = ()
) -> None:
    """Put the filter on this process, for good. Needs no_new_privs. OSError where it cannot be."""
    only = os.getpid() if signals_only_to_self else None
    code = program(syscalls.column(), only, marks=marks, allowed=allowed)
    raw = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    held = syscalls.buffer(raw)
    header = struct.pack("@HxxxxxxQ", len(code), ctypes.addressof(held))
    spec_allow = 4  # or kernels before 5.16 slow the whole process down
    syscalls.syscall("seccomp", 1, spec_allow, syscalls.buffer(header))
