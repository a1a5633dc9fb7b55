"""A normal form of programs: what is the same program gets the same digest.

Two programs are the same when their syntax trees are, after this:

- comments, docstrings, formatting, `pass` and lone constants go; so does the block of
  `if __name__ == "__main__"`
- imports go; a name that an import made stands for what was imported, whatever its alias
- names that the file itself makes (variables, parameters, functions, classes, methods, attributes
  of self) are numbered in order of appearance; names of hooks that a framework calls (forward,
  `__init__`, get_inputs …) stay
- a keyword argument is such a name when the call is of something in the file, and so is a text that
  names a parameter of a decorated function (`triton.Config({"BLOCK": 64})`, `key=["n"]`)
- annotations go, unless they say constexpr
- with `constants=False` every number is 0

API names, keyword arguments of libraries, operators, texts and order of statements stay.
"""

import ast
import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

from kernelsift.source import dotted, parse

VERSION = 1
"""Raised when the same text may get another digest: stored fingerprints go with it."""
_HOOKS = frozenset({
    "forward", "backward", "setup_context", "jvp", "vmap", "get_inputs", "get_init_inputs",
    "extra_repr", "reset_parameters",
})  # fmt: skip
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def exact_digest(code: str, *, constants: bool = True) -> str | None:
    """Digest of the program's normal form: 32 hex characters; None where it does not parse.

    Args:
        code: Source text of a whole program.
        constants: Whether numbers must be the same too. True and None are no numbers.

    Returns:
        None as well where nothing is left (only comments), or where it is nested too deeply.
    """
    try:
        tree = parse(code)
        words = _Normal(tree, constants=constants).words() if tree else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not words:
        return None
    text = "\x1f".join(words).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class _Names(ast.NodeVisitor):
    """What a file makes: names, attributes, parameters; and what its imports stand for."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.attributes: set[str] = set()
        self.callables: set[str] = set()
        self.parameters: set[str] = set()
        self.tunable: set[str] = set()
        """Parameters of decorated functions: texts may name them."""
        self.imported: dict[str, str] = {}

    def read(self, tree: ast.AST) -> None:
        """Look at every node once, in any order."""
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    self.made.add(name)
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    self.attributes.add(name)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    self._function(node)
                case ast.ClassDef(name=name, body=body):
                    self.made.add(name)
                    self.callables.add(name)
                    self._methods(body)
                case ast.ExceptHandler(name=str(name)):
                    self.made.add(name)
                case ast.Import() | ast.ImportFrom():
                    self._import(node)
        self.made -= self.imported.keys() | _HOOKS
        self.attributes -= _HOOKS

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            else:
                first = alias.name.split(".")[0]
                self.imported[alias.asname or first] = alias.name if alias.asname else first

    def _function(self, node: _Function) -> None:
        args = node.args
        listed = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        names = {arg.arg for arg in (*listed, args.vararg, args.kwarg) if arg}
        self.parameters |= names
        self.made |= names
        if not isinstance(node, ast.Lambda):
            self.made.add(node.name)
            self.callables.add(node.name)
            if node.decorator_list:
                self.tunable |= names

    def _methods(self, body: list[ast.stmt]) -> None:
        """Methods and class variables are found through attributes."""
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.attributes |= set() if _is_dunder(node.name) else {node.name}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.attributes |= {t.id for t in targets if isinstance(t, ast.Name)}


class _Normal:
    """Writes a tree as words in normal form."""

    def __init__(self, tree: ast.Module, *, constants: bool) -> None:
        self._tree = tree
        self._constants = constants
        self._names = _Names()
        self._names.read(tree)
        self._numbers: dict[str, str] = {}
        self._out: list[str] = []

    def words(self) -> list[str]:
        for node in self._tree.body:
            if not _says_nothing(node):
                self._node(node)
        return self._out

    def _node(self, node: ast.AST) -> None:
        kind = type(node)
        special = _SPECIAL.get(kind)
        if special is not None:
            special(self, node)
            return
        self._out.append(kind.__name__)
        for field in _fields(kind):  # type: ignore[arg-type]  # classes are hashable
            self._value(getattr(node, field, None))
        self._out.append(")")

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self._node(value)
        elif isinstance(value, list):
            self._out.append("[")
            for item in value:
                if not (isinstance(item, ast.stmt) and _says_nothing(item)):
                    self._value(item)
            self._out.append("]")
        else:
            self._out.append(repr(value))

    def _own(self, name: str) -> str:
        """The number of a name of the file, by order of appearance."""
        return self._numbers.setdefault(name, f"${len(self._numbers)}")

    # --- what is not written as it stands -------------------------------------------------------

    def name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._names.made:
            self._out.append(self._own(name))
        else:
            self._out.append(self._names.imported.get(name, name))

    def attribute(self, node: ast.Attribute) -> None:
        name = node.attr
        root, _, rest = dotted(node).partition(".")
        if root and root not in self._names.made:
            # the same whether `import a.b as b` or `import a` has made it
            self._out.append(f"{self._names.imported.get(root, root)}.{rest}")
            return
        self._node(node.value)
        is_own = name in self._names.attributes and not _is_dunder(name)
        # a name of its own: `self.dim = dim` may be renamed on one side only
        self._out.append("." + (self._own(f".{name}") if is_own else name))

    def constant(self, node: ast.Constant) -> None:
        value = node.value
        is_number = isinstance(value, int | float | complex) and not isinstance(value, bool)
        if is_number and not self._constants:
            self._out.append("0")
        elif isinstance(value, str) and value in self._names.tunable:
            self._out.append(f"'{self._own(value)}")
        else:
            self._out.append(repr(value))

    def unary(self, node: ast.UnaryOp) -> None:
        is_sign = isinstance(node.op, ast.USub | ast.UAdd) and isinstance(
            node.operand, ast.Constant
        )
        if not (is_sign and not self._constants):
            self._out.append(type(node.op).__name__)
        self._node(node.operand)

    def call(self, node: ast.Call) -> None:
        self._out.append("Call")
        self._node(node.func)
        for arg in node.args:
            self._node(arg)
        is_own = _callee(node.func) in self._names.callables
        for keyword in sorted(node.keywords, key=lambda k: k.arg is None):
            name = keyword.arg
            known = is_own and name in self._names.parameters
            self._out.append(f"{self._own(name) if known and name else name}=")
            self._node(keyword.value)
        self._out.append(")")

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._out.append(type(node).__name__)
        name = node.name
        kept = _is_dunder(name) or name in _HOOKS
        self._out.append(name if kept else self._own(name))
        self._value(node.decorator_list)
        self._node(node.args)
        self._value(node.body)

    def class_(self, node: ast.ClassDef) -> None:
        self._out += ["class", self._own(node.name)]
        self._value(node.bases)
        self._value(node.keywords)
        self._value(node.decorator_list)
        self._value(node.body)

    def argument(self, node: ast.arg) -> None:
        is_constexpr = node.annotation is not None and "constexpr" in ast.dump(node.annotation)
        self._out.append(self._own(node.arg) + (":constexpr" if is_constexpr else ""))

    def annotated(self, node: ast.AnnAssign) -> None:
        if node.value is None:
            self._out.append("declare")
            self._node(node.target)
        else:
            self._value([ast.Assign([node.target], node.value)])

    def nothing(self, node: ast.Import | ast.ImportFrom) -> None:
        """What is imported stands where it is used."""

    def global_(self, node: ast.Global | ast.Nonlocal) -> None:
        self._out += [type(node).__name__, *map(self._own, node.names)]

    def handler(self, node: ast.ExceptHandler) -> None:
        self._out.append("except")
        self._value(node.type)
        self._value(self._own(node.name) if node.name else None)
        self._value(node.body)


_SPECIAL: dict[type[ast.AST], Callable[[_Normal, Any], None]] = {
    ast.Name: _Normal.name,
    ast.Attribute: _Normal.attribute,
    ast.Constant: _Normal.constant,
    ast.UnaryOp: _Normal.unary,
    ast.Call: _Normal.call,
    ast.FunctionDef: _Normal.function,
    ast.AsyncFunctionDef: _Normal.function,
    ast.ClassDef: _Normal.class_,
    ast.arg: _Normal.argument,
    ast.AnnAssign: _Normal.annotated,
    ast.Import: _Normal.nothing,
    ast.ImportFrom: _Normal.nothing,
    ast.Global: _Normal.global_,
    ast.Nonlocal: _Normal.global_,
    ast.ExceptHandler: _Normal.handler,
}


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """What a node of this kind is made of, without what says nothing of its meaning."""
    return tuple(f for f in kind._fields if f not in {"ctx", "type_comment", "kind"})


def _says_nothing(node: ast.stmt) -> bool:
    """Docstrings, lone constants, `pass`, and what only runs when the file is a script."""
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


def _callee(node: ast.expr) -> str:
    """The function that is called: `kernel` of kernel[grid](…), `run` of self.run(…)."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
