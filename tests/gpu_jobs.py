"""Jobs that look at the sandbox of a GPU pool from inside, or are talked with."""

import ctypes
import json
import os
import resource
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

Send = Callable[[bytes], None]
Receive = Callable[[], bytes | None]


def _tried(work: Callable[[], object]) -> str:
    try:
        work()
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"
    return "ok"


def upper(payload: bytes, send: Send, receive: Receive) -> None:
    """Answers each message in capitals; `die` ends it without a word."""
    send(payload)
    while (message := receive()) is not None:
        if message == b"die":
            os._exit(0)
        send(message.upper())
    send(b"bye")


def deaf(_payload: bytes, send: Send, _receive: Receive) -> None:
    """Never reads."""
    send(b"here")
    time.sleep(60)


def _name_a_thread() -> None:
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        Path(f"/proc/self/task/{other.native_id}/comm").write_text("named", encoding="ascii")
    finally:
        stop.set()
        other.join()


def _talk_to_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 2).close()


def look(payload: bytes, send: Send) -> None:
    """What a job with devices may do; `payload` names a port and files of the outside."""
    outside = json.loads(payload)
    device = Path(outside["device"])
    seen = {
        "device": device.exists() and stat.S_ISCHR(device.stat().st_mode),
        "sys": Path("/sys/devices").is_dir(),
        "write sys": _tried(lambda: Path("/sys/x").touch()),
        "memory file": _tried(lambda: os.close(os.memfd_create("x"))),
        "thread name": _tried(_name_a_thread),
        "loopback": _tried(_talk_to_itself),
        "outside": _tried(lambda: socket.create_connection(("127.0.0.1", outside["port"]), 2)),
        "secret": _tried(lambda: Path(outside["secret"]).read_bytes()),
        "address space": resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY,
        "visible devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    for name in ("sys/kernel/core_pattern", "sysrq-trigger", "sys/vm/drop_caches"):
        path = Path("/proc", name)
        seen[name] = _tried(lambda p=path: os.close(os.open(p, os.O_WRONLY)))
    send(json.dumps(seen).encode())


def allocate(payload: bytes, send: Send) -> None:
    """Touch so many bytes."""
    held = ctypes.create_string_buffer(1)
    blocks = [bytearray(b"x") * (16 << 20) for _ in range(int(payload) >> 24)]
    time.sleep(5)
    send(str(len(blocks) + len(held)).encode())
