"""Run every benchmark in a process of its own and print its tables: `make bench`.

`--quick` takes smaller sizes and fewer repeats.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from machine import environment, say

PARTS = ("startup", "offline_pipeline", "prompts_all", "llm_stage", "verify_throughput")


def main() -> int:
    """Return 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    failed = []
    for part in PARTS:
        say(f"\n## {part}")
        script = Path(__file__).with_name(f"{part}.py")
        command = [sys.executable, str(script), *(["--quick"] if options.quick else [])]
        if subprocess.run(command, check=False, env=environment()).returncode:
            failed.append(part)
    if failed:
        say(f"\nfailed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
