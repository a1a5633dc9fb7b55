"""Which characters of a rendered row each trainer trains on, by that trainer's own rule.

completion  TRL on prompt + completion: everything after what prompt and whole row share
generation  TRL on messages with assistant_only_loss: what `{% generation %}` blocks hold
sampled     prime-rl, LLaMA-Factory: from where the model is asked to speak to the end of the turn
turn        axolotl: where two renderings with another answer differ, and the token that ends it
slice       OpenRLHF: everything after as many characters as the prompt alone has
chunk       NeMo RL: what each turn adds to the rendering before it, a turn at a time
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelsift.trainers.formats import Trainer
from kernelsift.trainers.records import View, answer_of
from kernelsift.trainers.template import ChatTemplate, Rendered

Span = tuple[int, int]
_DUMMIES = ("[[dummy]]", "zzdummyzz")
"""Two that share no first and last character: what a template glues to one shows in the other."""
_NEAR = 12
"""Characters between an answer and the token that ends it, beyond which axolotl does not look
(three tokens)."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A row as text, and the characters that are trained on."""

    text: str
    trained: tuple[Span, ...]

    def covers(self, start: int, end: int) -> bool:
        """Whether all characters from start to end are trained on."""
        return any(a <= start and end <= b for a, b in self.trained)


@dataclass(frozen=True)
class Rendering:
    """A row under a template: the whole, and its beginnings."""

    view: View
    template: ChatTemplate
    whole: Rendered
    _heads: dict[tuple[int, bool], str] = field(default_factory=dict, repr=False)

    def head(self, turns: int, *, ask: bool = False) -> str:
        """The first turns as text; with `ask` and the invitation to speak. Rendered once each."""
        if (turns, ask) not in self._heads:
            messages = self.view.messages[:turns]
            self._heads[turns, ask] = self.template.render(messages, self.view.tools, ask=ask).text
        return self._heads[turns, ask]

    def answers(self) -> list[int]:
        """Indices of the turns that are to be learned."""
        found = enumerate(self.view.messages)
        return [at for at, m in found if at >= self.view.start and m["role"] == "assistant"]

    def invitation(self) -> str:
        """The prompt up to where the model begins to speak."""
        return self.head(self.view.start, ask=True)


def shared(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def masked(trainer: Trainer, row: Rendering, eos: str) -> Masked:
    """Return the text that a trainer tokenizes, and what of it is trained.

    Raises:
        TemplateRaisedError: the template refuses a part of the conversation.
    """
    rules = {
        "completion": _completion,
        "generation": _generation,
        "sampled": _sampled,
        "turn": _turn,
        "slice": _slice,
        "chunk": _chunk,
    }
    return rules[trainer.mask](row, eos)


def _completion(row: Rendering, _eos: str) -> Masked:
    text = row.whole.text
    return Masked(text, ((shared(row.invitation(), text), len(text)),))


def _generation(row: Rendering, _eos: str) -> Masked:
    return Masked(row.whole.text, row.whole.said)


def _sampled(row: Rendering, _eos: str) -> Masked:
    text = row.whole.text
    spans = []
    for at in row.answers():
        start = shared(row.head(at, ask=True), text)
        spans.append((start, _turn_end(row, at, start)))
    return Masked(text, tuple(spans))


def _turn_end(row: Rendering, at: int, start: int) -> int:
    """Where a turn ends, its stop token included. A template that changes history renders the
    beginning of a row differently; there the turn's own text is looked for."""
    text = row.whole.text
    head = text if at == len(row.view.messages) - 1 else row.head(at + 1)
    if text.startswith(head):
        return len(head.rstrip("\n"))
    answer = answer_of(row.view.messages[at])
    end = max(start, text.find(answer, start)) + len(answer)
    return end + len(_terminator(text[end:]))


def _turn(row: Rendering, eos: str) -> Masked:
    text = row.whole.text
    spans = []
    for at in row.answers():
        found = [_difference(text, _with_dummy(row, at, dummy)) for dummy in _DUMMIES]
        start, end = min(a for a, _ in found), max(b for _, b in found)
        stop = eos or _terminator(text[end:])
        where = text.find(stop, end) if stop else -1
        near = 0 <= where - end <= _NEAR
        spans.append((start, where + len(stop) if near and not text[end:where].strip() else end))
    return Masked(text, tuple(spans))


def _slice(row: Rendering, eos: str) -> Masked:
    asked = row.invitation()
    text = (asked + row.whole.text[len(asked) :]).rstrip("\n")
    if eos and not text.endswith(eos):
        text += f" {eos}"
    return Masked(text, ((min(len(asked), len(text)), len(text)),))


def _chunk(row: Rendering, eos: str) -> Masked:
    """With `add_generation_prompt: true`, as our configuration says: the invitation belongs to the
    user's turn."""
    before, text, spans = "", "", []
    messages = row.view.messages
    for at, message in enumerate(messages):
        now = row.head(at + 1, ask=message["role"] == "user")
        chunk = now[shared(before, now) :]
        if at == len(messages) - 1:
            chunk = chunk.rstrip("\n")
            chunk += "" if not eos or chunk.endswith(eos) else eos
        if message["role"] == "assistant":
            spans.append((len(text), len(text) + len(chunk)))
        text += chunk
        before = now
    return Masked(text, tuple(spans))


def _with_dummy(row: Rendering, at: int, dummy: str) -> str:
    messages: list[Mapping[str, Any]] = list(row.view.messages)
    messages[at] = {"role": messages[at]["role"], "content": dummy}
    return row.template.render(messages, row.view.tools).text


def _difference(text: str, other: str) -> Span:
    """Where a text differs from another: after what both begin with, before what both end with."""
    start = shared(text, other)
    limit = min(len(text), len(other)) - start
    return start, len(text) - shared(text[::-1][:limit], other[::-1][:limit])


def _terminator(after: str) -> str:
    """The text that ends a turn, where no tokenizer names it: up to the first white space."""
    return after.split(maxsplit=1)[0] if after.strip() else ""
