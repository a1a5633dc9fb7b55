"""What counts as the same answer."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from kernelsift.kernels.compare import Expected, compare, failed  # noqa: E402


def expected(eager, precise=None, **more):
    wide = (
        eager.double() if isinstance(eager, torch.Tensor) and eager.is_floating_point() else eager
    )
    return Expected("case", "nominal", wide if precise is None else precise, eager, **more)


@pytest.fixture
def answer():
    return torch.randn(7, 33, generator=torch.Generator().manual_seed(3))


def test_the_same_bits_are_equal(answer):
    found = compare(expected(answer), answer.clone())
    assert (found.status, found.ratio, found.wrong_share) == ("equal", 0.0, 0.0)


def test_rounding_of_fp32_is_equal(answer):
    assert compare(expected(answer), answer * (1 + 2e-7)).status == "equal"


def test_one_wrong_element_is_found_and_shown(answer):
    got = answer.clone()
    got[4, 5] += 1.0
    found = compare(expected(answer), got)
    assert found.status == "differs"
    assert [d.index for d in found.differences] == [(4, 5)]
    assert float(found.differences[0].got) == pytest.approx(float(got[4, 5]))
    assert found.wrong_share == pytest.approx(1 / answer.numel())
    assert found.loose_ratio > 1


def test_half_precision_is_imprecise_and_passes_what_harnesses_ask(answer):
    found = compare(expected(answer), answer.half().float())
    assert found.status == "imprecise"
    assert found.ratio > 10
    assert found.loose_ratio < 1


def test_tf32_is_allowed_only_where_it_was_used(answer):
    got = answer * (1 + 2.0**-11)
    assert compare(expected(answer), got).status == "imprecise"
    assert compare(expected(answer), got, tf32=True).status == "equal"


def test_an_error_of_bfloat16_is_imprecise_where_that_was_seen(answer):
    got = answer * (1 + 2.0**-6)
    assert compare(expected(answer), got).status == "differs"
    assert compare(expected(answer), got, bf16=True).status == "imprecise"
    half = expected(answer.half(), answer.double())
    assert compare(half, got.half(), bf16=True).status == "differs"


def test_what_eager_gets_wrong_is_allowed_to_the_candidate(answer):
    precise = answer.double() + 1e-3
    assert compare(expected(answer, precise), answer - 1e-3).status == "equal"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.double(), "float64"),
        (lambda a: a[:1], "shape"),
        (lambda a: a.unsqueeze(0), "shape"),
        (lambda a: [a], "type list"),
        (lambda _: None, "output is None"),
        (lambda _: 1.0, "float"),
    ],
)
def test_another_structure_is_never_compared(answer, change, said):
    found = compare(expected(answer), change(answer))
    assert found.status == "structure"
    assert said in found.why
    assert found.ratio is None


def test_a_value_that_would_broadcast_does_not_pass():
    assert compare(expected(torch.ones(3, 3)), torch.ones(3)).status == "structure"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_must_be_where_the_reference_has_it(answer, bad):
    broken = answer.clone()
    broken[0, 0] = bad
    assert compare(expected(answer), broken).status == "nonfinite"
    assert compare(expected(broken), answer).status == "nonfinite"
    assert compare(expected(broken), broken.clone()).status == "equal"


def test_infinity_has_a_sign_and_is_not_nan():
    plus, minus = torch.tensor([float("inf"), 1.0]), torch.tensor([float("-inf"), 1.0])
    nan = torch.tensor([float("nan"), 1.0])
    assert compare(expected(plus), minus).status == "nonfinite"
    assert compare(expected(plus), nan).status == "nonfinite"


def test_integers_and_booleans_are_exact():
    numbers = torch.arange(10)
    got = numbers.clone()
    got[9] += 1
    assert compare(expected(numbers), numbers.clone()).reference == "exact"
    assert compare(expected(numbers), got).status == "differs"
    assert compare(expected(numbers > 4), numbers > 5).status == "differs"


def test_nested_answers_are_compared_part_by_part(answer):
    eager = {"a": answer, "b": (answer + 1, 3)}
    precise = {"a": answer.double(), "b": (answer.double() + 1, 3)}
    right = {"a": answer, "b": [answer + 1, 3]}
    assert compare(expected(eager, precise), right).status == "equal"
    wrong = compare(expected(eager, precise), {"a": answer, "b": (answer + 1, 4)})
    assert wrong.status == "differs"
    assert wrong.differences[0].output == 2


def test_zeros_are_no_answer_to_a_tiny_one(answer):
    tiny = answer * 1e-6
    found = compare(expected(tiny), torch.zeros_like(tiny))
    assert found.status == "differs"
    assert found.loose_ratio < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precision_has_its_own_bound(answer, dtype):
    low = answer.to(dtype)
    assert compare(expected(low, answer.double()), low).status == "equal"
    assert compare(expected(low, answer.double()), low + 1).status == "differs"


def test_complex_and_empty_answers_are_compared():
    wave = torch.complex(torch.ones(4), torch.zeros(4))
    assert compare(expected(wave, wave.to(torch.complex128)), wave.clone()).status == "equal"
    assert compare(expected(wave, wave.to(torch.complex128)), wave * 1j).status == "differs"
    assert compare(expected(torch.empty(0, 3)), torch.empty(0, 3)).status == "equal"


def test_a_case_without_an_answer_keeps_its_reason(answer):
    found = failed(expected(answer), "error", "ValueError: no")
    assert (found.status, found.why, found.ratio) == ("error", "ValueError: no", None)
