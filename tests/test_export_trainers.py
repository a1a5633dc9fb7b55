"""Real loaders read the exports, and TRL masks them as the check says."""

import json

import pytest
from test_export_formats import exported, rows_of, unlike

from kernelsift.config import FORMATS
from kernelsift.trainers.formats import TRAINERS
from kernelsift.trainers.records import reasoning_of, to_view, without_nulls

REASONING = "One kernel, one load, one store."


def rollouts():
    """Unlike rollouts; every second one has reasoning."""
    rows = unlike(12)
    for row in rows[::2]:
        row["completion"][0]["reasoning_content"] = REASONING
    return rows


@pytest.mark.parametrize("name", FORMATS)
def test_datasets_reads_every_file_as_our_reader_does(tmp_path, name):
    datasets = pytest.importorskip("datasets")
    exported(tmp_path, rollouts(), name)
    folder = tmp_path / "run" / "export" / name
    suffix = TRAINERS[name].suffix
    kind = "parquet" if suffix == ".parquet" else "json"
    seen = []
    for file in sorted(folder.glob(f"*{suffix}")):
        data = datasets.load_dataset(
            kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
        )
        seen += list(data)
    ours = {
        to_view(TRAINERS[name], row, "x").sample: row for row in rows_of(tmp_path / "run", name)
    }
    assert len(seen) == len(ours) == 12
    for row in seen:
        theirs, mine = to_view(TRAINERS[name], row, "x"), ours[row["sample_id"]]
        wanted = to_view(TRAINERS[name], mine, "x")
        # before version 5, datasets filled keys that a turn of JSON lines lacks with null
        assert without_nulls(list(theirs.messages)) == without_nulls(list(wanted.messages))
        assert theirs.start == wanted.start
    found = [reasoning_of(to_view(TRAINERS[name], row, "x").messages[-1])[0] for row in seen]
    assert sorted(found) == sorted([REASONING, ""] * 6)


def test_a_folder_of_parquet_is_a_data_set_of_its_own(tmp_path):
    datasets = pytest.importorskip("datasets")
    exported(tmp_path, unlike(40), "prime-rl")
    folder = tmp_path / "run" / "export" / "prime-rl"
    data = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    counts = json.loads((folder / "kernelsift.json").read_text())["counts"]
    assert {split: len(rows) for split, rows in data.items()} == counts
    assert set(data["train"].column_names) == {"messages", "sample_id", "meta"}


@pytest.mark.parametrize("name", ["trl", "trl-messages"])
@pytest.mark.filterwarnings("ignore")
def test_trl_trains_on_the_tokens_that_the_check_counts(tmp_path, name):
    trl = pytest.importorskip("trl", reason="trl is not installed: its masks are not compared")
    transformers = pytest.importorskip("transformers")
    datasets = pytest.importorskip("datasets")
    from test_export_check import tokenizer

    from kernelsift.trainers.checking import Checker
    from kernelsift.trainers.tokens import load_tokenizer

    folder = tokenizer.__wrapped__(tmp_path)
    ours = load_tokenizer(str(folder))
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    theirs.chat_template = ours.template.source
    exported(tmp_path, rollouts(), name)
    (file,) = (tmp_path / "run" / "export" / name).glob("train.parquet")
    data = datasets.load_dataset(
        "parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    small = transformers.LlamaConfig(
        vocab_size=len(theirs), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1,
    )  # fmt: skip
    limit = 900
    trainer = trl.SFTTrainer(
        model=transformers.LlamaForCausalLM(small),
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "out"), max_length=limit, use_cpu=True, bf16=False,
            report_to=[], assistant_only_loss=name == "trl-messages",
        ),
        train_dataset=data,
        processing_class=theirs,
    )  # fmt: skip
    checker = Checker(TRAINERS[name], ours.template, ours, limit)
    predicted = {}
    for row in data:
        found = checker.check(to_view(TRAINERS[name], row, "x"))
        if found.trained:
            predicted[found.sample] = (min(found.tokens, limit), found.trained)
    made = {
        row["sample_id"]: (len(row["input_ids"]), sum(label != -100 for label in row["labels"]))
        for row in trainer.train_dataset
    }
    assert made == predicted
    assert {length for length, _ in made.values()} != {limit}


def test_llamafactory_would_empty_no_row_of_ours(tmp_path):
    exported(tmp_path, rollouts(), "llamafactory")
    for record in rows_of(tmp_path / "run", "llamafactory"):
        speakers = [turn["from"] for turn in record["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        assert all(isinstance(turn["value"], str) for turn in record["conversations"])


def test_a_system_turn_goes_where_llamafactory_reads_it(tmp_path):
    rows = unlike(2)
    rows[0]["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    rows[1]["prompt"].append({"role": "user", "content": "Really."})
    tally = exported(tmp_path, rows, "llamafactory")[-1]
    assert tally.counts["left out"] == 1
    (record,) = rows_of(tmp_path / "run", "llamafactory")
    assert record["conversations"][0] == {"from": "system", "value": "Be brief."}
