"""Settings: one frozen section per stage, read from TOML and the command line, checked at once."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from kernelsift.config_batch import Batch
from kernelsift.config_judge import Answers
from kernelsift.config_reliability import Reliability
from kernelsift.config_verify import Verify
from kernelsift.errors import ConfigError
from kernelsift.model import Frozen

SAMPLE = "kernelsift:sample"
"""The bundled sample rollouts."""
DEFAULT_SOURCE = "siro1/kernelbook-glm4-evals"
DEFAULT_MODULES = "GPUMODE/KernelBook"
DEFAULT_BASE_URL = "https://api.pinference.ai/api/v1"
DEFAULT_MODEL = "openai/gpt-5.2"
CONFIG_FILE = "kernelsift.toml"
TEST_ROWS = 8
"""How many rows TEST_MODE=true works on."""

Usd = Annotated[float, Field(gt=0)]


class Load(Frozen):
    """Where the rollouts come from."""

    source: str = DEFAULT_SOURCE
    split: str | None = None
    revision: str | None = None
    on_bad_row: Literal["error", "quarantine"] = "error"
    limit: PositiveInt | None = None
    """Stop after this many rows."""
    enough: PositiveInt | None = None
    """Stop once this many rows have a reward above filter.min_reward (what TEST_MODE uses)."""


class Filter(Frozen):
    """Which rewards are good enough."""

    min_reward: float = 0.85
    """Rows must have a reward above this, not equal to it."""


Evidence = Literal["ast", "ngram", "name"]
"""What can show that a row holds a benchmark problem, the strongest first."""


class Decontaminate(Frozen):
    """Which benchmarks rows are held against, and what drops a row."""

    index: tuple[str, ...] = ()
    """Index files of one's own held-out sets."""
    shipped: bool = True
    """Whether the indexes that come with kernelsift are used, too."""
    match: tuple[Evidence, ...] = Field(default=("ast", "ngram", "name"), min_length=1)
    drop_on: Evidence = "ngram"
    """The weakest evidence that drops a row; weaker evidence is only reported."""
    ngram_share: float = Field(default=0.6, ge=0.1, le=1)
    """Share of a problem's n-grams that must occur in a row."""


class PriceRow(Frozen):
    """USD per million tokens; `cached` defaults to the input price."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)


class Llm(Frozen):
    """The endpoint, and what may be spent there."""

    base_url: str = DEFAULT_BASE_URL
    api_key_env: str | None = None
    """Environment variable (or .env entry) that holds the key; by the address when not given."""
    concurrency: PositiveInt = 64
    timeout_seconds: float = Field(default=120.0, gt=0)
    tries: PositiveInt = 6
    max_usd: Usd | None = None
    max_requests: PositiveInt | None = None
    price: Mapping[str, PriceRow | Literal["list"]] = {}
    """Prices of models that neither the service nor the price list knows; `list` uses the latter
    at any address."""

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if "@" in url.split("/")[2] or "?" in url:
            raise ValueError("must hold no user name, password or query; keys go in .env")
        return url.rstrip("/")


class Panelist(Frozen):
    """One of several judges."""

    model: str
    base_url: str | None = None
    """`llm.base_url` when not given."""
    api_key_env: str | None = None
    """As `llm.api_key_env`; an address of its own gets no key of another."""

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, url: str | None) -> str | None:
        return url if url is None else Llm.model_validate({"base_url": url}).base_url


class Judge(Answers):
    """Who rates difficulty and style, and what the judge is shown."""

    judge: Literal["llm", "static"] = "llm"
    model: str = DEFAULT_MODEL
    instrument: str = "judge-original-1"
    show: Literal["code", "completion"] = "code"
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sent only when set: many models accept no other than their own."""
    max_tokens: PositiveInt = 1024
    reasoning_effort: str | None = None
    structured: bool = True
    """Ask for JSON by schema where the endpoint has it; tags otherwise."""
    rubric: Literal["original", "checklist"] = "original"
    """`original`: both scores in one answer; `checklist`: style as ten answers with evidence,
    difficulty apart, from the PyTorch module alone."""
    same_family: bool = False
    """Whether a model may judge what a model of its own family has written."""
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """Sent only when set. It changes the price and how long an answer takes, not the answer."""
    panel: tuple[Panelist, ...] = ()
    """Several judges in place of `model`: each rates every row, and the mean counts."""

    @field_validator("panel")
    @classmethod
    def _are_different(cls, panel: tuple[Panelist, ...]) -> tuple[Panelist, ...]:
        if len({judge.model for judge in panel}) < len(panel):
            raise ValueError("names a model twice; for several answers of one take judge.samples")
        return panel

    @model_validator(mode="after")
    def _quotes_come_from_code(self) -> Self:
        if self.rubric == "checklist" and self.show != "code":
            raise ValueError(
                "the checklist quotes from the code: leave out judge.show = 'completion', or take "
                "judge.rubric = 'original'"
            )
        return self


class Prompts(Frozen):
    """Task specifications generated from the PyTorch modules."""

    generator: Literal["llm", "template"] = "llm"
    source: str | None = None
    """Modules to write for; the run's own kept modules when not given."""
    split: str | None = None
    revision: str | None = None
    limit: PositiveInt | None = None
    model: str = DEFAULT_MODEL
    instrument: str = "generate-2"
    check_claims: Literal["auto", "off"] = "auto"
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: PositiveInt = 2048
    reasoning_effort: str | None = None


SameBy = Literal["module-name", "exact", "near"]


class Dedup(Frozen):
    """Which rows are repeats of each other, and which of them stays."""

    by: tuple[SameBy, ...] = Field(default=("module-name",), min_length=1)
    """What makes rows the same; any one of several is enough."""
    side: Literal["reference", "answer", "both"] = "answer"
    """What exact and near compare; `both`: rows are the same when both sides are."""
    score: str | None = None
    """Expressions with commas between them: the first decides, ties go to the next. When not
    given: `reward * difficulty * style` for module-name alone, else `verified, reward, style,
    -code_length`, without what has not been measured."""
    keep: PositiveInt | Literal["none"] = 1
    """Rows that stay of each cluster; `none` drops every row that has a repeat."""
    threshold: float = Field(default=0.8, ge=0.3, le=1)
    """Jaccard similarity of shingles from which programs are near."""
    constants: bool = True
    """Whether exact programs must have the same numbers."""
    common: float = Field(default=0.2, gt=0, le=1)
    """Shingles that more than this share of the modules have are boilerplate."""
    alarm: float = Field(default=0.1, gt=0, le=1)
    """Share of the rows in one cluster that is reported as suspicious."""

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_more(cls, by: object) -> object:
        return (by,) if isinstance(by, str) else by


FORMATS = ("trl", "trl-messages", "prime-rl", "axolotl", "llamafactory", "openrlhf", "nemo")
"""Trainers that rows can be exported for."""


class Export(Frozen):
    """Rows as trainers read them."""

    formats: tuple[str, ...] = ()
    """One folder each; without any, the tables of the run."""
    reasoning: Literal["keep", "inline", "strip"] = "keep"
    answer: Literal["completion", "code"] = "completion"
    prompt: Literal["source", "generated"] = "source"
    rows: Literal["unique", "filtered"] | None = None
    """Unique rows where dedup has run, when not given."""

    @field_validator("formats")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in FORMATS:
                guess = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.4)
                hint = f"did you mean {guess[0]}? " if guess else ""
                raise ValueError(f"{name!r} is no format; {hint}There are {', '.join(FORMATS)}")
        return tuple(dict.fromkeys(names))


class Publish(Frozen):
    """Where the data sets go on the Hugging Face Hub."""

    namespace: str | None = None
    """User or organisation; the token's own user when not given."""
    name: str | None = None
    """Base name of the repositories; the name of the source when not given."""
    license: str | None = None
    source_license: Mapping[str, Annotated[str, Field(min_length=1)]] = {}
    """Source, as the card names it -> its licence, as its owner states it."""
    private: bool = True


class Split(Frozen):
    """Who trains, who validates, who tests: by cluster of what is alike, never by row."""

    seed: int = 42
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the clusters (with `stratify`: of the rows), in expectation."""
    test: float = Field(default=0.0, ge=0, lt=1)
    stratify: Literal["difficulty", "none"] = "none"

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on; "
                "together they must be below 1"
            )
        return self


class Settings(Frozen):
    """Everything a run can be told."""

    load: Load = Load()
    filter: Filter = Filter()
    decontaminate: Decontaminate = Decontaminate()
    verify: Verify = Verify()
    llm: Llm = Llm()
    batch: Batch = Batch()
    judge: Judge = Judge()
    prompts: Prompts = Prompts()
    dedup: Dedup = Dedup()
    export: Export = Export()
    split: Split = Split()
    reliability: Reliability = Reliability()
    publish: Publish = Publish()
    workers: PositiveInt | None = None
    """Processes for CPU work; the number of cores when not given."""

    @classmethod
    def read(cls, path: Path | None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a TOML file (or nothing) and put `overrides` ("judge.model" -> value) on top.

        Raises:
            ConfigError: the file is missing or no TOML, a key is unknown (the nearest name is
                suggested) or a value is out of its range.
        """
        tree = _read_toml(path) if path else {}
        given = {dotted: value for dotted, value in (overrides or {}).items() if value is not None}
        for dotted, value in given.items():
            _put(tree, dotted, value)
        try:
            return cls.model_validate(tree)
        except ValidationError as e:
            dotted, problem = _first_problem(e)
            in_file = path and not any(f"{dotted}.".startswith(f"{name}.") for name in given)
            place = str(path) if in_file else "the command line"
            raise ConfigError(f"{place}: {problem}") from None

    def workers_or_cores(self) -> int:
        """Processes to use for CPU work."""
        if self.workers:
            return self.workers
        if hasattr(os, "sched_getaffinity"):  # not on macOS
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def find_config(path: Path | None, folder: Path) -> Path | None:
    """The file the user named, else kernelsift.toml in `folder` if there is one."""
    if path is not None:
        return path
    default = folder / CONFIG_FILE
    return default if default.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read the settings file {path}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not TOML: {e}") from e


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            return  # validation will say that this is no section
    tree[key] = value


def _first_problem(error: ValidationError) -> tuple[str, str]:
    """The setting that is wrong, and what is wrong with it."""
    problem = error.errors()[0]
    dotted = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        guess = difflib.get_close_matches(dotted, _names(Settings), n=1, cutoff=0.5)
        hint = f"; did you mean {guess[0]}?" if guess else f"; there are: {_siblings(dotted)}"
        return dotted, f"{dotted} is not a setting{hint}"
    value = f" = {problem['input']!r}"
    if dotted == "llm.base_url" and any(sign in value for sign in "@?"):
        value = ""  # it may hold a password
    return dotted, f"{dotted}{value}: {problem['msg'].removeprefix('Value error, ')}"


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _names(field.annotation, f"{prefix}{name}.")
    return names


def _siblings(dotted: str) -> str:
    section = dotted.rpartition(".")[0]
    depth = section.count(".") + 1 if section else 0
    names = [n for n in _names(Settings) if n.startswith(section) and n.count(".") == depth]
    return ", ".join(names) or "none here"
