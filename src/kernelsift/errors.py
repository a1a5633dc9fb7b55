"""Everything this package raises on purpose.

KernelsiftError            a message meant for the user           exit 1
├── ConfigError            the settings make no sense             exit 2
├── DataError              a source is malformed                  exit 3
├── BudgetError            the next call would pass a cap         exit 4, the run stays resumable
├── DeniedError            the service refused the key or team    exit 5, nothing more is sent
├── UnreachableError       Hub or endpoint cannot be reached      exit 6, the run stays resumable
└── RunError               the run directory cannot be used       exit 7

A measurement that fails for one row is not an exception: it is a `Failure` (see model.py).
"""

from typing import ClassVar


class KernelsiftError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code: ClassVar[int] = 1


class ConfigError(KernelsiftError):
    """The user's settings make no sense."""

    exit_code = 2


class DataError(KernelsiftError):
    """A source, or a file in it, is malformed."""

    exit_code = 3


class BudgetError(KernelsiftError):
    """The next call would pass the money or request cap."""

    exit_code = 4


class DeniedError(KernelsiftError):
    """The service refused the credentials or the account; asking again would not help."""

    exit_code = 5


class UnreachableError(KernelsiftError):
    """A remote service did not answer at all."""

    exit_code = 6


class RunError(KernelsiftError):
    """A run directory is busy, from another version, full or read-only."""

    exit_code = 7


class StoppingError(Exception):
    """A call was not sent because the run is stopping. Its row stays pending."""
