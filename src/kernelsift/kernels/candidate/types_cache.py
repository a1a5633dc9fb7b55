"""Make the types of Triton's interpreter cheap: equal block types and tensor shapes are made once.

More than half of an interpreted program's time goes into building shape tuples anew for every
value. The constructors keep their meaning; what they compute for equal arguments is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton.language as tl
from triton.language.semantic import TritonSemantic

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 4096
"""So many types are kept; a kernel rarely has more than a hundred."""
_TOKEN = "_kept"  # noqa: S105  the name of an attribute


def install() -> None:
    """Replace the constructors of this process's `tl.block_type` and `tl.tensor` for good."""
    change: Callable[[Any, str, Any], None] = setattr
    change(tl.block_type, "__init__", _block_type(tl.block_type.__init__))
    change(tl.tensor, "__init__", _tensor(tl.tensor.__init__))
    broadcast = TritonSemantic.broadcast_impl_value
    change(TritonSemantic, "broadcast_impl_value", _broadcast(broadcast))


def _broadcast(original: Callable[..., Any]) -> Callable[..., Any]:
    def broadcast_impl_value(self: Any, lhs: Any, rhs: Any) -> Any:
        left, right = vars(lhs.type), vars(rhs.type)
        if _TOKEN in left and _TOKEN in right and left["shape"] is right["shape"]:
            return lhs, rhs
        return original(self, lhs, rhs)

    return broadcast_impl_value


def _block_type(original: Callable[..., None]) -> Callable[..., None]:
    made: dict[tuple[int, tuple[Any, ...]], dict[str, Any]] = {}
    shapes: dict[tuple[Any, ...], Any] = {}

    def init(self: Any, element_ty: Any, shape: Any) -> None:
        key = (id(element_ty), tuple([getattr(size, "value", size) for size in shape]))
        known = made.get(key)
        if known is None:
            original(self, element_ty, shape)
            if len(made) < MOST:
                vars(self)[_TOKEN] = {}
                vars(self)["shape"] = shapes.setdefault(key[1], self.shape)
                made[key] = dict(vars(self))  # holds element_ty, so its id stays its own
            return
        vars(self).update(known)

    return init


def _tensor(original: Callable[..., None]) -> Callable[..., None]:
    scalars: dict[int, tuple[Any, dict[str, Any]]] = {}

    def init(self: Any, handle: Any, type: Any) -> None:  # noqa: A002  Triton's name for it
        token = vars(type).get(_TOKEN)
        if token is None:
            known = scalars.get(id(type))
            token = known[1] if known else {}
        if not token:
            original(self, handle, type)
            token.update((k, v) for k, v in vars(self).items() if k not in {"handle", "type"})
            if _TOKEN not in vars(type) and len(scalars) < MOST:
                scalars[id(type)] = (type, token)
            return
        own = vars(self)
        own.update(token)
        own["handle"] = handle
        own["type"] = type

    return init
