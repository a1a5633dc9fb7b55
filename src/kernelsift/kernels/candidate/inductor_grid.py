"""Block sizes and grids of TorchInductor's kernels, by the rules of its runtime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_Y_GRID = 65535
TILE = 4096
"""Elements of a tile that is still quick to interpret."""
MAX_REDUCED = 2048
POINTWISE_CAP = (1024, 64, 16)
"""Largest block along each dimension, for kernels with one, two and three of them."""
NUMELS = {
    "XBLOCK": "xnumel",
    "YBLOCK": "ynumel",
    "ZBLOCK": "znumel",
    "RBLOCK": "rnumel",
    "R0_BLOCK": "r0_numel",
    "R1_BLOCK": "r1_numel",
}
FIXED = {"RSPLIT": 1, "NUM_STAGES": 1}
Grid = tuple[int, int, int]


def ceildiv(number: int, block: int) -> int:
    """Division rounded up."""
    return -(-number // block)


def next_power(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << max(0, number - 1).bit_length()


def grid(*numels: int) -> Callable[[Mapping[str, Any]], Grid]:
    """Inductor's `grid(xnumel)`, `grid(ynumel, xnumel)`, `grid(znumel, ynumel, xnumel)`."""
    if not 1 <= len(numels) <= 3:
        raise AssertionError(f"invalid size for numels {len(numels)}")
    x, y, z = [*reversed(numels), None, None][:3]

    def sizes(meta: Mapping[str, Any]) -> Grid:
        columns = ceildiv(x or 0, meta.get("XBLOCK", 1))
        rows = _blocks(y, meta.get("YBLOCK"))
        if z is not None:
            return columns, rows, _blocks(z, meta.get("ZBLOCK"))
        return columns, *_folded(rows)

    return sizes


def _blocks(numel: int | None, block: int | None) -> int:
    if numel is None:
        return 1
    return numel if block is None else ceildiv(numel, block)


def _folded(rows: int) -> tuple[int, int]:
    """Rows beyond what the second grid dimension can have go to the third."""
    parts = max(1, ceildiv(rows, MAX_Y_GRID))
    return ceildiv(rows, parts), parts


def split_scan_grid(xnumel: int, rnumel: int) -> Callable[[Mapping[str, Any]], Grid]:
    """The grid of a scan that several programs share."""
    return lambda meta: (ceildiv(rnumel, meta.get("RBLOCK", 1)), xnumel, 1)


def cooperative_reduction_grid(xnumel: int) -> Callable[[Mapping[str, Any]], Grid]:
    """The grid of a reduction that several programs share."""
    return lambda meta: (meta["RSPLIT"], ceildiv(xnumel, meta.get("XBLOCK", 1)), 1)


def grid_of(kind: str, meta: Mapping[str, Any], values: Mapping[str, Any]) -> Grid:
    """The grid of a kernel that carries its `grid_type`.

    `values`: arguments and blocks by name. NotImplementedError for a type that is not known here.
    """
    x = ceildiv(int(values.get("xnumel", 1)), int(values.get("XBLOCK", 1)))
    y = ceildiv(int(values.get("ynumel", 1)), int(values.get("YBLOCK", 1)))
    z = ceildiv(int(values.get("znumel", 1)), int(values.get("ZBLOCK", 1)))
    known: dict[str, Callable[[], Grid]] = {
        "Grid1D": lambda: (x, 1, 1),
        "Grid2D": lambda: (x, y, 1),
        "Grid3D": lambda: (x, y, z),
        "BatchMatmulGrid3D": lambda: (z, y, x),
        "Grid2DWithYZOverflow": lambda: (x, *_folded(y)),
        "CooperativeReductionGrid": lambda: (values["RSPLIT"], x, 1),
        "SplitScanGrid": lambda: (
            ceildiv(values["r0_numel"], values["R0_BLOCK"]),
            values["xnumel"],
            1,
        ),
        "MixOrderReductionGrid": lambda: (ceildiv(values["xnumel"], values["RSPLIT_SIZE"]), 1, 1),
        "FixedGrid": lambda: _fixed(meta, values),
        "PrecomputedGrid": lambda: _precomputed(meta, values),
    }  # fmt: skip
    if kind not in known:
        raise NotImplementedError(f"Inductor's {kind} is not supported in interpreter mode")
    return known[kind]()


def _fixed(meta: Mapping[str, Any], values: Mapping[str, Any]) -> Grid:
    x, y, z = (values[name] if isinstance(name, str) else name for name in meta["fixed_grid"])
    return x, y, z


def _precomputed(meta: Mapping[str, Any], values: Mapping[str, Any]) -> Grid:
    """A grid given as Python expressions, one per configuration."""
    for choice in meta["precomputed_grids"]:
        if all(values.get(name) == value for name, value in choice["config"].items()):
            x, y, z = (_evaluated(text, values) for text in choice["python"])
            return x, y, z
    raise AssertionError("no precomputed grid fits the configuration")


def _evaluated(text: Any, values: Mapping[str, Any]) -> int:
    scope = {"math": math, "max": max, "min": min, **values}
    return int(eval(str(text), scope))  # noqa: S307  the candidate's own text, in its child


def blocks_for(
    names: Sequence[str], values: Mapping[str, Any], meta: Mapping[str, Any]
) -> dict[str, int]:
    """A value for each compile-time parameter that the launcher chooses.

    `values`: the arguments by name; `meta`: what the kernel's decorator says.
    KeyError for a parameter that is none of Inductor's.
    """  # fmt: skip
    chosen: dict[str, int] = {}
    reduced = [name for name in NUMELS if name.startswith("R") and NUMELS[name] in values]
    spent = 1
    for name in reduced:
        numel = next_power(int(values[NUMELS[name]]))
        size = min(numel, MAX_REDUCED) if name in names else numel
        spent *= size
        if name in names:
            chosen[name] = size
    tiled = [name for name in ("XBLOCK", "YBLOCK", "ZBLOCK") if name in names]
    cap = POINTWISE_CAP[len(tiled) - 1] if tiled else 1
    for name in tiled:
        numel = next_power(int(values.get(NUMELS[name], 1)))
        chosen[name] = min(numel, max(1, min(cap, TILE // spent)))
    for name in names:
        if name not in chosen:
            chosen[name] = meta[name] if name in meta else FIXED[name]
    return chosen
