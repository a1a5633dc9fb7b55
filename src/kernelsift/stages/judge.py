"""judge: rate difficulty and style, 0-10, by a language model or by static features."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kernelsift.config import Judge
from kernelsift.kernels import static_judge
from kernelsift.llm.chat import Ask, Chat, Message, Reply
from kernelsift.llm.prompts import PromptText, fill
from kernelsift.llm.second_chance import Reading, ask_twice
from kernelsift.model import Entry, Failure, Judgement, Sample, digest
from kernelsift.verdict import Verdict, parse_verdict

VERSION = "1"
"""Raised when a change here may change an answer that was not asked for again."""
SCHEMA: Mapping[str, Any] = {
    "name": "verdict",
    "schema": {
        "type": "object",
        "properties": {
            "difficulty_reason": {"type": "string"},
            "difficulty": {"type": "integer", "enum": list(range(11))},
            "style_reason": {"type": "string"},
            "style": {"type": "integer", "enum": list(range(11))},
        },
        "required": ["difficulty_reason", "difficulty", "style_reason", "style"],
        "additionalProperties": False,
    },
}
_COMPLAINT = (
    "That is no usable verdict: {why}. Give the verdict again: one whole number from 0 to 10 for "
    "difficulty and one for style, each once, in the form asked for."
)
_LENGTH_FACTOR = 4
"""An answer that was cut off is asked for once more, with this many times the tokens."""


@dataclass(frozen=True)
class Instrument:
    """What decides an answer besides the sample: the settings, the prompt and the endpoint."""

    cfg: Judge
    prompt: PromptText | None
    """None for the static judge."""
    base_url: str = ""

    @cached_property
    def version(self) -> str:
        """Name and digest of the prompt, or the version of the static judge."""
        if self.prompt is None:
            return static_judge.VERSION
        return self.prompt.label

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """The settings that can change an answer, as recorded with the stage."""
        if self.prompt is None:
            return {"judge": "static", "version": self.version}
        return {**self.cfg.model_dump(), "base_url": self.base_url, "prompt": self.version}

    def key(self, entry: Entry) -> str:
        """Digest of all that could change the answer for a sample. Equal code shares it."""
        parts = [entry.code_digest]
        if self.prompt is None:
            parts.append(entry.reference_digest)
        elif self.cfg.show == "completion":
            parts.append(entry.id)
        return digest(self._settings_digest, parts)

    @cached_property
    def _settings_digest(self) -> str:
        return digest("judge", VERSION, self.settings)


def ask_for(sample: Sample, instrument: Instrument) -> Ask:
    """The request that a sample's judging begins with."""
    assert instrument.prompt is not None
    cfg = instrument.cfg
    shown = sample.code if cfg.show == "code" else sample.completion or ""
    mark = sample.entry.code_digest[:16]  # not known to whoever wrote the code
    user = fill(instrument.prompt.user, code=shown, mark=mark)
    return Ask(
        messages=(Message("system", instrument.prompt.system), Message("user", user)),
        max_tokens=cfg.max_tokens,
        json_schema=SCHEMA if cfg.structured else None,
        temperature=cfg.temperature,
        extra={"reasoning_effort": cfg.reasoning_effort} if cfg.reasoning_effort else {},
    )


async def measure(
    sample: Sample, chat: Chat, instrument: Instrument, attempt: int = 0
) -> tuple[Judgement | Failure, float]:
    """Ask the model; an unusable answer is sent back once with what is wrong with it.

    `attempt` counts earlier failures of this sample, so that a retry is a request of its own.
    Returns the judgement or the failure, and the USD that its answers cost.
    """
    if not sample.code:
        return _no_code(), 0.0
    ask = ask_for(sample, instrument)
    reading = Reading(lambda reply: read(reply, instrument), _COMPLAINT, _LENGTH_FACTOR)
    return await ask_twice(chat, ask, reading, attempt)


def rate(sample: Sample) -> Judgement | Failure:
    """Judge by static features: free, deterministic, and saying so in every column."""
    if not sample.code:
        return _no_code()
    rating = static_judge.rate(sample.code, sample.reference)
    if rating is None:
        return Failure(failure="unparsable-code", why="the code is not valid Python")
    return Judgement(
        difficulty=rating.difficulty,
        style=rating.style,
        raw="static judge: " + "; ".join(rating.reasons),
        judge="static",
        returned_model="static",
        prompt_version=static_judge.VERSION,
    )


def read(reply: Reply, instrument: Instrument) -> Judgement | Failure:
    """Turn a stored reply into a judgement; runs again at no cost when this code changes."""
    if reply.refusal is not None:
        return Failure(failure="refusal", why=reply.refusal[:300])
    verdict = parse_verdict(reply.text)
    if isinstance(verdict, Verdict):
        return Judgement(
            difficulty=verdict.difficulty,
            style=verdict.style,
            raw=reply.text,
            judge=instrument.cfg.model,
            returned_model=reply.returned_model,
            prompt_version=instrument.version,
            params=reply.params,
        )
    if reply.finish_reason == "length":
        return Failure(failure="length", why=f"cut off at the token limit: {verdict.why}")
    return verdict


def _no_code() -> Failure:
    return Failure(failure="no-code", why="no code was found in the completion")
