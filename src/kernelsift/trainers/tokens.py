"""Tokens of a text: by a named tokenizer, or an estimate from bytes that says it is one."""

import bisect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kernelsift.errors import ConfigError, UnreachableError
from kernelsift.trainers.template import ChatTemplate, compiled, need

BYTES_PER_TOKEN = 3.3
"""UTF-8 bytes of a token of Triton and PyTorch code in chat form. Measured by
benchmarks/bench_tokens.py with four tokenizers of models; docs/export.md has the numbers."""
_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"


class Counter(Protocol):
    """Counts tokens of a text, all of them or those of its beginnings."""

    @property
    def label(self) -> str: ...

    @property
    def exact(self) -> bool: ...

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        ...

    def before(self, text: str, places: Sequence[int]) -> list[int]:
        """Return how many tokens of a text begin before each of these characters."""
        ...


@dataclass(frozen=True)
class Estimate:
    """Bytes over a factor, rounded up. Right on average, wrong for every single row."""

    factor: float = BYTES_PER_TOKEN

    @property
    def label(self) -> str:
        return f"estimate: UTF-8 bytes / {self.factor:g}; name a tokenizer for real counts"

    @property
    def exact(self) -> bool:
        return False

    def count(self, text: str) -> int:
        """Return the estimated number of tokens."""
        return -int(-len(text.encode("utf-8", "replace")) // self.factor)

    def before(self, text: str, places: Sequence[int]) -> list[int]:
        """Return the estimated tokens in front of each of these characters."""
        return [self.count(text[:place]) for place in places]


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer.json, with the special tokens and the chat template that stand beside it."""

    label: str
    fast: Any
    bos: str = ""
    eos: str = ""
    template: ChatTemplate | None = None

    @property
    def exact(self) -> bool:
        return True

    def count(self, text: str) -> int:
        """Return how many tokens a text has, special tokens of the text included."""
        return len(self.ids(text))

    def before(self, text: str, places: Sequence[int]) -> list[int]:
        """Return how many tokens of a text begin before each of these characters."""
        offsets = self.fast.encode(text, add_special_tokens=False).offsets
        starts = [start for start, _ in offsets]
        return [bisect.bisect_left(starts, place) for place in places]

    def ids(self, text: str) -> list[int]:
        """Return the tokens; none is added in front or behind."""
        return list(self.fast.encode(text, add_special_tokens=False).ids)


def load_tokenizer(name: str, token: str | None = None) -> Tokenizer:
    """Return the tokenizer of a folder, of a tokenizer.json, or of a model of the Hub.

    Raises:
        ConfigError: there is none, it cannot be read, or the package `tokenizers` is missing.
        UnreachableError: the Hub does not answer.
    """
    need("tokenizers")
    import tokenizers

    path = Path(name)
    folder = path if path.is_dir() else path.parent
    if path.exists():
        file = path / "tokenizer.json" if path.is_dir() else path
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        file, folder = _from_hub(name, token)
    else:
        raise ConfigError(f"--tokenizer {name!r} is no folder, no tokenizer.json and no Hub id")
    if not file.is_file():
        raise ConfigError(f"{folder} holds no tokenizer.json; name the folder of a model")
    try:
        fast = tokenizers.Tokenizer.from_file(str(file))
    except Exception as e:
        raise ConfigError(f"{file} is no tokenizer: {e}") from e
    fast.no_truncation()
    fast.no_padding()
    config = _config(folder / _CONFIG)
    bos, eos = _special(config, "bos_token"), _special(config, "eos_token")
    source = _template(folder, config)
    label = folder.resolve().name if path.exists() else name
    template = compiled(f"of {label}", source, bos=bos, eos=eos) if source else None
    return Tokenizer(label, fast, bos, eos, template)


def _from_hub(name: str, token: str | None) -> tuple[Path, Path]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(name, file, token=token))

    try:
        file = fetch("tokenizer.json")
        for extra in (_CONFIG, _TEMPLATE):
            try:
                fetch(extra)
            except EntryNotFoundError:
                continue
    except LocalEntryNotFoundError as e:
        raise UnreachableError(
            f"the Hub cannot be reached for the tokenizer of {name}; name a local folder"
        ) from e
    except (EntryNotFoundError, HfHubHTTPError) as e:
        raise ConfigError(f"{name} has no tokenizer.json on the Hub that can be read: {e}") from e
    return file, file.parent


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as e:
        raise ConfigError(f"cannot read {path}: {e}") from e
    return found if isinstance(found, dict) else {}


def _special(config: dict[str, Any], key: str) -> str:
    """A special token, which stands there as text or as an object."""
    value = config.get(key)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _template(folder: Path, config: dict[str, Any]) -> str:
    """The chat template: a file of its own goes before the one in the configuration."""
    own = folder / _TEMPLATE
    if own.is_file():
        return own.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else ""
