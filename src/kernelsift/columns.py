"""Arrow types for rows that come as Python objects, found chunk by chunk without losing a value.

A column keeps the type its source declares. Where the source declares none (JSON), the type is
inferred; when a later row does not fit, the type is widened (int to float, struct to struct with
more fields). What has no common type is stored as JSON text and marked so in the field's metadata,
so that an export can give the values back as they were.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

JSON_MARK = {b"kernelsift": b"json"}
_JSON = "json"
_REFUSALS = (pa.ArrowException, OverflowError, TypeError, ValueError)


class Columns:
    """Types of the columns seen so far, and the last rows as columns of these types."""

    def __init__(self, declared: Mapping[str, pa.DataType]) -> None:
        self._declared = set(declared)
        self._types: dict[str, pa.DataType | str] = dict(declared)
        self._arrays: dict[str, pa.Array] = {}

    def fit(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Take these rows into account; True when every type was wide enough already."""
        names = dict.fromkeys((*self._types, *(name for row in rows for name in row)))
        fits = True
        for name in names:
            values = [row.get(name) for row in rows]
            known = self._types.get(name)
            array = _array(values, known) if name in self._declared else None
            if array is None:
                self._declared.discard(name)
                self._types[name], array = _convert(values, known)
                fits = fits and self._types[name] == known
            self._arrays[name] = array
        return fits

    def schema(self) -> pa.Schema:
        """The schema that all rows seen so far fit into."""
        return pa.schema([_field(name, kind) for name, kind in self._types.items()])

    def table(self) -> pa.Table:
        """The rows of the last `fit` as an Arrow table of `schema()`."""
        return pa.Table.from_arrays([self._arrays[n] for n in self._types], schema=self.schema())


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text that stands for a value of mixed type."""
    return bool(field.metadata) and field.metadata.get(b"kernelsift") == b"json"


def _field(name: str, kind: pa.DataType | str) -> pa.Field:
    if isinstance(kind, str):
        return pa.field(name, pa.string(), metadata=JSON_MARK)
    return pa.field(name, kind)


def _convert(
    values: Sequence[Any], known: pa.DataType | str | None
) -> tuple[pa.DataType | str, pa.Array]:
    """The narrowest type that holds these values and those before, and the values in it."""
    found = _JSON if known == _JSON else _infer(values)
    kind = found if known is None else _merge(known, found)
    array = _array(values, kind)
    if array is None or (_has_float(kind) and _has_bool(values, kind)):
        kind, array = _JSON, _array(values, _JSON)
    return kind, array


def _array(values: Sequence[Any], kind: pa.DataType | str) -> pa.Array | None:
    """The values in a type; None when one of them does not fit into it."""
    if isinstance(kind, str):
        return pa.array([None if v is None else _dump(v) for v in values], pa.string())
    try:
        return pa.array(values, type=kind)
    except _REFUSALS:
        return None


def _infer(values: Sequence[Any]) -> pa.DataType | str:
    try:
        found = pa.infer_type(values)
    except _REFUSALS:
        return _JSON
    return _JSON if _has_empty_struct(found) else found


def _merge(a: pa.DataType | str, b: pa.DataType | str) -> pa.DataType | str:
    if a == b:
        return a
    if isinstance(a, str) or isinstance(b, str):
        return _JSON
    one, two = pa.schema([("x", a)]), pa.schema([("x", b)])
    try:
        merged = pa.unify_schemas([one, two], promote_options="permissive").field("x").type
    except pa.ArrowException:
        return _JSON
    return merged if isinstance(merged, pa.DataType) else _JSON


def _has_empty_struct(kind: pa.DataType) -> bool:
    """Parquet cannot hold a struct without fields."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _has_empty_struct(kind.value_type)
    return False


def _has_float(kind: pa.DataType | str) -> bool:
    if isinstance(kind, str):
        return False
    if pa.types.is_struct(kind):
        return any(_has_float(field.type) for field in kind)
    return _has_float(kind.value_type) if pa.types.is_list(kind) else pa.types.is_floating(kind)


def _has_bool(values: Sequence[Any], kind: pa.DataType) -> bool:
    """Whether a truth value stands where the type has a float: Arrow would make it 1.0."""
    there = [v for v in values if v is not None]
    if pa.types.is_struct(kind):
        return any(_has_bool([v.get(field.name) for v in there], field.type) for field in kind)
    if pa.types.is_list(kind):
        return _has_bool([item for v in there for item in v], kind.value_type)
    return pa.types.is_floating(kind) and any(isinstance(v, bool) for v in there)


def _dump(value: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
