"""The Hugging Face Hub, for uploads. Private unless told otherwise, one commit per data set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from kernelsift.errors import ConfigError, DeniedError, KernelsiftError, UnreachableError
from kernelsift.privacy import no_telemetry

PAUSES = (1.0, 4.0, 16.0)
"""Seconds before a step that the connection has cut off is tried again. huggingface_hub itself
tries the parts of a transfer six times, but neither the commit nor what comes before it."""
OURS = ("data/", "plots/")
"""Folders of a repository that hold nothing but what kernelsift has put there."""
_HTTP = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where a data set is now."""

    address: str
    commit: str | None
    """The commit just made; None where the repository held just these files already."""


class Hub:
    """The Hub as one user sees it."""

    def __init__(self, token: str | None) -> None:
        """Use `token`, or the one that `hf auth login` has stored.

        Raises:
            ConfigError: there is neither.
        """
        no_telemetry()
        from huggingface_hub import HfApi, get_token

        found = token or get_token()
        if not found:
            raise ConfigError(
                "no token for the Hugging Face Hub: set HF_TOKEN in the environment or in .env (it "
                "needs write permission)"
            )
        self._api = HfApi(token=found, library_name="kernelsift")

    def user(self) -> str:
        """Name of the user that the token belongs to."""
        return _patiently(self._user)

    def upload(self, folder: Path, repo: str, *, private: bool) -> Uploaded:
        """Create the repository if need be, and bring it to what the folder holds in one commit.

        Large files go first, and what has arrived stays there: after a broken connection, also of
        an earlier process, only the rest is sent. The commit comes last, whole or not at all, and
        not when nothing has changed. Files below data/ and plots/ that the folder does not have
        are removed.

        Raises:
            ConfigError: the repository is public, and it should be private.
            DeniedError, UnreachableError: the Hub refuses, or does not answer after four tries.
        """
        return _patiently(lambda: self._upload(folder, repo, private=private))

    def _user(self) -> str:
        with _explained(self._api.endpoint):
            return str(self._api.whoami()["name"])

    def _upload(self, folder: Path, repo: str, *, private: bool) -> Uploaded:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        with _explained(self._api.endpoint):
            self._api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
            there = self._api.dataset_info(repo)
            if private and there.private is False:
                raise ConfigError(
                    f"{repo} is there already, and it is public: nothing was sent. Say --public if "
                    "that is right, or choose another --name"
                )
            old = [one.rfilename for one in there.siblings or ()]
            stale = [name for name in old if name.startswith(OURS) and name not in files]
            made = self._api.create_commit(
                repo,
                [
                    *(CommitOperationDelete(name) for name in stale),
                    *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
                ],
                repo_type="dataset",
                commit_message="Upload by kernelsift",
                parent_commit=there.sha,
            )
        address = f"{self._api.endpoint}/datasets/{repo}"
        return Uploaded(address, None if made.oid == there.sha else made.oid)


def _patiently(step: Callable[[], Answer]) -> Answer:
    """Take a step, again after a pause where the Hub could not be reached.

    A step that is taken again looks at the repository first, so that a commit whose answer was
    lost is found there and not made twice.
    """
    for pause in PAUSES:
        try:
            return step()
        except UnreachableError:
            time.sleep(pause)
    return step()


@contextmanager
def _explained(endpoint: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as e:  # how huggingface_hub and hf_xet wrap what broke a transfer
        _explain(e.__cause__ if isinstance(e.__cause__, Exception) else e, endpoint)
    except Exception as e:  # noqa: BLE001 - raised again when it is not of the Hub
        _explain(e, endpoint)


def _explain(e: Exception, endpoint: str) -> NoReturn:
    """Raise the error of ours that an error of the Hub or of the network amounts to."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    origin = type(e).__module__.split(".")[0]
    if isinstance(e, KernelsiftError):
        raise e
    if isinstance(e, HFValidationError):
        raise ConfigError(f"the Hub allows no such name: {e}") from e
    if isinstance(e, HfHubHTTPError):
        raise _of_status(endpoint, e.response.status_code, e.server_message) from e
    if isinstance(e, ValueError):  # among others, its verdict on the card's front matter
        raise ConfigError(
            f"{endpoint} does not accept the data set: {str(e)[:300]}; check --license and --name"
        ) from e
    if isinstance(e, PermissionError) and origin == "hf_xet":
        raise _of_status(endpoint, 403, str(e)) from e
    if isinstance(e, OSError | RuntimeError) or origin in _HTTP:
        raise UnreachableError(
            f"{endpoint} cannot be reached ({type(e).__name__}); check the connection and run the "
            "same command again: what has arrived is not sent again. The files are written in the "
            "run directory"
        ) from e
    raise e


def _of_status(endpoint: str, status: int, said: str | None) -> KernelsiftError:
    if status in {401, 403}:
        return DeniedError(
            f"{endpoint} refused the upload (HTTP {status}): check that HF_TOKEN is valid, may "
            "write, and that --namespace is yours"
        )
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status < 500 and status not in {408, 409, 412, 425, 429}:
        return ConfigError(f"{endpoint} answered with {what}; check --namespace and --name")
    return UnreachableError(
        f"{endpoint} answered with {what}; nothing is lost, run the same command again later"
    )
