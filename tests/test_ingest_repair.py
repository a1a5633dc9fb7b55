"""Repair: rows of every generation become rows of one schema."""

import json
import math
from copy import deepcopy
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.ingest import ROLLOUT_COLUMNS
from kernelsift.ingest.repair import repair, shape_module
from kernelsift.ingest.row import Unusable


def rollout(**columns):
    return {"prompt": "write it", "completion": "done", "reward": 1.0} | columns


def repaired(**columns):
    data = repair(rollout(**columns))
    assert isinstance(data, dict)
    return data


def reason(data):
    found = repair(data)
    assert isinstance(found, Unusable)
    return found.reason


def test_a_repaired_row_has_every_column_of_the_schema_first():
    assert tuple(repaired(zeta=1))[: len(ROLLOUT_COLUMNS)] == ROLLOUT_COLUMNS


def test_a_prompt_that_is_text_is_one_user_message():
    assert repaired()["prompt"] == [{"role": "user", "content": "write it"}]


def test_a_completion_that_is_text_is_one_assistant_message():
    assert repaired()["completion"] == [{"role": "assistant", "content": "done"}]


def test_a_conversation_as_json_text_is_decoded():
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert repaired(prompt=json.dumps(messages))["prompt"] == messages


@pytest.mark.parametrize("text", ["[1, 2]", "[broken", '{"a": 1}', "{x}"])
def test_text_that_only_looks_like_json_stays_text(text):
    assert repaired(prompt=text)["prompt"] == [{"role": "user", "content": text}]


@pytest.mark.parametrize("content", [None, [], ""])
def test_an_empty_content_is_empty_text(content):
    message = {"role": "assistant", "content": content}
    assert repaired(completion=[message])["completion"][0]["content"] == ""


@pytest.mark.parametrize("completion", [None, [], "[]"])
def test_an_empty_completion_is_a_good_row(completion):
    assert repaired(completion=completion)["completion"] == []


def test_content_parts_are_joined_and_pictures_leave_a_mark():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}, "this"]
    prompt = [{"role": "user", "content": parts}]
    assert repaired(prompt=prompt)["prompt"][0]["content"] == "see\n[image]\nthis"


def test_tool_calls_written_as_text_become_objects():
    calls = ['{"name": "run", "arguments": "{}"}', "not json"]
    message = {"role": "assistant", "content": "", "tool_calls": calls}
    expected = [{"name": "run", "arguments": "{}"}, "not json"]
    assert repaired(completion=[message])["completion"][0]["tool_calls"] == expected


def test_reasoning_stays_a_key_of_its_message():
    message = {"role": "assistant", "content": "x", "reasoning_content": "hmm"}
    assert repaired(completion=[message])["completion"] == [message]


def test_null_keys_of_messages_are_left_out():
    message = {"role": "assistant", "content": "x", "tool_calls": None}
    assert repaired(completion=[message])["completion"] == [{"role": "assistant", "content": "x"}]


def test_a_struct_of_lists_is_a_conversation_too():
    prompt = {"role": ["system", "user"], "content": ["s", "u"]}
    expected = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert repaired(prompt=prompt)["prompt"] == expected


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (3, "prompt is int"),
        (["x"], "prompt[0] is str"),
        ([{"content": "x"}], "prompt[0] has no role"),
        ([{"role": "user", "content": 5}], "prompt[0].content is int"),
        (None, "no prompt"),
    ],
)
def test_a_prompt_without_a_reading_is_named(prompt, why):
    assert why in reason(rollout(prompt=prompt))


def test_a_row_without_a_completion_column_cannot_be_used():
    assert "no completion" in reason({"prompt": "p", "reward": 1.0})


@pytest.mark.parametrize("info", [None, "", "null", {}])
def test_a_missing_info_is_empty(info):
    assert repaired(info=info)["info"] == {}


def test_an_info_written_as_json_text_is_decoded():
    assert repaired(info='{"module_name": "M"}')["info"] == {"module_name": "M"}


@pytest.mark.parametrize("info", [[1], "[1]", "nonsense", 7])
def test_an_info_that_is_no_object_cannot_be_used(info):
    assert "info is" in reason(rollout(info=info))


@pytest.mark.parametrize("reward", [True, "0.9", math.nan, math.inf, -math.inf, [1.0], 10**400])
def test_a_reward_that_is_no_finite_number_is_named(reward):
    assert reason(rollout(reward=reward)).startswith("reward is")


def test_the_reason_names_the_reward_that_is_text():
    assert "'0.9'" in reason(rollout(reward="0.9"))


def test_a_row_without_a_reward_cannot_be_used():
    assert reason(rollout(reward=None)) == "the row has no reward"


@pytest.mark.parametrize("reward", [1, Decimal("0.5"), -2.5])
def test_a_finite_reward_is_a_float(reward):
    assert type(repaired(reward=reward)["reward"]) is float


def test_milliseconds_come_out_of_the_timing_of_0_1_10():
    timing = {"start_time": 5.0, "generation_ms": 10.0, "scoring_ms": 2.0, "total_ms": 12.0}
    data = repaired(timing=timing)
    assert (data["generation_ms"], data["scoring_ms"], data["total_ms"]) == (10.0, 2.0, 12.0)


def test_seconds_and_spans_of_0_1_14_become_milliseconds():
    timing = {
        "start_time": 1.0,
        "generation": {"start": 1.0, "end": 3.5},
        "scoring": {"start": 4.0, "end": 9.0, "duration": 0.5},
        "total": 4.0,
    }
    data = repaired(timing=timing)
    assert (data["generation_ms"], data["scoring_ms"], data["total_ms"]) == (2500, 500, 4000)


def test_a_span_that_was_never_entered_is_no_measurement():
    assert repaired(timing={"scoring": {"start": 0.0, "end": 0.0}})["scoring_ms"] is None


def test_a_duration_that_is_there_is_not_overwritten():
    assert repaired(generation_ms=7.0, timing={"generation_ms": 1.0})["generation_ms"] == 7.0


def test_the_timing_column_stays_as_it_was():
    timing = {"generation_ms": 1.0}
    assert repaired(timing=timing)["timing"] == {"generation_ms": 1.0}


def test_a_metric_never_overwrites_a_column_of_the_schema():
    metrics = {"reward": 9.0, "task": 9.0, "info": 9.0, "answer": 9.0, "generation_ms": 9.0}
    plain, measured = repaired(task="t"), repaired(task="t", metrics=metrics)
    assert measured == plain | {"metrics": metrics}


def test_the_speedup_is_taken_from_the_metrics_where_no_column_has_it():
    assert repaired(metrics={"speedup_reward": 1.5})["speedup_reward"] == 1.5


def test_a_speedup_column_wins_over_the_metric():
    assert repaired(speedup_reward=2.0, metrics={"speedup_reward": 1.5})["speedup_reward"] == 2.0


def test_a_module_row_takes_from_info_what_it_lacks():
    data = shape_module(rollout(info={"python_code": "import torch", "module_name": "M"}))
    assert (data["python_code"], data["module_name"]) == ("import torch", "M")


def test_a_module_row_prefers_its_own_columns():
    data = shape_module({"python_code": "a", "info": {"python_code": "b"}, "uuid": 3})
    assert (data["python_code"], data["uuid"], data["triton_code"]) == ("a", 3, None)


@pytest.mark.parametrize("code", [None, "", "  \n", 7, ["x"]])
def test_a_module_without_source_cannot_be_used(code):
    found = shape_module({"python_code": code, "module_name": "M"})
    assert isinstance(found, Unusable)
    assert found.reason.startswith("python_code is")


def test_the_columns_of_a_module_row_that_are_unknown_are_untouched():
    assert shape_module({"python_code": "a", "stars": 5})["stars"] == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
contents = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.lists(
        st.one_of(
            st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=5)),
            st.sampled_from([{"type": "image_url", "image_url": {}}, {"type": "other"}]),
        ),
        max_size=3,
    ),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": contents,
        "reasoning_content": st.none() | st.text(max_size=5),
        "tool_calls": st.none() | st.lists(json_values | json_values.map(json.dumps), max_size=2),
    },
)
conversations = st.lists(messages, max_size=3)
spans = st.floats(allow_nan=False) | st.fixed_dictionaries(
    {}, optional={"start": st.floats(0, 9), "end": st.floats(0, 9), "duration": json_values}
)
rows = st.fixed_dictionaries(
    {
        "prompt": conversations | conversations.map(json.dumps) | st.text() | json_values,
        "completion": conversations | conversations.map(json.dumps) | st.text() | json_values,
        "reward": st.floats(allow_nan=False) | json_values,
    },
    optional={
        "info": st.dictionaries(st.text(max_size=5), json_values, max_size=3) | json_values,
        "timing": json_values
        | st.dictionaries(
            st.sampled_from(["generation", "scoring", "total", "agent", "start", "total_ms"]), spans
        ),
        "metrics": st.dictionaries(st.sampled_from([*ROLLOUT_COLUMNS, "x"]), json_values),
        "rewards": json_values,
        "generation_ms": json_values,
    },
)
strangers = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ROLLOUT_COLUMNS), json_values, max_size=4
)


@given(rows)
def test_repair_is_idempotent(row):
    once = repair(row)
    if isinstance(once, dict):
        assert repair(once) == once


@given(rows, strangers)
def test_repair_leaves_unknown_columns_untouched(row, unknown):
    row = row | unknown
    before = deepcopy(row)
    found = repair(row)
    if isinstance(found, dict):
        known = set(ROLLOUT_COLUMNS)
        rest = {name: value for name, value in found.items() if name not in known}
        assert rest == {name: value for name, value in before.items() if name not in known}


@given(rows)
def test_repair_does_not_change_the_row_it_is_given(row):
    before = deepcopy(row)
    repair(row)
    assert row == before


@given(rows)
def test_every_repaired_message_has_a_role_and_text(row):
    found = repair(row)
    if isinstance(found, dict):
        for message in found["prompt"] + found["completion"]:
            assert isinstance(message["role"], str)
            assert isinstance(message["content"], str)


@given(rows)
def test_every_repaired_reward_is_a_finite_float(row):
    found = repair(row)
    assert isinstance(found, Unusable) or math.isfinite(found["reward"])


@given(st.dictionaries(st.sampled_from([*ROLLOUT_COLUMNS, "python_code", "x"]), json_values))
def test_shaping_a_module_is_idempotent(row):
    once = shape_module(row)
    if isinstance(once, dict):
        assert shape_module(once) == once
