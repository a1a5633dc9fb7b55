"""Programs that are the same, or nearly: normal forms, tokens, near-duplicates."""

import ast
import random
import re

import numpy as np
import pytest
from build import kernel, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift.similarity.near import find_near, jaccard, leaders
from kernelsift.similarity.normal import exact_digest
from kernelsift.similarity.tokens import (
    SHINGLE,
    raw_hashes,
    raw_tokens,
    shingles,
    structural_hashes,
    structural_tokens,
)

KERNEL = '''\
"""Scales a tensor."""
import torch
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 128})], key=["n"])
@triton.jit
def scale_kernel(x_ptr, out_ptr, n, factor, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + offsets, x * factor, mask=mask)


class ModelNew(torch.nn.Module):
    def __init__(self, factor: float = 2.0):
        super().__init__()
        self.factor = factor

    def launch(self, x, out):
        grid = lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)
        scale_kernel[grid](x, out, x.numel(), self.factor)

    def forward(self, x):
        out = torch.empty_like(x)
        self.launch(x, out)
        return out.sum(dim=-1)
'''
OWN = ("scale_kernel", "x_ptr", "out_ptr", "n", "factor", "BLOCK", "pid", "offsets", "mask", "x",
       "out", "ModelNew", "launch", "grid", "meta")  # fmt: skip
"""Names that the kernel makes; `mask` and `dim` are keywords of the library where they stand so."""


def with_names(names):
    """The kernel with its own names replaced, keywords of the library left alone."""

    def change(match):
        word = match.group(0)
        text, end = KERNEL, match.end()
        is_keyword = word == "mask" and text[end : end + 1] == "=" and text[end + 1] != "="
        return word if is_keyword else names.get(word, word)

    return re.sub(r"\b[A-Za-z_]\w*\b", change, KERNEL)


NAMES = st.lists(st.integers(0, 999), min_size=len(OWN), max_size=len(OWN), unique=True).map(
    lambda numbers: dict(zip(OWN, (f"value_{n}" for n in numbers), strict=True))
)


# --- exact --------------------------------------------------------------------------------------


@given(NAMES)
@settings(max_examples=40, deadline=None)
def test_other_names_are_the_same_program(names):
    other = with_names(names)
    ast.parse(other)
    assert exact_digest(other) == exact_digest(KERNEL) is not None


@given(st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_comments_blank_lines_and_indents_are_nothing(random):
    lines = []
    for line in KERNEL.split("\n"):
        body = line.lstrip()
        if random.random() < 0.5 and '"""' not in line:
            lines.append(f"{line[: len(line) - len(body)]}# {random.random()}")
        lines.append(" " * (len(line) - len(body)) + line)
    assert exact_digest("\n".join(lines)) == exact_digest(KERNEL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Scales a tensor."""\n', ""),
        ("    pid = tl", '    """Doc."""\n    pid = tl'),
        ("factor: float = 2.0", "factor=2.0"),
        ("x * factor", "(x * (factor))"),
        ("import triton.language as tl\n", "from triton import language as tl\n"),
        ("import torch\n", "import torch\nimport os\nimport torch.nn.functional as F\n"),
        ("torch.nn.Module", "nn.Module"),
        ("self.factor)\n", "self.factor,)\n"),
    ],
)
def test_what_changes_no_meaning_is_the_same_program(old, new):
    assert old in KERNEL
    other = KERNEL.replace(old, new)
    if new == "nn.Module":
        other = other.replace("import torch\n", "import torch\nfrom torch import nn\n")
    assert exact_digest(other) == exact_digest(KERNEL)


def test_a_script_s_own_run_is_no_part_of_the_program():
    run = 'if __name__ == "__main__":\n    print(ModelNew()(torch.rand(3)))\n'
    assert exact_digest(KERNEL + run) == exact_digest(KERNEL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * factor", "x + factor"),
        ("x * factor", "factor * x"),
        ("tl.load", "tl.atomic_add"),
        ("dim=-1", "axis=-1"),
        ("empty_like", "zeros_like"),
        ("offsets < n", "offsets <= n"),
        ("def forward", "def backward"),
        ("self.factor)", "factor=self.factor)"),
    ],
)
def test_what_changes_meaning_is_another_program(old, new):
    assert old in KERNEL
    assert exact_digest(KERNEL.replace(old, new)) != exact_digest(KERNEL)


def test_numbers_count_unless_they_are_not_asked_for():
    other = KERNEL.replace("64", "-32").replace("other=0.0", "other=-1")
    assert exact_digest(other) != exact_digest(KERNEL)
    assert exact_digest(other, constants=False) == exact_digest(KERNEL, constants=False)
    flag = KERNEL.replace("other=0.0", "other=True")
    assert exact_digest(flag, constants=False) != exact_digest(KERNEL, constants=False)


@pytest.mark.parametrize(
    "text", ["", "# nothing", "x =", "def f(:", "\0", "(" * 9999, "-" * 99999 + "1", "\ud800 = 1"]
)
def test_what_is_no_program_has_no_digest(text):
    assert exact_digest(text) is None


@given(st.text(max_size=200))
@settings(deadline=None)
def test_no_text_breaks_the_digest(text):
    assert exact_digest(text) == exact_digest(text)


# --- tokens -------------------------------------------------------------------------------------


def test_structure_keeps_the_language_and_the_api():
    found = structural_tokens("y = tl.load(p + 1.5e-3, mask=m)  # c\nz: int = self.w.sum(dim=0x1F)")
    assert found == [
        "ID", "=", "tl", ".load", "ID", "+", "0", ",", "ID", "=", "ID",
        "ID", ":", "int", "=", "self.ID", ".sum", "ID", "=", "0",
    ]  # fmt: skip


def test_raw_tokens_are_as_they_are_written():
    assert raw_tokens("y = f('a', 3)  # c\n") == ["y", "=", "f", "STRa", ",", "3"]


def test_docstrings_and_comments_are_no_tokens_and_other_texts_are():
    text = (
        '"""Doc."""\n\n# c\ndef f():\n    # c\n    """Doc\n    of f."""\n    "more"\n    return "x"'
    )
    assert structural_tokens(text) == ["def", "ID", ":", "return", "STR"]


@given(NAMES)
@settings(max_examples=20, deadline=None)
def test_names_numbers_and_layout_do_not_change_structure(names):
    other = with_names(names).replace("64", "32")
    assert structural_tokens(other) == structural_tokens(KERNEL)
    laid_out = KERNEL.replace(", ", " ,\n        ").replace("\n        for", " for")
    assert structural_tokens(laid_out) == structural_tokens(KERNEL)


@given(st.text(max_size=300), st.integers(1, 20))
@settings(deadline=None)
def test_any_text_has_tokens_and_the_fast_way_gives_the_same_shingles(text, size):
    for slow, fast in ((structural_tokens, structural_hashes), (raw_tokens, raw_hashes)):
        one, other = shingles(slow(text), size), shingles(fast(text), size)
        assert (one == other).all()
        assert (np.diff(one.astype(object)) > 0).all()
        assert len(one) <= max(1, len(slow(text)) - size + 1)
        assert bool(len(one)) == bool(slow(text))


def test_shingles_are_runs_of_tokens_wherever_they_stand():
    tokens = structural_tokens(KERNEL)
    whole = shingles(tokens)
    for start in (0, 7, len(tokens) - SHINGLE):
        assert shingles(tokens[start : start + SHINGLE])[0] in whole
    assert len(shingles(tokens, len(tokens))) == len(shingles(tokens, 9999)) == 1


PIECES = [
    '"""',
    "'",
    " ",
    "\n",
    " \n",
    "(",
    "\\",
    '"\\',
    "a",
    "1e",
    ",#\n",
    '"\\\n',
    "{'",
    "\u3000",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_anything_is_cut_at_once(piece):
    text = piece * (1_000_000 // len(piece))
    assert len(shingles(structural_hashes(text))) <= 20


# --- near ---------------------------------------------------------------------------------------


def programs(count=40):
    """Different programs."""
    return [kernel(f"K{n}") + reference(f"M{n}") for n in range(count)]


def found(texts, **more):
    """Pairs of texts that are near, by text, and texts that are the same."""
    near = find_near(texts, **more)
    same = {(texts[i], texts[f]) for i, f in enumerate(near.first.tolist()) if f != i}
    ends = zip(near.left.tolist(), near.right.tolist(), near.similarity.tolist(), strict=True)
    return {(frozenset((texts[a], texts[b])), value) for a, b, value in ends}, same


def variants(text):
    """Near copies of a program."""
    return [
        text + "\n\nextra = torch.zeros(3)\n",
        text.replace("return x\n", "y = x\n    return y\n", 1),
        text.replace("torch.rand", "torch.randn"),
    ]


def test_near_copies_are_found_and_different_programs_are_not():
    texts = programs()
    copies = variants(texts[3])
    pairs, _ = found([*texts, *copies])
    assert {texts[3]} | set(copies) == set().union(*(pair for pair, _ in pairs))
    near_first = {next(iter(pair - {texts[3]})) for pair, _ in pairs if texts[3] in pair}
    assert near_first == set(copies)


@given(st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_programs_decides_nothing(shuffler):
    texts = [t for text in programs(8) for t in (text, *variants(text))]
    mixed = shuffler.sample(texts, len(texts))
    assert found(texts)[0] == found(mixed)[0] != set()


def test_every_pair_has_its_exact_similarity():
    texts = [t for text in programs(8) for t in (text, *variants(text))]
    for pair, value in found(texts, common=1.0)[0]:
        one, other = (shingles(structural_hashes(text)) for text in pair)
        assert value == pytest.approx(jaccard(one, other))
        assert value >= 0.8


def test_processes_decide_nothing():
    texts = [t for text in programs(260) for t in (text, *variants(text))]
    assert found(texts, workers=2) == found(texts, workers=1)


def test_texts_that_differ_in_names_only_have_one_first():
    near = find_near([KERNEL, KERNEL.replace("offsets", "o"), "", "# nothing"])
    assert near.first.tolist() == [0, 0, -1, -1]


def test_boilerplate_alone_makes_no_pair():
    head = "".join(
        f"CONFIG.append(tl.{n}(torch.{n}, 1) + [{i}])\n" for i, n in enumerate(["sum"] * 9)
    )
    shared = reference("Shared") * 4 + head
    texts = [shared + line for line in ("y = tl.exp(x) + z\n", "for i in q: p -= i\n")]
    crowd = [shared + kernel(f"K{n}") * 2 for n in range(60)]
    assert found(texts, common=1.0)[0], "they are alike as they stand"
    pairs, _ = found([*texts, *crowd])
    assert not any(set(texts) == pair for pair, _ in pairs)


def test_attempts_at_one_module_do_not_make_their_program_boilerplate():
    base = programs(1)[0]
    texts = [base + f"extra = torch.{n}(x)\n" * 4 for n in dir(np) if n.islower() and n[0] != "_"][
        :60
    ]
    own = find_near(texts, groups=["M"] * len(texts))
    assert own.boilerplate == 0
    assert find_near(texts).boilerplate > 0


def test_no_program_and_one_program_have_no_pair():
    assert len(find_near([]).first) == 0
    assert find_near(["x = 1"]).first.tolist() == [0]


OPS = ("sin", "cos", "exp", "log", "abs", "neg", "ceil", "erf", "sinh", "cosh", "tanh", "relu")


def edges_of(texts):
    near = find_near(texts, common=1.0)
    assert near.first.tolist() == list(range(len(texts))), "all are different"
    ends = zip(near.left.tolist(), near.right.tolist(), strict=True)
    return dict(zip(ends, near.similarity.tolist(), strict=True))


def test_in_a_crowd_fewer_pairs_are_compared_and_the_same_programs_lead(monkeypatch):
    base = programs(1)[0]
    texts = [base + "".join(f"x = torch.{op}(x)\n" for op in OPS[:n]) for n in range(len(OPS))]
    whole = edges_of(texts)
    monkeypatch.setattr("kernelsift.similarity.minhash.CROWD", 5)
    crowd = edges_of(texts)
    assert crowd.items() < whole.items()
    rank = range(len(OPS))
    assert leaders(crowd, rank).keys() == leaders(whole, rank).keys()


def test_who_is_near_a_follower_only_leads():
    chain = {(0, 1): 0.9, (1, 2): 0.9, (2, 3): 0.85}
    assert leaders(chain, [0, 1, 2, 3]) == {0: 1, 2: 1}


EDGES = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]),
    st.sampled_from([0.8, 0.9, 1.0]),
)


@given(EDGES, st.permutations(range(10)))
def test_leaders_are_never_near_each_other_and_all_others_are_near_one(edges, rank):
    led = leaders(edges, rank)
    near = {frozenset(pair) for pair in edges}
    assert not any(frozenset((a, b)) in near for a in led for b in led if a != b)
    assert all(any(frozenset((n, a)) in near for a in led) for n in range(10) if n not in led)
    assert sum(led.values()) + len(led) == 10


def test_a_random_text_is_like_nothing():
    rng = random.Random(1)
    noise = ["".join(rng.choices("ab+-*/()[]\n .=,", k=400)) for _ in range(200)]
    assert found(noise)[0] == set()
