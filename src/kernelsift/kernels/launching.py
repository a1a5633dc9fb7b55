"""Which code of a candidate launches kernels, on the syntax tree alone."""

import ast
from collections.abc import Mapping

WRAPPERS = ("triton_kernel_wrapper", "kernel_function", "triton_run")
"""Functions that are agreed on as the answer."""


def launches(node: ast.AST, functions: Mapping[str, ast.AST]) -> bool:
    """Say whether code contains `kernel[grid](...)` or calls one of the functions that does."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            callee = functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if isinstance(call.func, ast.Subscript):
                return True
            if callee is not None and callee is not node and _subscripts(callee):
                return True
    return False


def _subscripts(node: ast.AST) -> bool:
    return any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Subscript) for n in ast.walk(node)
    )
