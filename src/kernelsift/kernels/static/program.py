"""An index of one program: functions, classes, kernels, imports, and what a dotted name means."""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kernelsift import source
from kernelsift.kernels.metrics import is_kernel

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Node = TypeVar("Node", bound=ast.AST)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BUILTINS = frozenset(dir(builtins))
_TEXT_LIMIT = 400
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_LEAVES = frozenset({ast.Name, ast.Constant, ast.Pass, ast.Global, ast.Nonlocal, ast.alias})
_ENTERED = frozenset({*_FUNCTIONS, ast.ClassDef, ast.If, ast.Assign})
_NO_NODES = frozenset([
    "ctx",
    "op",
    "ops",
    "id",
    "attr",
    "name",
    "names",
    "arg",
    "module",
    "level",
    "kind",
    "asname",
    "type_comment",
    "conversion",
    "is_async",
    "simple",
    "type_ignores",
    "rest",
    "kwd_attrs",
])
_JIT = ("triton.jit", "triton.runtime.jit.jit", "triton.runtime.jit")


@dataclass(eq=False, slots=True)
class Func:
    """A function of the program."""

    node: Function
    name: str
    owner: "Klass | None" = None
    outer: "Func | None" = None
    kernel: bool = False
    """It, or the function around it, is compiled by Triton."""

    @property
    def line(self) -> int:
        return self.node.lineno


@dataclass(eq=False, slots=True)
class Klass:
    """A class of the program."""

    node: ast.ClassDef
    name: str
    bases: tuple[str, ...] = ()
    methods: dict[str, Func] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    """What the class body assigns."""


@dataclass(slots=True)
class Place:
    """Where a node stands."""

    func: Func | None
    klass: Klass | None
    main: bool
    """Inside `if __name__ == "__main__"`."""


class Program:
    """The index. Building it visits every node once, without recursion."""

    def __init__(self, code: str, tree: ast.Module) -> None:
        self.lines = code.splitlines()
        self.tree = tree
        self.nodes: dict[type[ast.AST], list[tuple[Any, Place]]] = {}
        self.functions: dict[str, Func] = {}
        self.classes: dict[str, Klass] = {}
        self.kernels: dict[str, Func] = {}
        self.by_node: dict[ast.AST, Func] = {}
        self.globals: dict[str, list[ast.expr]] = {}
        self.names: dict[str, str] = {}
        self.order: list[ast.AST] = []
        self._depths: list[int] = []
        self._at: dict[ast.AST, int] = {}
        self._inside: dict[ast.AST, list[ast.AST]] = {}
        self._walk(tree)
        self._read_imports()
        self._read_globals()
        for klass in self.classes.values():
            klass.bases = tuple(self.resolve(b) or source.dotted(b) for b in klass.node.bases)

    def of(self, kind: type[Node]) -> Iterator[tuple[Node, Place]]:
        """Yield the nodes of exactly this type, in order of the source."""
        yield from self.nodes.get(kind, ())

    def evidence(self, line: int) -> str:
        """Return a line of the source, stripped and cut."""
        return self.lines[line - 1].strip()[:160] if 0 < line <= len(self.lines) else ""

    def inside(self, node: ast.AST) -> list[ast.AST]:
        """Return a node and all below it, in order of the source (operators left out)."""
        found = self._inside.get(node)
        if found is None:
            found = self._inside[node] = self._below(node)
        return found

    def _below(self, node: ast.AST) -> list[ast.AST]:
        start = self._at.get(node)
        if start is None:
            return list(ast.walk(node))
        depth, end = self._depths[start], start + 1
        while end < len(self.order) and self._depths[end] > depth:
            end += 1
        return self.order[start:end]

    def _walk(self, tree: ast.Module) -> None:
        nodes, order, depths = self.nodes, self.order, self._depths
        stack: list[tuple[ast.AST, Place, int]] = [(tree, Place(None, None, main=False), 0)]
        while stack:
            node, place, depth = stack.pop()
            kind = type(node)
            pair = (node, place)
            if kind in nodes:
                nodes[kind].append(pair)
            else:
                nodes[kind] = [pair]
            self._at[node] = len(order)
            order.append(node)
            depths.append(depth)
            if kind in _LEAVES:
                continue
            inner = self._enter(node, place) if kind in _ENTERED else place
            depth += 1
            for name in _child_fields(kind):
                child = getattr(node, name, None)
                if type(child) is list:
                    stack.extend([(c, inner, depth) for c in reversed(child) if c is not None])
                elif child is not None:
                    stack.append((child, inner, depth))

    def _enter(self, node: ast.AST, place: Place) -> Place:
        if isinstance(node, _FUNCTIONS):
            return Place(self._function(node, place), None, place.main)
        if isinstance(node, ast.ClassDef):
            klass = Klass(node, node.name)
            if node.name not in self.classes or place.func is None:
                self.classes[node.name] = klass
            return Place(place.func, klass, place.main)
        if isinstance(node, ast.If) and _is_main_guard(node.test):
            return Place(place.func, place.klass, main=True)
        if isinstance(node, ast.Assign) and place.klass and place.func is None:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    place.klass.values[target.id] = node.value
        return place

    def _function(self, node: Function, place: Place) -> Func:
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        inside = bool(place.func and place.func.kernel)
        func = Func(node, name, place.klass, place.func, kernel=inside or is_kernel(node))
        self.by_node[node] = func
        if isinstance(node, ast.Lambda):
            return func
        if is_kernel(node):
            self.kernels[name] = func
            if place.klass:
                place.klass.methods[name] = func
        elif place.klass and not place.main:
            place.klass.methods[name] = func
        elif place.func is None or name not in self.functions:
            self.functions[name] = func
        return func

    def _read_imports(self) -> None:
        for imported, _ in self.of(ast.Import):
            for alias in imported.names:
                root = alias.name.partition(".")[0]
                self.names[alias.asname or root] = alias.name if alias.asname else root
        for found, _ in self.of(ast.ImportFrom):
            for alias in found.names:
                self.names[alias.asname or alias.name] = f"{found.module or ''}.{alias.name}"

    def _read_globals(self) -> None:
        for node, place in self.of(ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    if place.func is None and place.klass is None and not place.main:
                        self.globals.setdefault(target.id, []).append(node.value)
                    if target.id not in self.names and (known := self._alias(node.value)):
                        self.names[target.id] = known
                        self._made_kernel(target.id, node.value)
                    elif place.func is None:
                        self._made_kernel(target.id, node.value)

    def _alias(self, value: ast.expr) -> str:
        if not isinstance(value, ast.Attribute | ast.Name | ast.Call | ast.Subscript):
            return ""
        known = self.resolve(value)
        return "" if known.startswith("builtins.") else known

    def _made_kernel(self, name: str, value: ast.expr) -> None:
        """Note `k = triton.jit(f)`, `k = triton.autotune(…)(jitted)` and `async_compile.triton`."""
        if not isinstance(value, ast.Call):
            return
        last = value.args[-1] if value.args else None
        wrapped = last.id if isinstance(last, ast.Name) else ""
        called = value.func.func if isinstance(value.func, ast.Call) else value.func
        path = self.resolve(called)
        if wrapped in self.kernels and path.startswith("triton."):
            self.kernels[name] = self.kernels[wrapped]
        elif wrapped in self.functions and path in _JIT:
            func = self.functions.pop(wrapped)
            func.kernel = True
            self.kernels[name] = self.kernels[wrapped] = func
        elif source.dotted(value.func).endswith("async_compile.triton"):
            self._compiled_text(name, value)

    def _compiled_text(self, name: str, value: ast.Call) -> None:
        text = self.text(value.args[1]) if len(value.args) > 1 else None
        tree = source.parse(text) if text else None
        for node in ast.walk(tree) if tree else ():
            if is_kernel(node) and isinstance(node, ast.FunctionDef):
                ast.increment_lineno(node, value.lineno - node.lineno)
                self.kernels[name] = Func(node, name, kernel=True)

    # ---- names ----------------------------------------------------------------------------------

    def resolve(self, node: ast.expr) -> str:
        """Return what an expression names (`torch.nn.functional.relu`, `builtins.open`), or ""."""
        if isinstance(node, ast.Name):
            return self._resolve_name(node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return f"{base}.{node.attr}" if base else ""
        if isinstance(node, ast.Call):
            return self._resolve_call(node)
        if isinstance(node, ast.Subscript):
            return self._resolve_item(node)
        return ""

    def _resolve_name(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        own = name in self.functions or name in self.classes or name in self.globals
        return f"builtins.{name}" if name in _BUILTINS and not own else ""

    def _resolve_call(self, node: ast.Call) -> str:
        if not node.args or len(node.args) > 3:
            return ""
        called = self.resolve(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
        if called == "builtins.getattr" and len(node.args) > 1:
            base = self.resolve(node.args[0])
            name = self.text(node.args[1])
            return f"{base}.{name or '?'}" if base else ""
        if called in {"builtins.__import__", "importlib.import_module"}:
            return self.text(node.args[0]) or "?"
        return ""

    def _resolve_item(self, node: ast.Subscript) -> str:
        key = self.text(node.slice)
        held = node.value
        if isinstance(held, ast.Call) and self.resolve(held.func) == "builtins.vars" and held.args:
            base = self.resolve(held.args[0])
        else:
            path = self.resolve(held)
            if path == "sys.modules":
                return key or ""
            base = path.removesuffix(".__dict__") if path.endswith(".__dict__") else ""
        return f"{base}.{key or '?'}" if base else ""

    def text(self, node: ast.expr, depth: int = 0) -> str | None:
        """Return the string that an expression of string literals gives, or None."""
        if depth > 12:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.text(node.left, depth + 1), self.text(node.right, depth + 1)
            return None if left is None or right is None else (left + right)[:_TEXT_LIMIT]
        if isinstance(node, ast.JoinedStr):
            return self._joined(list(node.values), "", depth)
        if isinstance(node, ast.FormattedValue):
            return self.text(node.value, depth + 1)
        if isinstance(node, ast.Subscript):
            return self._reversed(node, depth)
        if isinstance(node, ast.Call):
            return self._built(node, depth)
        held = self.globals.get(node.id) if isinstance(node, ast.Name) else None
        return self.text(held[0], depth + 1) if held and len(held) == 1 else None

    def _joined(self, nodes: list[ast.expr], glue: str, depth: int) -> str | None:
        parts = [self.text(part, depth + 1) for part in nodes[:64]]
        return glue.join(p or "" for p in parts)[:_TEXT_LIMIT] if None not in parts else None

    def _reversed(self, node: ast.Subscript, depth: int) -> str | None:
        inner, cut = self.text(node.value, depth + 1), node.slice
        step = cut.step if isinstance(cut, ast.Slice) else None
        back = isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub)
        return inner[::-1] if inner is not None and back else None

    def _built(self, node: ast.Call, depth: int) -> str | None:
        if isinstance(node.func, ast.Name) and node.func.id == "chr" and node.args:
            code = node.args[0]
            value = code.value if isinstance(code, ast.Constant) else None
            return chr(value) if type(value) is int and 0 <= value < 0x110000 else None
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr == "join" and node.args:
            glue, items = self.text(func.value, depth + 1), node.args[0]
            if glue is not None and isinstance(items, ast.List | ast.Tuple):
                return self._joined(items.elts, glue, depth)
        return None


def _child_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    found = _FIELDS.get(kind)
    if found is None:
        found = _FIELDS[kind] = _fields_with_nodes(kind)
    return found


def _fields_with_nodes(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return the fields that hold nodes, last first. Patterns of `match` keep theirs."""
    if issubclass(kind, ast.pattern):
        return tuple(n for n in reversed(kind._fields) if n not in {"name", "rest", "kwd_attrs"})
    return tuple(name for name in reversed(kind._fields) if name not in _NO_NODES)


def _is_main_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.comparators) != 1:
        return False
    sides = (test.left, test.comparators[0])
    return any(isinstance(s, ast.Name) and s.id == "__name__" for s in sides)
