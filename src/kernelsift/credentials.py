"""Credentials: read from the environment or .env, handed on explicitly, never printed."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kernelsift.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys of this session. The values never show in repr, logs or files."""

    values: dict[str, str] = field(repr=False)

    def find(self, name: str) -> str | None:
        """The value of a variable, or None when it is unset or empty."""
        return self.values.get(name) or None


def read_secrets(folder: Path) -> Secrets:
    """Read `folder/.env`, then the environment on top of it. Nothing is exported.

    Raises:
        ConfigError: the file cannot be read.
    """
    from dotenv import dotenv_values

    file = folder / ".env"
    try:
        found = dotenv_values(file) if file.is_file() else {}
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{file} is not UTF-8 text; save it as UTF-8") from e
    values = {k: v for k, v in found.items() if v}
    values.update({k: v for k, v in os.environ.items() if v})
    return Secrets(values)
