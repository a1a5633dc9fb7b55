"""verifiers 0.4: episodes of traces to rollout rows, one for every branch of a trace.

Also the table that prime-rl's converter makes of them, which has the messages of a branch in one
column. The rows still need `repair`.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from kernelsift.ingest.decode import decode, decoded_object
from kernelsift.ingest.message import RefusedError
from kernelsift.ingest.row import ROLLOUT_COLUMNS, BadRow, Row, bad_row

_TASK_FIELDS = frozenset({
    "idx", "id", "name", "prompt", "system_prompt", "skills", "network_allow", "network_block",
    "artifacts", "artifact_max_bytes", "timeout", "resources", "answer", "info",
})  # fmt: skip
"""Fields of a task that verifiers itself reads; the others describe the module."""
_OWN_COLUMNS = (*ROLLOUT_COLUMNS, "timing", "error")
_COPIED = ("stop_condition", "is_completed", "is_truncated", "ok", "rewards", "timing")


def is_trace(data: dict[str, Any]) -> bool:
    """Tell whether a row is an episode or a bare trace."""
    return "completion" not in data and ("traces" in data or "nodes" in data)


def is_conversation(data: dict[str, Any]) -> bool:
    """Tell whether a row has its conversation in one `messages` column."""
    return "completion" not in data and "messages" in data


def expand(row: Row) -> Iterator[Row | BadRow]:
    """Yield a row for every branch of every trace of an episode, or of a bare trace.

    A trace that cannot be walked is one bad row. Branches are counted through the episode.
    """
    episode = row.data
    traces = episode.get("traces", [episode])
    if not isinstance(traces, list) or not traces:
        yield bad_row(row.origin, f"the episode has no trace{_because(episode)}", episode)
        return
    number = 0
    for trace in traces:
        try:
            rows = list(_branch_rows(trace, episode))
        except RefusedError as refused:
            yield bad_row(f"{row.origin}#branch{number}", str(refused), trace)
            number += 1
            continue
        for data in rows:
            yield Row(f"{row.origin}#branch{number}", data)
            number += 1


def split_conversation(data: dict[str, Any]) -> dict[str, Any]:
    """Return the row with its `messages` split at the first answer into prompt and completion.

    Raises RefusedError where `messages` cannot be read.
    """
    messages = data["messages"]
    if isinstance(messages, str):
        try:
            messages = decode(messages)
        except ValueError:
            raise RefusedError("messages is text that is not JSON") from None
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise RefusedError("messages is not a list of messages")
    answers = (at for at, item in enumerate(messages) if item.get("role") == "assistant")
    cut = next(answers, len(messages))
    task = decoded_object(data.get("task_data"))
    found = {
        "example_id": task.get("idx"),
        "prompt": messages[:cut],
        "completion": messages[cut:],
        "task": data.get("task_type"),
        "answer": task.get("answer"),
        "info": _merged_info(data.get("info"), task),
    }
    if data.get("reward") is None:
        found["reward"] = _weighted_sum(decoded_object(data.get("rewards")))
    rest = {key: value for key, value in data.items() if key != "messages"}
    given = {key: value for key, value in rest.items() if key != "info" and value is not None}
    return rest | found | given


def _branch_rows(trace: object, episode: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(trace, dict):
        raise RefusedError("the trace is not an object")
    columns = _trace_columns(trace, episode)
    branches = _branches(trace)
    for index, nodes in enumerate(branches):
        sampled = (at for at, node in enumerate(nodes) if node.get("sampled") is True)
        cut = next(sampled, len(nodes))
        said = [node.get("message") for node in nodes]
        yield columns | {
            "prompt": said[:cut],
            "completion": said[cut:],
            "branch_index": index,
            "num_branches": len(branches),
        }


def _trace_columns(trace: dict[str, Any], episode: dict[str, Any]) -> dict[str, Any]:
    """Return what all branches of a trace share."""
    task = decoded_object(trace.get("task") or episode.get("task"))
    about = decoded_object(task.get("data"))
    metrics = decoded_object(trace.get("metrics"))
    errors = trace.get("errors")
    rewards = decoded_object(trace.get("rewards"))
    reward = _weighted_sum(rewards)
    if reward is None and errors:
        raise RefusedError(f"the trace has no reward{_because(trace)}")
    columns: dict[str, Any] = {
        "example_id": about.get("idx"),
        "prompt": None,
        "completion": None,
        "task": task.get("type"),
        "reward": reward,
        "info": _merged_info(trace.get("info"), about),
        "answer": about.get("answer"),
        "metrics": metrics,
        "error": orjson.dumps(errors).decode() if errors else None,
        "trace_id": trace.get("id"),
        "episode_id": episode.get("id") if episode is not trace else None,
        "branch_index": 0,
        "num_branches": 0,
    }
    columns |= {name: trace.get(name) for name in _COPIED}
    taken = {*columns, *_OWN_COLUMNS} - {"speedup_reward"}
    return columns | {name: value for name, value in metrics.items() if name not in taken}


def _merged_info(info: object, task: dict[str, Any]) -> dict[str, Any]:
    """Return the info, with what only the task knows of the module added."""
    extra = {key: value for key, value in task.items() if key not in _TASK_FIELDS}
    return extra | decoded_object(task.get("info")) | decoded_object(info)


def _weighted_sum(rewards: dict[str, Any]) -> Any:
    """Return Σ score × weight over the rewards that were given, or None if there is none."""
    terms = []
    for name, entry in rewards.items():
        pair = entry if isinstance(entry, dict) else {"score": entry}
        score, weight = pair.get("score"), pair.get("weight", 1.0)
        if score is None:
            continue
        for value in (score, weight):
            if not isinstance(value, int | float):
                raise RefusedError(f"the reward {name} is {value!r}, which is not a number")
        terms.append(score * weight)
    return sum(terms) if terms else None


def _branches(trace: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the nodes of each branch, root first, by the position of its leaf."""
    nodes = trace.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise RefusedError(f"the trace has no messages{_because(trace)}")
    parents = [_parent(node, at, len(nodes)) for at, node in enumerate(nodes)]
    inner = set(parents)
    leaves = [at for at in range(len(nodes)) if at not in inner]
    reached: set[int] = set()
    branches = []
    for leaf in leaves:
        path = _path(leaf, parents)
        reached.update(path)
        branches.append([nodes[at] for at in path])
    if len(reached) < len(nodes):
        raise RefusedError("the messages of the trace form a circle")
    return branches


def _parent(node: object, at: int, count: int) -> int | None:
    if not isinstance(node, dict) or not isinstance(node.get("message"), dict):
        raise RefusedError(f"node {at} of the trace has no message")
    parent = node.get("parent")
    if parent is None:
        return None
    if isinstance(parent, bool) or not isinstance(parent, int) or not 0 <= parent < count:
        raise RefusedError(f"node {at} of the trace names the parent {parent!r}, of {count} nodes")
    return parent


def _path(leaf: int, parents: list[int | None]) -> list[int]:
    path: list[int] = []
    at: int | None = leaf
    while at is not None:
        if len(path) > len(parents):
            raise RefusedError("the messages of the trace form a circle")
        path.append(at)
        at = parents[at]
    return path[::-1]


def _because(holder: dict[str, Any]) -> str:
    """Return the errors that an episode or trace records, to end a reason with."""
    errors = holder.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return ""
    return f" ({first.get('type')}: {str(first.get('message'))[:200]})"
