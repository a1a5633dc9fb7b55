"""Task specifications written from the syntax tree, and the loader of the written instruments."""

import re
from pathlib import Path

import pytest

from kernelsift.errors import ConfigError
from kernelsift.kernels.describe import describe
from kernelsift.llm import prompts

NET = """import torch
import torch.nn as nn
import torch.nn.functional as F


def helper(t):
    return torch.exp(t)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, 2 * width, bias=False)

    def forward(self, x):
        return F.relu(self.inner(x))


class Net(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.block = Block(width)
        self.gain = nn.Parameter(torch.ones(width))
        self._secret = eps
        self.drop = nn.Dropout(0.1)

    def forward(self, x, mask=None):
        hidden_thing = self.drop(self.block(x))
        if mask is not None:
            hidden_thing = hidden_thing.masked_fill(mask, -1e9)
        scale = helper(hidden_thing).sum(dim=1, keepdim=True) + self._secret
        return hidden_thing / scale, scale


def get_inputs():
    return [torch.rand([4, 3])]


def get_init_inputs():
    return [[], {'width': 3}]
"""


def test_the_computation_is_told_step_by_step():
    text = describe("Net", NET)
    steps = re.findall(r"^ *\d+\. .*$|^ *- If .*$", text, re.MULTILINE)
    assert [step.strip() for step in steps] == [
        "1. Apply a learnable linear layer `block.inner` (in_features = `width`, "
        "out_features = 2 * `width`, bias = false) to `x`.",
        "2. Apply ReLU, max(0, value), to result 1.",
        "3. Apply dropout (p = 0.1) to result 2.",
        "- If `mask` is given:",
        "4. Fill result 3, where `mask` holds, with -1000000000.0.",
        "5. Continue with result 4 if `mask` is given, otherwise with result 3.",
        "6. Take the exponential of result 5.",
        "7. Sum result 6 (dim = 1, keepdim = true).",
        "8. Add result 7 and `eps`.",
        "9. Divide result 5 by result 8.",
    ]
    assert "- forward returns (result 9, result 8)." in text


def test_the_interface_is_complete():
    text = describe("Net", NET)
    assert "__init__(self, width, eps=1e-05)" in text
    assert "forward(self, x, mask=None)" in text
    assert "NetNew" in text
    assert "- `x`: for example a tensor of shape (4, 3), uniform between 0 and 1" in text
    assert "- `width`, for example 3" in text
    assert "`block.inner.weight`: linear layer" in text
    assert "`gain`: at first" in text
    assert "BEGIN_PYTHON" in text
    assert "END_PYTHON" in text


def test_nothing_private_leaks():
    text = describe("Net", NET)
    for word in (
        "helper",
        "_secret",
        "hidden_thing",
        "Block",
        "torch.",
        "F.",
        "nn.",
        "```",
        "drop(",
    ):
        assert word not in text


def test_parameters_are_named_only_where_there_are_some():
    plain = "import torch\nclass A(torch.nn.Module):\n  def forward(self, x):\n    return x.abs()\n"
    assert "## Parameters and buffers" in describe("Net", NET)
    assert "## Parameters and buffers" not in describe("A", plain)


@pytest.mark.parametrize("reference", ["", "x = 1", "def (", "class A:\n  pass\n"])
def test_no_module_is_no_specification(reference):
    assert describe("A", reference) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return torch.cat([x, x], 1)", "Concatenate (`x`, `x`) (dim = 1)"),
        ("return x.view(x.size(0), -1)", "Reshape `x` to (dimension 0 of `x`, -1)"),
        ("return torch.clamp(1 - x * 2, min=0)", "Limit result 2 to a range (min = 0)"),
        ("return x ** 2", "Raise `x` to the power 2"),
        ("a, b = x.chunk(2, dim=1)\n        return a * b", "the first part of result 1"),
        (
            "for i in range(3):\n            x = x + i\n        return x",
            "Set running value A to result 1.",
        ),
        ("return nn.LeakyReLU(0.2)(x)", "Apply leaky ReLU (negative_slope = 0.2) to `x`"),
        ("return [x[i] for i in range(2)]", "For each element of the range of 2"),
        (
            "return torch.einsum('ij,jk->ik', x, x)",
            'Einstein summation "ij,jk->ik" the tensors `x` and `x`',
        ),
    ],
)
def test_idioms_are_put_into_words(body, said):
    head = "import torch\nfrom torch import nn\n"
    head += "class A(nn.Module):\n    def forward(self, x):\n        "
    assert said in describe("A", head + body + "\n")


def test_code_without_end_is_refused():
    calls = " + ".join(["self.more(x)"] * 8)
    code = "import torch.nn as nn\nclass A(nn.Module):\n"
    code += f"    def more(self, x):\n        return {calls}\n"
    code += "    def forward(self, x):\n        return self.more(x)\n"
    assert describe("A", code) is None


def test_layers_under_names_are_followed():
    code = """import torch.nn as nn
from collections import OrderedDict
class A(nn.Module):
    def __init__(self):
        super().__init__()
        named = OrderedDict()
        named['fc'] = nn.Linear(2, 3)
        named['act'] = nn.ReLU()
        self.net = nn.Sequential(named)
        self.two = nn.Sequential(OrderedDict([('out', nn.Linear(3, 1))]))
    def forward(self, x):
        return self.two(self.net.forward(x))
"""
    text = describe("A", code)
    assert "linear layer `net.fc` (in_features = 2, out_features = 3) to `x`" in text
    assert "`two.out.weight` and `two.out.bias`: linear layer" in text
    assert "forward returns result 3." in text


MODULES = Path(__file__).parents[2] / "shared" / "data" / "kernelbook-modules.parquet"


@pytest.mark.skipif(not MODULES.exists(), reason="the development data are not on this machine")
def test_nearly_all_real_modules_are_described():
    import pyarrow.parquet as pq

    rows = pq.read_table(MODULES, columns=["module_name", "python_code"]).to_pylist()[::40]
    texts = [describe(row["module_name"], row["python_code"]) for row in rows]
    written = [text for text in texts if text]
    assert len(written) >= 0.99 * len(texts)
    told = [text for text in written if re.search(r"^ *\d+\. ", text, re.MULTILINE)]
    assert len(told) >= 0.98 * len(written)
    assert not any("```" in text or "torch." in text for text in written)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("judge-original-1", {"code", "mark"}),
        ("generate-1", {"name", "reference", "mark"}),
    ],
)
def test_instruments_load(name, wanted):
    text = prompts.load(name)
    assert prompts.placeholders(text.user) == wanted
    assert f"{text.name}-{text.version}" == name
    assert text.label.startswith(name + ":")


def test_a_value_is_never_a_template():
    assert prompts.fill("{{a}} {{b}}", a="{{b}} {c} \\1", b="2") == "{{b}} {c} \\1 2"


def test_a_placeholder_and_its_value_come_in_pairs():
    with pytest.raises(ConfigError, match="wants b"):
        prompts.fill("{{a}} {{b}}", a="1")
    with pytest.raises(ConfigError, match="no placeholder for c"):
        prompts.fill("{{a}}", a="1", c="2")
    with pytest.raises(ConfigError, match="there is no prompt"):
        prompts.load("judge-9")
    with pytest.raises(ConfigError, match="front matter"):
        prompts.read("x", "hello")
