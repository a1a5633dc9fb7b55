"""judge: several answers, several judges, and none of the generator's own family."""

import json
import os
import signal

import pytest
from build import VERDICT, Counted, opened, rollout, write_jsonl
from fake_openai import FakeOpenAI, error, ok
from test_judge_checklist import checks, level
from test_story import GOOD, ROWS, WORKERS, Shell, sent

from kernelsift import pipeline
from kernelsift.config import Judge, Settings
from kernelsift.errors import ConfigError
from kernelsift.families import family_of
from kernelsift.instrument import Instrument, ask_for
from kernelsift.llm.chat import ask_digest, encode, request_digest, wire_body
from kernelsift.llm.prompts import load
from kernelsift.model import Entry, Judgement, Sample, SampleId
from kernelsift.records import fact_row, read_fact


def verdict(difficulty, style):
    return f"<difficulty>{difficulty}</difficulty><style>{style}</style>"


def run(tmp_path, rows, chat=None, retry=None, **dotted):
    """Load, filter and judge rows; returns each row's fact and the tally."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    with opened(tmp_path / "run", source, chat=chat, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.judge(session, retry=retry)
        facts = session.run.latest("judge")
        return [facts[e.id] for e in session.run.kept_before("judge")], tally


def there(server, **more):
    return {"llm__base_url": server.base_url, "judge__model": "m", **more}


# --- what was stored before ---------------------------------------------------------------------


def test_keys_and_requests_of_the_original_rubric_are_what_they_were_before_it_had_a_name():
    judging = Instrument(Judge(model="m"), load("judge-original-1"), "http://h/v1")
    entry = Entry(SampleId("s"), 0, "o", "M", 1.0, "ref", "c" * 32)
    asked = ask_for(Sample(entry, "ref", "code"), judging)
    assert judging.key(entry) == "7ac0bb62d7f2b4e01b78c2a8adfd9946"
    assert ask_digest("http://h/v1", wire_body(asked, "m"), 0) == (
        "6b343a955290f9ea52465c5d1dc04083ef8e3744373d210008066dbbe4f60a12"
    )


def test_a_judgement_stored_by_an_earlier_version_is_read(tmp_path):
    body = json.dumps({
        "kind": "judgement", "difficulty": 3, "style": 4, "raw": "x", "judge": "m",
        "returned_model": "m", "prompt_version": "v", "params": {},
    })  # fmt: skip
    found = read_fact("judge", "k", SampleId("s"), body, 0.0, 0.0, "1").body
    assert isinstance(found, Judgement)
    assert (found.opinions, found.style_spread) == ((), None)


# --- several answers ----------------------------------------------------------------------------


def test_several_answers_are_kept_and_their_mean_counts(tmp_path):
    chat = Counted([verdict(3, 4), verdict(5, 4), verdict(7, 7)])
    (fact,), tally = run(tmp_path, [rollout()], chat, judge__samples=3)
    body = fact.body
    assert (body.difficulty, body.style) == (5, 5)
    assert body.difficulty_spread == pytest.approx(2)
    assert body.style_spread == pytest.approx(3**0.5)
    assert [(o.sample, o.difficulty, o.style) for o in body.opinions] == [
        (0, 3, 4), (1, 5, 4), (2, 7, 7),
    ]  # fmt: skip
    assert (fact.usd, tally.usd) == (0.75, 0.75)


def test_each_answer_is_a_request_of_its_own_with_the_same_text(tmp_path):
    chat = Counted()
    run(tmp_path, [rollout()], chat, judge__samples=4)
    bodies = [wire_body(ask, "m") for ask in chat.asks]
    assert bodies.count(bodies[0]) == 4
    digests = {ask_digest("u", body, a.sample) for a, body in zip(chat.asks, bodies, strict=True)}
    assert len(digests) == 4


def test_raising_the_number_of_answers_asks_for_the_missing_ones_only(tmp_path):
    rows = [rollout(tag=n) for n in range(5)]
    numbers = iter(range(1000))
    with FakeOpenAI(lambda _: ok(verdict(next(numbers) % 11, 4), cost=0.5)) as server:
        before, _ = run(tmp_path, rows, **there(server))
        assert server.count == 5
        after, _ = run(tmp_path, rows, **there(server, judge__samples=3))
        assert server.count == 15
        run(tmp_path, rows, **there(server, judge__samples=2))
        assert server.count == 15, "fewer of them are there already"
    for old, new in zip(before, after, strict=True):
        assert new.body.opinions[0].difficulty == old.body.difficulty
        assert len(new.body.opinions) == 3


def test_raising_the_number_for_the_checklist_asks_for_the_missing_ones_only(tmp_path):
    def answer(body):
        is_module = "MODULE-START" in body["messages"][1]["content"]
        return ok(level() if is_module else checks(), cost=0.5)

    rows = [rollout(tag=n) for n in range(5)]
    with FakeOpenAI(answer) as server:
        run(tmp_path, rows, **there(server, judge__rubric="checklist"))
        assert server.count == 5 + 1
        chosen = there(server, judge__rubric="checklist", judge__samples=3)
        (fact, *_), _ = run(tmp_path, rows, **chosen)
        assert server.count == 3 * (5 + 1)
    assert [(o.style, o.difficulty) for o in fact.body.opinions] == 3 * [(10, None)] + 3 * [
        (None, 5)
    ]


def test_a_retry_keeps_the_answers_that_are_there(tmp_path):
    answers = [verdict(3, 4), "?", "?", verdict(5, 6), verdict(7, 8)]
    with FakeOpenAI([ok(text, cost=0.5) for text in answers]) as server:
        chosen = there(server, judge__samples=3)
        (fact,), _ = run(tmp_path, [rollout()], **chosen)
        assert (fact.body.failure, server.count) == ("no-verdict", 3)
        (fact,), _ = run(tmp_path, [rollout()], retry=[], **chosen)
        assert server.count == 5
    assert [o.difficulty for o in fact.body.opinions] == [3, 5, 7]


def test_a_run_that_was_killed_pays_again_for_no_more_than_was_in_flight(tmp_path):
    def answer(body):
        return ok(level() if "MODULE-START" in body["messages"][1]["content"] else checks())

    with FakeOpenAI(answer, delay=0.03) as server:
        shell = Shell(tmp_path / "shell", server)
        shell.prepare()
        words = ("judge", "--rubric", "checklist", "--samples", "2", "--service-tier", "flex")
        process = shell.start(*words)
        shell.wait_for(60, process)
        os.killpg(process.pid, signal.SIGKILL)
        assert shell.end(process) == -signal.SIGKILL
        assert shell.command(*words) == 0, shell.said
        modules = {row["info"]["python_code"] for row in ROWS if row["reward"] > 0.85}
        asked = sent(server)
        assert len(asked) == GOOD + len(modules)
        assert min(asked.values()) == 2, "each of them is asked twice, as told"
        assert sum(asked.values()) - 2 * len(asked) <= WORKERS
        assert shell.status().states["pending"] == 0
        count = server.count
        assert shell.command(*words, "--same-family") == 0, shell.said
        assert server.count == count


# --- several judges -----------------------------------------------------------------------------


def panel(*models):
    return [{"model": model} for model in models]


def by_model(body):
    scores = {"a": (2, 4), "b": (4, 8), "c": (9, 9)}
    return ok(verdict(*scores[body["model"]]), cost=0.5)


def test_several_judges_are_all_asked_and_their_mean_counts(tmp_path):
    with FakeOpenAI(by_model) as server:
        chosen = there(server, judge__panel=panel("a", "b"))
        (fact, _), tally = run(tmp_path, [rollout(tag=n) for n in range(2)], **chosen)
        assert server.count == 4
    body = fact.body
    assert (body.difficulty, body.style, body.judge) == (3, 6, "a, b")
    assert [(o.judge, o.difficulty, o.style) for o in body.opinions] == [("a", 2, 4), ("b", 4, 8)]
    assert (fact.usd, tally.usd, tally.counts["judges"]) == (1, 2, 2)


def test_one_more_judge_costs_its_own_answers_only(tmp_path):
    rows = [rollout(tag=n) for n in range(3)]
    with FakeOpenAI(by_model) as server:
        run(tmp_path, rows, **there(server, judge__model="a"))
        run(tmp_path, rows, **there(server, judge__panel=panel("a", "b")))
        assert server.count == 6
        (fact, *_), _ = run(tmp_path, rows, **there(server, judge__panel=panel("a", "b", "c")))
        assert server.count == 9
    assert fact.body.difficulty == 5


def test_a_row_that_one_judge_failed_on_has_no_mean(tmp_path):
    ill = ["b"]

    def answer(body):
        return error(400, "too long") if body["model"] in ill else by_model(body)

    with FakeOpenAI(answer) as server:
        chosen = there(server, judge__panel=panel("a", "b"))
        (fact,), _ = run(tmp_path, [rollout()], **chosen)
        assert (fact.body.failure, server.count) == ("bad-request", 2)
        ill.clear()
        (fact,), _ = run(tmp_path, [rollout()], retry=[], **chosen)
        assert server.count == 3
    assert (fact.body.difficulty, fact.body.style) == (3, 6)


def test_a_panel_stands_in_the_settings_file_as_tables(tmp_path):
    path = tmp_path / "k.toml"
    path.write_text(
        '[[judge.panel]]\nmodel = "a"\n[[judge.panel]]\nmodel = "b"\nbase_url = "http://h/v1/"\n'
        'api_key_env = "B_KEY"\n'
    )
    first, second = Settings.read(path).judge.panel
    assert (first.model, first.base_url) == ("a", None)
    assert (second.base_url, second.api_key_env) == ("http://h/v1", "B_KEY")


def test_a_panel_with_the_same_judge_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"judge\.samples"):
        Settings.read(None, {"judge.panel": panel("a", "a")})


# --- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-5.2", "gpt"),
        ("o3-mini", "gpt"),
        ("anthropic/claude-opus-4.5", "claude"),
        ("google/gemini-3-pro", "gemini"),
        ("zai-org/GLM-4.6-FP8", "glm"),
        ("Qwen/QwQ-32B", "qwen"),
        ("qwen3-coder", "qwen"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama"),
        ("mistralai/Devstral-Small", "mistral"),
        ("moonshotai/Kimi-K2-Thinking", "kimi"),
        ("openrouter/z-ai/unnamed", "glm"),
        ("acme/judge-1", None),
        ("gptq-loader", None),
        ("", None),
    ],
)
def test_the_family_of_a_model_is_known_by_its_name(model, family):
    assert family_of(model) == family


def written_by(model, **more):
    row = rollout(**more)
    return {**row, "info": {**row["info"], "model": model}}


def test_a_judge_of_the_generator_s_family_is_refused_before_it_is_asked(tmp_path):
    chat = Counted()
    rows = [written_by("zai-org/GLM-4.6", tag=n) for n in range(3)]
    with pytest.raises(ConfigError, match=r"3 rows that zai-org/GLM-4\.6 has written") as refused:
        run(tmp_path, rows, chat, judge__model="z-ai/glm-5")
    assert "--same-family" in str(refused.value)
    assert chat.count == 0


def test_the_column_model_says_who_wrote_a_row_as_well(tmp_path):
    with pytest.raises(ConfigError, match="family gpt"):
        run(tmp_path, [rollout(model="gpt-oss-120b")], Counted(), judge__model="openai/gpt-5.2")


def test_one_judge_of_a_panel_of_the_family_is_enough_to_refuse(tmp_path):
    rows = [written_by("zai-org/GLM-4.6")]
    with pytest.raises(ConfigError, match="family glm"):
        run(tmp_path, rows, Counted(), judge__panel=panel("openai/gpt-5.2", "glm-5"))


@pytest.mark.parametrize(
    ("model", "dotted"),
    [
        ("zai-org/GLM-4.6", {"judge__model": "openai/gpt-5.2"}),
        ("zai-org/GLM-4.6", {"judge__model": "glm-5", "judge__same_family": True}),
        ("zai-org/GLM-4.6", {"judge__judge": "static"}),
        ("acme/coder", {"judge__model": "acme/coder"}),
    ],
)
def test_another_family_or_an_unknown_one_may_judge(tmp_path, model, dotted):
    (fact,), tally = run(tmp_path, [written_by(model)], Counted(), **dotted)
    assert isinstance(fact.body, Judgement)
    assert any("not known" in note for note in tally.notes) is (model == "acme/coder")


def test_allowing_the_family_asks_nothing_again(tmp_path):
    run(tmp_path, [rollout()], Counted())
    chat = Counted()
    run(tmp_path, [rollout()], chat, judge__same_family=True)
    assert chat.count == 0


# --- the service tier ---------------------------------------------------------------------------


def test_the_service_tier_is_passed_on_and_changes_no_answer(tmp_path):
    with FakeOpenAI(VERDICT) as server:
        run(tmp_path, [rollout()], **there(server, judge__service_tier="flex"))
        assert server.bodies[0]["service_tier"] == "flex"
        run(tmp_path, [rollout()], **there(server))
        assert server.count == 1
        run(tmp_path, [rollout()], **there(server, judge__samples=2))
        assert server.count == 2, "the answer paid for at the other tier is found"
        assert "service_tier" not in server.bodies[1]


def test_a_digest_without_a_service_tier_is_that_of_the_body():
    body = {"model": "m", "messages": [], "max_completion_tokens": 5}
    assert ask_digest("u", body, 3) == request_digest("u", encode(body), 3)


def test_a_stored_judgement_holds_all_its_opinions(tmp_path):
    chat = Counted([verdict(3, 4), verdict(5, 4)])
    (fact,), _ = run(tmp_path, [rollout()], chat, judge__samples=2)
    _, key, stage, sample, _, _, body, *rest = fact_row(fact)
    assert read_fact(stage, key, sample, body, *rest[:3]).body == fact.body
