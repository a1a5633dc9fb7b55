"""Statements of a PyTorch module: names get values, branches and loops become headings."""

import ast
from collections.abc import Sequence
from dataclasses import replace

from kernelsift import source
from kernelsift.kernels.expressions import Expressions, Scope, element_of
from kernelsift.kernels.values import Code, Value, listed, moved


def run(reader: Expressions, body: Sequence[ast.stmt], scope: Scope) -> bool:
    """Read statements; return True where they end in a return."""
    for statement in body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                found = reader.value(value, scope)
                for target in targets:
                    reader.bind(target, found, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                reader.bind(target, reader.value(value, scope), scope)
            case ast.AugAssign(target=target, op=operator, value=value):
                old, new = reader.value(target, scope), reader.value(value, scope)
                reader.bind(target, reader.combine(operator, old, new), scope)
            case ast.Expr(value=ast.Call() as value):
                _act(reader, value, scope)
            case ast.Return(value=value):
                reader.returned.append(reader.value(value, scope) if value else Value("nothing"))
                return True
            case _:
                if _compound(reader, statement, scope):
                    return True
    return False


def _compound(reader: Expressions, statement: ast.stmt, scope: Scope) -> bool:
    match statement:
        case ast.If():
            return _if(reader, statement, scope)
        case ast.For(target=target, iter=over, body=body):
            _loop(reader, reader.value(over, scope), target, body, scope)
        case ast.FunctionDef(name=name):
            scope[name] = Value("a function", thing=Code(statement))
        case ast.Raise():
            return True
        case ast.While(test=test, body=body):
            _loop(reader, Value(f"while {reader.value(test, scope).text}"), None, body, scope)
        case ast.With(body=body) | ast.Try(body=body):
            return run(reader, body, scope)
        case _:
            pass
    return False


def _act(reader: Expressions, node: ast.Call, scope: Scope) -> None:
    """Read a call whose result is not used: it may still change a list or a tensor."""
    func = node.func
    if isinstance(func, ast.Attribute) and func.attr in {"append", "extend"} and node.args:
        base, new = reader.value(func.value, scope), reader.value(node.args[0], scope)
        if base.items is not None and not base.repeated and func.attr == "append":
            place = moved(new, str(len(base.items))) if reader.script.silent else new
            reader.bind(func.value, listed([*base.items, place]), scope)
        elif not reader.script.silent:
            reader.script.say(f"Append {new.text} to {base.text}.")
        return
    name = func.attr if isinstance(func, ast.Attribute) else ""
    if name in {"register_buffer", "register_parameter", "add_module"} and len(node.args) > 1:
        _register(reader, name, node, scope)
        return
    result = reader.value(node, scope)
    inplace = name.endswith("_") and isinstance(func, ast.Attribute)
    if inplace and isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
        scope[func.value.id] = result
    elif source.dotted(func).startswith("self.") and reader.returned[:-1]:
        reader.returned.pop()


def _register(reader: Expressions, how: str, node: ast.Call, scope: Scope) -> None:
    held = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    value = reader.value(node.args[1], scope)
    if isinstance(held, str) and value.text != "none":
        if how == "register_buffer":
            value = Value(f"`{held}`", tensor=True, origin=f"buffer: at first {value.text}")
        else:
            value = held_as(held, value)
        reader.attributes[held] = value


def _if(reader: Expressions, node: ast.If, scope: Scope) -> bool:
    test = reader.value(node.test, scope)
    first, second = dict(scope), dict(scope)
    kept = list(reader.returned)
    _branch(reader, f"If {test.text}:", node.body)
    ended = _inner(reader, node.body, first)
    if node.orelse:
        _branch(reader, "Otherwise:", node.orelse)
    other = _inner(reader, node.orelse, second)
    early = reader.returned[len(kept) :]
    if len(early) == 1 and not (ended and other) and not reader.script.silent:
        reader.script.say(f"In that case the output is {early[0].text} and nothing below is done.")
    if len(early) == 2 and ended and other:
        both = f"({early[0].text} if {test.text}, otherwise {early[1].text})"
        reader.returned = [*kept, Value(both, early[0].tensor, items=early[0].items)]
    _merge(reader, scope, second if ended else first, first if other else second, test.text)
    return ended and other


def _branch(reader: Expressions, heading: str, body: Sequence[ast.stmt]) -> None:
    if body and not all(isinstance(s, ast.Raise | ast.Pass) for s in body):
        reader.script.say(heading)


def _inner(reader: Expressions, body: Sequence[ast.stmt], scope: Scope) -> bool:
    reader.script.indent += 1
    ended = run(reader, body, scope)
    reader.script.indent -= 1
    return ended


def _merge(reader: Expressions, scope: Scope, first: Scope, second: Scope, test: str) -> None:
    """Join what two branches leave behind."""
    for name in [*first, *(n for n in second if n not in first)]:
        one, two = first.get(name), second.get(name)
        if one is None or two is None or one.text == two.text:
            scope[name] = one or two or Value("a value")
        elif reader.script.silent or not (one.tensor or two.tensor):
            both = one if one.thing or not two.thing else two
            scope[name] = replace(both, text=f"({one.text} or else {two.text})")
        else:
            text = f"Continue with {one.text} if {test}, otherwise with {two.text}"
            scope[name] = reader.script.step(text)


def _loop(
    reader: Expressions,
    over: Value,
    target: ast.expr | None,
    body: Sequence[ast.stmt],
    scope: Scope,
) -> None:
    if over.items and not over.repeated and target is not None and len(over.items) <= 8:
        for item in over.items:
            reader.bind(target, item, scope)
            run(reader, body, scope)
        return
    changed = [n for n in _assigned(body) if n in scope and scope[n].thing is None]
    for name in changed if not reader.script.silent else []:
        label = f"running value {reader.script.label()}"
        reader.script.say(f"Start {label} as {scope[name].text}.")
        scope[name] = replace(scope[name], text=label, items=None)
    start = {name: scope[name] for name in changed}
    each = over.text if over.text.startswith("while ") else f"for each element of {over.text}"
    reader.script.say(f"Repeat {each}:")
    if target is not None:
        reader.bind(target, element_of(over), scope)
    _inner(reader, body, scope)
    for name in changed if not reader.script.silent else []:
        if scope[name].text != start[name].text:
            reader.script.indent += 1
            reader.script.say(f"Set {start[name].text} to {scope[name].text}.")
            reader.script.indent -= 1
        scope[name] = replace(start[name], tensor=scope[name].tensor or start[name].tensor)


def held_as(name: str, value: Value) -> Value:
    """Return a value as the attribute of that name: its place in the state dict is then known."""
    value = moved(value, name)
    return replace(value, text=f"`{name}`") if value.text == "a parameter" else value


def _assigned(body: Sequence[ast.stmt]) -> list[str]:
    """Return the names that statements give new values, in order of appearance."""
    names: dict[str, None] = {}
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] = None
    return list(names)
