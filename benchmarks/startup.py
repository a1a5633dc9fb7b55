"""How long `kernelsift --help` takes, beside Python itself and other command lines."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from machine import environment, median, show

REPEATS = 11


def main() -> None:
    """Time each command and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    repeats = 5 if parser.parse_args().quick else REPEATS
    scripts = Path(sys.executable).parent
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "kernelsift --help": [sys.executable, "-m", "kernelsift", "--help"],
        "kernelsift judge --help": [sys.executable, "-m", "kernelsift", "judge", "--help"],
        "hf --help": [str(scripts / "hf"), "--help"],
        "datasets-cli --help": [str(scripts / "datasets-cli"), "--help"],
    }
    present = {name: c for name, c in commands.items() if Path(c[0]).exists()}
    times: dict[str, list[float]] = {name: [] for name in present}
    for _ in range(repeats + 1):  # the first fills the caches
        for name, command in present.items():
            started = time.monotonic()
            subprocess.run(command, capture_output=True, check=True, env=environment())
            times[name].append(time.monotonic() - started)
    shown = [[name, median(found[1:]), min(found[1:])] for name, found in times.items()]
    show(f"Start-up, {repeats} times each", ["command", "median s", "best s"], shown)


if __name__ == "__main__":
    main()
