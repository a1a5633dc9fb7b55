"""One candidate on the GPU: the cases, the memory checker, the timing; on top of the CPU's checks.

    with Pool(...) as pool, device_pool() as gpu:
        verifier = DeviceVerifier(Verifier(pool), pool, gpu)
        facts = verifier.verify(question)

Thread-safe; one candidate at a time has the device, since two would spoil each other's times.
"""

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from kernelsift.kernels import wire
from kernelsift.kernels.candidate.candidate_plan import payload_for
from kernelsift.kernels.facts import Timing, VerifyFacts
from kernelsift.kernels.gpu import memcheck
from kernelsift.kernels.gpu.device import missing
from kernelsift.kernels.gpu.device_result import OURS, DeviceRun, device_run, with_device
from kernelsift.kernels.gpu.device_timing import Stopwatch, TimedQuestion, TimingEffort
from kernelsift.kernels.gpu.gpu_facts import DeviceFacts, GpuFacts, MemcheckFacts
from kernelsift.kernels.hacks import static_facts
from kernelsift.kernels.isolation.limits import ChildResult, Limits
from kernelsift.kernels.isolation.pool import LARGEST_PAYLOAD, Pool
from kernelsift.kernels.isolation.sandbox import Sandbox
from kernelsift.kernels.reference.reference_result import ReferenceResult, read_reference
from kernelsift.kernels.sizing import Question
from kernelsift.kernels.verifier import Verifier

PRELOAD = ("torch", "triton", "triton.language", "kernelsift.kernels.candidate.calling")
"""What children of the GPU's pool begin with. Nothing here may start the driver."""
BAND_BYTES = 16 << 10
_REFERENCE_JOB = "kernelsift.kernels.reference.reference_job:main"
_JOBS = "kernelsift.kernels.gpu"
_MOST_CASE_BYTES = 128 << 20
_USABLE = frozenset({"ok", "degenerate", "size", "budget"})
"""What the CPU may have said of a reference that a GPU can still measure something with."""


@dataclass(frozen=True, slots=True)
class DeviceEffort:
    """How much is spent on one candidate."""

    reference_seconds: float = 120.0
    """Processor time for the reference's answers on the CPU; cases made until then count."""
    limit_seconds: float = 180.0
    """Wall clock after which the candidate's child is ended."""
    memcheck_share: float = 0.05
    """Share of candidates, chosen by their code, that run under compute-sanitizer."""
    timing: TimingEffort | None = field(default_factory=TimingEffort)
    """None: nothing is timed."""


def device_pool(sandbox: Sandbox = "auto") -> Pool:
    """The pool whose children may use the GPU: two at a time, reference and candidate."""
    return Pool(workers=2, sandbox=sandbox, preload=PRELOAD, interpret=False, gpu=True)


class DeviceVerifier:
    """Verifies like the verifier that it is given, then on the device."""

    def __init__(
        self,
        base: Verifier,
        cpu: Pool,
        gpu: Pool,
        effort: DeviceEffort | None = None,
        *,
        device: Literal["cuda", "cpu"] = "cuda",
    ) -> None:
        """`cpu`: the pool that references run in; `device`: "cpu" only rehearses the whole path."""
        self._base, self._cpu, self._gpu = base, cpu, gpu
        self._effort = effort or DeviceEffort()
        self._device = device
        self._lock = threading.Lock()
        self._found: DeviceFacts | str | None = None

    def available(self) -> DeviceFacts | str:
        """The device, or why there is none; asked once."""
        with self._lock:
            if self._found is None:
                self._found = self._probe()
            return self._found

    def verify(self, question: Question, /, seed: int | None = None) -> VerifyFacts:
        """Measure everything about one candidate. `seed` is secret unless given."""
        facts = self._base.verify(question, seed)
        found = self.available()
        if isinstance(found, str):
            return _without(facts, found)
        if not facts.static.parsed or facts.reference.status not in _USABLE:
            return _without(facts, "there is nothing to compare with")
        secret = secrets.randbits(62) if seed is None else seed
        began = time.monotonic()
        reference = self._reference(question, secret)
        with self._lock:
            facts = self._on_device(facts, TimedQuestion(question, secret), found, reference)
        spent = Timing(name="gpu", seconds=round(time.monotonic() - began, 4))
        return facts.model_copy(update={"timings": (*facts.timings, spent)})

    def _probe(self) -> DeviceFacts | str:
        if self._device == "cpu":
            return DeviceFacts(name="CPU, as a rehearsal", capability=(0, 0))
        if why := missing():
            return why
        nonce = secrets.token_hex(16)
        payload = wire.encode({"nonce": nonce})
        child = self._gpu.run(f"{_JOBS}.device_probe:main", payload, _limits(120))
        said = _said(child, nonce)
        if said is None:
            return f"the GPU's probe: {child.status} {child.reason or child.output[-300:]}"
        unusable = said.get("why") or said.get("unusable")
        try:
            return str(unusable) if unusable else DeviceFacts.model_validate(said.get("device"))
        except ValidationError as error:
            return f"the GPU's probe: {error}"

    def _on_device(
        self,
        facts: VerifyFacts,
        asked: TimedQuestion,
        found: DeviceFacts,
        reference: ReferenceResult,
    ) -> VerifyFacts:
        gpu = GpuFacts(device=found, sandbox=self._gpu.level)
        payload = self._payload(asked, reference) if reference.cases else b""
        if not payload or len(payload) > LARGEST_PAYLOAD:
            why = "; ".join(reference.problems)[:300] or "the cases are too large to send"
            facts = facts.model_copy(update={"gpu": gpu.model_copy(update={"why": why})})
        else:
            seen = self._cases(payload, reference)
            checked = self._memcheck(asked, reference, seen)
            facts = with_device(facts, seen, gpu.model_copy(update={"memcheck": checked}))
            asked = replace(asked, tf32=seen.tf32)
            if seen.run.status != "done":
                return facts
        if self._effort.timing is None:
            return facts
        watch = Stopwatch(self._gpu, self._device, _limits(900), self._effort.timing)
        asked = replace(asked, gate=reference.gate, initial=reference.initial)
        timing = watch.time(asked, found)
        known = facts.gpu or gpu
        return facts.model_copy(update={"gpu": known.model_copy(update={"timing": timing})})

    def _reference(self, question: Question, secret: int) -> ReferenceResult:
        """The reference's answers at its own sizes; what is too much to send is left out."""
        nonce = secrets.token_hex(16)
        static = static_facts(question.code, question.class_name)
        request = {
            "nonce": nonce,
            "mode": "cases",
            "code": question.reference,
            "class_name": question.class_name,
            "seed": secret,
            "literals": list(static.shape_literals[:8]),
            "blocks": list(static.blocks),
            "budget_seconds": 1e9,
        }
        seconds = self._effort.reference_seconds
        limits = replace(_limits(4 * seconds), cpu_seconds=seconds)
        child = self._cpu.run(_REFERENCE_JOB, wire.encode(request), limits)
        result = read_reference(child.frames, nonce)
        if not result.complete:
            result.problems.append(f"{child.status}: {child.reason}")
        left, kept = _MOST_CASE_BYTES, []
        for case in result.cases:
            left -= len(wire.encode([case.for_candidate(), case.expected.eager]))
            if left >= 0:
                kept.append(case)
        result.cases = kept
        return result

    def _payload(self, asked: TimedQuestion, reference: ReferenceResult) -> bytes:
        question = asked.question
        return payload_for(
            {
                "nonce": secrets.token_hex(16),
                "code": question.code,
                "module_name": question.class_name,
                "entry": question.entry,
                "reference": question.reference,
                "budget": self._effort.limit_seconds,
                "patience": 0.0,
            },
            reference,
            {"seed": asked.build_seed, "device": self._device, "watch": True},
        )

    def _cases(self, payload: bytes, reference: ReferenceResult) -> DeviceRun:
        limits = _limits(self._effort.limit_seconds)
        child = self._gpu.run(f"{_JOBS}.device_job:main", payload, limits)
        return device_run(child, wire.decode(payload)["nonce"], reference, BAND_BYTES)

    def _memcheck(
        self, asked: TimedQuestion, reference: ReferenceResult, seen: DeviceRun
    ) -> MemcheckFacts:
        tool = memcheck.installed()
        if tool is None:
            return MemcheckFacts(status="not-installed")
        if seen.run.status in OURS or not chosen(asked.question.code, self._effort.memcheck_share):
            return MemcheckFacts(status="not-run", why="not in the sample")
        if not self._gpu.report.namespaces:
            return MemcheckFacts(status="not-run", why="it needs a network namespace")
        nominal = [c for c in reference.cases if c.expected.group == "nominal"][:1]
        job = wire.decode(self._payload(asked, replace(reference, cases=nominal)))
        job |= {"steps": [], "plan": [], "options": job["options"] | {"watch": False}}
        nonce, seconds = secrets.token_hex(16), self._effort.limit_seconds
        request = {"nonce": nonce, "tool": tool, "seconds": seconds, "job": wire.encode(job)}
        payload = wire.encode(request)
        child = self._gpu.run(f"{_JOBS}.memcheck_job:main", payload, _limits(seconds + 10))
        said = _said(child, nonce)
        if said is None:
            return MemcheckFacts(status="failed", why=f"{child.status}: {child.reason}"[:400])
        return memcheck.report_of(str(said.get("text")), answered=said.get("answered") is True)


def _limits(seconds: float) -> Limits:
    """Of a child with a driver in it: more of everything."""
    return Limits(
        wall_seconds=seconds,
        cpu_seconds=2 * seconds,
        memory_bytes=24 << 30,
        processes=512,
        open_files=4096,
        file_bytes=512 << 20,
        result_bytes=1 << 30,
    )


def _said(child: ChildResult, nonce: str) -> dict[str, Any] | None:
    """The frame of a job that sends one."""
    for raw in child.frames:
        try:
            said = wire.decode(raw)
        except wire.WireError:
            continue
        if isinstance(said, dict) and said.get("nonce") == nonce:
            return said
    return None


def _without(facts: VerifyFacts, why: str) -> VerifyFacts:
    return facts.model_copy(update={"gpu": GpuFacts(why=why[:500])})


def chosen(code: str, share: float) -> bool:
    """Whether a candidate is in a sample: by its code alone, so that every run takes the same."""
    raw = hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(raw[:4], "big") < share * 2**32
