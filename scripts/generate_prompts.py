"""Write synthetic task prompts from the PyTorch modules."""

from kernelsift.cli.scripts import generate_prompts, run_script

if __name__ == "__main__":
    run_script(generate_prompts)
