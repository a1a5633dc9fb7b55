"""Are leaks in task prompts found, and wrong claims about modules? Both are planted.

500 leaks are planted into the template's prompts for modules of KernelBook, 300 errors into claims
that are true by a run of the module. What is planted is chosen here, by other means than those of
the checks. Side by side: what one would write in a few lines.
"""

import argparse
import ast
import asyncio
import io
import random
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
from data import MODULES
from machine import say, show

from kernelsift.claiming import Runner
from kernelsift.kernels.describe import describe
from kernelsift.model import Module, SampleId
from kernelsift.prompting.claims import Claims, Input, Interface, Output, Setting, compare
from kernelsift.prompting.findings import check

SEED = 5
KINDS = ("name", "run of 12 to 30 tokens", "line of code", "code fence", "Triton hint")
_HINTS = (
    "Use a BLOCK_SIZE of 1024.", "Set num_warps to 8.", "Load the row by tl.load with a mask.",
    "Start from tl.program_id(0).", "Keep partial sums in shared memory.",
    "Decorate the kernel with triton.jit.", "Tune it with triton.autotune.",
    "Choose the tile size by the width.", "Let each warp handle one row.",
    "Make all loads coalesced.", "Do everything in one fused kernel.", "Set num_stages to 3.",
)  # fmt: skip
_SENTENCES = ("Keep it as {} for the next step.", "This is `{}` in what follows.", "{} is formed.")
_DTYPES = ("float32", "float64", "float16", "int64", "int32", "bool")


@dataclass(frozen=True)
class Case:
    """A module with its prompt."""

    name: str
    code: str
    prompt: str


def cases(count: int) -> list[Case]:
    """Modules by chance, with what the template writes for them."""
    rows = pq.read_table(MODULES, columns=["module_name", "python_code"]).to_pylist()
    distinct = sorted({(row["module_name"], row["python_code"]) for row in rows})
    random.Random(SEED).shuffle(distinct)
    found = ((name, code, describe(name, code)) for name, code in distinct)
    written = (Case(name, code, text) for name, code, text in found if text)
    return [case for case, _ in zip(written, range(count), strict=False)]


# ---- planting -----------------------------------------------------------------------------------


def _hidden(case: Case) -> list[str]:
    """Names of local variables and helper functions that look like code, the interface aside."""
    nodes = list(ast.walk(ast.parse(case.code)))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    inner = [f for f in functions if f.name not in {"get_inputs", "get_init_inputs"}]
    bound = {n.id for f in inner for n in ast.walk(f) if isinstance(n, ast.Name)
             and isinstance(n.ctx, ast.Store)}  # fmt: skip
    bound |= {n.name for n in ast.parse(case.code).body if isinstance(n, ast.FunctionDef)}
    bound |= {f.name for f in inner}
    shown = {a.arg for f in inner if f.name in {"__init__", "forward"} for a in _arguments(f)}
    shown |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    shown |= {n.arg for n in nodes if isinstance(n, ast.keyword) and n.arg}
    shown |= set(re.findall(r"\w+", case.prompt)) | {"get_inputs", "get_init_inputs"}
    looks = re.compile(r"[A-Za-z]\w*_\w+|[A-Za-z]{2,}\d\w*|[a-z]+[A-Z]\w*")
    return sorted(n for n in bound - shown if looks.fullmatch(n))


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _bodies(case: Case) -> list[list[tokenize.TokenInfo]]:
    """Python's own tokens of the bodies of functions, a list for each."""
    out = []
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    every = list(tokenize.generate_tokens(io.StringIO(case.code).readline))
    for node in ast.walk(ast.parse(case.code)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("get_"):
            body = [b for b in node.body if not _is_text(b)]
            if body:
                first, last = body[0].lineno, body[-1].end_lineno or 0
                out.append([t for t in every
                            if first <= t.start[0] <= last and t.type not in skipped])  # fmt: skip
    return out


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _run(case: Case, rng: random.Random) -> str | None:
    bodies = [body for body in _bodies(case) if len(body) >= 12]
    if not bodies:
        return None
    body = rng.choice(bodies)
    size = rng.randint(12, min(30, len(body)))
    start = rng.randint(0, len(body) - size)
    return " ".join(token.string for token in body[start : start + size])


def _line(case: Case, rng: random.Random) -> str | None:
    numbers = {t.start[0] for body in _bodies(case) for t in body}
    lines = case.code.split("\n")
    found = [lines[n - 1].strip() for n in sorted(numbers) if n <= len(lines)]
    whole = [x for x in found if len(re.findall(r"\w+|[^\s\w]", x)) >= 6 and "=" in x
             and x.count("(") == x.count(")") and not x.startswith(("def ", "class "))]  # fmt: skip
    return rng.choice(whole) if whole else None


def leak(case: Case, kind: str, rng: random.Random) -> str | None:
    """What is planted; None where the module has nothing of the kind."""
    if kind == "name":
        names = _hidden(case)
        return rng.choice(_SENTENCES).format(rng.choice(names)) if names else None
    if kind == "code fence":
        return f"```{rng.choice(['python', 'py', ''])}\nx = 1\n```"
    if kind == "Triton hint":
        return rng.choice(_HINTS)
    return _run(case, rng) if kind.startswith("run") else _line(case, rng)


def planted(every: Sequence[Case], each: int) -> Iterator[tuple[str, Case, str]]:
    """So many leaks of each kind: the kind, the module, the prompt with the leak in it."""
    rng = random.Random(SEED)
    for kind in KINDS:
        made = 0
        for case in every:
            text = leak(case, kind, rng)
            if text is None or made == each:
                continue
            lines = case.prompt.split("\n")
            at = rng.randint(lines.index("## Computation") + 1, len(lines) - 1)
            made += 1
            yield kind, case, "\n".join([*lines[:at], text, *lines[at:]])


# ---- who finds them -----------------------------------------------------------------------------


def ours(case: Case, prompt: str) -> bool:
    """A finding that refuses the prompt as a leak."""
    return check(prompt, case.name, case.code).failure == "prompt-leak"


def longest_match(case: Case, prompt: str) -> bool:
    """40 characters or more in a row, as a longest common substring gives them."""
    parts = {prompt[at : at + 40] for at in range(len(prompt) - 39)}
    return any(case.code[at : at + 40] in parts for at in range(len(case.code) - 39))


def identifiers(case: Case, prompt: str) -> bool:
    """Names of the code, four letters or more, the class and the parameters aside, as words."""
    tree = ast.parse(case.code)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in {"__init__", "forward"}:
            names -= {a.arg for a in _arguments(node)}
    words = set(re.findall(r"\w+", prompt))
    return any(len(name) >= 4 for name in (names - {case.name}) & words)


def fences(case: Case, prompt: str) -> bool:
    """A fence, `torch.` or `tl.`: what a filter by hand looks for."""
    return bool(case) and re.search(r"```|\btorch\.|\btl\.", prompt) is not None


WAYS: dict[str, Callable[[Case, str], bool]] = {
    "kernelsift": ours,
    "40 characters in a row": longest_match,
    "names of the code as words": identifiers,
    "fences, torch., tl.": fences,
}


def leaks(each: int) -> None:
    """Print who finds how many of the planted leaks, and how many clean prompts are refused."""
    every = cases(each * 8)
    found = list(planted(every, each))
    clean = every[: 5 * each]
    rows: list[list[object]] = []
    for way, finds in WAYS.items():
        hits = {kind: [finds(c, p) for k, c, p in found if k == kind] for kind in KINDS}
        total = sum(sum(h) for h in hits.values())
        wrong = sum(finds(case, case.prompt) for case in clean)
        each_kind = [f"{sum(h)}/{len(h)}" for h in hits.values()]
        rows.append([way, *each_kind, f"{total / len(found):.1%}", f"{wrong / len(clean):.1%}"])
    show(f"{len(found)} planted leaks, {len(clean)} prompts without",
         ["found by", *KINDS, "all", "clean prompts refused"], rows)  # fmt: skip
    _false_alarms(clean)


def _false_alarms(clean: Sequence[Case]) -> None:
    """Names of the interface, each in a sentence of its own."""
    rows: list[list[object]] = []
    names = [(case, name) for case in clean for name in _interface(case)][: 4 * len(clean)]
    for way, finds in WAYS.items():
        known = {case: finds(case, case.prompt) for case in clean}
        wrong = 0
        for case, name in names:
            said = f"{case.prompt}\n`{name}` is used as given, and so {name} counts.\n"
            wrong += finds(case, said) and not known[case]
        rows.append([way, len(names), f"{wrong / len(names):.2%}"])
    show("Names of the interface", ["way", "names", "false alarms"], rows)


def _interface(case: Case) -> list[str]:
    """The class, parameters of its two methods, and layers and parameters that it holds."""
    nodes = ast.parse(case.code).body
    own = [n for n in nodes if isinstance(n, ast.ClassDef) and n.name == case.name]
    names = {case.name, f"{case.name}New"}
    for node in ast.walk(own[-1]) if own else ():
        if isinstance(node, ast.FunctionDef) and node.name in {"__init__", "forward"}:
            names |= {a.arg for a in _arguments(node)} - {"self"}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            made = ast.unparse(node.value)
            if re.match(r"(torch\.)?nn\.[A-Z]\w+\(", made):
                names.add(node.targets[0].attr)
    return sorted(names)


# ---- claims -------------------------------------------------------------------------------------


def true_claims(seen: Interface) -> Claims:
    """What was seen, as claims."""

    def sizes(shape: list[int | None] | None) -> list[int] | None:
        return None if shape is None else [size or 0 for size in shape]

    return Claims(
        inputs=tuple(Input(name=i.name, shape=sizes(i.shape), dtype=i.dtype) for i in seen.inputs),
        outputs=tuple(Output(shape=sizes(o.shape), dtype=o.dtype) for o in seen.outputs),
        init=tuple(Setting(name=name, value=value) for name, value in seen.init.items()),
    )  # fmt: skip


def spoilt(claims: Claims, kind: str, rng: random.Random) -> Claims | None:
    """The claims with one error; None where they have nothing of the kind."""
    if kind == "constant":
        places = [n for n, s in enumerate(claims.init) if isinstance(s.value, int | float)]
        if not places:
            return None
        at = rng.choice(places)
        value = claims.init[at].value
        other: object = (not value) if isinstance(value, bool) else rng.choice(
            [value + 1, value * 10 + 0.5, -value - 1])  # fmt: skip
        changed = claims.init[at].model_copy(update={"value": other})
        return claims.model_copy(update={"init": _replaced(claims.init, at, changed)})
    side = rng.choice(["inputs", "outputs"])
    held = getattr(claims, side)
    places = [n for n, one in enumerate(held) if one.shape is not None]
    if not places:
        return None
    at = rng.choice(places)
    one = held[at]
    if kind == "dtype":
        update: dict[str, object] = {"dtype": rng.choice([d for d in _DTYPES if d != one.dtype])}
    else:
        update = {"shape": _other_shape(one.shape, rng)}
    return claims.model_copy(update={side: _replaced(held, at, one.model_copy(update=update))})


def _other_shape(shape: list[int], rng: random.Random) -> list[int]:
    ways = [[*shape, 1], [1, *shape]]
    if shape:
        at = rng.randrange(len(shape))
        ways += [[*shape[:at], shape[at] + rng.choice([1, 4]), *shape[at + 1 :]], shape[1:]]
    return rng.choice(ways)


def _replaced(held: Sequence[object], at: int, new: object) -> tuple[object, ...]:
    return (*held[:at], new, *held[at + 1 :])


def by_reading(case: Case, claims: Claims) -> bool:
    """Without a run: shapes that get_inputs() writes out, all taken as float32."""
    text = case.code.partition("def get_inputs")[2].partition("def ")[0]
    made = re.findall(r"torch\.(?:rand|randn|ones|zeros)\(\[?([\d, ]+)\]?\)", text)
    shapes = [[int(n) for n in re.findall(r"\d+", one)] for one in made]
    if len(shapes) != len(claims.inputs):
        return False
    pairs = zip(claims.inputs, shapes, strict=True)
    return any(one.shape != shape or one.dtype != "float32" for one, shape in pairs)


async def seen_of(every: Sequence[Case]) -> list[tuple[Case, Interface]]:
    """Modules that run, with what was seen."""
    with Runner(2) as runner:
        wanted = [Module(SampleId(str(n)), c.name, c.code, None, None) for n, c in enumerate(every)]
        found = await asyncio.gather(*(runner(module) for module in wanted))
        for note in runner.notes():
            say(note)
    return [(c, s) for c, s in zip(every, found, strict=True) if isinstance(s, Interface)]


def claims(each: int) -> None:
    """Print how many injected errors are found."""
    every = cases(each * 6)[-each:]
    seen = asyncio.run(seen_of(every))
    if not seen:
        say("skipped: no module could be run (torch and a sandbox are needed)")
        return
    rng = random.Random(SEED)
    rows: list[list[object]] = []
    for kind in ("shape", "dtype", "constant"):
        made: list[tuple[Case, Interface, Claims]] = []
        tries = 0
        while len(made) < each and tries < 50 * each:
            case, interface = seen[tries % len(seen)]
            tries += 1
            if wrong := spoilt(true_claims(interface), kind, rng):
                made.append((case, interface, wrong))
        run = sum(bool(compare(wrong, interface)) for _, interface, wrong in made)
        read = sum(by_reading(case, wrong) for case, _, wrong in made)
        rows.append([kind, len(made), f"{run / len(made):.1%}", f"{read / len(made):.1%}"])
    right = sum(bool(compare(true_claims(i), i)) for _, i in seen)
    read = sum(by_reading(c, true_claims(i)) for c, i in seen)
    rows.append(["true claims refused", len(seen), f"{right / len(seen):.1%}",
                 f"{read / len(seen):.1%}"])  # fmt: skip
    show(
        f"Errors in claims, {len(seen)} of {len(every)} modules ran",
        ["error", "injected", "found by a run", "found by reading get_inputs()"],
        rows,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not MODULES.exists():
        say(f"skipped: {MODULES.name} is not at hand (see shared/data)")
        return
    each = 20 if options.quick else 100
    leaks(each)
    claims(each)


if __name__ == "__main__":
    main()
