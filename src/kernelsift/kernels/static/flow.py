"""Runs the statements of the entry point without numbers and collects the ways to its return."""

import ast
from collections.abc import Callable
from typing import Any

from kernelsift.kernels.static.calls import Calls, Outcomes
from kernelsift.kernels.static.expression import Spent
from kernelsift.kernels.static.kernel import KernelBody
from kernelsift.kernels.static.literals import element
from kernelsift.kernels.static.program import Func, Klass, Program
from kernelsift.kernels.static.values import (
    SCALAR,
    UNKNOWN,
    Choice,
    Path,
    State,
    Thing,
    Value,
    joined,
    merged,
    plain,
    tensor,
)

MAX_STATES = 12
MAX_DEPTH = 8
_CACHING = frozenset({"functools.lru_cache", "functools.cache"})


class Flow(Calls):
    """Follows one entry point."""

    def __init__(self, program: Program, kernels: dict[str, KernelBody]) -> None:
        super().__init__(program, kernels)
        self.returned: list[Outcomes] = []
        self.active: list[Func] = []
        self.dead: list[ast.AST] = []
        self.complete = True
        self._statements: dict[type[ast.stmt], Callable[[Any, list[State]], list[State]]] = {
            ast.Assign: self._assign,
            ast.AnnAssign: self._annotated,
            ast.AugAssign: self._augmented,
            ast.Expr: self._expression,
            ast.Return: self._return,
            ast.If: self._if,
            ast.For: self._for,
            ast.While: self._while,
            ast.With: self._with,
            ast.Try: self._try,
            ast.Raise: self._raise,
            ast.FunctionDef: self._define,
            ast.Import: self._same,
            ast.Match: self._match,
        }

    # ---- entries --------------------------------------------------------------------------------

    def run_class(self, klass: Klass) -> list[Path]:
        """Construct the class and run its forward; return the ways to a return."""
        state = State()
        try:
            made = self.instantiate(klass, [], {}, state)
            state.launches, state.computes, state.choices = (), (), ()
            self.called.clear()
            self.notes.clear()
            forward = self.find_method(klass, "forward")
            return self._run(forward, [made], state) if forward else []
        except Spent:
            self.complete = False
            return []

    def run_function(self, func: Func) -> list[Path]:
        """Run a function whose parameters are inputs."""
        try:
            return self._run(func, [], State())
        except Spent:
            self.complete = False
            return []

    def _run(self, func: Func, given: list[Value], state: State) -> list[Path]:
        arguments = func.node.args
        every = [*arguments.posonlyargs, *arguments.args]
        defaults: list[ast.expr | None] = [None for _ in every]
        defaults[len(every) - len(arguments.defaults) :] = arguments.defaults
        inputs = [_input(a, d) for a, d in zip(every, defaults, strict=True)][len(given) :]
        for place, default in enumerate(defaults[len(given) :]):
            if isinstance(default, ast.Dict | ast.List):
                inputs[place] = self.cached(
                    f"{func.name}({every[place + len(given)].arg})", func.line
                )
        outcomes = self.invoke(func, [*given, *inputs], {}, state)
        return [Path(s, v, s.line or func.line) for s, v in outcomes]

    # ---- functions ------------------------------------------------------------------------------

    def invoke(
        self, func: Func, given: list[Value], named: dict[str, Value], state: State
    ) -> Outcomes:
        """Run a function of the program; return the ways through it."""
        if len(self.active) >= MAX_DEPTH or self.active.count(func) > 1:
            return [(state, UNKNOWN)]
        self.reached.add(func)
        self._note_caching(func, [*given, *named.values()])
        outer = state.env
        state = state.fork()
        state.env = self._parameters(func, given, named, outer)
        self.active.append(func)
        try:
            if isinstance(func.node, ast.Lambda):
                found = self.value(func.node.body, state)
                outcomes: Outcomes = [(state, found)]
            else:
                outcomes = self._body(func.node)(state)
        finally:
            self.active.pop()
        for after, _ in outcomes:
            after.env = dict(outer)
        return outcomes

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Callable[[State], Outcomes]:
        def run(state: State) -> Outcomes:
            self.returned.append([])
            rest = self.run(node.body, [state])
            outcomes = self.returned.pop()
            outcomes += [(s, plain(const=None)) for s in rest]
            return _bounded(outcomes)

        return run

    def _note_caching(self, func: Func, given: list[Value]) -> None:
        if isinstance(func.node, ast.Lambda) or not func.node.decorator_list:
            return
        for decorator in func.node.decorator_list:
            named = decorator.func if isinstance(decorator, ast.Call) else decorator
            path = self.program.resolve(named)
            if path in _CACHING and any(v.tensor for v in given):
                self.note("K40", "hard", func.node)
            if path in {"torch.compile", "torch.jit.script", "torch._dynamo.optimize"}:
                self.note("K08", "not-a-kernel", decorator)

    def _parameters(
        self, func: Func, given: list[Value], named: dict[str, Value], outer: dict[str, Value]
    ) -> dict[str, Value]:
        arguments = func.node.args
        every = [*arguments.posonlyargs, *arguments.args]
        env = dict(outer) if func.outer is not None or func.name == "<lambda>" else {}
        for argument, default in zip(reversed(every), reversed(arguments.defaults), strict=False):
            name = f"{func.name}({argument.arg})"
            is_store = isinstance(default, ast.Dict | ast.List)
            value = self.cached(name, func.line) if is_store else self.value(default, State())
            env[argument.arg] = value
        for argument, fallback in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            env[argument.arg] = self.value(fallback, State()) if fallback else UNKNOWN
        for argument in every:
            if argument.arg not in env or func.outer is None:
                env.setdefault(argument.arg, UNKNOWN)
        env.update(zip([a.arg for a in every], given, strict=False))
        if arguments.vararg:
            env[arguments.vararg.arg] = plain(items=tuple(given[len(every) :]))
        env.update({k: v for k, v in named.items() if k != "**"})
        return env

    # ---- statements -----------------------------------------------------------------------------

    def run(self, body: list[ast.stmt], states: list[State]) -> list[State]:
        """Run statements in each state; return the states that go on."""
        for statement in body:
            if not states:
                break
            self.left -= len(states)
            handler = self._statements.get(type(statement))
            if handler:
                states = handler(statement, states)
            if len(states) > MAX_STATES:
                states = [joined(states)]
        return states

    def ways(self, node: ast.expr, state: State) -> Outcomes:
        """Evaluate an expression; a call at its top keeps its ways apart."""
        if isinstance(node, ast.Call):
            return self.outcomes(node, state)
        if isinstance(node, ast.IfExp):
            test = self.value(node.test, state)
            if test.const is ...:
                found: Outcomes = []
                for taken, part in ((True, node.body), (False, node.orelse)):
                    inner = self._choose(node, test, state, taken=taken)
                    found += self.ways(part, inner)
                return found
        return [(state, self.value(node, state))]

    def _same(self, node: ast.stmt, states: list[State]) -> list[State]:  # noqa: ARG002  # one shape
        return states

    def _assign(self, node: ast.Assign, states: list[State]) -> list[State]:
        after: list[State] = []
        for state in states:
            for result, value in self.ways(node.value, state):
                for target in node.targets:
                    self.bind(target, value, result)
                self._bind_global(node.targets, value, result)
                after.append(result)
        return after

    def _bind_global(self, targets: list[ast.expr], value: Value, state: State) -> None:
        for target in targets:
            if isinstance(target, ast.Name) and target.id in self.changing_globals:
                self.keep(target.id, value, state, target.lineno)

    def _annotated(self, node: ast.AnnAssign, states: list[State]) -> list[State]:
        for state in states:
            if node.value:
                self.bind(node.target, self.value(node.value, state), state)
        return states

    def _augmented(self, node: ast.AugAssign, states: list[State]) -> list[State]:
        for state in states:
            old = self.value(node.target, state)
            new = self.value(node.value, state)
            if old.tensor or (new.tensor and old.tensor is not False):
                group = "matmul" if isinstance(node.op, ast.MatMult) else "elementwise"
                made = self.compute(state, node, ("operator", group, "operator"), [old, new])
                for thing in old.things:
                    state.changed[thing] = state.changed.get(thing, frozenset()) | made.things
                    if thing.origin == "input":
                        self.note("K35", "suspicious", node)
                made = tensor(old.things | made.things)
            else:
                made = Value(None, old.things | new.things, old.tags | new.tags)
                for thing in old.things:
                    if thing.origin == "cache":
                        thing.held |= {thing}
            self.bind(node.target, made, state)
        return states

    def _expression(self, node: ast.Expr, states: list[State]) -> list[State]:
        return [after for state in states for after, _ in self.ways(node.value, state)]

    def _return(self, node: ast.Return, states: list[State]) -> list[State]:
        for state in states:
            ways = self.ways(node.value, state) if node.value else [(state, SCALAR)]
            for after, value in ways:
                after.line = node.lineno
                self.returned[-1].append((after, value))
        if len(self.returned[-1]) > 2 * MAX_STATES:
            self.returned[-1] = _bounded(self.returned[-1])
        return []

    def _raise(self, node: ast.Raise, states: list[State]) -> list[State]:
        del node, states
        return []

    def _define(self, node: ast.FunctionDef, states: list[State]) -> list[State]:
        func = self.program.by_node.get(node)
        for state in states:
            if func:
                state.env[node.name] = plain(ref=func)
        return states

    def _choose(self, node: ast.AST, test: Value, state: State, *, taken: bool) -> State:
        inner = state.fork()
        names = frozenset(t.name for t in test.things if t.origin == "cache")
        question = node.test if isinstance(node, ast.If | ast.IfExp) else None
        nothing = _side_of_nothing(question) if question and "shape" in test.tags else None
        inner.choices += (Choice(node, taken, test.tags, names, nothing is taken),)
        return inner

    def _if(self, node: ast.If, states: list[State]) -> list[State]:
        after: list[State] = []
        for state in states:
            test = self.value(node.test, state)
            if test.const is not ...:
                self.dead.extend(node.orelse if test.const else node.body)
                after += self.run(node.body if test.const else node.orelse, [state])
                continue
            after += self.run(node.body, [self._choose(node, test, state, taken=True)])
            after += self.run(node.orelse, [self._choose(node, test, state, taken=False)])
        return after

    def _match(self, node: ast.Match, states: list[State]) -> list[State]:
        after: list[State] = []
        for state in states:
            test = self.value(node.subject, state)
            for case in node.cases:
                after += self.run(case.body, [self._choose(node, test, state, taken=True)])
            after.append(self._choose(node, test, state, taken=False))
        return after

    def _for(self, node: ast.For, states: list[State]) -> list[State]:
        for state in states:
            over = self.value(node.iter, state)
            if isinstance(over.ref, str) and over.ref.startswith("layer:") and over.items:
                self.bind(node.target, plain(ref=over.ref, items=over.items), state)
            else:
                self.bind(node.target, element(over), state)
        return self.run(node.orelse, self.run(node.body, states))

    def _while(self, node: ast.While, states: list[State]) -> list[State]:
        for state in states:
            self.value(node.test, state)
        return self.run(node.body, states)

    def _with(self, node: ast.With, states: list[State]) -> list[State]:
        for state in states:
            for item in node.items:
                value = self.value(item.context_expr, state)
                if item.optional_vars:
                    self.bind(item.optional_vars, value, state)
        return self.run(node.body, states)

    def _try(self, node: ast.Try, states: list[State]) -> list[State]:
        starts = [state.fork() for state in states]
        after = self.run(node.orelse, self.run(node.body, states))
        for handler in node.handlers:
            inner = [state.fork() for state in starts]
            for state in inner:
                state.handler = handler.lineno
                if handler.name:
                    state.env[handler.name] = SCALAR
            after += self.run(handler.body, inner)
        return self.run(node.finalbody, after)


def _bounded(outcomes: Outcomes) -> Outcomes:
    if len(outcomes) <= MAX_STATES:
        return outcomes
    kept = outcomes[: MAX_STATES - 1]
    rest = outcomes[MAX_STATES - 1 :]
    return [*kept, (joined([s for s, _ in rest]), merged([v for _, v in rest]))]


def _input(argument: ast.arg, default: ast.expr | None) -> Value:
    note = argument.annotation
    if isinstance(note, ast.Name) and note.id in {"int", "float", "bool", "str", "list", "tuple"}:
        return UNKNOWN
    if isinstance(default, ast.Constant) and default.value is not None:
        return UNKNOWN
    return tensor(frozenset({Thing("input", argument.lineno, name=argument.arg)}))


def _side_of_nothing(test: ast.expr, depth: int = 0) -> bool | None:
    """Return which side of a test on sizes an empty input takes; None: the test asks no such."""
    if depth > 4:
        return None
    if isinstance(test, ast.BoolOp):
        sides = [_side_of_nothing(part, depth + 2) for part in test.values]
        return next((side for side in sides if side is not None), None)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        side = _side_of_nothing(test.operand, depth + 1)
        return None if side is None else not side
    if isinstance(test, ast.Compare):
        return _side_of_zero(test)
    counted = isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute)
    return False if counted or (isinstance(test, ast.Name) and depth < 2) else None


def _side_of_zero(test: ast.Compare) -> bool | None:
    bound = test.comparators[0]
    number = bound.value if isinstance(bound, ast.Constant) else None
    if type(number) is not int or number not in {0, 1}:
        return None
    if isinstance(test.ops[0], ast.Gt | ast.GtE | ast.NotEq):
        return False
    return True if number == 0 or isinstance(test.ops[0], ast.Lt) else None
