"""Evaluates calls of PyTorch, of tensor methods and of Python's own functions."""

import ast
from collections.abc import Callable
from dataclasses import dataclass

from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.static import names
from kernelsift.kernels.static.expression import Expressions
from kernelsift.kernels.static.literals import element
from kernelsift.kernels.static.program import Program
from kernelsift.kernels.static.values import (
    NO_THINGS,
    SCALAR,
    UNKNOWN,
    Instance,
    State,
    Tag,
    Thing,
    Value,
    all_things,
    merged,
    plain,
    tags_of,
    tensor,
    things_of,
)

_MEASURES: dict[str, Tag] = {
    "size": "shape",
    "numel": "shape",
    "nelement": "shape",
    "stride": "shape",
    "storage_offset": "shape",
    "element_size": "dtype",
    "dim": "rank",
    "ndimension": "rank",
    "data_ptr": "pointer",
    "is_contiguous": "rank",
    "is_floating_point": "dtype",
    "is_complex": "dtype",
    "get_device": "device",
    "item": "value",
    "tolist": "value",
    "is_nonzero": "value",
    "untyped_storage": "pointer",
    "storage": "pointer",
}
_PASSING = frozenset([
    "int", "float", "bool", "round", "abs", "min", "max", "sum", "pow", "divmod", "str", "repr",
    "list", "tuple", "reversed", "zip", "enumerate", "sorted", "set", "dict", "frozenset", "iter",
    "next", "map", "filter", "range", "any", "all", "slice", "hash",
])  # fmt: skip
_FROM_CACHE = frozenset({"get", "setdefault", "pop", "popitem", "move_to_end"})
_SOFT = frozenset({"", "elementwise", "indexing", "reduction"})
"""Groups whose method names other objects have too."""


@dataclass(frozen=True, slots=True)
class Note:
    """A finding made on the way."""

    id: str
    severity: Severity
    line: int


@dataclass(slots=True)
class Ask:
    """One call: where it stands and what it gives."""

    node: ast.Call
    given: list[Value]
    named: dict[str, Value]
    state: State

    @property
    def every(self) -> list[Value]:
        return [*self.given, *self.named.values()]

    @property
    def first(self) -> Value:
        return self.given[0] if self.given else UNKNOWN


class Tensors(Expressions):
    """Evaluates what is done with tensors outside kernels."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.notes: list[Note] = []

    def note(self, catalog_id: str, severity: Severity, node: ast.AST) -> None:
        """Keep a finding made on the way."""
        self.notes.append(Note(catalog_id, severity, getattr(node, "lineno", 0)))

    def unknown(self, ask: Ask) -> Value:
        """Return what an unknown function may give; it may have written what it was given."""
        things = things_of(*ask.every)
        made = Thing("unknown", ask.node.lineno, things)
        for thing in things:
            if thing.origin in {"empty", "filled"}:
                _change(ask.state, thing, frozenset({made}))
        return Value(None, frozenset({made}))

    # ---- Python's own ---------------------------------------------------------------------------

    def builtin(self, name: str, ask: Ask) -> Value:
        """Return the result of one of Python's own functions."""
        known: dict[str, Callable[[Ask], Value]] = {
            "id": lambda a: plain(all_things(a.first), frozenset({"pointer"})),
            "len": _length,
            "isinstance": lambda _: plain(tags=frozenset({"dtype"})),
            "hasattr": lambda _: plain(tags=frozenset({"state"})),
            "getattr": self._getattr,
            "setattr": self._setattr,
        }
        if name in known:
            return known[name](ask)
        if name in {"float", "int", "bool"} and ask.first.tensor:
            return plain(ask.first.things, ask.first.tags | {"value"})
        if name in {"sum", "abs", "max", "min", "pow"} and any(v.tensor for v in ask.given):
            return self.compute(ask.state, ask.node, (name, "elementwise", "operator"), ask.given)
        return _passed(name, ask.given) if name in _PASSING else UNKNOWN

    def _getattr(self, ask: Ask) -> Value:
        if len(ask.node.args) < 2:
            return UNKNOWN
        attribute = self.program.text(ask.node.args[1])
        made = ast.Attribute(ask.node.args[0], attribute or "?", ast.Load())
        found = self.part(ask.first, ast.copy_location(made, ask.node), ask.state)
        return merged([found, ask.given[2]]) if len(ask.given) > 2 else found

    def _setattr(self, ask: Ask) -> Value:
        if len(ask.given) > 2 and len(ask.node.args) > 1 and isinstance(ask.first.ref, Instance):
            attribute = self.program.text(ask.node.args[1]) or "?"
            ask.state.attributes[id(ask.first.ref), attribute] = ask.given[2]
        return UNKNOWN

    # ---- PyTorch --------------------------------------------------------------------------------

    def torch(self, path: str, ask: Ask) -> Value:
        """Return the result of a function or class of PyTorch."""
        path = names.public_path(path)
        last = path.rpartition(".")[2]
        if layer := names.layer_kind(path):
            return _make_layer(layer, ask)
        if last == "Parameter":
            weight = Thing("weight", ask.node.lineno)
            return tensor(frozenset({weight}), frozenset({"weight"}))
        if last == "compile" or path in {"torch.jit.script", "torch.jit.trace"}:
            return plain(ref="layer:compiled:compiled")
        kind, group = names.torch_kind(path)
        if kind == "compute":
            made = self.compute(ask.state, ask.node, (path, group, _route(path)), ask.every)
            _into_out(ask, made)
            return made
        return _neutral(path, ask.every) if kind == "neutral" else _moved(kind, last, ask)

    # ---- methods --------------------------------------------------------------------------------

    def method(self, base: Value, name: str, ask: Ask) -> Value:
        """Return the result of `base.name(…)`."""
        if isinstance(base.ref, Instance):
            return _own_method(base.ref, ask)
        caches = [t for t in base.things if t.origin == "cache"]
        if caches and name in _FROM_CACHE:
            return self._from_cache(caches, name, base, ask)
        if name in _MEASURES:
            keeps = name in {"item", "tolist", "data_ptr"}
            return plain(all_things(base) if keeps else NO_THINGS, frozenset({_MEASURES[name]}))
        if name in {"append", "extend", "insert", "add"} and base.tensor is not True:
            return self._appended(base, caches, ask)
        if base.tensor is False:
            return Value(None, things_of(base, *ask.every))
        if name in names.IN_PLACE_FILL or name in {"copy_", "index_copy_"}:
            return self._overwritten(base, things_of(*ask.every), ask)
        ask.given = [base, *ask.given]
        return self._tensor_method(base, name, ask)

    def _from_cache(self, caches: list[Thing], name: str, base: Value, ask: Ask) -> Value:
        for thing in caches:
            thing.keys |= ask.first.tags
            if any(t.origin == "input" for t in all_things(ask.first)):
                thing.keys.add("pointer")
            if name == "setdefault" and len(ask.given) > 1:
                self.keep(thing.name, ask.given[1], ask.state, thing.line)
        return Value(None, base.things, base.tags | {"state"})

    def _appended(self, base: Value, caches: list[Thing], ask: Ask) -> Value:
        for thing in caches:
            for value in ask.given:
                self.keep(thing.name, value, ask.state, ask.node.lineno)
        func = ask.node.func
        if caches or not isinstance(func, ast.Attribute) or not isinstance(func.value, ast.Name):
            return UNKNOWN
        if base.items is not None and len(base.items) < 64 and func.attr == "append":
            ask.state.env[func.value.id] = plain(items=(*base.items, *ask.given))
            return UNKNOWN
        refs = [v.ref for v in ask.given if v.ref is not None]
        things = things_of(base, *ask.given)
        ask.state.env[func.value.id] = Value(None, things, ref=refs[0] if refs else base.ref)
        return UNKNOWN

    def _overwritten(self, base: Value, by: frozenset[Thing], ask: Ask) -> Value:
        for thing in base.things:
            _change(ask.state, thing, by)
            if thing.origin == "input":
                self.note("K35", "suspicious", ask.node)
        return base

    def _tensor_method(self, base: Value, name: str, ask: Ask) -> Value:
        kind = names.method_kind(name)
        if kind is None:
            return self.unknown(ask)
        if kind[0] == "neutral":
            return Value(base.tensor, all_things(base), base.tags)
        if kind[0] != "compute":
            return _moved(kind[0], name, ask)
        if base.tensor is not True and not base.things and kind[1] in _SOFT:
            return UNKNOWN
        made = self.compute(ask.state, ask.node, (name, kind[1], "method"), ask.every)
        _into_out(ask, made)
        if name.endswith("_") and not name.endswith("__"):
            self._overwritten(base, made.things, ask)
            return tensor(base.things | made.things)
        return made


def _change(state: State, thing: Thing, by: frozenset[Thing]) -> None:
    state.changed[thing] = state.changed.get(thing, NO_THINGS) | by


def _route(path: str) -> str:
    hidden = path.startswith(("torch.ops.", "torch._C", "torch.Tensor.")) or "__" in path
    return "hidden" if hidden else "plain"


def _into_out(ask: Ask, made: Value) -> None:
    for thing in all_things(ask.named.get("out", UNKNOWN)):
        _change(ask.state, thing, made.things)


def _length(ask: Ask) -> Value:
    ranked = "shape" in ask.first.tags and not ask.first.tensor
    return plain(tags=frozenset({"rank" if ranked else "shape"}))


def _passed(name: str, given: list[Value]) -> Value:
    tags, things = tags_of(*given), things_of(*given)
    if name in {"hash", "range"}:
        return plain(tags=tags | {"hash"} if name == "hash" else tags)
    if name == "enumerate" and given:
        return plain(items=(plain(items=(SCALAR, element(given[0]))),))
    if name == "zip" and given:
        return plain(items=(plain(items=tuple(element(v) for v in given)),))
    if len(given) != 1:
        return Value(given[0].tensor if given else None, things, tags)
    only = given[0]
    if name in {"list", "tuple"} and only.items is not None:
        return plain(things, tags, only.items)
    ref = only.ref if name in {"iter", "next", "list"} else None
    const = only.const if name in {"int", "bool", "float"} else ...
    return Value(only.tensor, things, tags, None, ref, const)


def _make_layer(layer: tuple[str, str], ask: Ask) -> Value:
    name, group = layer
    if name not in {"Sequential", "ModuleList"}:
        return plain(ref=f"layer:{name}:{group}:{ask.node.lineno}")
    one = len(ask.given) == 1
    if one and name == "ModuleList" and not ask.first.items:
        return plain(ask.first.things, ref=ask.first.ref)
    items = ask.first.items if one and ask.first.ref is None else tuple(ask.given)
    return plain(items=items, ref=f"layer:{name}:")


def _moved(kind: names.Kind, name: str, ask: Ask) -> Value:
    things = things_of(*ask.every)
    line = ask.node.lineno
    if kind == "view":
        first = ask.first
        known = None if first.tensor is False else True
        return Value(known, all_things(first), first.tags - {"shape"})
    if kind in {"empty", "filled"} and any(t.origin == "table" for t in things):
        return tensor(frozenset({Thing("table", line)}))
    if kind == "empty":
        return tensor(frozenset({Thing("empty", line, name=name)}))
    if kind == "filled":
        sources = things if name in {"as_tensor", "tensor", "from_numpy"} else NO_THINGS
        return tensor(frozenset({Thing("torch" if sources else "filled", line, sources, name)}))
    return tensor(frozenset({Thing("random" if kind == "random" else "copy", line, things, name)}))


def _own_method(owner: Instance, ask: Ask) -> Value:
    """Return the result of a method that PyTorch's module class gives to an object."""
    func = ask.node.func
    registers = isinstance(func, ast.Attribute) and func.attr.startswith("register_")
    if registers and len(ask.given) > 1 and isinstance(ask.first.const, str):
        weight = Thing("weight", 0, all_things(ask.given[1]), ask.first.const)
        held = tensor(frozenset({weight}), frozenset({"weight"}))
        ask.state.attributes[id(owner), ask.first.const] = held
    things = things_of(*ask.every)
    return Value(None, frozenset({Thing("unknown", 0, things)}) if things else NO_THINGS)


def _neutral(path: str, given: list[Value]) -> Value:
    last = path.rpartition(".")[2]
    if last in {"is_grad_enabled", "is_inference_mode_enabled"}:
        return plain(tags=frozenset({"grad"}))
    if last in {"numel", "size"}:
        return plain(tags=frozenset({"shape"}))
    if last in {"is_floating_point", "is_complex", "finfo"}:
        return plain(tags=frozenset({"dtype"}))
    if path.startswith(("torch.cuda.", "torch.backends.", "torch.version.")):
        return plain(tags=frozenset({"device"}))
    return Value(None, things_of(*given))
