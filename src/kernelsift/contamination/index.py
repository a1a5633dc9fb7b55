"""Index files: the fingerprints of a benchmark's problems, and never their texts.

A file is lines of JSON. The first is the header: kind, versions, benchmark, source, licence, number
of problems, boilerplate. Each other line is one problem: name, version, digests of its program, and
hashes of its token n-grams. The same problems always give the same bytes.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from kernelsift.contamination.fingerprint import FINGERPRINTS
from kernelsift.errors import ConfigError, DataError
from kernelsift.files import write_text
from kernelsift.model import Frozen
from kernelsift.similarity.tokens import distinct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grams = NDArray[np.uint64]

KIND: Literal["kernelsift-benchmark-index"] = "kernelsift-benchmark-index"
FORMAT = 1
"""Layout of the file."""
_BYTES = 6
"""Bytes of a stored n-gram hash: its upper 48 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is known of one benchmark problem."""

    name: str
    version: str
    """Of the benchmark, where several are published; else empty."""
    digests: Mapping[str, tuple[str, ...]]
    """Kind of match -> digests of the program, or of each of its parts. See `fingerprint`."""
    shapes: tuple[str, ...]
    """Of the programs that `digests` are made of; see `fingerprint.shape`."""
    grams: "Grams"
    """Sorted hashes of informative n-grams, or of a fair sample of them; empty where too few."""
    inside: "tuple[NDArray[np.bool_], ...]"
    """For each part that is more than an idiom: which of `grams` it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The problems of one benchmark."""

    benchmark: str
    source: str
    licence: str
    problems: tuple[Problem, ...]
    boilerplate: "Grams" = field(repr=False)
    """Sorted hashes of n-grams that many of its problems share; they say nothing."""


class _Header(Frozen):
    kind: Literal["kernelsift-benchmark-index"]
    format: int
    fingerprints: str
    benchmark: str
    source: str
    license: str
    problems: int
    boilerplate: str


class _Line(Frozen):
    problem: str
    version: str
    digests: Mapping[str, tuple[str, ...]]
    shapes: tuple[str, ...]
    grams: str
    inside: tuple[str, ...]


def write_index(path: Path, index: Index) -> None:
    """Replace an index file. Raises RunError where it cannot be written."""
    header = _Header(
        kind=KIND,
        format=FORMAT,
        fingerprints=FINGERPRINTS,
        benchmark=index.benchmark,
        source=index.source,
        license=index.licence,
        problems=len(index.problems),
        boilerplate=_packed(index.boilerplate),
    )
    lines = [
        _Line(
            problem=p.name,
            version=p.version,
            digests=p.digests,
            shapes=p.shapes,
            grams=_packed(p.grams),
            inside=tuple(_bits(one) for one in p.inside),
        )
        for p in sorted(index.problems, key=lambda p: (p.name, p.version))
    ]
    texts = [json.dumps(line.model_dump(mode="json"), sort_keys=True) for line in (header, *lines)]
    write_text(path, "\n".join(texts) + "\n")


def read_index(path: Path) -> Index:
    """Read an index file.

    Raises:
        ConfigError: there is no such file.
        DataError: it is no index, is cut off, or was made by another version.
    """
    try:
        text = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"cannot read the benchmark index {path}: {e.strerror}") from e
    return _parse(text, str(path))


@cache
def shipped() -> tuple[Index, ...]:
    """The indexes that come with kernelsift, in the order of their file names."""
    found = sorted(_shipped_files())
    return tuple(_parse(text, name) for name, text in found)


def _shipped_files() -> Iterator[tuple[str, bytes]]:
    for file in (files("kernelsift") / "data" / "benchmarks").iterdir():
        if file.name.endswith(".idx"):
            yield file.name, file.read_bytes()


def _parse(text: bytes, name: str) -> Index:
    first, *rest = text.splitlines() or [b""]
    header = _header(first, name)
    if len(rest) != header.problems or not text.endswith(b"\n"):
        raise DataError(
            f"{name} is cut off: its header promises {header.problems:,} problems, {len(rest):,} "
            f"lines follow; {_rebuild(header.benchmark)}"
        )
    try:
        lines = [_Line.model_validate_json(line) for line in rest]
        problems = tuple(_problem(line) for line in lines)
        boilerplate = _unpacked(header.boilerplate)
    except (ValidationError, binascii.Error, ValueError) as e:
        raise DataError(f"{name} is damaged; {_rebuild(header.benchmark)}") from e
    return Index(header.benchmark, header.source, header.license, problems, boilerplate)


def _problem(line: _Line) -> Problem:
    held = _unpacked(line.grams)
    inside = tuple(_unbits(text, len(held)) for text in line.inside)
    return Problem(line.problem, line.version, line.digests, line.shapes, held, inside)


def _header(line: bytes, name: str) -> _Header:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise DataError(
            f"{name} is no benchmark index; {_rebuild('NAME')} (docs/decontamination.md)"
        )
    versions = found.get("format"), found.get("fingerprints")
    if versions != (FORMAT, FINGERPRINTS):
        raise DataError(
            f"{name} has format {versions[0]} and fingerprints {versions[1]}; this kernelsift "
            f"reads format {FORMAT} and fingerprints {FINGERPRINTS}: "
            f"{_rebuild(found.get('benchmark'))}"
        )
    try:
        return _Header.model_validate(found)
    except ValidationError as e:
        raise DataError(f"{name} is damaged; {_rebuild(found.get('benchmark'))}") from e


def _rebuild(benchmark: Any) -> str:
    return (
        "make it from the problems with `kernelsift decontaminate --build-index FOLDER "
        f"--benchmark {benchmark} --license L --source URL --out FILE`"
    )


def shortened(grams: "Grams") -> "Grams":
    """The part of n-gram hashes that is stored: the upper 48 bits, sorted, each once."""
    import numpy as np

    return distinct(grams >> np.uint64(64 - 8 * _BYTES))


def _packed(grams: "Grams") -> str:
    wide = grams.astype(">u8").view("u1").reshape(-1, 8)
    return base64.b64encode(wide[:, 8 - _BYTES :].tobytes()).decode("ascii")


def _unpacked(text: str) -> "Grams":
    import numpy as np

    raw = np.frombuffer(base64.b64decode(text, validate=True), "u1").reshape(-1, _BYTES)
    wide = np.zeros((len(raw), 8), "u1")
    wide[:, 8 - _BYTES :] = raw
    return wide.view(">u8").reshape(-1).astype(np.uint64)


def _bits(flags: "NDArray[np.bool_]") -> str:
    import numpy as np

    return base64.b64encode(np.packbits(flags).tobytes()).decode("ascii")


def _unbits(text: str, count: int) -> "NDArray[np.bool_]":
    import numpy as np

    raw = np.frombuffer(base64.b64decode(text, validate=True), "u1")
    if len(raw) != (count + 7) // 8:
        raise ValueError("flags of another number of n-grams")
    return np.unpackbits(raw, count=count).astype(bool)
