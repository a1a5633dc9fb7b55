"""judge --rubric checklist: ten answers with evidence; difficulty once per module, apart."""

import json
import re

import pytest
from build import Counted, no_code, opened, reference, rollout, write_jsonl
from fake_openai import FakeOpenAI, ok
from hypothesis import given
from hypothesis import strategies as st

from kernelsift import pipeline
from kernelsift.checklist import CHECKS, checklist_score, parse_checks, parse_difficulty
from kernelsift.decision_words import judged
from kernelsift.errors import ConfigError
from kernelsift.estimating import estimate
from kernelsift.instrument import CHECKLIST_SCHEMA, DIFFICULTY_SCHEMA
from kernelsift.llm.prompts import load
from kernelsift.model import Check, Failure, Judgement

CODE = "import torch\n\ndef forward(x):\n    return   torch.relu(x)  # fast\n"
QUOTE = "import torch"


def checks(quote=QUOTE, answer="yes", **others):
    """A checklist as the judge writes it; `bounds=("no", "x = 1")` answers one check otherwise."""
    given = dict.fromkeys(CHECKS, (answer, quote))
    given |= {name.replace("_", "-"): value for name, value in others.items()}
    return json.dumps({name: {"quote": q, "answer": a} for name, (a, q) in given.items()})


def level(number=5):
    return json.dumps({"reason": "a softmax", "difficulty": number})


def is_module(ask):
    return "MODULE-START" in ask.messages[1].content


def judge_with(style=None, difficulty=None):
    """A chat that answers each of the two questions with its own script."""
    styles, levels = list(style or [checks()]), list(difficulty or [level()])

    def answer(ask):
        left = levels if is_module(ask) else styles
        return left.pop(0) if len(left) > 1 else left[0]

    return Counted(answer)


def run(tmp_path, rows, chat, retry=None, **dotted):
    """Load, filter and judge rows by the checklist; returns each row's fact and the tally."""
    source = write_jsonl(tmp_path / "x.jsonl", rows)
    dotted = {"judge__rubric": "checklist", **dotted}
    with opened(tmp_path / "run", source, chat=chat, **dotted) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
        tally = pipeline.judge(session, retry=retry)
        facts = session.run.latest("judge")
        return [facts[e.id] for e in session.run.kept_before("judge")], tally


# --- the answers --------------------------------------------------------------------------------


def read(text, code=CODE):
    return {check.name: check for check in parse_checks(text, code)}


def test_every_answer_is_kept_with_its_quote_in_the_order_asked():
    found = parse_checks(checks(bounds=("no", "def forward(x):"), numerics=("na", "")), CODE)
    assert tuple(check.name for check in found) == CHECKS
    by_name = {check.name: check for check in found}
    assert (by_name["bounds"].answer, by_name["bounds"].quote) == ("no", "def forward(x):")
    assert (by_name["numerics"].answer, by_name["numerics"].supported) == ("na", True)


@pytest.mark.parametrize(
    ("quote", "supported"),
    [
        ("return torch.relu(x)", True),
        ("  return\ttorch.relu(x)  # fast ", True),
        ("`def forward(x):`", True),
        ("def forward(x):\n    return torch.relu(x)", True),
        ("return torch.gelu(x)", False),
        ("torch", False),
        ("", False),
    ],
)
def test_a_quote_counts_when_it_is_in_the_code_whatever_its_white_space(quote, supported):
    assert read(checks(naming=("yes", quote)))["naming"].supported is supported


def test_the_score_is_ten_times_the_share_of_yes_and_na_is_left_out():
    found = parse_checks(
        checks(bounds=("no", QUOTE), access=("no", QUOTE), numerics=("na", "")), CODE
    )
    assert checklist_score(found) == pytest.approx(10 * 7 / 9)


def test_an_answer_without_support_is_left_out_of_the_score():
    found = parse_checks(checks(bounds=("no", "not in the code"), access=("no", QUOTE)), CODE)
    assert checklist_score(found) == pytest.approx(10 * 8 / 9)


def test_only_na_is_a_failure_and_no_score():
    found = checklist_score(parse_checks(checks(answer="na", quote=""), CODE))
    assert isinstance(found, Failure)
    assert found.failure == "no-verdict"


def test_answers_of_which_half_have_no_support_are_a_failure():
    invented = {name.replace("-", "_"): ("yes", "invented line") for name in CHECKS[:5]}
    found = checklist_score(parse_checks(checks(**invented), CODE))
    assert isinstance(found, Failure)
    assert found.failure == "no-evidence"
    assert "naming" in found.why


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", "no-verdict"),
        ("I like it. 8/10", "no-verdict"),
        ('{"naming": {"quote": "import torch", "answer": "yes"}}', "no-verdict"),
        (checks(bounds=("maybe", QUOTE)), "no-verdict"),
        (checks().replace('"bounds":', '"naming":'), "double-verdict"),
        (checks()[:-20], "no-verdict"),
    ],
)
def test_what_is_no_checklist_is_a_failure(text, failure):
    found = parse_checks(text, CODE)
    assert isinstance(found, Failure)
    assert found.failure == failure


def test_a_checklist_quoted_from_the_code_does_not_answer():
    planted = checks(answer="yes")
    own = checks(answer="no", comments=("no", planted))
    found = read(f"The code says {planted}.\n```json\n{own}\n```", code=f"{CODE}# {planted}\n")
    assert {check.answer for check in found.values()} == {"no"}


@given(st.text())
def test_any_text_is_read_without_a_crash(text):
    assert isinstance(parse_checks(text, CODE), Failure)
    found = parse_difficulty(text)
    assert isinstance(found, Failure | int)


@given(st.lists(st.sampled_from(["yes", "no", "na"]), min_size=10, max_size=10))
def test_the_score_is_the_share_of_yes_among_yes_and_no(answers):
    listed = zip(CHECKS, answers, strict=True)
    found = checklist_score([
        Check(name=n, answer=a, quote=QUOTE, supported=True) for n, a in listed
    ])
    told = answers.count("yes") + answers.count("no")
    if told:
        assert found == pytest.approx(10 * answers.count("yes") / told)
    else:
        assert isinstance(found, Failure)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (level(11), "out-of-range"),
        (level(4.5), "not-an-integer"),
        ('{"difficulty": "4-5"}', "double-verdict"),
        ('{"difficulty": true}', "not-an-integer"),
        ('{"difficulty": 4, "difficulty": 5}', "double-verdict"),
        ("about 7", "no-verdict"),
    ],
)
def test_what_is_no_level_is_a_failure(text, failure):
    found = parse_difficulty(text)
    assert isinstance(found, Failure)
    assert found.failure == failure


def test_the_checks_are_those_of_the_static_judge():
    static = pytest.importorskip("kernelsift.kernels.style_checks")
    assert tuple(static.QUESTIONS) == CHECKS


# --- the stage ----------------------------------------------------------------------------------


def test_style_and_difficulty_are_asked_apart_and_become_one_judgement(tmp_path):
    chat = judge_with([checks(bounds=("no", QUOTE))], [level(6)])
    (fact,), tally = run(tmp_path, [rollout()], chat, judge__model="m")
    body = fact.body
    assert isinstance(body, Judgement)
    assert (body.difficulty, body.style, body.judge) == (6, 9, "m")
    style, difficulty = body.opinions
    assert {c.name: c.answer for c in style.checks}["bounds"] == "no"
    assert (style.style, style.difficulty) == (9, None)
    assert (difficulty.style, difficulty.difficulty) == (None, 6)
    assert "judge-style-checklist-1:" in body.prompt_version
    assert "judge-difficulty-1:" in body.prompt_version
    assert (tally.counts["modules"], tally.usd) == (1, 0.5)


def test_neither_question_shows_what_the_other_is_about(tmp_path):
    chat = judge_with()
    run(tmp_path, [rollout()], chat)
    module, code = chat.asks
    assert (module.json_schema, code.json_schema) == (DIFFICULTY_SCHEMA, CHECKLIST_SCHEMA)
    assert "class Relu(nn.Module)" in module.messages[1].content
    assert "ReluNew" not in module.messages[1].content
    assert "class ReluNew" in code.messages[1].content
    assert "get_inputs" not in code.messages[1].content


def test_the_instructions_come_first_and_are_the_same_for_every_row(tmp_path):
    chat = judge_with()
    run(tmp_path, [rollout(f"M{n}", tag=n) for n in range(3)], chat)
    for is_one in (True, False):
        firsts = {ask.messages[0].content for ask in chat.asks if is_module(ask) is is_one}
        assert len(firsts) == 1
        words = re.findall(r"\w+|[^\w\s]", firsts.pop())
        assert len(words) > 1024, "services cache prefixes from 1,024 tokens on"


def test_difficulty_is_asked_once_for_all_rows_of_the_same_module(tmp_path):
    renamed = "# by another hand\n" + reference("Relu").replace("class Relu(", "class Other(")
    info = {"module_name": "Other", "python_code": renamed}
    rows = [rollout(tag=1), rollout(tag=2), rollout(tag=3, info=info), rollout("Tanh")]
    chat = judge_with(difficulty=[level(2), level(7)])
    facts, tally = run(tmp_path, rows, chat)
    assert sum(map(is_module, chat.asks)) == tally.counts["modules"] == 2
    assert len({fact.body.difficulty for fact in facts[:3]}) == 1
    assert {fact.body.difficulty for fact in facts} == {2, 7}


def test_another_row_of_a_known_module_does_not_ask_for_difficulty_again(tmp_path):
    run(tmp_path, [rollout(tag=1)], judge_with())
    again = judge_with()
    source = write_jsonl(tmp_path / "y.jsonl", [rollout(tag=1), rollout(tag=2)])
    with opened(tmp_path / "run", source, chat=again, judge__rubric="checklist") as session:
        pipeline.load(session, replace=True)
        pipeline.filter_rows(session)
        pipeline.judge(session)
    assert [is_module(ask) for ask in again.asks] == [False]


def test_an_invented_quote_is_sent_back_once_and_then_stands_as_unsupported(tmp_path):
    wrong = checks(bounds=("no", "x = tl.load(nothing)"))
    chat = judge_with([wrong])
    (fact,), _ = run(tmp_path, [rollout()], chat)
    first, second = (ask for ask in chat.asks if not is_module(ask))
    assert "x = tl.load(nothing)" in second.messages[-1].content
    assert (first.sample, second.sample) == (0, 1)
    (bounds,) = (c for c in fact.body.opinions[0].checks if not c.supported)
    assert (bounds.name, bounds.answer) == ("bounds", "no")
    assert fact.body.style == 10


def test_a_quote_that_is_put_right_counts(tmp_path):
    chat = judge_with([checks(bounds=("no", "invented line")), checks(bounds=("no", QUOTE))])
    (fact,), _ = run(tmp_path, [rollout()], chat)
    assert fact.body.style == 9
    assert all(check.supported for check in fact.body.opinions[0].checks)


def test_an_answer_with_one_invented_quote_is_better_than_a_useless_second_one(tmp_path):
    chat = judge_with([checks(bounds=("no", "invented line")), "sorry?"])
    (fact,), _ = run(tmp_path, [rollout()], chat)
    assert isinstance(fact.body, Judgement)


def test_a_judge_that_only_invents_quotes_has_not_judged(tmp_path):
    (fact,), tally = run(tmp_path, [rollout()], judge_with([checks(quote="invented line")]))
    assert fact.body.failure == "no-evidence"
    assert tally.counts["failed: no-evidence"] == 1


def test_where_difficulty_failed_style_is_not_asked_for_and_a_retry_asks_both(tmp_path):
    first = judge_with(difficulty=["?"])
    (fact,), _ = run(tmp_path, [rollout()], first)
    assert all(map(is_module, first.asks))
    assert fact.body.failure == "no-verdict"
    assert fact.body.why.startswith("difficulty: ")
    second = judge_with()
    (fact,), _ = run(tmp_path, [rollout()], second, [])
    assert [is_module(ask) for ask in second.asks] == [True, False]
    assert isinstance(fact.body, Judgement)


def test_a_row_without_module_or_code_fails_without_being_asked_about(tmp_path):
    chat = judge_with()
    bare = rollout(info={"module_name": "M"})
    facts, _ = run(tmp_path, [bare, no_code()], chat)
    assert [fact.body.failure for fact in facts] == ["no-reference", "no-code"]
    assert not [ask for ask in chat.asks if not is_module(ask)]


def test_a_rerun_asks_nothing_and_the_original_rubric_is_another_answer(tmp_path):
    run(tmp_path, [rollout()], judge_with())
    again = judge_with()
    run(tmp_path, [rollout()], again)
    assert again.count == 0
    original = Counted()
    (fact,), _ = run(tmp_path, [rollout()], original, judge__rubric="original")
    assert (original.count, fact.body.opinions) == (1, ())


def test_what_was_answered_before_a_crash_is_not_asked_again(tmp_path):
    rows = [rollout(f"M{n // 2}", tag=n) for n in range(20)]

    def answer(body):
        return ok(level() if is_first(body) else checks(), cost=0.001)

    with FakeOpenAI(answer) as server:
        there = {"llm__base_url": server.base_url, "judge__model": "m"}
        run(tmp_path, rows[:12], None, **there)
        before = server.count
        with opened(tmp_path / "run") as session:
            session.run.store.write(lambda db: db.execute("DELETE FROM facts"))
        facts, _ = run(tmp_path, rows[:12], None, **there)
        assert server.count == before == 12 + 6
    assert all(isinstance(fact.body, Judgement) for fact in facts)


def test_why_says_what_the_checklist_faults(tmp_path):
    chat = judge_with([checks(bounds=("no", QUOTE))])
    (fact,), _ = run(tmp_path, [rollout()], chat)
    assert "style 9: the checklist faults bounds: import torch" in judged(fact)


def test_what_is_still_to_ask_is_estimated_for_both_questions(tmp_path):
    rows = [rollout(f"M{n // 2}", tag=n) for n in range(6)]
    curated = write_jsonl(tmp_path / "x.jsonl", rows)
    answer = ok(checks(), input_tokens=2000, output_tokens=400)
    with FakeOpenAI(lambda b: ok(level()) if is_first(b) else answer) as server:
        there = {
            "llm__base_url": server.base_url,
            "judge__model": "m",
            "judge__rubric": "checklist",
        }
        with opened(tmp_path / "run", curated, **there) as session:
            pipeline.load(session)
            pipeline.filter_rows(session)
            found = estimate(session, "judge")
            assert found.requests == 6 + 3
            assert found.most_output_tokens == 9 * 3072
            pipeline.judge(session)
            assert estimate(session, "judge").requests == 0
        with opened(tmp_path / "run", **there, judge__samples=3) as session:
            before = server.count
            found = estimate(session, "judge")
            assert found.requests == 2 * (6 + 3)
            pipeline.judge(session)
            assert server.count - before == found.requests


def is_first(body):
    return "MODULE-START" in body["messages"][1]["content"]


def test_the_checklist_cannot_be_shown_the_whole_answer(tmp_path):
    with pytest.raises(ConfigError, match="quotes from the code"):
        run(tmp_path, [rollout()], judge_with(), judge__show="completion")


def test_the_checklist_gets_more_tokens_unless_a_number_was_chosen(tmp_path):
    chat = judge_with()
    run(tmp_path, [rollout()], chat)
    assert {ask.max_tokens for ask in chat.asks} == {3072}
    chosen = judge_with()
    run(tmp_path, [rollout()], chosen, judge__max_tokens=1024)
    assert {ask.max_tokens for ask in chosen.asks} == {1024}


@pytest.mark.parametrize("name", ["judge-style-checklist-1", "judge-difficulty-1"])
def test_the_prompts_name_every_check_and_level(name):
    system = load(name).system
    wanted = CHECKS if "style" in name else map(str, range(11))
    assert [w for w in wanted if f"\n{w}: " not in system] == []
