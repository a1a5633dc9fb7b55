"""Rows of run.sqlite as facts and decisions, and back."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from pydantic import TypeAdapter

from kernelsift.model import Body, Decision, Fact, Failure, SampleId
from kernelsift.store import Write, insert

KEPT, DROPPED, UNTOLD = 1, 0, -1
"""The column `keep`: a decision for or against a row, or a stage that could not tell."""
_BODY: TypeAdapter[Body] = TypeAdapter(Body)


def now() -> str:
    """The time in UTC, to the second, as stored."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fact_row(fact: Fact) -> tuple[object, ...]:
    """A fact as a row of `facts`."""
    failure = fact.body.failure if isinstance(fact.body, Failure) else None
    return (
        None,
        fact.key,
        fact.stage,
        fact.sample,
        fact.body.kind,
        failure,
        fact.body.model_dump_json(),
        fact.usd,
        fact.seconds,
        fact.version,
        now(),
    )


def read_fact(  # noqa: PLR0913, PLR0917 - one argument per column of the row
    stage: str,
    key: str,
    sample: SampleId,
    body: str,
    usd: float,
    seconds: float,
    version: str,
) -> Fact:
    """A fact from its columns."""
    return Fact.model_construct(
        stage=stage,
        sample=sample,
        key=key,
        body=_BODY.validate_json(body),
        usd=usd,
        seconds=seconds,
        version=version,
    )


def answering(columns: str) -> str:
    """A query for each sample `m` of a measuring stage and the fact `f` that answers for it."""
    return (
        f"SELECT {columns} FROM measured m LEFT JOIN facts f ON f.number = "  # noqa: S608 - our own words
        "(SELECT max(number) FROM facts WHERE stage = m.stage AND key = m.key) WHERE m.stage = ?"
    )


def decision_row(decision: Decision) -> tuple[object, ...]:
    """A decision as a row of `decisions`."""
    keep = UNTOLD if decision.failure else int(decision.keep)
    evidence = json.dumps(dict(decision.evidence))
    return decision.stage, decision.sample, keep, decision.reason, evidence


def read_decision(sample: SampleId, stage: str, keep: int, reason: str, evidence: str) -> Decision:
    """A decision from its columns."""
    return Decision.model_construct(
        sample=sample,
        stage=stage,
        keep=keep == KEPT,
        reason=reason,
        evidence=orjson.loads(evidence),
        failure=reason if keep == UNTOLD else None,  # type: ignore[arg-type]  # as it was stored
    )


def replace_clusters(rows: Sequence[tuple[object, ...]]) -> Write:
    """A write that replaces all clusters."""

    def write(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM clusters")
        insert("clusters", rows)(db)

    return write


def replace_decisions(
    stage: str, rows: Sequence[tuple[object, ...]], outdated: Sequence[str]
) -> Write:
    """A write that replaces one stage's decisions and forgets those of stages that rest on it."""

    def write(db: sqlite3.Connection) -> None:
        for gone in (stage, *outdated):
            db.execute("DELETE FROM decisions WHERE stage = ?", (gone,))
        for gone in outdated:
            db.execute("DELETE FROM stages WHERE stage = ?", (gone,))
        insert("decisions", rows)(db)

    return write
