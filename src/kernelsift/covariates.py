"""What may stand behind a correlation of scores: how long code and reasoning are, what is computed.

The operation classes of a row are those of its PyTorch module that compute something (see
`kernels.operations`); a module often has several. Reasoning length is what the assistant's messages
hold, separate reasoning included, less the program that was taken out of them.
"""

from collections.abc import Sequence

from kernelsift.kernels.features import reference_groups
from kernelsift.kernels.operations import FREE
from kernelsift.model import Entry, SampleId
from kernelsift.report.rows import Covariates
from kernelsift.samples import SampleFile
from kernelsift.source import answer_text, parse, reasoning_text

_COLUMNS = ("ks_code", "ks_reference", "completion")


def covariates(samples: SampleFile, wanted: Sequence[Entry]) -> dict[SampleId, Covariates]:
    """Return the covariates of these rows; a field is None where it could not be told."""
    known: dict[str, tuple[str, ...] | None] = {}
    entries = iter(sorted(wanted, key=lambda entry: entry.row))
    out = {}
    for table in samples.batches({entry.row for entry in wanted}, _COLUMNS):
        columns = (table.column(name).to_pylist() for name in _COLUMNS)
        for code, reference, completion in zip(*columns, strict=True):
            entry = next(entries)
            if entry.reference_digest not in known:
                known[entry.reference_digest] = operations_of(reference)
            out[entry.id] = _of(code, completion, known[entry.reference_digest])
    return out


def operations_of(reference: str) -> tuple[str, ...] | None:
    """Return the classes of what a PyTorch module computes; None where Python cannot read it."""
    tree = parse(reference) if reference.strip() else None
    if tree is None:
        return None
    return tuple(group for group in reference_groups(tree) if group not in FREE)


def _of(code: str, completion: object, operations: tuple[str, ...] | None) -> Covariates:
    if not isinstance(completion, list):
        return Covariates(len(code) or None, None, operations)
    said = len(answer_text(completion)) + len(reasoning_text(completion))
    return Covariates(len(code) or None, max(0, said - len(code)), operations)
