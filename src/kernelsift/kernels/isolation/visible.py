"""Which paths a sandboxed child sees, and which environment it gets: lists of what is let in."""

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import kernelsift

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
)
TMP = "/tmp"  # noqa: S108 - in a child this is a mount of its own
PREFIX_PARTS = ("bin", "lib", "lib64", "include", "pyvenv.cfg")
STORES = ("/nix/store", "/gnu/store")  # interpreters there take their libraries from all over it
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
KEPT_FOR_GPU = ("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CC", "TRITON_LIBCUDA_PATH")
GPU_SYSTEM = ("/sys", "/run/opengl-driver", "/opt/cuda", "/opt/nvidia")
"""What the driver's library reads besides the system's own folders: it does not start without
/sys."""


def visible_paths(modules: Iterable[str]) -> tuple[str, ...]:
    """Absolute paths a child may read: the system's and the interpreter's own, site-packages,
    this package, and the packages of the modules, which are looked up but not imported.

    A folder that holds the home or the working directory is never among them.
    """
    wanted = [path for path in SYSTEM if not Path(path).is_symlink()]
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix)):
        wanted += [str(Path(prefix, part)) for part in PREFIX_PARTS]
        wanted += [store for store in STORES if prefix.startswith(store)]
    wanted += [p for p in sys.path if Path(p).name in {"site-packages", "dist-packages"}]
    wanted += [str(Path(folder).absolute()) for folder in kernelsift.__path__]
    for module in modules:
        wanted += _package_folders(module.partition(".")[0])
    real = [os.path.realpath(path) for path in wanted]
    return _outermost(path for path in (*wanted, *real) if _may_be_seen(path))


def _package_folders(name: str) -> list[str]:
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return [str(Path(place).absolute()) for place in places or ()]


def _may_be_seen(path: str) -> bool:
    if not Path(path).is_absolute() or not Path(path).exists():
        return False
    private = (Path.home(), Path.cwd())
    return not any(place.is_relative_to(path) for place in private if place != Path("/"))


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda p: (len(Path(p).parts), p)):
        if not any(Path(path).is_relative_to(outer) for outer in kept):
            kept.append(path)
    return tuple(kept)


def search_path(extra: Iterable[Path]) -> list[str]:
    """Where the fork server looks for modules: as here, but for relative entries."""
    return [str(p) for p in extra] + [p for p in sys.path if Path(p).is_absolute()]


def gpu_devices() -> tuple[str, ...]:
    """Device files of the NVIDIA driver on this machine, or of WSL's; empty where there is none."""
    files = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not files:
        return ("/dev/dxg",) if Path("/dev/dxg").exists() else ()
    rest = [Path("/dev", name) for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")]
    rest += sorted(Path("/dev/nvidia-caps").glob("nvidia-cap*"))  # parts of a divided GPU
    return tuple(str(path) for path in (*files, *rest) if path.exists())


def gpu_paths() -> tuple[str, ...]:
    """Absolute paths that a child with a GPU may read besides `visible_paths`."""
    wanted = [*GPU_SYSTEM, os.environ.get("CUDA_HOME", "")]
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    wanted += [folder for folder in folders if folder and Path(folder, "libcuda.so.1").exists()]
    real = [os.path.realpath(path) for path in wanted if path]
    return _outermost(path for path in (*wanted, *real) if path and _may_be_seen(path))


def environment(*, interpret: bool, gpu: bool = False) -> dict[str, str]:
    """The whole environment of the fork server and its children; nothing else gets in.

    One thread each; all caches in the private tmp. `interpret`: Triton interprets. `gpu`: the
    devices that this process sees are seen; else none is.
    """
    names = (*KEPT_VARIABLES, *KEPT_FOR_GPU) if gpu else KEPT_VARIABLES
    kept = {name: os.environ[name] for name in names if name in os.environ}
    devices = _FOR_GPU if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    threads = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return {
        **kept,
        **{f"{name}_NUM_THREADS": "1" for name in threads},
        **({"TRITON_INTERPRET": "1"} if interpret else {}),
        **private_variables(TMP),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "USER": "job",
        "LOGNAME": "job",
        **devices,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages: forks cost half as much
    }


_FOR_GPU = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_MODULE_LOADING": "LAZY",
    # asking whether there is a GPU must not start the driver: after that a fork cannot use it
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}


def private_variables(tmp: str) -> dict[str, str]:
    """The variables that name a private tmp."""
    return {
        "TMPDIR": tmp,
        "HOME": f"{tmp}/home",
        "XDG_CACHE_HOME": f"{tmp}/cache",
        "TRITON_CACHE_DIR": f"{tmp}/cache/triton",
        "TRITON_HOME": f"{tmp}/home",
        "TORCHINDUCTOR_CACHE_DIR": f"{tmp}/cache/inductor",
        "CUDA_CACHE_PATH": f"{tmp}/cache/cuda",
    }
