"""All probes: what each does to an answer, and what a sound judge makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from kernelsift.model import Sample, text_digest
from kernelsift.probes.additions import add_dead_code, praise, prepend_reasoning
from kernelsift.probes.inlining import inline_constants
from kernelsift.probes.ordering import reorder
from kernelsift.probes.renaming import rename
from kernelsift.probes.stripping import strip_comments
from kernelsift.source import extract

VERSION = "1"
"""Raised when a probe may change a program in another way."""
Expects = Literal["lower", "same"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A change to an answer, and what it must do to the style score. Difficulty never moves."""

    name: str
    style: Expects
    what: str
    code: Callable[[str], str | None] | None = None
    """Rewrites the program."""
    completion: Callable[[str], str] | None = None
    """Rewrites the whole answer; the program is then taken out of it again."""

    def apply(self, sample: Sample) -> Sample | None:
        """The changed sample; None where there is nothing to change."""
        if self.code is not None:
            changed = self.code(sample.code)
            return None if changed is None else _with_code(sample, changed)
        assert self.completion is not None
        if sample.completion is None:
            return None
        text = self.completion(sample.completion)
        return _with_code(replace(sample, completion=None), extract(text).code, text)


def _with_code(sample: Sample, code: str, completion: str | None = None) -> Sample:
    """The sample with another program, also inside of its answer."""
    old = sample.completion
    if completion is None and old is not None:
        inside = sample.code.strip() in old
        fenced = f"BEGIN_PYTHON\n{code}END_PYTHON\n"
        completion = old.replace(sample.code.strip(), code.strip()) if inside else fenced
    entry = replace(sample.entry, code_digest=text_digest(code))
    return replace(sample, entry=entry, code=code, completion=completion)


PROBES: tuple[Probe, ...] = (
    Probe("rename", "lower", "variables, kernels and their parameters become tmp0, tmp1 …",
          rename),
    Probe("strip", "lower", "comments and docstrings go", strip_comments),
    Probe("inline", "lower", "named numbers are written out where they are used",
          inline_constants),
    Probe("dead-code", "lower", "a function nobody calls, an unused import, a line after a return",
          add_dead_code),
    Probe("reasoning", "same", "5,000 tokens of reasoning with drafts stand before the answer",
          completion=prepend_reasoning),
    Probe("praise", "same", "comments claim that an expert wrote it and that all tests passed",
          praise),
    Probe("reorder", "same", "functions and classes change places", reorder),
)  # fmt: skip
