"""Hostile jobs. Each tries one way out and sends what it saw as JSON; bounded in count and time.

They run only inside the sandbox, started by test_sandbox.py. Nothing here reaches for another
machine: connections go to a loopback port that the test itself listens on.
"""

import contextlib
import ctypes
import itertools
import json
import mmap
import os
import re
import resource
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

Send = Callable[[bytes], None]
MARKER = b"ks-escapee"
INFINITE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def _names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def _say(send: Send, value: object) -> None:
    send(json.dumps(value).encode())


def _tried(work: Callable[[], object]) -> str:
    """What happened: "ok", or the error's name."""
    try:
        work()
    except OSError as error:
        return type(error).__name__ + f" {error.errno}"
    except BaseException as error:  # noqa: BLE001 - a job reports whatever stopped it
        return type(error).__name__
    return "ok"


def _call(number: int, *arguments: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return "ok" if answer >= 0 else str(ctypes.get_errno())


def _mark() -> None:
    ctypes.CDLL(None).prctl(15, MARKER, 0, 0, 0)  # PR_SET_NAME


def normal(payload: bytes, send: Send) -> None:
    send(b"fine " + payload)


def environment(payload: bytes, send: Send) -> None:
    own = dict(os.environ)
    first = _tried(lambda: own.update(seen=Path("/proc/1/environ").read_text("utf-8")))
    _say(send, {"environment": own, "first": first})


def read_files(payload: bytes, send: Send) -> None:
    seen = {}
    for path in json.loads(payload):
        look = _names if Path(path).is_dir() else Path.read_bytes
        seen[path] = _tried(lambda look=look, path=path: look(Path(path)))
    _say(send, seen)


def find_secret(payload: bytes, send: Send) -> None:
    """Walk everything that can be seen for a file of that name."""
    name = payload.decode()
    found = []
    for seen, (folder, folders, files) in enumerate(os.walk("/")):
        folders[:] = [
            f for f in folders if (folder, f) not in {("/", "usr"), ("/", "proc")} and f != "lib"
        ]
        found += [f"{folder}/{f}" for f in files if f == name]
        if seen > 20_000:
            break
    _say(send, found)


def write_files(payload: bytes, send: Send) -> None:
    seen = {}
    for path in json.loads(payload):

        def write(path: str = path) -> None:
            target = Path(path, "escaped") if Path(path).is_dir() else Path(path)
            target.open("ab").close()

        seen[path] = _tried(write)
        Path(path, "escaped").unlink() if seen[path] == "ok" and Path(path).is_dir() else None
    _say(send, seen)


def links(payload: bytes, send: Send) -> None:
    target = payload.decode()
    tmp = os.environ["TMPDIR"]
    Path(tmp, "soft").symlink_to(target)
    seen = {"soft": _tried(lambda: Path(tmp, "soft").open("ab").close())}
    seen["hard"] = _tried(lambda: Path(tmp, "hard").hardlink_to(os.__file__))
    seen["rename"] = _tried(lambda: Path(target).rename(f"{tmp}/stolen"))
    as_it_is = stat.S_IMODE(Path(os.__file__).stat().st_mode)
    seen["chmod"] = _tried(lambda: Path(os.__file__).chmod(as_it_is))
    seen["mark"] = _tried(lambda: Path(target).chmod(0o777))
    seen["times"] = _tried(lambda: os.utime(target))
    seen["up"] = _tried(lambda: Path("/tmp/../../../etc/escaped").write_text("x", "utf-8"))
    _say(send, seen)


def connect(payload: bytes, send: Send) -> None:
    where = json.loads(payload)
    seen = {}

    def tcp() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            s.connect(("127.0.0.1", where["port"]))
            s.send(b"escaped")

    def unix() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            s.connect(where["path"])

    seen["tcp"] = _tried(tcp)
    seen["unix"] = _tried(unix)
    for family in ("AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"):
        kind = socket.SOCK_RAW if family in {"AF_NETLINK", "AF_PACKET"} else socket.SOCK_STREAM
        seen[family] = _tried(lambda f=family, k=kind: socket.socket(getattr(socket, f), k))
    seen["pair"] = _tried(socket.socketpair)  # allowed: it leads nowhere
    _say(send, seen)


def fork_bomb(payload: bytes, send: Send) -> None:
    """At most `payload` children, each asleep for a minute."""
    made = 0
    with contextlib.suppress(OSError):
        for _ in range(int(payload)):
            if os.fork() == 0:
                _mark()
                time.sleep(60)
                os._exit(0)
            made += 1
    _say(send, made)
    time.sleep(0.5)


def allocate(payload: bytes, send: Send) -> None:
    size = int(payload)
    seen = {"bytearray": _tried(lambda: bytearray(size))}
    seen["mmap"] = _tried(lambda: mmap.mmap(-1, size))
    seen["private"] = _tried(lambda: mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE))
    _say(send, seen)


def map_and_touch(payload: bytes, send: Send) -> None:
    """Ask for memory, and write to some of it."""
    size, touched = map(int, payload.split())
    with mmap.mmap(-1, size) as held:
        for start in range(0, touched, 1 << 20):
            held[start : start + (1 << 20)] = b"x" * (1 << 20)
            time.sleep(0.002)
    send(b"ok")


def allocate_in_many(payload: bytes, send: Send) -> None:
    """Four processes, each within its own bound."""
    for _ in range(3):
        if os.fork() == 0:
            break
    held = bytearray(int(payload))
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(20)


def fill_tmp(payload: bytes, send: Send) -> None:
    """Files, each within its bound, up to `payload` of them; then what stopped it."""
    block = b"x" * (1 << 20)

    def fill() -> None:
        for i in range(int(payload)):
            with Path(os.environ["TMPDIR"], f"f{i}").open("wb") as file:
                file.write(block)

    seen = {"many": _tried(fill)}
    with Path(os.environ["TMPDIR"], "f0").open("wb") as file:
        seen["seek"] = _tried(lambda: os.pwrite(file.fileno(), b"x", 1 << 40))
    _say(send, seen)


def loop_in_python(payload: bytes, send: Send) -> None:
    send(b"before")
    while True:
        pass


def loop_in_c(payload: bytes, send: Send) -> None:
    send(b"before")
    for kind in (signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM):
        signal.signal(kind, signal.SIG_IGN)
    sum(itertools.repeat(0))


def loop_in_pattern(payload: bytes, send: Send) -> None:
    send(b"before")
    re.match("(a+)+$", "a" * 60 + "b")


def grandchild(payload: bytes, send: Send) -> None:
    """A new session, twice forked, holding every descriptor, that wants to outlive the job."""
    if os.fork() == 0:
        _mark()
        os.setsid()
        if os.fork() == 0:
            _mark()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            time.sleep(100)
        os._exit(0)
    time.sleep(0.2)
    _say(send, "left one behind")


def linger(payload: bytes, send: Send) -> None:
    _mark()
    if os.fork() == 0:
        _mark()
        os.setsid()
    time.sleep(60)


def kill_others(payload: bytes, send: Send) -> None:
    parent = int(payload)
    seen = {"parent": _tried(lambda: os.kill(parent, 0))}
    if os.getppid() == 1 and os.getpid() < 50:  # really in a namespace: -1 is everything in it
        for who in (1, -1):
            seen[str(who)] = _tried(lambda who=who: os.kill(who, signal.SIGKILL))
            seen[f"stop {who}"] = _tried(lambda who=who: os.kill(who, signal.SIGSTOP))
    _say(send, seen)


def forge(payload: bytes, send: Send) -> None:
    """A frame as the parent wants it but for the nonce, then one cut short."""
    body = b'{"event":"end","outcome":"correct"}'
    os.write(3, struct.pack("<Q", len(body)) + body)
    os.write(3, struct.pack("<Q", 100) + b"short")
    os._exit(0)


def forge_length(payload: bytes, send: Send) -> None:
    os.write(3, struct.pack("<Q", 1 << 62) + b"x" * 100)
    time.sleep(20)


def flood_results(payload: bytes, send: Send) -> None:
    while True:
        send(b"x" * (1 << 20))


def flood_output(payload: bytes, send: Send) -> None:
    block = b"y" * (1 << 20)
    while True:
        os.write(1 + (os.getpid() & 1), block)


def exit_early(payload: bytes, send: Send) -> None:
    os._exit(int(payload))


def exit_politely(payload: bytes, send: Send) -> None:
    sys.exit(0)


def stop_itself(payload: bytes, send: Send) -> None:
    send(b"before")
    os.kill(os.getpid(), signal.SIGSTOP)


def kill_itself(payload: bytes, send: Send) -> None:
    send(b"before")
    os.kill(os.getpid(), int(payload))


def close_everything(payload: bytes, send: Send) -> None:
    os.closerange(0, 1000)


def raise_limits(payload: bytes, send: Send) -> None:
    seen = {}
    for name in ("AS", "DATA", "NPROC", "FSIZE", "NOFILE", "CORE", "CPU", "MEMLOCK"):
        kind = getattr(resource, f"RLIMIT_{name}")
        seen[name] = _tried(lambda k=kind: resource.setrlimit(k, INFINITE))
    _say(send, seen)


def walk_processes(payload: bytes, send: Send) -> None:
    pids = sorted(int(n) for n in _names("/proc") if n.isdigit())
    opened = [_tried(lambda n=n: os.open(f"/proc/1/fd/{n}", os.O_WRONLY)) for n in range(20)]
    _say(
        send,
        {
            "me": os.getpid(),
            "pids": pids,
            "memory": _tried(lambda: Path("/proc/1/mem").open("rb").close()),
            "descriptors": "ok" if "ok" in opened else opened[0],
            "core": _tried(lambda: Path("/proc/sys/kernel/core_pattern").open("rb+").close()),
            "trigger": _tried(
                lambda: Path("/proc/sysrq-trigger").open("w", encoding="utf-8").close()
            ),
        },
    )


def system_calls(payload: bytes, send: Send) -> None:
    """Numbers come from the test; arguments that would do no harm if they were let through."""
    calls = json.loads(payload)
    _say(send, {name: _call(number, *arguments) for name, (number, arguments) in calls.items()})


def become_root(payload: bytes, send: Send) -> None:
    status = Path("/proc/self/status").read_text("utf-8")
    _say(
        send,
        {
            "uid": _tried(lambda: os.setresuid(0, 0, 0)) if os.getuid() else "root",
            "capabilities": re.findall(r"Cap(?:Prm|Eff|Bnd|Inh|Amb):\s+(\w+)", status),
            "no_new_privs": re.findall(r"NoNewPrivs:\s+(\d)", status),
            "chroot": _tried(lambda: os.chroot("/tmp")),
            "node": _tried(lambda: os.mknod(f"{os.environ['TMPDIR']}/node", 0o020666, 0x101)),
        },
    )


def leave_files(payload: bytes, send: Send) -> None:
    tmp = Path(os.environ["TMPDIR"])
    places = [tmp, tmp / "home", tmp / "cache", Path.cwd()]
    if str(tmp) == "/tmp":  # else it is the machine's own
        places.append(Path("/dev/shm"))
    seen = [_names(p) for p in places if p.is_dir()]
    for place in places:
        with contextlib.suppress(OSError):
            (place / "left-behind").write_text("x", encoding="utf-8")
    locked = tmp / "locked"
    locked.mkdir()
    (locked / "in").write_text("x", encoding="utf-8")
    with contextlib.suppress(OSError):
        locked.chmod(0)
    _say(send, seen)


def descriptors(payload: bytes, send: Send) -> None:
    open_now = []
    for fd in range(300):
        with contextlib.suppress(OSError):
            open_now.append([fd, os.fstat(fd).st_mode & 0o170000])
    _say(send, open_now)


def threads_and_environment(payload: bytes, send: Send) -> None:
    _say(send, [os.environ.get("TRITON_INTERPRET"), len(_names("/proc/self/task"))])


def fail_late(payload: bytes, send: Send) -> None:
    send(b"first")
    send(b"")
    send(b"third")
    sys.stdout.write("a word on stdout\n")
    raise ValueError("the reason")


def echo(payload: bytes, send: Send) -> None:
    send(payload)


def add(payload: bytes, send: Send) -> None:
    import torch  # preloaded where this job is used

    x = torch.arange(float(payload))
    send(str(float((x @ x).item())).encode())
