"""What each trainer reads: file, columns, mask, reasoning; docs/export.md has it in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kernelsift.trainers.conversation import Conversation

Shape = Literal["pair", "messages", "sharegpt", "io"]
"""prompt + completion · messages · conversations of from/value · input + output."""
Mask = Literal["completion", "generation", "sampled", "turn", "slice", "chunk"]
"""How a trainer finds the tokens to train on; see masks.py."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """One way to read training rows."""

    name: str
    title: str
    shape: Shape
    mask: Mask
    parquet: bool = False
    """Parquet; else JSON lines."""
    keeps_reasoning: bool = True
    """Whether `reasoning_content` of a message reaches the chat template."""
    reads_tools: bool = True
    reads_history: bool = False
    """Whether assistant turns of the prompt stay out of the loss."""
    reads_turns: bool = True
    """Whether user and tool turns between answers stay out of the loss."""
    strips_nulls: bool = False
    """Whether keys that the file fills with null are dropped before rendering."""
    long_rows: str = ""
    """What becomes of a row that is longer than the sequence."""

    @property
    def suffix(self) -> str:
        return ".parquet" if self.parquet else ".jsonl"

    def unfit(self, row: Conversation) -> str:
        """Why this trainer would read the row wrongly; empty when it reads it well."""
        tools = row.tools or any(m.calls or m.role == "tool" for m in row.messages)
        if tools and not self.reads_tools:
            return f"{self.title} does not read tool calls"
        if not self.reads_history and any(m.role == "assistant" for m in row.prompt):
            return f"{self.title} would train on the assistant's turns in its prompt"
        if not self.reads_turns and any(m.role != "assistant" for m in row.answer):
            return f"{self.title} would train on user or tool turns inside its answer"
        roles = [m.role for m in row.messages if m.role != "system"]
        turns = ["user", "assistant"] * (len(roles) // 2)
        if self.shape == "sharegpt" and roles != turns:
            return f"{self.title} empties rows whose user and assistant turns do not alternate"
        systems = [at for at, m in enumerate(row.messages) if m.role == "system"]
        if self.shape == "sharegpt" and systems not in ([], [0]):
            return f"{self.title} empties rows with a system turn that does not come first"
        return ""


TRAINERS: Mapping[str, Trainer] = {
    trainer.name: trainer
    for trainer in (
        Trainer(
            "trl", "TRL (prompt-completion)", "pair", "completion", parquet=True,
            reads_history=True, reads_turns=False,
            long_rows="TRL cuts it at max_length and drops it when nothing trained is left",
        ),
        Trainer(
            "trl-messages", "TRL (messages)", "messages", "generation", parquet=True,
            long_rows="TRL cuts it at max_length and drops it when nothing trained is left",
        ),
        Trainer(
            "prime-rl", "prime-rl", "messages", "sampled", parquet=True, strips_nulls=True,
            long_rows="prime-rl cuts it at seq_len and skips it when nothing trained is left",
        ),
        Trainer(
            "axolotl", "axolotl", "messages", "turn", strips_nulls=True,
            long_rows="axolotl drops it, or cuts it with excess_length_strategy: truncate",
        ),
        Trainer(
            "llamafactory", "LLaMA-Factory", "sharegpt", "sampled",
            keeps_reasoning=False, reads_tools=False,
            long_rows="LLaMA-Factory cuts prompt and answer to fit cutoff_len",
        ),
        Trainer(
            "openrlhf", "OpenRLHF", "io", "slice",
            reads_tools=False, reads_history=True, reads_turns=False,
            long_rows="OpenRLHF cuts it at max_len and sets the stop token at the cut; a prompt "
            "that fills max_len is dropped",
        ),
        Trainer(
            "nemo", "NeMo RL and Automodel", "messages", "chunk",
            long_rows="NeMo RL keeps the first tokens of every turn and masks the row",
        ),
    )
}  # fmt: skip
"""Every trainer by the name of its format."""
