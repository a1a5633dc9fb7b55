"""Keep rewards above 0.85, then rate difficulty and style 0-10 by an LLM judge."""

from kernelsift.cli.scripts import filter_dataset, run_script

if __name__ == "__main__":
    run_script(filter_dataset)
