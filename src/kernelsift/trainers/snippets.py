"""What stands beside an export so that a trainer can be pointed at it: configuration and README."""

import json
from collections.abc import Mapping, Sequence

from kernelsift.trainers.files import ExportNote
from kernelsift.trainers.formats import TRAINERS

_TRL = """\
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

data = load_dataset("parquet", data_files={files})
trainer = SFTTrainer(
    model="MODEL",
    args=SFTConfig(output_dir="out", max_length=16384{more}),
    train_dataset=data["train"],{evaluation}
)
trainer.train()
"""
_PRIME = """\
# sft @ sft_prime_rl.toml
[model]
name = "MODEL"

[data]
type = "sft"
name = "."          # this folder
splits = ["train"]
seq_len = 16384
"""
_AXOLOTL = """\
base_model: MODEL
chat_template: tokenizer_default
sequence_len: 16384
excess_length_strategy: drop   # a row that is cut loses its stop token
datasets:
  - path: train.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
    roles_to_train: [assistant]
    train_on_eos: turn
    field_thinking: reasoning_content
    template_thinking_key: reasoning_content
{test}# where the template ends turns with another token than the tokenizer's eos_token:
# eot_tokens: ["<|im_end|>"]
"""
_FACTORY = """\
model_name_or_path: MODEL
stage: sft
do_train: true
finetuning_type: lora
dataset_dir: .
dataset: kernelsift_train
{evaluation}template: TEMPLATE      # of your model, e.g. qwen3
cutoff_len: 16384
# enable_thinking: true (the default) makes rows without reasoning learn an empty think where the
# template is of a reasoning model; false removes all reasoning
output_dir: out
"""
_OPENRLHF = """\
openrlhf.cli.train_sft
  --model.model_name_or_path MODEL
  --data.dataset ./train.jsonl
  --data.apply_chat_template
  --data.input_key input
  --data.output_key output
  --data.max_len 16384
"""
_NEMO = """\
# NeMo RL: examples/run_sft.py --config sft.yaml, with these values
policy:
  model_name: MODEL
  max_total_sequence_length: 16384
data:
  add_bos: false                  # the chat template writes it
  add_eos: true
  add_generation_prompt: true     # else the assistant's header is trained as well
  default:
    dataset_name: openai_format
    chat_key: messages
    tool_key: tools
    use_preserving_dataset: true  # else keys that a message lacks become null
    processor: sft_processor
  train:
    data_path: train.jsonl
{validation}
# NeMo Automodel:
# dataset:
#   _target_: nemo_automodel.components.datasets.llm.ChatDataset
#   path_or_dataset_id: train.jsonl
#   mask_generation_prompt: true
"""


def configuration(note: ExportNote) -> Mapping[str, str]:
    """Return the files that tell a trainer of the export: name -> text."""
    makers = {
        "trl": _trl,
        "trl-messages": _trl,
        "prime-rl": lambda _: {"sft_prime_rl.toml": _PRIME},
        "axolotl": _axolotl,
        "llamafactory": _factory,
        "openrlhf": lambda _: {"openrlhf.args": _OPENRLHF},
        "nemo": _nemo,
    }
    return makers[note.format](note)


def readme(note: ExportNote) -> str:
    """Return the page that says what the files are and how they were made."""
    trainer = TRAINERS[note.format]
    files = configuration(note)
    lines = [
        f"# Training rows for {trainer.title}",
        "",
        f"Written by `kernelsift export --format {note.format}` from the {note.rows} rows of a "
        f"run: reasoning `{note.reasoning}`, answer `{note.answer}`, prompt `{note.prompt}`.",
        "",
        "| file | rows |",
        "|---|---|",
        *(
            f"| `{split}{trainer.suffix}` | {rows:,} |"
            for split, rows in note.counts.items()
            if rows
        ),
        "",
    ]
    for name, text in files.items():
        kind = name.rsplit(".", 1)[-1].replace("py", "python")
        lines += [f"`{name}`:", "", f"```{kind}", text.rstrip("\n"), "```", ""]
    lines += [
        "Check it against your model before you train: `kernelsift export --check --format "
        f"{note.format} --tokenizer MODEL --seq-len 16384`.",
        "",
    ]
    return "\n".join(lines)


def _files(note: ExportNote, suffix: str) -> dict[str, str]:
    return {split: f"{split}{suffix}" for split, rows in note.counts.items() if rows}


def _trl(note: ExportNote) -> Mapping[str, str]:
    files = _files(note, ".parquet")
    only = ", assistant_only_loss=True" if note.format == "trl-messages" else ""
    evaluation = '\n    eval_dataset=data["validation"],' if "validation" in files else ""
    text = _TRL.format(files=json.dumps(files), more=only, evaluation=evaluation)
    return {"sft_trl.py": text}


def _axolotl(note: ExportNote) -> Mapping[str, str]:
    test = ""
    if "validation" in _files(note, ".jsonl"):
        lines = _AXOLOTL.split("datasets:\n")[1].split("{test}")[0]
        test = "test_datasets:\n" + lines.replace("train.jsonl", "validation.jsonl")
    return {"axolotl.yaml": _AXOLOTL.format(test=test)}


def _factory(note: ExportNote) -> Mapping[str, str]:
    files = _files(note, ".jsonl")
    entry = {
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }
    info = {f"kernelsift_{s}": {"file_name": name} | entry for s, name in files.items()}
    there = "validation" in files
    evaluation = "eval_dataset: kernelsift_validation\n" if there else ""
    return {
        "dataset_info.json": json.dumps(info, indent=2) + "\n",
        "llamafactory.yaml": _FACTORY.format(evaluation=evaluation),
    }


def _nemo(note: ExportNote) -> Mapping[str, str]:
    there = "validation" in _files(note, ".jsonl")
    validation = "  validation:\n    data_path: validation.jsonl\n" if there else ""
    return {"nemo.yaml": _NEMO.format(validation=validation)}


def splits(note: ExportNote) -> Sequence[str]:
    """Return the splits that have a file."""
    return [split for split, rows in note.counts.items() if rows]
