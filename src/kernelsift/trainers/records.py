"""A row as a record of a trainer's file, and back to what that trainer sees of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernelsift import thinking
from kernelsift.errors import DataError
from kernelsift.trainers.conversation import Conversation, Message
from kernelsift.trainers.formats import Trainer

if TYPE_CHECKING:
    import pyarrow as pa

_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
_ROLES = {speaker: role for role, speaker in _SPEAKERS.items()}
_LISTS = {"pair": ("prompt", "completion"), "messages": ("messages",), "io": ("input", "output")}


@dataclass(frozen=True, slots=True)
class Keys:
    """Which optional keys any row of the export has; the others are left out of every file."""

    reasoning: bool = False
    calls: bool = False
    names: bool = False
    tools: bool = False

    @classmethod
    def of(cls, rows: Iterable[Conversation]) -> "Keys":
        reasoning = calls = names = tools = False
        for row in rows:
            reasoning = reasoning or row.reasons
            tools = tools or bool(row.tools)
            for message in row.messages:
                calls = calls or bool(message.calls or message.call_id)
                names = names or bool(message.name)
        return cls(reasoning, calls, names, tools)


@dataclass(frozen=True, slots=True)
class View:
    """A row as a trainer sees it once its file is read and its columns are chosen."""

    sample: str
    messages: tuple[Mapping[str, Any], ...]
    """As they go into the chat template."""
    start: int
    """Index of the first message to be learned."""
    tools: tuple[Mapping[str, Any], ...] = ()


def to_record(trainer: Trainer, row: Conversation) -> dict[str, Any]:
    """Return the record of a row, with the keys that it has."""
    record: dict[str, Any] = {}
    if trainer.shape == "sharegpt":
        record["conversations"] = [
            {"from": _SPEAKERS[m.role], "value": m.content} for m in row.messages
        ]
    elif trainer.shape == "messages":
        record["messages"] = [_as_dict(m) for m in row.messages]
    else:
        asked, said = _LISTS[trainer.shape]
        record[asked] = [_as_dict(m) for m in row.prompt]
        record[said] = [_as_dict(m) for m in row.answer]
    if row.tools:
        record["tools"] = row.tools if trainer.parquet else json.loads(row.tools)
    return record | {"sample_id": row.sample, "meta": row.meta}


def schema(trainer: Trainer, keys: Keys) -> "pa.Schema":
    """Return the Arrow schema of a parquet export; keys that no row has are not in it."""
    import pyarrow as pa

    text = pa.string()
    fields = [("role", text), ("content", text)]
    if keys.reasoning:
        fields.append(("reasoning_content", text))
    if keys.calls:
        function = pa.struct([("name", text), ("arguments", text)])
        call = pa.struct([("id", text), ("type", text), ("function", function)])
        fields += [("tool_calls", pa.list_(call)), ("tool_call_id", text)]
    if keys.names:
        fields.append(("name", text))
    messages = pa.list_(pa.struct(fields))
    columns = [(name, messages) for name in _LISTS[trainer.shape]]
    columns += [("tools", text)] if keys.tools else []
    return pa.schema([*columns, ("sample_id", text), ("meta", text)])


def to_view(trainer: Trainer, record: Mapping[str, Any], place: str) -> View:
    """Return what a trainer sees of a record.

    Raises:
        DataError: the record lacks a column, or has columns of which the trainer would take others.
    """
    sample = str(record.get("sample_id") or place)
    both = {"prompt", "completion", "messages"} <= record.keys()
    if both:
        raise DataError(
            f"{place} has prompt, completion and messages; TRL reads the first two, prime-rl the "
            "last. Export again"
        )
    names = ("conversations",) if trainer.shape == "sharegpt" else _LISTS[trainer.shape]
    lists = [record.get(name) for name in names]
    if not all(isinstance(found, list) and found for found in lists):
        raise DataError(f"{place} has no list of turns in {' and '.join(names)}; export again")
    turns: list[Mapping[str, Any]] = [turn for found in lists for turn in found or ()]
    if trainer.shape == "sharegpt":
        turns = [_from_speaker(turn, place) for turn in turns]
    elif trainer.strips_nulls:
        turns = [without_nulls(turn) for turn in turns]
    start = len(lists[0] or ()) if len(lists) > 1 else _first_answer(turns)
    return View(sample, tuple(turns), start, _tools(record.get("tools")))


def without_nulls(value: Any) -> Any:
    """Drop keys whose value is null, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def reasoning_of(message: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a turn's reasoning, and whether it stands in the content."""
    apart = message.get("reasoning_content")
    if isinstance(apart, str) and apart.strip():
        return apart, False
    return thinking.split(message["content"]).reasoning, True


def with_reasoning(message: Mapping[str, Any], reasoning: str) -> dict[str, Any]:
    """Return the turn with another reasoning at the place where it has its own."""
    _, inline = reasoning_of(message)
    if not inline:
        return {**message, "reasoning_content": reasoning}
    answer = thinking.split(message["content"]).answer
    return {**message, "content": thinking.join(reasoning, answer)}


def answer_of(message: Mapping[str, Any]) -> str:
    """Return a turn's text without its reasoning."""
    parts = thinking.split(message["content"])
    return message["content"] if parts.problem else parts.answer


def filled(records: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Give every turn of JSON lines the keys of all turns, null where new, as `datasets` does."""
    known: dict[str, None] = {}
    for record in records:
        for name in names:
            for turn in record.get(name) or ():
                known |= dict.fromkeys(turn)
    empty = dict.fromkeys(known)
    return [
        record | {n: [{**empty, **turn} for turn in record[n]] for n in names if record.get(n)}
        for record in records
    ]


def turn_columns(trainer: Trainer) -> tuple[str, ...]:
    """Names of the columns that hold turns."""
    return ("conversations",) if trainer.shape == "sharegpt" else _LISTS[trainer.shape]


def _as_dict(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        out["reasoning_content"] = message.reasoning
    if message.calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.call_id:
        out["tool_call_id"] = message.call_id
    return out | ({"name": message.name} if message.name else {})


def _from_speaker(turn: Mapping[str, Any], place: str) -> dict[str, Any]:
    role = _ROLES.get(str(turn.get("from")))
    if role is None or not isinstance(turn.get("value"), str):
        raise DataError(f"{place} has a turn without speaker or text: LLaMA-Factory empties it")
    return {"role": role, "content": turn["value"]}


def _first_answer(turns: Sequence[Mapping[str, Any]]) -> int:
    return next((at for at, turn in enumerate(turns) if turn["role"] == "assistant"), len(turns))


def _tools(value: object) -> tuple[Mapping[str, Any], ...]:
    found = json.loads(value) if isinstance(value, str) else value
    return tuple(found) if isinstance(found, list) else ()
