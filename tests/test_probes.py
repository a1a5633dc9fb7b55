"""Rewritten programs still parse and still do the same."""

import ast
import io
import textwrap
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.model import Entry, Sample, SampleId, text_digest
from kernelsift.probes.additions import (
    PRAISE,
    add_dead_code,
    praise,
    prepend_reasoning,
)
from kernelsift.probes.catalog import PROBES
from kernelsift.probes.edits import Edit, apply
from kernelsift.probes.inlining import inline_constants
from kernelsift.probes.ordering import reorder
from kernelsift.probes.renaming import rename
from kernelsift.probes.stripping import strip_comments
from kernelsift.similarity.normal import exact_digest
from kernelsift.source import answer_text, extract

ROLLOUTS = Path(__file__).parents[2] / "shared" / "data" / "rollouts-dev.parquet"
CODE_PROBES = [probe for probe in PROBES if probe.code is not None]
KERNEL = '''\
"""Doubles a tensor."""
import torch
import triton
import triton.language as tl

BLOCK = 1024  # elements per program
SCALE: float = -2.5


@triton.jit
def double_kernel(x_ptr, y_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    """One block each."""
    offsets = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    mask = offsets < n_elements  # the last block
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) * 2, mask=mask)


# what the harness calls
class ModelNew(torch.nn.Module):
    def forward(self, x):
        """Run it."""
        y = torch.empty_like(x)
        n = x.numel()
        grid = (triton.cdiv(n, BLOCK),)
        double_kernel[grid](x, y, n, BLOCK_SIZE=BLOCK)
        return y * SCALE
'''


def dumped(code: str) -> str:
    return ast.dump(ast.parse(code))


def identifiers(code: str) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


# ---- programs that can be run -------------------------------------------------------------------

NAMES = ("alpha", "beta", "gamma", "größe", "tmp1", "width")


@st.composite
def expressions(draw, known):
    """Arithmetic over known names, with the scopes that Python has inside of expressions."""
    a, b = draw(st.sampled_from(known)), draw(st.sampled_from(known))
    number = draw(st.integers(0, 9))
    return draw(
        st.sampled_from([
            f"{a} + {b} * {number}",
            f"({a} - {b}) % 7",
            f"sum({a} + {b} for {a} in range({number}))",
            f"(lambda {b}: {a} + {b})({number})",
            f"max([{b} * i for i in range(3)] + [{a}])",
            f"int(f'{{{a}}}{number}')" if draw(st.booleans()) else f"abs({a}) + LIMIT",
            f"len('ü' * 2) + {a}",
            f"helper({a}, size={b})",
            f"kernel({a}, {number}, width={b})",
        ])
    )


@st.composite
def programs(draw):
    """A small program of functions, a kernel, constants, closures; RESULT is what it computes."""
    lines = [
        '"""A module."""', "def jit(f): return f", f"LIMIT = {draw(st.integers(-5, 5))}",
        "def helper(value, size=1):", "    '''Adds.'''", "    total = value + size  # ü adds",
        "    return total % 1009",
        "@jit", "def kernel(source, number, width=3):", "    step = 4", "    found = source * step",
        "    return (found + number * width) % 1009",
    ]  # fmt: skip
    for number in range(draw(st.integers(1, 3))):
        known = ["first", "second"]
        lines += ["# a part", f"def part_{number}(first, second=2):"]
        if draw(st.booleans()):
            lines.append("    'what it does'; unit = 3")
            known.append("unit")
        for _ in range(draw(st.integers(1, 5))):
            name = draw(st.sampled_from(NAMES))
            said = draw(expressions(known))
            kind = draw(st.sampled_from(["plain", "loop", "nested", "twice", "if"]))
            if kind == "loop":
                lines += [f"    {name} = 0", f"    for i in range(3): {name} += ({said}) % 101"]
            elif kind == "nested":
                lines += [
                    f"    def inner(extra): return extra + ({said})",
                    f"    {name} = inner(1)",
                ]
            elif kind == "twice":
                lines.append(f"    {name} = ({said}) % 997; {name} = {name} + 1  # again")
            elif kind == "if":
                lines += [f"    {name} = 5", f"    if first > 3: {name} = {said}"]
            else:
                lines.append(f"    {name} = ({said}) % 997")
            known = [*dict.fromkeys([*known, name])]
        lines.append(f"    return {' + '.join(known)}")
        lines.append("")
    calls = " + ".join(f"part_{n}(4)" for n in range(number + 1))
    lines.append(f"RESULT = [helper(1, size=2), kernel(2, 3, width=5), {calls}]")
    return "\n".join(lines) + "\n"


def result(code: str) -> object:
    space: dict[str, object] = {}
    exec(compile(code, "program", "exec"), space)
    return space["RESULT"]


@given(programs())
def test_every_rewritten_program_computes_the_same(code):
    expected = result(code)
    for probe in CODE_PROBES:
        changed = probe.code(code)
        if changed is not None:
            assert result(changed) == expected, (probe.name, changed)
            assert changed != code


@given(programs())
def test_renaming_and_stripping_keep_the_normal_form(code):
    renamed, stripped = rename(code), strip_comments(code)
    assert renamed is not None
    assert stripped is not None
    assert exact_digest(renamed) == exact_digest(stripped) == exact_digest(code)


@given(programs())
def test_probes_can_follow_each_other(code):
    expected = result(code)
    for probe in CODE_PROBES:
        code = probe.code(code) or code
    assert result(code) == expected


@given(st.text(alphabet="ab=:()[]{}'\"#\n\t ;,.@\\fdeüx0", max_size=60))
def test_no_text_makes_a_probe_fail(text):
    for probe in CODE_PROBES:
        changed = probe.code(text)
        assert changed is None or ast.parse(changed) is not None


# ---- a kernel -----------------------------------------------------------------------------------


def test_renaming_changes_kernels_and_variables_and_no_interface():
    left = identifiers(rename(KERNEL))
    gone = {"double_kernel", "x_ptr", "y_ptr", "n_elements", "BLOCK_SIZE", "offsets", "mask"}
    assert not left & gone - {"mask"}  # mask= is a keyword of tl.load too
    assert {"ModelNew", "forward", "x", "BLOCK", "SCALE", "tmp0"} <= left


def test_renaming_leaves_keyword_and_parameter_alike():
    changed = rename(KERNEL)
    assert "mask=" in changed
    assert "BLOCK_SIZE" not in changed
    assert exact_digest(changed) == exact_digest(KERNEL)


def test_stripping_leaves_no_comment_and_no_docstring():
    changed = strip_comments(KERNEL)
    assert "#" not in changed
    assert '"""' not in changed
    assert exact_digest(changed) == exact_digest(KERNEL)


def test_inlining_writes_numbers_out_and_removes_their_names():
    changed = inline_constants(KERNEL)
    assert not identifiers(changed) & {"BLOCK", "SCALE"}
    assert "BLOCK_SIZE=1024" in changed
    assert "y * (-2.5)" in changed


def test_dead_code_is_only_added():
    before, after = KERNEL.splitlines(), add_dead_code(KERNEL).splitlines()
    left = iter(after)
    assert all(line in left for line in before)
    assert "    leftover = None" not in before
    assert any("leftover = None" in line for line in after)


def test_dead_code_takes_names_that_are_free():
    twice = add_dead_code(add_dead_code(KERNEL))
    assert {"previous_attempt", "previous_attempt_1"} <= identifiers(twice)


def test_praise_is_only_comments():
    changed = praise(KERNEL)
    assert changed.startswith(PRAISE)
    assert dumped(changed) == dumped(KERNEL)


def test_reordering_moves_definitions_with_their_comments_and_nothing_else():
    changed = reorder(KERNEL)
    assert changed.index("class ModelNew") < changed.index("def double_kernel")
    assert "# what the harness calls\nclass ModelNew" in changed
    assert sorted(map(ast.dump, ast.parse(changed).body)) == sorted(
        map(ast.dump, ast.parse(KERNEL).body)
    )


def test_reordering_keeps_a_class_behind_its_base():
    code = "class A: pass\n\n\nclass B(A): pass\n\n\ndef f(): pass\n"
    changed = reorder(code)
    assert changed.index("class A") < changed.index("class B")
    assert changed.index("def f") < changed.index("class A")


@pytest.mark.parametrize(
    "code",
    [
        "def f(): return 1\n\n\n@f\ndef g(): pass\n",
        "def f(): return 1\n\n\nclass A:\n    x = f()\n",
        "def f(): return 1\n\n\ndef g(x=f()): return x\n",
        "def f(): return 1\n\n\ndef f(): return 2\n",
        "def f(): return 1\nRESULT = f()\ndef g(): return 2\n",
        "import torch\ndef f(): return 1\n@torch.jit.script\ndef g(): return f()\n",
    ],
    ids=["decorator", "class body", "default", "twice", "statement between", "compiled"],
)
def test_reordering_leaves_alone_what_depends_on_order(code):
    assert reorder(code) is None


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("a text names it", "def f():\n    a = 1\n    return {'a': a}\n"),
        ("it is in an f-string", "def f():\n    a = 1\n    return f'{a}'\n"),
        ("locals are looked at", "def f():\n    a = 1\n    return locals()\n"),
        ("it is global", "a = 1\ndef f():\n    global a\n    a = 2\n"),
        ("it is a method's parameter", "class A:\n    def f(self, a): return a\n"),
        ("it is an import", "def f():\n    import os as a\n    return a\n"),
        ("it is a class's too", "class A:\n    a = 1\ndef f():\n    a = 2\n    return a\n"),
        ("a keyword has its name", "def f():\n    a = 1\n    return dict(a=a)\n"),
        ("an except clause binds it",
         "def f():\n    try: 1\n    except E as a: return a\n"),
    ],
    ids=lambda value: value if "\n" not in value else "",
)  # fmt: skip
def test_a_name_that_is_more_than_a_variable_is_not_renamed(what, code):
    assert rename(code) is None


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("bound twice", "A = 1\nA = 2\ndef f(): return A\n"),
        ("changed", "A = 1\nA += 1\ndef f(): return A\n"),
        ("no number", "A = 'x'\ndef f(): return A\n"),
        ("bound under a condition", "def f(x):\n    if x:\n        a = 1\n    return a\n"),
        ("used before", "def f():\n    g = lambda: a\n    a = 1\n    return g\n"),
        ("a parameter elsewhere", "A = 1\ndef f(A): return A\n"),
        ("never used", "A = 1\ndef f(): return 2\n"),
        ("an f-string shows it", "A = 1\ndef f(): return f'{A}'\n"),
    ],
    ids=lambda value: value if "\n" not in value else "",
)
def test_a_name_that_is_not_one_number_throughout_is_not_written_out(what, code):
    assert inline_constants(code) is None


def test_a_function_of_a_docstring_alone_keeps_a_body():
    assert strip_comments("def f():\n    'says'\n") == "def f():\n    pass\n"


def test_docstrings_stay_where_the_program_reads_them():
    code = "def f():\n    'says'\n    return f.__doc__\n"
    assert strip_comments(code) is None


def test_columns_are_counted_in_bytes_where_a_line_has_umlauts():
    code = "@jit\ndef kernel(größe, β):\n    'ü'; total = größe + β; return total\n"
    changed = rename(code)
    assert "größe" not in changed
    assert exact_digest(changed) == exact_digest(code)


def test_changes_that_overlap_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        apply("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])


# ---- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        f"I think.\n\nBEGIN_PYTHON\n{KERNEL}END_PYTHON\n",
        f"Here:\n\n```python\n{KERNEL}```\n",
        f"<answer>\n{KERNEL}</answer>",
        KERNEL,
    ],
    ids=["markers", "fence", "tag", "bare"],
)
def test_reasoning_before_an_answer_does_not_change_which_program_is_judged(answer):
    assert extract(prepend_reasoning(answer)).code == KERNEL


def test_the_reasoning_is_about_five_thousand_tokens():
    assert 18_000 < len(prepend_reasoning("")) < 22_000


def test_a_changed_sample_has_the_digest_of_its_new_code_and_the_code_in_its_answer():
    entry = Entry(SampleId("x"), 0, "x:1", "M", 1.0, "", text_digest(KERNEL))
    answer = f"I think.\n\nBEGIN_PYTHON\n{KERNEL}END_PYTHON\n"
    sample = Sample(entry, "", KERNEL, answer)
    for probe in PROBES:
        changed = probe.apply(sample)
        assert changed.entry.code_digest == text_digest(changed.code)
        assert extract(changed.completion).code == changed.code
        assert changed.entry.id == "x"


@pytest.mark.skipif(not ROLLOUTS.exists(), reason="the shared rollouts are not here")
def test_real_kernels_can_be_probed_and_stay_the_same_programs():
    import pyarrow.parquet as pq

    rows = pq.read_table(ROLLOUTS, columns=["completion"])[0].to_pylist()
    codes = list(dict.fromkeys(extract(answer_text(row)).code for row in rows[::40]))
    applied = dict.fromkeys((probe.name for probe in CODE_PROBES), 0)
    for code in codes:
        for probe in CODE_PROBES:
            changed = probe.code(code)
            if changed is None:
                continue
            applied[probe.name] += 1
            ast.parse(changed)
            if probe.name in {"rename", "strip", "praise"}:
                assert exact_digest(changed) == exact_digest(code)
            if probe.name == "praise":
                assert dumped(changed) == dumped(code)
    assert len(codes) > 50
    for name, count in applied.items():
        assert count > (0.5 if name == "inline" else 0.95) * len(codes), name


def test_indented_text_is_no_program_and_no_probe_applies():
    code = textwrap.indent(KERNEL, "    ")
    assert [probe.code(code) for probe in CODE_PROBES] == [None] * len(CODE_PROBES)
