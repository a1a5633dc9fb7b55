"""The Hugging Face Hub, for uploads. Private unless told otherwise, one commit per data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelsift.errors import ConfigError, DeniedError, KernelsiftError, UnreachableError
from kernelsift.privacy import no_telemetry


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
        with _explained(self._api.endpoint):
            return str(self._api.whoami()["name"])

    def upload(self, folder: Path, repo: str, private: bool) -> str:  # noqa: FBT001 - Hub's word
        """Create the repository if need be, and put the folder there in one commit.

        Files below data/ that the folder does not have are removed. Returns the address.

        Raises:
            ConfigError: the repository is public, and it should be private.
        """
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
            stale = [name for name in old if name.startswith("data/") and name not in files]
            self._api.create_commit(
                repo,
                [
                    *(CommitOperationDelete(name) for name in stale),
                    *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
                ],
                repo_type="dataset",
                commit_message="Upload by kernelsift",
            )
        return f"{self._api.endpoint}/datasets/{repo}"


@contextmanager
def _explained(endpoint: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as e:
        raise ConfigError(f"the Hub allows no such name: {e}") from e
    except HfHubHTTPError as e:
        raise _of_status(endpoint, e.response.status_code, e.server_message) from e
    except ValueError as e:  # among others, its verdict on the card's front matter
        raise ConfigError(
            f"{endpoint} does not accept the data set: {str(e)[:300]}; check --license and --name"
        ) from e
    except OSError as e:
        raise _unreachable(endpoint) from e
    except Exception as e:
        if type(e).__module__.split(".")[0] in {"httpx", "httpx2", "httpcore", "httpcore2"}:
            raise _unreachable(endpoint) from e
        raise


def _of_status(endpoint: str, status: int, said: str | None) -> KernelsiftError:
    if status in {401, 403}:
        return DeniedError(
            f"{endpoint} refused the upload (HTTP {status}): check that HF_TOKEN is valid, may "
            "write, and that --namespace is yours"
        )
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status < 500 and status not in {408, 409, 425, 429}:
        return ConfigError(f"{endpoint} answered with {what}; check --namespace and --name")
    return UnreachableError(
        f"{endpoint} answered with {what}; nothing is lost, run the same command again later"
    )


def _unreachable(endpoint: str) -> UnreachableError:
    return UnreachableError(
        f"{endpoint} cannot be reached; check the connection and run the same command again. "
        "The files are written in the run directory"
    )
