"""Settings of `kernelsift verify`."""

from typing import Annotated, Literal

from pydantic import Field

from kernelsift.model import Frozen

Severity = Literal["hard", "not-a-kernel", "suspicious", "bug", "timing"]
Work = Literal["full_triton", "partial_triton", "figleaf", "fallback", "unknown"]
CatalogId = Annotated[str, Field(pattern=r"^K\d\d$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Verify(Frozen):
    """How kernels are run, and which verdicts drop a row. Only the first group needs new runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    budget_seconds: float = Field(default=3.0, gt=0)
    """Predicted interpreter time of all cases of a kernel together."""
    limit_seconds: float = Field(default=60.0, gt=0)
    """Processor time after which a kernel's process is ended."""
    targets: str = "sm_80,sm_90"
    """GPUs that launches are compiled for, none needed here; `none` compiles nothing."""

    sandbox: Literal["auto", "required", "off"] = "auto"
    unverifiable: Literal["fail", "keep", "drop"] = "fail"
    """What becomes of a row that could not be checked and that nothing else drops."""
    drop_severities: tuple[Severity, ...] = ("hard", "not-a-kernel", "bug")
    drop_ids: tuple[CatalogId, ...] = ()
    allow_ids: tuple[CatalogId, ...] = ()
    keep_work: tuple[Work, ...] = ("full_triton", "partial_triton")
    reduced_precision: Literal["finding", "wrong"] = "finding"
    figleaf_share: Share = 0.8
    partial_share: Share = 0.05
    oldest_triton: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = "3.6"
    """What this Triton does not compile is a compile error, whichever is installed here."""
