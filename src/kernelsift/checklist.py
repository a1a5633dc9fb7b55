"""Read what a judge answers to the checklist: ten answers, each with a line of code to show it.

An answer counts only when its line really occurs in the code: a judge that quotes what is not there
has not looked. Nothing here asks a model.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from kernelsift.model import Check, Failure
from kernelsift.verdict import read_score

CHECKS: Final = (
    "naming",
    "separation",
    "bounds",
    "block-sizes",
    "access",
    "core-in-triton",
    "numerics",
    "comments",
    "economy",
    "generality",
)
"""The checks in the order asked; the static judge answers the same ones."""
SHORTEST_QUOTE: Final = 6
"""Characters below which a quote shows nothing: it would occur in any program."""
_ANSWERS: Final = {"yes": "yes", "no": "no", "na": "na", "n/a": "na"}
_QUOTED: Final = 80


def parse_checks(text: str, code: str) -> tuple[Check, ...] | Failure:
    """Read a reply: the last JSON object in it that has all ten checks.

    Args:
        text: The reply.
        code: What the judge was shown; quotes are looked up in it.

    Returns:
        One `Check` for each of `CHECKS`, in their order; a `Failure` when one is missing, given
        twice, or has an answer other than yes, no or na.
    """
    listed = last_object(text, CHECKS[0])
    if isinstance(listed, Failure):
        return listed
    if listed is None:
        return _failure(f"no JSON object with the ten checks in {_tail(text)}")
    whole = _flat(code)
    checks = []
    for name in CHECKS:
        check = _check(name, listed.get(name), whole)
        if isinstance(check, Failure):
            return check
        checks.append(check)
    return tuple(checks)


def unsupported(checks: Iterable[Check]) -> list[Check]:
    """The yes and no answers whose quote does not occur in the code."""
    return [check for check in checks if not check.supported]


def checklist_score(checks: Iterable[Check]) -> float | Failure:
    """10 · yes / (yes + no), from 0 to 10, over the answers that a line of the code supports.

    What does not apply is left out, and so is an answer without support: it was not told. A
    `Failure` where nothing is left, or where half of the answers or more have no support.
    """
    given = [check for check in checks if check.answer != "na"]
    counted = [check.answer for check in given if check.supported]
    if not given:
        return _failure("every check was answered with na")
    if len(counted) <= len(given) - len(counted):
        names = ", ".join(check.name for check in unsupported(given))
        why = f"{len(counted)} of {len(given)} answers quote what is in the code; not so {names}"
        return Failure(failure="no-evidence", why=why)
    return 10 * counted.count("yes") / len(counted)


def parse_difficulty(text: str) -> int | Failure:
    """Read the difficulty, 0 to 10, in the last JSON object of a reply that has one."""
    found = last_object(text, "difficulty")
    if isinstance(found, Failure):
        return found
    if found is None:
        return _failure(f"no JSON object with difficulty in {_tail(text)}")
    given = found["difficulty"]
    return read_score("difficulty", given if isinstance(given, str) else json.dumps(given))


def last_object(text: str, name: str) -> dict[str, Any] | Failure | None:
    """The last JSON object of a text, outside of others, that has this name.

    None where there is none; a `Failure` where it has any name twice.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    found: dict[str, Any] | Failure | None = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, _Pairs) and name in value:
                found = value.checked(text)
        at = text.find("{", end)
    return found


class _Pairs(dict[str, Any]):
    """A JSON object that remembers whether a name was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        inner = [value for _, value in pairs if isinstance(value, _Pairs)]
        self.twice: bool = len(pairs) > len(self) or any(value.twice for value in inner)

    def checked(self, text: str) -> dict[str, Any] | Failure:
        if not self.twice:
            return self
        why = f"an answer given twice: {_tail(text)}"
        return Failure(failure="double-verdict", why=why)


def _check(name: str, given: object, code: str) -> Check | Failure:
    if not isinstance(given, dict):
        return _failure(f"the check {name} is missing or no object with quote and answer")
    answer = _ANSWERS.get(str(given.get("answer", "")).strip().lower())
    if answer is None:
        return _failure(f"{name} is {str(given.get('answer'))[:40]!r}, not yes, no or na")
    quote = str(given.get("quote") or "").strip().strip("`").strip()
    supported = answer == "na" or _occurs(quote, code)
    return Check.model_validate({
        "name": name,
        "answer": answer,
        "quote": quote,
        "supported": supported,
    })


def _occurs(quote: str, code: str) -> bool:
    flat = _flat(quote)
    return len(flat) >= SHORTEST_QUOTE and flat in code


def _flat(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def _failure(why: str) -> Failure:
    return Failure(failure="no-verdict", why=why)


def _tail(text: str) -> str:
    return repr(text[-_QUOTED:]) if text.strip() else "an empty reply"
