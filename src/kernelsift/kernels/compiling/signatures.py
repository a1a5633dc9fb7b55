"""What a launch hands to the compiler: only what can change the compiled kernel."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kernelsift.kernels.facts import CaseGroup

MAX_SIGNATURES = 16
"""Different signatures of one candidate that are compiled; the others are said to be left out."""
MAX_ARGUMENTS = 256
LONGEST_TEXT = 120
DIVISOR = 16  # integers and addresses are told apart by whether this divides them
INT32 = (-(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True, slots=True)
class Signature:
    """A kernel with its types, compile-time values and options, as one launch had them."""

    kernel: str
    line: int
    """Of the kernel's definition, to tell kernels of the same name apart; 0 if not known."""
    arguments: str
    """JSON: (name, type or "constexpr", value) of each."""
    options: str
    """JSON: num_warps and the like."""

    @property
    def digest(self) -> str:
        """A name for it, the same in every process."""
        parts = (self.kernel, str(self.line), self.arguments, self.options)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """For the wire."""
        return {
            "kernel": self.kernel,
            "line": self.line,
            "arguments": json.loads(self.arguments),
            "options": json.loads(self.options),
        }

    def text(self) -> str:
        """For people: types, compile-time values and options."""
        options = [f"{name}={_short(value)}" for name, value in json.loads(self.options).items()]
        parts = [_argument_text(*item) for item in json.loads(self.arguments)]
        return ", ".join(parts) + (f"; {', '.join(options)}" if options else "")


def signatures(launches: Iterable[Any]) -> dict[Signature, CaseGroup]:
    """Return the different signatures of recorded launches in their order, and where each was
    seen first: `group` of its launch, nominal where there is none.

    Launches come from a child and may be anything; what is no launch is left out.
    """
    found: dict[Signature, CaseGroup] = {}
    for launch in launches:
        signature = _signature(launch)
        if signature is not None:
            found.setdefault(signature, launch.get("group", "nominal"))
    return found


def _signature(launch: Any) -> Signature | None:
    if not isinstance(launch, dict):
        return None
    kernel, line = launch.get("kernel"), launch.get("line")
    arguments, options = launch.get("signature"), launch.get("options")
    if not isinstance(kernel, str) or not isinstance(options, dict):
        return None
    if not isinstance(arguments, list | tuple) or len(arguments) > MAX_ARGUMENTS:
        return None
    try:
        seen = [[str(name), str(kind), _class(kind, value)] for name, kind, value in arguments]
        chosen = {name: value for name, value in options.items() if value is not None}
        return Signature(
            kernel=kernel,
            line=line if type(line) is int else 0,
            arguments=json.dumps(seen, sort_keys=True),
            options=json.dumps(chosen, sort_keys=True),
        )
    except (TypeError, ValueError, RecursionError):
        return None


def _class(kind: Any, value: Any) -> Any:
    """The value, or for a run-time number one that the compiler treats alike."""
    if isinstance(value, dict) and isinstance(parts := value.get("tuple"), Sequence):
        return {"tuple": [[str(inner), _class(inner, part)] for inner, part in parts]}
    if kind == "constexpr":
        return value
    if type(value) is float:
        return 0.5
    return _integer(value) if type(value) is int else value


def _integer(value: int) -> int:
    """1, or a number of the same width that 16 divides or does not divide as it does this one."""
    if value == 1:
        return 1
    low, high = INT32
    base = 0 if low <= value <= high else 1 << 32 if value < 1 << 63 else 1 << 63
    return base + (DIVISOR if value % DIVISOR == 0 else DIVISOR + 1)


def _argument_text(name: str, kind: str, value: Any) -> str:
    if kind == "constexpr":
        return f"{name}={_short(value)}"
    if type(value) is int and value == 1:
        return f"{name}: {kind} 1"
    if type(value) is int and value % DIVISOR == 0:
        return f"{name}: {kind} x16"
    return f"{name}: {kind}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and len(value) >= 1:
        value = next(iter(value.values()))
    return str(value)[:LONGEST_TEXT]
