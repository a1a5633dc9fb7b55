from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelsift.kernels import wire

torch = pytest.importorskip("torch", reason="torch is not installed")

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=40)
)
TREES = st.recursive(
    LEAVES,
    lambda kids: (
        st.lists(kids, max_size=4)
        | st.lists(kids, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), kids, max_size=4)
    ),
    max_leaves=12,
)
NATIVE = [getattr(torch, name) for name in wire.DTYPES]


def same(left: object, right: object) -> bool:
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    if isinstance(left, (list, tuple)):
        equal = type(left) is type(right) and len(left) == len(right)
        return equal and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return type(left) is type(right) and left == right


@given(TREES)
def test_a_tree_arrives_as_it_was_sent(tree):
    assert same(tree, wire.decode(wire.encode(tree)))


@given(
    st.sampled_from(NATIVE),
    st.lists(st.integers(0, 5), max_size=4),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_a_tensor_keeps_type_shape_strides_and_bits(dtype, shape, random):
    count = math.prod(shape)
    raw = torch.tensor([random.randrange(256) for _ in range(count * dtype.itemsize)])
    flat = raw.to(torch.uint8)
    value = flat.ne(0) if dtype is torch.bool else flat.view(dtype) if count else flat.to(dtype)
    value = value.reshape(shape)
    if len(shape) > 1 and random.random() < 0.5:
        value = value.transpose(0, -1)
    got = wire.decode(wire.encode({"x": value}))["x"]
    assert (got.dtype, got.shape, got.stride()) == (value.dtype, value.shape, value.stride())
    left, right = (t.contiguous().reshape(-1).view(torch.uint8) for t in (got, value))
    assert torch.equal(left, right)


def test_an_expanded_tensor_stays_expanded():
    value = torch.arange(3.0).expand(5, 3)
    got = wire.decode(wire.encode(value))
    assert got.stride() == (0, 1)
    assert torch.equal(got, value)


def test_a_sparse_slice_of_a_large_tensor_is_sent_alone():
    value = torch.zeros(100_000)[::20_000]
    assert len(wire.encode(value)) < 1000


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3}}, torch.nn.Linear(1, 1), 1 + 2j])
def test_values_of_other_types_cannot_be_sent(value):
    with pytest.raises(wire.WireError):
        wire.encode(value)


def test_a_tensor_subclass_cannot_be_sent():
    class Lazy(torch.Tensor):
        pass

    with pytest.raises(wire.WireError, match="Lazy"):
        wire.encode(torch.zeros(2).as_subclass(Lazy))


@given(st.binary(max_size=200))
def test_hostile_bytes_are_a_wire_error(data):
    for message in (data, wire.MAGIC + data):
        try:
            wire.decode(message)
        except wire.WireError:
            continue


def message(header: object, block: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return wire.MAGIC + len(text).to_bytes(4, "little") + text + block


@pytest.mark.parametrize(
    "header",
    [
        {"T": ["float32", [1 << 40], [1], 0, 4]},
        {"T": ["float32", [1 << 40], [0], 0, 4]},
        {"T": ["float32", [-1], [1], 0, 4]},
        {"T": ["float32", [2], [1], 8, 8]},
        {"T": ["float32", [2], [-1], 0, 8]},
        {"T": ["float32", [2], [1], 0, True]},
        {"T": ["load", [2], [1], 0, 8]},
        {"T": ["float32", [1] * 100, [1] * 100, 0, 4]},
        {"b": [0, 99]},
        {"f": "1e999"},
        {"d": [["a"]]},
        {"x": 1},
        {},
    ],
)
def test_a_header_that_lies_is_a_wire_error(header):
    with pytest.raises(wire.WireError):
        wire.decode(message(header, b"12345678"))


@given(TREES, st.data())
def test_a_damaged_message_never_raises_anything_else(tree, data):
    sent = bytearray(wire.encode([tree, torch.arange(4.0)]))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] = data.draw(st.integers(0, 255))
    try:
        wire.decode(bytes(sent[: data.draw(st.integers(0, len(sent)))]))
    except wire.WireError:
        return


def test_deep_nesting_is_a_wire_error():
    deep = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(wire.WireError):
        wire.encode(deep)
    with pytest.raises(wire.WireError):
        wire.decode(message(deep))
