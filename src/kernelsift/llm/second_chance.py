"""Ask, and send an unusable answer back once with what is wrong with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from kernelsift.llm.chat import Ask, CallFailedError, Chat, Message, Reply
from kernelsift.model import Failure

BodyT = TypeVar("BodyT")


@dataclass(frozen=True, slots=True)
class Reading(Generic[BodyT]):
    """How one kind of answer is read, and what is said when it cannot be."""

    read: Callable[[Reply], BodyT | Failure]
    complaint: str
    """Sent with the second ask; `{why}` stands for what is wrong."""
    length_factor: int
    """An answer that was cut off is asked for again with this many times the tokens."""
    settle: Callable[[Reply], BodyT | Failure] | None = None
    """How answers are read, the last one first, when no more is asked and none was good enough."""


async def ask_twice(
    chat: Chat, ask: Ask, reading: Reading[BodyT], attempt: int
) -> tuple[BodyT | Failure, float]:
    """Return what was read, or the failure of the last answer, and the USD that all answers cost.

    `attempt` counts earlier failures of the same item, so that a retry is a request of its own:
    the sample index of `ask` is where they begin to count. A refusal is not asked about again.
    """
    usd = 0.0
    first = ask.sample
    replies: list[Reply] = []
    found: BodyT | Failure
    for again in range(2):
        try:
            reply = await chat(replace(ask, sample=first + 2 * attempt + again))
        except CallFailedError as e:
            return Failure(failure=e.failure, why=e.why), usd + e.usd
        usd += reply.usd or 0.0
        replies.append(reply)
        found = reading.read(reply)
        if not isinstance(found, Failure) or found.failure == "refusal":
            break
        ask = _second(ask, reply, found, reading)
    return _settled(found, replies, reading), usd


def _settled(
    found: BodyT | Failure, replies: Sequence[Reply], reading: Reading[BodyT]
) -> BodyT | Failure:
    for reply in reversed(replies if isinstance(found, Failure) and reading.settle else ()):
        assert reading.settle is not None
        if not isinstance(settled := reading.settle(reply), Failure):
            return settled
    return found


def _second(ask: Ask, reply: Reply, failure: Failure, reading: Reading[BodyT]) -> Ask:
    if failure.failure == "length":
        return replace(ask, max_tokens=ask.max_tokens * reading.length_factor)
    complaint = reading.complaint.replace("{why}", failure.why)
    said = (Message("assistant", reply.text or "(nothing)"), Message("user", complaint))
    return replace(ask, messages=(*ask.messages, *said))
