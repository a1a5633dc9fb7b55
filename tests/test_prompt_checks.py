"""Task prompts are held against their module: leaks, gaps, claims, and the set as a whole."""

import importlib.util
import json

import pyarrow.parquet as pq
import pytest
from build import CLAIMS, SPECIFICATION, Counted, opened, reference, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift import pipeline
from kernelsift.kernels.describe import describe
from kernelsift.model import TaskPrompt
from kernelsift.prompting.claims import Claims, Interface, compare, parse_claims
from kernelsift.prompting.facts import read_module
from kernelsift.prompting.findings import check
from kernelsift.prompting.leaks import RUN
from kernelsift.prompting.texts import numbers

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
SOURCE = '''
import math
import torch
from torch import nn
from torch.nn import functional as F


def scaled_scores(query, key, inner_width):
    raw_scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(inner_width)
    return F.softmax(raw_scores, dim=-1)


class Attend(nn.Module):
    """Attention over a memory."""

    def __init__(self, width, eps=1e-06, causal=False, mode="plain"):
        super().__init__()
        self.proj_in = nn.Linear(width, 96)
        self.inner_width = width
        self.eps = eps

    def forward(self, x, memory, mask=None):
        # project, attend, normalise
        hidden_rows = F.relu(self.proj_in(x))
        mixed_rows = torch.matmul(scaled_scores(hidden_rows, memory, self.inner_width), memory)
        return mixed_rows / (mixed_rows.norm(dim=-1, keepdim=True) + self.eps) * 0.75


def get_inputs():
    return [torch.rand([4, 4]), torch.rand([4, 96])]


def get_init_inputs():
    return [[], {'width': 4}]
'''
GOOD = """## Interface
The class AttendNew with __init__(self, width, eps=1e-06, causal=False, mode="plain") and
forward(self, x, memory, mask=None).
## Inputs
`x` and `memory` are float32 tensors of shapes (4, 4) and (4, 96); `mask` is not used.
## Computation
A linear layer `proj_in` with 96 outputs is applied to x, then ReLU. Matrix products with memory,
divided by the square root of the width, go through a softmax over the last dimension and weigh the
memory. The result is divided by its norm over the last dimension plus eps, and multiplied by 0.75.
## Output
A float32 tensor of shape (4, 96).
"""


def slugs(prompt, source=SOURCE, name="Attend"):
    return {finding.slug for finding in check(prompt, name, source).bad}


def test_a_good_prompt_has_nothing_to_be_told():
    checked = check(GOOD, "Attend", SOURCE)
    assert (checked.bad, checked.notes, checked.failure) == ((), (), None)


LEAKS = {
    "a helper": ("The helper scaled_scores does it.", "identifier", "scaled_scores"),
    "a local": ("Call this hidden_rows.", "identifier", "hidden_rows"),
    "a private attribute": ("Keep `inner_width` as well.", "identifier", "inner_width"),
    "a run": (
        "mixed_rows = torch . matmul(scaled_scores(hidden_rows, memory, self.inner_width), memory)",
        "token-run",
        "from line 25 of the module",
    ),
    "a short line": ("First hidden_rows = F.relu(self.proj_in(x)", "call-syntax", "F.relu("),
    "a fence": ("```python\nx\n```", "code-fence", "```python"),
    "a call": ("Use torch.matmul(x, memory).", "call-syntax", "torch.matmul("),
    "a block size": ("Take BLOCK_SIZE 128.", "hint", "BLOCK_SIZE"),
    "warps": ("Use num_warps of 4.", "hint", "num_warps"),
    "Triton's language": ("Read it by tl.load.", "hint", "tl.load"),
    "shared memory": ("Keep a tile in shared memory.", "hint", "shared memory"),
}


@pytest.mark.parametrize(("text", "slug", "evidence"), LEAKS.values(), ids=LEAKS)
def test_a_leak_is_named_with_its_place(text, slug, evidence):
    checked = check(GOOD + text, "Attend", SOURCE)
    found = [finding.evidence for finding in checked.bad if finding.slug == slug]
    assert found
    assert evidence in found[0]
    assert "line 12" in found[0]
    assert checked.failure == "prompt-leak"


HARMLESS = {
    "names of the interface": "width, eps, causal, mode, x, memory, mask, `proj_in.weight`",
    "a comment": "project, attend, normalise",
    "names of arguments": "Reduce with dim = -1 and keepdim = true.",
    "words that are variables elsewhere": "The query and the key are multiplied.",
    "dtypes": "It returns torch.float32.",
    "a signature in lines": "__init__(\n  self, width, eps=1e-06,\n causal=False)",
}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_what_belongs_to_the_interface_is_no_leak(text):
    assert slugs(GOOD + text) == set()


def test_a_hint_that_is_a_parameter_of_the_module_is_none():
    source = SOURCE.replace("causal=False", "block_size=8")
    prompt = GOOD.replace("causal=False", "block_size=8")
    assert slugs(prompt + "The block size is a power of two.", source) == set()


GAPS = {
    "the class": ("AttendNew", "AttentionNew", "class-name", "AttendNew"),
    "a parameter": ("memory", "store", "parameter", "memory"),
    "a default that is a number": ("1e-06", "0.001", "default", "eps=1e-06"),
    "a default that is a text": ('"plain"', '"other"', "default", "mode='plain'"),
    "a constant of forward": ("0.75", "3/4", "constant", "0.75"),
    "a constant of a layer": ("96", "97", "constant", "96"),
}


@pytest.mark.parametrize(("old", "new", "slug", "evidence"), GAPS.values(), ids=GAPS)
def test_what_is_left_out_is_named(old, new, slug, evidence):
    checked = check(GOOD.replace(old, new), "Attend", SOURCE)
    assert any(f.slug == slug and evidence in f.evidence for f in checked.bad)
    assert checked.failure == "prompt-incomplete"


def test_a_module_none_of_whose_operations_is_described_is_told_so():
    text = "AttendNew: __init__(self, width, eps=1e-06, causal=False, mode='plain'), forward(self, "
    text += "x, memory, mask=None). It gives what comes from 0.75 and 96 in some way, as always."
    assert "operations" in slugs(text)


def test_a_single_missing_operation_is_only_noted():
    checked = check(GOOD.replace("a softmax", "something"), "Attend", SOURCE)
    assert [(f.slug, f.severity) for f in checked.notes] == [("operation", "note")]
    assert "softmax" in checked.notes[0].evidence


def test_numbers_count_however_they_are_written():
    written = "1e-5, 10^-6, 3 × 10⁻⁸, 1,024, half, .25, 7x7, three, 2.50"
    known = {1e-5, 1e-6, 3e-8, 1024, 0.5, 0.25, 7, 3, 2.5}
    found = numbers(written)
    assert [k for k in known if not any(abs(k - n) < 1e-12 for n in found)] == []


def test_a_module_that_cannot_be_read_is_checked_by_its_text_alone():
    assert slugs(GOOD, "class (") == set()
    assert slugs(GOOD + "```\nx\n```", "class (") == {"code-fence"}


@given(prompt=st.text(max_size=300), source=st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_text_stops_the_checks(prompt, source):
    check(prompt, "M", source)
    check(prompt, "Attend", SOURCE + source)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_run_of_twelve_tokens_is_found_wherever_it_stands(data):
    module = read_module("Attend", SOURCE)
    piece = data.draw(st.sampled_from([p for p in module.code if len(p) >= 2 * RUN]))
    start = data.draw(st.integers(0, len(piece) - RUN))
    size = data.draw(st.integers(RUN, min(30, len(piece) - start)))
    words = [token.text for token in piece[start : start + size]]
    names = {w for w in words[:RUN] if w.isidentifier() and w not in module.values}
    lines = GOOD.split("\n")
    lines.insert(data.draw(st.integers(0, len(lines))), " ".join(words))
    if len(names) >= 3:
        assert "token-run" in slugs("\n".join(lines))


def test_the_template_passes_its_own_checks():
    assert check(describe("Attend", SOURCE), "Attend", SOURCE).bad == ()


def test_a_module_that_the_template_describes_badly_is_a_failure(tmp_path):
    hidden = SOURCE.replace("* 0.75", "* getattr(torch, 'relu')(x, **{'inplace': 0.7})")
    rows, tally, _ = run(tmp_path, None, source=hidden, prompts__generator="template")
    assert rows == []
    assert tally.counts["failed: prompt-incomplete"] == 1


# ---- claims --------------------------------------------------------------------------------------

TRUE = {
    "inputs": [
        {"name": "x", "shape": [4, 4], "dtype": "float32"},
        {"name": "memory", "shape": [4, 96], "dtype": "torch.float32"},
    ],
    "outputs": [{"shape": [4, 96], "dtype": "float"}],
    "init": [
        {"name": "width", "value": 4},
        {"name": "eps", "value": 1e-06},
        {"name": "causal", "value": False},
        {"name": "mode", "value": "plain"},
    ],
}
SEEN = Interface.model_validate({
    "inputs": [
        {"name": "x", "shape": [4, 4], "dtype": "float32"},
        {"name": "pair[0]", "shape": [None], "dtype": "int64"},
        {"name": "flag", "shape": None, "dtype": "bool"},
    ],
    "outputs": [{"shape": [], "dtype": "float32"}],
    "init": {"size": [3, 3], "scale": 1.0, "config": {"width": 4}},
    "opaque": ["act"],
})
AGREED = {
    "inputs": [
        {"name": "`x`", "shape": [4, 4], "dtype": "float"},
        {"name": "pair[0]", "shape": [7], "dtype": "long"},
        {"name": "flag", "shape": None, "dtype": "boolean"},
    ],
    "outputs": [{"shape": [], "dtype": "torch.float32"}],
    "init": [
        {"name": "size", "value": [3, 3]},
        {"name": "scale", "value": 1},
        {"name": "config", "value": {"width": 4}},
        {"name": "act", "value": None},
    ],
}


def block(tree):
    return f"<interface>\n{json.dumps(tree)}\n</interface>"


def told(tree, seen=SEEN):
    claims = parse_claims(block(tree))
    assert isinstance(claims, Claims), claims
    return [finding.what + ": " + finding.evidence for finding in compare(claims, seen)]


def changed(path, value):
    tree = json.loads(json.dumps(AGREED))
    *way, last = path
    held = tree
    for step in way:
        held = held[step]
    if value is None:
        del held[last]
    else:
        held[last] = value
    return tree


def test_claims_that_agree_are_found_right_in_other_words_too():
    assert told(AGREED) == []


WRONG = {
    "a size": (("inputs", 0, "shape"), [4, 5], "said [4, 5] float, when run [4, 4]"),
    "a rank": (("inputs", 1, "shape"), [7, 1], "when run [varying] int64"),
    "a dtype": (("inputs", 0, "dtype"), "float64", "said [4, 4] float64, when run [4, 4] float32"),
    "a kind": (("inputs", 2, "dtype"), "int", "said int, when run bool"),
    "an input too few": (("inputs", 0), None, "the input x is left out"),
    "an output's size": (("outputs", 0, "shape"), [1], "said [1] torch.float32"),
    "an output too few": (("outputs", 0), None, "said: 0, when run: 1"),
    "a number": (("init", 1, "value"), 1.5, "scale: said 1.5, when run 1.0"),
    "a truth value for a number": (("init", 1, "value"), True, "said true, when run 1.0"),
    "a list": (("init", 0, "value"), [3, 5], "size: said [3, 5]"),
    "an attribute": (("init", 2, "value"), {"width": 5}, "config: said"),
    "a parameter too few": (("init", 1), None, "left out: scale = 1.0"),
    "an invented parameter": (("init", 3, "name"), "depth", "no such parameter: depth"),
}


@pytest.mark.parametrize(("path", "value", "evidence"), WRONG.values(), ids=WRONG)
def test_a_wrong_claim_is_named(path, value, evidence):
    found = told(changed(path, value))
    assert any(evidence in text for text in found), found


UNREADABLE = {
    "no block": ("none", "no <interface>"),
    "no JSON": ("<interface>{inputs: []}</interface>", "no JSON"),
    "NaN": ('<interface>{"inputs": [], "outputs": [], "init": [{"name": "a", "value": NaN}]}'
            "</interface>", "NaN is not JSON"),
    "a key twice": ('<interface>{"inputs": [], "inputs": []}</interface>', "stands twice"),
    "a missing key": (block({"inputs": [], "outputs": []}), "init: Field required"),
    "another key": (block({**AGREED, "ops": []}), "ops: Extra inputs are not permitted"),
    "a size that is a text": (block(changed(("outputs", 0, "shape"), ["N"])), "outputs.0.shape"),
    "a size below zero": (block(changed(("outputs", 0, "shape"), [-1])), "outputs.0.shape"),
    "a list": ("<interface>[]</interface>", "not as asked for"),
    "too long": (f"<interface>{' ' * 30}{'[' * 20_001}</interface>", "more than 20,000"),
    "too deep": (f"<interface>{'[' * 15_000}</interface>", "no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_block_that_is_not_as_asked_for_is_told_why(text, why):
    found = parse_claims(text)
    assert isinstance(found, str)
    assert why in found


def test_the_last_block_counts_and_may_be_fenced():
    text = (
        f"<interface>draft</interface>\n<interface>```json\n{json.dumps(AGREED)}\n```</interface>"
    )
    assert isinstance(parse_claims(text), Claims)


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_block_stops_the_parser(text):
    assert isinstance(parse_claims(f"<interface>{text}</interface>"), Claims | str)


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.lists(st.integers(0, 9), max_size=4) | st.none(), VALUES)
@settings(max_examples=50, deadline=None)
def test_what_was_seen_and_is_claimed_word_for_word_agrees(shape, value):
    kind = "float32" if shape is not None else "object"
    leaf = {"name": "x", "shape": shape, "dtype": kind}
    seen = Interface.model_validate({"inputs": [leaf], "outputs": [leaf], "init": {"a": value}})
    output = {"shape": shape, "dtype": kind}
    tree = {"inputs": [leaf], "outputs": [output], "init": [{"name": "a", "value": value}]}
    assert told(tree, seen) == []


# ---- the stage -----------------------------------------------------------------------------------


def run(tmp_path, chat, source=SOURCE, name="Attend", retry=None, **dotted):
    """Prompts of one module; returns written rows, the tally and what stands in the report."""
    row = {"module_name": name, "python_code": source, "uuid": "u"}
    path = write_jsonl(tmp_path / "modules.jsonl", [row])
    dotted.setdefault("prompts__check_claims", "off")
    with opened(tmp_path / "run", chat=chat, prompts__source=str(path), **dotted) as session:
        tally = pipeline.prompts(session, retry=retry)
        facts = [f for f in session.run.latest("prompts").values() if f is not None]
    rows = pq.read_table(tmp_path / "run" / "prompts.parquet").to_pylist()
    assert len(facts) == 1
    return rows, tally, facts[0].body


def reply(prompt=GOOD, claims=TRUE):
    return f"<specification>\n{prompt}</specification>\n{block(claims)}"


def report(tmp_path):
    return json.loads((tmp_path / "run" / "prompts_quality.json").read_text(encoding="utf-8"))


def test_a_bad_prompt_is_sent_back_with_the_finding_and_a_good_one_accepted(tmp_path):
    chat = Counted([reply(GOOD + "The helper scaled_scores does it."), reply()])
    rows, _, body = run(tmp_path, chat)
    assert "it names a helper of the module (line 12: scaled_scores)" in (
        chat.asks[1].messages[-1].content
    )
    assert "<interface> block again" in chat.asks[1].messages[-1].content
    assert [row["prompt"] for row in rows] == [GOOD.strip() + "\n"]
    assert isinstance(body, TaskPrompt)
    assert json.loads(body.claims)["init"][0] == {"name": "width", "value": 4}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (reply(GOOD + "Use num_warps of 4."), "prompt-leak"),
        (reply(GOOD.replace("mask", "other")), "prompt-incomplete"),
        (reply().replace('"dtype"', '"type"'), "claims-wrong"),
    ],
)
def test_a_prompt_that_is_bad_twice_is_a_failure_and_not_exported(tmp_path, answer, failure):
    chat = Counted(answer)
    rows, tally, body = run(tmp_path, chat)
    assert rows == []
    assert (body.failure, chat.count) == (failure, 2)
    assert tally.counts[f"failed: {failure}"] == 1
    assert report(tmp_path)["failures"] == {failure: 1}
    again, _, _ = run(tmp_path, Counted(reply()), retry=[failure])
    assert len(again) == 1


def test_the_older_instrument_asks_for_no_claims(tmp_path):
    chat = Counted(f"<specification>{GOOD}</specification>")
    rows, _, body = run(
        tmp_path, chat, prompts__instrument="generate-1", prompts__check_claims="auto"
    )
    assert len(rows) == 1
    assert (body.claims, body.executed, chat.count) == ("", "", 1)
    assert "<interface>" not in chat.asks[0].messages[0].content


def test_claims_that_are_not_to_be_run_are_stored_with_the_reason(tmp_path):
    _, _, body = run(tmp_path, Counted(reply()))
    assert body.executed == "not run: not asked for"


def test_remarks_stand_in_the_report_and_in_the_tally(tmp_path):
    _, tally, _ = run(tmp_path, Counted(reply(GOOD.replace("a softmax", "something"))))
    found = report(tmp_path)
    assert found["findings"] == {"operation": 1}
    assert found["rows"][0]["notes"][0]["evidence"].startswith("softmax")
    assert any("operation 1" in note for note in tally.notes)


def test_the_set_is_measured_as_a_whole(tmp_path):
    def answer(ask):
        name = ask.messages[1].content.split("Module to describe: ")[1].split("\n")[0]
        return f"<specification>{SPECIFICATION.format(name=name)}</specification>{CLAIMS}"

    rows = [{"module_name": n, "python_code": reference(n)} for n in ("One", "Two", "Three")]
    path = write_jsonl(tmp_path / "modules.jsonl", rows)
    values = {"prompts__source": str(path), "prompts__check_claims": "off"}
    with opened(tmp_path / "run", chat=Counted(answer), **values) as session:
        tally = pipeline.prompts(session)
    found = report(tmp_path)["diversity"]
    assert found["distinct_prompts"] == found["near_duplicates"] == 3
    assert (found["top_opening"], found["top_opening_share"]) == ("write the class", 1.0)
    assert 0 < found["distinct_3"] < 0.5
    assert any("3 of 3 distinct prompts are near-duplicates" in note for note in tally.notes)


@needs_torch
def test_claims_are_compared_with_a_run_of_the_module(tmp_path):
    wrong = json.loads(json.dumps(TRUE))
    wrong["outputs"][0]["shape"] = [4, 4]
    wrong["init"][1]["value"] = 1e-05
    chat = Counted([reply(claims=wrong), reply()])
    rows, _, body = run(tmp_path, chat, prompts__check_claims="auto")
    if body.executed != "run":
        pytest.skip(f"claims cannot be run here: {body.executed}")
    said = chat.asks[1].messages[-1].content
    assert "said [4, 4] float, when run [4, 96] float32" in said
    assert "eps: said 1e-05, when run 1e-06" in said
    assert len(rows) == 1
    assert report(tmp_path)["executed"] == {"run": 1}


@needs_torch
def test_a_module_that_does_not_run_leaves_its_claims_unchecked_with_the_reason(tmp_path):
    broken = SOURCE.replace("torch.rand([4, 96])", "undefined")
    _, _, body = run(tmp_path, Counted(reply()), broken, prompts__check_claims="auto")
    assert isinstance(body, TaskPrompt)
    assert body.executed.startswith("not run: ")
