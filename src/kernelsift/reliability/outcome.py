"""What a statistic comes to: a number with its interval, or the reason why there is none."""

from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from kernelsift.model import Frozen
from kernelsift.report.stats import Interval


@dataclass(frozen=True, slots=True)
class Undefined:
    """A statistic that does not exist for these data. It is neither 0 nor NaN."""

    why: str
    """Completes "not defined, because …"."""

    def __str__(self) -> str:
        return f"not defined, because {self.why}"


class Measure(Frozen):
    """One statistic of some data, as it is reported. Without a `value`, `why` says why."""

    name: str
    """What was computed, e.g. `ICC(A,1)`."""
    items: int
    """Items that the value rests on."""
    clusters: int
    """Modules (or other groups) that those items come from; they are what is resampled."""
    value: float | None = None
    ci: Interval | None = None
    """95 %, resampled by cluster."""
    why: str | None = None
    """Why there is no value."""
    ci_why: str | None = None
    """Why there is a value but no interval."""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if (self.value is None) == (self.why is None):
            raise ValueError(f"{self.name} needs either a value or the reason why it has none")
        if self.value is not None and (self.ci is None) == (self.ci_why is None):
            raise ValueError(f"{self.name} needs either an interval or the reason for none")
        return self

    def __str__(self) -> str:
        if self.value is None:
            return f"not defined, because {self.why}"
        if self.ci is None:
            return f"{self.value:.3f} (no interval: {self.ci_why})"
        return f"{self.value:.3f} ({self.ci.low:.3f} to {self.ci.high:.3f})".replace("-", "−")
