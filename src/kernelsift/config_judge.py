"""Settings of the judge: how many answers a row gets, and which dropped rows are judged as well."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kernelsift.model import Frozen, Score

_OF_NEAR = ("near_width", "near_samples", "near_share")


class Answers(Frozen):
    """How often the judge is asked, and about which rows."""

    samples: PositiveInt = Field(default=1, le=50)
    """Independent answers per row (of the checklist: and per module), of which the mean counts."""
    near_style: Score | None = None
    """A threshold of style: rows whose mean lies near it get `near_samples` answers."""
    near_difficulty: Score | None = None
    """As `near_style`; of the checklist: modules."""
    near_width: float = Field(default=1, gt=0, le=10)
    """How far from the threshold a mean is still near it."""
    near_samples: PositiveInt = Field(default=3, le=50)
    """Answers of a row that is near a threshold, those that every row gets included."""
    near_share: float = Field(default=0.05, ge=0, le=1)
    """Share of all rows that get as many answers by chance, whatever their mean."""
    also_rejected: NonNegativeInt | Literal["all"] | None = None
    """Rows that the filter has dropped and that are judged all the same, for comparison; None
    leaves those that were chosen earlier as they are."""
    rejected_seed: int = 0
    """Of their choice."""

    @property
    def asks_again(self) -> bool:
        """Whether some rows get more answers than others."""
        return self.near_style is not None or self.near_difficulty is not None

    @model_validator(mode="after")
    def _near_something_and_more_often(self) -> Self:
        given = next((name for name in _OF_NEAR if name in self.model_fields_set), None)
        if given and not self.asks_again:
            raise ValueError(
                f"judge.{given} says nothing without a threshold: give judge.near_style or "
                "judge.near_difficulty as well"
            )
        if self.asks_again and self.near_samples <= self.samples:
            raise ValueError(
                f"judge.near_samples = {self.near_samples} must be above judge.samples = "
                f"{self.samples}, which every row gets"
            )
        return self
