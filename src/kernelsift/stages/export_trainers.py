"""export --format: one folder per trainer, a file per split. Every row is written or named."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kernelsift.files import replacing_folder, write_json, write_text
from kernelsift.model import Entry, SampleId, Tally
from kernelsift.trainers.conversation import Conversation, LeftOut, in_mode
from kernelsift.trainers.files import NOTE, ExportNote, write_rows
from kernelsift.trainers.formats import Trainer
from kernelsift.trainers.records import Keys
from kernelsift.trainers.snippets import configuration, readme
from kernelsift.training_rows import TrainingRows

FOLDER = "export"
_SHOWN = 3


@dataclass
class _Found:
    """What one pass over the rows has seen."""

    left_out: list[tuple[Entry, str]] = field(default_factory=list)
    inlined: int = 0
    reasoning: int = 0


def export_trainer(
    rows: TrainingRows, trainer: Trainer, sides: Mapping[SampleId, str], splits: tuple[str, ...]
) -> Tally:
    """Write the files of one trainer below `export/` in the run directory.

    The rows are read twice: first for the keys that any row has, then to be written.
    """
    started = time.monotonic()
    run = rows.run
    found = _Found()
    keys = Keys.of(row for _, row in _fit(rows, trainer, found))
    counts: dict[str, int] = {}
    folder = run.path / FOLDER / trainer.name
    with replacing_folder(folder) as draft:
        for split in splits:
            mine = (row for e, row in _fit(rows, trainer, _Found()) if sides[e.id] == split)
            counts[split] = write_rows(trainer, draft / f"{split}{trainer.suffix}", mine, keys)
        reasons = Counter(reason for _, reason in found.left_out)
        note = ExportNote(
            format=trainer.name,
            reasoning="inline" if found.inlined else rows.cfg.reasoning,
            answer=rows.cfg.answer,
            prompt=rows.cfg.prompt,
            rows=rows.which,
            counts=counts,
            left_out=dict(reasons.most_common()),
        )
        for name, text in configuration(note).items():
            write_text(draft / name, text)
        write_text(draft / "README.md", readme(note))
        write_json(draft / NOTE, note.model_dump())
    listed = run.path / FOLDER / f"{trainer.name}-left-out.jsonl"
    files = [f"{FOLDER}/{trainer.name}"]
    if found.left_out:
        lines = (
            json.dumps({"sample_id": entry.id, "origin": entry.origin, "reason": reason})
            for entry, reason in found.left_out
        )
        write_text(listed, "".join(f"{line}\n" for line in lines))
        files.append(f"{FOLDER}/{listed.name}")
    else:
        listed.unlink(missing_ok=True)
    return Tally(
        f"export {trainer.name}",
        {**counts, "left out": len(found.left_out)},
        time.monotonic() - started,
        notes=tuple(_notes(trainer, found, reasons, sum(counts.values()))),
        files=tuple(files),
    )


def _fit(
    rows: TrainingRows, trainer: Trainer, found: _Found
) -> Iterator[tuple[Entry, Conversation]]:
    """Yield the rows that this trainer reads well; note the others and why."""
    mode = rows.cfg.reasoning
    mode = "inline" if mode == "keep" and not trainer.keeps_reasoning else mode
    for entry, row in rows.conversations():
        why = row.reason if isinstance(row, LeftOut) else trainer.unfit(row)
        if why or isinstance(row, LeftOut):
            found.left_out.append((entry, why))
            continue
        found.reasoning += row.reasons
        found.inlined += row.reasons and mode != rows.cfg.reasoning
        yield entry, in_mode(row, mode)


def _notes(
    trainer: Trainer, found: _Found, reasons: Mapping[str, int], written: int
) -> Iterator[str]:
    if not written:
        yield f"no row fits {trainer.title}: there is nothing to train on"
    if found.inlined:
        yield (
            f"{trainer.title} drops reasoning_content: the reasoning of {found.inlined:,} rows "
            "stands in <think>…</think> inside the text"
        )
    for reason, count in reasons.items():
        first = [e.origin for e, why in found.left_out if why == reason][:_SHOWN]
        more = ", …" if count > len(first) else ""
        yield f"left out {count:,}: {reason} ({', '.join(first)}{more})"
