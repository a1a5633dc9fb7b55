"""Read in the parent what a reference child has sent; it may be anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from kernelsift.kernels import wire
from kernelsift.kernels.compare import Expected
from kernelsift.kernels.facts import CaseGroup
from kernelsift.kernels.reference.gate_facts import GateFacts

_GROUPS = frozenset(get_args(CaseGroup))


@dataclass(frozen=True, slots=True)
class ReferenceCase:
    """One case: what the candidate gets, and what the parent keeps."""

    name: str
    inputs: list[Any]
    train: bool
    grad: bool
    seconds: float
    """Predicted time of the candidate in the interpreter."""
    expected: Expected
    state_after: dict[str, Any] | None

    def for_candidate(self) -> dict[str, Any]:
        """Return the part that may leave the parent: no answer is in it."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "train": self.train,
            "grad": self.grad,
            "initial": self.expected.group == "initial",
        }


@dataclass(slots=True)
class ReferenceResult:
    """All that one reference child has said."""

    gate: GateFacts | None = None
    init: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    initial: dict[str, Any] = field(default_factory=dict)
    """Digests of the weights as constructed from the job's seed, by name."""
    cases: list[ReferenceCase] = field(default_factory=list)
    scaled: dict[str, Any] | None = None
    outline: dict[str, Any] | None = None
    """Construction arguments, and weights and inputs without contents."""
    complete: bool = False
    """The child came to its end; else it died on the way, and what it said before counts."""
    problems: list[str] = field(default_factory=list)


def read_reference(frames: Sequence[bytes], nonce: str) -> ReferenceResult:
    """Return the content of the frames that carry the nonce; broken ones become problems."""
    result = ReferenceResult()
    for raw in frames:
        try:
            frame = wire.decode(raw)
            if not isinstance(frame, dict) or frame.get("nonce") != nonce:
                result.problems.append("a frame without the nonce")
                continue
            _take(result, frame)
        except (wire.WireError, ValidationError, KeyError, TypeError, ValueError) as error:
            result.problems.append(f"{type(error).__name__}: {error}"[:300])
    return result


def _take(result: ReferenceResult, frame: dict[str, Any]) -> None:
    match frame.get("event"):
        case "gate":
            result.gate = GateFacts.model_validate(frame["facts"])
        case "loaded":
            result.init, result.state = frame["init"], frame["state"]
            result.initial = frame["initial"]
        case "case":
            result.cases.append(_case(frame))
        case "scaled":
            result.scaled = {key: frame[key] for key in frame if key not in {"nonce", "event"}}
        case "outline":
            result.outline = {key: frame[key] for key in ("init", "state", "inputs")}
        case "end":
            result.complete = True
        case other:
            result.problems.append(f"{other}: {frame.get('why', '')}"[:300])


def _case(frame: dict[str, Any]) -> ReferenceCase:
    if frame["group"] not in _GROUPS:
        raise ValueError(f"unknown group {frame['group']!r}")
    expected = Expected(
        case=str(frame["name"]),
        group=frame["group"],
        precise=frame["precise"],
        eager=frame["eager"],
        precision="fp64" if frame["precision"] == "fp64" else "fp32",
        informative=bool(frame["informative"]),
        own=bool(frame["own"]),
    )
    return ReferenceCase(
        name=str(frame["name"]),
        inputs=list(frame["inputs"]),
        train=bool(frame["train"]),
        grad=bool(frame["grad"]),
        seconds=float(frame["seconds"]),
        expected=expected,
        state_after=frame["state_after"],
    )
