"""A run together with what a command needs to work on it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kernelsift.config import Settings
from kernelsift.credentials import Secrets, read_secrets
from kernelsift.llm.chat import Chat
from kernelsift.progress import Progress
from kernelsift.run import Run

if TYPE_CHECKING:
    from kernelsift.kernels.static_verifier import AnyVerifier


@dataclass(frozen=True)
class Session:
    """An open run, its settings, credentials, and where progress is shown."""

    run: Run
    settings: Settings = field(default_factory=Settings)
    secrets: Secrets = field(default_factory=lambda: read_secrets(Path.cwd()))
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    chat: Chat | None = None
    """Answers instead of the endpoint: `llm.chat.scripted` for tests and dry runs."""
    verifier: "AnyVerifier | None" = None
    """Verifies kernels instead of this machine: a test's own, or another machine's."""
    plots: Path | None = None
    """Folder for figures; `plots` in the run directory when not given."""
    command: tuple[str, ...] = ()
    """The command line, for the manifest."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: Path | str,
        settings: Settings | None = None,
        *,
        chat: Chat | None = None,
        verifier: "AnyVerifier | None" = None,
    ) -> Iterator[Self]:
        """Open a run directory to work on it; see `Run.open` for errors."""
        with Run.open(Path(path)) as run:
            yield cls(run, settings or Settings(), chat=chat, verifier=verifier)

    @property
    def hub_token(self) -> str | None:
        """Token for the Hugging Face Hub; None uses what `hf auth login` has stored."""
        return self.secrets.find("HF_TOKEN")

    @property
    def plots_folder(self) -> Path:
        return self.plots or self.run.path / "plots"
