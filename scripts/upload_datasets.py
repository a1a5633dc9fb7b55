"""Upload the data sets to the Hugging Face Hub with train/validation splits."""

from kernelsift.cli.scripts import run_script, upload_datasets

if __name__ == "__main__":
    run_script(upload_datasets)
