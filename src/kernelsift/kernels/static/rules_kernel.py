"""Findings about the kernels themselves and how they are launched: reasons for dynamic cases."""

import ast
from collections.abc import Iterator

from kernelsift.kernels.static.kernel import KernelBody, has_mask, mask_of
from kernelsift.kernels.static.program import Program
from kernelsift.kernels.static.rules_work import Hit, Work
from kernelsift.kernels.static.values import Launch

_SIZES = frozenset([
    "n", "m", "k", "size", "numel", "n_elements", "xnumel", "rnumel", "n_rows", "n_cols", "rows",
    "cols", "batch", "b", "c", "h", "w", "length", "dim", "total", "num_elements", "elements",
    "n_element", "nelem", "d", "hw", "spatial", "channels",
])  # fmt: skip
_LOW = frozenset({"float16", "bfloat16", "float8e4nv", "float8e5", "int8"})


def kernel_findings(work: Work) -> Iterator[Hit]:
    """Yield what the launched kernels and their launches look like."""
    seen: set[KernelBody] = set()
    for body in work.kernels.values():
        if body.func in work.flow.launched and body not in seen:
            seen.add(body)
            yield from _memory(body)
            yield from _precision(body)
            yield from _numbers(body)
    for launch in dict.fromkeys(x for p in work.paths for x in p.state.launches):
        launched = work.kernels.get(launch.kernel)
        if launched:
            yield from _launch(work.program, launched, launch)


def shape_tests(body: KernelBody) -> Iterator[int]:
    """Yield integers that a kernel compares its plain parameters with."""
    for test in body.branches:
        for part in body.program.inside(test):
            if not isinstance(part, ast.Compare) or len(part.comparators) != 1:
                continue
            sides = (part.left, part.comparators[0])
            names = {s.id for s in sides if isinstance(s, ast.Name)} & set(body.parameters)
            for side in sides:
                if names and isinstance(side, ast.Constant) and type(side.value) is int:
                    yield side.value


def _memory(body: KernelBody) -> Iterator[Hit]:
    for call in [*body.loads, *body.stores]:
        if not has_mask(call) and _spans(body, body.address(call)):
            yield "K32", "suspicious", call.lineno
    for call in body.stores:
        address, value = body.address(call), body.value(call)
        if _accumulates(body, address, value) and not _by_program(body, call):
            yield "K33", "suspicious", call.lineno
        if _part_only(body, mask_of(call)):
            yield "K24", "suspicious", call.lineno


def _calls_in(body: KernelBody, node: ast.expr | None) -> set[str]:
    """Return the names of Triton calls that an expression depends on, through assignments."""
    found: set[str] = set()
    seen: set[str] = set()
    todo = [node] if node else []
    while todo:
        for part in body.program.inside(todo.pop()):
            if isinstance(part, ast.Name) and part.id not in seen:
                seen.add(part.id)
                todo.extend(body.assigned.get(part.id, ()))
            elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
                found.add(part.func.attr)
    return found


def _spans(body: KernelBody, address: ast.expr | None) -> bool:
    """Tell whether an address is a block of addresses (not a block pointer)."""
    calls = _calls_in(body, address)
    return "arange" in calls and not calls & {"make_block_ptr", "make_tensor_descriptor", "advance"}


def _by_program(body: KernelBody, call: ast.Call) -> bool:
    return any("program_id" in _calls_in(body, part) for part in body.place(call))


def _accumulates(body: KernelBody, address: ast.expr | None, value: ast.expr | None) -> bool:
    targets = body.pointers(address)
    if not targets or value is None:
        return False
    reads: set[str] = set()
    for part in _through(body, value):
        called = part.func if isinstance(part, ast.Call) else None
        if isinstance(part, ast.Call) and getattr(called, "attr", "") == "load":
            reads |= body.pointers(body.address(part))
    return bool(targets & reads)


def _through(body: KernelBody, node: ast.expr) -> Iterator[ast.AST]:
    seen: set[str] = set()
    todo: list[ast.expr] = [node]
    while todo:
        for part in body.program.inside(todo.pop()):
            yield part
            if isinstance(part, ast.Name) and part.id not in seen:
                seen.add(part.id)
                todo.extend(body.assigned.get(part.id, ()))


def _part_only(body: KernelBody, mask: ast.expr | None) -> bool:
    """Tell whether a mask of a store keeps out more than what lies outside: `n // 2`, `pid < 4`."""
    for part in _through(body, mask) if mask is not None else ():
        if not isinstance(part, ast.Compare) or len(part.comparators) != 1:
            continue
        bound = part.comparators[0]
        if isinstance(bound, ast.BinOp) and isinstance(bound.op, ast.FloorDiv | ast.Sub):
            sides = (bound.left, bound.right)
            size = isinstance(sides[0], ast.Name) and sides[0].id in body.parameters
            if size and isinstance(sides[1], ast.Constant):
                return True
        whole = isinstance(bound, ast.Constant) and type(bound.value) is int and bound.value > 0
        below = whole and isinstance(part.ops[0], ast.Lt | ast.LtE | ast.Eq)
        if below and "program_id" in _calls_in(body, part.left):
            return True
    return False


def _precision(body: KernelBody) -> Iterator[Hit]:
    for call in body.casts:
        kind = call.args[0] if call.args else None
        if isinstance(kind, ast.Attribute) and kind.attr in _LOW:
            yield "K28", "suspicious", call.lineno
    for call in body.dots:
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            loose = (keyword.arg == "allow_tf32" and value is True) or (
                keyword.arg == "input_precision" and value in {"tf32", "tf32x3"}
            )
            low = keyword.arg == "out_dtype" and isinstance(keyword.value, ast.Attribute)
            if loose or (low and getattr(keyword.value, "attr", "") in _LOW):
                yield "K28", "suspicious", call.lineno


def _numbers(body: KernelBody) -> Iterator[Hit]:
    for parameter in body.parameters:
        for value in body.assigned.get(parameter, ()):
            if isinstance(value, ast.Constant) and type(value.value) is int:
                yield "K25", "suspicious", value.lineno
    odd = [n for n in _float_literals(body) if len(repr(n)) > 8]
    if len(odd) >= 6 and _horner(body) >= 4:
        yield "K39", "suspicious", body.func.line
    for part in body.program.inside(body.func.node):
        if isinstance(part, ast.Compare) and _self_compare(part):
            yield "K37", "suspicious", part.lineno
        if isinstance(part, ast.Attribute) and part.attr in {"isnan", "isinf", "isfinited"}:
            yield "K37", "suspicious", part.lineno


def _float_literals(body: KernelBody) -> list[float]:
    return [
        n.value
        for n in body.program.inside(body.func.node)
        if isinstance(n, ast.Constant) and isinstance(n.value, float)
    ]


def _horner(body: KernelBody) -> int:
    """Count `a * x + c` with a literal c."""
    return sum(
        isinstance(n.op, ast.Add)
        and isinstance(n.left, ast.BinOp | ast.Constant)
        and (isinstance(n.right, ast.Constant) or isinstance(n.left, ast.Constant))
        for n in body.binary
    )


def _self_compare(node: ast.Compare) -> bool:
    other = node.comparators[0]
    same = isinstance(node.left, ast.Name) and isinstance(other, ast.Name)
    return same and node.left.id == other.id  # type: ignore[attr-defined]  # both are names


def _launch(program: Program, body: KernelBody, launch: Launch) -> Iterator[Hit]:
    line = launch.node.lineno
    func = launch.node.func
    grid = func.slice if isinstance(func, ast.Subscript) else None
    if _cut_grid(program, grid):
        yield "K24", "suspicious", line
    if _fixed_grid(grid) and _fixed_blocks(body, launch) and not body.loops:
        yield "K24", "suspicious", line
    for name, value in launch.arguments.items():
        number = value.const
        plain = name not in body.constexprs and name.lower() in _SIZES
        if plain and type(number) is int and number > 2:
            yield "K25", "suspicious", line


def _grid_parts(program: Program, grid: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(grid, ast.Name):
        for node, _ in program.of(ast.Assign):
            if any(isinstance(t, ast.Name) and t.id == grid.id for t in node.targets):
                yield from _grid_parts_of(node.value)
    elif grid is not None:
        yield from _grid_parts_of(grid)


def _grid_parts_of(node: ast.expr) -> Iterator[ast.expr]:
    node = node.body if isinstance(node, ast.Lambda) else node
    yield from node.elts if isinstance(node, ast.Tuple | ast.List) else [node]


def _cut_grid(program: Program, grid: ast.expr | None) -> bool:
    """Tell whether a grid is a rounded-up quotient made smaller: `cdiv(n, B) - 1`, `// 2`."""
    for part in _grid_parts(program, grid):
        inner = part
        if (
            isinstance(part, ast.Call)
            and program.resolve(part.func) == "builtins.max"
            and part.args
        ):
            inner = part.args[-1] if isinstance(part.args[0], ast.Constant) else part.args[0]
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub | ast.FloorDiv):
            left = inner.left
            quotient = isinstance(left, ast.Call) and program.resolve(left.func) == "triton.cdiv"
            if quotient and isinstance(inner.right, ast.Constant):
                return True
    return False


def _fixed_grid(grid: ast.expr | None) -> bool:
    parts = grid.elts if isinstance(grid, ast.Tuple | ast.List) else [grid] if grid else []
    return bool(parts) and all(isinstance(p, ast.Constant) for p in parts)


def _fixed_blocks(body: KernelBody, launch: Launch) -> bool:
    given = [launch.arguments[n].const for n in body.constexprs if n in launch.arguments]
    return bool(given) and all(type(value) is int for value in given)
