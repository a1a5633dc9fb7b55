"""What one Triton kernel does: loads, stores, masks, what it copies and through what it writes."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from kernelsift.kernels.metrics import decorator_name
from kernelsift.kernels.static.program import Func, Program

MAX_ACCESSES = 200
"""Loads and stores of one kernel that are looked at."""
_LOADS = frozenset({"load", "load_tensor_descriptor"})
_STORES = frozenset({"store", "descriptor_store", "store_tensor_descriptor", "scatter"})
_METHODS = frozenset({"load", "store", "gather", "scatter"})
"""What descriptors have as methods, besides atomics."""
_REDUCTIONS = frozenset([
    "sum",
    "max",
    "min",
    "argmax",
    "argmin",
    "reduce",
    "cumsum",
    "cumprod",
    "associative_scan",
    "softmax",
    "sort",
    "xor_sum",
])
_SAME_VALUE = frozenset({"to", "cast", "broadcast_to", "reshape", "view", "expand_dims", "trans"})


@dataclass(eq=False)
class KernelBody:
    """A kernel with what its calls and assignments say."""

    func: Func
    program: Program
    parameters: tuple[str, ...] = ()
    constexprs: tuple[str, ...] = ()
    loads: list[ast.Call] = field(default_factory=list)
    stores: list[ast.Call] = field(default_factory=list)
    atomics: list[ast.Call] = field(default_factory=list)
    dots: list[ast.Call] = field(default_factory=list)
    reductions: int = 0
    casts: list[ast.Call] = field(default_factory=list)
    loops: int = 0
    helpers: list[tuple["KernelBody", ast.Call]] = field(default_factory=list)
    assigned: dict[str, list[ast.expr]] = field(default_factory=dict)
    branches: list[ast.expr] = field(default_factory=list)
    binary: list[ast.BinOp] = field(default_factory=list)
    _pointers: dict[ast.expr, set[str]] = field(default_factory=dict)

    @property
    def autotuned(self) -> bool:
        node = self.func.node
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        return any(decorator_name(d) == "autotune" for d in decorators)

    def written(self, depth: int = 0) -> dict[str, str]:
        """Return how each parameter is written: `store` or `atomic`; helpers included."""
        found: dict[str, str] = {}
        for calls, how in ((self.stores, "store"), (self.atomics, "atomic")):
            for call in calls:
                for name in self.pointers(self.address(call)):
                    found.setdefault(name, how)
        for helper, call in self.helpers if depth < 4 else ():
            for name, how in helper.written(depth + 1).items():
                passed = helper.argument(call, name)
                for own in self.pointers(passed) if passed else ():
                    found.setdefault(own, how)
        return found

    def read(self) -> set[str]:
        """Return the parameters through which it loads (own loads only)."""
        return {name for call in self.loads for name in self.pointers(self.address(call))}

    def address(self, call: ast.Call) -> ast.expr | None:
        """Return what a load, store or atomic goes through: a pointer or a descriptor."""
        if isinstance(call.func, ast.Attribute) and self.is_method(call.func):
            return call.func.value
        return _target(call)

    def place(self, call: ast.Call) -> list[ast.expr]:
        """Return what says where it reads or writes: the address, a descriptor's offsets."""
        address = self.address(call)
        through = isinstance(call.func, ast.Attribute) and address is call.func.value
        offsets = [a for a in call.args if a is not self.value(call)] if through else []
        return [part for part in (address, *offsets) if part is not None]

    def value(self, call: ast.Call) -> ast.expr | None:
        """Return what a store writes."""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        place = {"scatter": 0, "store_tensor_descriptor": 2}.get(name, 1)
        if len(call.args) > place:
            return call.args[place]
        return next((k.value for k in call.keywords if k.arg in {"value", "val"}), None)

    def is_method(self, called: ast.Attribute) -> bool:
        """Tell whether `called` is a descriptor's own method, as in `desc.store([i], v)`."""
        base = called.value
        known = called.attr in _METHODS or called.attr.startswith("atomic_")
        named = isinstance(base, ast.Name) and base.id in {"tl", "triton"}
        return known and not named and not self.program.resolve(base)

    def argument(self, call: ast.Call, name: str) -> ast.expr | None:
        """Return what a call gives to one of the parameters."""
        for keyword in call.keywords:
            if keyword.arg == name:
                return keyword.value
        place = self.parameters.index(name) if name in self.parameters else len(call.args)
        return call.args[place] if place < len(call.args) else None

    def names_in(self, node: ast.expr | None) -> set[str]:
        """Return all names that an expression depends on, through assignments."""
        seen: set[str] = set()
        todo = [node] if node else []
        while todo:
            for part in self.program.inside(todo.pop()):
                if type(part) is ast.Name and part.id not in seen:
                    seen.add(part.id)
                    todo.extend(self.assigned.get(part.id, ()))
        return seen

    def pointers(self, node: ast.expr | None) -> set[str]:
        """Return the parameters that an address is built on (names ending in a pointer's)."""
        if node is None:
            return set()
        if node not in self._pointers:
            names = self.names_in(node) & set(self.parameters) - set(self.constexprs)
            self._pointers[node] = names if len(names) <= 1 else self._spine(node, set()) or names
        return self._pointers[node]

    def _spine(self, node: ast.expr | None, seen: set[str]) -> set[str]:
        """Follow the leftmost parts of additions: by custom the pointer stands there."""
        if isinstance(node, ast.Name):
            return self._spine_of_name(node.id, seen)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            left = self._spine(node.left, seen)
            pointer = [n for n in left if _looks_like_pointer(n)]
            right = set() if pointer else self._spine(node.right, seen)
            named = {n for n in right if _looks_like_pointer(n)}
            return named or left or right
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inside = node.func.value if node.func.attr in _SAME_VALUE else self.address(node)
            return self._spine(inside, seen)
        return self._spine(node.value, seen) if isinstance(node, ast.Subscript) else set()

    def _spine_of_name(self, name: str, seen: set[str]) -> set[str]:
        if name in self.parameters and name not in self.constexprs:
            return {name}
        if name in seen:
            return set()
        seen.add(name)
        held = [v for v in self.assigned.get(name, ())[:4] if not _grows(v, name)]
        return {found for value in held for found in self._spine(value, seen)}

    def copies(self) -> bool:
        """Tell whether every stored value is a loaded one, without arithmetic."""
        if not self.stores or self.atomics or not self.loads or self.helpers:
            return False
        loaded: dict[str, bool] = {}
        return all(self._is_loaded(self.value(call), loaded) for call in self.stores)

    def moves_nothing(self) -> bool:
        """Tell whether a copying kernel reads and writes by the same index."""
        own = set(self.parameters) - set(self.constexprs)
        named = set(self.assigned) - self._index_names() | own
        calls = [*self.loads, *self.stores]
        places = [{n for part in self.place(c) for n in self.names_in(part)} for c in calls]
        return len({frozenset(names - named) for names in places}) == 1

    def _index_names(self) -> set[str]:
        """Return the names whose value stems from a program number or a range."""
        return {
            name
            for name, values in self.assigned.items()
            if any(
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and part.func.attr in {"program_id", "arange"}
                for value in values
                for part in self.program.inside(value)
            )
        }

    def _is_loaded(self, node: ast.expr | None, known: dict[str, bool]) -> bool:
        if isinstance(node, ast.Name):
            if node.id not in known:
                known[node.id] = False
                held = self.assigned.get(node.id, [])
                known[node.id] = bool(held) and all(self._is_loaded(v, known) for v in held)
            return known[node.id]
        if isinstance(node, ast.Subscript):
            return self._is_loaded(node.value, known)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        if node.func.attr in _SAME_VALUE:
            inside = node.func.value
            if isinstance(inside, ast.Name) and inside.id in {"tl", "triton"}:
                return self._is_loaded(_target(node), known)
            return self._is_loaded(inside, known)
        return node.func.attr in _LOADS


def read_kernels(program: Program) -> dict[str, KernelBody]:
    """Read every kernel of the program, helpers linked."""
    bodies: dict[Func, KernelBody] = {}
    for func in program.kernels.values():
        if func not in bodies:
            bodies[func] = _read(func, program)
    by_name = {name: bodies[func] for name, func in program.kernels.items()}
    for body in bodies.values():
        for call in _calls(body):
            if isinstance(call.func, ast.Name) and call.func.id in by_name:
                helper = by_name[call.func.id]
                if helper is not body:
                    body.helpers.append((helper, call))
    return by_name


def has_mask(call: ast.Call) -> bool:
    """Tell whether a load or store is masked or checks a boundary."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    place = 1 if name == "load" else 2
    named = any(k.arg in {"mask", "boundary_check"} or k.arg is None for k in call.keywords)
    return named or len(call.args) > place


def mask_of(call: ast.Call) -> ast.expr | None:
    """Return the mask of a load or store."""
    for keyword in call.keywords:
        if keyword.arg == "mask":
            return keyword.value
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    place = {"load": 1, "store": 2}.get(name, len(call.args))
    return call.args[place] if len(call.args) > place else None


def _read(func: Func, program: Program) -> KernelBody:
    node = func.node
    assert not isinstance(node, ast.Lambda)
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    constexprs = [a.arg for a in arguments if a.annotation and _says_constexpr(a.annotation)]
    body = KernelBody(func, program, tuple(a.arg for a in arguments), tuple(constexprs))
    for part in program.inside(node):
        if isinstance(part, ast.Call):
            _note_call(body, part, program)
        elif isinstance(part, ast.If | ast.IfExp):
            body.branches.append(part.test)
        elif isinstance(part, ast.BinOp):
            body.binary.append(part)
        elif isinstance(part, ast.stmt):
            _note_statement(body, part)
    return body


def _note_statement(body: KernelBody, part: ast.stmt) -> None:
    if isinstance(part, ast.Assign):
        for target in part.targets:
            _note_target(body, target, part.value)
    elif isinstance(part, ast.AugAssign):
        _note_target(body, part.target, ast.BinOp(part.target, part.op, part.value))
    elif isinstance(part, ast.AnnAssign) and part.value:
        _note_target(body, part.target, part.value)
    elif isinstance(part, ast.For | ast.While):
        body.loops += 1
        if isinstance(part, ast.For):
            _note_target(body, part.target, part.iter)


def _note_target(body: KernelBody, target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Name):
        body.assigned.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple | ast.List):
        parts = value.elts if isinstance(value, ast.Tuple) else [value] * len(target.elts)
        for inner, held in zip(target.elts, parts, strict=False):
            _note_target(body, inner, held)


def _note_call(body: KernelBody, call: ast.Call, program: Program) -> None:
    if not isinstance(call.func, ast.Attribute):
        return
    name = call.func.attr
    if name == "to":
        body.casts.append(call)
        return
    if len(body.loads) + len(body.stores) + len(body.atomics) > MAX_ACCESSES:
        return
    root = program.resolve(call.func)
    if root and not root.startswith(("triton", "builtins")):
        return
    if name in _LOADS or (name == "gather" and _of_parameter(body, call.func)):
        body.loads.append(call)
    elif name in _STORES:
        body.stores.append(call)
    elif name.startswith("atomic_"):
        body.atomics.append(call)
    elif name in {"dot", "dot_scaled"}:
        body.dots.append(call)
    elif name in _REDUCTIONS:
        body.reductions += 1


def _calls(body: KernelBody) -> Iterator[ast.Call]:
    for part in body.program.inside(body.func.node):
        if isinstance(part, ast.Call):
            yield part


def _target(call: ast.Call) -> ast.expr | None:
    if call.args:
        return call.args[0]
    named = [k.value for k in call.keywords if k.arg in {"pointer", "base", "desc"}]
    return named[0] if named else None


def _of_parameter(body: KernelBody, called: ast.Attribute) -> bool:
    """Tell whether a method is a parameter's: blocks of values have a `gather` of their own."""
    return isinstance(called.value, ast.Name) and called.value.id in body.parameters


def _says_constexpr(note: ast.expr) -> bool:
    if isinstance(note, ast.Constant):
        return "constexpr" in str(note.value)
    return (isinstance(note, ast.Attribute) and note.attr == "constexpr") or (
        isinstance(note, ast.Name) and note.id == "constexpr"
    )


def _grows(value: ast.expr, name: str) -> bool:
    """Tell whether an assigned value is the name itself plus something."""
    return isinstance(value, ast.BinOp) and any(
        isinstance(part, ast.Name) and part.id == name for part in ast.walk(value)
    )


def _looks_like_pointer(name: str) -> bool:
    lowered = name.lower()
    return "ptr" in lowered or not any(
        part in lowered for part in ("stride", "num", "size", "offset", "block")
    )
