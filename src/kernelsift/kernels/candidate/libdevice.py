"""The functions of CUDA's libdevice on numpy arrays, by symbol or by name."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelsift.kernels.candidate.words import words

if TYPE_CHECKING:
    from collections.abc import Callable


_SAME_NAME = words("""
exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh floor ceil
trunc rint fmod hypot copysign nextafter ldexp isnan isfinite signbit fabs fmin fmax""")
_RENAMED = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh",
    "atan": "arctan", "atanh": "arctanh", "atan2": "arctan2", "pow": "power", "abs": "abs",
    "nearbyint": "rint", "isinf": "isinf", "isnan": "isnan", "min": "minimum", "max": "maximum",
    "dadd": "add", "dmul": "multiply", "ddiv": "divide", "dsub": "subtract", "dsqrt": "sqrt",
}  # fmt: skip
_SPECIAL = {
    "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "erfcinv": "erfcinv", "erfcx": "erfcx",
    "lgamma": "gammaln", "tgamma": "gamma", "j0": "j0", "j1": "j1", "y0": "y0", "y1": "y1",
    "normcdf": "ndtr", "normcdfinv": "ndtri", "cyl_bessel_i0": "i0", "cyl_bessel_i1": "i1",
}  # fmt: skip
_ROUNDING = ("_rn", "_rz", "_ru", "_rd")


def _round(values: Any) -> Any:
    """Round half away from zero, as C's round does."""
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


_OWN: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: np.reciprocal(np.sqrt(x)),
    "rcbrt": lambda x: np.reciprocal(np.cbrt(x)),
    "exp10": lambda x: np.power(np.asarray(10, dtype=x.dtype), x),
    "fdim": lambda x, y: np.maximum(x - y, 0),
    "fma": lambda x, y, z: (x.astype(np.float64) * y + z).astype(x.dtype),
    "round": _round,
    "llround": lambda x: _round(x).astype(np.int64),
    "llrint": lambda x: np.rint(x).astype(np.int64),
    "lround": lambda x: _round(x).astype(np.int32),
    "sinpi": lambda x: np.sin(np.pi * x),
    "cospi": lambda x: np.cos(np.pi * x),
    "saturate": lambda x: np.clip(x, 0, 1),
    "remainder": lambda x, y: x - np.rint(x / y) * y,
    "fdivide": np.divide,
    "frcp": np.reciprocal,
    "rcp64h": np.reciprocal,
    "frsqrt": lambda x: np.reciprocal(np.sqrt(x)),
    "fsqrt": np.sqrt,
    "fadd": np.add,
    "fmul": np.multiply,
    "fdiv": np.divide,
    "fsub": np.subtract,
    "rhypot": lambda x, y: np.reciprocal(np.hypot(x, y)),
    "popc": np.bitwise_count if hasattr(np, "bitwise_count") else None,  # type: ignore[dict-item]
    "finite": np.isfinite,
    "ffs": lambda x: np.where(x == 0, 0, np.log2((x & -x).astype(np.float64)) + 1),
    "clz": lambda x: 31 - np.floor(np.log2(np.maximum(x, 0.5))),
    "int2float": lambda x: x.astype(np.float32),
    "float2int": lambda x: x.astype(np.int32),
}


@functools.cache
def _function(stem: str) -> Callable[..., Any] | None:
    if stem in _OWN:
        return _OWN[stem]
    if stem in _SAME_NAME or stem in _RENAMED:
        found: Callable[..., Any] = getattr(np, _RENAMED.get(stem, stem))
        return found
    if stem in _SPECIAL:
        from scipy import special

        function: Callable[..., Any] = getattr(special, _SPECIAL[stem])
        return function
    return None


def _stems(symbol: str) -> list[str]:
    """Names to try for a symbol: `__nv_fast_expf` is exp, `__nv_fmaf_rn` is fma."""
    name = symbol.removeprefix("__nv_").removeprefix("__ocml_").removesuffix("_f32")
    name = name.removesuffix("_f64").removeprefix("fast_")
    for ending in _ROUNDING:
        name = name.removesuffix(ending)
    stems = [name, name.removesuffix("f"), name.removesuffix("d"), name.removeprefix("ll")]
    return [
        *stems,
        name.removesuffix("f").removesuffix("i"),
        name.removeprefix("ll").removesuffix("f"),
    ]


def apply_symbol(symbol: str, arrays: list[Any]) -> Any:
    """The function's value in the type of its first argument; NotImplementedError if unknown."""
    for stem in _stems(symbol):
        body = _function(stem)
        if body is not None:
            return np.asarray(body(*arrays))
    raise NotImplementedError(f"{symbol} not supported in interpreter mode")
