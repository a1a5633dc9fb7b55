"""Build the bundled sample: one JSON line per rollout in ``sample/modules``.

``python sample/build.py`` measures everything and writes the file, ``--check`` exits 1 when
the file would change, ``--only NAME`` measures some modules and prints them.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Measurement, measure

HERE = Path(__file__).resolve().parent
MODULES = HERE / "modules"
OUTPUT = HERE.parent / "src" / "kernelsift" / "data" / "sample.jsonl"
PROCESSES = 2
KINDS = ("good", "fused", "slow", "messy", "wrong", "cheat", "crash")
SLOW_BELOW = 0.85

PROMPT = """\
Convert this PyTorch module to Triton.

Write one complete Python file: the imports, your `@triton.jit` kernel or kernels, and a class \
named `{name}New` that is an `nn.Module`. The class takes the same `__init__` arguments as \
`{name}`, has the same parameter and buffer names, and its `forward` takes the same inputs and \
returns the same outputs. The work of `forward` must be done by your Triton kernels; they should \
be correct for other input sizes too and move as little memory as possible.

You may think first. Put the final code between a line `BEGIN_PYTHON` and a line `END_PYTHON`.

```python
{source}```
"""


@dataclass(frozen=True)
class Rollout:
    """One completion file with the module it answers."""

    example_id: int
    module: str
    kind: str
    reference: str
    completion: str


def load_rollouts(only: list[str]) -> list[Rollout]:
    """Read every rollout, sorted by module and kind; ``only`` keeps the named modules."""
    rollouts = []
    folders = sorted(path.parent for path in MODULES.glob("*/reference.py"))
    for example_id, folder in enumerate(folders):
        if only and folder.name not in only:
            continue
        reference = (folder / "reference.py").read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.md")):
            kind = re.sub(r"-\d+$", "", path.stem)
            text = path.read_text(encoding="utf-8").rstrip("\n")
            rollouts.append(Rollout(example_id, folder.name, kind, reference, text))
    return rollouts


def extract_code(completion: str) -> str:
    """Return the candidate's source: markers, then the last parsable fence, then the text."""
    text = completion.rsplit("</think>", 1)[-1]
    marked = re.findall(
        r"^BEGIN_PYTHON[ \t]*\n((?:(?!^BEGIN_PYTHON).*\n)*?)END_PYTHON", text, flags=re.MULTILINE
    )
    if marked:
        return _unfence(marked[-1])
    fences = re.findall(
        r"^```(?:python|py)?[ \t]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL
    )
    for fence in reversed(fences):
        if _parses(fence):
            return str(fence)
    answer = re.findall(r"<answer>\s*\n?(.*?)</answer>", text, flags=re.DOTALL)
    if answer:
        return _unfence(answer[-1])
    return str(fences[-1]) if fences else text


def _unfence(code: str) -> str:
    """Strip one Markdown fence round ``code`` when there is one."""
    match = re.fullmatch(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", code, flags=re.DOTALL)
    return match.group(1) + "\n" if match else code


def _parses(code: str) -> bool:
    """Tell whether ``code`` is Python and more than a fragment without a class."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.ClassDef) for node in tree.body)


def to_row(rollout: Rollout, outcome: Measurement) -> dict[str, Any]:
    """Return the JSON object of one rollout, keys in their documented order."""
    prompt = PROMPT.format(name=rollout.module, source=rollout.reference)
    return {
        "example_id": rollout.example_id,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": rollout.completion}],
        "task": "kernelbook",
        "reward": outcome.reward,
        "generation_ms": None,
        "scoring_ms": None,
        "total_ms": None,
        "info": {
            "module_name": rollout.module,
            "python_code": rollout.reference,
            "triton_code": None,
            "entry_point": rollout.module,
            "kind": rollout.kind,
            "correct": outcome.correct,
            "error_kind": outcome.error_kind,
            "error": outcome.error,
            "eager_bytes": outcome.eager_bytes,
            "candidate_bytes": outcome.candidate_bytes,
        },
        "answer": "",
        "speedup_reward": outcome.speedup,
        "oai_tools": None,
    }


def unexpected(kind: str, outcome: Measurement) -> str:
    """Return why the outcome is not what the kind says ('' when it is)."""
    if kind not in KINDS:
        return f"unknown kind {kind}"
    if kind in ("wrong", "crash"):
        return "" if outcome.reward == 0.0 else "should fail"
    if kind == "cheat":
        return ""
    if not outcome.correct:
        return "should be correct"
    if kind == "slow":
        return "" if outcome.reward < SLOW_BELOW else "should be slow"
    if kind == "fused":
        return "" if outcome.reward > 1.0 else "should beat eager"
    return "" if kind == "messy" or outcome.reward >= SLOW_BELOW else "should not be slow"


def print_table(rollouts: list[Rollout], outcomes: list[Measurement]) -> int:
    """Print module, kind, outcome and reward; return how many rows are unexpected."""
    strange = 0
    for rollout, outcome in zip(rollouts, outcomes, strict=True):
        note = unexpected(rollout.kind, outcome)
        strange += bool(note)
        print(
            f"{rollout.module:<28} {rollout.kind:<6} {outcome.error_kind:<8} "
            f"{outcome.reward:>8.4f}  {outcome.eager_bytes!s:>7} {outcome.candidate_bytes!s:>7}  "
            f"{outcome.error[:90]}{'  <-- ' + note if note else ''}"
        )
    print(f"{len(rollouts)} rollouts, {strange} unexpected")
    return strange


def main() -> int:
    """Measure the rollouts and write, check or only print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when the file would change")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    options = parser.parse_args()
    rollouts = load_rollouts(options.only)
    with ThreadPoolExecutor(PROCESSES) as pool:
        outcomes = list(
            pool.map(lambda r: measure(r.reference, extract_code(r.completion), r.module), rollouts)
        )
    strange = print_table(rollouts, outcomes)
    if options.only:
        return int(strange > 0)
    rows = [to_row(*pair) for pair in zip(rollouts, outcomes, strict=True)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if options.check:
        same = OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text
        print("unchanged" if same else f"{OUTPUT.name} would change")
        return int(not same)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
