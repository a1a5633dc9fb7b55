"""Which family of models a name belongs to: a judge prefers the words of its own."""

import re
from typing import Final

_PREFIXES: Final = {
    "gpt": ("gpt", "chatgpt", "o1", "o3", "o4", "codex", "davinci"),
    "claude": ("claude",),
    "gemini": ("gemini", "gemma"),
    "glm": ("glm", "chatglm"),
    "qwen": ("qwen", "qwq", "qvq"),
    "deepseek": ("deepseek",),
    "llama": ("llama", "meta-llama", "codellama"),
    "mistral": ("mistral", "mixtral", "codestral", "devstral", "magistral", "ministral"),
    "kimi": ("kimi", "moonlight"),
}
"""Beginnings of model names, of each family."""
_OWNERS: Final = {
    "openai": "gpt",
    "anthropic": "claude",
    "google": "gemini",
    "zai-org": "glm",
    "z-ai": "glm",
    "thudm": "glm",
    "qwen": "qwen",
    "deepseek-ai": "deepseek",
    "deepseek": "deepseek",
    "meta-llama": "llama",
    "mistralai": "mistral",
    "moonshotai": "kimi",
}
"""Owners of models, where the name itself says nothing."""


def family_of(model: str) -> str | None:
    """The family of a model by its name, e.g. `glm` for `zai-org/GLM-4.6`; None when not known."""
    *owners, name = model.strip().lower().split("/")
    for family, prefixes in _PREFIXES.items():
        if any(re.match(rf"{prefix}(?![a-z])", name) for prefix in prefixes):
            return family
    return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), None)
