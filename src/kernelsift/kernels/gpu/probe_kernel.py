"""The kernel that shows whether Triton works here. Imports triton: only for children."""
# ruff: noqa: ANN001, ANN201, N803  the language of kernels

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def add_one(x_ptr, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add one to each of `n` numbers, in one program."""
    place = tl.arange(0, BLOCK)
    inside = place < n
    tl.store(x_ptr + place, tl.load(x_ptr + place, mask=inside) + 1, mask=inside)
