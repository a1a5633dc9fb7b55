"""The check of an export sees what a trainer would learn wrongly."""

import json
import shutil

import pytest

pytest.importorskip("jinja2", reason="chat templates need jinja2: the extra `tokens`")
from build import rollout, write_jsonl
from click.testing import CliRunner

from kernelsift.cli.main import cli
from kernelsift.config import FORMATS
from kernelsift.errors import ConfigError, DataError
from kernelsift.trainers.checking import Checker
from kernelsift.trainers.formats import TRAINERS
from kernelsift.trainers.masks import Rendering, masked
from kernelsift.trainers.records import View
from kernelsift.trainers.template import (
    DEFAULT,
    TemplateRaisedError,
    bundled,
    compiled,
    load_template,
)
from kernelsift.trainers.tokens import Estimate, load_tokenizer

ASKED = {"role": "user", "content": "Write Relu"}
PLAIN = {"role": "assistant", "content": "class Relu: ..."}
REASONED = PLAIN | {"reasoning_content": "One kernel will do."}
INLINE = PLAIN | {"content": "<think>\nOne kernel will do.\n</think>\n\nclass Relu: ..."}


def chatml(end: str) -> str:
    """A plain template whose turns end with this text."""
    return (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}END{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ).replace("END", end)


def checked(name, template, *messages, seq_len=None, counter=None):
    """Kinds of problems of one row, and the row."""
    if isinstance(template, str):
        template = load_template(template)
    checker = Checker(TRAINERS[name], template, counter or Estimate(), seq_len)
    found = checker.check(View("row", tuple(messages), 1))
    return {problem.kind for problem in found.problems}, found


def run(*words):
    """The exit code and the output of a command, as the shell sees them."""
    found = CliRunner().invoke(cli, list(words), standalone_mode=False)
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.return_value or 0, found.output


@pytest.fixture
def exported(tmp_path):
    """A run with an export of each format, one row with reasoning among three."""
    said = [{"role": "assistant", "content": f"<think>\nOne.\n</think>\n\n{'x = 1'}"}]
    rows = [rollout("A", completion=said), rollout("B"), rollout("C", tag="other")]
    source = write_jsonl(tmp_path / "r.jsonl", rows)
    place = ["--run", str(tmp_path / "run")]
    run("load", str(source), *place)
    run("filter", *place)
    formats = [word for name in FORMATS for word in ("--format", name)]
    run("export", *formats, *place)
    return tmp_path / "run"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("turn", [PLAIN, REASONED, INLINE], ids=["plain", "apart", "inline"])
def test_a_good_template_has_no_problem_with_any_trainer(name, turn):
    assert checked(name, DEFAULT, ASKED, turn)[0] == set()


@pytest.mark.parametrize("name", FORMATS)
def test_reasoning_that_the_template_leaves_away_is_missed(name):
    assert "reasoning-missing" in checked(name, "chatml", ASKED, REASONED)[0]
    assert "reasoning-missing" not in checked(name, "chatml", ASKED, INLINE)[0]


def test_reasoning_that_the_template_shows_twice_is_seen():
    text = chatml("{{ m.reasoning_content }}{{ m.reasoning_content }}<|end|>")
    assert "reasoning-twice" in checked("trl", compiled("twice", text), ASKED, REASONED)[0]


def test_every_turn_of_an_answer_is_trained_to_its_end_whatever_becomes_of_history():
    turns = [ASKED, REASONED, {"role": "user", "content": "Faster"}, INLINE]
    for template in ("last-thinking", DEFAULT, "chatml"):
        loaded = load_template(template)
        row = Rendering(View("row", tuple(turns), 1), loaded, loaded.render(turns))
        for name in ("prime-rl", "axolotl"):
            found = masked(TRAINERS[name], row, "")
            texts = [found.text[start:end] for start, end in found.trained]
            assert len(texts) == 2
            assert all(text.endswith("class Relu: ...<|im_end|>") for text in texts)
            assert all("Faster" not in text for text in texts)


def test_history_that_loses_its_reasoning_is_missed():
    turns = [ASKED, REASONED, {"role": "user", "content": "Faster"}, REASONED]
    assert "reasoning-missing" in checked("trl-messages", "last-thinking", *turns)[0]
    assert checked("trl-messages", DEFAULT, *turns)[0] == set()


def test_a_template_that_keeps_the_close_of_stripped_reasoning_leaves_an_orphan():
    text = chatml("")
    text = text.replace("{{ m.content }}", "{{ m.content.replace('<think>', '') }}<|end|>")
    assert "orphan-tag" in checked("trl", compiled("orphan", text), ASKED, INLINE)[0]


def test_a_mention_of_a_tag_is_no_orphan():
    turn = {"role": "assistant", "content": "strip('</think>') and `<think>` too"}
    assert checked("trl", DEFAULT, ASKED, turn)[0] == set()


def test_an_empty_think_is_a_note_for_plain_rows_and_a_problem_beside_reasoning():
    assert checked("trl", "opens-thinking", ASKED, PLAIN)[0] == {"empty-think"}
    assert checked("trl", "opens-thinking", ASKED, REASONED)[0] == set()
    assert checked("trl", "opens-thinking", ASKED, INLINE)[0] == {"empty-before-reasoning"}


def test_a_template_that_shortens_the_answer_is_seen():
    text = chatml("<|end|>").replace("m.content", "m.content[:5]")
    assert "answer-changed" in checked("trl", compiled("short", text), ASKED, PLAIN)[0]


@pytest.mark.parametrize("name", FORMATS)
def test_a_prompt_that_renders_differently_alone_is_seen(name):
    text = "{{ messages | length }}" + chatml("<|end|>")
    assert "prompt-not-prefix" in checked(name, compiled("counts", text), ASKED, PLAIN)[0]


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "trl-messages"])
def test_a_turn_without_an_end_teaches_no_stop(name):
    assert "no-stop" in checked(name, compiled("endless", chatml("")), ASKED, PLAIN)[0]


def test_a_stop_token_outside_the_marked_answer_is_not_trained():
    text = load_template(DEFAULT).source.replace("+ '<|im_end|>' -}}", "-}}")
    text = text.replace("{{- '\\n' -}}", "{{- '<|im_end|>\\n' -}}")
    assert "stop-not-trained" in checked("trl-messages", compiled("late", text), ASKED, PLAIN)[0]
    assert checked("trl", compiled("late", text), ASKED, PLAIN)[0] == set()


def test_messages_without_marks_have_no_mask():
    kinds, found = checked("trl-messages", "chatml", ASKED, PLAIN)
    assert kinds == {"no-mask"}
    assert found.trained == 0


def test_a_row_that_the_template_refuses_is_named_with_the_templates_words():
    text = "{{ raise_exception('roles must alternate') }}"
    kinds, found = checked("trl", compiled("strict", text), ASKED, PLAIN)
    assert kinds == {"template-raised"}
    assert found.problems[0].detail == "roles must alternate"


def test_a_prompt_longer_than_the_sequence_leaves_nothing_to_train():
    kinds, found = checked("trl", DEFAULT, ASKED, PLAIN, seq_len=5)
    assert kinds == {"nothing-trained", "too-long"}
    assert found.trained == 0
    assert found.tokens > 5
    assert checked("trl", DEFAULT, ASKED, PLAIN, seq_len=found.tokens)[0] == set()


def test_templates_run_in_a_sandbox():
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TemplateRaisedError, match="unsafe"):
        compiled("escape", escape).render([ASKED])


def test_templates_have_what_transformers_gives_them():
    text = (
        "{% for m in messages %}\n  {% if loop.first %}\n{{ m | tojson }}{% endif %}\n"
        "{% break %}{% endfor %}{{ strftime_now('%Y') | length }}{{ eos_token }}"
    )
    found = compiled("all", text, eos="</s>").render([{"role": "user", "content": "é<"}])
    assert found.text == '{"role": "user", "content": "é<"}4</s>'


def test_generation_blocks_say_where_the_answer_stands():
    found = load_template(DEFAULT).render([ASKED, PLAIN, ASKED, PLAIN])
    assert [found.text[a:b] for a, b in found.said] == ["class Relu: ...<|im_end|>"] * 2
    assert "\x00" not in found.text


def test_a_template_that_is_none_is_refused_with_its_line():
    with pytest.raises(ConfigError, match="line 2"):
        compiled("broken", "ok\n{% for %}")


def test_an_unknown_template_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="chatml-thinking"):
        load_template("qwen")
    assert all(load_template(name).render([ASKED], ask=True).text for name in bundled())


def test_the_command_finds_every_export_and_ends_well(exported):
    code, text = run("export", "--check", "--json", "--run", str(exported))
    found = json.loads(text)
    assert code == 0
    assert found["fine"]
    assert {file["format"] for file in found["files"]} == set(FORMATS)
    assert sum(f["rows"] for f in found["files"]) == 3 * len(FORMATS)


def test_the_command_ends_with_3_when_a_row_is_not_fine(exported):
    words = ["export", "--check", "--chat-template", "chatml", "--format", "prime-rl"]
    code, text = run(*words, "--run", str(exported))
    assert code == 3
    assert "reasoning-missing" in text
    assert "export with --reasoning inline" in " ".join(text.split())


def test_a_damaged_or_missing_export_is_an_error(exported):
    train = next((exported / "export" / "nemo").glob("*.jsonl"))
    train.write_text(train.read_text() * 2)
    with pytest.raises(DataError, match="were written"):
        run("export", "--check", "--format", "nemo", "--run", str(exported))
    train.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        run("export", "--check", "--format", "nemo", "--run", str(exported))
    shutil.rmtree(exported / "export")
    with pytest.raises(DataError, match="kernelsift export --format"):
        run("export", "--check", "--run", str(exported))


def test_an_export_without_a_row_is_no_success(tmp_path):
    turns = [PLAIN, {"role": "user", "content": "Again"}, PLAIN]
    source = write_jsonl(tmp_path / "r.jsonl", [rollout("A", completion=turns)])
    place = ["--run", str(tmp_path / "run")]
    run("load", str(source), *place)
    run("filter", *place)
    code, text = run("export", "--format", "trl", *place)
    assert code == 0
    assert "there is nothing to train on" in text
    with pytest.raises(DataError, match="trl-left-out"):
        run("export", "--check", *place)


def test_a_tokenizer_that_is_not_there_is_an_error(exported, tmp_path):
    pytest.importorskip("tokenizers", reason="the extra `tokens`")
    for name in (str(tmp_path), "nowhere", str(tmp_path / "x" / "y")):
        with pytest.raises(ConfigError, match="tokenizer"):
            load_tokenizer(name)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="is no tokenizer"):
        load_tokenizer(str(tmp_path))


@pytest.fixture
def tokenizer(tmp_path):
    """A small byte-level tokenizer in a folder of its own, with its template beside it."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `tokens`")
    from tokenizers import decoders, models, pre_tokenizers, trainers

    fast = tokenizers.Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(["class Relu(nn.Module): return x"] * 50, trainer)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    fast.save(str(folder / "tokenizer.json"))
    config = {"eos_token": {"content": "<|im_end|>"}, "bos_token": None}
    config["chat_template"] = load_template(DEFAULT).source
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_with_a_tokenizer_the_same_row_is_fine_and_its_tokens_are_counted(name, tokenizer):
    counter = load_tokenizer(str(tokenizer))
    kinds, found = checked(name, counter.template, ASKED, REASONED, counter=counter)
    assert kinds == set()
    ids = counter.ids(counter.template.render([ASKED, REASONED]).text)
    assert found.tokens in {len(ids), len(ids) - 1}  # some cut the last line end
    asked = counter.count(counter.template.render([ASKED], ask=True).text)
    assert found.tokens - asked - found.trained in {0, 1}


def test_an_end_of_turn_that_is_not_the_eos_token_is_not_trained_by_axolotl(tokenizer):
    path = tokenizer / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}
    path.write_text(json.dumps(config))
    counter = load_tokenizer(str(tokenizer))
    row = (counter.template, ASKED, PLAIN)
    assert checked("axolotl", *row, counter=counter)[0] == {"stop-not-trained"}
    assert checked("trl", *row, counter=counter)[0] == set()


def test_a_token_across_the_end_of_the_prompt_is_seen(tokenizer):
    counter = load_tokenizer(str(tokenizer))
    glued = compiled(
        "glued",
        chatml("<|im_end|>").replace("<|assistant|>{% endif", "<|assistant|>class Re{% endif"),
    )
    turn = {"role": "assistant", "content": "class Relu(nn.Module): return x"}
    kinds, found = checked("trl", glued, ASKED, turn, counter=counter)
    assert kinds == {"prompt-not-prefix"}
    assert "a token spans" in found.problems[0].detail
