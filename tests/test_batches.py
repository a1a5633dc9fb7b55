"""judge --batch: half the price, and whatever happens, no request is paid twice."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time

import pytest
from build import VERDICT, opened, rollout, write_jsonl
from click.testing import CliRunner
from fake_batches import FakeBatches
from fake_openai import error, ok, refuses
from test_judge_checklist import checks, level
from test_story import GOOD, KEY, Shell, filtered
from test_story import judge as by_code

from kernelsift import pipeline
from kernelsift.cli.main import cli
from kernelsift.errors import BudgetError, ConfigError, DeniedError, RunError, UnreachableError
from kernelsift.estimating import estimate
from kernelsift.llm.openai import Service
from kernelsift.model import Failure, Judgement
from kernelsift.run import Run
from kernelsift.store import Store

ROWS = [rollout(tag=n) for n in range(5)]
PRICE = {"m": {"input": 1.0, "output": 10.0}}


def prepare(folder, rows=ROWS):
    """A run in which judging is all that is left."""
    source = write_jsonl(folder / "x.jsonl", rows)
    with opened(folder / "run", source) as session:
        pipeline.load(session)
        pipeline.filter_rows(session)
    return folder / "run"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """The run of all rows, to copy from."""
    return prepare(tmp_path_factory.mktemp("ready"))


@pytest.fixture
def run(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "run")


def settings(server, **more):
    return {"llm__base_url": server.base_url, "judge__model": "m", "batch__judge": True,
            "batch__poll_seconds": 0.001, "llm__tries": 3, **more}  # fmt: skip


def judge(run, server, retry=None, **more):
    """Judge a run by batches; returns each row's fact and the tally."""
    with opened(run, **settings(server, **more)) as session:
        tally = pipeline.judge(session, retry=retry)
        facts = session.run.latest("judge")
        return [facts.get(e.id) for e in session.run.kept_before("judge")], tally


def scored(facts):
    return [fact is not None and isinstance(fact.body, Judgement) for fact in facts]


def states(run):
    """Batches and requests per state."""
    with Run.open(run, read_only=True) as one:
        rows = one.store.rows
        batches = "SELECT state, count(*) FROM batches GROUP BY 1"
        requests = "SELECT state, count(*) FROM batch_requests GROUP BY 1"
        return dict(rows(batches)), dict(rows(requests))


def spent(run):
    with Run.open(run, read_only=True) as one:
        return one.spent()


def only_once(server):
    """Nothing was paid twice: not in two batches, not in a batch and alone."""
    server.finish()
    alone = [json.dumps(body, sort_keys=True) for body in server.bodies]
    bodies = {line["custom_id"]: json.dumps(line["body"], sort_keys=True) for line in server.lines}
    batched = [bodies[custom_id] for custom_id in server.billed]
    paid = alone + batched
    return set(server.billed.values()) <= {1} and len(set(paid)) == len(paid)


# --- the plain case -----------------------------------------------------------------------------


def test_all_rows_are_judged_by_one_batch_and_nothing_is_asked_alone(run):
    with FakeBatches(ok(VERDICT, cost=0.5)) as server:
        facts, tally = judge(run, server)
        assert (server.count, len(server.batches)) == (0, 1)
        assert sorted(server.billed.values()) == [1] * 5
    assert scored(facts) == [True] * 5
    assert tally.usd == 2.5
    assert states(run) == ({"completed": 1}, {"answered": 5})


def test_answers_of_a_batch_are_judged_as_those_that_were_asked_alone(tmp_path):
    for name in ("batch", "alone"):
        (tmp_path / name).mkdir()
    with FakeBatches(by_code) as server:
        batched, _ = judge(prepare(tmp_path / "batch"), server)
        alone, _ = judge(prepare(tmp_path / "alone"), server, batch__judge=False)
        assert server.count == 5
    assert [(f.key, f.body, f.usd) for f in batched] == [(f.key, f.body, f.usd) for f in alone]


def test_what_was_asked_alone_goes_into_no_batch_and_what_was_in_one_is_not_asked(tmp_path):
    with FakeBatches(by_code) as server:
        run = prepare(tmp_path, ROWS[:2])
        judge(run, server, batch__judge=False)
        with opened(run, write_jsonl(tmp_path / "y.jsonl", ROWS)) as session:
            pipeline.load(session, replace=True)
            pipeline.filter_rows(session)
        facts, _ = judge(run, server)
        assert (server.count, len(server.lines)) == (2, 3)
        judge(run, server, batch__judge=False)
        assert server.count == 2
        assert only_once(server)
    assert scored(facts) == [True] * 5


def test_both_questions_of_the_checklist_and_all_samples_go_into_one_batch(run):
    def answer(body):
        return ok(level() if "MODULE-START" in body["messages"][1]["content"] else checks())

    with FakeBatches(answer) as server:
        chosen = {"judge__rubric": "checklist", "judge__samples": 3}
        facts, _ = judge(run, server, **chosen)
        assert (len(server.batches), len(server.lines), server.count) == (1, 3 * (5 + 1), 0)
    assert scored(facts) == [True] * 5
    assert len(facts[0].body.opinions) == 6


def test_each_judge_of_a_panel_has_a_batch_of_its_own(run):
    with FakeBatches(ok(VERDICT)) as server:
        panel = [{"model": "a"}, {"model": "b"}]
        facts, _ = judge(run, server, judge__panel=panel)
        assert (len(server.batches), server.count) == (2, 0)
        sent = [(b["input_file_id"], b["request_counts"]["total"]) for b in server.batches.values()]
        models = [set(re.findall(rb'"model":"(.)"', server.files[name][1])) for name, _ in sent]
        assert models == [{b"a"}, {b"b"}]
    assert [fact.body.judge for fact in facts] == ["a, b"] * 5


@pytest.mark.parametrize("limit", [{"batch__max_requests": 2}, {"batch__max_megabytes": 0.008}])
def test_what_is_too_much_for_one_batch_goes_into_several(run, limit):
    with FakeBatches(ok(VERDICT)) as server:
        facts, _ = judge(run, server, **limit)
        assert (len(server.batches), server.count) == (3, 0)
        assert only_once(server)
    assert scored(facts) == [True] * 5


# --- results that are not as they should be -----------------------------------------------------


def test_an_answer_that_is_no_verdict_is_asked_about_alone(run):
    def answer(body):
        again = len(body["messages"]) > 2
        ill = "TAG = 3" in body["messages"][1]["content"]
        return ok("dunno" if ill and not again else VERDICT, cost=0.5)

    with FakeBatches(answer) as server:
        facts, tally = judge(run, server)
        assert (len(server.lines), server.count) == (5, 1)
        assert [m["content"] for m in server.bodies[0]["messages"]][2] == "dunno"
    assert scored(facts) == [True] * 5
    assert tally.usd == 3.0


def test_a_request_that_was_turned_away_becomes_a_failure_of_its_class(run):
    def answer(body):
        ill = "TAG = 3" in body["messages"][1]["content"]
        return error(413, "too long for the model") if ill else ok(VERDICT, cost=0.5)

    with FakeBatches(answer) as server:
        facts, tally = judge(run, server)
        assert server.count == 1, "it was asked alone as well, which cost nothing"
        judge(run, server)
        assert (len(server.batches), server.count) == (1, 1)
    failed = [fact.body for fact in facts if isinstance(fact.body, Failure)]
    assert [body.failure for body in failed] == ["bad-request"]
    assert states(run) == ({"completed": 1}, {"answered": 4, "bad-request": 1})
    assert any("1 bad-request" in note for note in tally.notes)


@pytest.mark.parametrize(
    "names", [["temperature"], ["json_schema"], ["json_schema", "json_object"]]
)
def test_a_parameter_that_is_refused_is_left_out_of_the_next_batch(run, names):
    with FakeBatches(refuses(*names, answer=ok(VERDICT))) as server:
        facts, _ = judge(run, server, judge__temperature=0.5)
        assert server.count == 0
        assert len(server.batches) == 1 + len(names)
        assert only_once(server)
    assert scored(facts) == [True] * 5
    kind = facts[0].body.params.get("response_format")
    assert kind == {0: "json_schema", 1: "json_object", 2: None}[len(set(names) - {"temperature"})]


def test_lines_twice_of_unknown_requests_and_in_any_order_do_no_harm(run):
    def shape(out, bad):
        stranger = {**out[0], "custom_id": "stranger"}
        return [out[1], stranger, *out, {"no": "id"}, out[0]], bad

    with FakeBatches(by_code, shape=shape) as server:
        facts, tally = judge(run, server)
        assert server.count == 0
    assert scored(facts) == [True] * 5
    assert tally.usd == pytest.approx(0.005)
    (note,) = [note for note in tally.notes if note.startswith("batch_") or "answered" in note]
    assert "2 results of unknown requests left out" in note
    assert "2 results came twice" in note


def test_a_download_that_ends_early_is_fetched_again(run):
    with FakeBatches(ok(VERDICT), cut=2) as server:
        facts, _ = judge(run, server)
        assert (server.calls.count("content"), server.count) == (3, 0)
    assert scored(facts) == [True] * 5


def test_results_that_never_come_may_have_been_paid_and_are_asked_alone(run):
    with FakeBatches(ok(VERDICT, cost=0.5), shape=lambda out, bad: (out[:3], bad)) as server:
        facts, _ = judge(run, server, llm__price=PRICE)
        assert server.count == 2
    assert scored(facts) == [True] * 5
    usd, risk, requests = spent(run)
    assert (usd, requests) == (2.5, 7)
    assert 0.01 < risk < 0.02, "two requests of some 5 KB and 1024 tokens, at half the price"
    assert states(run)[1] == {"answered": 3, "lost": 2}


def test_a_batch_that_has_expired_keeps_what_it_finished_and_the_rest_is_open(run):
    with FakeBatches(ok(VERDICT, cost=0.5), expire_after=2) as server:
        with pytest.raises(UnreachableError, match="expired with 3 of 5 requests not worked on"):
            judge(run, server)
        assert server.count == 0, "nothing is asked alone at the full price"
        assert spent(run) == (1.0, 0.0, 2)
        server.expire_after = None
        facts, _ = judge(run, server)
        assert (len(server.batches), len(server.lines), server.count) == (2, 5 + 3, 0)
        assert only_once(server)
    assert scored(facts) == [True] * 5
    assert states(run)[0] == {"expired": 1, "completed": 1}


def test_a_file_that_is_refused_as_a_whole_is_one_error_and_costs_nothing(run):
    with FakeBatches(ok(VERDICT), invalid="Enqueued token limit reached") as server:
        with pytest.raises(ConfigError, match=r"line 1: Enqueued token limit.*max_requests"):
            judge(run, server)
        assert (spent(run), server.count) == ((0.0, 0.0, 0), 0)
        assert states(run)[0] == {"failed": 1}
        server.invalid = None
        facts, _ = judge(run, server)
    assert scored(facts) == [True] * 5


def test_requests_without_credit_are_no_failures_and_go_into_the_next_batch(run):
    poor = [True]

    def answer(body):
        out = error(429, "You exceeded your quota", code="insufficient_quota")
        return out if poor and "TAG = 3" in body["messages"][1]["content"] else ok(VERDICT)

    with FakeBatches(answer) as server:
        with pytest.raises(DeniedError, match="add credit"):
            judge(run, server)
        poor.clear()
        facts, _ = judge(run, server)
        assert (len(server.batches), len(server.lines), server.count) == (2, 6, 0)
    assert scored(facts) == [True] * 5


def test_a_refused_key_is_said_and_leaves_nothing_under_way(run):
    with FakeBatches(ok(VERDICT), fault=lambda what, _: "401") as server:
        with pytest.raises(DeniedError, match="refused the request"):
            judge(run, server)
        facts, _ = judge(run, server, batch__judge=False)
        assert server.count == 5
    assert scored(facts) == [True] * 5


def test_a_service_without_batches_is_named_and_nothing_is_sent(run):
    with FakeBatches(fault=lambda what, _: "404") as server:
        with pytest.raises(ConfigError, match=r"no batches.*leave out --batch"):
            judge(run, server)
        assert server.count == 0
        server.fault = lambda *_: None
        facts, _ = judge(run, server)
    assert scored(facts) == [False] * 5, "the answer 'hello' is no verdict"


# --- money --------------------------------------------------------------------------------------


def test_a_batch_costs_half_of_the_price_per_token(run):
    used = {"input_tokens": 1000, "output_tokens": 100}
    with FakeBatches(ok(VERDICT, **used)) as server:
        _, tally = judge(run, server, llm__price=PRICE)
        assert tally.usd == pytest.approx(5 * 0.5 * (1000 * 1 + 100 * 10) / 1e6)
    with FakeBatches(ok(VERDICT, **used)) as server:
        _, tally = judge(run, server, llm__price=PRICE, batch__price_factor=0.8)
        assert tally.usd == pytest.approx(5 * 0.8 * 2000 / 1e6)


def test_the_worst_case_of_a_batch_is_set_aside_and_a_cap_makes_batches_smaller(run):
    with FakeBatches(ok(VERDICT, input_tokens=1000, output_tokens=10)) as server:
        cap = {"llm__price": PRICE, "llm__max_usd": 0.02}
        facts, _ = judge(run, server, **cap)
        sizes = [b["request_counts"]["total"] for b in server.batches.values()]
        assert sizes == [2, 2, 1], "two at a time can cost no more than is left"
    assert scored(facts) == [True] * 5


def test_a_batch_under_way_counts_against_the_cap_with_all_that_it_may_cost(run):
    with FakeBatches(ok(VERDICT), looks=99) as server:
        judge(run, server, batch__wait=False, llm__price=PRICE)
        usd, risk, requests = spent(run)
        assert (usd, requests) == (0, 5)
        assert risk > 5 * 1024 * 5e-6


def test_nothing_is_handed_in_that_may_pass_a_cap(run):
    with FakeBatches(ok(VERDICT)) as server:
        with pytest.raises(BudgetError, match=r"--max-usd is \$0\.0010"):
            judge(run, server, llm__price=PRICE, llm__max_usd=0.001)
        with pytest.raises(ConfigError, match="no price is known"):
            judge(run, server, llm__max_usd=1.0)
        assert (server.lines, server.count) == ([], 0)
        with pytest.raises(BudgetError, match="--max-requests is 3"):
            judge(run, server, llm__max_requests=3)
        assert (len(server.lines), server.count) == (3, 0)
        facts, _ = judge(run, server, llm__max_requests=5)
        assert (len(server.lines), server.count) == (5, 0)
    assert scored(facts) == [True] * 5


# --- coming back later --------------------------------------------------------------------------


def test_without_waiting_the_same_command_fetches_later(run):
    with FakeBatches(ok(VERDICT), looks=2) as server:
        facts, tally = judge(run, server, batch__wait=False)
        assert (scored(facts), tally.counts["requests in batches"]) == ([False] * 5, 5)
        assert "1 batch under way; the same command" in tally.notes[-1]
        for _ in range(2):
            facts, _ = judge(run, server, batch__wait=False)
            assert not any(scored(facts))
        facts, _ = judge(run, server, batch__wait=False)
        assert scored(facts) == [True] * 5
        assert (len(server.batches), server.count) == (1, 0)


def test_what_is_in_a_batch_is_not_asked_alone_meanwhile(run):
    with FakeBatches(ok(VERDICT), looks=99) as server:
        judge(run, server, batch__wait=False)
        with pytest.raises(ConfigError, match="5 requests of m, which would be paid again"):
            judge(run, server, batch__judge=False)
        assert server.count == 0
        facts, _ = judge(run, server, batch__judge=False, judge__model="other")
        assert server.count == 5, "another judge is asked"
    assert scored(facts) == [True] * 5


def test_a_batch_can_be_cancelled_and_what_it_finished_is_kept(run):
    with FakeBatches(ok(VERDICT, cost=0.5), looks=99) as server:
        judge(run, server, batch__wait=False)
        with opened(run, **settings(server)) as session:
            tally = pipeline.end_batches(session, "cancel")
        assert tally.counts == {"batches ended": 1}
        assert spent(run) == (0.5, 0.0, 1)
        facts, _ = judge(run, server, batch__judge=False)
        assert (server.count, only_once(server)) == (4, True)
    assert scored(facts) == [True] * 5


def test_a_batch_that_the_service_has_lost_can_be_forgotten(run):
    with FakeBatches(ok(VERDICT), looks=99) as server:
        judge(run, server, batch__wait=False, llm__price=PRICE)
        at_risk = spent(run)[1]
        server.batches.clear()
        with pytest.raises(RunError, match=r"does not know batch batch_1.*--batches forget"):
            judge(run, server)
        with opened(run, **settings(server)) as session:
            tally = pipeline.end_batches(session, "forget")
        assert tally.counts == {"batches forgotten": 1}
        assert spent(run)[1] == pytest.approx(at_risk), "it may have been paid for"
        server.looks = 1
        facts, _ = judge(run, server)
    assert scored(facts) == [True] * 5


def test_a_run_made_before_there_were_batches_is_read_and_goes_on(run):
    with sqlite3.connect(run / "run.sqlite") as db:
        db.execute("DROP TABLE batches")
        db.execute("DROP TABLE batch_requests")
    db.close()
    with Run.open(run, read_only=True) as one:
        assert (one.status().requests, one.spent()) == (0, (0.0, 0.0, 0))
    with FakeBatches(ok(VERDICT)) as server:
        facts, _ = judge(run, server)
    assert scored(facts) == [True] * 5


def test_status_and_estimate_say_what_there_is_of_batches(run):
    with FakeBatches(ok(VERDICT), looks=99) as server:
        with opened(run, **settings(server, llm__price=PRICE)) as session:
            found = estimate(session, "judge")
        assert found.batch_usd == pytest.approx(found.usd / 2)
        assert "with --batch $0.0" in "\n".join(found.lines())
        place = ["--run", str(run), "--base-url", server.base_url, "--model", "m"]
        handed = CliRunner().invoke(
            cli, ["judge", "--batch", "--no-wait", "--price", "1,10", *place]
        )
        assert handed.exit_code == 0, handed.output
        assert "requests in batches 5" in handed.stdout
    said = CliRunner().invoke(cli, ["status", "--run", str(run)]).stdout
    assert re.search(r"Batch batch_1: 5 requests of m at http\S+, under way since 20", said)
    assert re.search(r"Up to \$0\.0\d+ more for batches under way and for calls", said)
    told = json.loads(CliRunner().invoke(cli, ["status", "--run", str(run), "--json"]).stdout)
    assert [(b["id"], b["requests"], b["state"]) for b in told["batches"]] == [
        ("batch_1", 5, "under way")
    ]


# --- crashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["500", "429", "reset", "reset-after"])
@pytest.mark.parametrize("what", ["upload", "create", "get", "content"])
def test_a_call_that_fails_is_made_good_and_no_batch_is_made_twice(run, what, wrong):
    def fault(kind, number):
        return wrong if (kind, number) == (what, 1) else None

    with FakeBatches(ok(VERDICT), fault=fault) as server:
        facts, _ = judge(run, server)
        assert (len(server.batches), server.count) == (1, 0)
        assert only_once(server)
    assert scored(facts) == [True] * 5


def test_a_batch_is_known_by_its_file_where_a_service_keeps_no_metadata(run):
    def fault(kind, number):
        return "reset-after" if (kind, number) == ("create", 1) else None

    with FakeBatches(ok(VERDICT), fault=fault, metadata=False) as server:
        facts, _ = judge(run, server)
        assert len(server.batches) == 1
    assert scored(facts) == [True] * 5


def test_where_nobody_can_tell_whether_a_batch_was_made_none_is_made(run):
    def fault(kind, number):
        return {"create": "reset-after", "list": "404"}.get(kind) if number < 9 else None

    with FakeBatches(ok(VERDICT), fault=fault) as server:
        for _ in range(2):
            with pytest.raises(RunError, match="does not list its batches") as told:
                judge(run, server)
            assert "kernelsift_intent" in str(told.value)
            assert "--batches forget" in str(told.value)
        assert (len(server.batches), server.count) == (1, 0)
        server.fault = lambda *_: None
        facts, _ = judge(run, server)
        assert (len(server.batches), server.count) == (1, 0)
    assert scored(facts) == [True] * 5


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Ends the process right after the n-th thing that it has written or sent."""

    def __init__(self, monkeypatch, at=None):
        self.at = at
        self.seen = 0
        for kind, name in ((Service, "call"), (Store, "save")):
            monkeypatch.setattr(kind, name, self.watched(getattr(kind, name)))
        write = Store.write

        def written(store, change):
            write(store, change)
            self.step()

        monkeypatch.setattr(Store, "write", written)

    def watched(self, function):
        async def done(*args):
            found = await function(*args)
            self.step()
            return found

        return done

    def step(self):
        self.seen += 1
        if self.at is not None and self.seen >= self.at:
            raise Killed


def test_killed_at_any_point_and_once_more_the_same_command_ends_the_job_and_pays_nothing_twice(
    tmp_path, monkeypatch
):
    ready = prepare(tmp_path, ROWS[:3])

    def story(number, at):
        run = tmp_path / f"run-{number}"
        shutil.copytree(ready, run)
        with FakeBatches(ok(VERDICT, cost=0.5)) as server:
            with monkeypatch.context() as patch:
                death = Death(patch, at)
                try:
                    judge(run, server, batch__max_requests=2)
                except Killed:
                    assert at is not None
            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                if at is not None and at % 2:
                    Death(patch, 1 + at % 5)
                    judge(run, server, batch__max_requests=2)
            facts, _ = judge(run, server, batch__max_requests=2)
            assert scored(facts) == [True] * 3, at
            assert (server.count, only_once(server)) == (0, True), at
            assert sorted(server.billed.values()) == [1] * 3, at
            assert spent(run)[:2] == (1.5, 0.0), at
        shutil.rmtree(run)
        return death.seen

    points = story(0, None)
    assert points > 20
    for at in range(1, points + 1):
        story(at, at)


def test_a_process_that_is_killed_while_it_makes_a_batch_or_waits_pays_for_nothing_twice(tmp_path):
    stuck = ["create"]

    def fault(kind, number):
        return "hang-after" if kind in stuck and number == 1 else None

    with FakeBatches(by_code, fault=fault, looks=1) as server:
        shell = Shell(tmp_path / "shell", server)
        shell.prepare()
        config = shell.folder / "kernelsift.toml"
        config.write_text("[batch]\npoll_seconds = 0.05\n")
        words = ("judge", "--batch")

        def ended(what, number, how):
            process = shell.start(*words)
            patience = time.monotonic() + 60
            while server.calls.count(what) < number:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < patience
                time.sleep(0.005)
            os.killpg(process.pid, how)
            return shell.end(process)

        assert ended("create", 1, signal.SIGKILL) == -signal.SIGKILL
        server.looks = 10**6
        assert ended("get", 2, signal.SIGKILL) == -signal.SIGKILL
        seen = server.calls.count("get")
        assert ended("get", seen + 2, signal.SIGINT) == 130
        assert f"1 batch under way at the service with {GOOD} requests" in shell.said
        assert "the same command goes on" in shell.said
        server.looks = 1
        assert shell.command(*words) == 0, shell.said
        assert len(server.batches) == 1
        assert (server.count, only_once(server)) == (0, True)
        assert shell.status().states["pending"] == 0
        assert len(filtered(shell.run)) == GOOD
    assert KEY not in shell.said
    for file in shell.folder.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file
