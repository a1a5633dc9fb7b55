"""Whether a GPU is used, and the verifier that uses it."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from kernelsift.errors import ConfigError
from kernelsift.kernels.gpu.device import missing
from kernelsift.kernels.gpu.device_verifier import DeviceEffort, DeviceVerifier, device_pool
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.isolation.sandbox import Sandbox
from kernelsift.kernels.static_verifier import AnyVerifier
from kernelsift.kernels.verifier import Verifier

Wanted = Literal["auto", "cpu", "cuda"]
Device = Literal["cpu", "cuda"]


def device_for(wanted: Wanted) -> Device:
    """The device that is used here: `auto` takes a GPU where its driver is.

    Raises:
        ConfigError: a GPU is wanted and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    why = missing()
    if wanted == "cuda" and why:
        raise ConfigError(f"verify.device = 'cuda', but {why}; use 'auto' or 'cpu'")
    return "cpu" if why else "cuda"


@contextlib.contextmanager
def on_device(
    base: Verifier, cpu: Pool, wanted: Wanted, sandbox: Sandbox, effort: DeviceEffort | None = None
) -> Iterator[tuple[AnyVerifier, tuple[str, ...]]]:
    """The verifier with the GPU where one is used, and what the user should know of it.

    `cpu`: the pool of `base`. A GPU that does not work is left out with a note, unless it was
    wanted.

    Raises:
        ConfigError: a GPU is wanted and there is none, or it does not work.
    """
    if device_for(wanted) == "cpu":
        yield base, ()
        return
    with device_pool(sandbox) as gpu:
        verifier = DeviceVerifier(base, cpu, gpu, effort)
        found = verifier.available()
        if not isinstance(found, str):
            yield verifier, ()
            return
        if wanted == "cuda":
            raise ConfigError(
                f"verify.device = 'cuda', but the GPU cannot be used: {found}; "
                "`python benchmarks/gpu_check.py` shows more, 'cpu' goes without it"
            )
    yield base, (f"The GPU is not used: {found}",)
