"""Findings about the entry class: its parameters, what it prepares, types of what it allocates."""

import ast
from collections.abc import Iterator

from kernelsift.kernels.static import names
from kernelsift.kernels.static.program import Func, Klass
from kernelsift.kernels.static.rules_work import Hit, Work

_WEIGHTED = frozenset({"matmul", "convolution", "normalisation", "embedding", "recurrent"})
_STATEFUL = ("Dropout", "BatchNorm", "AlphaDropout")
_LOW = frozenset({"torch.float16", "torch.half", "torch.bfloat16"})
_OTHER = frozenset({"torch.float64", "torch.double", "torch.int32", "torch.int64", "torch.int8"})


def module_findings(work: Work) -> Iterator[Hit]:
    """Yield what construction and allocation look like."""
    klass = work.entry
    init = klass.methods.get("__init__") if klass else None
    if klass and init:
        yield from _parameters(work, klass, init)
        yield from _prepared(work, init)
    yield from _types(work)
    yield from _seeds(work)


def _made_in(work: Work, init: Func) -> Iterator[tuple[str, ast.expr, int]]:
    for part in work.program.inside(init.node):
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Attribute):
            yield part.targets[0].attr, part.value, part.lineno


def _parameters(work: Work, klass: Klass, init: Func) -> Iterator[Hit]:
    read = _read_outside(work, init)
    dynamic = bool(read & {"parameters", "named_parameters", "state_dict", "children", "modules"})
    training = "training" in {n.attr for n, _ in work.program.of(ast.Attribute)}
    del klass
    for name, value, line in _made_in(work, init):
        path = work.program.resolve(value.func) if isinstance(value, ast.Call) else ""
        layer = names.layer_kind(path)
        weighted = path.endswith("nn.Parameter") or (layer is not None and layer[1] in _WEIGHTED)
        if weighted and name not in read and not dynamic:
            yield "K29", "suspicious", line
        if layer and layer[0].startswith(_STATEFUL) and name not in read and not training:
            yield "K31", "suspicious", line
        if path in {"torch.randn", "torch.rand", "torch.normal"}:
            yield "K30", "suspicious", line


def _read_outside(work: Work, init: Func) -> set[str]:
    inside = {id(part) for part in work.program.inside(init.node)}
    return {
        node.attr
        for node, _ in work.program.of(ast.Attribute)
        if isinstance(node.ctx, ast.Load) and id(node) not in inside
    } | {
        text
        for node, _ in work.program.of(ast.Call)
        if work.program.resolve(node.func) == "builtins.getattr" and len(node.args) > 1
        for text in [work.program.text(node.args[1])]
        if text
    }


def _prepared(work: Work, init: Func) -> Iterator[Hit]:
    for _, value, line in _made_in(work, init):
        own = any(
            isinstance(part, ast.Attribute)
            and isinstance(part.value, ast.Name)
            and part.value.id == "self"
            for part in work.program.inside(value)
        )
        if own and _computes(work, value):
            yield "K46", "suspicious", line


def _computes(work: Work, value: ast.expr) -> bool:
    for part in work.program.inside(value):
        if not isinstance(part, ast.Call):
            continue
        path = work.program.resolve(part.func)
        if path.startswith("torch.") and names.torch_kind(path)[0] == "compute":
            return True
        if not path and isinstance(part.func, ast.Attribute):
            known = names.method_kind(part.func.attr)
            if known and known[0] == "compute":
                return True
            if part.func.attr in {"half", "bfloat16", "t", "contiguous", "clone"}:
                return True
    return False


def _types(work: Work) -> Iterator[Hit]:
    for node, place in work.program.of(ast.Call):
        if place.func not in work.flow.reached or (place.func and place.func.name == "__init__"):
            continue
        func = node.func
        method = func.attr if isinstance(func, ast.Attribute) else ""
        given = [work.program.resolve(a) for a in node.args if isinstance(a, ast.Attribute)]
        given += [work.program.resolve(k.value) for k in node.keywords if k.arg == "dtype"]
        low = method in {"half", "bfloat16"} or bool(_LOW & set(given))
        if low:
            yield "K28", "suspicious", node.lineno
        made = names.method_kind(method)
        allocates = made is not None and made[0] in {"empty", "filled"}
        if (allocates and (low or _OTHER & set(given))) or method == "double":
            yield "K36", "suspicious", node.lineno


def _seeds(work: Work) -> Iterator[Hit]:
    for node, place in work.program.of(ast.Call):
        func = node.func
        name = func.id if isinstance(func, ast.Name) else ""
        if name in {"get_inputs", "get_init_inputs"} and place.func in work.flow.reached:
            yield "K48", "hard", node.lineno
    drawn = {t.line for p in work.paths for t in p.value.things if t.origin == "random"}
    for line in drawn:
        yield "K48", "suspicious", line
