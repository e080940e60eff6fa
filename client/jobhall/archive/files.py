"""Files that are whole or not there: written aside, brought to the disk, and then given their name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobhall.errors import JobhallError

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]


class ArchiveError(JobhallError):
    """A folder that is no archive, or a file in it that cannot be read or written; says which, and why."""


def read_document(path: Path) -> Any:
    """The JSON in a file."""
    with clearly(path):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path} is not JSON: {error}") from error


def write_document(path: Path, document: Any, *, aside: Path) -> None:
    """Puts it in the file's place, in one step; `aside` is a folder of the same file system."""
    part = aside / f"{os.getpid()}-{path.name}"
    with clearly(path):
        with part.open("wb") as file:
            file.write(_encoded(document))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def sync_folder(path: Path) -> None:
    """Brings the names in a folder to the disk."""
    if os.name == "nt":
        return  # Windows opens no folder.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps others out; ArchiveError where somebody is in. The lock ends with its process, however that ends."""
    with clearly(path):
        file = path.open("wb")
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveError(f"{path.parent}: another export writes there now") from None
        yield


@contextmanager
def clearly(path: Path) -> Iterator[None]:
    """What the system says of a file, as ArchiveError."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"{error.filename or path}: {error.strerror or error}") from error


def _encoded(document: Any) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
    except UnicodeEncodeError:
        # Half a character, which JSON can say only as an escape.
        return json.dumps(document, indent=2).encode() + b"\n"
