"""One training row: a prompt, the turns that answer it, and reasoning apart from the text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from kernelsift import thinking
from kernelsift.ingest.message import RefusedError, parse_messages

Reasoning = Literal["keep", "inline", "strip"]
ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON text, since each tool has fields of its own."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `reasoning` stands beside the content, never inside it."""

    role: str
    content: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row: what was asked, and the turns that are to be learned."""

    sample: str
    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    tools: str = ""
    """JSON list of tools; empty when there are none."""
    meta: str = "{}"
    """JSON object with what the run knows of the row."""

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.prompt + self.answer

    @property
    def reasons(self) -> bool:
        """Whether any turn has reasoning."""
        return any(m.reasoning for m in self.messages)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a row is not exported."""

    reason: str


def from_source(sample: str, prompt: object, completion: object) -> Conversation | LeftOut:
    """Return the row of a source's prompt and completion, reasoning taken out of its text.

    A source keeps reasoning in `reasoning_content` or in tags in front of the answer; where it has
    both, they must be the same.
    """
    try:
        asked = parse_messages(prompt, "prompt", "user")
        said = parse_messages(completion, "completion", "assistant")
        found = Conversation(sample, _messages(asked), _messages(said))
    except RefusedError as refused:
        return LeftOut(str(refused))
    why = _unfit(found)
    return LeftOut(why) if why else found


def in_mode(row: Conversation, mode: Reasoning) -> Conversation:
    """Return the row with its reasoning kept apart, written into the text, or dropped."""
    if mode == "keep" or not row.reasons:
        return row
    prompt, answer = (tuple(_moded(m, mode) for m in part) for part in (row.prompt, row.answer))
    return replace(row, prompt=prompt, answer=answer)


def with_code(row: Conversation, code: str, *, markers: bool) -> Conversation | LeftOut:
    """Return the row whose answer is the program alone, between markers or in a Python fence."""
    if not code:
        return LeftOut("its answer holds no code")
    if len(row.answer) > 1:
        return LeftOut("its answer has several turns, so the code has no one place")
    text = f"BEGIN_PYTHON\n{code}END_PYTHON" if markers else f"```python\n{code}```"
    return replace(row, answer=(replace(row.answer[0], content=text),))


def _moded(message: Message, mode: Reasoning) -> Message:
    content = message.content
    if mode == "inline":
        content = thinking.join(message.reasoning, content)
    return replace(message, content=content, reasoning="")


def _messages(found: list[dict[str, Any]]) -> tuple[Message, ...]:
    return tuple(_message(item) for item in found)


def _message(item: Mapping[str, Any]) -> Message:
    role = item["role"]
    if role not in ROLES:
        raise RefusedError(f"a message has the role {role!r}, which trainers do not know")
    call_id, name = (str(item.get(key) or "") for key in ("tool_call_id", "name"))
    if role != "assistant":
        return Message(role, item["content"], call_id=call_id, name=name)
    parts = thinking.split(item["content"])
    if parts.problem:
        raise RefusedError(parts.problem)
    apart = item.get("reasoning_content")
    apart = apart.strip("\n") if isinstance(apart, str) and apart.strip() else ""
    if apart and parts.reasoning and apart.strip() != parts.reasoning.strip():
        raise RefusedError("it has reasoning in its text and another one beside it")
    reasoning = apart or parts.reasoning
    if any(thinking.tags(reasoning)):
        raise RefusedError("its reasoning holds tags of reasoning")
    calls = tuple(_call(call) for call in item.get("tool_calls") or ())
    return Message(role, parts.answer, reasoning, calls, call_id, name)


def _call(value: object) -> ToolCall:
    """Read a call in OpenAI's form, or flat as verifiers 0.4 writes it."""
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(inner, Mapping) or not inner.get("name"):
        raise RefusedError("a tool call has no name")
    arguments = inner.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(str(value.get("id") or ""), str(inner["name"]), text)


def _unfit(row: Conversation) -> str:
    if not any(m.content.strip() for m in row.prompt):
        return "its prompt is empty"
    if not row.answer:
        return "it has no answer"
    if row.answer[0].role != "assistant" or row.answer[-1].role != "assistant":
        return "its answer does not begin and end with the assistant"
    last = row.answer[-1]
    return "" if last.content.strip() or last.calls else "its answer is empty"
