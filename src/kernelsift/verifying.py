"""Open what verifies kernels on this machine; and verify-file: one answer against one module."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.config_verify import Verify
from kernelsift.errors import DataError
from kernelsift.source import extract, module_class_name, top_level_names

if TYPE_CHECKING:
    from kernelsift.kernels.facts import VerifyFacts
    from kernelsift.kernels.static_verifier import AnyVerifier
    from kernelsift.kernels.verdict import Verdict
    from kernelsift.stages.verify import Checks

PACKAGES = ("torch", "triton")


@dataclass(frozen=True, slots=True)
class Opened:
    """A verifier that is ready, and what the user should know of it."""

    verifier: "AnyVerifier"
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict with what it rests on."""

    facts: "VerifyFacts"
    verdict: "Verdict"
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines: the verdict, the findings and the facts."""
        verdict = self.verdict.model_dump(mode="json")
        return {**verdict, "facts": self.facts.model_dump(mode="json"), "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """For people: the verdict, why, the failing cases with their elements, the findings."""
        from kernelsift.kernels import verdict_words as words
        from kernelsift.kernels.gpu.gpu_words import gpu_lines
        from kernelsift.kernels.verdict_compiled import compiled_lines
        from kernelsift.kernels.verdict_health import health_line

        verdict, facts = self.verdict, self.facts
        head = words.headline(verdict.outcome, verdict.unverifiable, verdict.work)
        fate = "kept" if verdict.keep else f"dropped by {', '.join(verdict.dropped_by)}"
        out = [f"{head} · {fate}"]
        out += [f"  {text}" for text in verdict.reasons[: words.CASES_SHOWN]]
        if called := words.called_line(facts.run):
            out.append(called)
        out += words.failing_cases(facts.comparisons)
        if verdict.findings:
            out.append("findings")
        out += [f"  {words.finding_line(finding)}" for finding in verdict.findings]
        out += compiled_lines(facts.compiled)
        out += gpu_lines(facts.gpu)
        if told := health_line(verdict.reference):
            out.append(told)
        if facts.reference.scaled:
            out.append(f"sizes made smaller for the interpreter: {facts.reference.scaled_from}")
        seconds = sum(timing.seconds for timing in facts.timings)
        out.append(f"{len(facts.comparisons)} cases, {seconds:.1f} s, sandbox: {facts.sandbox}")
        return [*out, *(f"warning: {note}" for note in self.notes)]


def missing_packages() -> tuple[str, ...]:
    """What kernels cannot be run without, and is not installed."""
    return tuple(name for name in PACKAGES if find_spec(name) is None)


def checks_for(cfg: Verify) -> "Checks":
    """What kernels are verified by here: settings, device, versions.

    Raises:
        ConfigError: the device cannot be used, a target is not known, or an id is not in the
            catalog.
    """
    from kernelsift.kernels.compiling.targets import parse_targets
    from kernelsift.kernels.facts import Versions
    from kernelsift.kernels.gpu.opening import device_for
    from kernelsift.kernels.verifier import VERIFIER_VERSION
    from kernelsift.stages.verify import Checks

    device = device_for(cfg.device)
    parse_targets(cfg.targets)
    found = {} if missing_packages() else {name: _version(name) for name in PACKAGES}
    checks = Checks(cfg, device, Versions(verifier=VERIFIER_VERSION, **found))
    _ = checks.policy
    return checks


@contextlib.contextmanager
def open_verifier(checks: "Checks", workers: int = 1) -> Iterator[Opened]:
    """Start the sandboxed processes that kernels run in; without torch, only read the code.

    At the end every process is ended, also those that threads still wait for.

    Raises:
        ConfigError: the sandbox or the GPU asked for cannot be had, or a target is not known.
        RunError: the processes cannot be started.
    """
    from kernelsift.kernels.static_verifier import StaticVerifier

    missing = missing_packages()
    if missing:
        note = (
            f"{' and '.join(missing)} not installed: code was only read, no kernel was run; "
            "pip install 'kernelsift[verify]' and run the same command again"
        )
        yield Opened(StaticVerifier(missing), (note,))
        return
    from kernelsift.kernels.compiling.compiler import open_compiler
    from kernelsift.kernels.compiling.targets import parse_targets
    from kernelsift.kernels.gpu.opening import on_device
    from kernelsift.kernels.isolation.pool import Pool
    from kernelsift.kernels.verifier import PRELOAD, Verifier

    cfg = checks.cfg
    with (
        open_compiler(parse_targets(cfg.targets), workers, cfg.sandbox) as compiler,
        Pool(workers=workers, sandbox=cfg.sandbox, preload=PRELOAD) as pool,
    ):
        base = Verifier(pool, checks.effort, compiler)
        with on_device(base, pool, cfg.device, cfg.sandbox) as (verifier, notes):
            yield Opened(verifier, (*pool.notes, *notes))


def verify_file(
    reference: Path,
    answer: Path,
    cfg: Verify,
    *,
    class_name: str | None = None,
    entry: str | None = None,
) -> Checked:
    """Verify the program (or the completion) in one file against the module in another.

    `entry` names the class or function of the answer; without it the usual names are looked for.

    Raises:
        ConfigError: the sandbox or the GPU asked for cannot be had, or a target is not known.
        DataError: a file cannot be read, holds no program, or none of that name.
    """
    from kernelsift.kernels.sizing import Question
    from kernelsift.kernels.verdict import decide

    module, text = _read(reference), _read(answer)
    code = text if answer.suffix == ".py" else extract(text).code
    if not code:
        raise DataError(f"{answer} holds no program")
    if entry is not None and entry not in top_level_names(code):
        raise DataError(f"{answer} has no class or function {entry!r}; leave --entry out to search")
    question = Question(module, code, class_name or module_class_name(module), entry)
    checks = checks_for(cfg)
    with open_verifier(checks) as opened:
        facts = opened.verifier.verify(question)
        return Checked(facts, decide(facts, checks.policy), opened.notes)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"  # importable, but not installed as a package


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"cannot read {path}: {e}") from e
