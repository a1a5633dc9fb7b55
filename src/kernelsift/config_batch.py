"""Settings of judging by a service's batch API."""

from pydantic import Field, PositiveInt

from kernelsift.model import Frozen


class Batch(Frozen):
    """Whether and how requests are handed over as batches. None of this changes an answer."""

    judge: bool = False
    """Whether the judge's first requests go into batches."""
    wait: bool = True
    """Wait for batches, or hand them over and come back later with the same command."""
    poll_seconds: float = Field(default=30.0, gt=0)
    """Between two looks at batches that are under way."""
    price_factor: float = Field(default=0.5, gt=0, le=1)
    """What a batch costs, as a share of the price per token. A cost that the service itself
    reports is taken as it is."""
    max_requests: PositiveInt = Field(default=50_000, le=50_000)
    """Most requests in one batch."""
    max_megabytes: float = Field(default=200.0, gt=0, le=200)
    """Most megabytes (10^6 bytes) in one batch's file."""
