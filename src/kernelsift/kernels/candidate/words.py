"""Long lists of names, written as text."""

from __future__ import annotations

TUNED = "autotune: a launch to be timed"
"""What is noted where an autotuner launches a kernel before the launch that was asked for."""


def words(text: str) -> tuple[str, ...]:
    """The whitespace-separated words of a text."""
    return tuple(text.split())
