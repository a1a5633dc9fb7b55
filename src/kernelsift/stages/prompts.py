"""prompts: write a task specification for each PyTorch module."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from kernelsift.config import Prompts
from kernelsift.kernels import describe
from kernelsift.llm.chat import Ask, Chat, Message, Reply
from kernelsift.llm.prompts import PromptText, fill
from kernelsift.llm.second_chance import Reading, ask_twice
from kernelsift.model import Failure, Module, PromptFinding, TaskPrompt, digest
from kernelsift.prompting.claims import Interface, compare, parse_claims
from kernelsift.prompting.findings import findings, sorted_out

VERSION = "2"
"""Raised when a change here may change an answer that was not asked for again."""
_SPECIFICATION = re.compile(r"<specification>(.*?)</specification>", re.DOTALL | re.IGNORECASE)
_COMPLAINT = (
    "That cannot be used: {why}. Write the whole specification again, between <specification> and "
    "</specification>, in prose, without code."
)
_WITH_CLAIMS = " After it, write the whole <interface> block again, too."
_LENGTH_FACTOR = 2
Examine = Callable[[Module], Awaitable[Interface | str]]
"""Runs a module: what it takes and returns, or why it could not be run."""


@dataclass(frozen=True)
class Generator:
    """What decides a prompt besides the module."""

    cfg: Prompts
    prompt: PromptText | None
    """None for the offline template."""
    base_url: str = ""
    executor: str = ""
    """What claims are checked with, in a few words."""

    @cached_property
    def asks_claims(self) -> bool:
        """Whether the prompt asks for claims in a form that can be run against the module."""
        return self.prompt is not None and "<interface>" in self.prompt.system

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
        cfg = self.cfg.model_dump(exclude={*source, "check_claims"})
        claims = {"claims": self.executor} if self.asks_claims else {}
        return {**cfg, "base_url": self.base_url, "prompt": self.version, **claims}

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
    module: Module,
    chat: Chat,
    generator: Generator,
    attempt: int = 0,
    examine: Examine | None = None,
) -> tuple[TaskPrompt | Failure, float]:
    """Ask the model; an unusable answer is sent back once with what is wrong with it.

    `examine`: runs the module, so that what is claimed of it can be compared; without it claims are
    only read. Returns the prompt or the failure, and the USD that its answers cost.
    """
    ask = ask_for(module, generator)
    seen = await examine(module) if examine and generator.asks_claims else "not asked for"
    complaint = _COMPLAINT + (_WITH_CLAIMS if generator.asks_claims else "")
    reading = Reading(lambda reply: read(reply, module, generator, seen), complaint, _LENGTH_FACTOR)
    return await ask_twice(chat, ask, reading, attempt)


def write(module: Module) -> TaskPrompt | Failure:
    """Describe a module from its syntax tree alone: free and deterministic."""
    text = describe.describe(module.name, module.reference)
    if text is None:
        return Failure(
            failure="no-specification",
            why="the source has no class with a forward method that could be described",
        )
    checked = sorted_out(findings(text, module.name, module.reference))
    if checked.failure is not None:
        return Failure(failure=checked.failure, why=checked.why)
    version = describe.VERSION
    return TaskPrompt(
        prompt=text,
        generator="template",
        returned_model="template",
        prompt_version=version,
        notes=checked.notes,
    )


def read(
    reply: Reply, module: Module, generator: Generator, seen: Interface | str
) -> TaskPrompt | Failure:
    """Turn a stored reply into a prompt; runs again at no cost when this code changes.

    `seen`: what the module was seen to take and return, or why it has not been run.
    """
    if reply.refusal is not None:
        return Failure(failure="refusal", why=reply.refusal[:300])
    found = _SPECIFICATION.findall(reply.text)
    if not found:
        if reply.finish_reason == "length":
            return Failure(failure="length", why="cut off at the token limit")
        why = "no <specification>…</specification> in the reply"
        return Failure(failure="no-specification", why=why)
    text = found[-1].strip()
    claimed: tuple[PromptFinding, ...] = ()
    claims, executed = "", ""
    if generator.asks_claims:
        claims, executed, claimed = _claims(reply.text, seen)
        if claimed and not claims and reply.finish_reason == "length":
            return Failure(failure="length", why="cut off at the token limit")
    checked = sorted_out(findings(text, module.name, module.reference, claimed))
    if checked.failure is not None:
        return Failure(failure=checked.failure, why=checked.why)
    return TaskPrompt(
        prompt=text + "\n",
        generator=generator.cfg.model,
        returned_model=reply.returned_model,
        prompt_version=generator.version,
        params=reply.params,
        notes=checked.notes,
        claims=claims,
        executed=executed,
    )


def _claims(text: str, seen: Interface | str) -> tuple[str, str, tuple[PromptFinding, ...]]:
    """The claims as JSON, how they were checked, and what is wrong with them."""
    claims = parse_claims(text)
    if isinstance(claims, str):
        wrong = PromptFinding(slug="claims", severity="bad", what=claims, evidence="interface")
        return "", "", (wrong,)
    if isinstance(seen, str):
        return claims.model_dump_json(), f"not run: {seen}", ()
    return claims.model_dump_json(), "run", compare(claims, seen)
