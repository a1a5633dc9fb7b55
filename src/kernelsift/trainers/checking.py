"""Whether a trainer learns from a row what the row says: reasoning, answer, stop token, length."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kernelsift import thinking
from kernelsift.trainers.formats import Trainer
from kernelsift.trainers.masks import Masked, Rendering, masked, shared
from kernelsift.trainers.records import View, answer_of, reasoning_of, with_reasoning
from kernelsift.trainers.template import ChatTemplate, TemplateRaisedError
from kernelsift.trainers.tokens import Counter, Tokenizer

Kind = Literal[
    "template-raised",
    "reasoning-missing",
    "reasoning-twice",
    "orphan-tag",
    "answer-changed",
    "prompt-not-prefix",
    "no-stop",
    "stop-not-trained",
    "no-mask",
    "nothing-trained",
    "too-long",
    "empty-think",
    "empty-before-reasoning",
]
MEANINGS: Mapping[Kind, str] = {
    "template-raised": "the chat template refuses the row",
    "reasoning-missing": "the template does not show the reasoning: use one that reads "
    "reasoning_content, or export with --reasoning inline (or strip)",
    "reasoning-twice": "the template shows the reasoning more than once",
    "orphan-tag": "a <think> or </think> without its partner would be learned",
    "answer-changed": "the answer does not come out of the template as it stands in the file",
    "prompt-not-prefix": "the prompt alone renders differently from the prompt inside the row: the "
    "model would learn from another context than it sees later",
    "no-stop": "the template ends the last turn with nothing: the model would not learn to stop",
    "stop-not-trained": "the token that ends the turn is not trained: the model would not learn to "
    "stop",
    "no-mask": "the template has no {% generation %} blocks that assistant_only_loss needs; TRL "
    "brings a training template for some models: name it with --chat-template, or export as trl",
    "nothing-trained": "no token of the row is trained within the sequence length",
    "too-long": "the row is longer than the sequence length",
    "empty-think": "the template adds an empty <think></think>; right for models that can do "
    "without reasoning, wrong for the others",
    "empty-before-reasoning": "the template puts an empty <think></think> before the reasoning "
    "that stands in the text; it wants reasoning_content: export with --reasoning keep",
}
"""What each problem means."""
WARNINGS: frozenset[Kind] = frozenset({"empty-think"})
"""Problems that do not fail a check."""
_SENTINEL = "ks-reasoning-stands-here"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row, with the evidence."""

    kind: Kind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """One row: its problems, and its length where it could be rendered."""

    sample: str
    problems: tuple[Problem, ...]
    tokens: int = 0
    trained: int = 0


@dataclass(frozen=True)
class Checker:
    """Checks rows of one trainer's files."""

    trainer: Trainer
    template: ChatTemplate
    counter: Counter
    seq_len: int | None = None

    @cached_property
    def eos(self) -> str:
        """The stop token that the tokenizer names; empty when none is given."""
        return self.counter.eos if isinstance(self.counter, Tokenizer) else ""

    def check(self, view: View) -> Checked:
        """Return what is wrong with a row."""
        try:
            whole = self.template.render(view.messages, view.tools)
            row = Rendering(view, self.template, whole)
            found = masked(self.trainer, row, self.eos)
            problems = [*self._said(row), *self._learned(row, found)]
        except TemplateRaisedError as e:
            return Checked(view.sample, (Problem("template-raised", str(e)),))
        tokens, trained, more = self._lengths(row, found)
        return Checked(view.sample, (*problems, *more), tokens, trained)

    def _said(self, row: Rendering) -> Iterator[Problem]:
        """Whether reasoning and answers are in the text, once each and whole."""
        text = row.whole.text
        for at in row.answers():
            message = row.view.messages[at]
            if reasoning_of(message)[0]:
                messages = list(row.view.messages)
                messages[at] = with_reasoning(message, _SENTINEL)
                shown = self.template.render(messages, row.view.tools).text.count(_SENTINEL)
                if shown != 1:
                    kind: Kind = "reasoning-twice" if shown else "reasoning-missing"
                    yield Problem(kind, f"turn {at + 1}: shown {shown} times")
            answer = answer_of(message).strip()
            if answer not in text:
                yield Problem("answer-changed", f"turn {at + 1}")
        learned = text[shared(row.head(row.view.start), text) :]
        reasons = any(reasoning_of(row.view.messages[at])[0] for at in row.answers())
        yield from _tags(learned, reasons=reasons)

    def _learned(self, row: Rendering, found: Masked) -> Iterator[Problem]:
        """Whether what is trained begins and ends where it should."""
        for at in row.answers():
            asked = row.head(at, ask=True)
            if not row.whole.text.startswith(asked):
                where = shared(asked, row.whole.text)
                yield Problem("prompt-not-prefix", f"turn {at + 1}: …{asked[where:][:40]!r}")
        if not found.trained:
            yield Problem("no-mask" if self.trainer.mask == "generation" else "nothing-trained")
            return
        yield from _stop(row, found)

    def _lengths(self, row: Rendering, found: Masked) -> tuple[int, int, list[Problem]]:
        """Count tokens, all and trained ones, as far as the sequence goes."""
        spans = [(start, end) for start, end in found.trained if end > start]
        places = [place for span in spans for place in span]
        *bounds, total = self.counter.before(found.text, [*places, len(found.text)])
        limit = self.seq_len or total
        pairs = zip(bounds[::2], bounds[1::2], strict=True)
        trained = sum(max(0, min(end, limit) - min(start, limit)) for start, end in pairs)
        problems = []
        if not trained and found.trained:
            problems.append(Problem("nothing-trained", f"{total:,} tokens"))
        if self.seq_len and total > self.seq_len:
            problems.append(Problem("too-long", f"{total:,} tokens, {self.seq_len:,} fit"))
        if isinstance(self.counter, Tokenizer) and self.trainer.mask in {"completion", "slice"}:
            problems += _merged(row, self.counter)
        return total, trained, problems


def _tags(text: str, *, reasons: bool) -> Iterator[Problem]:
    """Check that every tag has its partner, and that something stands between them."""
    empty = Problem("empty-before-reasoning" if reasons else "empty-think")
    opened = None
    for tag in thinking.tags(text):
        if tag.closes and opened is None:
            yield Problem("orphan-tag", f"</think> after {text[: tag.start][-30:]!r}")
        elif not tag.closes and opened is not None:
            yield Problem("orphan-tag", f"<think> after {text[: tag.start][-30:]!r}")
        elif tag.closes and not text[opened : tag.start].strip():
            yield empty
        opened = None if tag.closes else tag.end
    if opened is not None:
        yield Problem("orphan-tag", "<think> that is never closed")


def _stop(row: Rendering, found: Masked) -> Iterator[Problem]:
    """Check that the text after the last answer, which ends the turn, is there and trained."""
    answers = row.answers()
    answer = answer_of(row.view.messages[answers[-1]]).rstrip() if answers else ""
    where = found.text.rfind(answer) if answer else -1
    if where < 0:
        return
    after = found.text[where + len(answer) :]
    if not after.strip():
        yield Problem("no-stop")
        return
    start = where + len(answer) + len(after) - len(after.lstrip())
    stop = after.split()[0]
    if not found.covers(start, start + len(stop)):
        yield Problem("stop-not-trained", repr(stop))


def _merged(row: Rendering, tokenizer: Tokenizer) -> list[Problem]:
    """Check that prompt and answer share no token: the trainer counts those of the prompt alone."""
    asked, text = row.invitation(), row.whole.text
    if not text.startswith(asked):
        return []  # said already
    prompt, whole = tokenizer.ids(asked), tokenizer.ids(text)
    if whole[: len(prompt)] == prompt:
        return []
    return [Problem("prompt-not-prefix", "a token spans the end of the prompt and the answer")]
