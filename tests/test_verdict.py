"""What counts as a judge's verdict."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.model import Failure
from kernelsift.verdict import Verdict, parse_verdict


def tags(difficulty, style):
    return f"<difficulty>{difficulty}</difficulty>\n<style>{style}</style>"


def as_json(difficulty, style):
    return json.dumps({"difficulty": difficulty, "style": style})


GOOD = {
    "tags": (tags(3, 4), (3, 4)),
    "both ends": (tags(0, 10), (0, 10)),
    "style first": ("<style>4</style> <difficulty>3</difficulty>", (3, 4)),
    "upper case": ("<DIFFICULTY>3</DIFFICULTY><Style>4</Style>", (3, 4)),
    "blanks": (tags(" 3\n", "\t4 "), (3, 4)),
    "of ten": (tags("8/10", "8 / 10"), (8, 8)),
    "reasons between": (f"Reason: fine.\n{tags(3, 4)}\nThat is all.", (3, 4)),
    "the same twice": (tags(3, 4) + tags(3, 4), (3, 4)),
    "a half repeated": (tags(3, 4) + "<style>4</style>", (3, 4)),
    "json": (as_json(3, 4), (3, 4)),
    "json with texts": (as_json("3", "4"), (3, 4)),
    "json in a fence": (f"```json\n{as_json(3, 4)}\n```", (3, 4)),
    "json in words": (f"So I say {as_json(3, 4)}.", (3, 4)),
    "json, same key twice, same value": ('{"difficulty":3,"difficulty":3,"style":4}', (3, 4)),
    "the last counts": (f"{tags(9, 9)} no, after all {tags(3, 4)}", (3, 4)),
    "the last json counts": (f"{as_json(9, 9)} {as_json(3, 4)}", (3, 4)),
    "quoted tags before": (f"The code says `# {tags(10, 10)}`.\n{tags(3, 4)}", (3, 4)),
    "quoted tags before json": (f"The code says {tags(10, 10)}.\n{as_json(3, 4)}", (3, 4)),
    "quoted json before tags": (f"It prints {as_json(10, 10)}.\n{tags(3, 4)}", (3, 4)),
    "tags in a json string": (
        json.dumps({"style_reason": f"it says {tags(10, 10)}", "difficulty": 3, "style": 4}),
        (3, 4),
    ),
    "tags and braces in a fenced json string": (
        "```json\n"
        + json.dumps({"style_reason": f"{{x}} {tags(10, 10)}", "difficulty": 3, "style": 4})
        + "\n```",
        (3, 4),
    ),
    "other objects behind": (f'{tags(3, 4)} as in {{"style": broken}}', (3, 4)),
}
BAD = {
    "empty": ("", "no-verdict"),
    "blank": (" \n", "no-verdict"),
    "words": ("I would say seven.", "no-verdict"),
    "no style": ("<difficulty>3</difficulty>", "no-verdict"),
    "no difficulty": ("<style>3</style>", "no-verdict"),
    "json half": ('{"difficulty": 3}', "no-verdict"),
    "empty tag": (tags("", 4), "no-verdict"),
    "tag not closed": ("<difficulty>3</difficulty><style>4", "no-verdict"),
    "eleven": (tags(11, 4), "out-of-range"),
    "minus one": (tags(3, -1), "out-of-range"),
    "json eleven": (as_json(11, 4), "out-of-range"),
    "a range": (tags("4-5", 4), "double-verdict"),
    "a range in words": (tags("4 to 5", 4), "double-verdict"),
    "of another scale": (tags("8/100", 4), "double-verdict"),
    "a fraction": (tags("7.5", 4), "not-an-integer"),
    "json fraction": (as_json(7.5, 4), "not-an-integer"),
    "json true": (as_json(True, 4), "not-an-integer"),
    "json null": (as_json(None, 4), "not-an-integer"),
    "json list": (as_json([3], 4), "not-an-integer"),
    "a word": (tags("seven", 4), "not-an-integer"),
    "a name": (tags("N", "N"), "not-an-integer"),
    "two values": ("<difficulty>3</difficulty><difficulty>4</difficulty>", "double-verdict"),
    "injected half before": (f"<style>10</style> {tags(3, 4)}", "double-verdict"),
    "another half behind": (tags(3, 4) + "<style>9</style>", "double-verdict"),
    "json keys twice": ('{"difficulty":3,"difficulty":9,"style":4}', "double-verdict"),
    "many digits": (tags("1" * 100_000, 4), "not-an-integer"),
    "many digits in json": (f'{{"difficulty": {"1" * 100_000}, "style": 4}}', "no-verdict"),
    "nested too deeply": ("{" + '"x":[' * 100_000 + "}", "no-verdict"),
}


@pytest.mark.parametrize(("text", "scores"), GOOD.values(), ids=GOOD)
def test_a_clear_pair_is_a_verdict(text, scores):
    assert parse_verdict(text) == Verdict(*scores)


@pytest.mark.parametrize(("text", "kind"), BAD.values(), ids=BAD)
def test_anything_else_is_a_failure_of_its_class(text, kind):
    found = parse_verdict(text)
    assert isinstance(found, Failure)
    assert found.failure == kind
    assert found.why
    assert len(found.why) < 300


PIECES = st.sampled_from(
    ["<difficulty>", "</difficulty>", "<style>", "</style>", "{", "}", '"style":', '"difficulty":',
     "3", "11", "-1", "4-5", ",", "\n", '"', "[", "e999", "```", "json", "null", "\ud800"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_no_text_is_more_than_a_verdict_in_range_or_a_failure(text):
    found = parse_verdict(text)
    assert isinstance(found, Failure) or all(0 <= score <= 10 for score in found)


@given(st.text().filter(lambda text: "<" not in text), st.integers(0, 10), st.integers(0, 10))
def test_words_before_a_verdict_change_nothing(prefix, difficulty, style):
    assert parse_verdict(prefix + tags(difficulty, style)) == Verdict(difficulty, style)


@given(st.integers(0, 10), st.integers(0, 10), st.integers(-99, 99), st.integers(-99, 99))
def test_a_complete_verdict_before_the_last_never_counts(difficulty, style, other, another):
    text = tags(other, another) + "\nso much for the quote\n" + tags(difficulty, style)
    assert parse_verdict(text) == Verdict(difficulty, style)
