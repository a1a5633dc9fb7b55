"""The interface of a PyTorch module in words: parameters, defaults, shapes of its inputs."""

import ast
import re

from kernelsift import source
from kernelsift.kernels.expressions import Scope
from kernelsift.kernels.values import Code, Value, constant

_FILLS = {
    "rand": "uniform between 0 and 1",
    "randn": "standard normal",
    "ones": "ones",
    "zeros": "zeros",
    "empty": "arbitrary values",
    "randint": "random integers",
}
_LIBRARY = re.compile(r"\b(?:torch|nn|functional|F|np)\.")
_NUMBERS = {"int", "float", "bool", "str"}


def signature(function: ast.FunctionDef | None) -> str:
    """Return a method's parameters as written, without annotations."""
    if function is None:
        return "self"
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [_shown(a, d) for a, d in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        parts.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [
        _shown(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        parts.append(f"**{arguments.kwarg.arg}")
    return ", ".join(parts)


def parameters(function: ast.FunctionDef, *, tensors: bool) -> Scope:
    """Return what a reader knows of a method's parameters (without self)."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args][1:]
    every = [*plain, *arguments.kwonlyargs]
    defaults = dict(_defaults(function))
    scope: Scope = {}
    for argument in every:
        default = defaults.get(argument.arg)
        number = isinstance(default, ast.Constant) and default.value is not None
        note = source.dotted(argument.annotation) if argument.annotation else ""
        tensor = tensors and not number and note not in _NUMBERS
        scope[argument.arg] = Value(f"`{argument.arg}`", tensor=tensor)
    for extra in (arguments.vararg, arguments.kwarg):
        if extra:
            scope[extra.arg] = Value(f"`{extra.arg}`", tensor=tensors)
    return scope


def module_names(tree: ast.Module) -> Scope:
    """Return the constants and functions at the top of a file."""
    names: Scope = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names[node.name] = Value("a function", thing=Code(node))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _literal(node.value, {})
            if value is not None:
                names[node.targets[0].id] = Value(_plain(value))
    return names


def init_lines(tree: ast.Module, init: ast.FunctionDef | None) -> list[str]:
    """Return one line for each parameter of the constructor, with default and example."""
    examples = _init_examples(tree)
    defaults = dict(_defaults(init)) if init else {}
    lines = []
    for number, name in enumerate(_names(init)):
        said = f"- `{name}`"
        if defaults.get(name) is not None:
            said += f", default {_unparsed(defaults[name])}"
        example = examples.get(name, examples.get(number))
        lines.append(said + (f", for example {example}" if example else ""))
    return lines or ["- none"]


def input_lines(tree: ast.Module, forward: ast.FunctionDef | None) -> list[str]:
    """Return one line for each argument of forward, with shape and contents where known."""
    examples = _input_examples(tree)
    defaults = dict(_defaults(forward)) if forward else {}
    lines = []
    for number, name in enumerate(_names(forward)):
        said = f"- `{name}`"
        if number < len(examples) and examples[number]:
            said += f": for example {examples[number]}"
        if defaults.get(name) is not None:
            said += f" (may be left out; default {_unparsed(defaults[name])})"
        lines.append(said)
    return lines or ["- none"]


def _names(function: ast.FunctionDef | None) -> list[str]:
    if function is None:
        return []
    arguments = function.args
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args][1:]]
    return names + [a.arg for a in (arguments.vararg, *arguments.kwonlyargs, arguments.kwarg) if a]


def _defaults(function: ast.FunctionDef) -> list[tuple[str, ast.expr | None]]:
    plain = [*function.args.posonlyargs, *function.args.args]
    late = plain[len(plain) - len(function.args.defaults) :]
    found = [(a.arg, d) for a, d in zip(late, function.args.defaults, strict=True)]
    keyword = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [*found, *((a.arg, d) for a, d in keyword)]


def _shown(argument: ast.arg, default: ast.expr | None) -> str:
    return argument.arg if default is None else f"{argument.arg}={_unparsed(default)}"


def _unparsed(node: ast.expr | None) -> str:
    if node is None:
        return "none"
    text = ast.unparse(node)
    if not isinstance(node, ast.Constant):
        text = _LIBRARY.sub("", text)
    return text if len(text) <= 80 else "an expression"


# ---- examples -----------------------------------------------------------------------------------


def _literal(node: ast.expr, known: dict[str, object]) -> object:
    """Return the value of numbers, strings, tuples of them and arithmetic; None if unknown."""
    match node:
        case ast.Constant(value=plain):
            return plain
        case ast.Name(id=name):
            return known.get(name)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            values: list[object] = []
            for element in elements:
                inner = element.value if isinstance(element, ast.Starred) else element
                value = _literal(inner, known)
                if value is None:
                    return None
                several = isinstance(element, ast.Starred) and isinstance(value, tuple)
                values.extend(value if several and isinstance(value, tuple) else [value])
            return tuple(values)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand, known)
            return -value if isinstance(value, int | float) else None
        case ast.BinOp(left=left, op=operator, right=right):
            return _arithmetic(_literal(left, known), operator, _literal(right, known))
        case _:
            return None


def _arithmetic(left: object, operator: ast.operator, right: object) -> object:
    if not isinstance(left, int) or not isinstance(right, int) or abs(left) > 10**9:
        return None
    match operator:
        case ast.Mult():
            return left * right if abs(right) < 10**9 else None
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.FloorDiv() if right:
            return left // right
        case _:
            return None


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_plain(v) for v in value)})"
    return constant(value)


def _constants(tree: ast.Module, function: str) -> tuple[dict[str, object], ast.expr | None]:
    """Return the constants that a function at top level sees, and what it returns."""
    known: dict[str, object] = {}
    returned: ast.expr | None = None
    body: list[ast.stmt] = list(tree.body)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            body += node.body
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _literal(node.value, known)
            if value is None and isinstance(node.value, ast.Call):
                value = _tensor(node.value, known)
            if value is not None:
                known[node.targets[0].id] = value
        elif isinstance(node, ast.Return):
            returned = node.value
    return known, returned


def _input_examples(tree: ast.Module) -> list[str]:
    known, returned = _constants(tree, "get_inputs")
    if not isinstance(returned, ast.List | ast.Tuple):
        return []
    return [_example(node, known) for node in returned.elts]


def _example(node: ast.expr, known: dict[str, object]) -> str:
    if isinstance(node, ast.Call):
        return _tensor(node, known) or ""
    value = _literal(node, known)
    if isinstance(value, str):
        return value
    return _plain(value) if value is not None else ""


def _tensor(node: ast.Call, known: dict[str, object]) -> str | None:
    """Return "a tensor of shape (4, 4), standard normal" for a call that makes one."""
    func = node.func
    name = func.attr if isinstance(func, ast.Attribute) else ""
    arguments = list(node.args)
    if name not in _FILLS:
        inner = func.value if isinstance(func, ast.Attribute) else None
        return _tensor(inner, known) if isinstance(inner, ast.Call) else None
    if name == "randint":
        sized = [k.value for k in node.keywords if k.arg == "size"]
        arguments = sized or arguments[-1:]
    size = _literal(ast.List(arguments, ast.Load()), known)
    if not isinstance(size, tuple):
        return None
    if len(size) == 1 and isinstance(size[0], tuple):
        size = size[0]
    shape = f"({', '.join(map(str, size))}{',' if len(size) == 1 else ''})"
    return f"a tensor of shape {shape}, {_FILLS[name]}" if size else f"a scalar, {_FILLS[name]}"


def _init_examples(tree: ast.Module) -> dict[str | int, str]:
    """Return example values by parameter name or position."""
    known, returned = _constants(tree, "get_init_inputs")
    if not isinstance(returned, ast.List | ast.Tuple):
        return {}
    elements = returned.elts
    named: dict[str | int, str] = {}
    if len(elements) == 2 and isinstance(elements[1], ast.Dict):
        pairs = zip(elements[1].keys, elements[1].values, strict=True)
        for key, value in pairs:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                named[key.value] = _init_example(value, known)
        elements = elements[0].elts if isinstance(elements[0], ast.List | ast.Tuple) else []
    named.update({n: _init_example(element, known) for n, element in enumerate(elements)})
    return {key: text for key, text in named.items() if text}


def _init_example(node: ast.expr, known: dict[str, object]) -> str:
    if isinstance(node, ast.Call) and source.dotted(node.func) == "_mock_config":
        held = [f"{k.arg} = {_example(k.value, known)}" for k in node.keywords if k.arg]
        return f"an object with {', '.join(held)}"
    return _example(node, known)
