"""How good a run's task prompts are: findings of each, and the set as a whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelsift.contamination.matching import Matcher, Texts
from kernelsift.decontaminating import indexes_for
from kernelsift.files import write_json
from kernelsift.model import Fact, Failure, Module, SampleId, TaskPrompt, digest
from kernelsift.prompting.diversity import Diversity, diversity
from kernelsift.session import Session

FILE = "prompts_quality.json"
_MUCH = 0.05
"""Share of prompts with the same opening, or of near-duplicates, from which it is said."""
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Quality:
    """What prompts_quality.json holds."""

    modules: int
    prompts: int
    failures: Mapping[str, int]
    """Failure class -> modules."""
    findings: Mapping[str, int]
    """Slug of a note -> prompts that have it."""
    executed: Mapping[str, int]
    """How claims were checked -> prompts; empty where none were asked for."""
    diversity: Diversity
    contaminated: tuple[Mapping[str, Any], ...]
    """Modules with a prompt that are a benchmark's problem, with the strongest evidence."""
    rows: tuple[Mapping[str, Any], ...]
    """Each prompt or failure with what was found, in the order of the modules."""

    def notes(self) -> tuple[str, ...]:
        """What a user should know without opening the file."""
        said = []
        most = ", ".join(f"{slug} {count:,}" for slug, count in self.findings.items())
        if most:
            said.append(f"prompts with remarks: {most}; {FILE} has each with its place")
        known = self.diversity
        if known.prompts > 1 and known.opening_share > _MUCH:
            said.append(f"{known.opening_share:.0%} of the prompts begin “{known.opening} …”")
        if known.prompts and known.near > _MUCH * known.prompts:
            said.append(f"{known.near:,} of {known.prompts:,} distinct prompts are near-duplicates")
        if self.contaminated:
            said.append(
                f"{len(self.contaminated):,} prompts are of modules that a benchmark has, too; "
                f"{FILE} names them"
            )
        return tuple(said)


def write_quality(
    session: Session, modules: Sequence[Module], facts: Mapping[SampleId, Fact | None]
) -> Quality:
    """Measure the prompts of a run and write prompts_quality.json."""
    bodies = [(m, f.body) for m in modules if (f := facts.get(m.id)) is not None]
    written = [(m, body) for m, body in bodies if isinstance(body, TaskPrompt)]
    failed = [body for _, body in bodies if isinstance(body, Failure)]
    slugs = Counter(slug for _, body in written for slug in {note.slug for note in body.notes})
    workers = session.settings.workers_or_cores()
    quality = Quality(
        modules=len(modules),
        prompts=len(written),
        failures=dict(sorted(Counter(one.failure for one in failed).items())),
        findings=dict(slugs.most_common()),
        executed=dict(Counter(b.executed for _, b in written if b.executed).most_common()),
        diversity=diversity(
            [body.prompt for _, body in written],
            [module.name for module, _ in written],
            workers if len(written) > _CHUNK else 1,
        ),
        contaminated=tuple(_contaminated(session, [module for module, _ in written])),
        rows=tuple(_row(module, body) for module, body in bodies),
    )
    write_json(session.run.path / FILE, _as_json(quality, [module for module, _ in written]))
    return quality


def _row(module: Module, body: object) -> dict[str, Any]:
    row: dict[str, Any] = {"id": module.id, "module_name": module.name, "uuid": module.uuid}
    if isinstance(body, Failure):
        return {**row, "failure": body.failure, "why": body.why}
    assert isinstance(body, TaskPrompt)
    notes = [note.model_dump(exclude={"severity"}) for note in body.notes]
    return {**row, "notes": notes, "claims": body.claims, "executed": body.executed}


def _as_json(quality: Quality, written: Sequence[Module]) -> dict[str, Any]:
    known = quality.diversity
    return {
        "modules": quality.modules,
        "prompts": quality.prompts,
        "failures": quality.failures,
        "findings": quality.findings,
        "executed": quality.executed,
        "diversity": {
            "distinct_prompts": known.prompts,
            "top_opening": known.opening,
            "top_opening_share": round(known.opening_share, 6),
            "distinct_3": round(known.distinct_3, 6),
            "near_duplicates": known.near,
            "near_pairs": [
                {"ids": [written[a].id, written[b].id], "similarity": round(value, 4)}
                for a, b, value in known.near_pairs
            ],
        },
        "benchmarks": list(quality.contaminated),
        "rows": list(quality.rows),
    }


# ---- benchmarks ---------------------------------------------------------------------------------


def _contaminated(session: Session, modules: Sequence[Module]) -> list[dict[str, Any]]:
    """Modules that are problems of the benchmarks that the settings name, each text looked at
    once. A name alone is no evidence here."""
    cfg = session.settings.decontaminate
    if not (cfg.shipped or cfg.index) or not modules:
        return []
    distinct = {digest(m.name, m.reference): m for m in modules}
    chosen = cfg.model_copy(update={"match": tuple(k for k in cfg.match if k != "name")})
    matcher = Matcher(indexes_for(cfg), chosen.match, cfg.ngram_share)
    found: dict[str, dict[str, Any]] = {}
    for key, module in distinct.items():
        hits = matcher.hits(Texts(module.name, module.reference, "", (), ""))
        if hits:
            best = hits[0]
            found[key] = {
                "benchmark": best.benchmark,
                "problem": best.problem,
                "kind": best.kind,
                "score": best.score,
            }
    return [
        {"id": m.id, "module_name": m.name, **found[key]}
        for m in modules
        if (key := digest(m.name, m.reference)) in found
    ]
