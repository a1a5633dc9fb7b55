"""Build an index from a folder of problems, or from a table of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.contamination.fingerprint import (
    grams,
    shape,
    token_hashes,
    whole_digest,
)
from kernelsift.contamination.index import Index, Problem, shipped, shortened
from kernelsift.contamination.names import normalised
from kernelsift.contamination.parts import task_parts
from kernelsift.errors import ConfigError, DataError
from kernelsift.ingest.container import container_of
from kernelsift.ingest.lines import read_json, read_jsonl
from kernelsift.ingest.row import BadRow, Row
from kernelsift.ingest.table import read_parquet

if TYPE_CHECKING:
    from kernelsift.similarity.tokens import Hashes

COMMON_SHARE = 0.1
"""n-grams of more than this share of the problems are boilerplate."""
COMMON_LEAST = 2
"""… and of more problems than this, in a small benchmark."""
TELLING = 200
"""Problems of a shipped benchmark whose boilerplate counts for other benchmarks, too."""
LEAST_GRAMS = 8
"""With fewer informative n-grams a problem is known by its syntax tree and its name alone."""
MOST_GRAMS = 512
"""Of more, those with the smallest hashes are kept: a fair sample, so shares stay what they are."""
LEAST_PART = 0.05
"""Share of a problem's n-grams that a class or kernel must have to stand for the problem."""
_NAMES = ("name", "module_name", "problem", "problem_name", "task_id")
_CODES = ("code", "python_code", "reference", "solution")


@dataclass(frozen=True, slots=True)
class Text:
    """One problem as it is given."""

    name: str
    version: str
    code: str
    origin: str


@dataclass(frozen=True, slots=True)
class About:
    """What is written into an index beside its problems."""

    benchmark: str
    source: str
    licence: str


@dataclass(frozen=True, slots=True)
class Built:
    """An index, and what could not be done in full."""

    index: Index
    unparsable: tuple[str, ...]
    """Problems that are no Python: known by their n-grams and name."""
    without_grams: tuple[str, ...]
    """Problems with hardly an n-gram of their own: known by syntax tree and name."""


def build(texts: Iterable[Text], about: About) -> Built:
    """Fingerprint problems. Neither their order nor where they lie changes a byte of the index.

    Raises:
        DataError: there is none, or two of the same name and version differ.
    """
    import numpy as np

    listed = _distinct(texts)
    if not listed:
        raise DataError(f"there is no problem of {about.benchmark} to index")
    found = [(text, _grams(text.code)) for text in listed]
    boilerplate = _boilerplate(found)
    idle = np.union1d(boilerplate, _known_boilerplate(about.benchmark))
    problems, unparsable, without = [], [], []
    for text, own in found:
        informative = _sample(own[~np.isin(own, idle)])
        problem = _problem(text, informative)
        problems.append(problem)
        if not problem.digests:
            unparsable.append(text.name)
        if not len(informative):
            without.append(text.name)
    index = Index(about.benchmark, about.source, about.licence, tuple(problems), boilerplate)
    return Built(index, tuple(unparsable), tuple(without))


def read_problems(path: Path, version: str = "") -> Iterator[Text]:
    """Problems of a folder (each .py file one, named by its path) or of a parquet, JSONL or JSON
    file (columns name and code; version and level where it has them).

    Raises:
        ConfigError: there is nothing at the path, or no problem in the folder.
        DataError: a file is damaged, or a row lacks its name or code.
    """
    if path.is_dir():
        yield from _of_folder(path, version)
    elif path.is_file():
        yield from _of_table(path, version)
    else:
        raise ConfigError(f"there is no file or folder {path} to build an index from")


def _of_folder(path: Path, version: str) -> Iterator[Text]:
    found = sorted(p for p in path.rglob("*.py") if p.name != "__init__.py")
    if not found:
        raise ConfigError(f"{path} holds no .py file; a folder needs one per problem")
    for file in found:
        name = file.relative_to(path).with_suffix("").as_posix()
        try:
            code = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(f"cannot read the problem {file}: {e}") from e
        yield Text(name, version, code, str(file))


def _of_table(path: Path, version: str) -> Iterator[Text]:
    for row in _rows(path):
        if isinstance(row, BadRow):
            raise DataError(f"{row.origin}: {row.reason}")
        yield _of_row(row, version)


def _rows(path: Path) -> Iterator[Row | BadRow]:
    container = container_of(path)
    if container == "parquet":
        return read_parquet(path, path.name)
    return read_jsonl(path, path.name) if container == "jsonl" else read_json(path, path.name)


def _of_row(row: Row, version: str) -> Text:
    data = row.data
    name, code = _first(data, _NAMES, row.origin), _first(data, _CODES, row.origin)
    level = data.get("level")
    said = str(data.get("version") or "").partition(" (")[0]
    folder = f"level{level}/" if isinstance(level, int) else ""
    return Text(f"{folder}{name}", version or said, code, row.origin)


def _first(data: Mapping[str, Any], names: tuple[str, ...], origin: str) -> str:
    for name in names:
        if isinstance(data.get(name), str) and data[name].strip():
            return str(data[name])
    raise DataError(
        f"{origin} has no text in a column {' or '.join(names)}; there are {', '.join(data)}"
    )


def _distinct(texts: Iterable[Text]) -> list[Text]:
    known: dict[tuple[str, str], Text] = {}
    for text in texts:
        other = known.setdefault((text.name, text.version), text)
        if other.code != text.code:
            raise DataError(
                f"{other.origin} and {text.origin} are both called {text.name!r} and differ; "
                "give each problem a name of its own"
            )
    return [known[key] for key in sorted(known)]


def _boilerplate(found: list[tuple[Text, "Hashes"]]) -> "Hashes":
    """n-grams that many problems have; the versions of one problem count once."""
    import numpy as np

    by_name: dict[str, list[Hashes]] = {}
    for text, own in found:
        by_name.setdefault(normalised(text.name) or text.name, []).append(own)
    counts = Counter[int]()
    for several in by_name.values():
        counts.update(np.unique(np.concatenate(several)).tolist())
    most = max(COMMON_LEAST, int(COMMON_SHARE * len(by_name)))
    common = [gram for gram, count in counts.items() if count > most]
    return np.array(sorted(common), np.uint64)


def _known_boilerplate(benchmark: str) -> "Hashes":
    """What the problems of large shipped benchmarks share: a small one cannot tell by itself."""
    import numpy as np

    others = [i for i in shipped() if i.benchmark != benchmark and len(i.problems) >= TELLING]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *(i.boilerplate for i in others)]))


def _sample(own: "Hashes") -> "Hashes":
    return own[:MOST_GRAMS] if len(own) >= LEAST_GRAMS else own[:0]


def _problem(text: Text, informative: "Hashes") -> Problem:
    import numpy as np

    parts = task_parts(text.code)
    inside = [np.isin(informative, shortened(grams(part.hashes))) for part in parts]
    if len(informative):
        kept = [n for n, flags in enumerate(inside) if flags.mean() >= LEAST_PART]
        parts, inside = [parts[n] for n in kept], [inside[n] for n in kept]
    programs = [part.text for part in parts]
    digests = {}
    for kind, listed, constants in (
        ("ast", [text.code], True),
        ("ast-no-constants", [text.code], False),
        ("part", programs, True),
        ("part-no-constants", programs, False),
    ):
        found = {whole_digest(program, constants=constants) for program in listed} - {None}
        if found:
            digests[kind] = tuple(sorted(str(one) for one in found))
    shapes = {shape(hashes) for hashes in (token_hashes(text.code), *(p.hashes for p in parts))}
    long = tuple(flags for part, flags in zip(parts, inside, strict=True) if part.is_long)
    return Problem(text.name, text.version, digests, tuple(sorted(shapes)), informative, long)


def _grams(text: str) -> "Hashes":
    return shortened(grams(token_hashes(text)))
