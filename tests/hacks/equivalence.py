"""Which mutants cannot change an answer by construction. Each rule says why; all others count.

A masked lane without a value is filled (`other=`). The fill shows only where it gets into a
reduction or is stored, so another fill is no mistake where every way to such a place is cut: by a
store whose mask has the same conditions, by a choice (`tl.where`) on the same mask, or by a factor
that is itself filled with zero on those lanes.
"""

import ast

_REDUCTIONS = frozenset({"sum", "max", "min", "dot", "atomic_add"})
"""No cumsum: masks here are `index < size`, so filled lanes come after all that is stored."""
_EVERY_LANE = "no masked lane gets into a reduction or a store: "


def unobservable(
    function: ast.FunctionDef, node: ast.AST, operator: str, wrong: ast.AST, program: ast.Module
) -> str:
    """Return why a mutant is equivalent to the honest answer, or an empty text."""
    if operator == "wrong-fill" and _name(node) == "load" and not _shows(function, node):
        return _EVERY_LANE + "the fill is cut off by masks or by a factor of zero"
    if operator == "drop-mask" and _name(node) == "load" and _stays_inside(function, node):
        return _EVERY_LANE + "and indices are remainders, so every address is inside anyway"
    if operator == "drop-function" and _name(node) == "where" and not _shows(function, node):
        return _EVERY_LANE + "the choice only sets lanes that are never stored"
    if operator == "no-zeroing" and "atomic" not in ast.unparse(program):
        return "kernels store every element of the memory and add to none"
    if operator == "swapped-arguments" and _symmetric(node, wrong, program):
        return "the kernel uses both arguments only as the square of their difference"
    return ""


def _name(node: ast.AST) -> str:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.func.attr if called else ""


class _Flow:
    """Follows the fill of one load (or choice) through the statements of a kernel."""

    def __init__(self, function: ast.FunctionDef, start: ast.AST) -> None:
        self.start = start
        self.values = {
            t.id: n.value
            for n in ast.walk(function)
            if isinstance(n, ast.Assign)
            for t in n.targets
            if isinstance(t, ast.Name)
        }
        self.mask = self.conditions(_mask(start))
        self.tainted: set[str] = set()

    def conditions(self, mask: ast.AST | None, depth: int = 0) -> frozenset[str]:
        """The comparisons that a mask joins, without their broadcasts."""
        if mask is None or depth > 8:
            return frozenset()
        if isinstance(mask, ast.Name) and mask.id in self.values:
            return self.conditions(self.values[mask.id], depth + 1)
        if isinstance(mask, ast.BinOp) and isinstance(mask.op, ast.BitAnd):
            left, right = mask.left, mask.right
            return self.conditions(left, depth + 1) | self.conditions(right, depth + 1)
        return frozenset({ast.unparse(_Plain().visit(ast.parse(ast.unparse(mask))))})

    def kept(self, store: ast.Call) -> frozenset[str]:
        """The conditions under which a store stores; a block pointer checks its shape."""
        block = self.values.get(getattr(store.args[0], "id", ""))
        if any(k.arg == "boundary_check" for k in store.keywords) and block is not None:
            sizes = {ast.unparse(size) for size in block.args[1].elts}
            return frozenset(c for c in self.mask if c.rpartition(" < ")[2] in sizes)
        return self.conditions(_mask(store))

    def dirty(self, node: ast.AST) -> bool:
        """Whether the fill may be in the value of an expression."""
        if node is self.start:
            return True
        if isinstance(node, ast.Name):
            return node.id in self.tainted
        if _name(node) == "where" and self.conditions(node.args[0]) <= self.mask:
            return any(self.dirty(part) for part in node.args[2:])
        if self.cut(node):
            return False
        return any(self.dirty(child) for child in ast.iter_child_nodes(node))

    def cut(self, node: ast.AST) -> bool:
        """A product whose other factor is zero on every lane that is filled."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            pair = (node.left, node.right)
        elif _name(node) == "dot" and not self.dirty_rest(node):
            pair = (node.args[0], node.args[1])
        else:
            return False
        clean = [side for side in pair if not self.dirty(side)]
        return any(self.zero_where_filled(side) for side in clean)

    def dirty_rest(self, node: ast.Call) -> bool:
        return any(self.dirty(part) for part in node.args[2:])

    def zero_where_filled(self, side: ast.AST) -> bool:
        if isinstance(side, ast.BinOp) and isinstance(side.op, ast.Mult):
            return any(map(self.zero_where_filled, (side.left, side.right)))
        load = self.values.get(side.id) if isinstance(side, ast.Name) else side
        fill = next((k.value for k in getattr(load, "keywords", []) if k.arg == "other"), None)
        zero = isinstance(fill, ast.Constant) and fill.value == 0
        return zero and self.mask <= self.conditions(_mask(load)) | self.stored

    stored: frozenset[str] = frozenset()


class _Plain(ast.NodeTransformer):
    """`m[:, None]` is `m`: a broadcast changes no condition."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return self.visit(node.value)


def _mask(node: ast.AST | None) -> ast.AST | None:
    if _name(node) == "where":
        return node.args[0]
    return next((k.value for k in getattr(node, "keywords", []) if k.arg == "mask"), None)


def _shows(function: ast.FunctionDef, start: ast.AST) -> bool:
    """Whether the fill of a load may get into a reduction or a store."""
    flow = _Flow(function, start)
    stores = [n for n in ast.walk(function) if _name(n) == "store"]
    masks = [flow.kept(store) for store in stores]
    flow.stored = frozenset.intersection(*masks) if masks else frozenset()
    if not flow.mask:
        return True
    before = -1
    while before != len(flow.tainted):
        before = len(flow.tainted)
        for node in ast.walk(function):
            target = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
            if isinstance(node, ast.Assign | ast.AugAssign) and flow.dirty(node.value):
                flow.tainted |= {target.id} if isinstance(target, ast.Name) else set()
    for node in ast.walk(function):
        name = _name(node)
        reduced = name in _REDUCTIONS and not flow.cut(node)
        stores_fill = name == "store" and not flow.mask <= flow.kept(node)
        mixed = node.args[:2] if name == "dot" else getattr(node, "args", [])
        if (reduced or stores_fill) and any(map(flow.dirty, mixed)):
            return True
    return False


def _stays_inside(function: ast.FunctionDef, load: ast.Call) -> bool:
    """Whether the index has only remainders, loop variables and sizes, and the fill is unseen."""
    flow = _Flow(function, load)
    given = {arg.arg for arg in function.args.args}
    loops = {n.target.id for n in ast.walk(function) if isinstance(n, ast.For)}

    def bounded(node: ast.AST) -> bool:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return True
        if isinstance(node, ast.Name):
            value = flow.values.get(node.id)
            return node.id in given | loops if value is None else bounded(value)
        inner = list(ast.iter_child_nodes(node))
        return not isinstance(node, ast.Call) and all(map(bounded, inner))

    return bounded(load.args[0]) and not _shows(function, load)


def _symmetric(node: ast.AST, wrong: ast.AST, program: ast.Module) -> bool:
    """Whether a launch swaps two tensors `a`, `b` of which the kernel only takes (a − b)²."""
    kernel = ast.unparse(node.func.value)
    source = next(f for f in ast.walk(program) if getattr(f, "name", "") == kernel)
    swapped = [
        arg.arg
        for arg, old, new in zip(source.args.args, node.args, wrong.args, strict=False)
        if ast.unparse(old) != ast.unparse(new)
    ]
    body = [ast.unparse(statement) for statement in source.body]
    letters = [name.removesuffix("_ptr") for name in swapped]
    if len(letters) != 2 or f"d = {letters[0]} - {letters[1]}" not in body:
        return False
    squared = sum(line.count("d * d") for line in body)
    one, other = ([line for line in body if f"{x}_ptr" in line] for x in letters)
    return squared == 1 and len(one) == len(other) == 1
