"""The verdict is a pure function of facts and policy."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.kernels.catalog import SEVERITIES
from kernelsift.kernels.facts import (
    Access,
    BehaviourFacts,
    CaseGroup,
    Comparison,
    ComparisonStatus,
    CompileFacts,
    Finding,
    ProvenanceFacts,
    ReferenceRun,
    Rounding,
    RunFacts,
    RunStatus,
    SanitizerFacts,
    StaticSummary,
    TorchOp,
    VerifyFacts,
)
from kernelsift.kernels.verdict import Policy, Verdict, decide
from kernelsift.kernels.verdict_words import failing_cases
from kernelsift.kernels.verdict_work import torch_share

REAL = ProvenanceFacts(
    launches=1,
    kernels=("k",),
    coverage=1.0,
    ablation_noop="wrong",
    ablation_raise="raises",
    torch_share=0.0,
)
GOOD = Comparison(case="nominal-0", group="nominal", status="equal", ratio=0.1, loose_ratio=1e-4)
EQUAL = Access(kernel="k", line=7, kind="store", race="store-store-equal")
WRONG = Comparison(
    case="nominal-1",
    group="nominal",
    status="differs",
    ratio=1e4,
    loose_ratio=50.0,
    wrong_share=0.2,
)


def facts(**changes):
    base = {
        "static": StaticSummary(parsed=True, kernels=1, reachable=1),
        "reference": ReferenceRun(status="ok"),
        "run": RunFacts(status="done", entry="ModelNew", entry_kind="class"),
        "comparisons": (GOOD,),
        "provenance": REAL,
    }
    return VerifyFacts(**(base | changes))


def provenance(**changes):
    return REAL.model_copy(update=changes)


def case(status, group="nominal", **more):
    return Comparison(case=f"{group}-x", group=group, status=status, **more)


def test_an_honest_kernel_is_correct_and_kept():
    verdict = decide(facts())
    assert (verdict.outcome, verdict.work, verdict.keep) == ("correct", "full_triton", True)
    assert verdict.passes_loose is True
    assert not verdict.findings


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"static": StaticSummary(parsed=False, why="line 3")}, "compile_error", None),
        ({"comparisons": (GOOD, WRONG)}, "wrong", None),
        ({"comparisons": (GOOD, case("nonfinite", wrong_share=0.5))}, "wrong", None),
        ({"comparisons": (GOOD, case("structure", why="other shape"))}, "wrong", None),
        ({"comparisons": (GOOD, case("differs", "values", ratio=9.0))}, "wrong", None),
        ({"comparisons": (GOOD, case("differs", "shape", ratio=9.0))}, "correct", None),
        ({"comparisons": (GOOD, case("error", why="boom"))}, "crash", None),
        ({"comparisons": (GOOD, case("timeout"))}, "unverifiable", "time"),
        ({"comparisons": (GOOD, case("unsupported", why="asm"))}, "unverifiable", "interpreter"),
        ({"comparisons": (GOOD, case("missing"))}, "crash", None),
        ({"comparisons": ()}, "unverifiable", "not-run"),
        (
            {"comparisons": (GOOD.model_copy(update={"informative": False}),)},
            "unverifiable",
            "not-run",
        ),
        ({"run": RunFacts(status="no-entry"), "comparisons": ()}, "unverifiable", "entry"),
        ({"run": RunFacts(status="import-error"), "comparisons": ()}, "crash", None),
        ({"run": RunFacts(status="missing-package")}, "unverifiable", "dependency"),
        ({"run": RunFacts(status="timeout-host")}, "timeout", None),
        ({"run": RunFacts(status="timeout-kernel")}, "unverifiable", "time"),
        ({"run": RunFacts(status="timeout-kernel"), "device": "cuda"}, "timeout", None),
        ({"run": RunFacts(status="killed")}, "unverifiable", "sandbox"),
        ({"run": RunFacts(status="no-token")}, "crash", None),
        ({"reference": ReferenceRun(status="size")}, "unverifiable", "size"),
        ({"reference": ReferenceRun(status="stochastic")}, "unverifiable", "reference"),
        ({"reference": ReferenceRun(status="init")}, "unverifiable", "init"),
        (
            {"compiled": (CompileFacts(kernel="k", target="sm_90", status="error", why="break"),)},
            "compile_error",
            None,
        ),
        (
            {
                "comparisons": (case("unsupported", why="tuple of axes"),),
                "compiled": (CompileFacts(kernel="k", target="sm_90", status="error", why="axes"),),
            },
            "compile_error",
            None,
        ),
        (
            {
                "comparisons": (WRONG,),
                "run": RunFacts(status="done", interpreter_gaps=("bf16 dot",)),
            },
            "unverifiable",
            "interpreter",
        ),
    ],
)
def test_outcomes(changes, outcome, reason):
    verdict = decide(facts(**changes))
    assert (verdict.outcome, verdict.unverifiable) == (outcome, reason)
    assert verdict.reasons
    assert verdict.keep is False or outcome == "correct"


def test_a_wrong_answer_shown_before_a_crash_is_wrong():
    verdict = decide(facts(comparisons=(WRONG,), run=RunFacts(status="crash", why="signal 11")))
    assert verdict.outcome == "wrong"


@pytest.mark.parametrize(
    ("seen", "work", "finding"),
    [
        (ProvenanceFacts(launches=0), "fallback", "K02"),
        (provenance(ablation_noop="right"), "fallback", "K04"),
        (provenance(ablation_raise="right"), "fallback", "K10"),
        (provenance(copy_only=("k",)), "figleaf", "K05"),
        (provenance(coverage=0.0, ablation_noop="not-run"), "figleaf", "K04"),
        (provenance(coverage=0.0), "full_triton", "K04"),
        (provenance(coverage=0.0, torch_share=0.9), "figleaf", "K06"),
        (provenance(torch_share=0.9), "figleaf", "K06"),
        (provenance(torch_share=0.5), "partial_triton", "K06"),
        (provenance(torch_share=0.01), "full_triton", None),
        (provenance(torch_share=None), "unknown", None),
    ],
)
def test_who_did_the_work(seen, work, finding):
    verdict = decide(facts(provenance=seen))
    assert verdict.work == work
    assert finding is None or finding in {f.id for f in verdict.findings}
    assert verdict.keep is (work in {"full_triton", "partial_triton"})


def test_work_of_pytorch_is_named():
    ops = (TorchOp(name="mm", calls=1, flops=9, bytes=9, compute=True),)
    verdict = decide(facts(provenance=provenance(torch_share=0.9, torch_ops=ops)))
    assert any("mm" in f.evidence for f in verdict.findings)


@pytest.mark.parametrize(
    ("group", "weights", "outcome", "passes"),
    [
        ("nominal", "by-value", "correct", None),  # of random weights: harnesses do not use them
        ("nominal", "none", "wrong", False),
        ("initial", "by-value", "wrong", False),
    ],
)
def test_lower_precision_is_wrong_only_where_it_is_with_weights_as_constructed(
    group, weights, outcome, passes
):
    rough = case("imprecise", group, ratio=40.0, loose_ratio=5.0, reduced_ratio=0.5)
    run = RunFacts(status="done", entry="New", entry_kind="class", weight_map=weights)
    nominal = () if group == "nominal" else (GOOD,)
    verdict = decide(facts(comparisons=(*nominal, rough), run=run))
    assert (verdict.outcome, verdict.passes_loose) == (outcome, passes)


@pytest.mark.parametrize(("oldest", "outcome"), [((3, 6), "compile_error"), ((3, 9), "correct")])
def test_what_the_oldest_triton_asked_for_does_not_compile_is_a_compile_error(oldest, outcome):
    static = StaticSummary(parsed=True, kernels=1, reachable=1, chained=(7,))
    verdict = decide(facts(static=static), Policy(oldest_triton=oldest))
    assert verdict.outcome == outcome
    assert outcome == "correct" or "line 7" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("why", "launches", "outcome"),
    [
        ("ValueError: Cannot make_shape_compatible: 64 and 4", True, "unverifiable"),
        ("ValueError: Cannot make_shape_compatible: 64 and 4", False, "crash"),
        ("NameError: name 'tl2' is not defined", True, "crash"),
    ],
)
def test_what_raises_at_smaller_sizes_alone_may_be_right_at_its_own(why, launches, outcome):
    compiled = CompileFacts(kernel="k", target="sm_90", status="ok")
    found = facts(
        comparisons=(case("error", why=why),),
        reference=ReferenceRun(status="ok", scaled=True, scaled_from="n 768 to 48"),
        compiled=(compiled,),
        launches_at_own_sizes=launches,
    )
    assert decide(found).outcome == outcome


CONVOLUTION = TorchOp(
    name="convolution", calls=1, flops=3000, bytes=800, elements=100, compute=True
)
CLAMP = TorchOp(name="clamp", calls=1, flops=3000, bytes=800, elements=3000, compute=True)


@pytest.mark.parametrize(
    ("op", "pointwise", "work"),
    [
        (CONVOLUTION, ("k",), "figleaf"),  # 96,000 of 97,000 at the original sizes
        (CONVOLUTION, (), "partial_triton"),  # k sums, too: its work grows alike
        (CLAMP, ("k",), "partial_triton"),  # as often for each element at any size
    ],
)
def test_work_is_that_at_the_original_sizes(op, pointwise, work):
    verdict = decide(
        facts(
            static=StaticSummary(parsed=True, kernels=1, reachable=1, pointwise=pointwise),
            reference=ReferenceRun(status="ok", scaled=True, deeper=32.0),
            provenance=provenance(torch_share=0.75, torch_ops=(op,)),
        )
    )
    assert verdict.work == work


@given(
    share=st.floats(0, 1),
    deeper=st.floats(1, 1e6),
    ops=st.lists(
        st.builds(
            TorchOp,
            name=st.just("op"),
            calls=st.just(1),
            flops=st.integers(0, 10**12),
            bytes=st.just(1),
            elements=st.integers(0, 10**9),
            compute=st.booleans(),
        ),
        max_size=3,
    ),
)
def test_larger_sizes_never_lessen_the_share_of_pytorch_beside_pointwise_kernels(
    share, deeper, ops
):
    seen = facts(
        static=StaticSummary(parsed=True, kernels=1, reachable=1, pointwise=("k",)),
        reference=ReferenceRun(status="ok", scaled=True, deeper=deeper),
        provenance=provenance(torch_share=share, torch_ops=tuple(ops)),
    )
    assert share * (1 - 1e-9) <= torch_share(seen) <= 1


@pytest.mark.parametrize(
    ("changes", "finding", "kept"),
    [
        ({"behaviour": BehaviourFacts(stale_on_new_contents=True)}, "K40", False),
        ({"behaviour": BehaviourFacts(late_call_differs=True)}, "K42", False),
        ({"behaviour": BehaviourFacts(output_overwritten=True)}, "K45", False),
        ({"behaviour": BehaviourFacts(state_differs=True)}, "K31", False),
        ({"behaviour": BehaviourFacts(training_not_random=True)}, "K31", False),
        ({"behaviour": BehaviourFacts(inputs_changed=True)}, "K35", False),
        ({"behaviour": BehaviourFacts(patched=("torch.allclose",))}, "K50", False),
        ({"behaviour": BehaviourFacts(threads_left=1)}, "K62", False),
        (
            {"sanitizer": SanitizerFacts(out_of_bounds=(Access(kernel="k", line=7, kind="load"),))},
            "K32",
            False,
        ),
        ({"sanitizer": SanitizerFacts(races=(EQUAL,), order_dependent=True)}, "K33", False),
        ({"sanitizer": SanitizerFacts(poison_dependent=True)}, "K34", False),
        ({"comparisons": (GOOD, case("differs", "shape", ratio=9.0))}, "K25", False),
        ({"comparisons": (GOOD, case("error", "layout", why="view"))}, "K36", True),
        ({"comparisons": (GOOD, case("imprecise", ratio=9.0))}, "K28", True),
        ({"comparisons": (GOOD, case("differs", "stress", ratio=9.0))}, "K39", True),
        ({"comparisons": (GOOD, case("differs", "stress", ratio=9e3))}, "K39", False),
        ({"comparisons": (GOOD, case("nonfinite", "stress"))}, "K37", False),
    ],
)
def test_what_was_seen_becomes_a_finding(changes, finding, kept):
    verdict = decide(facts(**changes))
    assert verdict.outcome == "correct"
    assert finding in {f.id for f in verdict.findings}
    assert verdict.keep is kept


def test_a_setting_is_a_suspicion_beside_what_was_replaced():
    flag = "torch.backends.cuda:matmul.allow_tf32 = True"
    verdict = decide(facts(behaviour=BehaviourFacts(patched=(flag,))))
    assert [(f.id, f.severity, f.evidence) for f in verdict.findings] == [
        ("K28", "suspicious", "it set torch.backends.cuda.matmul.allow_tf32 to True")
    ]
    assert verdict.keep
    both = decide(facts(behaviour=BehaviourFacts(patched=(flag, "torch:equal"))))
    assert {(f.id, f.severity) for f in both.findings} >= {("K50", "hard"), ("K28", "suspicious")}
    assert not both.keep


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"offset": 68644}, "load reaches 68,644 bytes beyond the end of argument 'x'"),
        ({"offset": -8}, "load begins 8 bytes before argument 'x'"),
        ({"offset": 8, "argument": ""}, "load outside of every tensor, 8 bytes from it"),
    ],
)
def test_an_access_out_of_bounds_names_the_tensor_and_the_case(changes, said):
    access = Access(kernel="k", line=12, kind="load", case="tiles-0-1", argument="x")
    seen = SanitizerFacts(out_of_bounds=(access.model_copy(update=changes),))
    (found,) = (f for f in decide(facts(sanitizer=seen)).findings if f.id == "K32")
    assert found.evidence == f"{said}, kernel k (case tiles-0-1)"


@pytest.mark.parametrize("race", ["store-store", "store-load", "atomic-load"])
def test_a_race_is_named_and_is_a_bug(race):
    access = Access(kernel="k", line=7, kind="store", race=race)
    verdict = decide(facts(sanitizer=SanitizerFacts(races=(access,))))
    assert [race in f.evidence for f in verdict.findings if f.id == "K33"] == [True]
    assert not verdict.keep


def test_lower_precision_is_a_bug_where_a_cast_was_seen():
    rough = (GOOD, case("imprecise", ratio=90.0))
    cast = Rounding(kernel="k", line=12, to="fp16")
    verdict = decide(facts(comparisons=rough, provenance=provenance(rounded=(cast,))))
    found = next(f for f in verdict.findings if f.id == "K28")
    assert (found.severity, found.line, verdict.keep) == ("bug", 12, False)
    exact = decide(facts(provenance=provenance(rounded=(cast,))))
    assert "K28" not in {f.id for f in exact.findings}


@pytest.mark.parametrize(
    ("ratio", "tf32", "kept"), [(90.0, False, False), (90.0, True, True), (5.0, False, True)]
)
def test_an_error_that_no_lower_precision_explains_is_a_bug(ratio, tf32, kept):
    run = RunFacts(status="done", entry="ModelNew", entry_kind="class", uses_tf32=tf32)
    verdict = decide(facts(comparisons=(GOOD, case("imprecise", ratio=ratio)), run=run))
    assert verdict.keep is kept
    assert ("K39", "bug") in {(f.id, f.severity) for f in verdict.findings} or kept


@pytest.mark.parametrize(("where", "finding"), [("idle_cases", "K27"), ("idle_modes", "K54")])
def test_a_case_that_no_kernel_answers_is_no_work_of_kernels(where, finding):
    verdict = decide(facts(provenance=provenance(**{where: ("zeros",)})))
    assert finding in {f.id for f in verdict.findings if f.severity == "not-a-kernel"}
    assert verdict.keep is False


def test_a_lost_nan_counts_only_where_the_code_looks_for_nan():
    lost = (GOOD, case("nonfinite", "nonfinite"))
    assert decide(facts(comparisons=lost)).keep is True
    looks = Finding(id="K37", severity="suspicious", line=9, evidence="x != x")
    static = StaticSummary(parsed=True, kernels=1, findings=(looks,))
    verdict = decide(facts(comparisons=lost, static=static))
    assert ("K37", "bug") in {(f.id, f.severity) for f in verdict.findings}
    assert verdict.keep is False


def test_policy_changes_what_is_dropped_and_not_what_was_seen():
    seen = facts(comparisons=(GOOD, case("imprecise", ratio=90.0)))
    assert decide(seen, Policy(drop_ids=frozenset({"K28"}))).keep is False
    assert decide(seen, Policy(reduced_precision="wrong")).outcome == "wrong"
    shape = facts(comparisons=(GOOD, case("differs", "shape", ratio=9.0)))
    assert decide(shape, Policy(allow_ids=frozenset({"K25"}))).keep is True
    strict = Policy(decisive=frozenset({"nominal", "shape"}))
    assert decide(shape, strict).outcome == "wrong"


def test_a_hard_finding_cannot_be_allowed():
    finding = Finding(id="K50", severity="hard", evidence="patched")
    seen = facts(static=StaticSummary(parsed=True, kernels=1, findings=(finding,)))
    lenient = Policy(allow_ids=frozenset({"K50"}), drop_severities=frozenset())
    assert decide(seen, lenient).keep is False


SMALLER = ReferenceRun(status="ok", scaled=True, scaled_from="n 1024 to 64")


@pytest.mark.parametrize(
    ("own", "outcome"),
    [
        (None, "correct"),
        (case("equal", "initial", loose_ratio=0.0), "correct"),
        (case("differs", "initial", loose_ratio=1.5), "correct"),
        (case("differs", "initial", ratio=1e4, loose_ratio=30.0, wrong_share=0.75), "wrong"),
        (case("nonfinite", "initial", wrong_share=0.75), "wrong"),
        (case("structure", "initial", why="shape"), "wrong"),
        (case("error", "initial", why="RuntimeError: invalid argument"), "crash"),
        (case("error", "initial", why="RuntimeError: can't allocate memory"), "correct"),
        (case("timeout", "initial", why="too slow"), "correct"),
    ],
)
def test_a_right_answer_at_smaller_sizes_counts_unless_the_own_sizes_show_another(own, outcome):
    verdict = decide(facts(reference=SMALLER, own_sizes=own))
    assert verdict.outcome == outcome
    assert verdict.keep == (outcome == "correct")


def test_own_sizes_count_only_where_weights_as_constructed_are_right():
    own = case("differs", "initial", ratio=1e4, loose_ratio=30.0)
    seen = facts(reference=SMALLER, own_sizes=own, comparisons=(GOOD, case("differs", "initial")))
    assert decide(seen).outcome == "correct"


def test_what_harnesses_accept_is_told_apart_from_what_is_right():
    near = case("differs", ratio=500.0, loose_ratio=0.4, wrong_share=1.0)
    verdict = decide(facts(comparisons=(near,)))
    assert (verdict.outcome, verdict.passes_loose) == ("wrong", True)


FINDINGS = st.builds(
    Finding,
    id=st.integers(0, 79).map(lambda n: f"K{n:02}"),
    severity=st.sampled_from(SEVERITIES),
    line=st.none() | st.integers(1, 99),
    evidence=st.just("seen"),
)
COMPARISONS = st.builds(
    Comparison,
    case=st.sampled_from(["a", "b"]),
    group=st.sampled_from(get_args(CaseGroup)),
    status=st.sampled_from(get_args(ComparisonStatus)),
    ratio=st.floats(0, 1e6),
    loose_ratio=st.none() | st.floats(0, 10),
    informative=st.booleans(),
)
POLICIES = st.builds(
    Policy,
    drop_severities=st.frozensets(st.sampled_from(SEVERITIES)),
    allow_ids=st.frozensets(st.sampled_from(["K01", "K25", "K50"])),
    reduced_precision=st.sampled_from(["finding", "wrong"]),
)
FACTS = st.builds(
    VerifyFacts,
    static=st.builds(
        StaticSummary,
        parsed=st.booleans(),
        kernels=st.integers(0, 2),
        findings=st.lists(FINDINGS, max_size=3).map(tuple),
    ),
    reference=st.builds(
        ReferenceRun, status=st.sampled_from(["ok", "fails", "size", "degenerate", "stochastic"])
    ),
    run=st.builds(
        RunFacts,
        status=st.sampled_from(get_args(RunStatus)),
        interpreter_gaps=st.sampled_from([(), ("bf16 dot",)]),
    ),
    comparisons=st.lists(COMPARISONS, max_size=4).map(tuple),
    provenance=st.none()
    | st.builds(
        ProvenanceFacts,
        launches=st.integers(0, 2),
        kernels=st.just(("k",)),
        ablation_noop=st.sampled_from(["wrong", "right"]),
        torch_share=st.none() | st.floats(0, 1),
    ),
    gate=st.none(),
    behaviour=st.none() | st.builds(BehaviourFacts, late_call_differs=st.booleans()),
    sanitizer=st.none(),
    compiled=st.just(()),
    timings=st.just(()),
    versions=st.none(),
)


@given(FACTS, FINDINGS, POLICIES)
def test_one_more_finding_never_turns_a_drop_into_a_keep(seen, finding, policy):
    static = seen.static.model_copy(update={"findings": (*seen.static.findings, finding)})
    before = decide(seen, policy)
    after = decide(seen.model_copy(update={"static": static}), policy)
    assert before.outcome == after.outcome
    assert not after.keep or before.keep
    assert finding.severity != "hard" or not after.keep


@given(FACTS, POLICIES)
def test_wrong_is_only_said_where_a_decisive_case_shows_it(seen, policy):
    verdict = decide(seen, policy)
    assert (verdict.outcome == "unverifiable") == (verdict.unverifiable is not None)
    if verdict.outcome == "wrong":
        shown = {"differs", "structure", "nonfinite", "imprecise"}
        assert any(c.status in shown and c.group in policy.decisive for c in seen.comparisons)
        assert not seen.run.interpreter_gaps
        assert seen.reference.status in {"ok", "degenerate"}
    if verdict.outcome == "correct":
        assert any(c.status in {"equal", "imprecise"} for c in seen.comparisons)


@given(FACTS, POLICIES)
def test_a_verdict_and_its_facts_survive_writing(seen, policy):
    verdict = decide(seen, policy)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert VerifyFacts.model_validate_json(seen.model_dump_json()) == seen
    assert decide(seen, policy) == verdict


@pytest.mark.parametrize(("relative", "outcome"), [(2.0**-9, "correct"), (0.5, "wrong")])
def test_one_rounding_of_the_answer_does_not_grow_with_the_length_of_sums(relative, outcome):
    cast = Rounding(kernel="k", line=12, to="bf16")
    rough = case("imprecise", loose_ratio=0.38, own=True, relative=relative)
    scaled = ReferenceRun(status="ok", scaled=True, scaled_from="k 4096 to 2", deeper=2048.0)
    seen = {"comparisons": (rough,), "provenance": provenance(rounded=(cast,))}
    assert decide(facts(reference=scaled, **seen)).outcome == outcome


@pytest.mark.parametrize("weights", ["none", "by-order"])
def test_what_no_target_compiles_is_refused_whatever_the_sizes(weights):
    run = RunFacts(status="done", entry="f", entry_kind="function", weight_map=weights)
    raised = case("error", why="IncompatibleTypeError: invalid operands")
    refused = CompileFacts(kernel="k", target="sm_80", status="error", why="invalid operands")
    unpinned = ReferenceRun(status="ok", scaled=True, scaled_from="n 512 to 8", unpinned=True)
    verdict = decide(facts(run=run, reference=unpinned, comparisons=(raised,), compiled=(refused,)))
    assert verdict.outcome == "compile_error"


def test_a_kernel_that_takes_only_a_narrower_type_crashes_whatever_its_arguments():
    run = RunFacts(status="done", entry="f", entry_kind="function", weight_map="by-order")
    raised = case("error", why="AssertionError: x must be bfloat16 (line 3)")
    assert decide(facts(run=run, comparisons=(raised,))).outcome == "crash"


def test_a_wrong_answer_at_two_blocks_is_wrong_and_a_refusal_is_none():
    wrong = WRONG.model_copy(update={"case": "extent-32-to-256", "group": "extent"})
    assert decide(facts(comparisons=(GOOD, wrong))).outcome == "wrong"
    refused = case("error", "extent", why="AssertionError: rows == 32")
    verdict = decide(facts(comparisons=(GOOD, refused)))
    assert (verdict.outcome, verdict.keep) == ("correct", True)
    assert ("K25", "suspicious") in {(f.id, f.severity) for f in verdict.findings}


def test_an_error_that_several_cases_raise_is_said_once():
    raised = [case("error", why="TypeError: no").model_copy(update={"case": n}) for n in "abc"]
    assert failing_cases([*raised, WRONG]) == [
        "case a and 2 more: error: TypeError: no",
        "case nominal-1: differs",
    ]
