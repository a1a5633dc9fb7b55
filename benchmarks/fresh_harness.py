"""One kernel in a process of its own, as KernelBench's harness does it, on a CPU.

    python fresh_harness.py reference.py answer.py

Construct both from one seed, five trials on fresh inputs, `allclose` at 1e-2: no other check. `job`
does the same in a child of kernelsift's pool.
"""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"


def job(payload: bytes, send: Callable[[bytes], None]) -> None:
    """The same trials as a job of the pool: reference and answer in, `True` or `False` out."""
    import tempfile

    from kernelsift.kernels import wire

    request = wire.decode(payload)
    answer = Path(tempfile.mkdtemp()) / "answer.py"
    answer.write_text(request["answer"], encoding="utf-8")
    send(wire.encode({"right": trials(request["reference"], answer)}))


def trials(reference_code: str, answer: Path) -> list[bool]:
    """What `allclose` says of five trials."""
    import importlib.util

    import torch

    from kernelsift.kernels.candidate import driver, shim
    from kernelsift.kernels.candidate.launches import Controls
    from kernelsift.kernels.reference.reference_module import load_reference
    from kernelsift.source import module_class_name

    torch.set_num_threads(1)
    note = shim.Notes()
    devices = shim.install(note)
    driver.install_driver(note, Controls(source=str(answer)))
    reference = load_reference(reference_code, None)
    model = reference.build(42)
    right = []
    with devices:
        spec = importlib.util.spec_from_file_location("answer", answer)
        assert spec is not None
        assert spec.loader is not None
        module: types.ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        name = module_class_name(reference_code) or ""
        made = next(n for n in ("ModelNew", f"{name}New", name) if hasattr(module, n))
        torch.manual_seed(42)
        new = getattr(module, made)(*reference.init_args, **reference.init_kwargs)
        for trial in range(5):
            inputs = reference.inputs(trial)
            with torch.no_grad():
                wanted, got = model(*inputs), new(*inputs)
            right.append(torch.allclose(wanted, got, atol=1e-2, rtol=1e-2))
    return right


if __name__ == "__main__":
    print(all(trials(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2]))))
