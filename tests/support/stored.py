"""What a server's database file holds, read beside it with nothing of ours: jobs, events, integrity."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from uuid import UUID

from jobhall.states import EventType, JobState

SUFFIXES = ("", "-wal")
"""Of the files that are the database; the shared memory beside them is made anew."""


class Stored:
    """Reads a database file; a new connection for each question, so that it holds nothing open."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def copy(self, folder: Path) -> Stored:
        """The files as a dead server left them, elsewhere: to open them here would recover and change them."""
        folder.mkdir()
        for suffix in SUFFIXES:
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                shutil.copy(part, folder)
        return Stored(folder / self.path.name)

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=rw", uri=True, timeout=10)) as connection:
            return list(connection.execute(statement, parameters))

    def job(self, job_id: str) -> tuple[object, ...]:
        """The whole row, with its result."""
        [row] = self.rows(
            "SELECT * FROM jobhall_jobs LEFT JOIN jobhall_results ON job_key = jobhall_jobs.key WHERE job_id = ?",
            [UUID(job_id).bytes],
        )
        return row

    def states(self) -> dict[str, JobState]:
        rows = self.rows("SELECT job_id, state FROM jobhall_jobs")
        return {_text(job_id): JobState(state) for job_id, state in rows}  # type: ignore[arg-type]

    def events(self) -> list[tuple[str, int, EventType]]:
        """The log in its order: job, revision, type."""
        rows = self.rows("SELECT job_id, revision, event_type FROM jobhall_events ORDER BY number")
        return [(_text(job_id), revision, EventType(kind)) for job_id, revision, kind in rows]  # type: ignore[misc, arg-type]

    def events_of(self, job_id: str) -> list[EventType]:
        return [kind for job, _, kind in self.events() if job == job_id]

    def check(self) -> None:
        """The file is whole, the log has no gap, and each job's revisions count up from 1 to where the job is."""
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        [(first, last, count)] = self.rows("SELECT min(number), max(number), count(*) FROM jobhall_events")
        [(counter,)] = self.rows("SELECT last_event FROM jobhall_counters WHERE key = 0")
        assert (first, last, count) == (1, counter, counter) or (first, counter) == (None, 0)
        revisions = {
            job: [revision for _, revision, _ in events]
            for job, events in groupby(sorted(self.events(), key=lambda event: event[:2]), key=lambda event: event[0])
        }
        assert all(counted == list(range(1, len(counted) + 1)) for counted in revisions.values())
        deleted = {job for job, _, kind in self.events() if kind is EventType.DELETED}
        rows = self.rows("SELECT job_id, revision FROM jobhall_jobs")
        assert {_text(job_id): revision for job_id, revision in rows} == {
            job: len(counted) for job, counted in revisions.items() if job not in deleted
        }


def _text(job_id: object) -> str:
    assert isinstance(job_id, bytes)
    return str(UUID(bytes=job_id))
