"""The documentation says what is there, and its examples run."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from kernelsift.cli.main import cli
from kernelsift.config import Settings
from kernelsift.model import FailureClass
from kernelsift.store import _SCHEMA

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CLAUDE.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += settings(inner, f"{name}.")
        else:
            names.append(prefix + name)
    return names


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"`kernelsift {name}" in text_of("README.md")


def test_the_settings_page_lists_exactly_the_settings() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", text_of("docs/settings.md"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert sorted(listed) == sorted(settings())


def test_the_run_format_page_lists_every_failure_class() -> None:
    page = text_of("docs/run-format.md")
    assert [name for name in get_args(FailureClass) if f"`{name}`" not in page] == []


def test_the_run_format_page_lists_every_table() -> None:
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", _SCHEMA)
    page = text_of("docs/run-format.md")
    assert [name for name in tables if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), re.DOTALL)
    exec(compile(block.replace("print(", "str("), "README.md", "exec"), {})
    assert (tmp_path / "my-run" / "unique.parquet").exists()


def test_the_guide_for_assistants_is_short() -> None:
    assert len(text_of("CLAUDE.md").splitlines()) <= 120


def test_the_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    from kernelsift import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KernelsiftError)
    }
    line = text_of("README.md").split("Exit codes:")[1]
    assert [code for code in codes if f"{code} " not in line] == []


def test_the_catalog_page_has_every_id_with_its_severity_and_sentence():
    from kernelsift.kernels.catalog import catalog

    page = (ROOT / "docs" / "catalog.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if "| K" in line}
    assert rows.keys() == catalog().keys()
    for number, entry in catalog().items():
        assert all(text in rows[number] for text in (entry.name, entry.severity, entry.description))


def test_the_analysis_page_lists_every_field_of_analysis_json() -> None:
    from kernelsift.report.schema import Analysis

    schema = Analysis.model_json_schema()
    models = {"Analysis": schema} | schema["$defs"]
    parts = re.split(r"^### (\w+)\n", text_of("docs/analysis.md"), flags=re.MULTILINE)
    pages = dict(zip(parts[1::2], parts[2::2], strict=True))
    listed = {
        name: re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) for name, page in pages.items()
    }
    assert listed == {name: list(model["properties"]) for name, model in models.items()}
