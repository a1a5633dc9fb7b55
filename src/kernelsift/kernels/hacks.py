"""Static facts about a candidate: what its syntax tree says about cheats, without running it.

The entry point is followed through helpers, classes, lambdas and aliases by a small evaluator
that knows no numbers; it keeps apart the ways through the code and what each returns. `hard`
findings are meant to have no honest reading; all others are reasons for dynamic cases.
"""

import ast
from collections.abc import Iterator

from kernelsift import source
from kernelsift.kernels.launching import WRAPPERS, launches
from kernelsift.kernels.static.blocks import block_sizes
from kernelsift.kernels.static.facts import (
    EntryPoint,
    Finding,
    KernelFacts,
    StaticFacts,
    TorchCall,
)
from kernelsift.kernels.static.flow import Flow
from kernelsift.kernels.static.kernel import KernelBody, has_mask, read_kernels
from kernelsift.kernels.static.program import Func, Klass, Program
from kernelsift.kernels.static.rules_kernel import kernel_findings, shape_tests
from kernelsift.kernels.static.rules_module import module_findings
from kernelsift.kernels.static.rules_text import file_findings
from kernelsift.kernels.static.rules_work import Hit, Work, work_findings
from kernelsift.kernels.static.values import Path

__all__ = ["EntryPoint", "Finding", "KernelFacts", "StaticFacts", "TorchCall", "static_facts"]

MAX_CODE = 400_000
"""Characters; longer texts are not read."""
_FUNCTIONS = (*WRAPPERS, "forward")
_RANK = {"hard": 0, "not-a-kernel": 1, "bug": 2, "suspicious": 3, "timing": 4}
_INDUCTOR = ("torch._inductor", "triton_heuristics", "AsyncCompile", "async_compile")


def static_facts(code: str, module_name: str | None) -> StaticFacts:
    """Read a candidate. `module_name` is the reference's class where it is known.

    Never raises: text that Python cannot parse gives `parsed=False`.
    """
    tree = source.parse(code) if len(code) <= MAX_CODE else None
    if tree is None:
        return StaticFacts(parsed=False)
    try:
        return _facts(code, tree, module_name or "")
    except RecursionError:
        return StaticFacts(parsed=False, complete=False)


def _facts(code: str, tree: ast.Module, module_name: str) -> StaticFacts:
    program = Program(code, tree)
    kernels = read_kernels(program)
    entries = list(_entries(program, kernels, module_name))
    flow = Flow(program, kernels)
    work = _work(program, flow, kernels, entries[0] if entries else None, module_name)
    inductor = _is_inductor(program)
    hits = [*work_findings(work), *kernel_findings(work), *module_findings(work)]
    hits += [*file_findings(work), *((n.id, n.severity, n.line) for n in flow.notes)]
    return StaticFacts(
        parsed=True,
        entries=tuple(point for point, _ in entries),
        kernels=tuple(_kernel(name, body, flow) for name, body in _once(kernels)),
        findings=_findings(program, hits),
        shape_literals=_literals(flow, kernels),
        blocks=block_sizes(program, kernels),
        uses_cuda=_uses_cuda(program),
        inductor_style=inductor,
        torch_calls=_torch_calls(flow),
        complete=flow.complete,
    )


def _work(
    program: Program,
    flow: Flow,
    kernels: dict[str, KernelBody],
    entry: tuple[EntryPoint, Klass | Func] | None,
    module_name: str,
) -> Work:
    paths: list[Path] = []
    target = entry[1] if entry else None
    if isinstance(target, Klass):
        paths = flow.run_class(target)
    elif isinstance(target, Func):
        paths = flow.run_function(target)
    klass = target if isinstance(target, Klass) else None
    line = entry[0].line if entry else 1
    return Work(program, flow, kernels, paths, klass, line, module_name)


# ---- entry points -------------------------------------------------------------------------------


def _entries(
    program: Program, kernels: dict[str, KernelBody], module_name: str
) -> Iterator[tuple[EntryPoint, Klass | Func]]:
    """Yield what could be called, best first."""
    given: set[str] = set()
    for name in _class_names(program, module_name):
        if name in program.classes and name not in given:
            given.add(name)
            klass = program.classes[name]
            yield EntryPoint("class", name, klass.node.lineno), klass
    for name in (*_FUNCTIONS, "call", *_launchers(program, kernels)):
        func = program.functions.get(name)
        if func and name not in given and func.owner is None and func.outer is None:
            given.add(name)
            kind = "call" if name == "call" else "function"
            yield EntryPoint("call" if kind == "call" else "function", name, func.line), func


def _class_names(program: Program, module_name: str) -> Iterator[str]:
    yield "ModelNew"
    plain = module_name.rpartition("_")[2] if module_name[:1].isdigit() else module_name
    for name in dict.fromkeys((module_name, plain)):
        yield f"{name}New"
    copied = program.classes.get(module_name)
    has_wrapper = any(name in program.functions for name in WRAPPERS)
    functions = {name: func.node for name, func in program.functions.items()}
    if not has_wrapper or (copied and launches(copied.node, functions)):
        yield module_name  # beside a wrapper it is only the reference's copy
    yield from (n for n in reversed(program.classes) if n.endswith("New"))
    has_function = any(name in program.functions for name in _FUNCTIONS)
    last = source.module_class(program.tree)
    if last and not has_function:
        yield last.name


def _launchers(program: Program, kernels: dict[str, KernelBody]) -> list[str]:
    """Return the function that launches kernels and that no other function calls, if it is one."""
    launching: set[str] = set()
    called: set[str] = set()
    for node, place in program.of(ast.Call):
        func = node.func
        if isinstance(func, ast.Name):
            called.add(func.id)
        held = func.value if isinstance(func, ast.Subscript) else None
        if isinstance(held, ast.Name) and held.id in kernels and place.func and not place.main:
            launching.add(place.func.name)
    free = sorted(n for n in launching - called if n in program.functions)
    return free if len(free) == 1 else []


# ---- facts --------------------------------------------------------------------------------------


def _once(kernels: dict[str, KernelBody]) -> Iterator[tuple[str, KernelBody]]:
    seen: set[KernelBody] = set()
    for name, body in kernels.items():
        if body not in seen:
            seen.add(body)
            yield name, body


def _kernel(name: str, body: KernelBody, flow: Flow) -> KernelFacts:
    helpers = {h.func for b in flow.kernels.values() for h, _ in b.helpers}
    launched = body.func in flow.launched
    return KernelFacts(
        name=name,
        line=body.func.line,
        loads=len(body.loads),
        masked_loads=sum(map(has_mask, body.loads)),
        stores=len(body.stores) + len(body.atomics),
        masked_stores=sum(map(has_mask, body.stores)),
        dots=len(body.dots),
        reductions=body.reductions,
        pointwise=not (body.loops or body.reductions or body.dots or body.helpers),
        chained=_chained(body),
        copy_only=body.copies(),
        autotuned=body.autotuned,
        reachable=launched or (body.func in helpers and bool(flow.launched)),
        constexprs=body.constexprs,
        stored=tuple(sorted(body.written())),
    )


def _chained(body: KernelBody) -> tuple[int, ...]:
    parts = body.program.inside(body.func.node)
    return tuple(sorted({n.lineno for n in parts if type(n) is ast.Compare and len(n.ops) > 1}))


def _findings(program: Program, hits: list[Hit]) -> tuple[Finding, ...]:
    """Keep each id once a line, at its gravest; lines are clipped to those of the file."""
    best: dict[tuple[int, str], Hit] = {}
    last = max(1, len(program.lines))
    for catalog_id, severity, line in hits:
        key = (min(max(line, 1), last), catalog_id)
        if key not in best or _RANK[severity] < _RANK[best[key][1]]:
            best[key] = (catalog_id, severity, key[0])
    return tuple(
        Finding(i, severity, line, program.evidence(line))
        for (line, _), (i, severity, _) in sorted(best.items())
    )


def _literals(flow: Flow, kernels: dict[str, KernelBody]) -> tuple[int, ...]:
    found = set(flow.literals)
    for body in kernels.values():
        found.update(n for n in shape_tests(body) if 0 < n < 1 << 31)
    return tuple(sorted(found))


def _torch_calls(flow: Flow) -> tuple[TorchCall, ...]:
    seen = dict.fromkeys((c.name, c.line, c.group) for c in flow.called)
    return tuple(TorchCall(name, line, True, group) for name, line, group in seen)  # noqa: FBT003  # named in the class


def _uses_cuda(program: Program) -> bool:
    for node, _ in program.of(ast.Attribute):
        if node.attr in {"cuda", "is_cuda"}:
            return True
    return any(
        isinstance(node.value, str) and (node.value == "cuda" or node.value.startswith("cuda:"))
        for node, _ in program.of(ast.Constant)
    )


def _is_inductor(program: Program) -> bool:
    if any(path.startswith(_INDUCTOR) for path in program.names.values()):
        return True
    named = {"triton_heuristics", "async_compile", "empty_strided_cuda", "extern_kernels"}
    return any(node.id in named for node, _ in program.of(ast.Name))
