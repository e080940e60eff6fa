"""What is wrong with an archive, by its files and not by places in a request that nobody has seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from jobhall.errors import ApiError, FieldViolation, JobhallError

if TYPE_CHECKING:
    from jobhall.archive import Archive, ArchivedJob

_PLACE: Final = re.compile(r"jobs\[(\d+)\]\.(.+)")


class NotImportedError(JobhallError):
    """The archive cannot be brought into this server as it is; says what would help."""


@contextmanager
def by_file(archive: Archive, jobs: Sequence[ArchivedJob]) -> Iterator[None]:
    """Says what is refused of these jobs by the names of their files."""
    try:
        yield
    except ValueError as error:
        # No message of the contract can say it: a number beyond 64 bits, or half a character.
        why = f"half a character in {error.object!r}" if isinstance(error, UnicodeEncodeError) else str(error)
        _refuse([f"{archive.path_of(it.job.id)}: {why}" for it in jobs], error)
    except ApiError as error:
        _refuse([_told(archive, jobs, violation) for violation in error.violations], error)


@contextmanager
def by_name(what: str) -> Iterator[None]:
    """Says before what is refused whose it is."""
    try:
        yield
    except ApiError as error:
        _refuse([f"{what}: {violation.field}: {violation.description}" for violation in error.violations], error)


def _told(archive: Archive, jobs: Sequence[ArchivedJob], violation: FieldViolation) -> str:
    found = _PLACE.fullmatch(violation.field)
    if found is None or int(found[1]) >= len(jobs):
        return f"{violation.field}: {violation.description}"
    return f"{archive.path_of(jobs[int(found[1])].job.id)}: {found[2]}: {violation.description}"


def _refuse(told: Sequence[str], error: ApiError | ValueError) -> None:
    if not told:
        raise error
    raise NotImportedError("; ".join(told)) from error
