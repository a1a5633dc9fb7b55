"""Settings and credentials: where they come from, what wins, and which key goes where."""

import os
from pathlib import Path
from typing import Any

import pytest
from build import VERDICT
from fake_openai import KEY, FakeOpenAI, ok
from test_cli import call, curated

from kernelsift.config import CONFIG_FILE, DEFAULT_BASE_URL, Llm, PriceRow, Settings, find_config
from kernelsift.credentials import Secrets, read_secrets
from kernelsift.endpoint import make_endpoint
from kernelsift.errors import ConfigError
from kernelsift.llm.prices import Price

EVERYTHING: dict[str, dict[str, Any]] = {
    "load": {
        "source": "a/b", "split": "dev", "revision": "r1", "on_bad_row": "quarantine",
        "limit": 5, "enough": 3,
    },
    "filter": {"min_reward": 0.5},
    "decontaminate": {
        "index": ("own.idx",), "shipped": False, "match": ("ast", "name"), "drop_on": "name",
        "ngram_share": 0.7,
    },
    "verify": {
        "device": "cpu", "budget_seconds": 1.5, "limit_seconds": 20.0, "targets": "sm_90",
        "sandbox": "required", "unverifiable": "keep", "drop_severities": ("hard",),
        "drop_ids": ("K77",), "allow_ids": ("K25", "K28"), "keep_work": ("full_triton",),
        "reduced_precision": "wrong", "figleaf_share": 0.5, "partial_share": 0.1,
        "oldest_triton": "3.9",
    },
    "llm": {
        "base_url": "http://localhost:8000/v1", "api_key_env": "K", "concurrency": 3,
        "timeout_seconds": 9.5, "tries": 2, "max_usd": 1.5, "max_requests": 7,
    },
    "batch": {
        "judge": True, "wait": False, "poll_seconds": 5.0, "price_factor": 0.4,
        "max_requests": 9, "max_megabytes": 1.5,
    },
    "judge": {
        "judge": "static", "model": "m", "instrument": "judge-original-1", "show": "completion",
        "temperature": 0.5, "max_tokens": 99, "reasoning_effort": "low", "structured": False,
        "near_style": 6.0, "near_difficulty": 4.0, "near_width": 2.0, "near_samples": 5,
        "near_share": 0.1, "also_rejected": 300, "rejected_seed": 1,
        "rubric": "original", "samples": 3, "same_family": True, "service_tier": "flex",
        "panel": (),
    },
    "prompts": {
        "generator": "template", "source": "c/d", "split": "train", "revision": "r2", "limit": 4,
        "model": "w", "instrument": "generate-1", "temperature": 1.0, "max_tokens": 77,
        "reasoning_effort": "high", "check_claims": "off",
    },
    "dedup": {
        "by": ("exact", "near"), "side": "both", "score": "reward", "keep": 2, "threshold": 0.9,
        "constants": False, "common": 0.1, "alarm": 0.5,
    },
    "export": {
        "formats": ("trl", "axolotl"), "reasoning": "inline", "answer": "code",
        "prompt": "generated", "rows": "filtered",
    },
    "reliability": {
        "resamples": 300, "seed": 3, "label_low": 1.0, "label_high": 5.0, "drop": 2.0,
        "tolerance": 0.25, "rows": 9,
    },
    "split": {"seed": 7, "validation": 0.2, "test": 0.1, "stratify": "difficulty"},
    "publish": {
        "namespace": "me", "name": "base", "license": "mit", "private": False,
    },
}  # fmt: skip


def toml(tree: dict[str, dict[str, Any]]) -> str:
    def value(found: object) -> str:
        found = list(found) if isinstance(found, tuple) else found
        return str(found).lower() if isinstance(found, bool) else repr(found)

    sections = (
        f"[{name}]\n" + "".join(f"{key} = {value(found)}\n" for key, found in section.items())
        for name, section in tree.items()
    )
    return "workers = 2\n" + "\n".join(sections)


def write(folder: Path, text: str) -> Path:
    path = folder / CONFIG_FILE
    path.write_text(text, encoding="utf-8")
    return path


# --- files and options --------------------------------------------------------------------------


def test_every_setting_can_stand_in_the_file(tmp_path: Path) -> None:
    settings = Settings.read(write(tmp_path, toml(EVERYTHING)))
    found = settings.model_dump()
    assert found.pop("workers") == 2
    assert found["llm"].pop("price") == {}
    assert found["publish"].pop("source_license") == {}
    assert found == EVERYTHING


def test_the_table_above_names_every_setting_there_is() -> None:
    found = Settings().model_dump()
    assert {
        k: set(v) - {"price", "source_license"} for k, v in found.items() if k != "workers"
    } == {name: set(section) for name, section in EVERYTHING.items()}


def test_a_format_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'axolot' is no format; did you mean axolotl\?"):
        Settings.read(None, {"export.formats": ["trl", "axolot"]})


def test_the_defaults_are_those_of_the_project() -> None:
    settings = Settings()
    assert settings.load.source == "siro1/kernelbook-glm4-evals"
    assert settings.llm.base_url == "https://api.pinference.ai/api/v1"
    assert settings.judge.model == settings.prompts.model == "openai/gpt-5.2"
    assert settings.filter.min_reward == 0.85
    assert (settings.dedup.by, settings.dedup.keep) == (("module-name",), 1)
    assert (settings.split.seed, settings.split.validation, settings.split.test) == (42, 0.1, 0)
    assert settings.publish.private
    assert settings.publish.license is None


def test_an_option_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[judge]\nmodel = 'file'\nmax_tokens = 5\n")
    settings = Settings.read(path, {"judge.model": "option", "judge.show": None})
    assert (settings.judge.model, settings.judge.max_tokens) == ("option", 5)
    assert settings.judge.show == "code"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().filter.min_reward = 0.1  # type: ignore[misc]


def test_the_file_of_this_folder_is_found_and_a_named_one_preferred(tmp_path: Path) -> None:
    assert find_config(None, tmp_path) is None
    path = write(tmp_path, "")
    assert find_config(None, tmp_path) == path
    assert find_config(Path("other.toml"), tmp_path) == Path("other.toml")


def test_a_command_reads_the_file_of_its_folder(tmp_path: Path) -> None:
    run = curated(tmp_path)
    write(tmp_path, "[filter]\nmin_reward = 0.95\n")
    done = call(tmp_path, "filter", "--run", run, "--json")
    assert done.json["tallies"][0]["counts"] == {"kept": 10, "dropped": 14}
    done = call(tmp_path, "filter", "--min-reward", 0.05, "--run", run, "--json")
    assert done.json["tallies"][0]["counts"] == {"kept": 24, "dropped": 0}


@pytest.mark.parametrize("workers", [None, 3])
def test_workers_are_the_cores_unless_given(
    monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert Settings(workers=workers).workers_or_cores() == (workers or 5)


# --- prices -------------------------------------------------------------------------------------


def test_prices_stand_in_a_table_by_model(tmp_path: Path) -> None:
    text = (
        '[llm.price."openai/gpt-5.2"]\ninput = 1.5\noutput = 10\ncached = 0.2\n'
        '[llm.price]\n"my/model" = "list"\n'
    )
    found = Settings.read(write(tmp_path, text)).llm
    assert found.price["openai/gpt-5.2"] == PriceRow(input=1.5, output=10, cached=0.2)
    assert make_endpoint(found, "openai/gpt-5.2", Secrets({"PRIME_API_KEY": KEY})).price == Price(
        1.5, 10, 0.2
    )
    assert make_endpoint(found, "my/model", Secrets({"PRIME_API_KEY": KEY})).price == "list"


def test_a_price_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llm\.price"):
        Settings.read(write(tmp_path, "[llm.price.m]\ninput = -1\noutput = 1\n"))


@pytest.mark.parametrize("place", ["option", "file"])
def test_the_price_option_holds_for_the_model_that_is_used(tmp_path: Path, place: str) -> None:
    run = curated(tmp_path)
    text = "[llm.price.other]\ninput = 1\noutput = 1\n"
    if place == "file":
        text += "[judge]\nmodel = 'my/model'\n"
    write(tmp_path, text)
    more = ("--model", "my/model") if place == "option" else ()
    answer = ok(VERDICT, input_tokens=1_000_000, output_tokens=500_000)
    with FakeOpenAI(answer) as server:
        args = ("judge", "--judge", "llm", "--run", run, "--base-url", server.base_url, *more)
        done = call(tmp_path, *args, "--price", "0.25,0.5", "--json", OPENAI_API_KEY=KEY)
        assert (done.code, done.err) == (0, "")
        assert done.json["usd"] == pytest.approx(0.5 * server.count)


# --- credentials --------------------------------------------------------------------------------


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=file\nPRIME_API_KEY=file\n", encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", "environment")
    monkeypatch.setenv("PRIME_API_KEY", "")
    secrets = read_secrets(tmp_path)
    assert secrets.find("HF_TOKEN") == "environment"
    assert secrets.find("PRIME_API_KEY") == "file", "an empty variable is not set"
    assert secrets.find("NO_SUCH") is None


def test_dotenv_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KERNELSIFT_TEST_SECRET=1\n", encoding="utf-8")
    assert read_secrets(tmp_path).find("KERNELSIFT_TEST_SECRET") == "1"
    assert "KERNELSIFT_TEST_SECRET" not in os.environ
    call(tmp_path, "doctor")
    assert "KERNELSIFT_TEST_SECRET" not in os.environ


def test_secrets_do_not_show_in_their_repr() -> None:
    assert KEY not in repr(Secrets({"PRIME_API_KEY": KEY}))
    endpoint = make_endpoint(Llm(), "m", Secrets({"PRIME_API_KEY": KEY, "PRIME_TEAM_ID": "t"}))
    assert KEY not in repr(endpoint)
    assert KEY not in str(endpoint)


def test_a_dotenv_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    done = call(tmp_path, "filter", "--json")
    assert done.code == 2
    assert ".env is not UTF-8" in done.json["error"]["message"]


# --- which key goes where -----------------------------------------------------------------------

ALL = Secrets({
    "PRIME_API_KEY": "prime", "PRIME_TEAM_ID": "team", "OPENAI_API_KEY": "openai",
    "OPENROUTER_API_KEY": "router", "MINE": "mine",
})  # fmt: skip


@pytest.mark.parametrize(
    ("url", "variable", "team"),
    [
        (DEFAULT_BASE_URL, "PRIME_API_KEY", "team"),
        ("https://api.openai.com/v1", "OPENAI_API_KEY", None),
        ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", None),
        ("https://vllm.example.org/v1", "OPENAI_API_KEY", None),
        ("https://api.pinference.ai.example.org/v1", "OPENAI_API_KEY", None),
        ("https://example.org/api.pinference.ai/v1", "OPENAI_API_KEY", None),
        ("http://10.0.0.7:8000/v1", "OPENAI_API_KEY", None),
        ("http://127.0.0.1:8000/v1", "PRIME_API_KEY", "team"),
        ("http://localhost:8000/v1", "PRIME_API_KEY", "team"),
        ("http://[::1]:8000/v1", "PRIME_API_KEY", "team"),
    ],
)
def test_a_key_goes_only_to_its_own_host(url: str, variable: str, team: str | None) -> None:
    endpoint = make_endpoint(Llm(base_url=url), "m", ALL)
    assert endpoint.key_variable == variable
    assert endpoint.key.reveal() == ALL.find(variable)
    assert (endpoint.team or None) == team


def test_the_user_may_choose_another_variable() -> None:
    cfg = Llm(base_url="https://vllm.example.org/v1", api_key_env="MINE")
    endpoint = make_endpoint(cfg, "m", ALL)
    assert endpoint.key.reveal() == "mine"
    assert not endpoint.team


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        (DEFAULT_BASE_URL, "PRIME_API_KEY"),
        ("https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    ],
)
def test_hosted_services_need_a_key(url: str, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"set {variable} in the environment or in .env"):
        make_endpoint(Llm(base_url=url), "m", Secrets({}))
    assert not make_endpoint(Llm(base_url=url), "m", Secrets({}), need_key=False).key


def test_an_endpoint_of_ones_own_needs_no_key() -> None:
    assert not make_endpoint(Llm(base_url="http://localhost:8000/v1"), "m", Secrets({})).key


def test_the_team_is_sent_with_prime_s_key(tmp_path: Path) -> None:
    run = curated(tmp_path)
    (tmp_path / ".env").write_text(f"PRIME_API_KEY={KEY}\nPRIME_TEAM_ID=team-7\n", "utf-8")
    with FakeOpenAI(VERDICT) as server:
        args = ("judge", "--judge", "llm", "--run", run, "--base-url", server.base_url)
        assert call(tmp_path, *args).code == 0
        assert {(r.team, r.authorized) for r in server.requests} == {("team-7", True)}
    for path in run.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_the_team_is_not_sent_with_another_key(tmp_path: Path) -> None:
    run = curated(tmp_path)
    with FakeOpenAI(VERDICT) as server:
        where = ("--base-url", server.base_url, "--api-key-env", "MINE")
        args = ("judge", "--judge", "llm", "--run", run, *where)
        assert call(tmp_path, *args, MINE=KEY, PRIME_API_KEY="p", PRIME_TEAM_ID="t").code == 0
        assert {(r.team, r.authorized) for r in server.requests} == {(None, True)}
