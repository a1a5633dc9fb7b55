"""Rows, files, runs and judges that the tests are made of."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import kernelsift
from kernelsift.config import Settings
from kernelsift.credentials import Secrets
from kernelsift.llm.chat import Ask, Chat, scripted
from kernelsift.model import Entry, Fact, Failure, Judgement, SampleId
from kernelsift.run import Run
from kernelsift.session import Session

VERDICT = "Difficulty reason: x\n<difficulty>3</difficulty>\nStyle reason: y\n<style>4</style>"
SPECIFICATION = (
    "Write the class {name}New. Its forward takes x and returns ReLU of it, max(0, value). "
    + "It computes what the module computes. " * 3
)
CLAIMS = (
    '<interface>{"inputs": [{"name": "x", "shape": [4, 4], "dtype": "float32"}], '
    '"outputs": [{"shape": [4, 4], "dtype": "float32"}], "init": []}</interface>'
)
"""What is true of `reference`, in the form that the writer of task prompts is asked for."""


def environment() -> dict[str, str]:
    """For a subprocess: it imports the package that is tested here, and knows no credentials."""
    clean = {k: v for k, v in os.environ.items() if not k.endswith(("_KEY", "_TOKEN"))}
    clean.pop("TEST_MODE", None)
    return clean | {"PYTHONPATH": str(Path(kernelsift.__file__).parents[1])}


def apart(name: str) -> str:
    """A function that no two names share: programs that hold it are no near-duplicates."""
    chosen = hashlib.sha256(name.encode()).digest()[:16]
    steps = "".join(f"    x = torch.{_OPERATIONS[byte % len(_OPERATIONS)]}(x)\n" for byte in chosen)
    return f"\n\ndef apart(x):\n{steps}    return x\n"


_OPERATIONS = ("sin", "cos", "tan", "exp", "log", "sqrt", "abs", "neg", "floor", "ceil", "erf",
               "sinh", "cosh", "tanh", "relu", "sigmoid", "sign", "round")  # fmt: skip


def reference(name: str) -> str:
    """A PyTorch module."""
    return (
        "import torch\nfrom torch import nn\n\n\n"
        f"class {name}(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.relu(x)\n\n\n"
        "def get_inputs():\n    return [torch.rand(4, 4)]\n\n\n"
        "def get_init_inputs():\n    return [[], {}]\n" + apart(name)
    )


def kernel(name: str, tag: object = 0) -> str:
    """An answer's program; another `tag` makes it another text."""
    return (
        f"import torch\n\nTAG = {tag!r}\n\n\nclass {name}New(torch.nn.Module):\n"
        "    def forward(self, x):\n        return x\n" + apart(f"{name}New")
    )


def rollout(module: str = "Relu", reward: float = 1.0, tag: object = 0, **more: Any) -> dict:
    """A rollout as it stands in a JSONL file."""
    text = f"I think.\n\nBEGIN_PYTHON\n{kernel(module, tag)}END_PYTHON"
    return {
        "example_id": 1,
        "prompt": [{"role": "user", "content": f"Write {module}"}],
        "completion": [{"role": "assistant", "content": text}],
        "task": "kernelbook",
        "reward": reward,
        "info": {"module_name": module, "python_code": reference(module)},
        **more,
    }


def no_code(module: str = "Relu", reward: float = 1.0, **more: Any) -> dict:
    """A rollout whose answer holds no program."""
    said = [{"role": "assistant", "content": "I cannot do that."}]
    return rollout(module, reward, completion=said, **more)


def write_jsonl(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@contextlib.contextmanager
def opened(
    path: Path,
    source: Path | None = None,
    chat: Chat | None = None,
    verifier: Any = None,
    **dotted: Any,
) -> Iterator[Session]:
    """A session on a run directory; `judge__model="m"` sets judge.model."""
    values = {name.replace("__", "."): value for name, value in dotted.items()}
    if source is not None:
        values["load.source"] = str(source)
    with Run.open(path) as run:
        settings = Settings.read(None, values)
        yield Session(run, settings, secrets=Secrets({}), chat=chat, verifier=verifier)


def entry(id_: str, row: int = 0, module: str = "M", reward: float = 1.0) -> Entry:
    return Entry(SampleId(id_), row, f"x.jsonl:{row + 1}", module, reward, "", id_)


def judgement(difficulty: float = 3, style: float = 4) -> Judgement:
    return Judgement(
        difficulty=difficulty,
        style=style,
        raw="x",
        judge="m",
        returned_model="m",
        prompt_version="v",
    )


def fact(sample: str, body: Judgement | Failure, usd: float = 0.0) -> Fact:
    return Fact(stage="judge", sample=SampleId(sample), key=f"key-{sample}", body=body, usd=usd)


class Counted:
    """A scripted chat that remembers what it was asked."""

    def __init__(
        self, answers: Sequence[Any] | Callable[[Ask], str] | str = VERDICT, usd: float = 0.25
    ) -> None:
        text = answers
        script = (lambda _: text) if isinstance(text, str) else text
        self._chat = scripted(script, usd=usd)
        self.asks: list[Ask] = []

    async def __call__(self, ask: Ask) -> Any:
        self.asks.append(ask)
        return await self._chat(ask)

    @property
    def count(self) -> int:
        return len(self.asks)
