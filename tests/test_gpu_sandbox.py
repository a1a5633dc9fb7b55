"""A pool for GPU jobs opens what the driver needs and nothing else; jobs can be talked with."""

import json
import socket
import sys
import time
from pathlib import Path

import pytest

from kernelsift.errors import ConfigError
from kernelsift.kernels.isolation import server as server_module
from kernelsift.kernels.isolation import visible
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.isolation.server import probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux")
HERE = Path(__file__).parent
STAND_IN = "/dev/tty"
"""A device file that every machine has; no driver of a GPU is needed for the walls round it."""


def pool_of(**more):
    return Pool(2, more.pop("sandbox", "auto"), ("gpu_jobs",), import_paths=(HERE,), **more)


@pytest.fixture(scope="module")
def pool():
    with pool_of() as made:
        yield made


def looked(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "gpu_devices", lambda: (STAND_IN,))
    secret = tmp_path / "secret"
    secret.write_text("planted")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pool_of(sandbox=sandbox, gpu=True, interpret=False) as pool,
    ):
        asked = {"device": STAND_IN, "port": listener.getsockname()[1], "secret": str(secret)}
        result = pool.run("gpu_jobs:look", json.dumps(asked).encode())
        assert result.status == "done", result
        assert result.sandbox.endswith("open to the GPU")
        return json.loads(result.frames[-1])


def test_in_namespaces_a_gpu_job_has_what_the_driver_needs(tmp_path, monkeypatch):
    if not probe().is_full:
        pytest.skip(f"this machine permits {probe().level}")
    seen = looked("required", tmp_path, monkeypatch)
    for name in ("device", "sys", "address space"):
        assert seen[name] is True, name
    for name in ("memory file", "thread name", "loopback"):
        assert seen[name] == "ok", name


def test_in_namespaces_a_gpu_job_still_reaches_nothing_else(tmp_path, monkeypatch):
    if not probe().is_full:
        pytest.skip(f"this machine permits {probe().level}")
    seen = looked("required", tmp_path, monkeypatch)
    for name in ("outside", "secret", "write sys"):
        assert seen[name] != "ok", name
    for name in ("sys/kernel/core_pattern", "sysrq-trigger", "sys/vm/drop_caches"):
        assert seen[name] != "ok", name


def test_without_namespaces_a_gpu_job_has_no_sockets(tmp_path, monkeypatch):
    report = probe()
    if not (report.landlock and report.seccomp):
        pytest.skip(f"this machine permits {report.level}")
    from dataclasses import replace

    from kernelsift.kernels.isolation import pool as pool_module

    less = replace(report, namespaces="", other_user=False)
    monkeypatch.setattr(pool_module, "probe", lambda: less)
    seen = looked("auto", tmp_path, monkeypatch)
    assert (seen["memory file"], seen["thread name"], seen["sys"]) == ("ok", "ok", True)
    for name in ("outside", "secret", "loopback", "sys/kernel/core_pattern"):
        assert seen[name] != "ok", name


def test_memory_is_watched_where_address_space_is_not_limited(monkeypatch):
    monkeypatch.setattr(server_module, "gpu_devices", lambda: (STAND_IN,))
    with pool_of(gpu=True, interpret=False) as pool:
        small = Limits(memory_bytes=256 << 20)
        result = pool.run("gpu_jobs:allocate", str(1 << 30).encode(), small)
        assert (result.status, "memory" in result.reason) == ("killed", True), result


def test_only_a_gpu_pool_sees_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible.environment(interpret=False)["CUDA_VISIBLE_DEVICES"] == ""
    seen = visible.environment(interpret=False, gpu=True)
    assert seen["CUDA_VISIBLE_DEVICES"] == "1"
    assert seen["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


# --- talking with a job


def test_a_job_answers_one_message_after_the_other(pool):
    with pool.converse("gpu_jobs:upper", b"start") as talk:
        assert talk.hear(10).frame == b"start"
        for word in (b"one", b"", b"x" * 300_000):
            talk.say(word)
            assert talk.hear(10).frame == word.upper()
        talk.close()
        assert talk.hear(10).frame == b"bye"
        assert talk.hear(10) is None
        assert talk.result.status == "done"


def test_the_times_are_the_parents_and_in_order(pool):
    with pool.converse("gpu_jobs:upper", b"") as talk:
        talk.hear(10)
        said = talk.say(b"now")
        heard = talk.hear(10)
        assert said <= heard.at <= time.monotonic()


def test_two_jobs_are_talked_with_in_turn(pool):
    with (
        pool.converse("gpu_jobs:upper", b"a") as one,
        pool.converse("gpu_jobs:upper", b"b") as two,
    ):
        assert (one.hear(10).frame, two.hear(10).frame) == (b"a", b"b")
        for talk in (one, two, one, two):
            talk.say(b"x")
            assert talk.hear(10).frame == b"X"


def test_a_job_that_dies_ends_the_talk(pool):
    with pool.converse("gpu_jobs:upper", b"") as talk:
        talk.hear(10)
        talk.say(b"die")
        assert talk.hear(10) is None
        talk.say(b"anybody?")
        assert talk.result.status == "crash"


def test_a_deaf_job_is_ended_at_its_limit_or_with_the_block(pool):
    with pool.converse("gpu_jobs:deaf", b"", Limits(wall_seconds=0.5)) as talk:
        assert talk.hear(10).frame == b"here"
        assert talk.hear(0.01) is None
        assert talk.hear(10) is None
        assert talk.result.status == "timeout"
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelsift.kernels.isolation.pool.END_SECONDS", 0.2)
        with pool.converse("gpu_jobs:deaf", b"") as talk:
            talk.hear(10)
    assert time.monotonic() - began < 10
    assert talk.result.status == "killed"
    with pool.converse("gpu_jobs:upper", b"free again") as talk:
        assert talk.hear(10).frame == b"free again"


def test_a_talk_without_a_job_says_why():
    with pool_of(sandbox="off") as pool:
        pool.close()
        with pool.converse("gpu_jobs:upper", b"") as talk:
            assert talk.hear(10) is None
            assert "closed" in talk.problem
    with pytest.raises(ConfigError, match="no job"), pool_of().converse("nothing", b""):
        pass
