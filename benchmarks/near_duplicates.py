"""Near-duplicates: what is found of what was planted, and time and memory beside other tools.

1. 5,000 programs with known clusters (`planted.py`): recall of each kind of copy, and recall and
   precision of pairs against brute force, which compares all 12.5 million pairs exactly.
2. Time and peak memory at 18,162 and 200,000 programs, beside datasketch (on the same shingles) and
   text-dedup (its own tokens). Both live in an environment of their own; where it cannot be made
   they are left out, with the reason. Every tool runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import time
import venv
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
from machine import WORK, Measured, environment, measure, say, worker
from planted import KINDS, documents, write

from kernelsift.similarity.near import COMMON, THRESHOLD, Near, find_near
from kernelsift.similarity.shingle_sets import Sets, boilerplate_of

_HERE = Path(__file__)
_OTHERS = WORK / "near-venv"
_SMALL, _SIZES = 5_000, (18_162, 200_000)
_SLOW = 20_000
"""The other tools are not run on more programs than this."""


# --- what is found ------------------------------------------------------------------------------


def quality(workers: int) -> None:
    """Print what is found among planted programs."""
    found = list(documents(_SMALL))
    texts = [d.text for d in found]
    near = find_near(texts, workers=workers)
    base = {d.cluster: n for n, d in enumerate(found) if d.kind in {"base", "twin"}}
    around = near.neighbours()
    hits: dict[str, list[bool]] = defaultdict(list)
    for n, d in enumerate(found):
        if d.kind in KINDS:
            one, other = int(near.first[n]), int(near.first[base[d.cluster]])
            hits[d.kind].append(one == other or other in around.get(one, {}))
    say("\n| planted | programs | found with their base |\n|---|---|---|")
    for kind in KINDS:
        say(f"| {kind} | {len(hits[kind]):,} | {np.mean(hits[kind]):.4f} |")
    _say_pairs(near, texts, np.array([d.cluster for d in found]))


def _say_pairs(near: Near, texts: list[str], cluster: "np.ndarray") -> None:
    """Recall and precision of pairs of programs, and what pairs of different clusters there are."""
    truth = brute_force(texts)
    reported = set(_pairs(near))
    both = len(truth & reported)
    across = [(a, b) for a, b in reported if cluster[a] != cluster[b]]
    say("\n| pairs with a similarity of at least 0.8 | |\n|---|---|")
    say(f"| by brute force | {len(truth):,} |")
    say(f"| reported | {len(reported):,} |")
    say(f"| recall | {both / len(truth):.4f} |")
    say(f"| precision | {both / len(reported):.4f} |")
    say(f"| reported of two different clusters | {len(across):,} |")
    say(f"| shingles that are boilerplate | {near.boilerplate:,} |")


def _pairs(near: Near) -> Iterator[tuple[int, int]]:
    """All pairs of programs, those with the same shingles too."""
    members = defaultdict(list)
    for n, first in enumerate(near.first.tolist()):
        if first >= 0:
            members[first].append(n)
    for same in members.values():
        yield from ((a, b) for i, a in enumerate(same) for b in same[i + 1 :])
    for one, other in zip(near.left.tolist(), near.right.tolist(), strict=True):
        for a in members[one]:
            yield from ((min(a, b), max(a, b)) for b in members[other])


def brute_force(texts: list[str]) -> set[tuple[int, int]]:
    """Every pair that is similar enough, with and without boilerplate, by products of matrices."""
    from kernelsift.similarity.near import _fingerprints

    sets = Sets()
    for start in range(0, len(texts), 256):
        sets.add(_fingerprints(texts[start : start + 256]))
    boilerplate = boilerplate_of(sets, None, COMMON)
    slices, _ = sets.slices()
    near = _similar(slices, THRESHOLD)
    own = [found[~np.isin(found, boilerplate)] for found in slices]
    near &= _similar(own, THRESHOLD / 2)
    members = defaultdict(list)
    for n, number in enumerate(sets.of):
        members[number].append(n)
    same = {(number, number) for number in members if number >= 0}
    return {
        (a, b) for one, other in near | same for a in members[one] for b in members[other] if a < b
    }


def _similar(slices: list["np.ndarray"], threshold: float) -> set[tuple[int, int]]:
    """Pairs of sets, in both orders, whose Jaccard similarity reaches the threshold."""
    lengths = np.array([len(found) for found in slices])
    columns = np.unique(np.concatenate(slices), return_inverse=True)[1]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(slices), int(columns.max()) + 1)
    matrix = scipy.sparse.csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape=shape)
    common = (matrix @ matrix.T).tocoo()
    union = lengths[common.row] + lengths[common.col] - common.data
    near = common.data / union >= threshold
    return set(zip(common.row[near].tolist(), common.col[near].tolist(), strict=True))


# --- time and memory ----------------------------------------------------------------------------


def speed(sizes: list[int], workers: int) -> None:
    """Print time and peak memory of each tool at each size."""
    say(
        "\n| programs | tool | seconds | processor s | peak MB | finds |\n|---|---|---|---|---|---|"
    )
    for size in sizes:
        path = write(WORK / f"planted-{size}.jsonl", size)
        ours = measure(
            worker(str(_HERE), "--part", "kernelsift", "--path", path, "--workers", workers)
        )
        _say_speed(size, "kernelsift", ours)
        for tool in ("datasketch", "text-dedup"):
            if size > _SLOW:
                say(f"| {size:,} | {tool} | left out: too slow at this size | | | |")
            else:
                _say_other(size, tool, path, workers)


def _say_other(size: int, tool: str, path: Path, workers: int) -> None:
    try:
        python = _environment()
        command = [
            str(python),
            str(_HERE.with_name("near_others.py")),
            tool,
            str(path),
            str(workers),
        ]
        _say_speed(size, tool, measure(command))
    except (RuntimeError, subprocess.SubprocessError, OSError) as e:
        say(f"| {size:,} | {tool} | left out: {str(e).strip().splitlines()[-1][:120]} | | | |")


def _say_speed(size: int, tool: str, found: Measured) -> None:
    took = f"{found.seconds:.1f} | {found.cpu_seconds:.1f} | {found.peak_mb:.0f}"
    say(f"| {size:,} | {tool} | {took} | {found.result['says']} |")


def _environment() -> Path:
    """The Python of an environment that has the other tools, made when first needed."""
    python = _OTHERS / "bin" / "python"
    if not python.exists():
        venv.create(_OTHERS, with_pip=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "datasketch", "text-dedup"],
            check=True, capture_output=True, text=True, env=environment(),
        )  # fmt: skip
    return python


def run_ours(path: Path, workers: int) -> None:
    """What kernelsift needs from texts to pairs; one JSON line on stdout."""
    started = time.monotonic()
    near = find_near(_texts(path), workers=workers)
    kept = len(_leaders(near))
    says = f"{len(near.left):,} near pairs of different programs; keeps {kept:,}"
    sys.stdout.write(json.dumps({"says": says, "seconds": time.monotonic() - started}) + "\n")


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def _leaders(near: Near) -> set[int]:
    """Programs that stay: each first one that is near no earlier one that stays."""
    around = near.neighbours()
    out: set[int] = set()
    for n in sorted(Counter(near.first.tolist())):
        if n >= 0 and not out & around.get(n, {}).keys():
            out.add(n)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 programs at most")
    parser.add_argument("--part", choices=["quality", "speed", "kernelsift"])
    parser.add_argument("--path", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(_SIZES))
    options = parser.parse_args()
    if options.part == "kernelsift":
        run_ours(options.path, options.workers)
        return
    if options.part != "speed":
        quality(options.workers)
    if options.part != "quality":
        speed([_SMALL] if options.quick else options.sizes, options.workers)


if __name__ == "__main__":
    main()
