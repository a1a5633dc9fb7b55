"""The linter: each rule fires where it should, and never on good Triton style."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_static_judge import ANSWER

from kernelsift.kernels.lint import MOST_BRANCHES, RULES, lint
from kernelsift.kernels.metrics import read_program

FAULTS = {
    "unused-import": "import os\n",
    "unused-variable": "def f():\n    a = 1\n",
    "redefinition": "def f(): pass\n\n\ndef f(): pass\n",
    "unreachable-code": "def f():\n    return 1\n    print(2)\n",
    "commented-out-code": "# x = load(3)\n",
    "bare-except": "try:\n    pass\nexcept:\n    pass\n",
    "assigned-lambda": "double = lambda x: 2 * x\n",
    "useless-return": "def f():\n    print(1)\n    return\n",
    "mutable-default": "def f(x=[]): return x\n",
    "none-comparison": "print(1 == None)\n",
    "trailing-space": "x = 1 \n",
    "complex-function": "def f(x):\n" + "    if x: print(x)\n" * (MOST_BRANCHES + 1),
    "unused-kernel-parameter": "@triton.jit\ndef k(x_ptr): pass\n\n\nk[(1,)](1)\n",
    "idle-kernel": "@jit\ndef k(): pass\n\n\n@jit\ndef used(): pass\n\n\nused[(1,)]()\n",
    "literal-block": "@triton.jit\ndef k():\n    tl.arange(0, 64)\n",
}


def rules(code):
    return [finding.rule for finding in lint(read_program(code))]


@pytest.mark.parametrize("rule", RULES)
def test_a_fault_is_found_and_nothing_else(rule):
    ast.parse(FAULTS[rule])
    assert rules(FAULTS[rule]) == [rule]


def test_good_triton_style_is_no_fault():
    grid = ANSWER.replace("grid = (", "grid = lambda meta: (")
    capitals = ANSWER.replace("count", "M")
    assert rules(ANSWER) == rules(grid) == rules(capitals) == []


def test_a_finding_knows_its_line():
    (finding,) = lint(read_program("x = 1\n\n\ndef f():\n    unused = 2\n"))
    assert (finding.rule, finding.line) == ("unused-variable", 5)


@pytest.mark.parametrize(
    "text",
    ["# x: the input, of shape (rows, columns)", "# out = a + b", "# see https://x.org (2)", "#"],
)
def test_prose_is_no_code(text):
    assert rules(f"{text}\n") == []


@given(st.text(max_size=200))
def test_any_text_is_linted_or_no_python(text):
    program = read_program(text)
    assert program is None or all(finding.line >= 1 for finding in lint(program))
