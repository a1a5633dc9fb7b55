"""filter: keep the samples whose reward is high enough."""

from collections.abc import Iterable

from kernelsift.config import Filter
from kernelsift.model import Decision, Entry


def select(entries: Iterable[Entry], cfg: Filter) -> list[Decision]:
    """Keep rewards above `cfg.min_reward` (not equal to it), drop the rest as low-reward."""
    return [
        Decision(
            sample=entry.id,
            stage="filter",
            keep=(keep := entry.reward > cfg.min_reward),
            reason="reward" if keep else "low-reward",
            evidence={"reward": entry.reward, "min_reward": cfg.min_reward},
        )
        for entry in entries
    ]
