"""The rows of a run as training rows: source columns read back, settings of the export applied."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from kernelsift.config import Export
from kernelsift.errors import ConfigError
from kernelsift.model import Entry, Judgement, text_digest
from kernelsift.run import Run
from kernelsift.samples import wanted_rows
from kernelsift.trainers.conversation import (
    Conversation,
    LeftOut,
    Message,
    from_source,
    in_mode,
    with_code,
)

Which = Literal["unique", "filtered"]
_COLUMNS = ("prompt", "completion", "oai_tools", "ks_code", "ks_code_how")


@dataclass(frozen=True)
class TrainingRows:
    """What an export of a run begins with."""

    run: Run
    cfg: Export

    @cached_property
    def which(self) -> Which:
        """The rows that are exported: unique ones where dedup has run, unless told otherwise.

        Raises:
            ConfigError: unique rows are asked for, and dedup has not run.
        """
        deduplicated = "dedup" in self.run.stages()
        if self.cfg.rows == "unique" and not deduplicated:
            raise ConfigError(
                "--from unique: dedup has not run on this directory; run "
                f"`kernelsift dedup --run {self.run.path}`, or say --from filtered"
            )
        return self.cfg.rows or ("unique" if deduplicated else "filtered")

    @cached_property
    def entries(self) -> list[Entry]:
        """The rows, in source order."""
        filtered = self.run.kept_before("dedup")
        if self.which == "filtered":
            return filtered
        kept = {s for s, made in self.run.decisions(("dedup",)).items() if made[-1].keep}
        return [entry for entry in filtered if entry.id in kept]

    def conversations(self) -> Iterator[tuple[Entry, Conversation | LeftOut]]:
        """Yield every row, or why it cannot be one; reasoning stands apart from the text."""
        known = set(self.run.samples.schema().names)
        columns = [name for name in _COLUMNS if name in known]
        entries = iter(sorted(self.entries, key=lambda entry: entry.row))
        for table in self.run.samples.batches(wanted_rows(self.entries), columns):
            for record in table.to_pylist():
                entry = next(entries)
                yield entry, self._row(entry, record)

    def moded(self) -> Iterator[tuple[Entry, Conversation | LeftOut]]:
        """Yield every row with its reasoning where the settings want it."""
        for entry, row in self.conversations():
            if isinstance(row, Conversation):
                yield entry, in_mode(row, self.cfg.reasoning)
            else:
                yield entry, row

    def _row(self, entry: Entry, record: Mapping[str, Any]) -> Conversation | LeftOut:
        row = from_source(entry.id, record["prompt"], record["completion"])
        if isinstance(row, Conversation) and self.cfg.answer == "code":
            markers = record["ks_code_how"] == "markers"
            row = with_code(row, record["ks_code"], markers=markers)
        if isinstance(row, LeftOut):
            return row
        if self.cfg.prompt == "generated":
            text = self._prompts.get((entry.module, entry.reference_digest))
            if text is None:
                return LeftOut("its module has no generated prompt")
            row = replace(row, prompt=(Message("user", text),))
        return replace(row, tools=_tools(record.get("oai_tools")), meta=self._meta(entry))

    @cached_property
    def _prompts(self) -> Mapping[tuple[str, str], str]:
        """Module name and digest of its text -> the prompt that was written for it."""
        import pyarrow.parquet as pq

        path = self.run.path / "prompts.parquet"
        if not path.exists():
            raise ConfigError(
                "--prompt generated: there are no prompts yet; run "
                f"`kernelsift prompts --run {self.run.path}`, or say --prompt source"
            )
        columns = ["module_name", "python_code", "prompt"]
        found = pq.read_table(path, columns=columns).to_pylist()
        return {(r["module_name"], text_digest(r["python_code"])): r["prompt"] for r in found}

    def _meta(self, entry: Entry) -> str:
        known: dict[str, Any] = {"module": entry.module, "reward": entry.reward}
        fact = self._judged.get(entry.id)
        if fact is not None:
            known |= {"difficulty": fact.difficulty, "style": fact.style}
        return json.dumps(known)

    @cached_property
    def _judged(self) -> Mapping[str, Judgement]:
        facts = self.run.latest("judge").items() if "judge" in self.run.stages() else ()
        return {s: f.body for s, f in facts if f and isinstance(f.body, Judgement)}


def _tools(value: object) -> str:
    """Tools as JSON text; empty when there are none. Sources have them as text or as a list."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return ""
    return json.dumps(found) if isinstance(found, list) and found else ""
