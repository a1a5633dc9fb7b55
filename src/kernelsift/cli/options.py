"""Options that several commands share, and how they become settings."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kernelsift.config import Settings

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

DEFAULT_RUN = Path("outputs")
DEFAULT_PLOTS = Path("plots")
FOLDER = click.Path(path_type=Path, file_okay=False)
SANDBOX = click.Choice(["auto", "required", "off"])
TRUE = frozenset({"1", "true", "yes", "on"})


def all_of(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, shown in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def setting(flag: str, dotted: str, help_text: str, **more: Any) -> Decorator:
    """An option that overrides one setting, e.g. --min-reward for filter.min_reward."""
    return click.option(flag, dotted.replace(".", "__"), help=help_text, default=None, **more)


def common() -> Decorator:
    """--run, --config and --json."""
    return all_of(
        click.option(
            "--run", "run_path", type=FOLDER, default=DEFAULT_RUN, help="Run directory.",
            show_default=True,
        ),
        click.option(
            "--config", "config_path", type=click.Path(path_type=Path, dir_okay=False),
            help="Settings file (TOML); kernelsift.toml in this folder when there is one.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    )  # fmt: skip


def load_options() -> Decorator:
    """Where rollouts come from."""
    choice = click.Choice(["error", "quarantine"])
    return all_of(
        setting("--split", "load.split", "Split of a Hub dataset."),
        setting("--revision", "load.revision", "Revision of a Hub dataset, kept in the manifest."),
        setting("--on-bad-row", "load.on_bad_row", "Stop at a bad row, or set it aside.",
                type=choice),
        setting("--limit", "load.limit", "Stop after this many rows.", type=int),
        click.option("--replace", is_flag=True, help="Load over another source in the same run."),
    )  # fmt: skip


def llm_options() -> Decorator:
    """The endpoint and what may be spent there."""
    return all_of(
        setting("--base-url", "llm.base_url", "OpenAI-compatible endpoint, e.g. of vLLM."),
        setting("--api-key-env", "llm.api_key_env", "Variable that holds the key."),
        setting("--concurrency", "llm.concurrency", "Most requests in flight.", type=int),
        setting("--timeout", "llm.timeout_seconds", "Seconds for one request.", type=float),
        setting("--max-usd", "llm.max_usd", "Hard cap on what this run may cost, ever.",
                type=float),
        setting("--max-requests", "llm.max_requests", "Hard cap on requests of this run, ever.",
                type=int),
        click.option("--price", "price", metavar="IN,OUT",
                     help="USD per million input and output tokens, where nobody knows them."),
    )  # fmt: skip


def judge_options() -> Decorator:
    """Who rates, and what the judge sees."""
    return all_of(
        setting("--judge", "judge.judge", "A language model, or static features (free, offline).",
                type=click.Choice(["llm", "static"])),
        setting("--model", "judge.model", "Model that judges."),
        setting("--show", "judge.show", "What the judge is shown.",
                type=click.Choice(["code", "completion"])),
        setting("--temperature", "judge.temperature", "Sent only when given.", type=float),
        setting("--max-tokens", "judge.max_tokens", "Most output tokens per answer.", type=int),
        setting("--reasoning-effort", "judge.reasoning_effort", "Sent only when given."),
        setting("--rubric", "judge.rubric",
                "Both scores at once, or style as ten answers with evidence and difficulty apart.",
                type=click.Choice(["original", "checklist"])),
        setting("--samples", "judge.samples", "Answers per row, of which the mean counts.",
                type=int),
        setting("--near-style", "judge.near_style",
                "Ask more often about rows whose style lies within 1 of this threshold.",
                type=float),
        setting("--near-difficulty", "judge.near_difficulty", "The same for difficulty.",
                type=float),
        setting("--also-rejected", "judge.also_rejected",
                "Judge this many of the rows that the filter dropped, for comparison, or `all`.",
                metavar="N|all"),
        setting("--same-family", "judge.same_family",
                "Let a model judge what a model of its own family has written.",
                is_flag=True, flag_value=True),
        setting("--service-tier", "judge.service_tier", "Sent only when given; flex costs less.",
                type=click.Choice(["auto", "default", "flex", "priority"])),
    )  # fmt: skip


def batch_options() -> Decorator:
    """Whether the judge's requests go into batches of the service's batch API."""
    return setting("--batch", "batch.judge",
                   "Hand first requests over in batches: half the price, within 24 hours.",
                   is_flag=True, flag_value=True)  # fmt: skip


def prompts_options() -> Decorator:
    """Who writes task prompts. The model is --model."""
    return all_of(
        setting("--generator", "prompts.generator", "A language model, or an offline template.",
                type=click.Choice(["llm", "template"])),
        setting("--max-tokens", "prompts.max_tokens", "Most output tokens per answer.", type=int),
        setting("--limit", "prompts.limit", "Only this many modules.", type=int),
        setting("--split", "prompts.split", "Split of a Hub dataset."),
        setting("--revision", "prompts.revision", "Revision of a Hub dataset."),
    )  # fmt: skip


def retry_option() -> Decorator:
    """--retry-failed, with or without a failure class."""
    return click.option(
        "--retry-failed", "retry", is_flag=False, flag_value="all", multiple=True,
        metavar="[CLASS]",
        help="Ask again for rows that failed; only of this class when one is given.",
    )  # fmt: skip


def verify_options() -> Decorator:
    """How kernels are run, and what becomes of those that cannot be."""
    return all_of(
        setting("--device", "verify.device", "Where kernels run.",
                type=click.Choice(["auto", "cpu", "cuda"])),
        setting("--targets", "verify.targets",
                "GPUs that launches are compiled for, like sm_80,sm_90; none compiles nothing.",
                metavar="NAME,…"),
        setting("--sandbox", "verify.sandbox",
                "What kernels are kept in; `required` refuses to run with less than a full one.",
                type=SANDBOX),
        setting("--unverifiable", "verify.unverifiable",
                "What becomes of rows that could not be checked.",
                type=click.Choice(["fail", "keep", "drop"])),
    )  # fmt: skip


def publish_options() -> Decorator:
    """Where data sets go."""
    return all_of(
        setting("--namespace", "publish.namespace", "User or organisation on the Hub."),
        setting("--name", "publish.name", "Base name of the repositories."),
        setting("--license", "publish.license", "Licence of the data; never guessed."),
        click.option("--source-license", "source_license", multiple=True, metavar="NAME=LICENCE",
                     help="Licence of a source, as its owner states it; may be repeated."),
        click.option("--public", is_flag=True, help="Make the repositories public."),
    )  # fmt: skip


def dedup_options() -> Decorator:
    """What makes rows the same, and how many of them stay."""
    return all_of(
        setting("--by", "dedup.by", "What makes rows the same; may be given several times.",
                type=click.Choice(["module-name", "exact", "near"]), multiple=True),
        setting("--side", "dedup.side", "What exact and near compare.",
                type=click.Choice(["reference", "answer", "both"])),
        setting("--keep", "dedup.keep", "Rows that stay of each cluster; `none` drops them all.",
                metavar="N|none"),
        setting("--threshold", "dedup.threshold", "Similarity from which programs are near, 0-1.",
                type=float),
    )  # fmt: skip


def split_options() -> Decorator:
    """Who trains, validates and tests."""
    return all_of(
        setting("--seed", "split.seed", "Of the split: another one, other clusters.", type=int),
        setting("--validation", "split.validation", "Share that goes to validation.", type=float),
        setting("--test-share", "split.test", "Share that goes to a test split.", type=float),
        setting("--stratify", "split.stratify", "Give each split its share of every difficulty.",
                type=click.Choice(["difficulty", "none"])),
    )  # fmt: skip


def settings_from(config_path: Path | None, values: Mapping[str, Any]) -> "Settings":
    """Settings from the file and the options given (those named section__field)."""
    from kernelsift.config import TEST_ROWS, Settings, find_config

    overrides = {k.replace("__", "."): v for k, v in values.items() if "__" in k}
    if values.get("workers") is not None:
        overrides["workers"] = values["workers"]
    if values.get("public"):
        overrides["publish.private"] = False
    if is_test_mode():
        overrides.setdefault("load.enough", TEST_ROWS)
        overrides["prompts.limit"] = overrides.get("prompts.limit") or TEST_ROWS
    path = find_config(config_path, Path.cwd())
    settings = Settings.read(path, overrides)
    if values.get("source_license"):
        mine = _pairs("--source-license", values["source_license"])
        overrides["publish.source_license"] = {**settings.publish.source_license, **mine}
    if values.get("price") is not None:
        models = (settings.judge.model, settings.prompts.model)
        prices = dict.fromkeys(models, _price(values["price"]))
        overrides["llm.price"] = {**settings.llm.model_dump()["price"], **prices}
    return Settings.read(path, overrides)


def is_test_mode() -> bool:
    """Whether TEST_MODE, in the environment or in .env, asks for a handful of rows."""
    from kernelsift.credentials import read_secrets

    return (read_secrets(Path.cwd()).find("TEST_MODE") or "").strip().lower() in TRUE


def retry_classes(retry: tuple[str, ...]) -> list[str] | None:
    """Failure classes to measure again: [] for all, None for none.

    Raises:
        ConfigError: there is no such class.
    """
    if not retry:
        return None
    if "all" in retry:
        return []
    from typing import get_args

    from kernelsift.errors import ConfigError
    from kernelsift.model import FailureClass

    known = get_args(FailureClass)
    wrong = next((name for name in retry if name not in known), None)
    if wrong:
        raise ConfigError(f"{wrong!r} is no failure class; there are {', '.join(known)}")
    return list(retry)


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE options as a dict; a name may hold `=`, a value may not."""
    from kernelsift.errors import ConfigError

    out = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.rpartition("="))
        if not (name and sign and value):
            raise ConfigError(f"{flag} {text!r} is not NAME=LICENCE, e.g. rows.jsonl=mit")
        out[name] = value
    return out


def _price(text: str) -> dict[str, float]:
    from kernelsift.errors import ConfigError

    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 2:
        raise ConfigError(f"--price {text!r} is not INPUT,OUTPUT in USD per million tokens")
    return {"input": numbers[0], "output": numbers[1]}
