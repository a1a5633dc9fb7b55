"""Looks up names and attributes of host code, and notes what computes outside kernels."""

import ast

from kernelsift.kernels.static.lasting import changing_globals
from kernelsift.kernels.static.program import Func, Klass, Program
from kernelsift.kernels.static.values import (
    NO_TAGS,
    UNKNOWN,
    Compute,
    Instance,
    State,
    Tag,
    Thing,
    Value,
    merged,
    plain,
    tensor,
    things_of,
)

_META: dict[str, Tag] = {
    "shape": "shape",
    "ndim": "rank",
    "dtype": "dtype",
    "device": "device",
    "is_cuda": "device",
    "is_cpu": "device",
    "requires_grad": "grad",
    "grad_fn": "grad",
    "is_leaf": "grad",
    "layout": "dtype",
    "itemsize": "dtype",
    "_version": "pointer",
    "is_sparse": "dtype",
    "names": "dtype",
    "in_features": "rank",
    "out_features": "rank",
    "nbytes": "shape",
}


class Lookup:
    """Knows what names mean. Evaluation is left to the next layer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.literals: set[int] = set()
        self.called: list[Compute] = []
        self.changing_globals = changing_globals(program)
        self.caches: dict[str, Thing] = {}
        self._globals: dict[str, Value] = {}

    def value(self, node: ast.expr, state: State) -> Value:
        raise NotImplementedError

    def compute(
        self, state: State, node: ast.AST, done: tuple[str, str, str], given: list[Value]
    ) -> Value:
        """Note a computation outside kernels and return its result.

        `done` is its name, its group and its route (see `Compute`).
        """
        name, group, route = done
        line = getattr(node, "lineno", 0)
        things = things_of(*given)
        made = Thing("array" if route == "array" else "torch", line, things, name, group=group)
        noted = Compute(name, line, group, route, made, getattr(node, "col_offset", 0))
        state.computes += (noted,)
        self.called.append(noted)
        tags: frozenset[Tag] = frozenset({"value"}) if things else NO_TAGS
        return tensor(frozenset({made}), tags)

    # ---- names ----------------------------------------------------------------------------------

    def name_value(self, node: ast.Name, state: State) -> Value:
        if node.id in state.env:
            return state.env[node.id]
        return self.global_value(node.id)

    def global_value(self, name: str) -> Value:
        """Return what a name of the module means."""
        if name in self._globals:
            return self._globals[name]
        self._globals[name] = UNKNOWN
        self._globals[name] = found = self._find_global(name)
        return found

    def _find_global(self, name: str) -> Value:
        program = self.program
        if name in self.changing_globals:
            return self.cached(name, 0)
        if name in program.kernels:
            return plain(ref=program.kernels[name])
        if name in program.functions and name not in program.globals:
            return plain(ref=program.functions[name])
        if name in program.classes:
            return plain(ref=program.classes[name])
        if known := program.names.get(name):
            return plain(ref=known)
        values = program.globals.get(name)
        if values:
            return merged([self.value(v, State()) for v in values[:3]])
        if name in program.functions:
            return plain(ref=program.functions[name])
        return Value(None, ref=program.resolve(ast.Name(name, ast.Load())) or None)

    def cached(self, name: str, line: int) -> Value:
        """Return a value that an earlier call may have left."""
        thing = self.caches.setdefault(name, Thing("cache", line, name=name))
        return Value(None, frozenset({thing}), frozenset({"state"}))

    # ---- attributes -----------------------------------------------------------------------------

    def attribute(self, node: ast.Attribute, state: State) -> Value:
        base = self.value(node.value, state)
        return self.part(base, node, state)

    def part(self, base: Value, node: ast.Attribute, state: State) -> Value:
        """Return `base.attr`."""
        name = node.attr
        if isinstance(base.ref, Instance):
            return self._own(base, base.ref, node, state)
        if isinstance(base.ref, Klass):
            return self._of_class(base, base.ref, name, state)
        if isinstance(base.ref, str) and base.tensor is not True:
            return self._of_path(base.ref, name)
        if isinstance(base.ref, Func):
            held = self.cached(f"{base.ref.name}.{name}", node.lineno)
            return held if not base.ref.kernel else plain(ref=base.ref, bound=None)
        if name in _META and base.tensor is not False:
            return plain(tags=frozenset({_META[name]}) | (base.tags & {"weight"}))
        if name in {"T", "mT", "data", "H", "real", "imag", "grad"} and base.tensor is not False:
            return Value(base.tensor, base.things)
        return Value(None, base.things, base.tags, ref=f"?.{name}", bound=base)

    def _of_path(self, path: str, name: str) -> Value:
        if path.startswith("layer:"):
            weight = name in {"weight", "bias", "running_mean", "running_var"}
            if weight or name.startswith(("weight_", "bias_")):
                thing = self.caches.setdefault(
                    f"{path}.{name}", Thing("weight", 0, name=f"{path}.{name}")
                )
                return tensor(frozenset({thing}), frozenset({"weight"}))
            if name == "training":
                return plain(tags=frozenset({"training"}))
            return plain(ref="" if name != "forward" else path)
        full = f"{path}.{name}"
        tags: tuple[Tag, ...] = ("env",) if full in {"os.environ", "sys.argv"} else ()
        return plain(tags=frozenset(tags), ref=full)

    def _of_class(self, base: Value, klass: Klass, name: str, state: State) -> Value:
        if name == "apply" and (forward := self.find_method(klass, "forward")):
            context = plain(ref=Instance(klass))
            return plain(ref=forward, bound=context)
        if found := self.find_method(klass, name):
            return plain(ref=found)
        if name in klass.values:
            return self.value(klass.values[name], state.fork())
        return self.cached(f"{klass.name}.{name}", 0) if name[:2] != "__" else base

    def _own(self, base: Value, owner: Instance, node: ast.Attribute, state: State) -> Value:
        name, key = node.attr, (id(owner), node.attr)
        if key in state.attributes:
            return state.attributes[key]
        if name == "training":
            return plain(tags=frozenset({"training"}))
        if found := self.find_method(owner.klass, name):
            static = isinstance(found.node, ast.FunctionDef) and any(
                isinstance(d, ast.Name) and d.id == "staticmethod"
                for d in found.node.decorator_list
            )
            return plain(ref=found, bound=None if static else base)
        if name in owner.changing:
            return self.cached(f"self.{name}", node.lineno)
        for klass in self.lineage(owner.klass):
            if name in klass.values:
                return self.value(klass.values[name], State())
        return Value(None, ref=f"?.{name}", bound=base)

    def find_method(self, klass: Klass, name: str) -> Func | None:
        """Return the method of a class or of its bases in the program."""
        return next((k.methods[name] for k in self.lineage(klass) if name in k.methods), None)

    def lineage(self, klass: Klass) -> list[Klass]:
        """Return a class and its bases in the program, nearest first."""
        found: list[Klass] = []
        todo = [klass]
        while todo and len(found) < 8:
            current = todo.pop(0)
            if current not in found:
                found.append(current)
                todo += [
                    self.program.classes[b] for b in current.bases if b in self.program.classes
                ]
        return found
