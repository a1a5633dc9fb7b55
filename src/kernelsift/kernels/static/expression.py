"""Evaluates host expressions: arithmetic, tests, containers. Calls are left to the next layer."""

import ast
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from kernelsift.kernels.static.literals import (
    LITERAL_LIMIT,
    compared,
    element,
    folded,
    is_table,
    share,
)
from kernelsift.kernels.static.lookup import Lookup
from kernelsift.kernels.static.program import Func, Klass, Program
from kernelsift.kernels.static.values import (
    NO_THINGS,
    SCALAR,
    UNKNOWN,
    Instance,
    State,
    Thing,
    Value,
    all_things,
    grounds,
    merged,
    plain,
    tags_of,
    things_of,
)

BUDGET = 6000
"""Expressions that one reading may evaluate."""


class Spent(Exception):  # noqa: N818  # not an error: the reader stops early
    """The budget is used up."""


class Expressions(Lookup):
    """Evaluates expressions in a state."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.left = BUDGET
        self._by_kind: dict[type[ast.expr], Callable[[Any, State], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self.name_value,
            ast.Attribute: self.attribute,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Compare: self._compare,
            ast.BoolOp: self._bool,
            ast.Subscript: self._subscript,
            ast.Call: self.call,
            ast.Tuple: self._sequence,
            ast.List: self._sequence,
            ast.IfExp: self._choice,
            ast.ListComp: self._comprehension,
            ast.GeneratorExp: self._comprehension,
            ast.SetComp: self._comprehension,
            ast.Lambda: self._lambda,
            ast.Starred: self._inner,
            ast.Await: self._inner,
            ast.NamedExpr: self._named,
            ast.Dict: self._mapping,
        }

    def value(self, node: ast.expr, state: State) -> Value:
        """Return what is known about an expression; computing calls on the way are noted."""
        self.left -= 1
        if self.left < 0:
            raise Spent
        reader = self._by_kind.get(type(node))
        return reader(node, state) if reader else UNKNOWN

    def call(self, node: ast.Call, state: State) -> Value:
        raise NotImplementedError

    def _constant(self, node: ast.Constant, state: State) -> Value:  # noqa: ARG002  # one shape
        return plain(const=node.value)

    def _inner(self, node: ast.Starred | ast.Await, state: State) -> Value:
        return self.value(node.value, state)

    def _lambda(self, node: ast.Lambda, state: State) -> Value:  # noqa: ARG002  # one shape
        return plain(ref=self.program.by_node.get(node))

    def _named(self, node: ast.NamedExpr, state: State) -> Value:
        state.env[node.target.id] = found = self.value(node.value, state)
        return found

    # ---- arithmetic -----------------------------------------------------------------------------

    def _binary(self, node: ast.BinOp, state: State) -> Value:
        left, right = self.value(node.left, state), self.value(node.right, state)
        product = isinstance(node.op, ast.MatMult)
        if left.tensor or right.tensor or product:
            group = "matmul" if product else "elementwise"
            done = ("@" if product else "operator", group, "operator")
            return self.compute(state, node, done, [left, right])
        if isinstance(node.op, ast.Mod):
            self._note_literal(left, right)
        if isinstance(node.op, ast.Add) and left.items is not None and right.items is not None:
            return plain(items=left.items + right.items)
        return Value(
            False if left.tensor is right.tensor is False else None,
            left.things | right.things,
            left.tags | right.tags,
            const=folded(node.op, left.const, right.const),
        )

    def _note_literal(self, left: Value, right: Value) -> None:
        for size, number in ((left, right), (right, left)):
            value = number.const
            if "shape" in size.tags and type(value) is int and 0 < value < 1 << 31:
                self.literals.add(value)

    def _unary(self, node: ast.UnaryOp, state: State) -> Value:
        operand = self.value(node.operand, state)
        if isinstance(node.op, ast.Not):
            known = operand.const is not ...
            return plain(operand.things, operand.tags,
                         const=not operand.const if known else ...)  # fmt: skip
        if operand.tensor:
            return self.compute(state, node, ("operator", "elementwise", "operator"), [operand])
        number = operand.const
        if isinstance(node.op, ast.USub) and isinstance(number, int | float):
            return plain(const=-number)
        return Value(operand.tensor, operand.things, operand.tags)

    def _compare(self, node: ast.Compare, state: State) -> Value:
        values = [self.value(part, state) for part in (node.left, *node.comparators)]
        identity = isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn)
        if not identity and any(v.tensor for v in values):
            return self.compute(state, node, ("operator", "elementwise", "operator"), values)
        for left, right in pairwise(values):
            self._compared(left, right)
        tags = tags_of(*values)
        origins = {t.origin for v in values for t in v.things}
        if isinstance(node.ops[0], ast.Is | ast.IsNot) and {"input", "cache"} <= origins:
            tags |= {"pointer"}
        told = all(v.const is not ... for v in values) and len(values) == 2
        const = compared(node.ops[0], values[0].const, values[1].const) if told else ...
        return plain(NO_THINGS.union(*(v.things for v in values)), tags, const=const)

    def _compared(self, left: Value, right: Value) -> None:
        self._note_literal(left, right)
        for ours, theirs in ((left, right), (right, left)):
            if "shape" in ours.tags and theirs.items:
                for item in theirs.items[:16]:
                    self._note_literal(ours, item)

    def _bool(self, node: ast.BoolOp, state: State) -> Value:
        values = [self.value(part, state) for part in node.values]
        stop = isinstance(node.op, ast.Or)
        known = [v.const for v in values if v.const is not ...]
        const: object = ...
        if any(bool(k) is stop for k in known):
            const = stop
        elif len(known) == len(values):
            const = not stop
        tags = tags_of(*values)
        things = NO_THINGS.union(*(v.things for v in values))
        return Value(None, things, tags, const=const)

    def _choice(self, node: ast.IfExp, state: State) -> Value:
        test = self.value(node.test, state)
        if test.const is not ...:
            return self.value(node.body if test.const else node.orelse, state)
        return merged([self.value(node.body, state), self.value(node.orelse, state)])

    # ---- containers -----------------------------------------------------------------------------

    def _sequence(self, node: ast.Tuple | ast.List, state: State) -> Value:
        if len(node.elts) > LITERAL_LIMIT or is_table(node):
            return plain(frozenset({Thing("table", node.lineno)}))
        items = tuple(self.value(item, state) for item in node.elts)
        tags = tags_of(*items)
        return plain(tags=tags, items=items)

    def _mapping(self, node: ast.Dict, state: State) -> Value:
        values = [self.value(item, state) for item in node.values[:LITERAL_LIMIT]]
        for key in node.keys[:LITERAL_LIMIT]:
            if key is not None:
                self.value(key, state)
        things = things_of(*values) if values else None
        refs = [v.ref for v in values if isinstance(v.ref, Func)]
        return plain(things or frozenset(), ref=refs[0] if refs else None)

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, state: State
    ) -> Value:
        kept = dict(state.env)
        for generator in node.generators:
            over = self.value(generator.iter, state)
            self.bind(generator.target, element(over), state)
            for test in generator.ifs:
                self.value(test, state)
        found = self.value(node.elt, state)
        state.env = kept
        return Value(found.tensor, all_things(found), found.tags, ref=found.ref)

    def _subscript(self, node: ast.Subscript, state: State) -> Value:
        base = self.value(node.value, state)
        index = self.value(node.slice, state) if not isinstance(node.slice, ast.Slice) else SCALAR
        for thing in base.things:
            if thing.origin == "cache":
                thing.keys |= index.tags
                if any(t.origin == "input" for t in all_things(index)):
                    thing.keys.add("pointer")
        if base.items is not None and type(index.const) is int:
            number = index.const
            if -len(base.items) <= number < len(base.items):
                return base.items[number]
        if base.items is not None:
            return merged(list(base.items))
        if base.tensor and index.tensor:
            return self.compute(state, node, ("index", "indexing", "operator"), [base, index])
        return Value(base.tensor, base.things, base.tags, ref=base.ref)

    def bind(self, target: ast.expr, value: Value, state: State) -> None:
        """Give a target its value."""
        if isinstance(target, ast.Name):
            state.env[target.id] = value
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value, state)
        elif isinstance(target, ast.Tuple | ast.List):
            for place, part in enumerate(target.elts):
                self.bind(part, share(value, place, len(target.elts)), state)
        elif isinstance(target, ast.Attribute):
            self._bind_attribute(target, value, state)
        elif isinstance(target, ast.Subscript):
            self._bind_item(target, value, state)

    def _bind_attribute(self, target: ast.Attribute, value: Value, state: State) -> None:
        owner = self.value(target.value, state)
        if isinstance(owner.ref, Instance):
            state.attributes[id(owner.ref), target.attr] = value
            if target.attr in owner.ref.changing:
                self.keep(f"self.{target.attr}", value, state, target.lineno)
        elif isinstance(owner.ref, Klass | Func):
            self.keep(f"{owner.ref.name}.{target.attr}", value, state, target.lineno)

    def keep(self, name: str, value: Value, state: State, line: int) -> None:
        """Note that a value outlives the call under a name."""
        thing = self.caches.setdefault(name, Thing("cache", line, name=name))
        thing.line = thing.line or line
        thing.held |= grounds(all_things(value), state)

    def _bind_item(self, target: ast.Subscript, value: Value, state: State) -> None:
        base = self.value(target.value, state)
        index = self.value(target.slice, state)
        for thing in base.things:
            if thing.origin == "cache":
                thing.keys |= index.tags
                thing.held |= grounds(all_things(value), state)
            elif base.tensor is not False:
                read = state.changed.get(thing, frozenset())
                state.changed[thing] = read | all_things(value)
