"""What the gate found over a set of modules, counted. Pure: records in, numbers out.

Each number is given over distinct modules and over rows, since many rows may share a module.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kernelsift.kernels.reference.gate_facts import GateFacts, Rule, Trivial
from kernelsift.kernels.reference.gate_record import GateRecord
from kernelsift.model import Frozen

Inputs = Literal["own", "hardened"]
FEW_ELEMENTS = 1024
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SLOWEST = 5
_Test = Callable[[GateFacts], bool | None]


@dataclass(frozen=True, slots=True)
class Gated:
    """One distinct module of the source."""

    record: GateRecord
    rows: int
    """How many rows of the source have it."""
    example: str
    """Where the first of them is."""


class Share(Frozen):
    """How many have a property, of those for which it was measured."""

    modules: int
    of_modules: int
    rows: int
    of_rows: int

    @property
    def share(self) -> float:
        """Over rows."""
        return self.rows / self.of_rows if self.of_rows else 0.0


class Property(Share):
    slug: str
    words: str


class Accepted(Frozen):
    """What one rule accepts on one kind of inputs."""

    rule: Rule
    inputs: Inputs
    anything: Share
    """Any trivial answer but other weights: such a module tells a kernel from nothing."""
    by: dict[Trivial, Share]


class Informative(Frozen):
    """How much of an answer tells it from the answer for another input, over rows."""

    rule: Rule
    inputs: Inputs
    quantiles: tuple[float, ...]
    """At the shares in QUANTILES."""
    under_005: Share
    under_030: Share


class Failures(Share):
    """Modules that could not be measured for one kind of reason."""

    kind: str
    example: str
    error: str


class Op(Share):
    name: str
    compute: bool


class Spread(Frozen):
    """Of a number over rows."""

    what: str
    median: float
    p90: float
    p99: float
    most: float


class Slow(Frozen):
    example: str
    module: str
    cpu_seconds: float


class Health(Frozen):
    """The whole result."""

    modules: int
    rows: int
    runs: Share
    properties: tuple[Property, ...]
    accepted: tuple[Accepted, ...]
    informative: tuple[Informative, ...]
    failures: tuple[Failures, ...]
    ops: tuple[Op, ...]
    """Operations by the number of rows that need them, computing ones first."""
    sizes: tuple[Spread, ...]
    cpu_seconds: float
    """Of all distinct modules together."""
    cpu: Spread
    slowest: tuple[Slow, ...]


def _not(value: bool | None) -> bool | None:  # noqa: FBT001 -- three values, it is the subject
    return None if value is None else not value


def _if(measure: str, test: _Test) -> _Test:
    """The test, where this measurement was made."""
    return lambda facts: None if measure in facts.skipped else test(facts)


def _few(facts: GateFacts) -> bool:
    return sum(tensor.numel for tensor in facts.inputs) <= FEW_ELEMENTS


PROPERTIES: tuple[tuple[str, str, _Test], ...] = (
    (
        "degenerate",
        "a trivial answer passes even our rule",
        _if("hardened", lambda f: f.degenerate),
    ),
    ("random", "eval(): two runs on one input differ", lambda f: _not(f.deterministic)),
    ("train-random", "train(): random (dropout)", lambda f: f.train_random),
    (
        "train-other",
        "train(): random, or other than eval()",
        lambda f: None if f.train_random is None else bool(f.train_random or f.train_differs),
    ),
    ("train-fails", "train(): raises", _if("train", lambda f: f.train_fails)),
    ("stateful", "eval(): changes its parameters or buffers", lambda f: f.stateful),
    ("train-stateful", "train(): changes its parameters or buffers", lambda f: f.train_stateful),
    ("mutates-inputs", "changes its inputs", lambda f: f.mutates_inputs),
    ("nonfinite", "NaN or infinity on its own inputs", lambda f: _not(f.finite)),
    (
        "nonfinite-randn",
        "NaN or infinity on normal inputs only",
        lambda f: bool(f.finite) and f.finite_randn is False,
    ),
    ("randn-fails", "raises on normal inputs", lambda f: f.finite_randn is None),
    ("own-inputs", "kept its own inputs, or some of them", lambda f: f.input_source != "randn"),
    ("unused-input", "some input never matters", _if("inputs", lambda f: bool(f.unused_inputs))),
    (
        "unused-parameter",
        "some parameter never matters",
        _if("parameters", lambda f: bool(f.unused_parameters)),
    ),
    (
        "other-weights",
        "with parameters: other initial ones pass at 1e-4",
        lambda f: "weights" in f.passes("1e-4", "own") if f.parameters else None,
    ),
    ("no-compute", "computes nothing: only moves data", lambda f: not f.computes),
    ("scalar", "the answer is one number", lambda f: f.scalar),
    ("several", "several tensors, or something else", lambda f: f.output_kind != "tensor"),
    ("hidden-tensors", "random tensors that no state_dict holds", lambda f: bool(f.hidden_tensors)),
    ("fp32-only", "no answer in double precision", _if("double", lambda f: f.double == "fp32")),
    ("launch-bound", "too small for a time to mean anything", lambda f: f.launch_bound),
    ("few-elements", f"at most {FEW_ELEMENTS:,} input elements", _few),
    ("batch", "accepts another batch size", lambda f: f.batch),
    (
        "any-shape",
        "accepts some other shape",
        _if("shapes", lambda f: bool(f.axes or f.all_dims)),
    ),
    ("all-dims", "accepts other sizes on all axes at once", lambda f: f.all_dims),
    ("skipped", "too slow for some measurement, or raises in it", lambda f: bool(f.skipped)),
)


def summarise(gated: Sequence[Gated]) -> Health:
    """Count what is known of the modules."""
    good = [(g, g.record.facts) for g in gated if g.record.runs and g.record.facts is not None]
    cpu = [(g.record.cpu_seconds, g.rows) for g in gated]
    slow = sorted(gated, key=lambda g: (-g.record.cpu_seconds, g.example))[:_SLOWEST]
    return Health(
        modules=len(gated),
        rows=sum(g.rows for g in gated),
        runs=_share((g.rows, g.record.runs) for g in gated),
        properties=tuple(_property(slug, words, test, good) for slug, words, test in PROPERTIES),
        accepted=tuple(_accepted(good, r, i) for r in get_args(Rule) for i in get_args(Inputs)),
        informative=tuple(
            _informative(good, r, i) for r in get_args(Rule) for i in get_args(Inputs)
        ),
        failures=_failures(gated),
        ops=_ops(good),
        sizes=tuple(_spread(what, [(size(f), g.rows) for g, f in good]) for what, size in SIZES),
        cpu_seconds=round(sum(g.record.cpu_seconds for g in gated), 3),
        cpu=_spread("processor seconds", cpu),
        slowest=tuple(
            Slow(example=g.example, module=g.record.module, cpu_seconds=g.record.cpu_seconds)
            for g in slow
        ),
    )


_Known = tuple[Gated, GateFacts]

SIZES: tuple[tuple[str, Callable[[GateFacts], float]], ...] = (
    ("input elements", lambda f: sum(t.numel for t in f.inputs)),
    ("output elements", lambda f: sum(t.numel for t in f.outputs)),
    ("parameters", lambda f: f.parameters),
    ("FLOP", lambda f: f.flops),
    ("bytes to move", lambda f: f.bytes),
    ("computing operations", lambda f: sum(op.calls for op in f.ops if op.compute)),
)


def _share(found: Iterable[tuple[int, bool | None]]) -> Share:
    """Count (rows, answer); what was not measured is left out."""
    known = [(rows, answer) for rows, answer in found if answer is not None]
    return Share(
        modules=sum(answer for _, answer in known),
        of_modules=len(known),
        rows=sum(rows for rows, answer in known if answer),
        of_rows=sum(rows for rows, _ in known),
    )


def _property(slug: str, words: str, test: _Test, good: Sequence[_Known]) -> Property:
    share = _share((gated.rows, test(facts)) for gated, facts in good)
    return Property(slug=slug, words=words, **share.model_dump())


def _accepted(good: Sequence[_Known], rule: Rule, inputs: Inputs) -> Accepted:
    passes = [
        (gated.rows, set(facts.passes(rule, inputs)))
        for gated, facts in good
        if inputs == "own" or "hardened" not in facts.skipped
    ]
    by: dict[Trivial, Share] = {
        name: _share((rows, name in found) for rows, found in passes) for name in get_args(Trivial)
    }
    anything = _share((rows, bool(found - {"weights"})) for rows, found in passes)
    return Accepted(rule=rule, inputs=inputs, anything=anything, by=by)


def _informative(good: Sequence[_Known], rule: Rule, inputs: Inputs) -> Informative:
    found = [
        (trivial.informative, gated.rows)
        for gated, facts in good
        for trivial in facts.trivial
        if (trivial.rule, trivial.inputs) == (rule, inputs)
    ]
    return Informative(
        rule=rule,
        inputs=inputs,
        quantiles=tuple(_quantile(found, at) for at in QUANTILES),
        under_005=_share((rows, value < 0.05) for value, rows in found),
        under_030=_share((rows, value < 0.3) for value, rows in found),
    )


def _failures(gated: Sequence[Gated]) -> tuple[Failures, ...]:
    kinds: dict[str, list[Gated]] = {}
    for one in gated:
        if one.record.failure:
            kinds.setdefault(one.record.failure, []).append(one)
    found = []
    for kind, members in kinds.items():
        share = _share((g.rows, g.record.failure == kind) for g in gated)
        first = members[0]
        found.append(
            Failures(
                kind=kind, example=first.example, error=first.record.error, **share.model_dump()
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.rows, one.kind)))


def _ops(good: Sequence[_Known]) -> tuple[Op, ...]:
    modules: Counter[tuple[bool, str]] = Counter()
    rows: Counter[tuple[bool, str]] = Counter()
    for gated, facts in good:
        for op in facts.ops:
            modules[op.compute, op.name] += 1
            rows[op.compute, op.name] += gated.rows
    total = sum(gated.rows for gated, _ in good)
    found = [
        Op(
            name=name,
            compute=compute,
            modules=modules[compute, name],
            of_modules=len(good),
            rows=count,
            of_rows=total,
        )
        for (compute, name), count in rows.items()
    ]
    return tuple(sorted(found, key=lambda op: (not op.compute, -op.rows, op.name)))


def _spread(what: str, values: Sequence[tuple[float, int]]) -> Spread:
    median, p90, p99, most = (_quantile(values, at) for at in (0.5, 0.9, 0.99, 1.0))
    return Spread(what=what, median=median, p90=p90, p99=p99, most=most)


def _quantile(values: Sequence[tuple[float, int]], at: float) -> float:
    """The smallest value that at least this share of all rows does not pass; 0 of nothing."""
    left = at * sum(rows for _, rows in values)
    value = 0.0
    for value, rows in sorted(values):  # noqa: B007 -- the last one is the answer
        left -= rows
        if left <= 1e-9:
            break
    return float(value)
