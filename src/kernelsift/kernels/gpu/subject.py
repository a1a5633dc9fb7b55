"""A candidate or a reference that is called many times, with its inputs and its answers kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kernelsift.kernels.candidate.provenance import tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelsift.kernels.gpu.clock import CudaDevice, HostDevice
    from kernelsift.kernels.gpu.recipe import Inputs

PICKED = 64
"""Elements of each tensor of an answer that the parent sees."""
PLAIN = (torch.Tensor, torch.nn.Parameter)


class TorchSubject:
    """Calls on one set of inputs after the other."""

    def __init__(
        self,
        bind: Callable[[list[Any]], Callable[[], Any]],
        inputs: Inputs,
        device: CudaDevice | HostDevice,
    ) -> None:
        """`bind`: makes a call out of its arguments, once for each of the inputs."""
        self._inputs, self._device = inputs, device
        self._calls = [bind(arguments) for arguments in inputs.arguments()]
        self._kept: dict[int, list[Any]] = {}
        self._clone, self._read = torch.Tensor.clone, torch.Tensor.item
        self.plain = True

    def begin(self, seed: int) -> None:
        """New contents for all inputs; nothing kept."""
        self._kept.clear()
        self._inputs.fill(seed)
        self._device.begin()

    def call(self, index: int) -> Any:
        """Call it on the inputs of this number."""
        return self._calls[index]()

    def touch(self, answer: Any) -> None:
        """Read the first element of each tensor on the host."""
        for tensor in tensors_in(answer):
            if tensor.numel():
                self._read(_plain(tensor.detach()).flatten()[0])

    def keep(self, index: int, answer: Any) -> None:
        """Copy every tensor of the answer, as it is for our stream now."""
        tensors = list(tensors_in(answer))
        self.plain = self.plain and all(type(tensor) in PLAIN for tensor in tensors)
        with self._device.ours():
            self._kept[index] = [self._clone(_plain(tensor.detach())) for tensor in tensors]

    def layout(self) -> str:
        """dtypes and shapes of the answers, where all are alike; else of the odd one."""
        found = {_layout(tensors) for tensors in self._kept.values()}
        return found.pop() if len(found) == 1 else "various"

    def samples(self, picks: int) -> list[list[float]]:
        """For each call, a few elements of its answer; complex ones as two numbers."""
        return [self._row(self._kept[index], picks) for index in sorted(self._kept)]

    def _row(self, tensors: list[Any], picks: int) -> list[float]:
        row: list[float] = []
        for number, tensor in enumerate(tensors):
            if not tensor.numel():
                continue
            source = torch.Generator().manual_seed((picks + number) % 2**63)
            places = torch.randint(tensor.numel(), (PICKED,), generator=source)
            flat = tensor.resolve_conj().reshape(-1)
            found = flat[places.to(flat.device)].cpu()
            wide = torch.view_as_real(found.to(torch.complex128)) if found.is_complex() else found
            row += wide.double().flatten().tolist()
        return row


def _plain(tensor: Any) -> Any:
    return tensor if type(tensor) in PLAIN else tensor.as_subclass(torch.Tensor)


def _layout(tensors: list[Any]) -> str:
    return "".join(f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}; " for t in tensors)
