"""decontaminate: drop the rows that hold a problem of a benchmark."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from kernelsift.config import Decontaminate
from kernelsift.contamination.matching import EVIDENCE, FAMILY, Hit, Matcher, Texts
from kernelsift.model import Decision, SampleId

VERSION = "1"
"""Raised when a change here may decide otherwise about a row."""
LISTED = 8
"""Hits that a decision keeps as evidence; the number of all stands beside them."""


@dataclass(frozen=True, slots=True)
class Found:
    """One row, and the benchmark problems in it, the strongest evidence first."""

    sample: SampleId
    hits: tuple[Hit, ...]
    has_text: bool
    """Whether there was anything to look through."""


def inspect(sample: SampleId, texts: Texts, matcher: Matcher) -> Found:
    """Look for problems in one row."""
    has_text = bool(texts.reference.strip() or texts.prompt.strip() or texts.answer.strip())
    return Found(sample, tuple(matcher.hits(texts)), has_text)


def select(found: Iterable[Found], cfg: Decontaminate) -> list[Decision]:
    """Drop the rows with evidence at least as strong as `cfg.drop_on`; report weaker evidence."""
    return [_decision(one, cfg) for one in found]


def is_contaminated(found: Found, cfg: Decontaminate) -> bool:
    """Whether the evidence suffices to drop the row."""
    enough = EVIDENCE[: EVIDENCE.index(cfg.drop_on) + 1]
    return bool(found.hits) and FAMILY[found.hits[0].kind] in enough


def _decision(found: Found, cfg: Decontaminate) -> Decision:
    keep = not is_contaminated(found, cfg)
    if not keep:
        reason = "contaminated"
    elif found.hits:
        reason = "weak-evidence"
    else:
        reason = "no-benchmark" if found.has_text else "nothing-to-compare"
    return Decision(
        sample=found.sample,
        stage="decontaminate",
        keep=keep,
        reason=reason,
        evidence={
            "hits": [asdict(hit) for hit in found.hits[:LISTED]],
            "of": len(found.hits),
        }
        if found.hits
        else {},
    )
