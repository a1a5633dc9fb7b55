"""The parent's side of the talk with a child that is timed. Nothing that it says is believed."""

import math
from collections.abc import Sequence
from typing import Any

from kernelsift.kernels import wire
from kernelsift.kernels.gpu.gpu_facts import Side
from kernelsift.kernels.gpu.measured import Block, BlockOrder, Trouble
from kernelsift.kernels.isolation.dialogue import Conversation, Heard

LOAD_SECONDS = 240.0
BLOCK_SECONDS = 120.0
"""The first block of a side compiles it."""
MOST_SAMPLES = 1 << 14
"""Numbers in one answer."""


class Partner:
    """One child: asked for a block, then for samples of its answers."""

    def __init__(self, talk: Conversation, nonce: str) -> None:
        """`nonce`: what every frame of the child carries."""
        self._talk, self._nonce = talk, nonce

    def loaded(self) -> dict[str, Any] | str:
        """What the child says once it is ready, or why it is not."""
        frame, _ = self._frame(self._talk.hear(LOAD_SECONDS), "loaded")
        return frame

    def ask(self, side: Side, order: BlockOrder) -> Block | Trouble:
        """Run one block; the clock runs from the order until the last sample is here."""
        message = {
            "do": "block",
            "side": side,
            "seed": order.seed,
            "count": order.count,
            "regime": order.regime,
        }
        said = self._talk.say(wire.encode(message))
        times, _ = self._frame(self._talk.hear(BLOCK_SECONDS), "done")
        if isinstance(times, str):
            return Trouble(side, times)
        self._talk.say(wire.encode({"do": "show", "picks": order.picks}))
        shown, ended = self._frame(self._talk.hear(BLOCK_SECONDS), "done")
        if isinstance(shown, str):
            return Trouble(side, shown)
        try:
            return _block(side, order, times | shown, ended - said)
        except (KeyError, TypeError, ValueError) as error:
            return Trouble(side, f"its report is not one: {error}"[:300])

    def _frame(self, heard: Heard | None, event: str) -> tuple[dict[str, Any] | str, float]:
        if heard is None:
            return self._ended(), 0.0
        try:
            frame = wire.decode(heard.frame)
        except wire.WireError as error:
            return f"what it sent is no message: {error}", heard.at
        if not isinstance(frame, dict) or frame.get("nonce") != self._nonce:
            return "what it sent does not carry its secret", heard.at
        if frame.get("event") != event:
            return str(frame.get("why") or "it sent something else than asked for")[:400], heard.at
        return frame, heard.at

    def _ended(self) -> str:
        result = getattr(self._talk, "result", None)
        if result is None:
            return str(getattr(self._talk, "problem", "")) or "no answer in time"
        return f"{result.status}: {result.reason or result.output[-200:]}"


def _block(side: Side, order: BlockOrder, said: dict[str, Any], elapsed: float) -> Block:
    """The report as a block. ValueError, TypeError or KeyError where it is none."""
    synced = order.count if order.regime == "sync" else 0
    rows = said["samples"]
    if not isinstance(rows, list) or len(rows) != order.count:
        raise ValueError("one row of samples for each call was expected")
    return Block(
        side=side,
        order=order,
        events=_numbers(said["events"], order.count),
        hosts=_numbers(said["hosts"], synced),
        walls=_numbers(said["walls"], synced),
        touches=_numbers(said["touches"], synced),
        plain=said["plain"] is True,
        layout=str(said["layout"])[:2000],
        samples=tuple(_row(row) for row in rows),
        elapsed=elapsed,
    )


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{count} times were expected")
    found = tuple(float(value) for value in values)
    if not all(math.isfinite(value) for value in found):
        raise ValueError("a time is not finite")
    return found


def _row(values: Sequence[Any]) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) > MOST_SAMPLES:
        raise ValueError("not a row of samples")
    return tuple(float(value) for value in values)
