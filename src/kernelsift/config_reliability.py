"""Settings of `kernelsift reliability` and `kernelsift probes`."""

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from kernelsift.model import Frozen


class Reliability(Frozen):
    """How sure intervals are to be, what counts as moved, and the scale of human labels."""

    resamples: int = Field(default=2000, ge=200)
    """Draws of modules behind each interval."""
    seed: int = 0
    label_low: float = 0
    """Lowest human label; labels are stretched to 0-10."""
    label_high: float = 10
    drop: float = Field(default=1, gt=0)
    """Points by which style must fall after a probe that makes the code worse."""
    tolerance: float = Field(default=0.5, ge=0)
    """Points that a score may move where it should stay."""
    rows: PositiveInt = 50
    """Distinct answers that probes are applied to."""

    @model_validator(mode="after")
    def _scale_has_two_ends(self) -> Self:
        if self.label_low >= self.label_high:
            raise ValueError(
                f"label_low {self.label_low:g} must be below label_high {self.label_high:g}"
            )
        return self
