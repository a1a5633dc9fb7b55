"""The PyTorch modules that task prompts are written for."""

from collections import Counter
from collections.abc import Iterator

from kernelsift.config import Prompts
from kernelsift.errors import DataError
from kernelsift.ingest import BadRow, open_source
from kernelsift.model import Module, SampleId, digest
from kernelsift.progress import Progress
from kernelsift.run import Run
from kernelsift.source import module_class_name


def read_modules(
    run: Run, cfg: Prompts, progress: Progress, token: str | None = None
) -> list[Module]:
    """Modules of `cfg.source`, or the distinct modules of the run's kept rows.

    Raises:
        DataError: the source has a bad row, or there is no module at all.
    """
    found = _from_source(cfg, progress, token) if cfg.source else _from_run(run)
    modules = [module for _, module in zip(range(cfg.limit or 10**9), found, strict=False)]
    if not modules:
        place = cfg.source or str(run.path)
        raise DataError(
            f"{place} has no PyTorch module to write prompts for; name another source with "
            "--source (columns python_code, module_name)"
        )
    return modules


def _from_run(run: Run) -> Iterator[Module]:
    seen: set[tuple[str, str]] = set()
    first = []
    for entry in run.kept_before("judge"):
        pair = (entry.module, entry.reference_digest)
        if entry.reference_digest and pair not in seen:
            seen.add(pair)
            first.append(entry)
    for sample in run.samples.read(first):
        name = sample.entry.module
        yield Module(_id(name, sample.reference, "", 0), name, sample.reference, None, None)


def _from_source(cfg: Prompts, progress: Progress, token: str | None) -> Iterator[Module]:
    assert cfg.source is not None
    source = open_source(
        cfg.source, split=cfg.split, revision=cfg.revision, kind="modules", token=token
    )
    copies: Counter[tuple[str, str, str]] = Counter()
    with progress.start("read modules", cfg.limit or source.info().rows):
        for number, row in enumerate(source.rows(), 1):
            if isinstance(row, BadRow):
                raise DataError(f"{row.origin}: {row.reason}")
            data = row.data
            uuid = data.get("uuid")
            reference = str(data["python_code"])
            name = str(data["module_name"] or module_class_name(reference) or "Module").strip()
            uuid = None if uuid is None else str(uuid)
            same = (name, reference, uuid or "")
            id_ = _id(name, reference, uuid or "", copies[same])
            copies[same] += 1
            yield Module(id_, name, reference, data.get("triton_code"), uuid)
            progress.update(number)


def _id(name: str, reference: str, uuid: str, copy: int) -> SampleId:
    return SampleId(digest("module", name, reference, uuid, copy)[:16])
