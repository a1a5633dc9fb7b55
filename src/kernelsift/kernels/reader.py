"""Reads a module class like an interpreter that knows no numbers: constructor first, then forward.

What the constructor makes is remembered (layers, parameters, constants); what forward does becomes
numbered steps. Methods, functions and module classes of the same file are followed.
"""

import ast
from dataclasses import replace

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.expressions import Expressions, Scope
from kernelsift.kernels.statements import held_as, run
from kernelsift.kernels.values import (
    Block,
    Code,
    Layer,
    Script,
    Value,
    listed,
    moved,
    of_kind,
    words,
)

MAX_DEPTH = 12
_SAME = frozenset({
    "contiguous", "cuda", "cpu", "clone", "detach", "to", "requires_grad_", "data", "item",
    "tolist", "numpy", "apply", "eval", "train", "to_dense", "coalesce", "type_as",
    "size_average", "retain_grad", "xavier_uniform_", "Variable", "checkpoint",
    "save_for_backward", "mark_dirty", "mark_non_differentiable", "set_materialize_grads",
})  # fmt: skip
_BUILTIN = {
    "len": "the length of {}",
    "int": "{} as a whole number",
    "float": "{}",
    "bool": "whether {}",
    "abs": "the absolute value of {}",
    "round": "{} rounded",
    "range": "the range of {}",
    "isinstance": "{} has the expected type",
    "hasattr": "{} is there",
    "sqrt": "sqrt({})",
    "exp": "exp({})",
    "log": "log({})",
    "floor": "floor({})",
    "ceil": "ceil({})",
    "pow": "power({})",
    "prod": "the product of {}",
    "min": "min({})",
    "max": "max({})",
}
_PLAIN = frozenset({
    "list",
    "tuple",
    "reversed",
    "enumerate",
    "zip",
    "sum",
    "dict",
    "sorted",
    "map",
})


class Reader(Expressions):
    """Reads one class. Blocks inside it get readers of their own that share the script."""

    def __init__(
        self,
        script: Script,
        module_names: Scope,
        classes: dict[str, ast.ClassDef],
        node: ast.ClassDef,
        depth: int = 0,
    ) -> None:
        super().__init__(script, module_names)
        self.classes = classes
        self.node = node
        self.depth = depth

    # ---- constructors ---------------------------------------------------------------------------

    def construct(self, arguments: Scope) -> None:
        """Read `__init__` for what it makes. `arguments` are what the caller gives by name."""
        init = self.method("__init__")
        self.script.silent += 1
        for one in self.node.body:
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant):
                names = [t.id for t in one.targets if isinstance(t, ast.Name)]
                self.attributes.update(dict.fromkeys(names, self.value(one.value, {})))
        if init:
            scope = dict(arguments)
            run(self, init.body, scope)
        self.script.silent -= 1

    def method(self, name: str, node: ast.ClassDef | None = None) -> ast.FunctionDef | None:
        """Return a method of the class or of its bases in the file."""
        node = node or self.node
        found = source.method(node, name)
        for base in [] if found else node.bases:
            parent = self.classes.get(source.dotted(base))
            if parent and parent is not node and (found := self.method(name, parent)):
                break
        return found

    def make(self, node: ast.Call, scope: Scope) -> Value | None:
        """Return what a constructor call makes: a layer, a block, a list of them; or None."""
        name = source.dotted(node.func)
        last = name.rpartition(".")[2]
        if last in self.classes:
            return self._block(self.classes[last], node, scope)
        if last in {"Sequential", "ModuleList", "ParameterList"}:
            return self._container(node, scope)
        if last == "Parameter":
            shown = self.value(node.args[0], scope).text if node.args else "given data"
            return Value("a parameter", tensor=True, origin=f"at first {shown}")
        known = operations.layer(last)
        if known is None and not (name.startswith(("nn.", "torch.nn.")) and last[:1].isupper()):
            return None
        return Value(words(last), thing=Layer("", last, known, self._settings(known, node, scope)))

    def _settings(self, known: operations.Operation | None, node: ast.Call, scope: Scope) -> str:
        names = known.parameters if known else ()
        texts = [self.value(a, scope).text for a in node.args]
        parts = [f"{n} = {t}" for n, t in zip(names, texts, strict=False)] + texts[len(names) :]
        given = [(k.arg, self.value(k.value, scope).text) for k in node.keywords if k.arg]
        parts += [f"{name} = {text}" for name, text in given if name != "inplace"]
        return ", ".join(part for part in parts if not part.startswith("inplace"))

    def _block(self, node: ast.ClassDef, call: ast.Call, scope: Scope) -> Value:
        if self.depth >= MAX_DEPTH or node is self.node:
            return Value(f"a {words(node.name)} block")
        inner = Reader(self.script, self.globals, self.classes, node, self.depth + 1)
        init = inner.method("__init__")
        inner.construct(self._arguments(init, call, scope) if init else {})
        return Value(f"a {words(node.name)} block", thing=Block("", node, inner.attributes))

    def _container(self, node: ast.Call, scope: Scope) -> Value:
        values = [self.value(argument, scope) for argument in node.args]
        if len(values) == 1 and values[0].items is not None and values[0].thing is None:
            held = values[0]
            if held.repeated and held.items:
                return replace(held, items=(moved(held.items[0], "<number>"),))
            values = list(held.items or ())
            if any(isinstance(v.thing, Layer | Block) and v.thing.path for v in values):
                return held  # an ordered dictionary: the keys are the places
        return listed([moved(value, str(number)) for number, value in enumerate(values)])

    def _arguments(
        self,
        function: ast.FunctionDef | ast.Lambda,
        call: ast.Call,
        scope: Scope,
        *,
        bound: bool = True,
    ) -> Scope:
        """Return the parameters of a function with what a call gives them, or their defaults."""
        names = [a.arg for a in function.args.args][1 if bound else 0 :]
        given: Scope = {}
        defaults = function.args.defaults
        for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=False):
            given[name] = self.value(default, {})
        given.update(zip(names, [self.value(a, scope) for a in call.args], strict=False))
        for default_arg, value in zip(
            function.args.kwonlyargs, function.args.kw_defaults, strict=True
        ):
            given[default_arg.arg] = self.value(value, {}) if value else Value("a value")
        for keyword in call.keywords:
            if keyword.arg:
                given[keyword.arg] = self.value(keyword.value, scope)
        return given

    def bind(self, target: ast.expr, value: Value, scope: Scope) -> None:
        """Give a name its value; what is held as an attribute learns its place."""
        if isinstance(target, ast.Attribute) and source.dotted(target) == f"self.{target.attr}":
            value = held_as(target.attr, value)
            kept = self.attributes.get(target.attr)
            if self.script.silent and kept and (kept.thing or kept.tensor) and not value.thing:
                return
        super().bind(target, value, scope)

    # ---- calls ----------------------------------------------------------------------------------

    def call(self, node: ast.Call, scope: Scope) -> Value:
        """Return the result of a call."""
        func = node.func
        made = self.make(node, scope)
        if made:
            return made
        if isinstance(func, ast.Name):
            return self._named(func.id, node, scope)
        if not isinstance(func, ast.Attribute):
            return self._apply(self.value(func, scope), node, scope)
        name = source.dotted(func)
        if func.attr == "apply" and (done := self._autograd(name, node, scope)):
            return done
        if name == f"self.{func.attr}":
            return self._own(func.attr, node, scope)
        if isinstance(func.value, ast.Call) and source.dotted(func.value.func) == "super":
            return self._inherited(func.attr, node, scope)
        root = name.partition(".")[0]
        module = bool(root) and root != "self" and root not in scope and root not in self.globals
        if module:
            return self._library(func.attr, node, scope, math=root in {"math", "np", "numpy"})
        return self._on_value(self.value(func.value, scope), func.attr, node, scope)

    def _autograd(self, name: str, node: ast.Call, scope: Scope) -> Value | None:
        """Read `F.apply(…)`, where F is an autograd function of the file; None where it is not."""
        owner = self.classes.get(name.removesuffix(".apply"))
        forward = self.method("forward", owner) if owner else None
        if forward is None:
            return None
        values, named = self._given(node, scope)
        return self.follow(forward, ([Value("the context"), *values], named), bound=False)

    def _given(self, node: ast.Call, scope: Scope) -> tuple[list[Value], dict[str, Value]]:
        named = {k.arg: self.value(k.value, scope) for k in node.keywords if k.arg}
        return [self.value(argument, scope) for argument in node.args], named

    def _named(self, name: str, node: ast.Call, scope: Scope) -> Value:
        known = scope.get(name) or self.globals.get(name)
        if known:
            return self._apply(known, node, scope)
        return self._library(name, node, scope, math=name in _BUILTIN)

    def _library(self, name: str, node: ast.Call, scope: Scope, *, math: bool) -> Value:
        values, named = self._given(node, scope)
        tensor = any(value.tensor for value in [*values, *named.values()])
        if math and name in _BUILTIN and not (tensor and name in {"abs", "exp", "log", "sqrt"}):
            text = ", ".join(value.text for value in values)
            return Value(_BUILTIN[name].format(text), tensor and name in {"min", "max", "float"})
        if name == "OrderedDict":
            pairs = (values[0].items or ()) if values else ()
            return listed([moved(p.items[1], p.items[0].text.strip('"')) for p in pairs if p.items])
        if name == "float" and values and values[0].text.strip('"-') == "inf":
            return Value(values[0].text.strip('"').replace("inf", "infinity"))
        if name in _PLAIN:
            return self._plain(name, values)
        if name in _SAME and values:
            return values[0]
        if known := operations.function(name):
            return self.operate(known, values, named)
        return self._unknown(name, [*values, *named.values()], tensor=tensor)

    def _plain(self, name: str, values: list[Value]) -> Value:
        if not values:
            return listed([])
        if name == "zip":
            return Value(f"pairs from {' and '.join(v.text for v in values)}", values[0].tensor)
        if name == "sum":
            return self.script.step(f"Sum up {values[0].text}")
        if name == "enumerate":
            items = values[0].items or ()
            if items and not values[0].repeated:
                numbered = [listed([Value(str(n)), item]) for n, item in enumerate(items)]
                return listed(numbered)
            return Value(f"the numbered elements of {values[0].text}", values[0].tensor)
        return values[-1]

    def _unknown(self, name: str, values: list[Value], *, tensor: bool) -> Value:
        shown = ", ".join(value.text for value in values)
        on = f" to {shown}" if shown else ""
        return (
            self.script.step(f"Apply the operation “{words(name)}”{on}")
            if tensor
            else Value(f"{words(name)} of {shown}" if shown else words(name))
        )

    def _on_value(self, base: Value, name: str, node: ast.Call, scope: Scope) -> Value:
        if name in {"size", "dim", "numel", "nelement", "ndimension", "get", "keys", "values"}:
            arguments = [self.value(a, scope).text for a in node.args]
            return Value(_measured(name, base.text, arguments))
        if name in _SAME:
            return base
        if name == "items" and base.items is None:
            return Value(f"the entries of {base.text}")
        if name == "forward" and (base.thing or base.items is not None):
            return self._apply(base, node, scope)
        values, named = self._given(node, scope)
        known = operations.function(name)
        if known and (base.tensor or known.group not in {"shape", "reduction"}):
            return self.operate(known, [base, *values], named)
        if isinstance(base.thing, Block):
            inner = Reader(self.script, self.globals, self.classes, base.thing.node, self.depth + 1)
            inner.attributes = base.thing.attributes
            return inner._own(name, node, scope, values=(values, named))
        every = [base, *values, *named.values()]
        return self._unknown(name, every, tensor=any(value.tensor for value in every))

    def _own(
        self,
        name: str,
        node: ast.Call,
        scope: Scope,
        values: tuple[list[Value], dict[str, Value]] | None = None,
    ) -> Value:
        held = self.attributes.get(name)
        if held:
            return self._apply(held, node, scope)
        function = self.method(name)
        given = values or self._given(node, scope)
        if function is None or self.depth >= MAX_DEPTH:
            tensor = any(value.tensor for value in given[0])
            return self._unknown(name, given[0], tensor=tensor)
        static = any(source.dotted(d) == "staticmethod" for d in function.decorator_list)
        return self.follow(function, given, bound=not static)

    def _inherited(self, name: str, node: ast.Call, scope: Scope) -> Value:
        """Read `super().name(…)`: a class of the file, or the layer that the class extends."""
        given = self._given(node, scope)
        for base in self.node.bases:
            parent = self.classes.get(source.dotted(base))
            function = self.method(name, parent) if parent else None
            if function:
                return self.follow(function, given, bound=True)
            last = source.dotted(base).rpartition(".")[2]
            if operations.layer(last) and name == "__init__":
                maker = ast.Call(ast.Name(last, ast.Load()), node.args, node.keywords)
                self.attributes["super"] = self.make(maker, scope) or Value(last)
            elif name == "forward" and "super" in self.attributes:
                return self.apply_to(self.attributes["super"], *given)
        return Value("nothing")

    def follow(
        self,
        function: ast.FunctionDef | ast.Lambda,
        given: tuple[list[Value], dict[str, Value]],
        *,
        bound: bool,
    ) -> Value:
        """Read the body of a function of the file as if it stood at the call."""
        if self.depth >= MAX_DEPTH:
            return Value("the result of a deeper call", tensor=True)
        empty = ast.Call(ast.Name("f", ast.Load()), [], [])
        scope = self._arguments(function, empty, {}, bound=bound)
        names = [a.arg for a in function.args.args][1 if bound else 0 :]
        scope.update(zip(names, given[0], strict=False))
        scope.update(given[1])
        if function.args.vararg:
            scope[function.args.vararg.arg] = listed(given[0][len(names) :])
        if isinstance(function, ast.Lambda):
            return self.value(function.body, scope)
        self.depth += 1
        kept, self.returned = self.returned, []
        run(self, function.body, scope)
        result = self.returned[-1] if self.returned else Value("nothing")
        self.depth -= 1
        self.returned = kept
        return result

    def _apply(self, called: Value, node: ast.Call, scope: Scope) -> Value:
        values, named = self._given(node, scope)
        return self.apply_to(called, values, named)

    def apply_to(self, called: Value, values: list[Value], named: dict[str, Value]) -> Value:
        """Call a layer, a block, a chain of them or a function."""
        if isinstance(called.thing, Code):
            return self.follow(called.thing.node, (values, named), bound=False)
        if isinstance(called.thing, Block):
            return self._enter(called.thing, values, named)
        shown = " and ".join(v.text for v in [*values, *named.values()]) or "the input"
        if isinstance(called.thing, Layer):
            return self.script.step(_layer_sentence(called.thing, shown))
        if called.items and called.repeated and called.items[0].thing:
            self.script.say(f"In turn, for each of {called.text}:")
            return self.apply_to(called.items[0], values, named)
        if called.items is not None:
            for item in called.items:
                values = [self.apply_to(item, values, named)]
            return values[0] if values else Value("nothing")
        return self._unknown(called.text, values, tensor=any(v.tensor for v in values))

    def _enter(self, block: Block, values: list[Value], named: dict[str, Value]) -> Value:
        inner = Reader(self.script, self.globals, self.classes, block.node, self.depth + 1)
        inner.attributes = dict(block.attributes)
        forward = inner.method("forward")
        if forward is None or self.depth >= MAX_DEPTH:
            tensor = any(value.tensor for value in values)
            return self._unknown(block.node.name, values, tensor=tensor)
        return inner.follow(forward, (values, named), bound=True)


def _layer_sentence(layer: Layer, shown: str) -> str:
    settings = f" ({layer.settings})" if layer.settings else ""
    if layer.operation is None:
        return f"Apply {words(layer.name)}{settings} to {shown}"
    where = f" `{layer.path}`" if layer.learnable and layer.path else ""
    return f"Apply {of_kind(layer.operation)}{where}{settings} to {shown}"


def _measured(name: str, base: str, arguments: list[str]) -> str:
    if name == "size":
        return f"dimension {arguments[0]} of {base}" if arguments else f"the shape of {base}"
    said = {"dim": "the number of dimensions of", "ndimension": "the number of dimensions of"}
    said |= {"numel": "the number of elements of", "nelement": "the number of elements of"}
    return f"{said.get(name, words(name) + ' of')} {base}"
