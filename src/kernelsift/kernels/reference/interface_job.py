"""The job of a child that says what a module takes and returns. Runs foreign code.

Payload (a wire dict): nonce, code, class_name. One frame: `interface` as JSON (see
`prompting.claims.Interface`), or `why` there is none.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from kernelsift.kernels import wire
from kernelsift.kernels.reference.reference_module import (
    MockConfig,
    Reference,
    call,
    load_reference,
    seed_all,
)

Send = Callable[[bytes], None]
_SEEDS = (0, 1)
_MOST = 400
"""Values that are described; a module with more is not."""
_DEPTH = 8


def main(payload: bytes, send: Send) -> None:
    """Run the module twice and describe what goes in and comes out."""
    import torch

    torch.set_num_threads(1)
    request = wire.decode(payload)
    said: dict[str, Any]
    try:
        said = {"interface": _interface(request["code"], request["class_name"])}
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- foreign code raises anything
        said = {"why": f"{type(error).__name__}: {error}"[:300]}
    send(wire.encode({"nonce": request["nonce"], **said}))


def _interface(code: str, class_name: str | None) -> dict[str, Any]:
    reference = load_reference(code, class_name)
    module = reference.build(_SEEDS[0])
    module.eval()
    runs = [_run(module, reference, seed) for seed in _SEEDS]
    init, opaque = _init(reference)
    return {
        "inputs": _both(runs[0][0], runs[1][0]),
        "outputs": _both(runs[0][1], runs[1][1]),
        "init": init,
        "opaque": opaque,
    }


def _run(
    module: Any, reference: Reference, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    inputs = reference.inputs(seed)
    names = _names(module, len(inputs))
    seed_all(seed)
    outputs = call(module, inputs)
    taken = [leaf for n, value in zip(names, inputs, strict=True) for leaf in _leaves(n, value, 0)]
    given = list(_leaves("", outputs, 0))
    if max(len(taken), len(given)) > _MOST:
        raise ValueError(f"more than {_MOST} values go in or come out")
    return taken, given


def _names(module: Any, count: int) -> list[str]:
    """Names of the first `count` arguments of forward; those of `*args` are args[0], args[1] …"""
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}[{n}]" for n in range(count - len(names))]
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            names.append(parameter.name)
    if len(names) < count:
        raise ValueError(f"forward takes {len(names)} arguments and is given {count}")
    return names[:count]


def _leaves(name: str, value: Any, depth: int) -> Iterator[dict[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        yield {"name": name, "shape": list(value.shape), "dtype": dtype}
    elif isinstance(value, list | tuple) and depth < _DEPTH:
        for number, part in enumerate(value):
            yield from _leaves(f"{name}[{number}]", part, depth + 1)
    elif isinstance(value, dict) and not isinstance(value, MockConfig) and depth < _DEPTH:
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part, depth + 1)
    else:
        yield {"name": name, "shape": None, "dtype": _kind(value)}


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    return kinds.get(type(value), "object")


def _both(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was seen in the first run; sizes that are others in the second are None."""
    if len(first) != len(second):
        raise ValueError("the number of values differs from run to run")
    return [
        {**one, "shape": _common(one["shape"], other["shape"])}
        for one, other in zip(first, second, strict=True)
    ]


def _common(one: list[int] | None, other: list[int] | None) -> list[int | None] | None:
    if one is None or other is None or len(one) != len(other):
        return list(one) if one is not None else None
    return [a if a == b else None for a, b in zip(one, other, strict=True)]


def _init(reference: Reference) -> tuple[dict[str, Any], list[str]]:
    """Values of the constructor's parameters by name, and names of those that JSON has no form
    for."""
    made = inspect.signature(reference.namespace[reference.class_name].__init__)
    bound = made.bind(None, *reference.init_args, **reference.init_kwargs)
    bound.apply_defaults()
    values: dict[str, Any] = {}
    opaque: list[str] = []
    for name, value in list(bound.arguments.items())[1:]:
        kind = made.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            items = [*value.items()]
        else:
            is_rest = kind is inspect.Parameter.VAR_POSITIONAL
            items = [(name, value)] if value or not is_rest else []
        for own, part in items:
            plain = _plain(part, 0)
            if plain is _OPAQUE:
                opaque.append(own)
            else:
                values[own] = plain
    return values, opaque


_OPAQUE = object()


def _plain(value: Any, depth: int) -> Any:
    """The value as JSON has it, or `_OPAQUE`; infinite numbers count as such."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else _OPAQUE
    if isinstance(value, list | tuple) and depth < _DEPTH:
        parts = [_plain(part, depth + 1) for part in value]
        return _OPAQUE if any(part is _OPAQUE for part in parts) else parts
    if isinstance(value, dict) and depth < _DEPTH:
        held = {str(key): _plain(part, depth + 1) for key, part in value.items()}
        return _OPAQUE if any(part is _OPAQUE for part in held.values()) else held
    return _OPAQUE
