"""What a writer of task prompts says of a module in a form that can be run against it.

A claim is a JSON object between <interface> and </interface>:

    {"inputs":  [{"name": "x", "shape": [4, 4], "dtype": "float32"}],
     "outputs": [{"shape": [4], "dtype": "float32"}],
     "init":    [{"name": "dim", "value": 4}]}

A tensor has its shape, [] without dimensions. What is no tensor has the shape null and as dtype its
kind: int, float, bool, str, none or object. Tensors in lists, tuples and dicts are named apart, as
`x[0]` and `x.key`; outputs stand in the order in which they are met.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, JsonValue, StrictInt, StrictStr, ValidationError

from kernelsift.model import Frozen, PromptFinding

BLOCK = re.compile(r"<interface>(.*?)</interface>", re.DOTALL | re.IGNORECASE)
MOST_CHARACTERS = 20_000
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_ALIASES = {
    "float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64",
    "short": "int16", "boolean": "bool", "cfloat": "complex64", "cdouble": "complex128",
}  # fmt: skip
_KINDS = {"integer": "int", "string": "str", "number": "float", "boolean": "bool", "null": "none",
          "nonetype": "none"}  # fmt: skip
_Shape = list[Annotated[StrictInt, Field(ge=0)]] | None


class Output(Frozen):
    """One value that is returned: a tensor, or with shape null something else."""

    shape: Annotated[_Shape, Field(max_length=32)]
    dtype: StrictStr


class Input(Output):
    """One value that forward is called with."""

    name: StrictStr


class Setting(Frozen):
    """One parameter of the constructor and the value that it is given."""

    name: StrictStr
    value: JsonValue


class Claims(Frozen):
    """What a writer says of a module."""

    inputs: Annotated[tuple[Input, ...], Field(max_length=200)]
    outputs: Annotated[tuple[Output, ...], Field(max_length=200)]
    init: Annotated[tuple[Setting, ...], Field(max_length=200)]


class Leaf(Frozen):
    """One value that was seen; a dimension that differs from run to run is null."""

    name: str = ""
    shape: list[int | None] | None
    dtype: str


class Interface(Frozen):
    """What was seen when a module ran."""

    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    init: Mapping[str, JsonValue]
    """What the module's own file gives its constructor, defaults included."""
    opaque: tuple[str, ...] = ()
    """Parameters whose value has no form in JSON: nothing is compared."""


def parse_claims(reply: str) -> Claims | str:
    """Return the claims in a reply, or what is wrong with them. The last block counts."""
    found = BLOCK.findall(reply)
    if not found:
        return "no <interface>…</interface> in the reply"
    text = found[-1].strip()
    if len(text) > MOST_CHARACTERS:
        return f"the <interface> block has more than {MOST_CHARACTERS:,} characters"
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        tree = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
        return Claims.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        return f"the <interface> block is not as asked for: {place}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        return f"the <interface> block is no JSON: {str(error)[:200]}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; write it as a text")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


# ---- comparing ----------------------------------------------------------------------------------


def compare(claims: Claims, seen: Interface) -> tuple[PromptFinding, ...]:
    """Return what of the claims a run of the module shows to be wrong or left out."""
    return (
        *_inputs(claims.inputs, seen.inputs),
        *_outputs(claims.outputs, seen.outputs),
        *_settings(claims.init, seen),
    )


def _inputs(claimed: Sequence[Input], seen: Sequence[Leaf]) -> Iterator[PromptFinding]:
    known = {_name(one.name): one for one in claimed}
    for leaf in seen:
        claim = known.pop(_name(leaf.name), None)
        if claim is None:
            yield _wrong("input-claim", f"the input {leaf.name} is left out", _said(leaf))
        elif why := _difference(claim, leaf):
            yield _wrong("input-claim", f"the input {leaf.name} is described wrongly", why)
    for name, claim in known.items():
        if claim.shape is not None:
            yield _wrong("input-claim", "an input is described that is not given", name)


def _outputs(claimed: Sequence[Output], seen: Sequence[Leaf]) -> Iterator[PromptFinding]:
    if len(claimed) != len(seen):
        evidence = f"said: {len(claimed)}, when run: {len(seen)}"
        yield _wrong("output-claim", "another number of values is returned", evidence)
        return
    for number, (claim, leaf) in enumerate(zip(claimed, seen, strict=True)):
        if why := _difference(claim, leaf):
            yield _wrong("output-claim", f"output {number} is described wrongly", why)


def _settings(claimed: Sequence[Setting], seen: Interface) -> Iterator[PromptFinding]:
    known = {_name(one.name): one.value for one in claimed}
    for name, value in seen.init.items():
        if name not in known:
            evidence = f"{name} = {_short(value)}"
            yield _wrong("parameter-claim", "a parameter of the constructor is left out", evidence)
        elif not _same(known[name], value):
            evidence = f"{name}: said {_short(known[name])}, when run {_short(value)}"
            yield _wrong("parameter-claim", "a parameter has another value", evidence)
    for name in known.keys() - seen.init.keys() - set(seen.opaque):
        yield _wrong("parameter-claim", "the constructor has no such parameter", name)


def _difference(claim: Output, leaf: Leaf) -> str:
    """What is wrong with a claim; empty if nothing is."""
    same_shape = (claim.shape is None) == (leaf.shape is None)
    if same_shape and claim.shape is not None and leaf.shape is not None:
        pairs = zip(claim.shape, leaf.shape, strict=False)
        same_length = len(claim.shape) == len(leaf.shape)
        same_shape = same_length and all(b is None or a == b for a, b in pairs)
    same_type = _dtype(claim.dtype, tensor=leaf.shape is not None) == leaf.dtype
    if same_shape and (same_type or leaf.dtype == "object"):
        return ""
    return f"said {_said(claim)}, when run {_said(leaf)}"


def _said(one: Output | Leaf) -> str:
    if one.shape is None:
        return one.dtype
    sizes = ", ".join("varying" if size is None else str(size) for size in one.shape)
    return f"[{sizes}] {one.dtype}"


def _dtype(text: str, *, tensor: bool) -> str:
    name = text.strip().lower().removeprefix("torch.")
    return _ALIASES.get(name, name) if tensor else _KINDS.get(name, name)


def _name(text: str) -> str:
    """`x[0]`, `x.key`: as they are compared, whatever quotes and spaces they have."""
    plain = re.sub(r"[\s`'\"]", "", text)
    return re.sub(r"\[([^\W\d]\w*)\]", r".\1", plain)


def _same(claimed: JsonValue, value: JsonValue) -> bool:
    match claimed, value:
        case bool(), _:
            return isinstance(value, bool) and claimed == value
        case _, bool():
            return False
        case ((int() | float()), (int() | float())):
            return math.isclose(claimed, value, rel_tol=1e-9)
        case list(), list():
            pairs = zip(claimed, value, strict=False)
            return len(claimed) == len(value) and all(_same(a, b) for a, b in pairs)
        case dict(), dict():
            return claimed.keys() == value.keys() and all(
                _same(claimed[key], value[key]) for key in claimed
            )
        case _:
            return claimed == value


def _short(value: JsonValue) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:80] + " …"


def _wrong(slug: str, what: str, evidence: str) -> PromptFinding:
    return PromptFinding(slug=slug, severity="bad", what=what, evidence=evidence[:300])
