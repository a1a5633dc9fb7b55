"""Findings about the work: who computes what is returned, on every way through the entry point."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kernelsift import source
from kernelsift.kernels.catalog import Severity
from kernelsift.kernels.static import names
from kernelsift.kernels.static.flow import Flow
from kernelsift.kernels.static.kernel import KernelBody
from kernelsift.kernels.static.program import Klass, Program
from kernelsift.kernels.static.values import Compute, Path, Thing, all_things, grounds

Hit = tuple[str, Severity, int]
"""Catalog id, severity, line."""
_BY_TAG: tuple[tuple[str, str, Severity], ...] = (
    ("env", "K54", "hard"),
    ("time", "K42", "hard"),
    ("pointer", "K40", "suspicious"),
    ("training", "K54", "suspicious"),
    ("grad", "K54", "suspicious"),
    ("value", "K27", "suspicious"),
    ("hash", "K43", "suspicious"),
    ("shape", "K26", "suspicious"),
    ("dtype", "K26", "suspicious"),
)


@dataclass(frozen=True, slots=True)
class Work:
    """What the rules on work look at."""

    program: Program
    flow: Flow
    kernels: dict[str, KernelBody]
    paths: list[Path]
    entry: Klass | None
    line: int
    """Line of the entry point."""
    module_name: str


def work_findings(work: Work) -> Iterator[Hit]:
    """Yield what the ways through the entry point say."""
    yield from _no_kernel(work)
    yield from _paths_without_launch(work)
    yield from _branches(work)
    for path in work.paths:
        if path.state.launches:
            yield from _with_launch(work, path)
    yield from _returned(work)
    yield from _routes(work)
    yield from _inheritance(work)


def _used(path: Path) -> bool:
    """Tell whether a way is a real answer: it does not ask first whether the input is empty."""
    return not any(choice.nothing for choice in path.state.choices)


def _no_kernel(work: Work) -> Iterator[Hit]:
    if any(p.state.launches for p in work.paths) or not work.paths:
        return
    computed = _computes(work.paths)
    first = computed[0].line if computed else work.paths[0].line or work.line
    if not work.kernels:
        yield "K01", "not-a-kernel", first
        if work.entry and work.entry.name == work.module_name:
            yield "K13", "not-a-kernel", work.line
    elif hidden := _launch_in(work.flow.dead, work.program):
        yield "K03", "not-a-kernel", hidden
    elif work.flow.complete:
        kernel = next(iter(work.kernels.values()))
        yield "K02", "not-a-kernel", kernel.func.line
    for compute in computed:
        if compute.route == "module":
            yield "K11", "not-a-kernel", compute.line


def _launch_in(nodes: Iterable[ast.AST], program: Program) -> int:
    """Return the line of a launch below these nodes, also through one function; 0: none."""
    for node in nodes:
        for part in program.inside(node):
            if isinstance(part, ast.Name) and part.id in program.kernels:
                return part.lineno
            func = part.func if isinstance(part, ast.Call) else None
            name = func.attr if isinstance(func, ast.Attribute) else ""
            called = _function(program, func.id if isinstance(func, ast.Name) else name)
            inner = program.inside(called) if called and func else []
            if any(isinstance(n, ast.Name) and n.id in program.kernels for n in inner):
                return func.lineno if func else 0
    return 0


def _function(program: Program, name: str) -> ast.AST | None:
    if name in program.functions:
        return program.functions[name].node
    methods = (k.methods[name] for k in program.classes.values() if name in k.methods)
    found = next(methods, None)
    return found.node if found else None


def _computes(paths: Iterable[Path]) -> list[Compute]:
    found = dict.fromkeys(c for p in paths for c in p.state.computes)
    return sorted(found, key=lambda c: c.line)


def _paths_without_launch(work: Work) -> Iterator[Hit]:
    some = any(p.state.launches for p in work.paths)
    for path in work.paths:
        state = path.state
        if state.launches or not _used(path):
            continue
        things = all_things(path.value)
        cached = [t for t in things if t.origin == "cache" and t not in state.changed]
        if cached:
            yield from _from_cache(cached, path)
        elif state.handler:
            computed = bool(state.computes)
            if computed or things:
                yield "K10", "not-a-kernel" if computed else "suspicious", state.handler
        elif some and state.computes:
            yield "K03", "suspicious", _decisive(path)


def _decisive(path: Path) -> int:
    choices = path.state.choices
    line = getattr(choices[-1].node, "lineno", 0) if choices else 0
    return line or path.line


def _from_cache(cached: list[Thing], path: Path) -> Iterator[Hit]:
    for thing in cached:
        from_inputs = any(t.origin == "input" for t in thing.held)
        exact = bool(thing.keys & {"value", "hash"})
        asked = {tag for choice in path.state.choices for tag in choice.tags}
        by_pointer = "pointer" in thing.keys | asked
        if exact:
            yield "K43", "suspicious", path.line
        else:
            severity: Severity = "hard" if from_inputs else "suspicious"
            yield ("K40" if by_pointer else "K41"), severity, path.line


def _branches(work: Work) -> Iterator[Hit]:
    ways: dict[ast.AST, tuple[set[object], set[object]]] = {}
    tags: dict[ast.AST, set[str]] = {}
    launching: dict[ast.AST, bool] = {}
    for path in work.paths:
        if not _used(path):
            continue
        for choice in path.state.choices:
            sides = ways.setdefault(choice.node, (set(), set()))
            sides[choice.taken].add(_signature(path))
            tags.setdefault(choice.node, set()).update(choice.tags)
            if any(_counts(work, name) for name in choice.names):
                tags[choice.node].add("time")
            if path.state.launches:
                launching[choice.node] = True
    for node, (no, yes) in ways.items():
        if no != yes and no and yes and launching.get(node):
            yield from _tagged(tags[node], getattr(node, "lineno", 0))


def _counts(work: Work, name: str) -> bool:
    thing = work.flow.caches.get(name)
    return bool(thing) and thing in thing.held  # type: ignore[union-attr]  # not None here


def _signature(path: Path) -> object:
    kernels = frozenset(launch.kernel for launch in path.state.launches)
    computed = frozenset(c.line for c in path.state.computes)
    return kernels, computed


def _tagged(tags: set[str], line: int) -> Iterator[Hit]:
    for tag, catalog_id, severity in _BY_TAG:
        if tag in tags:
            yield catalog_id, severity, line


def _with_launch(work: Work, path: Path) -> Iterator[Hit]:
    state = path.state
    returned = all_things(path.value)
    made_from = grounds(returned, state)
    line = state.launches[-1].node.lineno
    opaque = any(t.origin in {"unknown", "cache"} for t in made_from)
    if returned and not opaque and not any(t in state.written for t in made_from):
        yield "K04", "not-a-kernel", line
    bodies = [work.kernels[x.kernel] for x in state.launches if x.kernel in work.kernels]
    computed = [c for c in state.computes if c.thing in made_from]
    if bodies and all(b.copies() for b in bodies) and computed:
        plain = all(b.moves_nothing() for b in bodies)
        yield ("K05" if plain else "K06"), "not-a-kernel", line
    elif computed:
        yield from _fig_leaf(bodies, computed)
    kept = [t for t in returned if t.origin == "cache" and t in state.written]
    held = {t for v in state.attributes.values() for t in all_things(v) if t.origin != "input"}
    if kept or any(t in held and t in state.written for t in returned):
        yield "K45", "suspicious", path.line


def _fig_leaf(bodies: list[KernelBody], computed: list[Compute]) -> Iterator[Hit]:
    heavy = [c for c in computed if names.is_heavy(c.group)]
    strong = any(b.dots or b.reductions or b.loops or b.helpers or b.atomics for b in bodies)
    if heavy:
        yield "K06", "suspicious" if strong else "not-a-kernel", heavy[0].line
        for compute in heavy:
            if compute.route == "module":
                yield "K11", "suspicious", compute.line
    elif computed:
        yield "K06", "suspicious", computed[0].line


def _returned(work: Work) -> Iterator[Hit]:
    found = [(p, kind) for p in work.paths if _used(p) for kind in [_untouched(p)]]
    always = bool(found) and all(kind for _, kind in found)
    for path, kind in found:
        if kind:
            yield kind, "hard" if always else "suspicious", path.line


def _untouched(path: Path) -> str:
    """Return the id for a result that nobody computed, or ""."""
    state = path.state
    things = all_things(path.value)
    made_from = grounds(things, state)
    if not things or any(t in state.written for t in made_from):
        return ""
    origins = {t.origin for t in made_from}
    if origins & {"torch", "unknown", "cache", "array", "weight", "random"}:
        return ""
    if "table" in origins:
        return "K22"
    if "empty" in origins:
        return "K23"
    if origins <= {"filled", "copy"}:
        return "K20"
    return "K21" if origins <= {"input", "copy"} else ""


def _routes(work: Work) -> Iterator[Hit]:
    dots = any(
        work.kernels[x.kernel].dots or work.kernels[x.kernel].helpers
        for p in work.paths
        for x in p.state.launches
        if x.kernel in work.kernels
    )
    divided = {
        (node.lineno, node.col_offset)
        for node, place in work.program.of(ast.BinOp)
        if isinstance(node.op, ast.FloorDiv) and not (place.func and place.func.kernel)
    }
    for compute in _computes(work.paths):
        if any(line == compute.line and at < compute.column for line, at in divided):
            yield "K56", "suspicious", compute.line
        if compute.route in {"hidden", "array"}:
            yield "K07", "not-a-kernel", compute.line
        elif compute.route == "operator" and compute.group == "matmul":
            yield "K07", "suspicious" if dots else "not-a-kernel", compute.line
        elif compute.route == "library":
            yield "K12", "suspicious", compute.line
        elif compute.group == "compiled":
            yield "K08", "not-a-kernel", compute.line


def _inheritance(work: Work) -> Iterator[Hit]:
    for line in work.flow.super_calls:
        yield "K09", "not-a-kernel", line
    klass = work.entry
    if klass is None:
        return
    for base in klass.bases:
        if base in work.program.classes:
            own = "forward" in klass.methods
            if not own and not any(p.state.launches for p in work.paths):
                yield "K09", "not-a-kernel", klass.node.lineno
            elif base == work.module_name or base in {"Model", "Reference"}:
                yield "K09", "suspicious", klass.node.lineno
        elif "." not in base and base.isidentifier() and base not in {"object", "Module"}:
            yield "K09", "not-a-kernel", klass.node.lineno
    yield from _reference_used(work, klass)


def _reference_used(work: Work, klass: Klass) -> Iterator[Hit]:
    reference = {work.module_name, "Model"} - {klass.name, ""}
    computed = {c.line for c in _computes(work.paths)}
    for node, place in work.program.of(ast.Call):
        name = source.dotted(node.func)
        if name not in reference or place.main:
            continue
        known = work.program.classes.get(name)
        if known is None:
            yield "K09", "not-a-kernel", node.lineno
            continue
        first, last = known.node.lineno, known.node.end_lineno or known.node.lineno
        does = any(first <= line <= last for line in computed)
        yield "K09", "not-a-kernel" if does else "suspicious", node.lineno
