"""Where in an archive what is: a job's file lies in the folder of its status, whatever happens to who writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobhall.archive.files import ArchiveError, clearly, locked, read_document, sync_folder, write_document
from jobhall.errors import PlainFormError
from jobhall.model import Job
from jobhall.model_admin import ImportedJob
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent
from jobhall.model_types import JobType
from jobhall.plain import Plain
from jobhall.statuses import QueueStatus

_VERSION = 1
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_M = TypeVar("_M", bound=Plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedJob(ImportedJob):
    """What the file of a job holds: all that an import takes, and the job's events, which are for reading only."""

    events: tuple[JobEvent, ...] = ()
    place: int = 0
    """Counts the jobs of an export in the order of their submits, which may have been in one moment."""


class Archive:
    """A folder of jobs, with the job types and batches that they name.

    Each job is whole and in exactly one of the folders at every moment, so also after a crash or a power cut; only
    one program writes at a time, inside `writing`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = directory / "archive.json"
        self._aside = directory / ".unfinished"
        self._types = directory / "job_types"
        self._batches = directory / "batches"
        self._folders = {status: directory / status.value for status in QueueStatus}
        self._touched: set[Path] = set()

    # --- writing ---

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Makes the folders where they are not there, and keeps other writers out; at the end all is on the disk."""
        folders = (self._aside, self._types, self._batches, *self._folders.values())
        with clearly(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            if self._mark.exists():
                self.check()
            elif any(it.name[0] != "." for it in self.directory.iterdir() if it not in folders):
                raise ArchiveError(f"{self.directory} has other files in it; name a new folder, or one of an export")
            for folder in folders:
                folder.mkdir(exist_ok=True)
        with locked(self.directory / ".lock"):
            with clearly(self._aside):
                for left_over in self._aside.iterdir():
                    left_over.unlink()
            write_document(self._mark, {"version": _VERSION}, aside=self._aside)
            self._touched.add(self.directory)
            yield
            self.sync()

    def sync(self) -> None:
        """Brings the names of all that was written to the disk; the files themselves are there already."""
        with clearly(self.directory):
            for folder in self._touched:
                sync_folder(folder)
        self._touched.clear()

    def write_job(self, archived: ArchivedJob) -> bool:
        """Writes a job to the folder of its status; True where it was moved there from another."""
        job = archived.job
        place = self._place_of(job)
        found = self._find(job.id)
        was = found[0] if found else place
        # First what it says, then where it lies: there is never a second file of it.
        write_document(was, archived.to_dict(), aside=self._aside)
        if was != place:
            with clearly(place):
                was.rename(place)
        self._touched |= {was.parent, place.parent}
        return was != place

    def write_type(self, it: JobType) -> None:
        """Writes a job type."""
        folder = self._types / _file_name(it.namespace)
        with clearly(folder):
            folder.mkdir(exist_ok=True)
        write_document(folder / f"{_file_name(it.name)}.json", it.to_dict(), aside=self._aside)
        self._touched |= {folder, self._types}

    def write_batch(self, batch: Batch) -> None:
        """Writes a batch."""
        write_document(self._batches / f"{_checked_id(batch.id)}.json", batch.to_dict(), aside=self._aside)
        self._touched.add(self._batches)

    def remove_job(self, job_id: str) -> None:
        """Removes the file of a job, if there is one."""
        for path in self._find(job_id):
            with clearly(path):
                path.unlink()
            self._touched.add(path.parent)

    # --- reading ---

    def check(self) -> None:
        """ArchiveError where this is no archive, or one of a later kind."""
        if not self._mark.is_file():
            raise ArchiveError(f"{self.directory} is no folder that jobhall export wrote: it has no {self._mark.name}")
        mark = read_document(self._mark)
        if not isinstance(mark, dict) or mark.get("version") != _VERSION:
            raise ArchiveError(f"{self._mark}: this version of jobhall reads archives of version {_VERSION} only")

    def job_ids(self) -> Iterator[str]:
        """Goes through the ids of the jobs, folder by folder; ArchiveError of a job that is in two of them."""
        for folder in self._folders.values():
            for path in _documents(folder):
                if len(found := self._find(path.stem)) > 1:
                    places = " and in ".join(str(it.parent) for it in found)
                    raise ArchiveError(f"{path.name} is in {places}: remove the one that does not hold any more")
                yield path.stem

    def job(self, job_id: str) -> ArchivedJob:
        """Reads a job; ArchiveError where there is none, or its file is not whole."""
        path = self.path_of(job_id)
        archived = _read(ArchivedJob, path)
        if archived.job.id != job_id:
            raise ArchiveError(f"{path} holds the job {archived.job.id!r}: a file is named by its job")
        return archived

    def path_of(self, job_id: str) -> Path:
        """The file of a job; ArchiveError where there is none."""
        if not (found := self._find(job_id)):
            raise ArchiveError(f"{self.directory} has no job {job_id}")
        return found[0]

    def jobs(self) -> Iterator[ArchivedJob]:
        """Goes through the jobs."""
        return (self.job(job_id) for job_id in self.job_ids())

    def types(self) -> Iterator[JobType]:
        """Goes through the job types."""
        if self._types.is_dir():
            for folder in sorted(it for it in self._types.iterdir() if it.is_dir()):
                yield from (_read(JobType, path) for path in _documents(folder))

    def batches(self) -> Iterator[Batch]:
        """Goes through the batches."""
        return (_read(Batch, path) for path in _documents(self._batches))

    def _place_of(self, job: Job) -> Path:
        return self._folders[QueueStatus.of(job)] / f"{_checked_id(job.id)}.json"

    def _find(self, job_id: str) -> list[Path]:
        name = f"{_checked_id(job_id)}.json"
        return [path for folder in self._folders.values() if (path := folder / name).is_file()]


def _documents(folder: Path) -> Iterator[Path]:
    with clearly(folder):
        names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names alone are small
    return (folder / name for name in names if name.endswith(".json"))


def _read(kind: type[_M], path: Path) -> _M:
    document: Any = read_document(path)
    try:
        return kind.from_dict(document)
    except PlainFormError as error:
        raise ArchiveError(f"{path}: {error}") from error


def _checked_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise ArchiveError(f"{name!r} is no id: it would name a file elsewhere")
    return name


def _file_name(name: str) -> str:
    # No name of a type or namespace has a `+`; some file systems take no `:`.
    if name.startswith(".") or "/" in name or "\\" in name:
        raise ArchiveError(f"{name!r} is no name of a job type: it would name a file elsewhere")
    return name.replace(":", "+")
