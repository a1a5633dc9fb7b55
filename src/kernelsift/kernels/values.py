"""What the reader of a module knows about a value while it goes through the code: how to say it."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kernelsift.kernels.operations import Operation

MAX_STEPS = 400
MAX_WORK = 20_000
"""Expressions; only code that calls itself again and again needs more."""
MAX_TEXT = 500
"""Characters; a longer formula would not be read, and nested ones would grow without end."""


class TooLongError(Exception):
    """A module needs more steps than anyone would read."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An `nn` layer that a module holds."""

    path: str
    """Where it stands in the state dict, e.g. `encoder.fc1`."""
    name: str
    """The class, e.g. `Linear`."""
    operation: Operation | None
    settings: str
    """Its arguments in words; "" if none."""

    @property
    def learnable(self) -> bool:
        groups = {"matmul", "convolution", "recurrent", "transformer", "embedding", "attention"}
        if self.operation is None:
            return False
        if "affine = true" in self.settings:
            return True
        affine = self.operation.group == "normalisation" and "affine = false" not in self.settings
        plain = self.name.startswith(("Instance", "Local", "CrossMap"))
        return self.operation.group in groups or (affine and not plain) or self.name == "PReLU"


@dataclass(frozen=True, slots=True)
class Block:
    """A module of the same file that a module holds."""

    path: str
    node: ast.ClassDef
    attributes: dict[str, "Value"]


@dataclass(frozen=True, slots=True)
class Code:
    """A function of the file, or one defined on the way."""

    node: ast.FunctionDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Value:
    """A value in words."""

    text: str
    tensor: bool = False
    thing: Layer | Block | Code | None = None
    items: tuple["Value", ...] | None = None
    """The elements, where they are known one by one."""
    repeated: bool = False
    """There is one item, which stands for any number of them."""
    origin: str = ""
    """For a parameter or buffer: what it is, and what it holds at first."""

    def __post_init__(self) -> None:
        if len(self.text) > MAX_TEXT:
            object.__setattr__(self, "text", "a value that is worked out from several others")


@dataclass(slots=True)
class Script:
    """The numbered steps of a computation, and what was met on the way."""

    lines: list[str] = field(default_factory=list)
    count: int = 0
    indent: int = 0
    labels: int = 0
    work: int = 0
    """Expressions read so far, silent ones included."""
    silent: int = 0
    """More than 0 while code is read for its values only (constructors)."""

    def step(self, sentence: str, *, tensor: bool = True) -> Value:
        """Write a step; return its result."""
        if self.silent:
            return Value(f"({sentence[:1].lower()}{sentence[1:]})", tensor=tensor)
        self.count += 1
        if self.count > MAX_STEPS:
            raise TooLongError
        self.lines.append(f"{'   ' * self.indent}{self.count}. {sentence}.")
        return Value(f"result {self.count}", tensor=tensor)

    def spend(self) -> None:
        """Count one expression; TooLongError where there is no end to them."""
        self.work += 1
        if self.work > MAX_WORK:
            raise TooLongError

    def say(self, line: str) -> None:
        """Write a line without a number."""
        if not self.silent:
            self.lines.append(f"{'   ' * self.indent}- {line}")

    def label(self) -> str:
        """Return the next letter for a value that changes from round to round."""
        self.labels += 1
        letters = "ABCDEFGHJKLMNPQRSTUVW"
        number = self.labels - 1
        return letters[number % 21] + (str(number // 21) if number >= 21 else "")


def listed(values: Sequence[Value]) -> Value:
    """Return a list of values as one value."""
    text = ", ".join(value.text for value in values)
    tensor = any(value.tensor for value in values)
    return Value(f"({text})" if values else "an empty list", tensor, items=tuple(values))


def words(name: str) -> str:
    """Return an identifier as words: `sum_to_size` and `SumToSize` become "sum to size"."""
    spaced = "".join(
        f" {c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c
        for i, c in enumerate(name)
    )
    return " ".join(spaced.replace("_", " ").split()).lower() or "an unnamed one"


def constant(value: object) -> str:
    """Return a literal in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is Ellipsis:
        return "all"
    if isinstance(value, str):
        plain = " ".join(value.split())[:40].replace("`", "'")
        return f'"{plain}"'
    return repr(value)


def of_kind(operation: Operation) -> str:
    """Return a layer's name with its article, for a sentence."""
    name = operation.sentence
    return f"a learnable {name}" if operation.group in {"matmul", "convolution"} else name


def moved(value: Value, path: str) -> Value:
    """Return a layer, block or list of them under a longer path."""
    if isinstance(value.thing, Layer):
        below = value.thing.path
        return replace(value, thing=replace(value.thing, path=joined(path, below)))
    if isinstance(value.thing, Block):
        held = {k: moved(v, path) for k, v in value.thing.attributes.items()}
        block = replace(value.thing, path=joined(path, value.thing.path), attributes=held)
        return replace(value, thing=block)
    if value.items is not None:
        return replace(value, items=tuple(moved(item, path) for item in value.items))
    if value.origin and value.text.startswith("`"):
        return replace(value, text=f"`{joined(path, value.text[1:-1])}`")
    return value


def joined(*parts: str) -> str:
    """Join the parts of a state-dict path."""
    return ".".join(part for part in parts if part)
