"""Time one candidate against its reference: two children on one device, asked in turn."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from kernelsift.errors import ConfigError
from kernelsift.kernels import wire
from kernelsift.kernels.candidate.candidate_plan import argument_names
from kernelsift.kernels.gpu.gpu_facts import DeviceFacts, Doubt, Side, TimingFacts
from kernelsift.kernels.gpu.measured import Block, BlockOrder, Trouble
from kernelsift.kernels.gpu.partner import Partner
from kernelsift.kernels.gpu.schedule import Plan, measure
from kernelsift.kernels.gpu.timing import Work, judge
from kernelsift.kernels.isolation.limits import Limits
from kernelsift.kernels.isolation.pool import Pool
from kernelsift.kernels.reference.gate_facts import GateFacts
from kernelsift.kernels.sizing import Question

_REFERENCE = "kernelsift.kernels.gpu.timing_job:time_reference"
_CANDIDATE = "kernelsift.kernels.gpu.timing_job:time_candidate"


class _UntimedError(Exception):
    """A side cannot be timed; the message says which and why."""


@dataclass(frozen=True, slots=True)
class TimingEffort:
    """How much is spent on one timing."""

    seconds: float = 30.0
    """After which no further round is begun."""
    compiled: bool = True
    """Time torch.compile of the reference too."""
    memory_bytes: int = 4 << 30
    """Of the device, for the inputs and answers of one side's block."""


@dataclass(frozen=True, slots=True)
class TimedQuestion:
    """What is timed, and what is known of it."""

    question: Question
    secret: int
    gate: GateFacts | None = None
    initial: dict[str, Any] = field(default_factory=dict)
    """Digests of the reference's initial weights, to recognise the candidate's by."""
    tf32: bool = False
    """The candidate multiplies in TF32."""

    @property
    def build_seed(self) -> int:
        """What torch is seeded with before the candidate is constructed."""
        return self.secret % 2**31


class Stopwatch:
    """Times candidates through a pool with room for two children."""

    def __init__(self, pool: Pool, device: str, limits: Limits, effort: TimingEffort) -> None:
        """`device`: `cuda`, or `cpu` for a rehearsal; `limits` of each of the children."""
        self._pool, self._device = pool, device
        self._limits, self._effort = limits, effort

    def time(self, asked: TimedQuestion, found: DeviceFacts) -> TimingFacts:
        """Measure; where a side cannot be timed, the facts say which."""
        began = time.monotonic()
        try:
            blocks, work = self._talked(asked)
        except _UntimedError as error:
            return TimingFacts(doubts=(Doubt(kind="failed", evidence=str(error)[:400]),))
        spent = time.monotonic() - began
        return judge(blocks, work, found, seconds=spent, tf32=asked.tf32)

    def _talked(self, asked: TimedQuestion) -> tuple[list[Block | Trouble], Work]:
        """Start the reference's child, with what it says the candidate's, and ask both."""
        request = self._reference(asked)
        payload = wire.encode(request)
        with self._pool.converse(_REFERENCE, payload, self._limits) as talk:
            base = Partner(talk, request["nonce"])
            said = _loaded("eager", base)
            try:
                mine = self._candidate(asked, said)
                payload = wire.encode(mine)
                with self._pool.converse(_CANDIDATE, payload, self._limits) as answer:
                    candidate = Partner(answer, mine["nonce"])
                    _loaded("candidate", candidate)
                    blocks = self._measured(base, candidate, int(said["inputs"]["count"]))
                return blocks, Work.model_validate(said["work"])
            except (wire.WireError, ConfigError, KeyError, TypeError, ValueError) as error:
                why = f"the reference's inputs cannot be handed on: {error}"
                raise _UntimedError(why) from error

    def _reference(self, asked: TimedQuestion) -> dict[str, Any]:
        gate = asked.gate
        return {
            "nonce": secrets.token_hex(16),
            "code": asked.question.reference,
            "class_name": asked.question.class_name,
            "seed": asked.secret,
            "device": self._device,
            "memory_bytes": self._effort.memory_bytes,
            "unused": {
                "inputs": list(gate.unused_inputs) if gate else [],
                "parameters": list(gate.unused_parameters) if gate else [],
            },
        }

    def _candidate(self, asked: TimedQuestion, said: dict[str, Any]) -> dict[str, Any]:
        question = asked.question
        return {
            "nonce": secrets.token_hex(16),
            "code": question.code,
            "module_name": question.class_name,
            "entry": question.entry,
            "init": said["init"],
            "names": argument_names(question.reference, question.class_name),
            "device": self._device,
            "inputs": said["inputs"],
            "weights": said["weights"],
            "initial": asked.initial,
            "seed": asked.secret,
            "build_seed": asked.build_seed,
        }

    def _measured(
        self, base: Partner, candidate: Partner, most_calls: int
    ) -> list[Block | Trouble]:
        def ask(side: Side, order: BlockOrder) -> Block | Trouble:
            return (candidate if side == "candidate" else base).ask(side, order)

        plan = Plan(
            seed=secrets.randbits(62),
            most_calls=most_calls,
            compiled=self._effort.compiled,
            budget_seconds=self._effort.seconds,
        )
        return measure(ask, plan)


def _loaded(side: str, partner: Partner) -> dict[str, Any]:
    said = partner.loaded()
    if isinstance(said, str):
        raise _UntimedError(f"{side}: {said}")
    return said
