"""Expressions of a PyTorch module in words: tensor work becomes steps, the rest stays a formula."""

import ast
from collections.abc import Callable

from kernelsift import source
from kernelsift.kernels import operations
from kernelsift.kernels.values import (
    Block,
    Code,
    Layer,
    Script,
    Value,
    constant,
    joined,
    listed,
    moved,
    words,
)

Scope = dict[str, Value]

_BINARY: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("Add {0} and {1}", "+"),
    ast.Sub: ("Subtract {1} from {0}", "-"),
    ast.Mult: ("Multiply {0} by {1} element by element", "*"),
    ast.Div: ("Divide {0} by {1}", "/"),
    ast.FloorDiv: ("Divide {0} by {1}, rounding down", "//"),
    ast.Mod: ("Take the remainder of {0} divided by {1}", "mod"),
    ast.Pow: ("Raise {0} to the power {1}", "^"),
    ast.MatMult: ("Matrix-multiply {0} by {1}", "times"),
    ast.BitAnd: ("Take the logical AND of {0} and {1}", "and"),
    ast.BitOr: ("Take the logical OR of {0} and {1}", "or"),
    ast.BitXor: ("Take the exclusive OR of {0} and {1}", "xor"),
    ast.LShift: ("Shift {0} left by {1} bits", "<<"),
    ast.RShift: ("Shift {0} right by {1} bits", ">>"),
}
_COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("equals", "equals"),
    ast.NotEq: ("differs from", "differs from"),
    ast.Lt: ("is less than", "<"),
    ast.LtE: ("is at most", "≤"),
    ast.Gt: ("is greater than", ">"),
    ast.GtE: ("is at least", "≥"),
    ast.Is: ("is", "is"),
    ast.IsNot: ("is not", "is not"),
    ast.In: ("is one of", "is one of"),
    ast.NotIn: ("is not one of", "is not one of"),
}
_MEANT_INPUTS = ("input", "other", "tensors", "target", "mask", "value", "x", "condition", "weight")
_FACTS = {
    "shape": "the shape of {}",
    "device": "the device of {}",
    "dtype": "the data type of {}",
    "ndim": "the number of dimensions of {}",
    "requires_grad": "whether {} needs a gradient",
    "is_cuda": "whether {} is on a GPU",
}
_TRANSPOSED = {"T", "mT", "H"}


class Expressions:
    """Turns expressions into values; calls are left to `call`, which the reader supplies."""

    def __init__(self, script: Script, module_names: Scope) -> None:
        self.script = script
        self.globals = module_names
        self.attributes: Scope = {}
        self.returned: list[Value] = []
        self._by_kind: dict[type[ast.expr], Callable[..., Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Compare: self._compare,
            ast.BoolOp: self._bool,
            ast.Subscript: self._subscript,
            ast.Call: self.call,
            ast.Tuple: self._sequence,
            ast.List: self._sequence,
            ast.Set: self._sequence,
            ast.IfExp: self._choice,
            ast.ListComp: self._comprehension,
            ast.GeneratorExp: self._comprehension,
            ast.Lambda: self._function,
            ast.Starred: self._starred,
            ast.Slice: self._slice,
            ast.Dict: self._mapping,
        }

    def value(self, node: ast.expr, scope: Scope) -> Value:
        """Return what an expression is; tensor operations on the way become steps."""
        self.script.spend()
        reader = self._by_kind.get(type(node))
        return reader(node, scope) if reader else Value("a value that is worked out")

    def call(self, node: ast.Call, scope: Scope) -> Value:
        raise NotImplementedError

    def _constant(self, node: ast.Constant, scope: Scope) -> Value:  # noqa: ARG002  # one shape
        return Value(constant(node.value))

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        found = scope.get(node.id) or self.globals.get(node.id)
        return found or Value(words(node.id))

    def _sequence(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> Value:
        return listed([self.value(item, scope) for item in node.elts])

    def _starred(self, node: ast.Starred, scope: Scope) -> Value:
        return self.value(node.value, scope)

    def _function(self, node: ast.Lambda, scope: Scope) -> Value:  # noqa: ARG002  # one shape
        return Value("a function", thing=Code(node))

    def _mapping(self, node: ast.Dict, scope: Scope) -> Value:
        values = [self.value(item, scope) for item in node.values]
        keys = [self.value(k, scope).text if k else "others" for k in node.keys]
        text = ", ".join(f"{k}: {v.text}" for k, v in zip(keys, values, strict=True))
        return Value(f"a mapping ({text})", tensor=any(v.tensor for v in values))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        name = source.dotted(node)
        if name.startswith("self."):
            first, _, rest = name[5:].partition(".")
            held = self.attributes.get(first)
            if held and not rest:
                return held
            if not held and not rest:
                trained = "the module is in training mode"
                return Value(trained if first == "training" else words(first))
        base = self.value(node.value, scope)
        return self._part(base, node.attr)

    def _part(self, base: Value, name: str) -> Value:
        if isinstance(base.thing, Layer):
            path = joined(base.thing.path, name)
            here = f"`{path}`" if base.thing.learnable else f"the {words(name)}"
            return Value(here, tensor=name in {"weight", "bias"})
        if isinstance(base.thing, Block):
            return base.thing.attributes.get(name, Value(words(name)))
        if name in _TRANSPOSED and base.tensor:
            return self.script.step(f"Transpose {base.text}")
        if name in _FACTS:
            return Value(_FACTS[name].format(base.text))
        if base.tensor:
            return base
        if base.text.startswith("`") and base.text.count("`") == 2 and base.text.endswith("`"):
            return Value(f"`{base.text[1:-1]}.{name}`")
        return Value(words(name))

    def _binary(self, node: ast.BinOp, scope: Scope) -> Value:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        return self.combine(node.op, left, right)

    def combine(self, operator: ast.operator, left: Value, right: Value) -> Value:
        """Return the value of `left operator right`."""
        sentence, sign = _BINARY[type(operator)]
        if isinstance(operator, ast.Add) and left.items is not None and right.items is not None:
            return listed([*left.items, *right.items])
        if left.tensor or right.tensor:
            return self.script.step(sentence.format(left.text, right.text))
        return Value(f"{_inside(left.text)} {sign} {_inside(right.text)}")

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Value:
        operand = self.value(node.operand, scope)
        if isinstance(node.op, ast.Not):
            return Value(f"not ({operand.text})")
        if isinstance(node.op, ast.USub):
            if operand.tensor:
                return self.script.step(f"Negate {operand.text}")
            return Value(f"-{_inside(operand.text)}")
        if isinstance(node.op, ast.Invert):
            return self.script.step(f"Take the logical NOT of {operand.text}")
        return operand

    def _compare(self, node: ast.Compare, scope: Scope) -> Value:
        values = [self.value(node.left, scope), *(self.value(c, scope) for c in node.comparators)]
        kind = node.ops[0]
        said, sign = _COMPARE[type(kind)]
        identity = isinstance(kind, ast.Is | ast.IsNot | ast.In | ast.NotIn)
        if values[0].tensor and not identity and len(node.ops) == 1:
            return self.script.step(f"Test where {values[0].text} {said} {values[1].text}")
        if identity and values[1].text == "none":
            given = isinstance(kind, ast.IsNot)
            return Value(f"{values[0].text} is {'given' if given else 'not given'}")
        parts = [values[0].text]
        for operator, other in zip(node.ops, values[1:], strict=True):
            parts += [_COMPARE[type(operator)][1], other.text]
        return Value(" ".join(parts) if sign else "")

    def _bool(self, node: ast.BoolOp, scope: Scope) -> Value:
        word = " and " if isinstance(node.op, ast.And) else " or "
        values = [self.value(item, scope) for item in node.values]
        return Value(word.join(v.text for v in values), tensor=any(v.tensor for v in values))

    def _choice(self, node: ast.IfExp, scope: Scope) -> Value:
        test = self.value(node.test, scope)
        first, second = self.value(node.body, scope), self.value(node.orelse, scope)
        text = f"({first.text} if {test.text}, otherwise {second.text})"
        tensor = first.tensor or second.tensor
        return Value(text, tensor, first.thing or second.thing, first.items or second.items)

    def _slice(self, node: ast.Slice, scope: Scope) -> Value:
        ends = [self.value(e, scope).text if e else "" for e in (node.lower, node.upper)]
        step = f":{self.value(node.step, scope).text}" if node.step else ""
        return Value(f"{ends[0]}:{ends[1]}{step}")

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Value:
        base = self.value(node.value, scope)
        index = self.value(node.slice, scope)
        if base.items is not None and not base.repeated:
            picked = _picked(base.items, node.slice)
            if picked:
                return picked
        if base.text.startswith("the shape of ") and not isinstance(node.slice, ast.Slice):
            return Value(f"dimension {index.text} of {base.text.removeprefix('the shape of ')}")
        if base.items and base.repeated:
            return base.items[0]
        if base.tensor:
            where = index.text[1:-1] if isinstance(node.slice, ast.Tuple) else index.text
            return self.script.step(f"Select the part [{where}] of {base.text}")
        return Value(f"element {index.text} of {base.text}")

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, scope: Scope) -> Value:
        inner = dict(scope)
        loop = node.generators[0]
        over = self.value(loop.iter, scope)
        known = over.items if over.items and not over.repeated and len(node.generators) == 1 else ()
        if known and not loop.ifs and len(known) <= 8:
            values = []
            for item in known:
                self.bind(loop.target, item, inner)
                values.append(self.value(node.elt, inner))
            return listed(values)
        if not self.script.silent:
            self.script.say(f"For each element of {over.text}:")
        self.script.indent += 1
        for generator in node.generators:
            self.bind(generator.target, element_of(over), inner)
        element = self.value(node.elt, inner)
        self.script.indent -= 1
        text = f"the list of {element.text} over all rounds"
        return Value(text, element.tensor, items=(element,), repeated=True)

    def bind(self, target: ast.expr, value: Value, scope: Scope) -> None:
        """Give a name (or several) its value."""
        if isinstance(target, ast.Name):
            scope[target.id] = value
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            for number, part in enumerate(target.elts):
                self.bind(part, _share(value, number), scope)
        elif isinstance(target, ast.Attribute) and source.dotted(target) == f"self.{target.attr}":
            self.attributes[target.attr] = value
        elif isinstance(target, ast.Subscript):
            base = self.value(target.value, scope)
            where = self.value(target.slice, scope).text
            if base.items is not None and not base.repeated and self.script.silent:
                held = listed([*base.items, moved(value, where.strip('"'))])
                self.bind(target.value, held, scope)
            elif base.tensor:
                done = self.script.step(
                    f"Replace the part [{where}] of {base.text} by {value.text}"
                )
                if isinstance(target.value, ast.Name):
                    scope[target.value.id] = done

    def operate(
        self, known: operations.Operation, values: list[Value], named: dict[str, Value]
    ) -> Value:
        """Write the step for a call of a known operation."""
        needed = sum(f"{{{n}}}" in known.sentence for n in range(3))
        values = list(values)
        for name in _MEANT_INPUTS:
            if len(values) < needed and name in named:
                values.append(named.pop(name))
        texts = [v.text for v in values[:needed]] + ["the input"] * (needed - len(values))
        if "Einstein" in known.sentence:
            texts[1] = " and ".join(v.text for v in values[1:])
            values = values[:2]
        sentence = known.sentence.format(*texts)
        return self.script.step(sentence + _settings(known, values[needed:], named, sentence))


def element_of(value: Value) -> Value:
    """Return what one round of a loop over a value sees."""
    if value.items and value.repeated:
        return value.items[0]
    if value.text.startswith("the range of "):
        return Value("the number of the round (from 0)")
    return Value(f"the current element of {value.text}", value.tensor)


def _settings(
    known: operations.Operation, rest: list[Value], named: dict[str, Value], sentence: str
) -> str:
    texts = [value.text for value in rest]
    names = known.parameters
    last_word = sentence.rpartition(" ")[2]
    if last_word in {"to", "as", "by"}:
        texts += [value.text for value in named.values()]
        return f" {texts[0]}" if len(texts) == 1 else f" ({', '.join(texts)})"
    if len(texts) > len(names) and len(names) == 1:
        texts = [f"({', '.join(texts)})"]
    parts = [f"{name} = {text}" for name, text in zip(names, texts, strict=False)]
    parts += texts[len(names) :]
    hidden = {"inplace", "out", "device", "dtype", "input"}
    parts += [f"{name} = {value.text}" for name, value in named.items() if name not in hidden]
    return f" ({', '.join(parts)})" if parts else ""


def _picked(items: tuple[Value, ...], index: ast.expr) -> Value | None:
    try:
        number = ast.literal_eval(index)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    usable = type(number) is int and -len(items) <= number < len(items)
    return items[number] if usable else None


def _share(value: Value, number: int) -> Value:
    if value.items is not None and not value.repeated and number < len(value.items):
        return value.items[number]
    if value.text.startswith("the shape of "):
        return Value(f"dimension {number} of {value.text.removeprefix('the shape of ')}")
    names = ("first", "second", "third", "fourth", "fifth", "sixth")
    which = names[number] if number < 6 else f"number {number + 1}"
    return Value(f"the {which} part of {value.text}", value.tensor)


def _inside(text: str) -> str:
    return f"({text})" if " " in text and not (text[0] == "(" and text[-1] == ")") else text
