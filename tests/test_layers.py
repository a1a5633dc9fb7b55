"""Imports go one way, importing does nothing, and no file or function is long."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from build import environment

HOME = Path(__file__).parents[1] / "src" / "kernelsift"
FILES = sorted(HOME.rglob("*.py"))
LAYERS = (
    {"errors", "model"},
    {"config", "credentials", "expression", "files", "progress", "source", "splits", "verdict",
     "versions", "columns", "privacy", "sides", "growing", "thinking", "config_batch",
     "config_judge", "config_reliability", "config_verify", "checklist", "families"},
    {"contamination", "ingest", "llm", "kernels", "probes", "report", "reliability", "similarity",
     "prompting", "store",
     "hub", "data", "trainers"},
    {"endpoint", "instrument", "label_files", "samples", "covariates"},
    {"records", "batch_records"},
    {"run"},
    {"engine", "journal", "batch_results", "judgements", "rejected", "explain",
     "decision_words", "diffing", "diff_words", "publishing", "repeats", "splitting",
     "training_rows", "disagreeing"},
    {"stages", "session"},
    {"measuring", "manifest"},
    {"deduplicating", "claiming", "prompt_quality", "pipeline", "doctor", "verifying",
     "verification", "gating", "decontaminating", "training", "judging", "may_judge", "rejudging",
     "resampling", "trusting", "probing", "reporting", "batching", "batch_desk"},
    {"estimating"},
    {"cli"},
    {"__init__", "__main__"},
)  # fmt: skip
"""From the bottom up. A module imports from its own layer (of `stages`: not at all) and below."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {"numpy", "pyarrow", "polars", "pydantic", "aiohttp", "matplotlib", "datasets", "torch",
         "scipy", "huggingface_hub", "rich", "pandas"}  # fmt: skip


def part(path):
    """The package or module right below kernelsift that a file belongs to."""
    return path.relative_to(HOME).parts[0].removesuffix(".py")


def imported(path):
    """What a file imports of this package, as dotted names without its own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return {n.removeprefix("kernelsift.") for n in found if n.startswith("kernelsift.")}


def name(path):
    return str(path.relative_to(HOME))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_only_go_downwards(path):
    own = part(path)
    assert own in LEVEL, f"say in LAYERS where {own} belongs"
    parts = {dotted.split(".")[0] for dotted in imported(path)}
    upwards = sorted(p for p in parts & LEVEL.keys() if LEVEL[p] > LEVEL[own])
    assert not upwards, f"{name(path)} imports {upwards}, which build on it"


def test_a_stage_never_imports_another():
    for path in (HOME / "stages").glob("*.py"):
        wrong = {n for n in imported(path) if n.startswith("stages.")} - {"stages.publish"}
        assert not wrong, f"{name(path)} imports {sorted(wrong)}"


def test_the_nouns_import_nothing_of_the_package():
    assert imported(HOME / "model.py") == set()
    assert imported(HOME / "errors.py") == set()


@pytest.mark.parametrize("module", ["kernelsift", "kernelsift.cli.main"])
def test_importing_loads_nothing_heavy(module):
    code = f"import {module}, sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment(),
    )
    assert HEAVY & set(found.stdout.split()) == set()
    assert found.stderr == ""


def test_every_public_name_is_found():
    import kernelsift

    for public in kernelsift.__all__:
        assert getattr(kernelsift, public) is not None


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_file_and_no_function_is_long(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 50, f"{node.name} has {lines} lines"
