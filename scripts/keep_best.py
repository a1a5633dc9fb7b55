"""Keep one row per module: the best by score."""

from kernelsift.cli.scripts import keep_best, run_script

if __name__ == "__main__":
    run_script(keep_best)
