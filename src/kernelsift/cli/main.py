"""The command group, and what becomes of errors."""

import sys
from typing import Any, NoReturn

import click

from kernelsift.cli import commands, console
from kernelsift.cli.decontaminate import decontaminate
from kernelsift.cli.explain import diff, why
from kernelsift.cli.export import export, lengths
from kernelsift.cli.features import features
from kernelsift.cli.gate import gate
from kernelsift.cli.reliability import probes, reliability
from kernelsift.cli.verify import verify, verify_file
from kernelsift.errors import KernelsiftError

INTERRUPTED = 130
EPILOG = """\b
Exit codes
  0  done                          5  the service refused the key or the account
  1  a bug; please report it       6  Hub or endpoint cannot be reached
  2  wrong option or setting       7  the run directory cannot be used
  3  bad data in a source        130  stopped by Ctrl-C; run it again to go on
  4  a cap was reached
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kernelsift")
def cli() -> None:
    """Turn rollouts of kernel-writing models into a training set that one can trust.

    The whole job: kernelsift run SOURCE --run DIR --judge static
    """


for _command in (
    commands.run_command,
    commands.load,
    commands.filter_command,
    decontaminate,
    commands.judge,
    commands.prompts,
    commands.analyze,
    reliability,
    probes,
    commands.dedup,
    export,
    lengths,
    commands.publish,
    verify,
    verify_file,
    gate,
    features,
    commands.status,
    commands.estimate,
    why,
    diff,
    commands.doctor,
):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the `kernelsift` command."""
    guarded(cli)


def guarded(command: click.Command) -> None:
    """Run a command; errors meant for the user become one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal is no reason to fail
    try:
        code: Any = command.main(standalone_mode=False)
    except KernelsiftError as e:
        click.echo(f"error: {e}", err=True)
        _leave(e.exit_code, type(e).__name__, str(e))
    except click.ClickException as e:
        e.show()
        _leave(e.exit_code, type(e).__name__, e.format_message())
    except (click.Abort, KeyboardInterrupt) as e:
        stopped = str(e.__cause__ or e) or "stopped"
        text = f"{stopped}; what has come in is stored, the same command goes on"
        click.echo(text, err=True)
        _leave(INTERRUPTED, "Interrupted", text)
    except SystemExit as e:
        if e.code == 1:  # click's way out when nobody reads the pipe any more
            sys.exit(INTERRUPTED)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _leave(code: int, kind: str, message: str) -> NoReturn:
    """End with an exit code; with --json the reason is the one JSON object on stdout."""
    if "--json" in sys.argv:
        console.as_json({"error": {"kind": kind, "message": message, "exit_code": code}})
    sys.exit(code)
