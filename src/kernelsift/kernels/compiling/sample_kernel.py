"""A kernel of our own: compiled once where processes are forked, and to see what works here."""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def double(x: tl.tensor, n: tl.tensor, BLOCK: tl.constexpr) -> None:  # noqa: N803  a constant
    """Double `n` numbers in place."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)
