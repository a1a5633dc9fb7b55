"""What the style checks look at: kernels, launches, accesses, host calls, of one parsed program."""

import ast
from dataclasses import dataclass

from kernelsift.kernels.calls import (
    SETUP,
    call_name,
    function_of,
    is_constexpr,
    is_launch,
    language_calls,
)
from kernelsift.kernels.metrics import Program, Scope, Walk, is_kernel

_BLOCK_MAKERS = frozenset({"arange", "make_block_ptr", "make_tensor_descriptor", "advance"})
_ALLOCATIONS = frozenset({"empty", "zeros", "ones", "full"})
_MAKERS = _ALLOCATIONS | {"empty_like", "zeros_like", "ones_like", "full_like", "empty_strided"}
_FLOATS = frozenset({"float16", "half", "bfloat16", "float32", "float", "float64", "double"})
_PLAIN = frozenset({0, 1, 2})
_MOST_PASSES = 4


@dataclass(frozen=True)
class Sight:
    """Parts of a program that a check may be about."""

    program: Program
    kernels: list[ast.FunctionDef]
    launches: list[tuple[ast.Call, Scope]]
    language: list[tuple[str, ast.Call, Scope]]
    """Calls of the Triton language, in the order of their lines."""
    host_calls: list[tuple[str, ast.Call]]
    """(last name, call) of the calls outside kernels and set-up code."""
    constexprs: list[ast.arg]
    strides: list[ast.AST]
    """Stride parameters of kernels, and `.stride(…)` outside them."""
    contiguous: list[ast.Call]
    """Calls of `contiguous` and `is_contiguous` outside kernels."""
    accumulators: list[ast.Call]
    """Blocks of one value that kernels make: `zeros` and `full`."""
    singles: list[ast.AST]
    """Uses of float32 in kernels."""
    numbers: list[ast.AST]
    """Whole numbers other than 0, 1 and 2 that are written out in kernels."""
    fixed_shapes: list[ast.AST]
    """Tensors made outside kernels with two or more written-out sizes above 1."""
    fixed_types: list[ast.AST]
    """Tensors made outside kernels of a floating type that is written out."""
    literal_sizes: list[ast.AST]
    """Numbers that a launch gives to a compile-time parameter by its upper-case name."""
    docstrings: list[ast.AST]
    """Those of kernels."""
    blocks: dict[int, set[str]]
    """By function, names whose value is a block of elements or addresses."""

    @property
    def live(self) -> bool:
        """Whether there is a kernel and it is launched."""
        return bool(self.kernels and self.launches)

    @property
    def accesses(self) -> list[tuple[ast.Call, Scope]]:
        """Loads and stores."""
        return [(c, s) for name, c, s in self.language if name in {"load", "store"}]

    @property
    def kernel_lines(self) -> int:
        """Lines of all kernels together, decorators left out."""
        return sum((k.end_lineno or k.lineno) - k.lineno + 1 for k in self.kernels)

    def in_kernel(self, line: int) -> bool:
        """Tell whether a line belongs to a kernel."""
        return any(k.lineno <= line <= (k.end_lineno or k.lineno) for k in self.kernels)


def sight_of(program: Program) -> Sight:
    """Find the parts of a program that style is about."""
    walked = program.walked
    kernels = [n for n, _ in walked.of(ast.FunctionDef) if isinstance(n, ast.FunctionDef)]
    kernels = sorted(filter(is_kernel, kernels), key=lambda kernel: kernel.lineno)
    names = {kernel.name for kernel in kernels}
    calls = [(n, s) for n, s in walked.of(ast.Call) if isinstance(n, ast.Call)]
    calls.sort(key=lambda pair: (pair[0].lineno, pair[0].col_offset))
    host = [(c, s) for c, s in calls if not s.in_kernel]
    outside = [(call_name(c), c) for c, s in host if function_of(s) not in SETUP]
    launches = [(c, s) for c, s in host if is_launch(c, names)]
    parameters = [a for k in kernels for a in [*k.args.args, *k.args.kwonlyargs]]
    language = sorted(language_calls(walked), key=lambda found: found[1].lineno)
    return Sight(
        program=program,
        kernels=kernels,
        launches=launches,
        language=language,
        host_calls=outside,
        constexprs=[a for a in parameters if is_constexpr(a)],
        strides=[*(a for a in parameters if "stride" in a.arg.lower()),
                 *(c for name, c in outside if name == "stride")],
        contiguous=[c for name, c in outside if name in {"contiguous", "is_contiguous"}],
        accumulators=[c for name, c, _ in language if name in {"zeros", "full"}],
        singles=[n for n, s in walked.of(ast.Attribute) if s.in_kernel and _is_single(n)],
        numbers=[n for n, s in walked.of(ast.Constant) if s.in_kernel and _is_number(n)],
        fixed_shapes=[c for name, c in outside if name in _ALLOCATIONS and _has_fixed_shape(c)],
        fixed_types=[c for name, c in outside if name in _MAKERS and _has_fixed_type(c)],
        literal_sizes=[k.value for c, _ in launches for k in c.keywords if _is_size(k)],
        docstrings=[k.body[0] for k in kernels if ast.get_docstring(k, clean=False) is not None],
        blocks=_blocks(walked),
    )  # fmt: skip


def is_masked(call: ast.Call) -> bool:
    """Tell whether a load or store says what must not be touched."""
    place = 1 if call_name(call) == "load" else 2
    named = {keyword.arg for keyword in call.keywords}
    return len(call.args) > place or bool(named & {"mask", "boundary_check"})


def is_block_access(sight: Sight, call: ast.Call, scope: Scope) -> bool:
    """Tell whether a load or store touches a block of elements; one at a time needs no mask."""
    values = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "pointer")]
    names = sight.blocks.get(id(scope.function), set())
    return any(_makes_block(value, names) for value in values)


def _blocks(walked: Walk) -> dict[int, set[str]]:
    """Follow block values through assignments, by function."""
    given: dict[int, list[tuple[list[str], ast.expr]]] = {}
    for node, scope in walked.of(ast.Assign, ast.AugAssign, ast.AnnAssign):
        if scope.in_kernel:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]  # kinds chosen above
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            value = node.value  # type: ignore[attr-defined]  # as above
            if names and value is not None:
                given.setdefault(id(scope.function), []).append((names, value))
    found: dict[int, set[str]] = {}
    for function, pairs in given.items():
        blocks: set[str] = set()
        for _ in range(_MOST_PASSES):
            before = len(blocks)
            for names, value in reversed(pairs):  # the walk goes from the last statement up
                if _makes_block(value, blocks):
                    blocks.update(names)
            if len(blocks) == before:
                break
        found[function] = blocks
    return found


_REDUCING = frozenset({"sum", "max", "min", "argmax", "argmin", "reduce", "program_id", "cdiv"})


def _makes_block(value: ast.expr, blocks: set[str]) -> bool:
    stack: list[ast.AST] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and node.id in blocks:
            return True
        if isinstance(node, ast.Call):
            name = call_name(node)
            if name in _BLOCK_MAKERS:
                return True
            if name in _REDUCING:
                continue
        stack.extend(ast.iter_child_nodes(node))
    return False


def _is_single(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "float32"


def _is_number(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return type(value) is int and value not in _PLAIN


def _is_size(keyword: ast.keyword) -> bool:
    return bool(keyword.arg and keyword.arg.isupper()) and _is_number(keyword.value)


def _has_fixed_shape(call: ast.Call) -> bool:
    sizes: list[ast.expr] = []
    for argument in call.args:
        sizes += argument.elts if isinstance(argument, ast.Tuple | ast.List) else [argument]
    found = [s.value for s in sizes if isinstance(s, ast.Constant) and type(s.value) is int]
    return sum(value > 1 for value in found) >= 2


def _has_fixed_type(call: ast.Call) -> bool:
    types = [k.value for k in call.keywords if k.arg == "dtype"]
    return any(isinstance(t, ast.Attribute) and t.attr in _FLOATS for t in types)
