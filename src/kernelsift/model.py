"""The nouns. Pure data: no I/O, no clock, no randomness, no imports from this package."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field

SampleId = NewType("SampleId", str)
Score = Annotated[float, Field(ge=0, le=10)]
FailureClass = Literal[
    # the service
    "bad-request",
    "rate-limit",
    "server",
    "timeout",
    "network",
    "bad-body",
    "refusal",
    "length",
    # the answer
    "no-verdict",
    "out-of-range",
    "not-an-integer",
    "double-verdict",
    "no-specification",
    "prompt-leak",
    "prompt-incomplete",
    "claims-wrong",
    "no-evidence",
    # the row
    "no-code",
    "unparsable-code",
    "no-reference",
    # the verification
    "unverifiable-entry",
    "unverifiable-reference",
    "unverifiable-size",
    "unverifiable-time",
    "unverifiable-interpreter",
    "unverifiable-dependency",
    "unverifiable-init",
    "unverifiable-sandbox",
    "unverifiable-not-run",
    "verifier-error",
]
State = Literal["kept", "dropped", "failed", "pending"]


class Frozen(BaseModel):
    """An immutable value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def digest(*parts: object) -> str:
    """Return 32 hex characters that change when any part changes (SHA-256 of canonical JSON)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_digest(text: str) -> str:
    """Return 32 hex characters for a program's text; empty for an empty one."""
    if not text:
        return ""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """The small part of a sample: what selecting stages decide on. No text."""

    id: SampleId
    row: int
    """Position in the source, from 0; only for messages and stable output order."""
    origin: str
    """Where the row came from: `file:line`, `file.parquet:row` or `dataset@revision:split:row`."""
    module: str
    reward: float
    reference_digest: str
    code_digest: str
    """Digest of the extracted code; empty when no code was found."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout, immutable. `id` is a digest of its content: order and reload change nothing."""

    entry: Entry
    reference: str
    """The PyTorch module's source; empty when the source has none."""
    code: str
    """The kernel's source, taken out of the completion; empty when there is none."""
    completion: str | None = None
    """The whole text of the answer, reasoning included; None unless it was asked for."""

    @property
    def id(self) -> SampleId:
        return self.entry.id


@dataclass(frozen=True, slots=True)
class Module:
    """One PyTorch module that a task prompt is generated for."""

    id: SampleId
    name: str
    reference: str
    """The module's source (`python_code`), usually with get_inputs() and get_init_inputs()."""
    triton_code: str | None
    uuid: str | None


class Check(Frozen):
    """A judge's answer to one question about a program."""

    name: str
    """One of `checklist.CHECKS`."""
    answer: Literal["yes", "no", "na"]
    """`na`: the question does not apply."""
    quote: str
    """The line of the program that shows it, as the judge wrote it."""
    supported: bool
    """Whether the quote occurs in the program; true where the check does not apply."""


class Opinion(Frozen):
    """One answer of one judge: what a judgement is the mean of."""

    judge: str
    sample: int = 0
    """Which of this judge's answers to the same question it is, from 0."""
    difficulty: Score | None = None
    """None where this answer is about style alone."""
    style: Score | None = None
    """None where this answer is about difficulty alone."""
    checks: tuple[Check, ...] = ()
    """What style is counted from, where it is a checklist."""
    raw: str
    returned_model: str
    extra: Literal["near", "drawn"] | None = None
    """Why it was asked for: the row lies near a threshold, or was drawn by chance. None for the
    answers that every row gets."""


class Judgement(Frozen):
    """An opinion of one solution: difficulty of its task and style of its code, both 0-10."""

    kind: Literal["judgement"] = "judgement"
    difficulty: Score
    """The mean where there are several opinions."""
    style: Score
    """The mean where there are several opinions."""
    raw: str
    """The judge's own words, for `evaluation_raw`."""
    judge: str
    """Who judged: the model asked for, or `static`."""
    returned_model: str
    """The model that the service says has answered."""
    prompt_version: str
    """Name and digest of the instrument, e.g. `original-1:9f2c…`."""
    params: Mapping[str, Any] = {}
    """Sampling parameters that were really sent."""
    difficulty_spread: float | None = None
    """Standard deviation (n - 1) of the opinions' scores; None with fewer than two."""
    style_spread: float | None = None
    """As `difficulty_spread`."""
    opinions: tuple[Opinion, ...] = ()
    """The single answers, where there is more to them than the two scores."""


class Difficulty(Frozen):
    """An opinion of one PyTorch module: how hard it is to write as Triton kernels, 0-10."""

    kind: Literal["difficulty"] = "difficulty"
    difficulty: Score
    """The mean of the opinions."""
    spread: float | None = None
    """Standard deviation (n - 1) of the opinions; None with fewer than two."""
    opinions: tuple[Opinion, ...]
    prompt_version: str


class PromptFinding(Frozen):
    """Something that is wrong with a task prompt, or worth knowing of it."""

    slug: str
    severity: Literal["bad", "note"]
    """`bad`: the prompt is not used as it is; `note`: only recorded."""
    what: str
    evidence: str
    """What was found and where."""


class TaskPrompt(Frozen):
    """A task specification written for one PyTorch module."""

    kind: Literal["task-prompt"] = "task-prompt"
    prompt: str
    generator: str
    """Who wrote it: the model asked for, or `template`."""
    returned_model: str
    prompt_version: str
    params: Mapping[str, Any] = {}
    notes: tuple[PromptFinding, ...] = ()
    """What its checks have found that does not speak against using it."""
    claims: str = ""
    """What its writer says of inputs, outputs and parameters, as JSON; empty where not asked."""
    executed: str = ""
    """How the claims were checked: by a run of the module, or why there was none."""


class Verification(Frozen):
    """What was seen while a kernel was verified. What it amounts to is a decision, made apart."""

    kind: Literal["verification"] = "verification"
    facts: Mapping[str, Any]
    """`kernels.facts.VerifyFacts` as JSON, fields that have their default left out."""


class Failure(Frozen):
    """A measurement that could not be made. It says nothing about the sample."""

    kind: Literal["failure"] = "failure"
    failure: FailureClass
    why: str


Body = Annotated[
    Judgement | Difficulty | TaskPrompt | Verification | Failure, Field(discriminator="kind")
]


class Fact(Frozen):
    """One measurement of one sample. Facts are appended, never edited."""

    stage: str
    sample: SampleId
    key: str
    """Digest of all that could change the answer: version, settings, prompt, sample parts."""
    body: Body
    usd: float = 0.0
    """What was paid, also when the answer was useless."""
    seconds: float = 0.0
    version: str = ""


class Decision(Frozen):
    """Keep or drop, by one stage, for a reason a reader can check."""

    sample: SampleId
    stage: str
    keep: bool
    reason: str
    evidence: Mapping[str, Any] = {}
    failure: FailureClass | None = None
    """Set where the stage could not tell: the row is not kept, and it is not dropped either."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a stage returns for the terminal."""

    stage: str
    counts: Mapping[str, int]
    seconds: float
    usd: float = 0.0
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
