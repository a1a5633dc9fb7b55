"""Who has written the rows, and who may judge them: no model of the same family."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernelsift.errors import ConfigError
from kernelsift.families import family_of
from kernelsift.model import Entry
from kernelsift.run import Run
from kernelsift.samples import wanted_rows
from kernelsift.session import Session

if TYPE_CHECKING:
    from kernelsift.judging import Member


def check_families(
    session: Session, judges: Sequence["Member"], also: Sequence[Entry] = ()
) -> list[str]:
    """Refuse a judge of the family that has written rows; return a note on what is not known.

    `also` are rows to be judged beside the kept ones.

    Raises:
        ConfigError: a judge is of the generator's family, and `judge.same_family` is not set.
    """
    if judges[0].instrument.prompt is None or session.settings.judge.same_family:
        return []
    written = generators(session.run, [*session.run.kept_before("judge"), *also])
    for member in judges:
        model = member.instrument.cfg.model
        family = family_of(model)
        own = [name for name in written if family and family_of(name) == family]
        if own:
            rows = sum(written[name] for name in own)
            raise ConfigError(
                f"{model} would judge {rows:,} rows that {own[0]} has written: both are of the "
                f"family {family}, and a judge prefers its own; take another --model, or allow it "
                "with --same-family"
            )
    strange = sum(rows for name, rows in written.items() if family_of(name) is None)
    if not strange:
        return []
    return [f"which family of models has written {strange:,} rows is not known"]


def generators(run: Run, entries: Sequence[Entry]) -> Counter[str]:
    """Rows per model that has written them, by the columns `model` and `info.model`; "" unknown."""
    import pyarrow.types as kinds

    columns = []
    for field in run.samples.schema():
        if field.name == "model" and _is_text(field.type):
            columns.append("model")
        if field.name == "info" and kinds.is_struct(field.type):
            inner = {field.type.field(n).name: field.type.field(n).type
                     for n in range(field.type.num_fields)}  # fmt: skip
            columns += ["info.model"] if "model" in inner and _is_text(inner["model"]) else []
    if not columns:
        return Counter({"": len(entries)}) if entries else Counter()
    found: Counter[str] = Counter()
    for table in run.samples.batches(wanted_rows(entries), columns):
        for row in table.to_pylist():
            found[row.get("model") or (row.get("info") or {}).get("model") or ""] += 1
    return found


def _is_text(kind: object) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))
