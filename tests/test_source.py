"""The extractor: one program out of any completion, the same one every time."""

import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift import source
from kernelsift.source import extract

PROGRAM = """import torch
import triton


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return x
"""
FENCED_DOCSTRING = '''"""Usage:

```python
import kernels
kernels.run()
```
"""
import torch


def run(x):
    """
    ```
    run(x)
    ```
    """
    return x
'''
PROGRAMS = st.sampled_from([
    PROGRAM,
    FENCED_DOCSTRING,
    "def f(x):\n\treturn '```'\n",
    "# a comment first\nfrom torch import nn\n\n\nclass A(nn.Module):\n    text = '~~~'\n",
    "@triton.jit\ndef kernel(x_ptr):\n    pass\n",
    'class A:\n    """Put it between `<answer>` and `</think>`, or BEGIN_PYTHON and so on."""\n',
])
PROSE = st.text("ab ,.\n`'#<>", max_size=60).map(
    lambda s: s.replace("```", "").replace("\n#", "\n")
)
DRAFTS = st.sampled_from([
    "",
    "I will write BEGIN_PYTHON and END_PYTHON around it.\n",
    "Usage:\n```python\nimport x\nx.run()\n```\n",
    "```\nsome output\n```\n",
    "```bash\npip install x\n```\n",
    "Consider:\n```python\nx = (1,\n```\nNo.\n",
])
WRAPPERS = {
    "markers": "BEGIN_PYTHON\n{}\nEND_PYTHON",
    "answer-tag": "<answer>\n{}</answer>",
    "fence": "````python\n{}\n````",
}


def normal(code):
    return textwrap.dedent(code).strip() + "\n"


@given(PROGRAMS, DRAFTS, PROSE, st.sampled_from(sorted(WRAPPERS)), st.booleans())
def test_a_wrapped_program_comes_out_as_it_went_in(program, draft, prose, how, think):
    before = f"<think>{prose}\n{draft}```python\nclass Draft: pass\n```</think>\n" if think else ""
    text = before + draft + "Here it is.\n" + WRAPPERS[how].format(program) + "\nHope it helps."
    if how == "fence" and "<answer>" in program:
        return
    assert extract(text).code == normal(program)
    assert extract(text).how == how


@given(PROGRAMS)
def test_a_bare_program_is_itself(program):
    assert extract(program) == source.Extracted(normal(program), "bare")
    assert extract(extract(program).code).code == extract(program).code


PIECES = st.sampled_from([
    "BEGIN_PYTHON",
    "END_PYTHON",
    "\n",
    "```",
    "```python\n",
    "~~~",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "import x\n",
    "def f():\n  pass\n",
    "class A:\n",
    " ",
    "\t",
    "\r\n",
    "\ufeff",
    "\x00",
    "'''",
    '"',
    "(",
    "\\",
    "é",
    "\ud800",
])


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=200))
def test_any_text_gives_lines_of_that_text(text):
    found = extract(text)
    assert (found.how == "none") == (found.code == "")
    assert not found.code or (found.code.endswith("\n") and not found.code.endswith("\n\n"))
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    for line in found.code.split("\n"):
        assert line.strip() in plain


@pytest.mark.parametrize(
    ("text", "code", "how"),
    [
        ("", "", "none"),
        ("I cannot help with that.", "", "none"),
        ("<think>BEGIN_PYTHON\n" + PROGRAM + "END_PYTHON", "", "none"),
        ("<think>BEGIN_PYTHON\n" + PROGRAM + "END_PYTHON</think> done", "", "none"),
        ("thoughts </think>" + PROGRAM, PROGRAM, "bare"),
        ("BEGIN_PYTHON\n```python\n" + PROGRAM + "```\nEND_PYTHON", PROGRAM, "markers"),
        ("**BEGIN_PYTHON**\n" + PROGRAM + "**END_PYTHON**", PROGRAM, "markers"),
        ("BEGIN_PYTHON " + PROGRAM + " END_PYTHON", PROGRAM, "markers"),
        ("```python\n# BEGIN_PYTHON\n" + PROGRAM + "# END_PYTHON\n```", PROGRAM, "markers"),
        ("BEGIN_PYTHON\n" + PROGRAM, PROGRAM, "markers"),
        ("BEGIN_PYTHON\n" + PROGRAM + "def cut(", "", "none"),
        ("BEGIN_PYTHON\ndef broken(:\nEND_PYTHON", "def broken(:\n", "markers"),
        (
            "BEGIN_PYTHON\n<your code>\nEND_PYTHON\nBEGIN_PYTHON\n" + PROGRAM + "END_PYTHON",
            PROGRAM,
            "markers",
        ),
        ("BEGIN_PYTHON\nx\nBEGIN_PYTHON\n" + PROGRAM + "END_PYTHON", PROGRAM, "markers"),
        (
            "BEGIN_PYTHON\nimport a\nEND_PYTHON\nBEGIN_PYTHON\n" + PROGRAM + "END_PYTHON",
            PROGRAM,
            "markers",
        ),
        ("<answer>\n```python\n" + PROGRAM + "```\n</answer>", PROGRAM, "answer-tag"),
        ("<answer>" + PROGRAM, PROGRAM, "answer-tag"),
        ("```Python3\n" + PROGRAM + "```", PROGRAM, "fence"),
        ("```\n" + PROGRAM + "```", PROGRAM, "fence"),
        ("~~~py\n" + PROGRAM + "~~~", PROGRAM, "fence"),
        ("So:\n```python\n" + PROGRAM, PROGRAM, "fence"),
        (
            "```python\n" + PROGRAM + "```\nUse it:\n```python\nimport m\nm.ModelNew()\n```",
            PROGRAM,
            "fence",
        ),
        (
            "```python\n" + PROGRAM + "```\nTest:\n```python\ndef test():\n    pass\n```",
            PROGRAM,
            "fence",
        ),
        ("```python\n" + FENCED_DOCSTRING + "```", FENCED_DOCSTRING, "fence"),
        ("```python\ndef broken(:\n```", "def broken(:\n", "fence"),
        (
            "1. So:\n   ```python\n   def f():\n       return 1\n   ```",
            "def f():\n    return 1\n",
            "fence",
        ),
        ("\ufeff" + PROGRAM.replace("\n", "\r\n"), PROGRAM, "bare"),
    ],
)
def test_the_answer_is_found(text, code, how):
    assert extract(text) == source.Extracted(code, how)


@pytest.mark.parametrize(
    "text",
    [
        "`" * 200_000,
        "```\n" * 50_000,
        "BEGIN_PYTHON\n" * 50_000,
        "```python\nimport x\n(\n```\n" * 10_000,
        "BEGIN_PYTHON\nimport x\n(\nEND_PYTHON\n" * 10_000,
        "<think>" * 50_000,
        "(" * 200_000,
        "def f():\n" + "-" * 50_000 + "1",
    ],
)
def test_a_hostile_text_is_read_without_harm(text):
    assert isinstance(extract(text).code, str)


def test_only_the_assistant_speaks():
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "b"},
    ]
    assert source.answer_text(messages) == "a\nb"
    assert source.reasoning_text(messages) == "r"


def test_what_python_cannot_read_has_no_tree():
    for code in ("def (", "a\x00b", "(" * 5000, "\ud800"):
        assert source.parse(code) is None
    assert source.parse("x = '\\d'") is not None


def test_the_module_is_the_last_one_or_the_one_named_model():
    head = "import torch.nn as nn\n"
    a, b = "class A(nn.Module):\n  pass\n", "class B(A):\n  pass\n"
    assert source.module_class_name(head + a + b + "class C:\n  pass\n") == "B"
    assert source.module_class_name(head + a + "class Model(nn.Module):\n  pass\n" + b) == "Model"
    assert source.module_class_name("x = 1") is None
    assert source.class_names(a + b) == ("A", "B")


ROLLOUTS = Path(__file__).parents[2] / "shared" / "data" / "rollouts-dev.parquet"


@pytest.mark.skipif(
    not ROLLOUTS.exists(), reason="the development rollouts are not on this machine"
)
def test_every_development_rollout_gives_its_answer():
    import pyarrow.parquet as pq

    rows = pq.read_table(ROLLOUTS, columns=["completion", "answer"]).to_pylist()
    assert len(rows) == 3272
    for row in rows:
        answer = row["answer"].strip() + "\n"
        assert extract(source.answer_text(row["completion"])).code == answer
