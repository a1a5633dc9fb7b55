"""verifiers 0.4 traces, and the table that prime-rl makes of them."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.ingest import BadRow, Row, open_source
from kernelsift.ingest.traces import expand

SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "verifiers-0.4.0.traces.sample.jsonl"


def node(role, text, parent=None, *, sampled=False):
    message = {"role": role, "content": text}
    found = {"message": message, "sampled": sampled, "semantic_parents": []}
    return found if parent is None else found | {"parent": parent}


def trace(**fields):
    base = {
        "id": "t1",
        "task": {
            "type": "KBTask",
            "data": {"idx": 3, "prompt": "write it", "module_name": "M", "python_code": "code"},
        },
        "nodes": [
            node("system", "sys"),
            node("user", "write it", 0),
            node("assistant", "answer", 1, sampled=True),
        ],
        "rewards": {"correct": {"score": 1.0, "weight": 1.0}, "fast": {"score": 0.5, "weight": 2}},
        "metrics": {"raw": 1.7},
        "info": {"module_name": "N"},
        "is_completed": True,
        "ok": True,
        "stop_condition": "done",
        "errors": [],
    }
    return base | fields


def episode(*traces, **fields):
    return {"id": "e1", "traces": list(traces) or [trace()]} | fields


def read(tmp_path, *objects, kind="rollouts"):
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in objects))
    return list(open_source(str(path), kind=kind).rows())


def only(tmp_path, **fields):
    (row,) = read(tmp_path, episode(trace(**fields)))
    assert isinstance(row, Row), row
    return row.data


def refused(tmp_path, **fields):
    (row,) = read(tmp_path, episode(trace(**fields)))
    assert isinstance(row, BadRow)
    return row.reason


def test_the_prompt_ends_before_the_first_sampled_message(tmp_path):
    data = only(tmp_path)
    assert [message["content"] for message in data["prompt"]] == ["sys", "write it"]
    assert [message["content"] for message in data["completion"]] == ["answer"]


def test_the_reward_is_the_weighted_sum(tmp_path):
    assert only(tmp_path)["reward"] == 2.0


def test_a_reward_that_is_null_is_skipped(tmp_path):
    rewards = {"correct": {"score": 1.0, "weight": 0.5}, "fast": None}
    assert only(tmp_path, rewards=rewards)["reward"] == 0.5


@pytest.mark.parametrize("rewards", [{}, None, {"fast": None}])
def test_a_trace_without_any_reward_is_a_bad_row(tmp_path, rewards):
    assert "no reward" in refused(tmp_path, rewards=rewards)


def test_a_trace_that_failed_without_a_reward_says_why(tmp_path):
    reason = refused(tmp_path, rewards={}, errors=[{"type": "SandboxError", "message": "gone"}])
    assert "SandboxError: gone" in reason


def test_the_errors_of_a_trace_are_kept_as_json(tmp_path):
    errors = [{"type": "ToolError", "message": "x"}]
    assert json.loads(only(tmp_path, errors=errors)["error"]) == errors


def test_the_task_fills_the_info_where_the_trace_lacks_it(tmp_path):
    assert only(tmp_path)["info"] == {"module_name": "N", "python_code": "code"}


def test_example_and_task_come_from_the_task(tmp_path):
    data = only(tmp_path)
    assert (data["example_id"], data["task"]) == (3, "KBTask")


def test_the_state_of_a_trace_travels_along(tmp_path):
    data = only(tmp_path)
    names = ("stop_condition", "is_completed", "ok", "trace_id", "episode_id")
    assert [data[name] for name in names] == ["done", True, True, "t1", "e1"]


def test_a_metric_is_a_column_too(tmp_path):
    data = only(tmp_path)
    assert (data["raw"], data["metrics"]) == (1.7, {"raw": 1.7})


def test_a_metric_never_replaces_a_column(tmp_path):
    metrics = {"reward": 9.0, "task": 9.0, "generation_ms": 9.0, "ok": 9.0, "oai_tools": 9.0}
    plain, measured = only(tmp_path, metrics={}), only(tmp_path, metrics=metrics)
    assert measured == plain | {"metrics": metrics}


def test_the_speedup_is_taken_from_a_reward_of_that_name(tmp_path):
    rewards = {"speedup_reward": {"score": 1.5, "weight": 0.5}}
    data = only(tmp_path, rewards=rewards)
    assert (data["reward"], data["speedup_reward"]) == (0.75, 1.5)


def test_the_spans_of_a_trace_become_milliseconds(tmp_path):
    timing = {
        "start": 100.0,
        "agent": {"start": 101.0, "end": 103.0, "model": {"duration": 1.0}},
        "scoring": {"start": 103.0, "end": 104.0},
        "finalize": {"start": 0.0, "end": 0.0},
    }
    data = only(tmp_path, timing=timing)
    assert (data["generation_ms"], data["scoring_ms"], data["total_ms"]) == (2000, 1000, 4000)


BRANCHED = [
    node("user", "u"),
    node("assistant", "first", 0, sampled=True),
    node("tool", "result", 1),
    node("assistant", "second", 2, sampled=True),
    node("assistant", "other", 0, sampled=True),
]


def test_every_leaf_is_a_row(tmp_path):
    rows = read(tmp_path, episode(trace(nodes=BRANCHED)))
    said = [[message["content"] for message in row.data["completion"]] for row in rows]
    assert said == [["first", "result", "second"], ["other"]]


def test_branches_are_counted_through_the_episode(tmp_path):
    rows = read(tmp_path, episode(), episode(trace(nodes=BRANCHED), trace()))
    assert [row.origin for row in rows] == [
        "traces.jsonl:1#branch0",
        "traces.jsonl:2#branch0",
        "traces.jsonl:2#branch1",
        "traces.jsonl:2#branch2",
    ]


def test_the_other_traces_of_an_episode_survive_a_bad_one(tmp_path):
    rows = read(tmp_path, episode(trace(nodes=[]), trace()))
    assert [type(row) for row in rows] == [BadRow, Row]
    assert rows[1].origin == "traces.jsonl:1#branch1"


def test_a_bare_trace_is_read_like_an_episode(tmp_path):
    (row,) = read(tmp_path, trace())
    assert (row.data["reward"], row.data["episode_id"]) == (2.0, None)


def test_the_task_of_the_episode_serves_a_trace_without_one(tmp_path):
    (row,) = read(tmp_path, episode(trace(task=None), task={"type": "T", "data": {"idx": 8}}))
    assert (row.data["task"], row.data["example_id"]) == ("T", 8)


def test_a_branch_that_nobody_sampled_has_an_empty_completion(tmp_path):
    assert only(tmp_path, nodes=[node("user", "u")])["completion"] == []


def test_reasoning_stays_on_its_message(tmp_path):
    nodes = deepcopy(trace()["nodes"])
    nodes[2]["message"]["reasoning_content"] = "hmm"
    assert only(tmp_path, nodes=nodes)["completion"][0]["reasoning_content"] == "hmm"


@pytest.mark.parametrize("parent", [9, -1, "0", True, 1.5])
def test_a_dangling_parent_is_a_bad_row(tmp_path, parent):
    nodes = [node("user", "u"), node("assistant", "a", parent, sampled=True)]
    assert "names the parent" in refused(tmp_path, nodes=nodes)


@pytest.mark.parametrize("parents", [(0,), (1, 0), (None, 2, 1), (1, 0, 1)])
def test_a_circle_is_a_bad_row(tmp_path, parents):
    nodes = [node("user", "x", parent) for parent in parents]
    assert "circle" in refused(tmp_path, nodes=nodes)


@pytest.mark.parametrize("nodes", [None, [], "x", [5], [{"parent": 0}]])
def test_a_trace_without_messages_is_a_bad_row(tmp_path, nodes):
    assert "message" in refused(tmp_path, nodes=nodes)


def test_an_episode_without_a_trace_is_a_bad_row(tmp_path):
    (row,) = read(tmp_path, episode() | {"traces": []})
    assert "has no trace" in row.reason


def test_modules_are_read_from_traces(tmp_path):
    (row,) = read(tmp_path, episode(trace(rewards={})), kind="modules")
    assert (row.data["python_code"], row.data["module_name"]) == ("code", "N")


@given(st.lists(st.none() | st.integers(-1, 6), min_size=1, max_size=6))
def test_any_tree_of_messages_is_walked_or_refused(parents):
    nodes = [node("user", str(at), parent) for at, parent in enumerate(parents)]
    rows = list(expand(Row("x:1", episode(trace(nodes=nodes)))))
    if isinstance(rows[0], Row):
        seen = {message["content"] for row in rows for message in row.data["prompt"]}
        assert seen == {str(at) for at in range(len(parents))}
    else:
        assert len(rows) == 1


def prime_row(**columns):
    base = {
        "episode_id": "e1",
        "trace_id": "t1",
        "task_type": "KBTask",
        "task_data": json.dumps({"idx": 4, "python_code": "code"}),
        "reward": 0.9,
        "rewards": json.dumps({"fast": {"score": 0.9, "weight": 1.0}}),
        "metrics": json.dumps({"speedup_reward": 1.2}),
        "info": json.dumps({"module_name": "M"}),
        "timing": json.dumps({"start": 1.0, "agent": {"start": 1.0, "end": 3.0}}),
        "branch_index": 0,
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "again"},
        ],
    }
    return base | columns


def prime(tmp_path, **columns):
    (row,) = read(tmp_path, prime_row(**columns))
    return row


def test_messages_are_split_at_the_first_answer(tmp_path):
    data = prime(tmp_path).data
    assert [message["content"] for message in data["prompt"]] == ["u"]
    assert [message["content"] for message in data["completion"]] == ["a", "again"]


def test_messages_written_as_json_are_split_too(tmp_path):
    messages = json.dumps(prime_row()["messages"])
    assert prime(tmp_path, messages=messages).data["completion"][0]["content"] == "a"


def test_the_columns_of_prime_rl_fill_the_schema(tmp_path):
    data = prime(tmp_path).data
    names = ("example_id", "task", "reward", "info", "speedup_reward", "generation_ms")
    info = {"module_name": "M", "python_code": "code"}
    assert [data[name] for name in names] == [4, "KBTask", 0.9, info, 1.2, 2000.0]


def test_a_reward_that_prime_rl_left_out_is_summed(tmp_path):
    assert prime(tmp_path, reward=None).data["reward"] == 0.9


@pytest.mark.parametrize("messages", ["nonsense", 5, ["x"]])
def test_messages_that_cannot_be_read_are_a_bad_row(tmp_path, messages):
    assert "messages is" in prime(tmp_path, messages=messages).reason


def test_the_real_sample_is_read():
    if not SAMPLE.exists():
        pytest.skip("the shared data is not here")
    source = open_source(str(SAMPLE))
    (row,) = source.rows()
    assert source.info().format == "verifiers-0.4-traces"
    assert (row.data["reward"], row.data["speedup_raw"]) == (1.1, 1.7)
    assert row.data["completion"][0]["reasoning_content"] == "hmm"
