"""What the reader of host code knows about a value, a tensor and one way through the code."""

import ast
from dataclasses import dataclass, field, replace
from typing import Literal

from kernelsift.kernels.static.program import Func, Klass

Origin = Literal[
    "input",
    "weight",
    "empty",
    "filled",
    "random",
    "torch",
    "copy",
    "array",
    "cache",
    "table",
    "unknown",
]
Tag = Literal[
    "shape",
    "rank",
    "dtype",
    "device",
    "env",
    "training",
    "grad",
    "value",
    "pointer",
    "time",
    "state",
    "hash",
    "weight",
]
NO_TAGS: frozenset[Tag] = frozenset()


@dataclass(eq=False, slots=True)
class Thing:
    """A tensor that the code makes or gets, by the place where it does."""

    origin: Origin
    line: int
    sources: frozenset["Thing"] = frozenset()
    name: str = ""
    keys: set[Tag] = field(default_factory=set)
    """For a cache: what its keys are made of."""
    held: set["Thing"] = field(default_factory=set)
    """For a cache: what is put into it."""
    group: str = ""


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a class of the program, or `self`."""

    klass: Klass
    changing: frozenset[str] = frozenset()
    """Attributes that methods other than the constructor assign."""


NO_THINGS: frozenset[Thing] = frozenset()
Ref = Func | Klass | Instance | str
"""What a call of the value would run; a string is a resolved name, or `layer:Linear:matmul`."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """What is known about the value of an expression."""

    tensor: bool | None = None
    things: frozenset[Thing] = NO_THINGS
    tags: frozenset[Tag] = NO_TAGS
    items: "tuple[Value, ...] | None" = None
    ref: Ref | None = None
    const: object = ...
    """The literal where it is one; an ellipsis otherwise."""
    bound: "Value | None" = None
    """For a method: the value that it belongs to."""

    def with_tags(self, *tags: Tag) -> "Value":
        return replace(self, tags=self.tags | set(tags))


UNKNOWN = Value()
SCALAR = Value(tensor=False)


def plain(
    things: frozenset[Thing] = NO_THINGS,
    tags: frozenset[Tag] = NO_TAGS,
    items: tuple[Value, ...] | None = None,
    ref: Ref | None = None,
    const: object = ...,
    bound: Value | None = None,
) -> Value:
    """Return a value that is no tensor."""
    return Value(False, things, tags, items, ref, const, bound)  # noqa: FBT003  # named above


def tensor(things: frozenset[Thing], tags: frozenset[Tag] = NO_TAGS) -> Value:
    """Return a tensor."""
    return Value(True, things, tags)  # noqa: FBT003  # named above


def things_of(*values: Value) -> frozenset[Thing]:
    """Return the tensors of all values and of what they hold."""
    return NO_THINGS.union(*(all_things(value) for value in values))


def tags_of(*values: Value) -> frozenset[Tag]:
    """Return the tags of all values."""
    return NO_TAGS.union(*(value.tags for value in values))


def merged(values: list[Value]) -> Value:
    """Return a value that may be any of these."""
    if not values:
        return UNKNOWN
    if len(values) == 1:
        return values[0]
    first = values[0]
    kinds = {v.tensor for v in values}
    same_const = all(type(v.const) is type(first.const) and v.const == first.const for v in values)
    lengths = {len(v.items) if v.items is not None else -1 for v in values}
    items = first.items
    if len(lengths) != 1:
        items = None
    elif items is not None:
        items = tuple(merged([v.items[i] for v in values if v.items]) for i in range(len(items)))
    refs = [v.ref for v in values if v.ref is not None]
    return Value(
        first.tensor if len(kinds) == 1 else (True if True in kinds else None),
        NO_THINGS.union(*(v.things for v in values)),
        NO_TAGS.union(*(v.tags for v in values)),
        items,
        refs[0] if refs else None,
        first.const if same_const else ...,
        first.bound,
    )


def all_things(value: Value, depth: int = 0) -> frozenset[Thing]:
    """Return the tensors of a value and of what it holds."""
    if not value.items or depth > 6:
        return value.things
    return value.things.union(*(all_things(item, depth + 1) for item in value.items))


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """One launch of a kernel."""

    kernel: str
    node: ast.Call
    arguments: dict[str, Value]


@dataclass(frozen=True, slots=True, eq=False)
class Compute:
    """One call that computes outside kernels."""

    name: str
    line: int
    group: str
    route: str
    """`plain`, `module` (an nn layer), `operator`, `method`, `hidden`, `array` or `super`."""
    thing: Thing
    column: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A branch taken."""

    node: ast.AST
    taken: bool
    tags: frozenset[Tag]
    names: frozenset[str]
    nothing: bool
    """An empty input goes this way."""


@dataclass(slots=True)
class State:
    """One way through the code, up to some point."""

    env: dict[str, Value] = field(default_factory=dict)
    attributes: dict[tuple[int, str], Value] = field(default_factory=dict)
    written: dict[Thing, frozenset[Thing]] = field(default_factory=dict)
    """Tensors that kernels wrote, with the tensors that the launches read."""
    changed: dict[Thing, frozenset[Thing]] = field(default_factory=dict)
    """Tensors that PyTorch wrote in place, with what it read."""
    launches: tuple[Launch, ...] = ()
    computes: tuple[Compute, ...] = ()
    choices: tuple[Choice, ...] = ()
    handler: int = 0
    """Line of the exception handler that this way goes through, or 0."""
    line: int = 0
    """Line of the last return on the way."""

    def become(self, other: "State") -> None:
        """Take over all that another state knows."""
        for name in State.__dataclass_fields__:
            setattr(self, name, getattr(other, name))

    def fork(self) -> "State":
        """Return a copy that can go another way."""
        return State(
            dict(self.env),
            dict(self.attributes),
            dict(self.written),
            dict(self.changed),
            self.launches,
            self.computes,
            self.choices,
            self.handler,
            self.line,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One way through the entry's forward to its return."""

    state: State
    value: Value
    line: int


def joined(states: list[State]) -> State:
    """Return one state that may be any of these."""
    first = states[0]
    if len(states) == 1:
        return first
    result = State(handler=min(s.handler for s in states), choices=first.choices)
    result.line = max(s.line for s in states)
    for name in {name for s in states for name in s.env}:
        result.env[name] = merged([s.env[name] for s in states if name in s.env])
    for key in {key for s in states for key in s.attributes}:
        result.attributes[key] = merged([s.attributes[key] for s in states if key in s.attributes])
    for state in states:
        for thing, read in state.written.items():
            result.written[thing] = result.written.get(thing, frozenset()) | read
        for thing, read in state.changed.items():
            result.changed[thing] = result.changed.get(thing, frozenset()) | read
    result.launches = tuple(dict.fromkeys(x for s in states for x in s.launches))
    result.computes = tuple(dict.fromkeys(x for s in states for x in s.computes))
    return result


def grounds(things: frozenset[Thing], state: State) -> frozenset[Thing]:
    """Return the tensors and all that they were made from, through kernels too."""
    seen: set[Thing] = set()
    todo = list(things)
    while todo and len(seen) < 2000:
        thing = todo.pop()
        if thing not in seen:
            seen.add(thing)
            todo += thing.sources
            todo += state.written.get(thing, ())
            todo += state.changed.get(thing, ())
    return frozenset(seen)
