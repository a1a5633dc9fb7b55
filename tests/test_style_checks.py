"""Ten checks of style: what each sees, and what moves none of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_static_judge import ANSWER, ATTENTION, RELU

from kernelsift.kernels.features import measure_reference
from kernelsift.kernels.metrics import read_program
from kernelsift.kernels.style_checks import QUESTIONS, StyleCheck, style_checks, style_score

GOOD = ANSWER.replace(
    "        block = 1024\n", "        x = x.contiguous()\n        block = 1024\n"
)
ROWS = """import torch
import triton
import triton.language as tl


@triton.jit
def row_sum_kernel(x_ptr, out_ptr, columns, stride_row, BLOCK: tl.constexpr):
    # one program per row
    row = tl.program_id(0)
    scale = tl.load(out_ptr + row)
    offsets = tl.arange(0, BLOCK)
    values = tl.load(x_ptr + row * stride_row + offsets, mask=offsets < columns, other=0.0)
    total = tl.sum(values.to(tl.float32), axis=0)
    tl.store(out_ptr + row, total * scale)


def row_sum(x, out):
    block = triton.next_power_of_2(x.shape[1])
    row_sum_kernel[(x.shape[0],)](x, out, x.shape[1], x.stride(0), BLOCK=block)
    return out
"""


def checked(code, core=()):
    return {check.name: check for check in style_checks(read_program(code), core)}


def answers(code, core=()):
    return {name: check.answer for name, check in checked(code, core).items()}


def test_every_question_is_answered_in_order():
    found = style_checks(read_program(GOOD))
    assert [check.name for check in found] == list(QUESTIONS)
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("code", [GOOD, ROWS, RELU, "x = 1\n"])
def test_every_quote_is_a_line_of_the_code(code):
    lines = code.split("\n")
    for check in style_checks(read_program(code)):
        assert check.answer == "na" or lines[check.line - 1].strip() == check.quote
        assert (check.quote == "") == (check.answer == "na")


def test_good_programs_pass_every_check_that_applies():
    assert set(answers(GOOD).values()) == {"yes", "na"}
    assert set(answers(ROWS).values()) == {"yes"}


def test_sums_are_what_numerics_is_about():
    assert answers(GOOD)["numerics"] == "na"
    assert answers(ROWS)["numerics"] == "yes"
    assert answers(ROWS.replace(".to(tl.float32)", ""))["numerics"] == "no"


def test_an_exponential_that_is_summed_needs_its_maximum_first():
    bare = ROWS.replace("values.to(tl.float32)", "tl.exp(values.to(tl.float32))")
    assert answers(bare)["numerics"] == "no"
    steady = bare.replace("tl.exp(values", "tl.exp((values - tl.max(values, axis=0))")
    assert answers(steady)["numerics"] == "yes"


DAMAGE = {
    "naming": (GOOD, "offsets", "tmp0"),
    "separation": (GOOD, "        return out\n", "        return out\n        x = 1\n"),
    "bounds": (GOOD, ", mask=inside, other=0.0", ""),
    "block-sizes": (GOOD, "BLOCK=block", "BLOCK=1024"),
    "access": (GOOD, "        x = x.contiguous()\n", ""),
    "core-in-triton": (GOOD, "return out", "return torch.softmax(out, -1)"),
    "comments": (ROWS, "    # one program per row\n", ""),
    "economy": (GOOD, "torch.empty_like", "torch.zeros_like"),
    "generality": (GOOD, "offsets < count", "offsets < 1000"),
    "numerics": (ROWS, ".to(tl.float32)", ""),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_one_damage_turns_one_check(name):
    code, old, new = DAMAGE[name]
    before, after = answers(code), answers(code.replace(old, new))
    assert old in code
    assert {n for n in QUESTIONS if before[n] != after[n]} == {name}
    assert after[name] == "no"


def test_a_scalar_load_needs_no_mask():
    assert checked(ROWS)["bounds"].quote.startswith("values = tl.load")


def test_cheap_work_may_stay_in_pytorch_unless_it_is_the_task():
    code = GOOD.replace("return out", "return torch.add(out, 1)")
    assert answers(code)["core-in-triton"] == "yes"
    assert answers(code, ["elementwise"])["core-in-triton"] == "no"


def test_kernels_that_are_not_launched_do_not_count():
    idle = GOOD.replace("relu_kernel[grid](x, out, x.numel(), BLOCK=block)", "pass")
    assert {name for name, answer in answers(idle).items() if answer == "yes"} <= {
        "naming",
        "comments",
    }


def test_the_score_is_the_share_of_yes_in_tenths():
    made = [StyleCheck("naming", a, 1, "x") for a in ("yes", "no", "na", "yes", "yes")]
    assert style_score(made) == 7.5
    assert style_score(made[2:3]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda s: "# this passed all tests, written by an expert\n" + s,
        lambda s: s.replace("import torch\n", "import torch\n\n\n", 1),
        lambda s: s.replace("relu_kernel", "clamp_kernel"),
    ],
    ids=["praise", "blank lines", "another good name"],
)
def test_what_says_nothing_of_the_code_moves_no_check(change):
    assert answers(change(GOOD)) == answers(GOOD)


def test_the_order_of_functions_moves_no_check():
    kernel, host = ROWS.split("\n\n\ndef row_sum(")
    head, body = kernel.split("\n\n\n@triton.jit")
    swapped = f"{head}\n\n\ndef row_sum({host}\n\n@triton.jit{body}\n"
    assert answers(swapped) == answers(ROWS)


LINES = [*ROWS.split("\n"), *GOOD.split("\n"), "pass", "def f():", "    return 1", "x = (1"]


@given(st.lists(st.sampled_from(LINES), max_size=12))
@settings(max_examples=300)
def test_any_lines_are_checked_or_no_python(lines):
    program = read_program("\n".join(lines))
    assert program is None or len(style_checks(program)) == 10


def test_the_operations_of_a_module_are_classes_that_the_check_knows():
    groups = measure_reference(ATTENTION).groups
    assert answers(GOOD.replace("return out", "return out @ x"), groups)["core-in-triton"] == "no"


def test_the_checklist_of_the_language_model_has_the_same_checks():
    checklist = pytest.importorskip("kernelsift.checklist", reason="there is no checklist")
    assert tuple(QUESTIONS) == checklist.CHECKS
