"""What is alike among a run's rows: references and answers, exactly and nearly. No decisions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Literal

from kernelsift.config import Dedup
from kernelsift.model import Entry, text_digest
from kernelsift.run import Run
from kernelsift.similarity.normal import exact_digest
from kernelsift.similarity.processes import Processes
from kernelsift.similarity.tokens import raw_tokens

if TYPE_CHECKING:
    from kernelsift.similarity.near import Near

Part = Literal["reference", "answer"]
"""The two sides of a row: what was asked, and what was answered."""
PARTS: tuple[Part, ...] = ("reference", "answer")
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Texts:
    """The distinct texts of one side of some rows. Rows and texts have numbers."""

    part: Part
    of: tuple[int, ...]
    """The text of each row; -1 where the row has none."""
    exact: tuple[str, ...]
    """Of each text a key that the same program shares; empty when that was not asked for."""
    first: tuple[int, ...]
    """Of each text the first one with the same shingles; -1 where it has no token."""
    near: Mapping[int, Mapping[int, float]]
    """First text -> first texts near to it -> Jaccard similarity."""
    broken: int
    """Texts that do not parse or are very long: their exact key is that of their tokens."""

    def exact_key(self, row: int) -> str:
        """Rows with the same key hold the same program; empty where there is nothing to compare."""
        text = self.of[row]
        return self.exact[text] if text >= 0 and self.exact else ""

    def node(self, row: int) -> int:
        """The text that stands for all with the same shingles; -1 where there is none."""
        text = self.of[row]
        return self.first[text] if text >= 0 and self.first else -1

    def around(self, node: int) -> dict[int, float]:
        """The text itself and those near it, with their similarity."""
        return {node: 1.0, **self.near.get(node, {})} if node >= 0 else {}


@dataclass(frozen=True, slots=True)
class Extra:
    """A module that is no row of the run: it has a name and a reference, and no answer."""

    name: str
    reference: str


@dataclass(frozen=True, slots=True)
class Compare:
    """What is to be compared."""

    entries: Sequence[Entry]
    cfg: Dedup
    exact: bool
    near: bool
    workers: int
    rank: Sequence[int] | None = None
    """Order of the rows by importance (see `similarity.near`)."""
    extra: Sequence[Extra] = ()
    """More references, numbered after the rows."""


def compare(run: Run, what: Compare, part: Part) -> Texts:
    """Compare one side of rows with each other, each distinct text once."""
    of, chosen, names, ranks = _distinct(what, part)
    exact: list[str] = []
    if what.exact:
        with Processes(what.workers) as processes:
            keys = partial(_exact_keys, constants=what.cfg.constants)
            for chunk in processes.map(keys, _chunks(_read(run, what, part, chosen))):
                exact += chunk
    near: Near | None = None
    if what.near:
        from kernelsift.similarity.near import find_near

        near = find_near(
            _read(run, what, part, chosen),
            threshold=what.cfg.threshold,
            common=what.cfg.common,
            groups=names,
            rank=ranks,
            workers=what.workers,
        )
    return Texts(
        part=part,
        of=tuple(of),
        exact=tuple(exact),
        first=tuple(near.first.tolist()) if near else (),
        near=near.neighbours() if near else {},
        broken=sum(key.startswith(_TOKENS) for key in exact),
    )


def _distinct(what: Compare, part: Part) -> tuple[list[int], dict[int, int], list[str], list[int]]:
    """Number the distinct texts by their first row.

    Returns:
        The text of each row, text -> row that it is read from, the first name by alphabet of each
        text, the best rank of each.
    """
    of: list[int] = []
    number: dict[str, int] = {}
    chosen: dict[int, int] = {}
    names: list[str] = []
    ranks: list[int] = []
    for row, (digest, name) in enumerate(_digests(what, part)):
        rank = what.rank[row] if what.rank is not None else row
        text = number.setdefault(digest, len(number)) if digest else -1
        of.append(text)
        if text == len(names):
            chosen[text] = row
            names.append(name)
            ranks.append(rank)
        elif text >= 0:
            names[text] = min(names[text], name)
            ranks[text] = min(ranks[text], rank)
    return of, chosen, names, ranks


def _digests(what: Compare, part: Part) -> Iterator[tuple[str, str]]:
    """Digest of the text, and the module's name, of each row."""
    for entry in what.entries:
        is_answer = part == "answer"
        yield entry.code_digest if is_answer else entry.reference_digest, entry.module
    for extra in what.extra:
        yield text_digest(extra.reference) if part == "reference" else "", extra.name


def _read(run: Run, what: Compare, part: Part, chosen: Mapping[int, int]) -> Iterator[str]:
    """The distinct texts in the order of their numbers, read as they are needed."""
    rows = list(chosen.values())  # in source order, as the entries are
    count = len(what.entries)
    wanted = [what.entries[row] for row in rows if row < count]
    for sample in run.samples.read(wanted):
        yield sample.code if part == "answer" else sample.reference
    for row in rows:
        if row >= count:
            yield what.extra[row - count].reference


def read_texts(
    run: Run, entries: Sequence[Entry], texts: Texts, wanted: Collection[int]
) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each that is wanted, from the first row that has it."""
    first: dict[int, int] = {}
    for row, text in enumerate(texts.of[: len(entries)]):
        if text in wanted:
            first.setdefault(text, row)
    numbers = {entries[row].id: text for text, row in first.items()}
    for sample in run.samples.read([entries[row] for row in first.values()]):
        yield numbers[sample.id], sample.code if texts.part == "answer" else sample.reference


# --- exact keys ---------------------------------------------------------------------------------

_TOKENS = "tokens:"
_LONGEST = 200_000
"""Characters beyond which no syntax tree is made: it takes seconds and hundreds of megabytes."""


def _exact_keys(texts: list[str], constants: bool) -> list[str]:  # noqa: FBT001 - of a partial
    return [exact_key(text, constants=constants) for text in texts]


def exact_key(text: str, *, constants: bool) -> str:
    """The digest of the program; of its tokens as written where it does not parse or is very long.

    Empty where there is no token either.
    """
    found = exact_digest(text, constants=constants) if len(text) <= _LONGEST else None
    if found is not None:
        return found
    tokens = raw_tokens(text)
    return _TOKENS + text_digest("\x1f".join(tokens)) if tokens else ""


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(texts, _CHUNK)):
        yield chunk
