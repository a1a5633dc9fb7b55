"""What others offer, on the same programs. Runs in an environment of its own (`near_duplicates`).

datasketch   MinHashLSH on the same structural shingles, 128 permutations, threshold 0.8
text-dedup   `text_dedup.minhash` as its documentation has it: 5-grams of its own words
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def with_datasketch(path: Path) -> str:
    """Keep a program unless the index knows one like it."""
    from datasketch import MinHash, MinHashLSH

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    from kernelsift.similarity.tokens import shingles, structural_hashes

    index = MinHashLSH(threshold=0.8, num_perm=128)
    kept = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            found = shingles(structural_hashes(json.loads(line)["text"]))
            signature = MinHash(num_perm=128)
            signature.update_batch([shingle.tobytes() for shingle in found])
            kept += not index.query(signature)
            index.insert(str(number), signature)
    return f"keeps {kept:,}, pairs unchecked"


def with_text_dedup(path: Path, workers: str) -> str:
    """Its command line, from JSON lines to a data set on disk."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(path),
            "--split", "train", "--cache_dir", f"{folder}/cache", "--output", f"{folder}/out",
            "--column", "text", "--batch_size", "1000", "--num_proc", workers, "--threshold", "0.8",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        import datasets

        return f"keeps {datasets.load_from_disk(f'{folder}/out').num_rows:,}, pairs unchecked"


if __name__ == "__main__":
    tool, where, processes = sys.argv[1:]
    says = (
        with_datasketch(Path(where)) if tool == "datasketch"
        else with_text_dedup(Path(where), processes)
    )  # fmt: skip
    sys.stdout.write(json.dumps({"says": says}) + "\n")
