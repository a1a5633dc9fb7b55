"""A pool runs jobs side by side, keeps their bytes, and leaves nothing behind."""

import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.errors import ConfigError, RunError
from kernelsift.kernels.isolation.limits import FrameReader, Limits, Tail, stamped, with_nonce
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.isolation.visible import environment

linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux")
HERE = Path(__file__).parent


def pool_of(workers: int = 2, sandbox: str = "auto", *preload: str, interpret: bool = True) -> Pool:
    return Pool(
        workers, sandbox, ("escape_jobs", *preload), interpret=interpret, import_paths=(HERE,)
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pool_of() as made:
        yield made


def frame(body: bytes) -> bytes:
    return struct.pack("<Q", len(body)) + body


# --- what comes over the pipe


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=8), cuts=st.lists(st.integers(1, 30)), rest=...
)
def test_frames_do_not_depend_on_how_they_were_cut(
    bodies: list[bytes], cuts: list[int], rest: bool
) -> None:
    stream = b"".join(map(frame, bodies)) + (frame(b"unfinished")[:-1] if rest else b"")
    reader = FrameReader(1000)
    for cut in cuts:
        reader.feed(stream[:cut])
        stream = stream[cut:]
    reader.feed(stream)
    assert reader.frames == bodies
    assert not reader.overflow


@given(data=st.binary(max_size=300))
def test_any_bytes_are_held_within_the_limit(data: bytes) -> None:
    reader = FrameReader(64)
    reader.feed(data)
    assert sum(map(len, reader.frames)) <= 64


def test_a_length_over_the_limit_is_an_overflow_at_once() -> None:
    reader = FrameReader(30)
    reader.feed(frame(b"fine"))
    reader.feed(struct.pack("<Q", 31))
    assert reader.overflow
    assert reader.frames == [b"fine"]


def test_frames_together_may_not_pass_the_limit() -> None:
    reader = FrameReader(10)
    for _ in range(4):
        reader.feed(frame(b"1234"))
    assert reader.overflow


def test_empty_frames_without_end_are_an_overflow() -> None:
    reader = FrameReader(1 << 20)
    for _ in range(200):
        reader.feed(frame(b"") * 1000)
    assert reader.overflow


def test_a_tail_is_the_end_and_stays_small() -> None:
    tail = Tail(10)
    for i in range(10_000):
        tail.feed(b"%d " % i)
    assert tail.text() == "[…]9998 9999 "
    assert Tail(10).text() == ""


def test_only_frames_with_the_nonce_convince() -> None:
    nonce = b"n" * 16
    frames = (stamped(nonce, b"true"), b"forged", b"", nonce[:-1], stamped(b"m" * 16, b"forged"))
    assert with_nonce(frames, nonce) == (b"true",)
    with pytest.raises(ValueError, match="nonce"):
        with_nonce(frames, b"")


# --- jobs


@linux
def test_frames_before_a_crash_are_kept(pool: Pool) -> None:
    result = pool.run("escape_jobs:fail_late", b"")
    assert (result.status, result.exit_code, result.signal) == ("crash", 1, None)
    assert result.frames == (b"first", b"", b"third")
    assert "a word on stdout" in result.output
    assert "ValueError: the reason" in result.output


@linux
@pytest.mark.parametrize("size", [0, 1, 65_536, 40 << 20])
def test_a_payload_of_any_size_goes_there_and_back(pool: Pool, size: int) -> None:
    payload = os.urandom(min(size, 1 << 20)) * max(1, size >> 20)
    result = pool.run("escape_jobs:echo", payload, Limits(wall_seconds=60, cpu_seconds=60))
    assert result.frames == (payload,)
    assert result.status == "done"


@linux
def test_results_say_what_a_job_cost(pool: Pool) -> None:
    result = pool.run("escape_jobs:echo", bytes(40 << 20))
    assert result.peak_bytes > 30 << 20
    assert 0 < result.cpu_seconds < 30
    assert 0 < result.seconds < 30
    assert pool.run("escape_jobs:normal", b"").peak_bytes < 20 << 20


@linux
def test_no_more_jobs_run_at_once_than_workers(pool: Pool) -> None:
    started = time.monotonic()
    sleeping = Limits(wall_seconds=0.5)
    with ThreadPoolExecutor(6) as threads:
        jobs = [
            threads.submit(pool.run, "escape_jobs:stop_itself", b"", sleeping) for _ in range(6)
        ]
        assert {j.result().status for j in jobs} == {"timeout"}
    assert time.monotonic() - started > 1.4  # six, two at a time


@linux
def test_many_threads_get_each_their_own_answer(pool: Pool) -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = [str(i).encode() * 1000 for i in range(40)]
        results = threads.map(lambda t: pool.run("escape_jobs:echo", t), texts)
        assert [r.frames for r in results] == [(t,) for t in texts]


@linux
def test_a_fork_server_may_be_started_by_a_thread_that_ends() -> None:
    pool = pool_of()
    first = threading.Thread(target=pool.run, args=("escape_jobs:normal", b""))
    first.start()
    first.join()
    pid = pool.server_pid()
    assert pool.run("escape_jobs:normal", b"").status == "done"
    assert pool.server_pid() == pid
    pool.close()


@linux
def test_a_dead_fork_server_costs_its_jobs_and_no_more() -> None:
    with pool_of() as pool, ThreadPoolExecutor(1) as threads:
        first = pool.server_pid()
        running = threads.submit(pool.run, "escape_jobs:stop_itself", b"", Limits(wall_seconds=20))
        time.sleep(0.5)
        os.kill(first, signal.SIGKILL)
        result = running.result(10)
        assert (result.status, result.exit_code) == ("killed", None), result
        assert pool.run("escape_jobs:normal", b"x").frames == (b"fine x",)
        assert pool.server_pid() != first


@linux
def test_nothing_runs_on_after_the_pool_is_closed() -> None:
    pool = pool_of()
    pid = pool.server_pid()
    pool.close()
    pool.close()
    assert not Path("/proc", str(pid)).exists()
    with pytest.raises(ConfigError, match="closed"):
        pool.run("escape_jobs:normal", b"")


@linux
def test_a_module_that_is_not_there_is_named() -> None:
    missing = "no_such_module_anywhere"
    with pytest.raises(RunError, match=missing), pool_of(1, "off", missing):
        pass


@linux
@pytest.mark.parametrize("job", ["escape_jobs:nothing", "no_such_module:main"])
def test_a_job_that_is_not_there_is_killed_with_a_reason(pool: Pool, job: str) -> None:
    result = pool.run(job, b"")
    assert result.status == "killed"
    assert "could not start" in result.reason


@pytest.mark.parametrize("job", ["", "os", "os:", ":main", "os:system('x')", "a b:c"])
def test_a_name_that_is_no_job_is_refused(job: str) -> None:
    with pytest.raises(ConfigError, match="no job"):
        Pool(1, "off").run(job, b"")


def test_a_pool_has_workers() -> None:
    with pytest.raises(ConfigError, match="workers"):
        Pool(0, "off")


@linux
@pytest.mark.parametrize("interpret", [True, False])
def test_jobs_have_one_thread_and_know_whether_to_interpret(interpret: bool) -> None:
    with pool_of(1, "auto", interpret=interpret) as pool:
        (said,) = pool.run("escape_jobs:threads_and_environment", b"").frames
    assert json.loads(said) == ["1" if interpret else None, 1]


def test_the_environment_is_a_list_of_what_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert not {"SOME_API_KEY", "PYTHONPATH"} & set(environment(interpret=True))


def _traces(pool: Pool) -> tuple[set[str], set[str], int]:
    """Processes under the fork server, private folders, and how many descriptors are open."""
    children = Path(f"/proc/{pool.server_pid()}/task/{pool.server_pid()}/children")
    folders = {path.name for path in Path("/tmp").glob("kernelsift-job-*")}
    descriptors = _descriptors_of(os.getpid()) + _descriptors_of(pool.server_pid())
    return set(children.read_text(encoding="ascii").split()), folders, descriptors


def _descriptors_of(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except PermissionError:  # a fork server lets nobody look, but for root
        return 0


@linux
@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_hundreds_of_jobs_leave_no_trace(sandbox: str) -> None:
    jobs = ["normal", "fail_late", "exit_early", "leave_files", "normal", "descriptors"]
    with pool_of(2, sandbox) as pool, ThreadPoolExecutor(2) as threads:
        run = lambda i: pool.run(f"escape_jobs:{jobs[i % len(jobs)]}", b"3").status  # noqa: E731
        list(threads.map(run, range(6)))
        before = _traces(pool)
        ended = list(threads.map(run, range(300)))
        time.sleep(0.2)
        assert _traces(pool) == before
    assert {s: ended.count(s) for s in set(ended)} == {"done": 200, "crash": 100}


@linux
def test_torch_is_imported_once_and_in_one_thread() -> None:
    pytest.importorskip("torch")
    with pool_of(1, "auto", "torch") as pool:
        started = time.monotonic()
        results = [pool.run("escape_jobs:add", b"100") for _ in range(5)]
        assert time.monotonic() - started < 5  # importing alone takes longer each time
        (said,) = pool.run("escape_jobs:threads_and_environment", b"").frames
    assert {r.frames for r in results} == {(b"328350.0",)}, results
    assert json.loads(said)[1] == 1
