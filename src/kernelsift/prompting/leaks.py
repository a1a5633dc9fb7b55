"""What of a module's code stands in a prompt, and hints on how to implement it."""

import re
from collections.abc import Iterable, Iterator, Sequence, Set

from kernelsift.model import PromptFinding
from kernelsift.prompting.facts import Kind, ModuleFacts
from kernelsift.prompting.texts import Token, tokens
from kernelsift.prompting.words import HINTS

RUN = 12
"""Tokens in a row that prompt and program share from which they are copied."""
NAMES = 3
"""Different names that a copied run holds at the least, those of arguments of PyTorch and words in
texts aside: tables of numbers, settings and equations have to be the same. One fewer with what no
prose has: words of Python alone, or a method's call."""
_PYTHON = frozenset({"assert", "def", "elif", "lambda", "raise", "return", "self"})
LINE = 6
"""Tokens of a line of code that counts as copied when it stands in a prompt as a whole."""
_LONGEST = 120
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_CALL = re.compile(
    r"\b(?:torch|nn|F|np)\.(?!float|double|half|bfloat|int|uint|long|short|bool|complex|strided)"
    r"\w+(?:\.\w+)*\s*\(|\bself\.[A-Za-z_]\w*|\bimport (?:torch|triton)\b|\bdef \w+\s*\(self"
)
_SIGNATURE = re.compile(
    r"((?:def )?\b(?:__init__|forward)) ?\((?=\s*(?:self|ctx|cls)\b)"
    r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*+\)"
)
"""Brackets in it go two deep."""
_MARKED = re.compile(r"`([^\W\d]\w+)(?:\(\))?`")
_CAMEL = re.compile(r"[a-z][A-Z]")
_NOTATION = re.compile(r"[A-Za-z]\d+")
_VOWEL = re.compile(r"[aeiouy]")


def of_text(prompt: str, module: ModuleFacts | None) -> Iterator[PromptFinding]:
    """Leaks that show without the module; a hint that is a name of the module's own is none."""
    if fence := _FENCE.search(prompt):
        where = _where(prompt, fence.start())
        yield _bad("code-fence", "the specification contains a code block", f"{where}: {fence[0]}")
    free = _without_signatures(prompt)
    own = module.interface if module else frozenset[str]()
    call = next((c for c in _CALL.finditer(free) if c[0][:4] != "self" or "self" not in own), None)
    if call:
        seen = f"{_where(free, call.start())}: {call[0]}"
        yield _bad("call-syntax", "it is written as PyTorch code", seen)
    for pattern, what in HINTS:
        for hint in pattern.finditer(prompt):
            if not _is_own(hint[0], own):
                seen = f"{_where(prompt, hint.start())}: {hint[0]}"
                yield _bad("hint", f"it hints at the implementation: {what}", seen)
                break


def of_module(prompt: str, module: ModuleFacts) -> Iterator[PromptFinding]:
    """Leaks of the module's own code."""
    free = _without_signatures(prompt)
    said = tokens(free)
    yield from _runs(said, module)
    yield from _names(free, said, module)


def _is_own(hint: str, own: frozenset[str]) -> bool:
    words = re.split(r"[\s.-]+", hint.lower())
    joined = {"_".join(words), "".join(words)}
    return any(name.lower() in joined for name in own)


def _without_signatures(prompt: str) -> str:
    """The prompt with a sign in place of what a signature holds: `__init__(self, a=1)`."""
    return _SIGNATURE.sub(lambda m: f"{m[1]}¶" + "\n" * m[0].count("\n"), prompt)


# ---- copied code --------------------------------------------------------------------------------


def _runs(said: Sequence[Token], module: ModuleFacts) -> Iterator[PromptFinding]:
    words = tuple(token.text for token in said)
    windows = {words[start : start + RUN] for start in range(len(words) - RUN + 1)}
    runs, lines = _code_runs(module, windows), _code_lines(module, frozenset(words))
    at, copied = 0, 0
    while at < len(words):
        window = words[at : at + RUN]
        if window in runs:
            end = at + RUN
            while words[end - RUN + 1 : end + 1] in runs and end < len(words):
                end += 1
            yield _copied("token-run", said[at:end], runs[window])
            copied, at = copied + 1, end
        else:
            length = next((n for n in lines if words[at : at + n] in lines[n]), 0)
            if length:
                line = lines[length][words[at : at + length]]
                yield _copied("code-line", said[at : at + length], line)
                copied += 1
            at += length or 1
        if copied == 3:
            return


def _copied(slug: str, run: Sequence[Token], line: int) -> PromptFinding:
    text = " ".join(token.text for token in run)
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    what = f"{len(run)} words and signs in a row are copied from the code"
    return _bad(slug, what, f"line {run[0].line}, from line {line} of the module: {short}")


def _code_runs(module: ModuleFacts, windows: Set[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """Runs of the code that are among the windows of a prompt, with their line."""
    runs: dict[tuple[str, ...], int] = {}
    for piece in module.code:
        words = [token.text for token in piece]
        for start in range(len(piece) - RUN + 1):
            window = tuple(words[start : start + RUN])
            if window in windows and _names_in(window, module) >= NAMES - _is_python(window):
                runs.setdefault(window, piece[start].line)
    return runs


def _is_python(words: Sequence[str]) -> bool:
    """Whether words of Python alone are among them, or a method's call: `.name(`."""
    called = zip(words, words[1:], words[2:], strict=False)
    return not _PYTHON.isdisjoint(words) or any(
        dot == "." and name.isidentifier() and bracket == "(" for dot, name, bracket in called
    )


def _names_in(words: Iterable[str], module: ModuleFacts) -> int:
    return len({w for w in words if (w[0].isalpha() or w[0] == "_") and w not in module.values})


def _code_lines(module: ModuleFacts, said: frozenset[str]) -> dict[int, dict[tuple[str, ...], int]]:
    """Whole lines that are too short for a run, by how many tokens they have, the longest first."""
    found: dict[int, dict[tuple[str, ...], int]] = {}
    for line in _lines(module):
        if not LINE <= len(line) < RUN or line[0].text not in said:
            continue
        words = tuple(token.text for token in line)
        is_code = {"=", "(", "."} & set(words)
        if is_code and _names_in(words, module) >= 2:
            found.setdefault(len(words), {}).setdefault(words, line[0].line)
    return dict(sorted(found.items(), reverse=True))


def _lines(module: ModuleFacts) -> Iterator[list[Token]]:
    """Logical lines: what stands in brackets goes on."""
    for piece in module.code:
        line: list[Token] = []
        depth = 0
        for token in piece:
            if line and depth <= 0 and token.line != line[-1].line:
                yield line
                line, depth = [], 0
            line.append(token)
            depth += (token.text in "([{") - (token.text in ")]}")
        yield line


# ---- names --------------------------------------------------------------------------------------


def _names(prompt: str, said: Sequence[Token], module: ModuleFacts) -> Iterator[PromptFinding]:
    hidden = dict(module.hidden)
    first: dict[str, int] = {}
    for token in said:
        if token.text in hidden:
            first.setdefault(token.text, token.line)
    if not first:
        return
    marked = set(_MARKED.findall(prompt))
    for name, line in first.items():
        kind = hidden[name]
        if _is_code(name):
            yield _bad(
                "identifier", f"it names {_WHAT[kind]} of the module", f"line {line}: {name}"
            )
        elif len(name) > 2 and (name in marked or (name.islower() and not _VOWEL.search(name))):
            yield PromptFinding(
                slug="identifier-marked",
                severity="bad" if kind != "local" and name in marked else "note",
                what=f"it names {_WHAT[kind]} of the module as code",
                evidence=f"line {line}: {name}",
            )


_WHAT: dict[Kind, str] = {
    "helper": "a helper",
    "attribute": "a private attribute",
    "local": "a local variable",
}


def _is_code(name: str) -> bool:
    """Whether nobody would write the word in English: `fc1`, `attn_out`, `inChannels`, `tmp2`."""
    if len(name) <= 2 or _NOTATION.fullmatch(name):
        return False  # x1, fc, w12: notation as well as code
    has_digit = any(sign.isdigit() for sign in name)
    return "_" in name.strip("_") or has_digit or _CAMEL.search(name) is not None


def _where(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}"


def _bad(slug: str, what: str, evidence: str) -> PromptFinding:
    return PromptFinding(slug=slug, severity="bad", what=what, evidence=evidence.strip()[:300])
