"""Programs of a benchmark, changed as they are on their way into a training row."""

import ast
import random
from collections.abc import Callable
from functools import partial

_OWN = frozenset({"get_inputs", "get_init_inputs", "forward", "self", "super", "torch", "nn", "F"})


class Renamed(ast.NodeTransformer):
    """Every name that the program makes is another one; numbers too, where asked."""

    def __init__(self, tree: ast.AST, *, numbers: bool) -> None:
        self._numbers = numbers
        stored = {n.id for n in ast.walk(tree) if _is_stored(n) and isinstance(n, ast.Name)}
        made = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        made |= stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        attributes = {
            n.attr for n in ast.walk(tree) if _is_stored(n) and isinstance(n, ast.Attribute)
        }
        own = {name for name in made | attributes if name not in _OWN and not name.startswith("__")}
        self._names = {name: f"v_{name[::-1]}_{at}" for at, name in enumerate(sorted(own))}
        self._attributes = attributes | made

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._names.get(node.arg, node.arg)
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            node.attr = self._names.get(node.attr, node.attr)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._names.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._names.get(node.name, node.name)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if self._numbers and type(node.value) is int and node.value > 3:
            node.value = 2 * node.value + 1
        return node


def _is_stored(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def renamed(code: str, *, numbers: bool = False) -> str:
    """The program with other names, without comments and docstrings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[index]  # it has a docstring
    return ast.unparse(ast.fix_missing_locations(Renamed(tree, numbers=numbers).visit(tree)))


def recommented(code: str, rng: random.Random) -> str:
    """The program laid out anew, with other comments."""
    lines = ast.unparse(ast.parse(code)).split("\n")
    words = ("input", "output", "shape", "apply", "result", "tensor", "layer", "then", "of", "the")
    out = []
    for line in lines:
        is_code = line.strip() and '"""' not in line and not line.endswith(("\\", "("))
        note = " ".join(rng.choices(words, k=4))
        out.append(f"{line}  # {note}" if is_code and rng.random() < 0.7 else line)
    text = "\n".join(out)
    return text if _parses(text) else "\n".join(lines)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def edited(code: str, count: int, rng: random.Random) -> str:
    """The program with other names and `count` statements more."""
    tree = ast.parse(renamed(code))
    names = {"forward", "__init__", "get_inputs"}
    places = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in names]
    for _ in range(count):
        body = rng.choice(places).body
        body.insert(rng.randrange(len(body)), ast.parse("extra = int(2)").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def other_inputs(code: str) -> str:
    """The module's classes with the inputs of another data set."""
    tree = ast.parse(code)
    kept = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    tree.body = [
        n for n in tree.body
        if isinstance(n, kept) and getattr(n, "name", "") not in {"get_inputs", "get_init_inputs"}
    ]  # fmt: skip
    tail = "\n\n\ndef get_inputs():\n    return [torch.rand([4, 4, 4, 4])]\n\n\n"
    return ast.unparse(tree) + tail + "def get_init_inputs():\n    return [[], {'n': 4}]\n"


def changes() -> dict[str, Callable[[str], str]]:
    """What may have happened to a problem on its way into a row."""
    rng = random.Random(1)
    return {
        "as published": lambda code: code,
        "other comments and layout": partial(recommented, rng=rng),
        "other names": renamed,
        "other names and numbers": partial(renamed, numbers=True),
        "other inputs": other_inputs,
        "other names, one line more": partial(edited, count=1, rng=rng),
        "other names, two lines more": partial(edited, count=2, rng=rng),
        "other names, three lines more": partial(edited, count=3, rng=rng),
    }
