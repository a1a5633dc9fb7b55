"""Which aten operations one forward pass performs, with FLOPs and bytes. Runs in a child."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from kernelsift.kernels.reference.gate_facts import OpFacts

_MOVES = frozenset(
    """
    clone copy_ copy _to_copy empty empty_like empty_strided new_empty new_empty_strided zeros
    zeros_like new_zeros ones ones_like new_ones full full_like new_full fill_ fill zero_ zero
    scalar_tensor lift_fresh lift_fresh_copy arange linspace eye cat stack constant_pad_nd
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d repeat repeat_interleave flip roll index index_select gather index_put
    index_put_ select_scatter slice_scatter scatter _unsafe_view view _reshape_alias set_
    resize_ _local_scalar_dense bernoulli_ normal_ uniform_ rand randn randint rand_like
    randn_like randint_like randperm tril_indices triu_indices _pack_padded_sequence
    pixel_shuffle pixel_unshuffle channel_shuffle is_same_size sym_size _assert_async
    broadcast_tensors meshgrid unsafe_chunk split_with_sizes_copy split_copy unbind_copy
    """.split()  # noqa: SIM905 -- a list of eighty strings is not easier to read
)


@dataclass(slots=True)
class Work:
    """What one operation cost, over all its calls."""

    calls: int = 0
    flops: int = 0
    bytes: int = 0
    compute: bool = False


@contextmanager
def recorded() -> Iterator[dict[str, Work]]:
    """Record every aten operation inside the block. Yields the growing record, by name."""
    from torch.utils._python_dispatch import TorchDispatchMode

    record: dict[str, Work] = {}

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Keep torch from importing its compiler, seconds of work, to switch it off here."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            _add(record, func, args, kwargs or {}, out)
            return out

    with Recorder():
        yield record


def inventory(record: dict[str, Work]) -> tuple[OpFacts, ...]:
    """Return the record as facts, most expensive first."""
    facts = [
        OpFacts(name=name, calls=w.calls, flops=w.flops, bytes=w.bytes, compute=w.compute)
        for name, w in record.items()
    ]
    return tuple(sorted(facts, key=lambda op: (-op.flops, -op.bytes, op.name)))


def _name(func: Any) -> str:
    return str(func._schema.name).removeprefix("aten::")  # noqa: SLF001 -- there is no public name


def _add(record: dict[str, Work], func: Any, args: Any, kwargs: Any, out: Any) -> None:
    name = _name(func)
    work = record.setdefault(name, Work())
    work.calls += 1
    if is_view(func):
        return
    work.compute = is_compute(name)
    ins, outs = list(_tensors(args)), list(_tensors(out))
    sizes = [t.numel() for t in (*ins, *outs)]
    work.bytes += sum(t.numel() * t.element_size() for t in (*ins, *outs))
    if work.compute:
        work.flops += _flops(func, args, kwargs, out) or max(sizes, default=0)


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


@cache
def is_view(func: Any) -> bool:
    """Say whether the operation returns only aliases of its arguments without writing to them."""
    returns = func._schema.returns  # noqa: SLF001 -- there is no public schema
    return bool(returns) and all(
        r.alias_info is not None and not r.alias_info.is_write for r in returns
    )


def is_compute(name: str) -> bool:
    """Say whether an aten operation (name without overload) is more than moving data."""
    return name not in _MOVES and not name.startswith("prim::")


@cache
def _counters() -> dict[Any, Any]:
    from torch.utils.flop_counter import flop_registry

    return dict(flop_registry)


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    counter = _counters().get(func.overloadpacket)
    if counter is None:
        return _convolution_like(func, args, out)
    try:
        return int(counter(*args, **kwargs, out_val=out))
    except (TypeError, ValueError, IndexError, AttributeError, AssertionError):
        return 0


def _convolution_like(func: Any, args: Any, out: Any) -> int:
    """Operations that torch's counter does not know: recurrent layers, distances, pooling."""
    name = _name(func)
    if "rnn" in name or "lstm" in name or "gru" in name:
        ins = list(_tensors(args))
        weights = sum(t.numel() for t in ins[1:] if t.dim() == 2)
        return int(2 * weights * (ins[0].numel() // max(ins[0].shape[-1], 1)))
    if "cdist" in name:
        ins = list(_tensors(args))
        return int(2 * ins[0].numel() * ins[1].shape[-2])
    if "pool" in name and len(args) > 1 and isinstance(args[1], list | tuple):
        window = 1
        for size in args[1]:
            window *= int(size)
        return int(window * max((t.numel() for t in _tensors(out)), default=0))
    return 0
