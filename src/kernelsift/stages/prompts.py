"""prompts: write a task specification for each PyTorch module."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from kernelsift.config import Prompts
from kernelsift.kernels import describe
from kernelsift.llm.chat import Ask, Chat, Message, Reply
from kernelsift.llm.prompts import PromptText, fill
from kernelsift.llm.second_chance import Reading, ask_twice
from kernelsift.model import Failure, Module, TaskPrompt, digest

VERSION = "1"
"""Raised when a change here may change an answer that was not asked for again."""
_SPECIFICATION = re.compile(r"<specification>(.*?)</specification>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^\s*(```|~~~)", re.MULTILINE)
_SHORTEST = 80
"""Characters below which a text is no specification."""
_COMPLAINT = (
    "That cannot be used: {why}. Write the whole specification again, between <specification> and "
    "</specification>, in prose, without code."
)
_LENGTH_FACTOR = 2


@dataclass(frozen=True)
class Generator:
    """What decides a prompt besides the module."""

    cfg: Prompts
    prompt: PromptText | None
    """None for the offline template."""
    base_url: str = ""

    @cached_property
    def version(self) -> str:
        """Name and digest of the prompt, or the version of the template."""
        if self.prompt is None:
            return describe.VERSION
        return self.prompt.label

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """The settings that can change an answer."""
        if self.prompt is None:
            return {"generator": "template", "version": self.version}
        source = {"source", "split", "revision", "limit"}
        cfg = self.cfg.model_dump(exclude=source)
        return {**cfg, "base_url": self.base_url, "prompt": self.version}

    def key(self, module: Module) -> str:
        """Digest of all that could change the answer. Modules with equal name and text share it."""
        return digest(self._settings_digest, module.name, module.reference)

    @cached_property
    def _settings_digest(self) -> str:
        return digest("prompts", VERSION, self.settings)


def ask_for(module: Module, generator: Generator) -> Ask:
    """The request that a module's prompt begins with."""
    assert generator.prompt is not None
    cfg = generator.cfg
    mark = digest("mark", module.reference)[:16]
    user = fill(generator.prompt.user, name=module.name, reference=module.reference, mark=mark)
    return Ask(
        messages=(Message("system", generator.prompt.system), Message("user", user)),
        max_tokens=cfg.max_tokens,
        temperature=cfg.temperature,
        extra={"reasoning_effort": cfg.reasoning_effort} if cfg.reasoning_effort else {},
    )


async def measure(
    module: Module, chat: Chat, generator: Generator, attempt: int = 0
) -> tuple[TaskPrompt | Failure, float]:
    """Ask the model; an unusable answer is sent back once with what is wrong with it.

    Returns the prompt or the failure, and the USD that its answers cost.
    """
    ask = ask_for(module, generator)
    reading = Reading(lambda reply: read(reply, module, generator), _COMPLAINT, _LENGTH_FACTOR)
    return await ask_twice(chat, ask, reading, attempt)


def write(module: Module) -> TaskPrompt | Failure:
    """Describe a module from its syntax tree alone: free and deterministic."""
    text = describe.describe(module.name, module.reference)
    if text is None:
        return Failure(
            failure="no-specification",
            why="the source has no class with a forward method that could be described",
        )
    version = describe.VERSION
    return TaskPrompt(
        prompt=text, generator="template", returned_model="template", prompt_version=version
    )


def read(reply: Reply, module: Module, generator: Generator) -> TaskPrompt | Failure:
    """Turn a stored reply into a prompt; runs again at no cost when this code changes."""
    if reply.refusal is not None:
        return Failure(failure="refusal", why=reply.refusal[:300])
    text = reply.text
    found = _SPECIFICATION.findall(text)
    if not found and reply.finish_reason == "length":
        return Failure(failure="length", why="cut off at the token limit")
    why = _problem(found, module)
    if why:
        return Failure(failure="no-specification", why=why)
    return TaskPrompt(
        prompt=found[-1].strip() + "\n",
        generator=generator.cfg.model,
        returned_model=reply.returned_model,
        prompt_version=generator.version,
        params=reply.params,
    )


def _problem(found: list[str], module: Module) -> str | None:
    if not found:
        return "no <specification>…</specification> in the reply"
    text = found[-1].strip()
    if len(text) < _SHORTEST:
        return f"the specification has only {len(text)} characters"
    if f"{module.name}New" not in text:
        return f"the specification does not name the class {module.name}New"
    if _FENCE.search(text):
        return "the specification contains a code block"
    return None
