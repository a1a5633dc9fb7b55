"""The block sizes that a program gives to its kernels: integers of launches and configurations."""

import ast
from collections.abc import Iterator, Mapping

from kernelsift import source
from kernelsift.kernels.static.kernel import KernelBody
from kernelsift.kernels.static.program import Program

SMALLEST, LARGEST = 32, 4096
"""Sizes below are passed by most cases anyhow; above, a case would cost too much."""
_TUNED = "Config"


def block_sizes(program: Program, kernels: Mapping[str, KernelBody]) -> tuple[int, ...]:
    """Powers of two that constexpr parameters get, by name, position, default or `Config`."""
    constants = _constants(program)
    constexprs = {name for body in kernels.values() for name in body.constexprs}
    found: set[int] = set()
    for call, _ in program.of(ast.Call):
        for value in (*_tuned(call), *_launched(call, kernels, constexprs)):
            found |= _integers(value, constants)
    for body in kernels.values():
        for value in _defaults(body):
            found |= _integers(value, constants)
    return tuple(sorted(n for n in found if SMALLEST <= n <= LARGEST and not n & (n - 1)))


def _is_config(call: ast.Call) -> bool:
    return bool(call.args) and source.dotted(call.func).rpartition(".")[2] == _TUNED


def _tuned(call: ast.Call) -> Iterator[ast.expr]:
    if _is_config(call) and isinstance(call.args[0], ast.Dict):
        yield from call.args[0].values


def _launched(
    call: ast.Call, kernels: Mapping[str, KernelBody], constexprs: set[str]
) -> Iterator[ast.expr]:
    """What a launch `kernel[grid](…)` gives to constexpr parameters."""
    if not isinstance(call.func, ast.Subscript):
        return
    yield from (k.value for k in call.keywords if k.arg in constexprs)
    held = call.func.value
    body = kernels.get(held.id) if isinstance(held, ast.Name) else None
    if body is not None:
        for name, value in zip(body.parameters, call.args, strict=False):
            if name in body.constexprs:
                yield value


def _defaults(body: KernelBody) -> Iterator[ast.expr]:
    """Defaults of constexpr parameters."""
    arguments = body.func.node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    late = zip(reversed(plain), reversed(arguments.defaults), strict=False)
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, value in (*late, *named):
        if value is not None and argument.arg in body.constexprs:
            yield value


def _constants(program: Program) -> dict[str, set[int]]:
    """Integers that names stand for, anywhere in the file."""
    found: dict[str, set[int]] = {}
    for node, _ in program.of(ast.Assign):
        if isinstance(node.value, ast.Constant) and type(node.value.value) is int:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, set()).add(node.value.value)
    return found


def _integers(value: ast.expr, constants: Mapping[str, set[int]]) -> set[int]:
    if isinstance(value, ast.Constant) and type(value.value) is int:
        return {value.value}
    return constants.get(value.id, set()) if isinstance(value, ast.Name) else set()
