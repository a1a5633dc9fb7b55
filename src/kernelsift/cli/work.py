"""Open a run for a command, run stages, print what came of them, write the manifest."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelsift.cli import console
from kernelsift.cli.options import DEFAULT_PLOTS, DEFAULT_RUN, settings_from
from kernelsift.errors import KernelsiftError

if TYPE_CHECKING:
    from kernelsift.model import Tally
    from kernelsift.session import Session


@contextlib.contextmanager
def session_for(values: Mapping[str, Any], *, read_only: bool = False) -> Iterator["Session"]:
    """The run, settings and credentials that a command's options name.

    With `read_only` a run that is there is not held against other writers.
    """
    from kernelsift.credentials import read_secrets
    from kernelsift.progress import Progress
    from kernelsift.run import Run
    from kernelsift.session import Session

    settings = settings_from(values["config_path"], values)
    path: Path = values["run_path"]
    plots = values.get("plots") or (DEFAULT_PLOTS if path == DEFAULT_RUN else path / "plots")
    with Run.open(path, read_only=read_only and (path / "run.sqlite").exists()) as run:
        yield Session(
            run=run,
            settings=settings,
            secrets=read_secrets(Path.cwd()),
            progress=Progress(quiet=values["as_json"]),
            plots=plots,
            command=command_line(sys.argv),
        )


def perform(
    values: Mapping[str, Any],
    stages: Callable[["Session"], Iterable["Tally"]],
    more: Callable[["Session"], Mapping[str, Any]] | None = None,
) -> None:
    """Run stages on a run directory, print their tallies, and write the manifest.

    `more` says what stands in the JSON object of --json beside what every command prints.
    """
    from kernelsift.manifest import write_manifest

    quiet = values["as_json"]
    tallies: list[Tally] = []
    with session_for(values) as session:
        spent = session.run.spent()
        try:
            for tally in stages(session):
                tallies.append(tally)
                if not quiet:
                    console.tally(tally)
        except BaseException:
            if tallies or session.run.spent() != spent:
                with contextlib.suppress(KernelsiftError):  # the first error is the one to show
                    write_manifest(session, tallies)
            raise
        write_manifest(session, tallies)
        if quiet and more is not None:
            console.as_json({**_values(session, tallies), **more(session)})
        else:
            show(session, tallies, as_json=quiet)


def show(session: "Session", tallies: "Sequence[Tally]", *, as_json: bool) -> None:
    """Print where every row stands now, and which files were written."""
    if as_json:
        console.as_json(_values(session, tallies))
        return
    status = session.run.status()
    console.line()
    console.funnel(status.states, status.stages, status.usd)
    files = [name for tally in tallies for name in tally.files]
    for name in dict.fromkeys(files):
        console.line(f"  {_place(session.run.path, name)}")


def _values(session: "Session", tallies: "Sequence[Tally]") -> dict[str, Any]:
    status = session.run.status()
    return {
        "run": str(session.run.path),
        "tallies": [console.tally_values(t) for t in tallies],
        "states": dict(status.states),
        "usd": status.usd,
    }


def command_line(argv: Sequence[str]) -> tuple[str, ...]:
    """The command as one would type it again, for manifests and cards."""
    program = Path(argv[0])
    if program.suffix == ".py" and program.name != "__main__.py":
        return ("python", f"scripts/{program.name}", *argv[1:])
    return ("kernelsift", *argv[1:])


def _place(run: Path, name: str) -> str:
    return name if "/" in name and Path(name).exists() else str(run / name)
