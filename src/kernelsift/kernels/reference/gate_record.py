"""One line of gate.jsonl: what gating one distinct module came to."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticSerializationError

from kernelsift.kernels.isolation.limits import ChildResult
from kernelsift.kernels.reference.gate_facts import GATE_VERSION, GateFacts
from kernelsift.kernels.reference.reference_result import read_reference
from kernelsift.model import Frozen, digest

BEGINS = b'{"key":"'
"""What every line begins with."""
_KEY = re.compile(rb'\{"key":"([0-9a-f]{32})"')
_KINDS = {
    "ModuleNotFoundError": "package missing",
    "ImportError": "name missing in a package",
    "SyntaxError": "not Python",
    "IndentationError": "not Python",
    "ReferenceUnusableError": "no module, or no get_inputs()",
}


class GateRecord(Frozen):
    """What is known of one module under one version of the gate and of torch."""

    key: str
    module: str
    """Name of the class that was asked for; empty: the gate has chosen."""
    reference: str
    """Digest of the source, as in `ks_reference_digest` of a run."""
    gate: str
    """Version of the gate."""
    torch: str
    ended: Literal["done", "crash", "timeout", "killed", "flooded"]
    """How the child ended; anything but `done` without facts says nothing about the module."""
    why: str = ""
    facts: GateFacts | None = None
    seconds: Annotated[float, Field(ge=0)]
    cpu_seconds: Annotated[float, Field(ge=0)]
    peak_bytes: Annotated[int, Field(ge=0)]
    sandbox: str

    @property
    def runs(self) -> bool:
        """The module was measured."""
        return self.facts is not None and self.facts.runs

    @property
    def failure(self) -> str:
        """Kind of failure, for counting; empty where the module runs."""
        if self.runs:
            return ""
        if self.facts is None:
            limit = next((kind for word, kind in _LIMITS.items() if self.why.startswith(word)), "")
            return limit or _ENDS[self.ended]
        name, _, said = self.facts.error.partition(":")
        if "can't allocate memory" in said or name == "MemoryError":
            return "too large for memory"
        return _KINDS.get(name, name)

    @property
    def error(self) -> str:
        """Why it was not measured, in its own words; empty where the module runs."""
        if self.runs:
            return ""
        return self.facts.error if self.facts is not None else self.why


_LIMITS = {
    "memory": "too large for memory",
    "CPU time": "too slow",
    "wall clock": "waited, or the machine was too busy",
}
_ENDS = {
    "done": "no result",
    "crash": "its process crashed",
    "timeout": "no end in time",
    "killed": "its process was killed",
    "flooded": "too much output",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a child was asked to measure."""

    key: str
    module: str
    reference: str
    torch: str


def record_of(child: ChildResult, nonce: str, asked: Asked) -> GateRecord:
    """Return what a child has shown; facts that it told before it ended badly count."""
    result = read_reference(child.frames, nonce)
    why = ""
    if result.gate is None:
        why = "; ".join([child.reason, *result.problems, child.output[-200:].strip()])
        why = why.strip("; ")[:300]
    record = GateRecord(
        key=asked.key,
        module=asked.module,
        reference=asked.reference,
        gate=GATE_VERSION,
        torch=asked.torch,
        ended=child.status,
        why=why,
        facts=result.gate,
        seconds=round(child.seconds, 4),
        cpu_seconds=round(child.cpu_seconds, 4),
        peak_bytes=max(0, child.peak_bytes),
        sandbox=child.sandbox,
    )
    try:
        record.model_dump_json()
    except PydanticSerializationError as error:  # a text that is no Unicode
        why = f"facts that cannot be written: {error}"[:300]
        return record.model_copy(update={"facts": None, "why": why})
    return record


def key_in(line: bytes) -> str | None:
    """Return the key of a line without reading the rest of it."""
    found = _KEY.match(line)
    return found[1].decode() if found else None


def key_of(code: str, module: str, torch: str) -> str:
    """Digest of all that could change the facts."""
    return digest("gate", code, module, GATE_VERSION, torch)
