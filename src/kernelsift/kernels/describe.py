"""Writes a task specification for a PyTorch module without any service, from its syntax tree.

The specification says what the module computes, step by step and in words, what goes in and what
comes out, and how the answer must look. It holds no code except the two signatures, no names of
helpers, and names attributes only where they are part of the state dict.
"""

import ast
from dataclasses import dataclass

from kernelsift import source
from kernelsift.kernels import interface, operations
from kernelsift.kernels.expressions import Scope
from kernelsift.kernels.features import reference_groups
from kernelsift.kernels.reader import Reader
from kernelsift.kernels.values import Block, Layer, Script, TooLongError

VERSION = "template-2"

_NO_BIAS = {"Embedding", "EmbeddingBag", "PReLU", "RMSNorm"}
_STANDARD = {"recurrent", "transformer", "attention"}


@dataclass(frozen=True, slots=True)
class _Computation:
    """What was read of a module."""

    lines: tuple[str, ...]
    result: str
    learnable: tuple[str, ...]
    buffers: tuple[str, ...]


def describe(name: str, reference: str) -> str | None:
    """Write the specification of the module `name`; None where no class has a forward.

    `name` names the class to describe; where the file has no such class it is the module class
    that the file is about, and the answer's class is still called after `name`. Also None where
    the text is no Python, or its steps are too many for anyone to read.
    """
    tree = source.parse(reference)
    node = _entry(name, tree) if tree else None
    if tree is None or node is None:
        return None
    try:
        computation = _read(tree, node)
        if computation is None:
            return None
        return _write(name if name.isidentifier() else node.name, tree, node, computation)
    except (TooLongError, RecursionError):
        return None


def _entry(name: str, tree: ast.Module) -> ast.ClassDef | None:
    found = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    return found[-1] if found else source.module_class(tree)


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}


def _read(tree: ast.Module, node: ast.ClassDef) -> _Computation | None:
    script = Script()
    reader = Reader(script, interface.module_names(tree), _classes(tree), node)
    forward = reader.method("forward")
    if forward is None:
        return None
    init = reader.method("__init__")
    reader.construct(interface.parameters(init, tensors=False) if init else {})
    scope = interface.parameters(forward, tensors=True)
    result = reader.follow(forward, ([], scope), bound=True)
    learnable, buffers = _state(reader.attributes)
    return _Computation(tuple(script.lines), result.text, tuple(learnable), tuple(buffers))


def _state(attributes: Scope) -> tuple[list[str], list[str]]:
    """Return lines for the learnable parameters and for the buffers of a module."""
    learnable: list[str] = []
    buffers: list[str] = []
    stack = list(attributes.values())[::-1]
    while stack:
        value = stack.pop()
        if isinstance(value.thing, Block):
            stack.extend(list(value.thing.attributes.values())[::-1])
        elif isinstance(value.thing, Layer):
            learnable += _layer_lines(value.thing)
        elif value.origin.startswith("buffer: "):
            buffers.append(f"{value.text}: {value.origin.removeprefix('buffer: ')}")
        elif value.origin:
            learnable.append(f"{value.text}: {value.origin}")
        elif value.items is not None:
            stack.extend(value.items[::-1])
    return list(dict.fromkeys(learnable)), list(dict.fromkeys(buffers))


def _layer_lines(layer: Layer) -> list[str]:
    if not layer.learnable or layer.operation is None:
        return []
    what = layer.operation.sentence + (f" ({layer.settings})" if layer.settings else "")
    dot = f"{layer.path}." if layer.path else ""
    if layer.operation.group in _STANDARD:
        return [f"`{layer.path or layer.name}`: those of the standard {what}"]
    names = f"`{dot}weight`"
    if layer.name not in _NO_BIAS and "bias = false" not in layer.settings:
        names += f" and `{dot}bias`"
    return [f"{names}: {what}"]


# ---- the text -----------------------------------------------------------------------------------


def _write(name: str, tree: ast.Module, node: ast.ClassDef, computation: _Computation) -> str:
    new = f"{name}New"
    init, forward = _methods(tree, node)
    parts = [
        f"Write {new}, a GPU implementation in Triton of the PyTorch module {name}. "
        f"{_summary(tree)}",
        _section("Interface", _interface(new, init, forward)),
        _section("Initialisation parameters", interface.init_lines(tree, init)),
        _section("Inputs", interface.input_lines(tree, forward)),
        _section("Computation", _steps(computation)),
        _section("Output", [f"- forward returns {computation.result}."]),
    ]
    if computation.learnable or computation.buffers:
        parts.append(_section("Parameters and buffers", _state_lines(computation)))
    parts.append(_section("Requirements", _requirements(name, new, computation)))
    parts.append(_section("Output format", _output_format()))
    return "\n\n".join(parts) + "\n"


def _methods(
    tree: ast.Module, node: ast.ClassDef
) -> tuple[ast.FunctionDef | None, ast.FunctionDef | None]:
    reader = Reader(Script(), {}, _classes(tree), node)
    return reader.method("__init__"), reader.method("forward")


def _section(title: str, lines: list[str]) -> str:
    return f"## {title}\n" + "\n".join(lines)


def _summary(tree: ast.Module) -> str:
    kinds = [g for g in reference_groups(tree) if g not in operations.FREE]
    if not kinds:
        return "It rearranges or passes on its input."
    said = [_GROUP_WORDS.get(kind, kind) for kind in kinds]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"The module is built from {listed}."


_GROUP_WORDS: dict[operations.Group, str] = {
    "elementwise": "elementwise arithmetic",
    "activation": "activation functions",
    "reduction": "reductions",
    "matmul": "matrix products",
    "convolution": "convolutions",
    "recurrent": "recurrent layers",
    "transformer": "transformer layers",
    "embedding": "embedding look-ups",
    "loss": "a loss function",
    "resize": "resampling",
}


def _interface(
    new: str, init: ast.FunctionDef | None, forward: ast.FunctionDef | None
) -> list[str]:
    return [
        f"- class: {new}, a subclass of the PyTorch base module",
        f"- constructor: __init__({interface.signature(init)})",
        f"- call: forward({interface.signature(forward)})",
    ]


def _steps(computation: _Computation) -> list[str]:
    if not computation.lines:
        return ["No arithmetic is done; see the output."]
    head = "In order (`result n` is the outcome of step n; broadcasting as in PyTorch):"
    return [head, *computation.lines]


def _state_lines(computation: _Computation) -> list[str]:
    lines = [f"- {line}" for line in computation.learnable]
    lines += [f"- buffer {line}" for line in computation.buffers]
    return ["Names in the state dict are part of the interface:", *lines]


def _requirements(name: str, new: str, computation: _Computation) -> list[str]:
    lines = [
        f"- {new} returns what {name} returns for the same inputs: same structure, shapes and "
        "data types, values equal within floating-point tolerance.",
        "- It works for other sizes of the inputs than the examples, wherever the module does.",
        "- Inputs are not changed, and nothing is kept from one call to the next.",
        "- The numerical work happens in Triton kernels, not in PyTorch operators.",
    ]
    text = "\n".join(computation.lines)
    if computation.learnable:
        lines.append(
            "- Parameters have the same names, shapes and initialisation as in the module, so that "
            "its state dict can be loaded."
        )
    if "Apply dropout" in text:
        lines.append("- Dropout is the identity in evaluation mode.")
    if "batch normalisation" in text:
        lines.append("- In evaluation mode batch normalisation uses its running statistics.")
    return lines


def _output_format() -> list[str]:
    return [
        "Give the complete program between a line BEGIN_PYTHON and a line END_PYTHON, with no "
        "other text between the two lines than the program.",
    ]
