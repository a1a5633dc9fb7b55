"""What outlives a call: names of the module and attributes that functions change."""

import ast

from kernelsift.kernels.static.program import Func, Klass, Program

_PUTTING = frozenset({"setdefault", "append", "update"})


def changing_globals(program: Program) -> frozenset[str]:
    """Return the module's names that functions assign or put things into."""
    found: set[str] = set()
    for declared, place in program.of(ast.Global):
        if place.func and not place.main:
            found.update(declared.names)
    for assigned, place in program.of(ast.Subscript):
        held = assigned.value
        inside = place.func is not None and not place.func.kernel and not place.main
        if not inside or not isinstance(assigned.ctx, ast.Store) or not isinstance(held, ast.Name):
            continue
        if any(_is_mapping(v, program) for v in program.globals.get(held.id, ())):
            found.add(held.id)
    return frozenset(found)


def _is_mapping(node: ast.expr, program: Program) -> bool:
    if isinstance(node, ast.Dict | ast.List):
        return True
    name = program.resolve(node.func) if isinstance(node, ast.Call) else ""
    return name.rpartition(".")[2] in {"dict", "list", "OrderedDict", "WeakKeyDictionary",
                                       "defaultdict"}  # fmt: skip


def changing_attributes(klass: Klass, program: Program) -> frozenset[str]:
    """Return the attributes that methods outside construction assign or put things into."""
    init = klass.methods.get("__init__")
    setup = {"__init__"} | (_own_calls(init, program) if init else set())
    found: set[str] = set()
    for name, func in klass.methods.items():
        if name in setup and name != "forward":
            continue
        for part in program.inside(func.node):
            found |= _put_into(part)
            if not isinstance(part, ast.Attribute) or not isinstance(part.ctx, ast.Store):
                continue
            if isinstance(part.value, ast.Name) and part.value.id in {"self", klass.name}:
                found.add(part.attr)
    tensors = _registered(init, program) if init else set()
    return frozenset(found - tensors)


def _put_into(part: ast.AST) -> set[str]:
    held: ast.expr | None = None
    if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store):
        held = part.value
    elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
        held = part.func.value if part.func.attr in _PUTTING else None
    if not isinstance(held, ast.Attribute) or not isinstance(held.value, ast.Name):
        return set()
    return {held.attr} if held.value.id == "self" else set()


def _own_calls(func: Func, program: Program) -> set[str]:
    called = [part.func for part in program.inside(func.node) if isinstance(part, ast.Call)]
    return {
        f.attr
        for f in called
        if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "self"
    }


def _registered(init: Func, program: Program) -> set[str]:
    """Return the names of registered buffers; writing into them is not caching."""
    found: set[str] = set()
    for part in program.inside(init.node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            first = part.args[0] if part.args else None
            if part.func.attr == "register_buffer" and isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found
