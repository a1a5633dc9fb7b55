"""Kernels with planted near-duplicates: real programs, changed as people and models change them.

Clusters are known. Programs of one cluster are one base and its copies; bases are made of real
kernels, most of them spliced from several so that there are enough different ones. `twins` share
all boilerplate with each other (imports, launch code, wrapper) and compute something else.
"""

import argparse
import ast
import io
import json
import keyword
import random
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from data import SAMPLE, SHARED

KINDS = ("copy", "renamed", "re-formatted", "re-commented", "constant", "small edit", "combination")
_PER_CLUSTER = 4
_LIBRARY = frozenset({
    "dim", "mask", "other", "dtype", "device", "bias", "stride", "padding", "dilation", "groups",
    "eps", "axis", "keepdim", "input", "weight", "out", "size", "self", "cls", "num_warps",
    "num_stages", "configs", "key", "reduction", "mean", "sum", "max", "min",
})  # fmt: skip
_HOOKS = frozenset({"forward", "backward", "get_inputs", "get_init_inputs", "Model", "ModelNew"})
_WORDS = (
    "block", "tile", "offset", "stride", "pointer", "mask", "reduce", "fuse", "load", "store",
    "acc", "lane", "warp", "row", "col",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """A program, the cluster it was planted in, and how it differs from the base."""

    text: str
    cluster: int
    kind: str


def documents(count: int, seed: int = 0) -> Iterator[Document]:
    """The same programs every time: bases, copies of them, and twins (a tenth)."""
    rng = random.Random(seed)
    real = _kernels()
    lines = [_plain(text) for text in real]
    cluster, made = 0, 0
    while made < count:
        if cluster % 10 == 9:
            yield Document(twin(cluster), cluster, "twin")
            made, cluster = made + 1, cluster + 1
            continue
        base = real[cluster] if cluster < len(real) else _splice(lines, rng)
        yield Document(base, cluster, "base")
        kinds = rng.sample(KINDS, _PER_CLUSTER)
        for kind in kinds[: max(0, count - made - 1)]:
            yield Document(CHANGES[kind](base, rng), cluster, kind)
        made += 1 + len(kinds[: max(0, count - made - 1)])
        cluster += 1


def _kernels() -> list[str]:
    """Real kernels that differ: one per module, and those of other collections where present."""
    path = SHARED / "rollouts-dev.parquet"
    if not path.exists():
        rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
        pairs = [(r["info"]["module_name"], r["completion"][-1]["content"]) for r in rows]
    else:
        table = pq.read_table(path, columns=["info", "completion"]).to_pylist()
        pairs = [(r["info"]["module_name"], r["completion"][-1]["content"]) for r in table]
    found: dict[str, str] = {}
    for module, text in sorted(pairs):
        code = text.partition("BEGIN_PYTHON")[2].rpartition("END_PYTHON")[0].strip("\n")
        if code and _parses(code):
            found.setdefault(module, code)
    more = SHARED / "difficulty-dev.parquet"
    if more.exists():
        codes = pq.read_table(more, columns=["code"])["code"].to_pylist()
        found |= {f"more {n}": text for n, text in enumerate(codes) if _parses(text)}
    return list(found.values())


def _plain(text: str) -> list[str]:
    """The lines of a program without texts over several lines: runs of them hold together."""
    if _parses(text):
        text = re.sub(r'"{3}.*?"{3}', '""', text, flags=re.DOTALL)
    return [line for line in text.split("\n") if '"""' not in line and "'''" not in line]


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


def _splice(lines: list[list[str]], rng: random.Random) -> str:
    """Another program: runs of lines of four real ones, under an own head. It need not compile."""
    out = ["import torch", "import triton", "import triton.language as tl", "", ""]
    for source in rng.sample(lines, 4):
        start = rng.randrange(max(1, len(source) - 30))
        out += source[start : start + rng.randrange(15, 31)]
    return "\n".join(out) + "\n"


# --- changes ------------------------------------------------------------------------------------


def renamed(text: str, rng: random.Random) -> str:
    """Every name that the program makes is another one."""
    names: dict[str, str] = {}
    used: set[str] = set()

    def new(old: str) -> str:
        while old not in names:
            name = "_".join(rng.choices(_WORDS, k=2)) + str(rng.randrange(100))
            if name not in used:
                used.add(name)
                names[old] = name
        return names[old]

    own = _own_names(text)

    def change(match: re.Match[str]) -> str:
        before, name, after = match.group(1), match.group(2), match.group(3)
        kept = name not in own or (before == "." and not text[: match.start()].endswith("self"))
        return match.group(0) if kept else f"{before}{new(name)}{after}"

    return re.sub(r"(\.?)\b([A-Za-z_]\w*)\b(\s*)", change, text)


def _own_names(text: str) -> set[str]:
    found = set(re.findall(r"^[ \t]*(?:self\.)?([A-Za-z_]\w*)[ \t]*=(?!=)", text, re.MULTILINE))
    found |= set(re.findall(r"\b(?:def|class|for)[ \t]+([A-Za-z_]\w*)", text))
    for arguments in re.findall(r"\bdef[ \t]+\w+\(([^)]*)\)", text):
        found |= {part.split(":")[0].split("=")[0].strip("* \n\t") for part in arguments.split(",")}
    kept = (
        _LIBRARY | _HOOKS | set(keyword.kwlist) | {"", "torch", "triton", "tl", "nn", "F", "math"}
    )
    return {name for name in found - kept if name.isidentifier() and not name.startswith("__")}


def reformatted(text: str, rng: random.Random) -> str:
    """Laid out anew: by Python's own printer, or with other spaces and blank lines."""
    if _parses(text) and rng.random() < 0.5:
        return ast.unparse(ast.parse(text)) + "\n"
    lines = []
    for line in text.split("\n"):
        body = line.lstrip(" ")
        lines.append(" " * ((len(line) - len(body)) // 2) + body.replace(", ", ","))
        lines += [""] if rng.random() < 0.2 else []
    return "\n".join(lines)


def recommented(text: str, rng: random.Random) -> str:
    """Comments taken out, others put in, a docstring in every function."""
    out = []
    for line in _without_comments(text).split("\n"):
        if rng.random() < 0.3 and not _inside(line):
            out.append(f"{_indent(line)}# {' '.join(rng.choices(_WORDS, k=6))}")
        out.append(line)
        if re.match(r"[ \t]*def .*\):[ \t]*$", line):
            out.append(f'{_indent(line)}    """{" ".join(rng.choices(_WORDS, k=8))}."""')
    return "\n".join(out)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _inside(line: str) -> bool:
    return not line.strip() or '"""' in line or "'''" in line


def _without_comments(text: str) -> str:
    try:
        found = [
            token for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        ]  # fmt: skip
    except (tokenize.TokenError, SyntaxError):
        return re.sub(r"^[ \t]*#.*$", "", text, flags=re.MULTILINE)
    lines = text.split("\n")
    for token in found:
        row, column = token.start
        lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(lines)


def constant(text: str, rng: random.Random) -> str:
    """One number is another one."""
    found = list(re.finditer(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", text))
    if not found:
        return text
    match = rng.choice(found)
    return f"{text[: match.start()]}{rng.randrange(2, 4096)}{text[match.end() :]}"


def edited(text: str, rng: random.Random) -> str:
    """A line more: a value that is computed once more."""
    lines = text.split("\n")
    places = [n for n, line in enumerate(lines) if re.match(r"[ \t]+\w+ = [\w.]+\(.*\)$", line)]
    if not places:
        return text + "\nBLOCK = 128\n"
    place = rng.choice(places)
    name = lines[place].split("=")[0].strip()
    lines.insert(place + 1, f"{_indent(lines[place])}{name} = {name} * 1.0")
    return "\n".join(lines)


def combined(text: str, rng: random.Random) -> str:
    """All of it at once."""
    for change in (constant, edited, recommented, renamed, reformatted):
        text = change(text, rng)
    return text


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "copy": lambda text, _: text,
    "renamed": renamed,
    "re-formatted": reformatted,
    "re-commented": recommented,
    "constant": constant,
    "small edit": edited,
    "combination": combined,
}


# --- twins --------------------------------------------------------------------------------------

_STEPS = (
    "tl.exp({x})", "tl.log(tl.abs({x}) + 1.0)", "tl.sqrt(tl.abs({x}))", "tl.sin({x})",
    "tl.where({x} > 0, {x}, 0.5 * {x})", "tl.maximum({x}, y)", "tl.minimum({x}, y)",
    "tl.cos({x})", "{x} * y + 1.0",
    "({x} - y) / (tl.abs(y) + 1.0)", "tl.sigmoid({x})", "{x} * {x} - y", "tl.abs({x} - y)",
    "tl.floor({x}) + y", "tl.erf({x} * 0.5)", "tl.math.rsqrt({x} * {x} + 1.0)",
)  # fmt: skip
_TWIN = """import torch
import triton
import triton.language as tl


@triton.jit
def fused_kernel(x_ptr, y_ptr, out_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    pid = tl.program_id(axis=0)
    offsets = pid * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    mask = offsets < n_elements
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    y = tl.load(y_ptr + offsets, mask=mask, other=0.0)
{steps}
    tl.store(out_ptr + offsets, x, mask=mask)


class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x, y):
        x = x.contiguous()
        y = y.contiguous()
        out = torch.empty_like(x)
        n_elements = out.numel()
        grid = lambda meta: (triton.cdiv(n_elements, meta["BLOCK_SIZE"]),)
        fused_kernel[grid](x, y, out, n_elements, BLOCK_SIZE=1024)
        return out
"""


def twin(number: int) -> str:
    """An elementwise kernel like all others but for what it computes."""
    rng = random.Random(f"twin {number}")
    steps = (f"    x = {rng.choice(_STEPS).format(x='x')}" for _ in range(10))
    return _TWIN.replace("{steps}", "\n".join(steps))


def write(path: Path, count: int) -> Path:
    """A file of JSON lines; the same arguments give the same file, which is then kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            for d in documents(count):
                row = {"text": d.text, "cluster": d.cluster, "kind": d.kind}
                file.write(json.dumps(row) + "\n")
        draft.replace(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    write(options.path, options.count)
    sys.stdout.write(f"{options.path}\n")
