"""A raw row of any source to rows of the schema that was asked for."""

from collections.abc import Iterator

from kernelsift.ingest.message import RefusedError
from kernelsift.ingest.repair import repair, shape_module
from kernelsift.ingest.row import BadRow, Kind, Row, Unusable, bad_row
from kernelsift.ingest.traces import expand, is_conversation, is_trace, split_conversation


def shaped(row: Row | BadRow, kind: Kind) -> Iterator[Row | BadRow]:
    """Yield what a raw row holds: itself in the schema, or one row for every branch of a trace."""
    if isinstance(row, BadRow):
        yield row
    elif is_trace(row.data):
        for branch in expand(row):
            yield branch if isinstance(branch, BadRow) else _fitted(branch, kind)
    else:
        yield _fitted(row, kind)


def _fitted(row: Row, kind: Kind) -> Row | BadRow:
    data = row.data
    try:
        if is_conversation(data):
            data = split_conversation(data)
    except RefusedError as refused:
        return bad_row(row.origin, str(refused), row.data)
    found = repair(data) if kind == "rollouts" else shape_module(data)
    if isinstance(found, Unusable):
        return bad_row(row.origin, found.reason, row.data)
    return Row(row.origin, found)
