"""Whether a refusal may come from sizes alone: a problem made smaller has smaller blocks, too."""

import re

from kernelsift.kernels.facts import CompileFacts

_SIZES = re.compile(
    r"power of|shape|dimension|elements|numel|size|range must|out of range|divis|zero|assert"
    r"|PassManager|ptxas|thread|block|crash|memory|resource|expect",
    re.IGNORECASE,
)
_TYPES = re.compile(
    r"constexpr|Unsupported ptr type|cannot be block type|keyword argument|equal ranks"
    r"|rank mismatch|multiple values"
)
"""Errors about types and calls, which are the same at every size."""
_TWO_TYPES = re.compile(
    r"between then block \((.+?)\) and else block \((.+?)\)"
    r"|initial type (.+?) but is re-assigned to (.+?) in loop"
    r"|inconsistent types (.+?) and (.+)"
    r"|Return type mismatch:? (.+?) and ([^.]+)"
)
"""Where a name has one type on one path and another on another."""
_LENGTH = re.compile(r"'\d+'")
OTHER_CONFIGURATION = "configuration"
_LITERAL = re.compile(rf"{OTHER_CONFIGURATION} \d+ of autotuning: ")
"""The configuration that was run is all right, so this one's own numbers are not."""
_PLACE = re.compile(r" \(line \d+: .*", re.DOTALL)


def doubted(facts: CompileFacts) -> CompileFacts:
    """Facts of a problem that was made smaller: what larger sizes might mend is no error."""
    text = _PLACE.sub("", facts.why)
    if (
        facts.status != "error"
        or _LITERAL.match(facts.why)
        or _TYPES.search(text)
        or _differ_at_any_size(text)
        or not _SIZES.search(text)
    ):
        return facts
    why = f"at sizes made smaller for the interpreter: {facts.why}"
    return facts.model_copy(update={"status": "not-run", "why": why})


def _differ_at_any_size(text: str) -> bool:
    """Whether two types that should be one differ in more than the lengths of their axes."""
    told = _TWO_TYPES.search(text)
    if told is None:
        return False
    one, other = (_LENGTH.sub("n", part).strip() for part in told.groups() if part)
    return one != other
