"""estimate: what a stage would take, before anything is spent."""

from pathlib import Path
from typing import Any

import pytest
from build import VERDICT, no_code, rollout, write_jsonl
from fake_openai import KEY, FakeOpenAI, ok, openrouter_model, prime_model
from test_cli import call, curated

MODEL = "acme/judge-1"
PRICES = [prime_model(MODEL, 2.0, 10.0)]


def ready(folder: Path, rows: list[dict]) -> Path:
    """A run whose rows have passed the filter."""
    write_jsonl(folder / "rows.jsonl", rows)
    for args in (("load", "rows.jsonl"), ("filter",)):
        assert call(folder, *args).code == 0
    return folder / "outputs"


def ask(folder: Path, server: FakeOpenAI, *args: object) -> Any:
    """What `kernelsift estimate` says."""
    where = ("--base-url", server.base_url, "--model", MODEL)
    done = call(folder, "estimate", *args, *where, "--json", OPENAI_API_KEY=KEY)
    assert (done.code, done.err) == (0, "")
    return done.json


def judge(folder: Path, server: FakeOpenAI, *args: object) -> None:
    where = ("--base-url", server.base_url, "--model", MODEL)
    call(folder, "judge", "--judge", "llm", *where, *args, OPENAI_API_KEY=KEY)


def test_requests_tokens_and_dollars_are_told_with_the_endpoint_s_price(tmp_path: Path) -> None:
    ready(tmp_path, [rollout(f"M{m}", tag=m) for m in range(6)] + [rollout(reward=0.1)])
    with FakeOpenAI(models=PRICES) as server:
        found = ask(tmp_path, server)
        assert (server.count, server.model_lists) == (0, 1), "only GET /models is sent"
    assert (found["rows"], found["cached"], found["requests"]) == (6, 0, 6)
    assert found["model"] == MODEL
    assert found["price_source"] == "models"
    assert found["output_tokens"] == 6 * 120
    assert found["most_output_tokens"] == 6 * 1024
    assert found["pilot"] == 0
    expected = (found["input_tokens"] * 2 + found["output_tokens"] * 10) / 1e6
    assert found["usd"] == pytest.approx(expected)
    assert found["most_usd"] == pytest.approx((found["input_tokens"] * 2 + 6 * 1024 * 10) / 1e6)


def test_prices_per_token_are_read_as_well(tmp_path: Path) -> None:
    ready(tmp_path, [rollout()])
    with FakeOpenAI(models=[openrouter_model(MODEL, "0.000002", "0.00001")]) as server:
        found = ask(tmp_path, server)
    assert found["usd"] == pytest.approx(
        (found["input_tokens"] * 2 + found["output_tokens"] * 10) / 1e6
    )


def test_rows_without_code_and_equal_answers_cost_nothing(tmp_path: Path) -> None:
    same = [rollout("M", tag=0, example_id=n) for n in range(3)]
    ready(tmp_path, [*same, rollout("M", tag=1), no_code("N")])
    with FakeOpenAI(models=PRICES) as server:
        found = ask(tmp_path, server)
    assert (found["rows"], found["requests"], found["cached"]) == (5, 2, 0)


def test_what_is_known_is_subtracted_and_token_counts_are_learnt_from_it(tmp_path: Path) -> None:
    ready(tmp_path, [rollout(f"M{m}", tag=m) for m in range(8)])
    answer = ok(VERDICT, input_tokens=4000, output_tokens=55)
    with FakeOpenAI(answer, models=PRICES) as server:
        judge(tmp_path, server, "--max-requests", 4)
        assert server.count == 4
        found = ask(tmp_path, server)
        assert server.count == 4
    assert (found["rows"], found["cached"], found["requests"]) == (8, 4, 4)
    assert found["pilot"] == 4
    assert found["output_tokens"] == 4 * 55
    assert found["input_tokens"] == pytest.approx(4 * 4000, rel=0.05)


def test_when_all_is_known_nothing_is_left_to_pay(tmp_path: Path) -> None:
    ready(tmp_path, [rollout(f"M{m}", tag=m) for m in range(3)])
    with FakeOpenAI(VERDICT) as server:
        judge(tmp_path, server)
        found = ask(tmp_path, server)
    assert (found["requests"], found["cached"], found["usd"]) == (0, 3, 0.0)


def test_another_model_or_address_is_not_known(tmp_path: Path) -> None:
    ready(tmp_path, [rollout()])
    with FakeOpenAI(VERDICT) as server:
        judge(tmp_path, server)
        assert ask(tmp_path, server, "--show", "completion")["requests"] == 1
        other = call(tmp_path, "estimate", "--base-url", server.base_url, "--model", "x", "--json")
        assert other.json["requests"] == 1


def test_an_unknown_price_is_no_guess_and_says_how_to_give_one(tmp_path: Path) -> None:
    ready(tmp_path, [rollout()])
    with FakeOpenAI() as server:
        found = ask(tmp_path, server)
        assert found["usd"] is None
        assert found["most_usd"] is None
        args = ("estimate", "--base-url", server.base_url, "--model", MODEL)
        text = call(tmp_path, *args).out
        assert "the price is not known; give it with --price IN,OUT" in text
        given = call(tmp_path, *args, "--price", "1,2")
        assert "(price from override)" in given.out
        assert server.count == 0


def test_an_endpoint_that_is_away_does_not_hinder_an_estimate(tmp_path: Path) -> None:
    ready(tmp_path, [rollout()])
    args = ("estimate", "--base-url", "http://127.0.0.1:9/v1", "--model", MODEL, "--json")
    done = call(tmp_path, *args)
    assert (done.code, done.json["requests"], done.json["usd"]) == (0, 1, None)


def test_people_read_the_assumptions_and_what_comes_on_top(tmp_path: Path) -> None:
    ready(tmp_path, [rollout(f"M{m}", tag=m) for m in range(6)])
    with FakeOpenAI(models=PRICES) as server:
        args = ("estimate", "judge", "--base-url", server.base_url, "--model", MODEL)
        text = call(tmp_path, *args).out
    assert text.startswith(f"judge with {MODEL}: 6 rows, 0 known already\n  requests       6\n")
    assert "no replies stored yet: 3.4 bytes per token" in text
    assert "(price from models)" in text
    assert "retries of unusable answers come on top" in text


def test_the_static_judge_and_the_template_cost_nothing(tmp_path: Path) -> None:
    curated(tmp_path)
    found = call(tmp_path, "estimate", "judge", "--judge", "static", "--run", "run", "--json").json
    assert (found["model"], found["requests"], found["usd"]) == ("static", 0, 0.0)
    (tmp_path / "kernelsift.toml").write_text("[prompts]\ngenerator = 'template'\n", "utf-8")
    found = call(tmp_path, "estimate", "prompts", "--run", "run", "--json").json
    assert (found["model"], found["requests"], found["usd"]) == ("template", 0, 0.0)


def test_prompts_of_the_run_and_of_a_source_are_estimated(tmp_path: Path) -> None:
    run = ready(tmp_path, [rollout(f"M{m % 3}", tag=m) for m in range(6)])
    mods = [{"module_name": f"X{m}", "python_code": f"class X{m}: pass"} for m in range(4)]
    write_jsonl(tmp_path / "mods.jsonl", mods)
    with FakeOpenAI(models=PRICES) as server:
        assert ask(tmp_path, server, "prompts")["requests"] == 3
        found = ask(tmp_path, server, "prompts", "--source", "mods.jsonl", "--max-tokens", 10)
        elsewhere = ask(tmp_path, server, "prompts", "--source", "mods.jsonl", "--run", "new")
        assert server.count == 0
    assert (found["requests"], found["most_output_tokens"]) == (4, 40)
    assert elsewhere["requests"] == 4
    assert not (run / "prompts.parquet").exists()


def test_an_estimate_changes_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    from kernelsift.run import Run

    run = ready(tmp_path, [rollout()])
    before = call(tmp_path, "status", "--json").json
    content = (run / "manifest.json").read_bytes()
    with Run.open(run), FakeOpenAI(models=PRICES) as server:
        assert ask(tmp_path, server)["requests"] == 1
    assert call(tmp_path, "status", "--json").json == before
    assert (run / "manifest.json").read_bytes() == content
