"""Evaluates calls on the host: launches, functions and classes of the program, layers, modules."""

import ast

from kernelsift.kernels.static import names
from kernelsift.kernels.static.kernel import KernelBody
from kernelsift.kernels.static.lasting import changing_attributes
from kernelsift.kernels.static.program import Func, Klass, Program
from kernelsift.kernels.static.tensors import Ask, Tensors
from kernelsift.kernels.static.values import (
    NO_THINGS,
    SCALAR,
    UNKNOWN,
    Instance,
    Launch,
    State,
    Tag,
    Thing,
    Value,
    all_things,
    joined,
    merged,
    plain,
    tags_of,
    tensor,
    things_of,
)

Outcomes = list[tuple[State, Value]]
_TOLD: tuple[tuple[tuple[str, ...], Tag], ...] = (
    (("time.", "random."), "time"),
    (("os.", "sys.", "inspect.", "traceback."), "env"),
    (("hashlib.",), "hash"),
)


class Calls(Tensors):
    """Evaluates calls. How bodies run is left to the next layer."""

    def __init__(self, program: Program, kernels: dict[str, KernelBody]) -> None:
        super().__init__(program)
        self.kernels = kernels
        self.super_calls: list[int] = []
        self.reached: set[Func] = set()
        self.launched: set[Func] = set()
        self._changing: dict[Klass, frozenset[str]] = {}

    def invoke(
        self, func: Func, given: list[Value], named: dict[str, Value], state: State
    ) -> Outcomes:
        raise NotImplementedError

    def call(self, node: ast.Call, state: State) -> Value:
        """Return the result of a call; several ways through it become one."""
        outcomes = self.outcomes(node, state)
        if not outcomes:
            return UNKNOWN
        if not (len(outcomes) == 1 and outcomes[0][0] is state):
            state.become(joined([s for s, _ in outcomes]))
        return merged([value for _, value in outcomes])

    def outcomes(self, node: ast.Call, state: State) -> Outcomes:
        """Return the ways through a call, each with its result."""
        if isinstance(node.func, ast.Subscript):
            held = self.value(node.func.value, state)
            if isinstance(held.ref, Func) and held.ref.kernel:
                grid = self.value(node.func.slice, state)
                return [(state, self._launch(held.ref, node, grid, state))]
        inherited = self._super(node, state)
        if inherited is not None:
            return inherited
        path = self.program.resolve(node)
        if path and path != "?":
            return [(state, plain(ref=path))]
        called = self.value(node.func, state)
        return self._dispatch(called, node, state)

    def arguments(self, node: ast.Call, state: State) -> tuple[list[Value], dict[str, Value]]:
        """Return the values that a call gives, starred ones spread where they are known."""
        given: list[Value] = []
        for argument in node.args:
            value = self.value(argument, state)
            if isinstance(argument, ast.Starred) and value.items is not None:
                given += value.items
            else:
                given.append(value)
        named = {k.arg or "**": self.value(k.value, state) for k in node.keywords}
        return given, named

    def _dispatch(self, called: Value, node: ast.Call, state: State) -> Outcomes:
        ref = called.ref
        if isinstance(ref, Func) and ref.kernel:
            is_run = isinstance(node.func, ast.Attribute) and node.func.attr == "run"
            return [(state, self._launch(ref, node, UNKNOWN, state) if is_run else UNKNOWN)]
        ask = Ask(node, *self.arguments(node, state), state)
        if isinstance(ref, Func):
            owned = [called.bound] if called.bound else []
            return self.invoke(ref, owned + ask.given, ask.named, state)
        if isinstance(ref, Instance):
            return self._call_object(called, ref, ask)
        return [(state, self._simple(called, ask))]

    def _simple(self, called: Value, ask: Ask) -> Value:
        """Return the result of a call that has one way through."""
        ref = called.ref
        if isinstance(ref, Klass):
            return self.instantiate(ref, ask.given, ask.named, ask.state)
        if isinstance(ref, str) and ref.startswith("?."):
            return self.method(called.bound or UNKNOWN, ref[2:], ask)
        if isinstance(ref, str) and ref:
            return self._named_call(called, ref, ask)
        return self.unknown(ask)

    def _call_object(self, called: Value, ref: Instance, ask: Ask) -> Outcomes:
        forward = self.find_method(ref.klass, "forward") or self.find_method(ref.klass, "__call__")
        if forward is None:
            return [(ask.state, UNKNOWN)]
        return self.invoke(forward, [called, *ask.given], ask.named, ask.state)

    def _super(self, node: ast.Call, state: State) -> Outcomes | None:
        func = node.func
        if not isinstance(func, ast.Attribute) or not isinstance(func.value, ast.Call):
            return None
        if self.program.resolve(func.value.func) != "builtins.super":
            return None
        given, named = self.arguments(node, state)
        owner = state.env.get("self", UNKNOWN)
        if not isinstance(owner.ref, Instance):
            return [(state, UNKNOWN)]
        for klass in self.lineage(owner.ref.klass)[1:]:
            if func.attr in klass.methods:
                if func.attr in {"forward", "__call__"}:
                    self.super_calls.append(node.lineno)
                return self.invoke(klass.methods[func.attr], [owner, *given], named, state)
        if func.attr in {"forward", "__call__"}:
            return [(state, self._super_layer(owner.ref, node, given, state))]
        return [(state, UNKNOWN)]

    def _super_layer(
        self, owner: Instance, node: ast.Call, given: list[Value], state: State
    ) -> Value:
        for klass in self.lineage(owner.klass):
            for base in klass.bases:
                if layer := names.layer_kind(base):
                    return self.compute(state, node, (*layer, "module"), given)
        self.super_calls.append(node.lineno)
        return self.compute(state, node, ("super().forward", "", "super"), given)

    # ---- objects --------------------------------------------------------------------------------

    def instantiate(
        self, klass: Klass, given: list[Value], named: dict[str, Value], state: State
    ) -> Value:
        """Run a constructor of the program; return the object."""
        made = plain(ref=Instance(klass, self.changing(klass)))
        init = self.find_method(klass, "__init__")
        if init:
            outcomes = self.invoke(init, [made, *given], named, state)
            if outcomes:
                after = joined([s for s, _ in outcomes])
                state.attributes = after.attributes
        assert isinstance(made.ref, Instance)
        for name in made.ref.changing:
            state.attributes.pop((id(made.ref), name), None)
        return made

    # ---- launches -------------------------------------------------------------------------------

    def changing(self, klass: Klass) -> frozenset[str]:
        """Return the attributes that methods outside construction change, by class."""
        if klass not in self._changing:
            self._changing[klass] = changing_attributes(klass, self.program)
        return self._changing[klass]

    def _launch(self, kernel: Func, node: ast.Call, grid: Value, state: State) -> Value:
        body = self.kernels.get(kernel.name)
        given, named = self.arguments(node, state)
        self.launched.add(kernel)
        if body is None:
            return UNKNOWN
        bound = dict(zip(body.parameters, given, strict=False)) | named
        if isinstance(grid.ref, Func) and not grid.ref.kernel:
            self.invoke(grid.ref, [SCALAR], {}, state.fork())
        written = body.written()
        spread = any(isinstance(a, ast.Starred) for a in node.args) or "**" in named
        if spread or not written:
            written = dict.fromkeys(bound, "store")
        self._write(body, bound, written, Ask(node, given, named, state))
        state.launches += (Launch(kernel.name, node, bound),)
        return UNKNOWN

    def _write(
        self, body: KernelBody, bound: dict[str, Value], written: dict[str, str], ask: Ask
    ) -> None:
        reads, state = body.read(), ask.state
        read = things_of(*(v for n, v in bound.items() if n in reads or n not in written))
        for name, how in written.items():
            for thing in all_things(bound.get(name, UNKNOWN)):
                fresh = thing not in state.written and thing not in state.changed
                if thing.origin == "empty" and fresh and how == "atomic":
                    self.note("K34", "bug", ask.node)
                if thing.origin == "input":
                    self.note("K35", "suspicious", ask.node)
        for name in written:
            for thing in all_things(bound.get(name, UNKNOWN)):
                state.written[thing] = state.written.get(thing, NO_THINGS) | read

    # ---- names ----------------------------------------------------------------------------------

    def _named_call(self, called: Value, path: str, ask: Ask) -> Value:
        if path.startswith("layer:"):
            return self._layer_call(called, path, ask)
        if path.startswith("builtins."):
            return self.builtin(path[9:], ask)
        if path.startswith(names.TORCH_ROOTS):
            return self.torch(path, ask)
        if path.startswith("operator.") and any(v.tensor for v in ask.every):
            group = "matmul" if "matmul" in path else "elementwise"
            return self.compute(ask.state, ask.node, (path, group, "hidden"), ask.every)
        if path.startswith(names.ARRAY_ROOTS):
            if names.is_array_compute(path) and things_of(*ask.every):
                return self.compute(ask.state, ask.node, (path, "", "array"), ask.every)
            return Value(None, frozenset({Thing("filled", ask.node.lineno)}))
        if path.partition(".")[0] in names.LIBRARIES:
            return self.compute(ask.state, ask.node, (path, "library", "library"), ask.every)
        return _foreign(path, ask)

    def _layer_call(self, called: Value, path: str, ask: Ask) -> Value:
        _, layer, group = path.split(":")[:3]
        if called.items is not None:
            held = ask.first
            for item in called.items[:64]:
                held = self._apply(item, Ask(ask.node, [held], {}, ask.state))
            return held
        if layer in {"Sequential", "ModuleList"} or group == "shape":
            return tensor(frozenset({Thing("copy", ask.node.lineno, things_of(*ask.given))}))
        if group == "random":
            return tensor(frozenset({Thing("random", ask.node.lineno, all_things(ask.first))}))
        return self.compute(ask.state, ask.node, (layer, group, "module"), ask.given)

    def _apply(self, layer: Value, ask: Ask) -> Value:
        if isinstance(layer.ref, str) and layer.ref.startswith("layer:"):
            return self._layer_call(layer, layer.ref, ask)
        if isinstance(layer.ref, Instance):
            outcomes = self._call_object(layer, layer.ref, ask)
            if outcomes:
                ask.state.become(joined([s for s, _ in outcomes]))
                return merged([v for _, v in outcomes])
        return UNKNOWN


def _foreign(path: str, ask: Ask) -> Value:
    """Return what a function of another package may give."""
    tags, things = tags_of(*ask.every), things_of(*ask.every)
    for prefixes, tag in _TOLD:
        if path.startswith(prefixes):
            tags |= {tag}
    if path.startswith(("math.", "triton.")):
        return plain(things, tags)
    made = Thing("unknown", ask.node.lineno, things)
    return Value(None, frozenset({made}) if things else NO_THINGS, tags)
