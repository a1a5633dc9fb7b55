"""Keep keys out of everything that is printed, raised or stored."""

from typing import Final

from kernelsift.errors import ConfigError

_SHOWN: Final = "***"


class Secret:
    """A text that shows itself as `***`. Only `reveal` gives it out, for a request's header."""

    __slots__ = ("_text",)

    def __init__(self, text: str, *, name: str = "the API key") -> None:
        """Hold `text` without the blanks around it.

        Args:
            text: The secret; empty when there is none.
            name: What to call it in the message of an error, e.g. its environment variable.

        Raises:
            ConfigError: It holds characters that cannot stand in a header.
        """
        text = text.strip()
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ConfigError(
                f"{name} holds a blank or a character outside ASCII; copy the key again"
            )
        self._text = text

    def __repr__(self) -> str:
        return _SHOWN

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def scrub(self, text: str) -> str:
        """Return `text` with every occurrence of the secret replaced by `***`."""
        return text.replace(self._text, _SHOWN) if self._text else text

    def scrub_bytes(self, data: bytes) -> bytes:
        """Return `data` with every occurrence of the secret replaced by `***`."""
        return data.replace(self._text.encode(), _SHOWN.encode()) if self._text else data
