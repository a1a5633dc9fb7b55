"""What a judge is asked: the settings, prompts and schemas that decide an answer, and its key."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kernelsift.checklist import CHECKS
from kernelsift.config import Judge
from kernelsift.config_judge import Answers
from kernelsift.kernels import static_judge
from kernelsift.llm.chat import Ask, Message
from kernelsift.llm.prompts import PromptText, fill
from kernelsift.model import Entry, Sample, digest

VERSION = "1"
"""Raised when a change here may change an answer that was not asked for again."""
_SCORE: Mapping[str, Any] = {"type": "integer", "enum": list(range(11))}
_TEXT: Mapping[str, Any] = {"type": "string"}


def _schema(name: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": name, "schema": _object(properties)}


def _object(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMA = _schema(
    "verdict",
    {
        "difficulty_reason": _TEXT,
        "difficulty": _SCORE,
        "style_reason": _TEXT,
        "style": _SCORE,
    },
)
_CHECK = _object({"quote": _TEXT, "answer": {"type": "string", "enum": ["yes", "no", "na"]}})
CHECKLIST_SCHEMA = _schema("checklist", dict.fromkeys(CHECKS, _CHECK))
DIFFICULTY_SCHEMA = _schema("difficulty", {"reason": _TEXT, "difficulty": _SCORE})
_APART = 1000
"""Between the sample indexes of independent answers: room for retries of each."""
_SINCE = {"rubric", "same_family", "service_tier", "panel", *Answers.model_fields}
"""Settings that are in no key: they change no answer, or say what was always done by default."""
_DIGESTS = 2.0**128
"""How many digests there are."""


@dataclass(frozen=True)
class Instrument:
    """What decides an answer besides the sample: the settings, the prompts and the endpoint."""

    cfg: Judge
    prompt: PromptText | None
    """None for the static judge."""
    base_url: str = ""
    difficulty: PromptText | None = None
    """The checklist's own question for difficulty; None where one answer gives both scores."""

    @cached_property
    def version(self) -> str:
        """Name and digest of the prompts, or the version of the static judge."""
        if self.prompt is None:
            return static_judge.VERSION
        return "+".join(p.label for p in (self.prompt, self.difficulty) if p is not None)

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """The settings that can change an answer, as recorded with the stage."""
        if self.prompt is None:
            return {"judge": "static", "version": self.version}
        cfg = self.cfg
        chosen = cfg.model_dump(exclude=_SINCE)
        if cfg.rubric != "original":
            own = {
                "rubric": cfg.rubric,
                "instrument": prompt_name(cfg),
                "max_tokens": most_tokens(cfg),
            }
            chosen |= own
        if cfg.samples > 1:
            chosen["samples"] = cfg.samples
        if cfg.asks_again:
            chosen["near"] = {
                "style": cfg.near_style,
                "difficulty": cfg.near_difficulty,
                "width": cfg.near_width,
                "samples": cfg.near_samples,
                "share": cfg.near_share,
            }
        return {**chosen, "base_url": self.base_url, "prompt": self.version}

    @cached_property
    def first(self) -> "Instrument":
        """The same judge asked as often as for every row: what it says first, near or not."""
        if not self.cfg.asks_again:
            return self
        cfg = self.cfg.model_copy(update={"near_style": None, "near_difficulty": None})
        return replace(self, cfg=cfg)

    def key(self, entry: Entry, module: str = "") -> str:
        """Digest of all that could change the answer for a sample. Equal code shares it.

        `module` is the digest of the normalised PyTorch module, for the checklist.
        """
        return digest(self._settings_digest, self._read_of(entry, module))

    def difficulty_key(self, module: str) -> str:
        """Digest of all that could change the difficulty of a normalised module."""
        assert self.difficulty is not None
        if self.cfg.near_style is not None:  # says nothing of modules
            cfg = self.cfg.model_copy(update={"near_style": None})
            return replace(self, cfg=cfg).difficulty_key(module)
        asked = {**self.settings, "instrument": "", "prompt": self.difficulty.label}
        return digest("judge-difficulty", VERSION, asked, module)

    def drawn(self, entry: Entry, module: str = "") -> bool:
        """Whether a row is one of the share that gets more answers by chance, by its digest.

        The same rows for every judge, and with a larger share the same rows and more.
        """
        return _share_of(self._read_of(entry, module)) < self.cfg.near_share

    def drawn_module(self, module: str) -> bool:
        """As `drawn`, for a normalised module."""
        return _share_of(["module", module]) < self.cfg.near_share

    def near(self, *, difficulty: float | None = None, style: float | None = None) -> bool:
        """Whether one of these scores lies near its threshold."""
        cfg = self.cfg
        pairs = ((difficulty, cfg.near_difficulty), (style, cfg.near_style))
        return any(
            score is not None and threshold is not None and abs(score - threshold) <= cfg.near_width
            for score, threshold in pairs
        )

    def _read_of(self, entry: Entry, module: str) -> list[str]:
        """Digests of what an answer is read off."""
        parts = [entry.code_digest]
        if self.prompt is None:
            parts.append(entry.reference_digest)
        elif self.cfg.show == "completion":
            parts.append(entry.id)
        elif self.difficulty is not None:
            parts.append(module)
        return parts

    @cached_property
    def _settings_digest(self) -> str:
        return digest("judge", VERSION, self.settings)


def prompt_name(cfg: Judge) -> str:
    """The prompt file: the checklist has its own, where no other was chosen."""
    own = cfg.rubric == "checklist" and cfg.instrument == "judge-original-1"
    return "judge-style-checklist-1" if own else cfg.instrument


def most_tokens(cfg: Judge) -> int:
    """Most output tokens per answer: the checklist needs more, where nothing was chosen."""
    chosen = cfg.rubric == "original" or "max_tokens" in cfg.model_fields_set
    return cfg.max_tokens if chosen else 3 * cfg.max_tokens


def ask_for(sample: Sample, instrument: Instrument) -> Ask:
    """The request that a sample's judging begins with."""
    assert instrument.prompt is not None
    shown = sample.code if instrument.cfg.show == "code" else sample.completion or ""
    mark = sample.entry.code_digest[:16]  # not known to whoever wrote the code
    user = fill(instrument.prompt.user, code=shown, mark=mark)
    schema = SCHEMA if instrument.difficulty is None else CHECKLIST_SCHEMA
    return _ask(instrument, instrument.prompt, user, schema)


def ask_difficulty(sample: Sample, instrument: Instrument) -> Ask:
    """The request that judging a sample's module begins with. Nothing of its answer is in it."""
    assert instrument.difficulty is not None
    mark = digest("mark", sample.reference)[:16]
    user = fill(instrument.difficulty.user, reference=sample.reference, mark=mark)
    return _ask(instrument, instrument.difficulty, user, DIFFICULTY_SCHEMA)


def _ask(instrument: Instrument, prompt: PromptText, user: str, schema: Mapping[str, Any]) -> Ask:
    cfg = instrument.cfg
    sent = {"reasoning_effort": cfg.reasoning_effort, "service_tier": cfg.service_tier}
    return Ask(
        messages=(Message("system", prompt.system), Message("user", user)),
        max_tokens=most_tokens(cfg),
        json_schema=schema if cfg.structured else None,
        temperature=cfg.temperature,
        extra={name: value for name, value in sent.items() if value is not None},
    )


def asks_of(ask: Ask, instrument: Instrument) -> list[Ask]:
    """The independent requests, as many as `judge.samples`, that one question is."""
    return _numbered(ask, range(instrument.cfg.samples))


def asks_again_of(ask: Ask, instrument: Instrument) -> list[Ask]:
    """The further requests that one question is near a threshold: the answers up to
    `judge.near_samples` that `asks_of` has not asked for.
    """
    return _numbered(ask, range(instrument.cfg.samples, instrument.cfg.near_samples))


def _numbered(ask: Ask, numbers: Iterable[int]) -> list[Ask]:
    return [replace(ask, sample=_APART * number) for number in numbers]


def _share_of(parts: Sequence[str]) -> float:
    """A number from 0 to 1 that is as good as drawn, and the same every time."""
    return int(digest("judge-drawn", parts), 16) / _DIGESTS
