"""Training files: write them for each trainer, read them back as it does, measure their lengths."""

import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelsift.errors import DataError, RunError
from kernelsift.model import Entry, Tally
from kernelsift.session import Session
from kernelsift.splits import SIDES, Side
from kernelsift.splitting import SplitPlan, split_run
from kernelsift.stages.export_trainers import FOLDER, export_trainer
from kernelsift.trainers.checking import MEANINGS, WARNINGS, Checked, Checker, Kind
from kernelsift.trainers.conversation import Conversation, in_mode
from kernelsift.trainers.files import ExportNote, read_note, read_rows
from kernelsift.trainers.formats import TRAINERS, Trainer
from kernelsift.trainers.lengths import Lengths, RowLength
from kernelsift.trainers.records import to_record, to_view
from kernelsift.trainers.snippets import splits
from kernelsift.trainers.template import (
    DEFAULT,
    ChatTemplate,
    TemplateRaisedError,
    load_template,
)
from kernelsift.trainers.tokens import Counter, Estimate, Tokenizer, load_tokenizer
from kernelsift.training_rows import TrainingRows

_SHOWN = 3


@dataclass(frozen=True)
class Instruments:
    """What rows are rendered and counted with."""

    template: ChatTemplate
    counter: Counter
    notes: tuple[str, ...] = ()


@dataclass
class FileReport:
    """What the check of one file has found."""

    format: str
    split: str
    rows: int = 0
    bad: int = 0
    """Rows with a problem that fails the check."""
    counts: Counts[Kind] = field(default_factory=Counts)
    shown: dict[Kind, list[str]] = field(default_factory=dict)
    """The first rows of each problem, with the evidence."""
    longest: int = 0
    trained: int = 0
    """Tokens that are trained, of all rows together."""

    @property
    def fine(self) -> bool:
        return not self.bad

    @property
    def name(self) -> str:
        return f"{self.format}/{self.split}"

    def add(self, row: Checked) -> None:
        """Count one row."""
        kinds = {problem.kind for problem in row.problems}
        self.rows += 1
        self.bad += bool(kinds - WARNINGS)
        self.counts.update(kinds)
        self.longest = max(self.longest, row.tokens)
        self.trained += row.trained
        for problem in row.problems:
            shown = self.shown.setdefault(problem.kind, [])
            if len(shown) < _SHOWN:
                shown.append(f"{row.sample}: {problem.detail}" if problem.detail else row.sample)

    def as_json(self) -> Mapping[str, Any]:
        """For machines."""
        return {
            "format": self.format,
            "split": self.split,
            "rows": self.rows,
            "rows_with_problems": self.bad,
            "problems": dict(self.counts),
            "first": {kind: list(rows) for kind, rows in self.shown.items()},
            "longest": self.longest,
            "trained_tokens": self.trained,
        }


@dataclass(frozen=True)
class CheckReport:
    """What the check of all exports has found."""

    files: tuple[FileReport, ...]
    template: str
    counter: str
    seq_len: int | None
    notes: tuple[str, ...] = ()

    @property
    def fine(self) -> bool:
        return all(file.fine for file in self.files)

    def as_json(self) -> Mapping[str, Any]:
        """For machines."""
        return {
            "fine": self.fine,
            "chat_template": self.template,
            "counter": self.counter,
            "seq_len": self.seq_len,
            "files": [file.as_json() for file in self.files],
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[str]:
        """The problems in words, each with where it is, what it means and the first rows."""
        for kind, meaning in MEANINGS.items():
            found = [file for file in self.files if file.counts[kind]]
            if not found:
                continue
            what = "note" if kind in WARNINGS else "problem"
            yield f"{what}: {kind}: {meaning}"
            yield "  " + ", ".join(f"{file.name} {file.counts[kind]:,}" for file in found)
            if kind == "too-long":
                titles = dict.fromkeys(TRAINERS[file.format].long_rows for file in found)
                yield from (f"  {title}" for title in titles)
            rows = [row for file in found for row in file.shown[kind]]
            yield from (f"  e.g. {row}" for row in list(dict.fromkeys(rows))[:_SHOWN])
        yield from self.notes


def export_formats(session: Session) -> Iterator[Tally]:
    """Write one folder for each format of the settings; yields a tally for each.

    Raises:
        DataError: nothing is left after the filter.
        ConfigError: unique rows or generated prompts are asked for, and there are none.
    """
    from kernelsift.stages.export import nothing_left

    rows = TrainingRows(session.run, session.settings.export)
    if not rows.entries:
        raise DataError(nothing_left(session.run))
    started = time.monotonic()
    plan = _planned(session, rows.entries)
    notes = (plan.leak.sentence(), *plan.notes)
    held = Counts(plan.sides[entry.id] for entry in rows.entries)
    used = {str(side): held[side] for side in SIDES if held[side]}
    yield Tally("split", used, time.monotonic() - started, notes=notes)
    for name in session.settings.export.formats:
        yield export_trainer(rows, TRAINERS[name], plan.sides, tuple(used))


def instruments(template: str | None, tokenizer: str | None, token: str | None) -> Instruments:
    """Return the chat template and the counter of tokens that were named, or what stands for them.

    Raises:
        ConfigError: what is named is not there or cannot be read.
        UnreachableError: the Hub does not answer.
    """
    notes = []
    counter: Counter = Estimate()
    found = None
    if tokenizer:
        counter = load_tokenizer(tokenizer, token)
        found = counter.template
    else:
        notes.append(f"no tokenizer is named: tokens are an {Estimate().label}")
    if template:
        known = counter if isinstance(counter, Tokenizer) else Tokenizer("", None)
        found = load_template(template, bos=known.bos, eos=known.eos)
    if found is None:
        found = load_template(DEFAULT)
        missing = f"{tokenizer} has no chat template" if tokenizer else "no chat template is named"
        notes.append(f"{missing}: rendered with the bundled {DEFAULT}, your model's may differ")
    return Instruments(found, counter, tuple(notes))


def check(
    session: Session, tools: Instruments, seq_len: int | None, formats: Sequence[str] = ()
) -> CheckReport:
    """Read exports back as their trainers do, and say what is wrong with them.

    Raises:
        ConfigError: the chat template is none.
        DataError: there is no export, or a file is damaged or changed.
    """
    home = session.run.path / FOLDER
    names = list(formats) or [name for name in TRAINERS if (home / name).is_dir()]
    if not names:
        raise DataError(
            f"{home} holds no export yet; run `kernelsift export --format trl --run "
            f"{session.run.path}` first"
        )
    files: list[FileReport] = []
    for name in names:
        note = read_note(home / name)
        if not splits(note):
            raise DataError(
                f"{home / name} holds no row: {TRAINERS[name].title} would read none of them well; "
                f"{name}-left-out.jsonl beside it says why"
            )
        checker = Checker(TRAINERS[name], tools.template, tools.counter, seq_len)
        folder = home / name
        files += [_checked(checker, folder, note, split, session) for split in splits(note)]
    template, counter = tools.template.name, tools.counter.label
    return CheckReport(tuple(files), template, counter, seq_len, tools.notes)


def _checked(
    checker: Checker, folder: Path, note: ExportNote, split: str, session: Session
) -> FileReport:
    path = folder / f"{split}{checker.trainer.suffix}"
    report = FileReport(note.format, split)
    with session.progress.start(f"check {note.format} {split}", note.counts[split]):
        for number, record in enumerate(read_rows(checker.trainer, path)):
            view = to_view(checker.trainer, record, f"{path.name}, row {number}")
            report.add(checker.check(view))
            session.progress.update(report.rows)
    if report.rows != note.counts[split]:
        raise DataError(
            f"{path} has {report.rows:,} rows, but {note.counts[split]:,} were written; "
            "export again"
        )
    return report


def lengths(session: Session, tools: Instruments) -> Lengths:
    """Measure the rows of the run as they would be exported, under a chat template.

    Raises:
        DataError: no row is left, or the template refuses one (the row is named).
        ConfigError: the chat template is none.
    """
    rows = TrainingRows(session.run, session.settings.export)
    trainer = TRAINERS["trl"]
    found = []
    with session.progress.start("lengths", len(rows.entries)):
        for entry, row in rows.conversations():
            if isinstance(row, Conversation):
                found.append(_length(trainer, in_mode(row, rows.cfg.reasoning), entry, tools))
            session.progress.update(len(found))
    if not found:
        from kernelsift.stages.export import nothing_left

        raise DataError(nothing_left(session.run))
    counter = tools.counter
    return Lengths(tuple(found), counter.label, counter.exact, tools.template.name)


def _length(trainer: Trainer, row: Conversation, entry: Entry, tools: Instruments) -> RowLength:
    view = to_view(trainer, to_record(trainer, row), entry.origin)
    try:
        whole = tools.template.render(view.messages, view.tools).text
        asked = tools.template.render(view.messages[: view.start], view.tools, ask=True).text
    except TemplateRaisedError as e:
        raise DataError(
            f"the chat template {tools.template.name} refuses {entry.origin} ({entry.id}): {e}"
        ) from e
    total = tools.counter.count(whole)
    return RowLength(entry.id, total, min(total, tools.counter.count(asked)))


def _planned(session: Session, entries: Sequence[Entry]) -> SplitPlan:
    """The split of the run, as publish makes it; what is alike is on one side.

    Raises:
        RunError: rows of one cluster are on two sides, so nothing is exported.
    """
    plan = split_run(session.run, session.settings)
    sides: dict[str, Side] = {}
    for entry in entries:
        side = plan.sides[entry.id]
        if sides.setdefault(plan.cluster[entry.id], side) != side:
            raise RunError(
                f"the cluster {plan.cluster[entry.id]} would be in {side} and in "
                f"{sides[plan.cluster[entry.id]]}; nothing was exported. Please report it"
            )
    return plan
