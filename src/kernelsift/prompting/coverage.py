"""What a prompt leaves out: parameters, defaults, constants, operations, sections."""

import re
from collections.abc import Iterator

from kernelsift.model import PromptFinding
from kernelsift.prompting.facts import Called, ModuleFacts, Plain
from kernelsift.prompting.texts import holds_number, holds_word, numbers
from kernelsift.prompting.words import synonyms

SHORTEST = 80
"""Characters below which a text is no specification."""
LONGEST = 40_000
"""Characters above which nobody reads it."""
_TAGS = re.compile(r"</?(?:specification|interface|think|answer)\b[^>]*>", re.IGNORECASE)
_NOTHING = re.compile(
    r"\b(?:none|null|optional|omitted|left out|not given|absent)\b", re.IGNORECASE
)
_SECTIONS = ("interface", "input", "computation", "output")


def of_text(prompt: str) -> Iterator[PromptFinding]:
    """Gaps that show without the module."""
    size = len(prompt.strip())
    if size < SHORTEST:
        yield _bad("length", f"the specification has only {size} characters", "length")
    if size > LONGEST:
        yield _note("length", f"it is longer than {LONGEST:,} characters", f"{size:,}")
    if tag := _TAGS.search(prompt):
        yield _bad("tag", "a tag is left in the text", tag[0])
    headings = "\n".join(re.findall(r"^\W*#+ *(.+)$", prompt, re.MULTILINE)).lower()
    for section in _SECTIONS:
        if section not in headings:
            yield _note("section", "a section is missing", section)


def of_module(prompt: str, module: ModuleFacts) -> Iterator[PromptFinding]:
    """Gaps against the module."""
    new = f"{module.name}New"
    if new not in prompt:
        yield _bad("class-name", f"the specification does not name the class {new}", new)
    for where, names in (("__init__", module.init), ("forward", module.forward)):
        for name in names:
            if not holds_word(prompt, name):
                yield _bad("parameter", f"a parameter of {where} is not named", name)
    named = numbers(prompt)
    for name, value in module.defaults:
        if not _says_default(prompt, named, value):
            yield _bad("default", "the default of a parameter is not given", f"{name}={value!r}")
    for constant in module.constants:
        if not holds_number(named, constant.value):
            seen = f"{constant.value:g} in line {constant.line} of the module"
            what = "a constant of the computation is not named"
            yield (
                _bad("constant", what, seen)
                if constant.is_own
                else _note("inner-constant", what, seen)
            )
    yield from _operations(prompt, module)


def _says_default(prompt: str, named: frozenset[float], value: Plain) -> bool:
    if value is None:
        return _NOTHING.search(prompt) is not None
    if isinstance(value, bool):
        return re.search(rf"\b{value}\b", prompt, re.IGNORECASE) is not None
    if isinstance(value, str):
        return value.strip().lower() in prompt.lower()
    return abs(value) == float("inf") or holds_number(named, float(value))


def _operations(prompt: str, module: ModuleFacts) -> Iterator[PromptFinding]:
    missing = [one for one in module.operations if not _is_said(prompt, one)]
    every = len(module.operations)
    if every and len(missing) == every and every > 1:
        listed = ", ".join(one.name for one in missing[:6])
        yield _bad("operations", "none of the module's operations is described", listed)
        return
    for one in missing:
        seen = f"{one.name} in line {one.line} of the module"
        yield _note("operation", "an operation of the module is not described", seen)


def _is_said(prompt: str, called: Called) -> bool:
    return synonyms(called.name, called.group).search(prompt) is not None


def _bad(slug: str, what: str, evidence: str) -> PromptFinding:
    return PromptFinding(slug=slug, severity="bad", what=what, evidence=evidence)


def _note(slug: str, what: str, evidence: str) -> PromptFinding:
    return PromptFinding(slug=slug, severity="note", what=what, evidence=evidence)
