"""Raw times of one block of calls, as the parent has them. Plain values; nothing is judged here."""

from dataclasses import dataclass
from typing import Literal

from kernelsift.kernels.gpu.gpu_facts import Side

Regime = Literal["queue", "sync"]
"""queue: all calls are put on the stream one after the other, with a cache flush before each; sync:
the device is idle before and after each call."""


@dataclass(frozen=True, slots=True)
class BlockOrder:
    """What one side is asked for."""

    seed: int
    """Secret; the inputs of the block follow from it."""
    count: int
    """Calls, each with inputs of its own."""
    regime: Regime
    picks: int = 0
    """Seed for the places of each answer that are looked at; told only when the block is done."""


@dataclass(frozen=True, slots=True)
class Block:
    """What came of one order. Times in seconds, one entry per call."""

    side: Side
    order: BlockOrder
    events: tuple[float, ...]
    """Device time between two events."""
    hosts: tuple[float, ...] = ()
    """From the call to its return. Empty in the queue regime, as the next two."""
    walls: tuple[float, ...] = ()
    touches: tuple[float, ...] = ()
    plain: bool = True
    """Every answer was made of plain tensors."""
    layout: str = ""
    """Shapes and dtypes of the answers."""
    samples: tuple[tuple[float, ...], ...] = ()
    """A few elements of each answer."""
    elapsed: float = 0.0
    """From the order to the last sample, on the parent's clock."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A side that could not do what it was asked for."""

    side: Side
    why: str
