"""Read in the parent what a candidate's child has sent, beyond its answers: signs of other work.

Like the answers themselves, nothing here is believed: a child can only fail to convince.
"""

from collections.abc import Iterator
from typing import Any

from kernelsift.kernels.candidate.candidate_result import CandidateResult
from kernelsift.kernels.compare import Expected, compare, leaves
from kernelsift.kernels.facts import BehaviourFacts, ProvenanceFacts, Rounding
from kernelsift.kernels.reference.reference_result import ReferenceCase, ReferenceResult

_RIGHT = frozenset({"equal", "imprecise"})
_SAME_SHAPES = frozenset({"nominal", "values", "stress"})
_OTHER_STATE = frozenset({"nonfinite", "initial"})
"""Groups of cases that begin with other weights, or end with weights that say nothing."""
_HALF_BYTES = 2


def with_casts_and_idle(
    seen: ProvenanceFacts | None, result: CandidateResult, reference: ReferenceResult
) -> ProvenanceFacts | None:
    """Add to what is known of the nominal answer: casts, and cases that no kernel answered."""
    if seen is None:
        return None
    more = {
        "rounded": rounded(result, reference),
        "idle_cases": idle_cases(result, reference, _SAME_SHAPES),
        "idle_modes": idle_cases(result, reference, frozenset({"mode"})),
    }
    return seen.model_copy(update=more)


def with_state(
    seen: BehaviourFacts | None, result: CandidateResult, reference: ReferenceResult
) -> BehaviourFacts | None:
    """Add whether buffers are kept as the reference keeps them, and dropout is applied."""
    if seen is None:
        return None
    more = {
        "state_differs": state_differs(result, reference),
        "training_not_random": training_not_random(result, reference),
    }
    return seen.model_copy(update=more)


def rounded(result: CandidateResult, reference: ReferenceResult) -> tuple[Rounding, ...]:
    """Casts to half precision or less in nominal calls; none where the problem is in half."""
    nominal = [case for case in reference.cases if case.expected.group == "nominal"]
    if any(_narrow(part) for case in nominal for part in _tensors(case)):
        return ()
    if any(_narrow(part) for part in reference.state.values()):
        return ()
    found = {
        Rounding(
            kernel=str(one.get("kernel") or ""),
            line=one["line"] if isinstance(one.get("line"), int) and one["line"] > 0 else None,
            to=str(one.get("access")),
        )
        for case in nominal
        for one in (_facts(result, case).get("rounded") or [])
    }
    return tuple(sorted(found, key=lambda r: (r.line or 0, r.kernel, r.to)))


def _tensors(case: ReferenceCase) -> Iterator[Any]:
    yield from leaves(case.inputs)
    yield from leaves(case.expected.eager)


def _narrow(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and bool(dtype.is_floating_point) and dtype.itemsize <= _HALF_BYTES


def idle_cases(
    result: CandidateResult, reference: ReferenceResult, groups: frozenset[str]
) -> tuple[str, ...]:
    """Cases of some groups that were answered without a launch.

    None where the nominal cases launch nothing either: then there is one path only.
    """
    answered = [case for case in reference.cases if "output" in result.outputs.get(case.name, {})]
    launches = {case.name: _facts(result, case).get("launch_count") or 0 for case in answered}
    if not any(launches[c.name] for c in answered if c.expected.group == "nominal"):
        return ()
    return tuple(c.name for c in answered if c.expected.group in groups and not launches[c.name])


def _facts(result: CandidateResult, case: ReferenceCase) -> dict[str, Any]:
    facts = result.outputs.get(case.name, {}).get("facts")
    return facts if isinstance(facts, dict) else {}


def training_not_random(result: CandidateResult, reference: ReferenceResult) -> bool | None:
    """Whether the answer in training mode is that of evaluation; None where it was not asked."""
    frame = result.steps.get("training")
    case = next((c for c in reference.cases if frame and c.name == frame.get("answers")), None)
    if frame is None or case is None or "output" not in frame or case.train:
        return None
    return compare(case.expected, frame["output"]).status in _RIGHT


def state_differs(result: CandidateResult, reference: ReferenceResult) -> bool | None:
    """Whether what the reference keeps between calls (running statistics) is kept otherwise.

    None where the reference keeps nothing or the candidate is no module. Counters do not count.
    """
    entry = (result.loaded or {}).get("entry") or {}
    if entry.get("kind") != "class":
        return None
    seen = None
    for case in reference.cases:
        frame = result.outputs.get(case.name, {})
        wanted = _changed(case, reference.state)
        if "output" not in frame or not wanted or case.expected.group in _OTHER_STATE:
            continue
        got = frame.get("state_after")
        got = got if isinstance(got, dict) else {}
        seen = bool(seen) or any(_other(case, got.get(n), value) for n, value in wanted.items())
    return seen


def _changed(case: ReferenceCase, before: dict[str, Any]) -> dict[str, Any]:
    """The floating buffers and weights that the reference changed in a case."""
    after = case.state_after or {}
    return {
        name: value
        for name, value in after.items()
        if name in before
        and value.is_floating_point()
        and compare(Expected(case.name, "nominal", before[name], before[name]), value).ratio
    }


def _other(case: ReferenceCase, got: Any, wanted: Any) -> bool:
    expected = Expected(case.name, case.expected.group, wanted, wanted, "fp32")
    return compare(expected, got).status not in _RIGHT
