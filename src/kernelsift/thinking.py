"""Reasoning inside a text: where `<think>` tags stand, and how reasoning and answer come apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TAG = re.compile(r"<(/?)think>")
_QUOTES = frozenset("'\"`")


class Tag(NamedTuple):
    """A tag of a text; characters from `start` up to `end`."""

    start: int
    end: int
    closes: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """An answer and the reasoning before it; `problem` says why a text does not come apart."""

    reasoning: str
    answer: str
    problem: str = ""


def tags(text: str) -> Iterator[Tag]:
    """Yield the tags in order. A tag in quotes or backticks is a mention, not a tag."""
    if "think>" not in text:
        return
    for found in _TAG.finditer(text):
        quote, end = text[max(0, found.start() - 1) : found.start()], found.end()
        mention = text.startswith(quote, end) and not text.startswith(quote * 2, end)
        if not (mention and quote in _QUOTES):
            yield Tag(found.start(), end, found.group(1) == "/")


def without_thinking(text: str) -> str:
    """Cut reasoning away: closed blocks, all before an orphan close, all after an open tag."""
    kept: list[str] = []
    start, thinking = 0, False
    for tag in tags(text):
        if tag.closes and not thinking:
            kept.clear()
        elif not tag.closes and not thinking:
            kept.append(text[start : tag.start])
        thinking = not tag.closes
        start = tag.end
    if not thinking:
        kept.append(text[start:])
    return "\n".join(kept)


def split(text: str) -> Parts:
    """Take reasoning and answer apart: one block that comes first, whose opening tag may be missing
    (templates put it into the prompt). Line ends round either part are dropped, as templates do.
    """
    found = list(tags(text))
    if not found:
        return Parts("", text)
    if not found[-1].closes and len(found) == 1:
        return Parts("", "", "its reasoning is never closed")
    opening, closing = (0, found[0]) if found[0].closes else (found[0].end, found[-1])
    if len(found) > 2 or (len(found) == 2 and (found[0].closes or not found[1].closes)):
        return Parts("", "", "it has more than one block of reasoning")
    if not found[0].closes and text[: found[0].start].strip():
        return Parts("", "", "its reasoning does not come first")
    reasoning = text[opening : closing.start].strip("\n")
    return Parts(reasoning if reasoning.strip() else "", text[closing.end :].lstrip("\n"))


def join(reasoning: str, answer: str) -> str:
    """Put reasoning before its answer, in tags; the answer alone where there is none."""
    return f"<think>\n{reasoning}\n</think>\n\n{answer}" if reasoning else answer
