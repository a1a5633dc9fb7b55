"""Read a judge's verdict. Anything but one clear pair of whole numbers from 0 to 10 is a Failure.

The last verdict counts: what stands earlier may be the judge quoting the code it was shown, which
may hold a verdict of its own. A number out of range, a range ("4-5"), a fraction, a missing half
or the same half twice with different numbers is no verdict, and never a 0.
"""

import json
import re
from typing import NamedTuple

from kernelsift.model import Failure, FailureClass

_TAG = re.compile(r"<(difficulty|style)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"```(?:json)?(.*)```", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]*\}")
_WHOLE = re.compile(r"([+-]?\d{1,4})(?:\s*/\s*10)?")
_NUMBERS = re.compile(r"\d+(?:\.\d+)?")
_HALVES = ("difficulty", "style")


class Verdict(NamedTuple):
    """Two scores from 0 to 10."""

    difficulty: int
    style: int


def parse_verdict(text: str) -> Verdict | Failure:
    """Read the last verdict in a reply, given as tags or as a JSON object."""
    pairs = _from_whole_json(text) or _from_last(text)
    if isinstance(pairs, Failure):
        return pairs
    if not pairs:
        return _failure("no-verdict", f"no <difficulty> or <style> in {_tail(text)}")
    last = pairs[-1]
    missing = [half for half in _HALVES if half not in last]
    if missing:
        return _failure("no-verdict", f"the last verdict has no {missing[0]}: {_tail(text)}")
    scores = []
    for half in _HALVES:
        score = read_score(half, last[half])
        if isinstance(score, Failure):
            return score
        scores.append(score)
    return Verdict(*scores)


def unread_scores(failure: Failure) -> tuple[str, ...]:
    """Which of `difficulty` and `style` a failed judgement has no readable value for.

    A failure that names neither (a refusal, no answer, a contradiction) counts for both.
    """
    for half in _HALVES:
        named = (f"the last verdict has no {half}", f"{half} is ", f"{half}: ")
        if failure.why.startswith((*named, f"two values for {half}")):
            return (half,)
    return _HALVES


def _from_last(text: str) -> list[dict[str, str]] | Failure:
    """Tags or JSON objects, whichever the text ends with: the others may be quoted."""
    tags = list(_TAG.finditer(text))
    objects = list(_OBJECT.finditer(text))
    while objects and not any(f'"{half}"' in objects[-1][0] for half in _HALVES):
        objects.pop()
    if tags and not (objects and objects[-1].end() > tags[-1].end()):
        return _from_tags([(tag[1], tag[2]) for tag in tags], text)
    pairs = _from_objects([found[0] for found in objects], text)
    return pairs or _from_tags([(tag[1], tag[2]) for tag in tags], text)


def _from_tags(tags: list[tuple[str, str]], text: str) -> list[dict[str, str]] | Failure:
    """Group tags into verdicts: a new one begins where a complete one is followed by a tag."""
    pairs: list[dict[str, str]] = []
    for name, value in tags:
        half = name.lower()
        if not pairs or len(pairs[-1]) == len(_HALVES):
            pairs.append({})
        if pairs[-1].get(half, value).strip() != value.strip():
            return _failure("double-verdict", f"two values for {half}: {_tail(text)}")
        pairs[-1][half] = value
    if len(pairs) > 1 and len(pairs[-1]) < len(_HALVES):
        # a lone half after a complete verdict: the same again, or a contradiction
        lone = pairs.pop()
        if any(pairs[-1][half].strip() != value.strip() for half, value in lone.items()):
            return _failure("double-verdict", f"half of a second verdict: {_tail(text)}")
    return pairs


def _from_whole_json(text: str) -> list[dict[str, str]] | Failure:
    """A reply that is one JSON object (structured output); tags inside its strings are not."""
    stripped = text.strip()
    if fenced := _FENCED.fullmatch(stripped):
        stripped = fenced[1].strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return []
    return _from_objects([stripped], text)


def _from_objects(objects: list[str], text: str) -> list[dict[str, str]] | Failure:
    pairs: list[dict[str, str]] = []
    for found in objects:
        try:
            items = json.loads(found, object_pairs_hook=list)
        except (ValueError, RecursionError):
            continue
        halves = [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in items if k in _HALVES]
        verdict = dict(halves)
        if any(verdict[k] != v for k, v in halves):
            return _failure("double-verdict", f"a score given twice: {_tail(text)}")
        if verdict:
            pairs.append(verdict)
    return pairs


def read_score(half: str, text: str) -> int | Failure:
    """Read one whole number from 0 to 10; `half` says in messages what it is."""
    value = text.strip()
    whole = _WHOLE.fullmatch(value)
    if not whole:
        several = len(_NUMBERS.findall(value)) > 1
        kind: FailureClass = (
            "double-verdict" if several else "not-an-integer" if value else "no-verdict"
        )
        return _failure(kind, f"{half} is {value[:40]!r}, not one whole number from 0 to 10")
    score = int(whole[1])
    if not 0 <= score <= 10:
        return _failure("out-of-range", f"{half} is {score}, not a whole number from 0 to 10")
    return score


def _failure(kind: FailureClass, why: str) -> Failure:
    return Failure(failure=kind, why=why)


def _tail(text: str) -> str:
    return repr(text[-80:]) if text.strip() else "an empty reply"
