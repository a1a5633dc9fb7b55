"""Write whole files so that a reader sees the old content or the new, never half; read names."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernelsift.errors import DataError, RunError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file may not grow that large here (a file-size limit is set)",
    errno.EROFS: "the file system is read-only; choose another directory with --run DIR",
    errno.EACCES: "no permission to write there; choose another directory with --run DIR",
    errno.EPERM: "no permission to write there; choose another directory with --run DIR",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another with --run DIR",
}


def write_error(path: Path, error: OSError) -> RunError:
    """Turn the system's refusal to write `path` into a message that says what to do."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or type(error).__name__)
    return RunError(f"cannot write {path}: {advice}. What was stored before is untouched")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft path beside `path`; on success it is synced to disk and takes its place.

    The draft is removed when the block fails, so nothing half-written stays behind.

    Raises:
        RunError: the directory cannot be written (full, read-only, no permission).
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            _sync(draft)
            draft.replace(path)
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as e:
        raise write_error(path, e) from e


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty draft folder that takes the place of `folder` when all went well.

    Raises:
        RunError: the directory cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
        _sync(folder.parent)
    except OSError as e:
        raise write_error(folder, e) from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file (UTF-8) in one step."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def names_in(text: str) -> list[str]:
    """Return names with commas between them or, where a file is named, its lines.

    Raises:
        DataError: the file cannot be read, or there is no name.
    """
    lines = text.split(",")
    if os.path.isfile(text):  # noqa: PTH113 -- Path.is_file raises for a long list of names
        try:
            lines = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(f"cannot read the ids in {text}: {e}") from e
    names = [name.strip() for name in lines if name.strip()]
    if not names:
        raise DataError(f"--ids {text!r} names no row")
    return names


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
