"""What of a PyTorch module a task prompt must name, and what it must not."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.reader import Reader
from kernelsift.kernels.values import Script
from kernelsift.prompting.texts import Token, tokens
from kernelsift.similarity.tokens import api_names

Kind = Literal["helper", "attribute", "local"]
Plain = bool | int | float | str | None
"""A default that a text can give."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
_OPEN = frozenset({"__init__", "forward"})
"""Functions whose signatures are the interface, also those of a base class."""
HARNESS = frozenset({"get_inputs", "get_init_inputs"})
TRIVIAL = frozenset({0.0, 1.0, 2.0})
"""Constants that prose says in other ways: first, both, squared."""
_NOT_SAID = (ast.Assert, ast.Raise, ast.Subscript, ast.JoinedStr)
"""Numbers in these are of no concern to a reader: messages, positions."""
_SILENT = frozenset({"print", "range", "warn", "size", "isinstance", "super", "exit"})


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the computation."""

    value: float
    line: int
    is_own: bool
    """It stands in forward of the class itself, or sets up a layer in its constructor."""


@dataclass(frozen=True, slots=True)
class Called:
    """An operation of PyTorch that the module uses."""

    name: str
    group: str
    line: int


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """A module as the checks see it."""

    name: str
    init: tuple[str, ...]
    """Parameters of the constructor, without self."""
    forward: tuple[str, ...]
    defaults: tuple[tuple[str, Plain], ...]
    """Parameters of both with a default that is a plain value."""
    interface: frozenset[str]
    """Names that may stand in a prompt."""
    hidden: tuple[tuple[str, Kind], ...]
    """Names that must not: of helpers, attributes without state, local variables; sorted."""
    values: frozenset[str]
    """Words in texts of the program, and names of arguments of PyTorch: settings, not names."""
    constants: tuple[Constant, ...]
    operations: tuple[Called, ...]
    code: tuple[tuple[Token, ...], ...]
    """Pieces of the program without comments, docstrings, the two signatures and the inputs."""


def read_module(name: str, reference: str) -> ModuleFacts | None:
    """Read the class `name`, or the module class that the file is about; None without any."""
    tree = source.parse(reference)
    if tree is None:
        return None
    named = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    node = named[-1] if named else source.module_class(tree)
    if node is None:
        return None
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    reader = Reader(Script(), {}, classes, node)
    init, forward = reader.method("__init__"), reader.method("forward")
    both = [f for f in (init, forward) if f is not None]
    reached, nodes = _reached(tree, node), list(ast.walk(tree))
    texts = _words_in_texts(nodes)
    allowed = {name, f"{name}New", node.name, *(p for f in both for p in _parameters(f))}
    allowed |= {n.id for f in both for n in _named_in_defaults(f)}
    allowed |= _state_names(nodes) | _words_of_values(nodes) | texts
    return ModuleFacts(
        name=name,
        init=_parameters(init),
        forward=_parameters(forward),
        defaults=tuple(pair for f in both for pair in _defaults(f)),
        interface=frozenset(allowed),
        hidden=tuple(sorted(_hidden(tree, allowed).items())),
        values=texts | operations.argument_names(),
        constants=tuple(_constants(reached, init, forward)),
        operations=tuple(_operations(reached)),
        code=_pieces(reference, tree, nodes),
    )


def _parameters(function: ast.FunctionDef | None) -> tuple[str, ...]:
    if function is None:
        return ()
    held = function.args
    plain = [a.arg for a in [*held.posonlyargs, *held.args][1:]]
    rest = (held.vararg, *held.kwonlyargs, held.kwarg)
    return (*plain, *(a.arg for a in rest if a))


def _named_in_defaults(function: Function) -> Iterator[ast.Name]:
    defaults = [*function.args.defaults, *(d for d in function.args.kw_defaults if d)]
    for default in defaults:
        yield from (n for n in ast.walk(default) if isinstance(n, ast.Name))


def _defaults(function: Function) -> Iterator[tuple[str, Plain]]:
    held = function.args
    plain = [*held.posonlyargs, *held.args]
    late = plain[len(plain) - len(held.defaults) :]
    pairs = [*zip(late, held.defaults, strict=True)]
    pairs += [(a, d) for a, d in zip(held.kwonlyargs, held.kw_defaults, strict=True) if d]
    for argument, default in pairs:
        try:
            value = ast.literal_eval(default)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        if value is None or isinstance(value, bool | int | float | str):
            yield argument.arg, value


# ---- what is reached from the class -------------------------------------------------------------


def _reached(tree: ast.Module, node: ast.ClassDef) -> list[Function]:
    """The functions that constructing and calling the module may run, by name."""
    functions = {n.name: n for n in tree.body if isinstance(n, Function)}
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    todo: list[ast.ClassDef | Function] = [node]
    seen: set[int] = set()
    found: list[Function] = []
    names: set[str] = {"__init__", "forward"}
    waiting: list[Function] = []
    while todo or (ready := [m for m in waiting if m.name in names]):
        if not todo:
            todo = list(ready)
            waiting = [m for m in waiting if m.name not in names]
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, ast.ClassDef):
            waiting += [n for n in one.body if isinstance(n, Function)]
            used = {source.dotted(base) for base in one.bases}
        else:
            found.append(one)
            used = _used(one)
        names |= used
        todo += [made[n] for n in sorted(used) for made in (functions, classes) if n in made]
    return sorted(found, key=lambda f: f.lineno)


def _used(function: Function) -> set[str]:
    nodes = list(ast.walk(function))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }


def _constants(
    reached: Sequence[Function], init: Function | None, forward: Function | None
) -> Iterator[Constant]:
    """Numbers, each once; those of its own code first."""
    own = _numbers_in([*_said(forward)] if forward else [])
    own += _numbers_in([part for call in _layers_made(init) for part in _given(call)])
    inner = _numbers_in([part for function in reached for part in _said(function)])
    seen = set(TRIVIAL)
    for found, is_own in ((own, True), (inner, False)):
        for size, line in found:
            if size not in seen:
                seen.add(size)
                yield Constant(size, line, is_own)


def _numbers_in(nodes: Sequence[ast.AST]) -> list[tuple[float, int]]:
    found = []
    for node in nodes:
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            size = abs(float(value)) if abs(value) < 1e300 else 1e300
            found.append((size, getattr(node, "lineno", 0)))
    return found


def _layers_made(init: Function | None) -> list[ast.Call]:
    calls = [n for n in _said(init) if isinstance(n, ast.Call)] if init else []
    return [call for call in calls if operations.layer(_last(call.func))]


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _said(function: Function) -> Iterator[ast.AST]:
    """The nodes of a body but for messages, positions, annotations, defaults and docstrings."""
    todo: list[ast.AST] = [*function.body[::-1]]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Subscript):
            todo.append(node.value)
        elif isinstance(node, ast.Call) and _last(node.func) in _SILENT:
            todo.append(node.func)
        elif isinstance(node, Function):
            todo += node.body[::-1]
        elif not isinstance(node, _NOT_SAID):
            todo += list(ast.iter_child_nodes(node))[::-1]


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _operations(reached: Sequence[Function]) -> Iterator[Called]:
    own = {function.name for function in reached}
    seen: set[str] = set()
    for function in reached:
        for node in _said(function):
            name = _last(node.func) if isinstance(node, ast.Call) else ""
            if not name or name in seen or name in own:
                continue
            plain = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            known = operations.layer(name) or (None if plain else operations.function(name))
            if known and known.group not in operations.FREE:
                seen.add(name)
                yield Called(name, known.group, getattr(node, "lineno", 0))


# ---- names --------------------------------------------------------------------------------------


def _state_names(nodes: Sequence[ast.AST]) -> set[str]:
    """Names of submodules, parameters and buffers of any class of the file, as far as one can see:
    what holds something that was constructed, or is called, or gone through."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if _makes_state(node.value):
                names |= {t.attr for t in _flat(targets) if isinstance(t, ast.Attribute)}
        elif isinstance(node, ast.Call):
            names |= _attribute_of_self(node.func)
        elif isinstance(node, ast.For | ast.comprehension):
            names |= {name for part in ast.walk(node.iter) for name in _attribute_of_self(part)}
    return names - {n.name for n in nodes if isinstance(n, Function)}


def _attribute_of_self(node: ast.AST) -> set[str]:
    """The attribute in `self.layer`, `self.layer[0]`; empty for anything else."""
    while isinstance(node, ast.Subscript):
        node = node.value
    is_own = isinstance(node, ast.Attribute) and not _is_of_argument(node)
    return {node.attr} if isinstance(node, ast.Attribute) and is_own else set()


def _makes_state(value: ast.expr) -> bool:
    """Whether it constructs something: a layer, a parameter, a list of layers."""
    calls = [_last(n.func) for n in ast.walk(value) if isinstance(n, ast.Call)]
    return any(name[:1].isupper() or name == "_mock_layer" for name in calls)


def _words_of_values(nodes: Sequence[ast.AST]) -> set[str]:
    """Names of keyword arguments and of other objects' attributes: settings, not names."""
    words: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.keyword) and node.arg:
            words.add(node.arg)
        elif isinstance(node, ast.Attribute) and _is_of_argument(node):
            words.add(node.attr)
    return words


def _words_in_texts(nodes: Sequence[ast.AST]) -> frozenset[str]:
    texts = [n.value for n in nodes if isinstance(n, ast.Constant)]
    short = [text for text in texts if isinstance(text, str) and len(text) <= 80]
    return frozenset(word for text in short for word in re.findall(r"\w+", text))


def _is_of_argument(node: ast.Attribute) -> bool:
    """`config.hidden_size`: what an argument holds is part of the interface."""
    return isinstance(node.value, ast.Name) and node.value.id not in {"self", "cls"}


def _hidden(tree: ast.Module, allowed: set[str]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for top in tree.body:
        if isinstance(top, Function) and top.name in HARNESS:
            continue
        for name, kind in _bound(top):
            found.setdefault(name, kind)
    known = allowed | api_names() | operations.argument_names() | {"self", "cls"}
    return {n: k for n, k in found.items() if n not in known and not n.startswith("__")}


def _bound(top: ast.AST) -> Iterator[tuple[str, Kind]]:
    for node in ast.walk(top):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, "helper"
        elif isinstance(node, ast.arg):
            yield node.arg, "local"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, "local"
        elif isinstance(node, ast.Attribute) and _is_set_on_self(node):
            yield node.attr, "attribute"


def _is_set_on_self(node: ast.Attribute) -> bool:
    own = isinstance(node.value, ast.Name) and node.value.id == "self"
    return own and isinstance(node.ctx, ast.Store)


def _flat(targets: Sequence[ast.expr]) -> Iterator[ast.expr]:
    for target in targets:
        if isinstance(target, ast.Tuple | ast.List):
            yield from _flat(target.elts)
        else:
            yield target


# ---- the program as pieces ----------------------------------------------------------------------


def _pieces(
    reference: str, tree: ast.Module, nodes: Sequence[ast.AST]
) -> tuple[tuple[Token, ...], ...]:
    """Tokens between what may stand in a prompt; the lines are those of the program."""
    signatures = [n for n in nodes if isinstance(n, Function) and n.name in _OPEN]
    open_lines = {
        number for function in signatures for number in range(function.lineno, _body_line(function))
    }
    open_lines |= {
        number
        for node in tree.body
        if isinstance(node, Function) and node.name in HARNESS
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    pieces: list[list[Token]] = [[]]
    for token in tokens(_bare(reference)):
        if token.line in open_lines:
            if pieces[-1]:
                pieces.append([])
        else:
            pieces[-1].append(token)
    return tuple(tuple(piece) for piece in pieces if piece)


def _body_line(function: Function) -> int:
    first = function.body[0].lineno
    return max(first, function.lineno + 1)


def _bare(reference: str) -> str:
    """The program with comments and texts that stand alone made blank; lines stay in place."""
    text = reference.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return text
    before = tokenize.NEWLINE
    layout = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}
    for one in found:
        alone = one.type == tokenize.STRING and before == tokenize.NEWLINE
        if one.type == tokenize.COMMENT or alone:
            _blank(lines, one.start, one.end)
        if one.type not in layout:
            before = one.type
    return "\n".join(lines)


def _blank(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> None:
    for number in range(start[0], end[0] + 1):
        line = lines[number - 1]
        first = start[1] if number == start[0] else 0
        last = end[1] if number == end[0] else len(line)
        lines[number - 1] = line[:first] + " " * (last - first) + line[last:]
