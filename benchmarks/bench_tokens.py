"""Bytes per token of training rows, for `kernelsift.trainers.tokens.BYTES_PER_TOKEN`.

    python benchmarks/bench_tokens.py RUN [RUN …] --tokenizer FOLDER [--tokenizer FOLDER …]

Each RUN is a run directory; its rows are rendered with the bundled default template. Prints a
Markdown table: the factor of all bytes over all tokens, and how far the estimate is off for
single rows (5th and 95th percentile of estimated over real tokens).
"""

import argparse
from pathlib import Path

from kernelsift.session import Session
from kernelsift.trainers.conversation import Conversation
from kernelsift.trainers.formats import TRAINERS
from kernelsift.trainers.records import to_record, to_view
from kernelsift.trainers.template import DEFAULT, load_template
from kernelsift.trainers.tokens import BYTES_PER_TOKEN, Estimate, load_tokenizer
from kernelsift.training_rows import TrainingRows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--tokenizer", action="append", required=True)
    asked = parser.parse_args()
    tokenizers = [load_tokenizer(name) for name in asked.tokenizer]
    print("| rows | tokenizer | bytes per token | estimate / real, 5 % … 95 % |")
    print("|---|---|---|---|")
    for path in asked.runs:
        texts = rendered(path)
        size = sum(len(text.encode()) for text in texts)
        for tokenizer in tokenizers:
            counts = [tokenizer.count(text) for text in texts]
            ratios = sorted(Estimate().count(t) / n for t, n in zip(texts, counts, strict=True))
            low, high = ratios[len(ratios) // 20], ratios[-1 - len(ratios) // 20]
            name = Path(tokenizer.label).name
            factor = size / sum(counts)
            rows = f"{len(texts):,} of {path.name}"
            print(f"| {rows} | {name} | {factor:.2f} | {low:.2f} … {high:.2f} |")
    print(f"\nThe factor in use is {BYTES_PER_TOKEN:g}.")


def rendered(path: Path) -> list[str]:
    """The rows of a run as text."""
    template, trainer = load_template(DEFAULT), TRAINERS["trl"]
    texts = []
    with Session.open(path) as session:
        for entry, row in TrainingRows(session.run, session.settings.export).conversations():
            if isinstance(row, Conversation):
                view = to_view(trainer, to_record(trainer, row), entry.origin)
                texts.append(template.render(view.messages, view.tools).text)
    return texts


if __name__ == "__main__":
    main()
