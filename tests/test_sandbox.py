"""A hostile job changes nothing outside, is reported, and the next one runs as if it had not."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import escape_jobs
import pytest

from kernelsift.errors import ConfigError
from kernelsift.kernels.isolation import pool as pool_module
from kernelsift.kernels.isolation import seccomp, syscalls
from kernelsift.kernels.isolation.limits import ChildResult, Limits, with_nonce
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.isolation.sandbox import NO_SANDBOX, SandboxReport
from kernelsift.kernels.isolation.server import probe
from kernelsift.kernels.isolation.visible import visible_paths

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux")
HERE = Path(__file__).parent
SHORT = Limits(wall_seconds=10, cpu_seconds=10, memory_bytes=512 << 20)
Run = Callable[..., ChildResult]


def pool_of(sandbox: str = "auto") -> Pool:
    return Pool(2, sandbox, ("escape_jobs",), import_paths=(HERE,))


def runner(pool: Pool) -> Run:
    def run(job: str, payload: object = b"", limits: Limits = SHORT) -> ChildResult:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return pool.run(f"escape_jobs:{job}", raw, limits)

    return run


def assert_healthy(run: Run) -> None:
    result = run("normal", b"after")
    assert (result.status, result.frames) == ("done", (b"fine after",)), result


@pytest.fixture(scope="module")
def namespaced() -> Iterator[Run]:
    """Jobs with every wall."""
    if not probe().is_full:
        pytest.skip(f"this machine permits {probe().level}: {probe().notes}")
    with pool_of("required") as pool:
        yield runner(pool)


@pytest.fixture(scope="module")
def landlocked() -> Iterator[Run]:
    """Jobs as where namespaces are not permitted."""
    report = replace(probe(), namespaces="", other_user=False)
    if not (report.landlock and report.seccomp):
        pytest.skip(f"this machine permits {probe().level}: {probe().notes}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "probe", lambda: report)
        with pool_of("required") as pool:
            assert pool.level == "seccomp+landlock+rlimits"
            yield runner(pool)


@pytest.fixture(scope="module")
def bare() -> Iterator[Run]:
    """Jobs with nothing but limits."""
    with pool_of("off") as pool:
        yield runner(pool)


@pytest.fixture(params=["namespaced", "landlocked", "bare"])
def any_level(request: pytest.FixtureRequest) -> Iterator[Run]:
    run: Run = request.getfixturevalue(request.param)
    yield run
    assert_healthy(run)


@pytest.fixture(params=["namespaced", "landlocked"])
def walled(request: pytest.FixtureRequest) -> Iterator[Run]:
    run: Run = request.getfixturevalue(request.param)
    yield run
    assert_healthy(run)


def said(result: ChildResult) -> dict[str, str]:
    assert result.status == "done", result
    return json.loads(result.frames[-1])


def escapees() -> list[str]:
    """Processes of hostile jobs that are alive, by the name that they gave themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_bytes().strip()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if name == escape_jobs.MARKER and state != "Z":
            found.append(folder.name)
    return found


def assert_nobody_left() -> None:
    for _ in range(40):
        if not escapees():
            return
        time.sleep(0.05)
    assert escapees() == []


# --- secrets


def test_no_secret_of_the_environment_reaches_a_job(
    any_level: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_TOKEN", "planted-secret")
    with pool_of("auto") as pool:  # started while the secret is in the environment
        seen = said(pool.run("escape_jobs:environment", b"", SHORT))
    assert "planted-secret" not in json.dumps(seen)
    assert "PLANTED_TOKEN" not in json.dumps(said(any_level("environment")))


def test_no_planted_file_can_be_read(walled: Run, tmp_path: Path) -> None:
    secret = tmp_path / "run" / ".env"
    secret.parent.mkdir()
    secret.write_text("planted-secret")
    at_home = Path.home() / f".kernelsift-test-{os.getpid()}"
    at_home.write_text("planted-secret")
    here = Path.cwd() / f".kernelsift-test-{os.getpid()}"
    here.write_text("planted-secret")
    try:
        paths = [str(p) for p in (secret, at_home, here, HERE / "escape_jobs.py")]
        for path, seen in said(walled("read_files", paths)).items():
            assert seen != "ok", path
    finally:
        at_home.unlink()
        here.unlink()
    system = ["/etc/passwd", "/etc/shadow", "/home", "/var/log"]
    for path, seen in said(walled("read_files", system)).items():
        assert seen != "ok", path


def test_a_walk_over_all_folders_finds_no_secret(namespaced: Run, tmp_path: Path) -> None:
    (tmp_path / "planted-secret").write_text("x")
    assert said(namespaced("find_secret", b"planted-secret")) == []
    assert_healthy(namespaced)


def test_neither_home_nor_the_working_directory_is_made_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "prefix" / "lib" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    assert str(tmp_path / "prefix" / "lib") in visible_paths(())
    monkeypatch.chdir(inside.parent)
    assert str(tmp_path / "prefix" / "lib") not in visible_paths(())
    monkeypatch.setenv("HOME", "/usr/share/somebody")
    assert "/usr" not in visible_paths(())


# --- files


def test_nothing_outside_tmp_can_be_written(walled: Run, tmp_path: Path) -> None:
    import kernelsift

    places = ["/etc", "/usr", "/usr/lib", "/", "/var/tmp", "/etc/passwd", "/dev", "/proc"]
    places += [str(tmp_path), str(Path.home()), str(Path.cwd()), os.__file__]
    places += [str(Path(pytest.__file__).parent), str(Path(kernelsift.__file__))]
    before = Path(os.__file__).stat()
    for path, seen in said(walled("write_files", places)).items():
        assert seen.split()[0] in {"PermissionError", "OSError", "FileNotFoundError"}, (path, seen)
    after = Path(os.__file__).stat()
    assert (before.st_mtime, before.st_size) == (after.st_mtime, after.st_size)
    assert not list(tmp_path.iterdir())
    assert set(said(walled("write_files", ["/dev/null"])).values()) == {"ok"}


def test_links_lead_nowhere(walled: Run, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    assert "ok" not in said(walled("links", str(target).encode())).values()
    assert target.read_text() == "as it was"


def test_what_a_job_leaves_is_gone_for_the_next(
    any_level: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []  # by this process: tests beside this one make folders of the same name
    make = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **k: made.append(make(**k)) or made[-1])
    first = said(any_level("leave_files"))
    assert said(any_level("leave_files")) == first
    assert "left-behind" not in json.dumps(first)
    assert not [folder for folder in made if Path(folder).exists()]


def test_a_tmp_that_fills_up_is_full(namespaced: Run) -> None:
    limits = replace(SHORT, file_bytes=4 << 20)
    seen = said(namespaced("fill_tmp", b"64", limits))
    assert seen == {"many": "OSError 28", "seek": "OSError 27"}
    assert_healthy(namespaced)


# --- the network


def test_nothing_connects_to_a_listener_on_loopback(walled: Run, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        tcp.settimeout(0.2)
        port = tcp.getsockname()[1]
        seen = said(walled("connect", {"port": port, "path": str(path)}))
        with pytest.raises(TimeoutError):
            tcp.accept()
    assert seen.pop("pair") == "ok"
    assert "ok" not in seen.values(), seen
    assert seen["tcp"] == "PermissionError 1"


# --- limits


def test_a_fork_bomb_stays_small_and_is_ended(any_level: Run) -> None:
    result = any_level("fork_bomb", b"250", replace(SHORT, processes=16))
    assert result.status in {"killed", "done"}, result
    if result.status == "done":  # the kernel said no
        assert int(result.frames[0]) <= 20
    else:
        assert "processes over 16" in result.reason
    assert_nobody_left()


def test_the_kernel_itself_bounds_processes_where_jobs_have_their_own_user(
    namespaced: Run,
) -> None:
    if os.geteuid() == 0 and not probe().other_user:
        pytest.skip("root is not bounded")
    limits = replace(SHORT, processes=24)
    result = namespaced("fork_bomb", b"250", limits)
    assert not result.frames or int(result.frames[0]) <= 26, result
    assert_healthy(namespaced)


def test_a_hundred_gigabytes_are_refused(any_level: Run) -> None:
    seen = said(any_level("allocate", str(100 << 30).encode()))
    assert seen["bytearray"] == "MemoryError"
    assert "ok" not in seen.values()


def test_memory_is_counted_over_all_processes(any_level: Run) -> None:
    limits = replace(SHORT, memory_bytes=128 << 20)
    result = any_level("allocate_in_many", str(100 << 20).encode(), limits)
    assert (result.status, result.frames) == ("killed", ()), result
    assert "memory" in result.reason
    assert result.peak_bytes > 128 << 20


@pytest.mark.parametrize(("touched", "status"), [(0, "done"), (1 << 30, "killed")])
def test_what_is_asked_for_may_be_more_than_what_is_touched(
    any_level: Run, touched: int, status: str
) -> None:
    limits = replace(SHORT, memory_bytes=256 << 20, address_bytes=16 << 30)
    result = any_level("map_and_touch", f"{8 << 30} {touched}".encode(), limits)
    assert result.status == status, result
    assert "memory" in result.reason or status == "done"
    assert result.peak_bytes < 1 << 30


@pytest.mark.parametrize("job", ["loop_in_python", "loop_in_c", "loop_in_pattern", "stop_itself"])
def test_an_endless_job_ends_at_the_wall_clock(any_level: Run, job: str) -> None:
    started = time.monotonic()
    result = any_level(job, b"", replace(SHORT, wall_seconds=0.5))
    assert (result.status, result.frames) == ("timeout", (b"before",)), result
    assert time.monotonic() - started < 6
    assert 0.5 <= result.seconds < 5


@pytest.mark.parametrize("job", ["loop_in_python", "loop_in_c"])
def test_an_endless_job_ends_at_its_cpu_time(any_level: Run, job: str) -> None:
    result = any_level(job, b"", replace(SHORT, wall_seconds=30, cpu_seconds=0.5))
    assert (result.status, result.frames) == ("timeout", (b"before",)), result
    assert "CPU" in result.reason
    assert result.cpu_seconds < 5


def test_limits_cannot_be_raised(walled: Run) -> None:
    assert set(said(walled("raise_limits")).values()) == {"ValueError"}


@pytest.mark.parametrize("job", ["flood_output", "flood_results", "forge_length"])
def test_a_flood_ends_the_job(any_level: Run, job: str) -> None:
    limits = replace(SHORT, result_bytes=8 << 20, output_bytes=1000, wall_seconds=30)
    result = any_level(job, b"", limits)
    assert result.status == "flooded", result.reason
    assert len(result.output) < 1100
    assert sum(map(len, result.frames)) <= 9 << 20


# --- processes


def test_a_grandchild_in_its_own_session_does_not_outlive_its_job(any_level: Run) -> None:
    started = time.monotonic()
    result = any_level("grandchild")
    assert result.status == "done", result
    assert time.monotonic() - started < 8  # though it held the pipes
    assert_nobody_left()


ABANDONED = """
    import sys
    from pathlib import Path
    from kernelsift.kernels.isolation.limits import Limits
    from kernelsift.kernels.isolation.pool import Pool
    with Pool(1, sys.argv[2], ("escape_jobs",), import_paths=[Path(sys.argv[1])]) as pool:
        pool.run("escape_jobs:linger", b"", Limits(wall_seconds=50))
"""


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_no_job_outlives_a_parent_that_was_killed(sandbox: str) -> None:
    source = str(Path(pool_module.__file__).parents[2])
    command = [sys.executable, "-c", textwrap.dedent(ABANDONED), str(HERE), sandbox]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": source}) as parent:
        for _ in range(200):
            if len(escapees()) == 2:
                break
            time.sleep(0.05)
        assert len(escapees()) == 2
        parent.kill()
    assert_nobody_left()


def test_other_processes_can_be_neither_killed_nor_stopped(walled: Run) -> None:
    seen = said(walled("kill_others", str(os.getpid()).encode()))
    assert seen.pop("parent") in {"ProcessLookupError 3", "PermissionError 1"}
    # the first process of a namespace, ours, is deaf to its own; -1 reaches nobody else
    assert set(seen.values()) <= {"ok", "PermissionError 1", "ProcessLookupError 3"}


def test_no_other_process_is_to_be_seen(namespaced: Run) -> None:
    seen = said(namespaced("walk_processes"))
    me = seen.pop("me")
    assert seen.pop("pids") == [1, me]
    assert "ok" not in seen.values(), seen
    assert_healthy(namespaced)


def test_no_other_process_can_be_read_under_landlock(landlocked: Run) -> None:
    result = landlocked("walk_processes")
    assert result.status == "crash"
    assert "PermissionError" in result.output
    assert_healthy(landlocked)


CALLS: dict[str, list[int]] = {
    "ptrace": [0, 0, 0, 0],  # PTRACE_TRACEME
    "process_vm_readv": [1, 0, 0, 0, 0, 0],
    "unshare": [syscalls.CLONE_NEWUTS],
    "setns": [0, 0],
    "mount": [0, 0, 0, 0, 0],
    "pivot_root": [0, 0],
    "keyctl": [0, 0, 0],
    "bpf": [0, 0, 0],
    "perf_event_open": [0, 0, -1, -1, 0],
    "userfaultfd": [0],
    "io_uring_setup": [1, 0],
    "personality": [0],
    "memfd_create": [0, 0],
    "shmget": [0, 4096, 0o1600],
    "open_by_handle_at": [0, 0, 0],
    "syslog": [10],
}


def test_system_calls_without_business_here_fail(walled: Run) -> None:
    column = syscalls.column()
    calls = {name: (seccomp.DENIED[name][column], args) for name, args in CALLS.items()}
    flags = syscalls.CLONE_NEWUSER | signal.SIGCHLD
    calls["clone"] = (seccomp.CLONE[column], [flags, 0, 0, 0, 0])
    calls["terminal"] = (seccomp.IOCTL[column], [0, 0x5412, 0])
    calls["prlimit"] = (seccomp.PRLIMIT[column], [1, 7, 0, 0])
    assert set(said(walled("system_calls", calls)).values()) == {"1"}
    others = {"clone3": (seccomp.CLONE3[column], [0, 0])}
    assert said(walled("system_calls", others)) == {"clone3": "38"}


def answer(code: list[seccomp.Instruction], machine: int, number: int, *arguments: int) -> int:
    """What the filter says to a call, by running it as the kernel would."""
    words = {0: number, 4: seccomp.AUDIT_ARCH[machine]}
    words |= {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    at = held = 0
    while True:
        kind, yes, no, value = code[at]
        at += 1
        if kind == seccomp.RETURN:
            return value
        if kind == seccomp.LOAD:
            held = words.get(value, 0)
            continue
        test = {
            seccomp.EQUAL: held == value,
            seccomp.AT_LEAST: held >= value,
            seccomp.ANY_BIT: bool(held & value),
        }
        at += yes if test[kind] else no


@pytest.mark.parametrize("machine", [0, 1])
@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("only", [None, 77])
def test_the_filter_is_the_same_on_both_machines(
    machine: int, marks: bool, only: int | None
) -> None:
    code = seccomp.program(machine, only, marks=marks)

    def says(numbers: tuple[int | None, int | None], *arguments: int) -> int:
        number = numbers[machine]
        assert number is not None
        return answer(code, machine, number, *arguments)

    for numbers in seccomp.DENIED.values():
        if numbers[machine] is not None:
            assert says(numbers) == seccomp.EPERM
    for numbers in seccomp.MARKS.values():
        if numbers[machine] is not None:
            assert says(numbers) == (seccomp.ALLOW if marks else seccomp.EPERM)
    for numbers in seccomp.SIGNALS.values():
        assert says(numbers, 77) == seccomp.ALLOW
        assert says(numbers, 78) == (seccomp.ALLOW if only is None else seccomp.EPERM)
    read, write, exit_group = [(0, 63), (1, 64), (231, 94)]
    assert {says(n) for n in (read, write, exit_group)} == {seccomp.ALLOW}
    assert says(seccomp.CLONE3) == seccomp.ENOSYS
    assert says(seccomp.CLONE, signal.SIGCHLD) == seccomp.ALLOW
    assert says(seccomp.CLONE, syscalls.CLONE_NEWUSER) == seccomp.EPERM
    assert says(seccomp.IOCTL, 0, 0x5401) == seccomp.ALLOW
    assert says(seccomp.IOCTL, 0, 0x541C) == seccomp.EPERM
    assert says(seccomp.PRLIMIT, 0) == seccomp.ALLOW
    assert says(seccomp.PRLIMIT, 1) == seccomp.EPERM
    assert says(seccomp.SOCKETPAIR, 1) == seccomp.ALLOW
    assert says(seccomp.SOCKETPAIR, 2) == seccomp.EPERM
    other = seccomp.program(1 - machine)
    assert answer(other, machine, 0) == seccomp.KILL


def test_privileges_are_gone_for_good(walled: Run) -> None:
    seen = said(walled("become_root"))
    assert set(seen["capabilities"]) == {"0" * 16}
    assert seen["no_new_privs"] == ["1"]
    assert seen["uid"] != "ok"
    assert "ok" not in {seen["chroot"], seen["node"]}


def test_a_job_holds_only_its_own_descriptors(any_level: Run) -> None:
    assert [fd for fd, _ in said(any_level("descriptors"))] == [0, 1, 2, 3]


# --- results


def test_a_forged_frame_does_not_convince(any_level: Run) -> None:
    result = any_level("forge")
    assert (result.status, result.exit_code) == ("crash", 0)
    assert len(result.frames) == 1  # the half one is not a frame
    assert with_nonce(result.frames, b"0123456789abcdef") == ()


@pytest.mark.parametrize("code", [0, 7, 101])
def test_leaving_early_is_never_more_than_leaving(any_level: Run, code: int) -> None:
    result = any_level("exit_early", str(code).encode())
    assert result.frames == ()
    # 101 is how a worker itself says that its function returned: there is nothing to win by it
    assert (result.status, result.exit_code) == (("done", 0) if code == 101 else ("crash", code))


def test_a_polite_exit_is_a_crash(any_level: Run) -> None:
    assert any_level("exit_politely").status == "crash"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_death_by_signal_is_named(any_level: Run, number: int) -> None:
    result = any_level("kill_itself", str(int(number)).encode())
    assert (result.status, result.signal, result.frames) == ("crash", number, (b"before",))


def test_closing_everything_harms_nobody_else(any_level: Run) -> None:
    result = any_level("close_everything")
    assert result.frames == ()
    assert result.status in {"done", "crash"}


# --- levels


def test_required_refuses_where_too_little_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = SandboxReport(seccomp=True, notes=("landlock: this kernel has none",))
    monkeypatch.setattr(pool_module, "probe", lambda: weak)
    with pytest.raises(ConfigError, match="landlock: this kernel has none"):
        pool_of("required")


def test_auto_goes_on_and_says_loudly_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(NO_SANDBOX, notes=("namespaces: Operation not permitted",))
    monkeypatch.setattr(pool_module, "probe", lambda: nothing)
    with pool_of("auto") as pool:
        assert pool.level == "rlimits only"
        (note,) = pool.notes
        assert "can reach your files" in note
        assert "Operation not permitted" in note
        assert runner(pool)("normal").sandbox == "rlimits only"
        assert_healthy(runner(pool))


@pytest.mark.parametrize(
    ("report", "level", "enough"),
    [
        (SandboxReport("user", True, 4), "namespaces+seccomp+landlock+rlimits", True),
        (SandboxReport("direct", False, 0), "namespaces+rlimits", True),
        (SandboxReport("", True, 1), "seccomp+landlock+rlimits", True),
        (SandboxReport("", True, 0), "seccomp+rlimits", False),
        (SandboxReport("", False, 3), "landlock+rlimits", False),
        (NO_SANDBOX, "rlimits only", False),
    ],
)
def test_a_level_says_what_holds(report: SandboxReport, level: str, enough: bool) -> None:
    assert (report.level, report.is_enough) == (level, enough)


def test_signals_are_bounded_where_neither_namespace_nor_landlock_does_it() -> None:
    report = replace(probe(), namespaces="", landlock=0, other_user=False)
    if not report.seccomp:
        pytest.skip("this machine has no seccomp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "probe", lambda: report)
        with pool_of("auto") as pool:
            run = runner(pool)
            seen = said(run("kill_others", str(os.getpid()).encode()))
            assert seen["parent"] == "PermissionError 1"
            assert run("kill_itself", b"6").signal == signal.SIGABRT


UNPRIVILEGED = """
    import json, sys
    from pathlib import Path
    from kernelsift.kernels.isolation.limits import Limits
    from kernelsift.kernels.isolation.pool import Pool
    from kernelsift.kernels.isolation.server import probe
    out = {"entry": probe().namespaces, "level": probe().level, "notes": probe().notes}
    with Pool(1, "auto", ("escape_jobs",), import_paths=[Path(sys.argv[1])]) as pool:
        def run(job, payload=b"", **limits):
            r = pool.run("escape_jobs:" + job, payload, Limits(wall_seconds=10, **limits))
            return [r.status, r.reason, [f.decode() for f in r.frames], r.output[-500:]]
        out["normal"] = run("normal")
        out["secret"] = run("read_files", json.dumps([sys.argv[2]]).encode())
        out["write"] = run("write_files", b'["/usr", "/etc", "/tmp"]')
        out["bomb"] = run("fork_bomb", b"100", processes=16)
        out["walk"] = run("walk_processes")
        out["root"] = run("become_root")
        out["grandchild"] = run("grandchild")
        out["after"] = run("normal")
    print(json.dumps(out))
"""


def usable_by_anybody() -> str | None:
    """An interpreter that a user without rights can run."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = (
            "import subprocess, sys\n"
            "itself = subprocess.run([sys.executable, '-I', '-c', 'import json']).returncode\n"
            "sys.exit(sys.version_info < (3, 11) or itself)"
        )
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python]
        if (
            Path(python).exists()
            and not subprocess.run(
                [*command, "-c", check], capture_output=True, check=False
            ).returncode
        ):
            return python
    return None


def test_a_user_without_privileges_gets_the_same_walls(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become somebody else, by setpriv")
    python = usable_by_anybody()
    if python is None:
        pytest.skip("no Python 3.11 that another user may run")
    secret = Path("/tmp", f"kernelsift-planted-{os.getpid()}")
    secret.write_text("x", encoding="ascii")
    import kernelsift

    source = str(Path(kernelsift.__file__).parent.parent)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c"]
    try:
        done = subprocess.run(
            [*command, textwrap.dedent(UNPRIVILEGED), str(HERE), str(secret)],
            env={"PYTHONPATH": source, "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        secret.unlink()
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    if out["entry"] != "user":
        pytest.skip(f"user namespaces are not permitted here: {out['notes']}")
    assert out["normal"][0] == out["after"][0] == "done"
    assert "ok" not in json.loads(out["secret"][2][0]).values()
    wrote = json.loads(out["write"][2][0])
    assert (wrote["/tmp"], wrote["/usr"] != "ok", wrote["/etc"] != "ok") == ("ok", True, True)
    assert out["bomb"][0] == "killed" or int(out["bomb"][2][0]) <= 18
    assert len(json.loads(out["walk"][2][0])["pids"]) == 2
    assert set(json.loads(out["root"][2][0])["capabilities"]) == {"0" * 16}
    assert out["grandchild"][0] == "done"
    assert_nobody_left()


@pytest.mark.parametrize("entry", ["direct", "user"])
def test_kernels_without_mount_setattr_are_as_tight(entry: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 and entry == "direct":
        pytest.skip("only root has namespaces without a user namespace")
    if not probe().is_full:
        pytest.skip(f"this machine permits {probe().level}: {probe().notes}")
    (tmp_path / "before_5_12.py").write_text(
        "from kernelsift.kernels.isolation import namespaces\n"
        "def missing(*_): raise OSError(38, 'ENOSYS')\n"
        "namespaces._set_attributes = missing\n",
        encoding="utf-8",
    )
    # without landlock, which would refuse the same
    report = replace(probe(), namespaces=entry, landlock=0, other_user=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "probe", lambda: report)
        pool = Pool(1, "auto", ("escape_jobs", "before_5_12"), import_paths=(HERE, tmp_path))
    with pool:
        run = runner(pool)
        places = ["/", "/etc", "/usr", "/usr/lib", os.__file__, "/dev", "/proc/sys/kernel/hostname"]
        seen = said(run("write_files", places))
        assert "ok" not in seen.values(), seen
        assert set(said(run("write_files", ["/tmp", "/dev/null"])).values()) == {"ok"}
        assert "ok" not in said(run("walk_processes")).values()
