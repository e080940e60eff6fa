"""A store driven step by step from plain functions: units wait until they are run together, mostly as a group."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from jobhall.errors import ApiError
from jobhall.states import AttemptOutcome, EventType, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import BatchView, Counts
from jobhall_server.domain.job import JobView
from jobhall_server.hall.store import Store, Unit
from jobhall_server.storage.engines import Synchronous
from jobhall_server.storage.store import Store as SqlStore
from tests.support.memory.store import MemoryStore
from tests.support.memory.tables import Tables
from tests.support.schemas import lay_schema
from tests.support.stores import FILE_NAME, SetClock

T = TypeVar("T")
Check = Callable[[Any], None]
"""Judges what a unit answered, or the ApiError that it raised."""


class LoggedEvent(NamedTuple):
    """An event as it stands in the database."""

    number: int
    job_key: int
    event_type: EventType
    state: JobState
    revision: int
    attempt: int


class PlannedStore:
    """A store of that engine on a loop of its own; nothing waits for the disk, since no power cut is played."""

    def __init__(self, engine: str) -> None:
        self.clock = SetClock()
        self.planned: list[tuple[Unit[Any], Check]] = []
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        self._books: _Books
        if engine == "memory":
            tables = Tables()
            self._store: Store = self._wait(self._open.enter_async_context(_in_memory(tables, self.clock)))
            self._books = _Tables(tables)
            return
        folder = Path(tempfile.mkdtemp(prefix="jobhall-"))
        _ = self._open.callback(shutil.rmtree, folder)
        path = folder / FILE_NAME
        lay_schema(path)
        store = SqlStore.open(f"sqlite:///{path}", clock=self.clock, synchronous=Synchronous.OFF)
        self._store = self._wait(self._open.enter_async_context(store))
        self._books = _File(self._open.enter_context(closing(sqlite3.connect(path))))

    @property
    def replica_key(self) -> int:
        return self._store.replica_key

    def plan(self, unit: Unit[Any], check: Check, *, alone: bool = True) -> None:
        """Run the unit after those that wait; unless it is to be `alone`, it waits with them for the next one."""
        self.planned.append((unit, check))
        if alone:
            self.run_planned()

    def run_planned(self) -> None:
        """Run what waits and check each answer."""
        planned, self.planned = self.planned, []

        async def together() -> list[Any]:
            answers = [self._store.run(unit) for unit, _ in planned]
            return await asyncio.gather(*answers, return_exceptions=True)

        for (_, check), answer in zip(planned, self._wait(together()), strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, ApiError):
                raise answer
            check(answer)

    def read(self, job_id: str) -> JobView:
        """The job as an admin sees it."""
        view = self._wait(self._store.reads.job(ANYBODY, job_id))
        assert view is not None
        return view

    def attempts(self, job_key: int) -> list[tuple[int, int, AttemptOutcome]]:
        """The history of the job: fence, number and outcome of each attempt."""
        found = self._wait(self._store.reads.attempts(job_key, after_fence=0, limit=1000))
        return [(one.fence, one.attempt, one.outcome) for one in found]

    def counts(self) -> Counts:
        """All jobs by state, as they were counted."""
        found = self._wait(self._store.reads.stats(ANYBODY, None))
        return Counts(*(sum(queue.counts[place] for queue in found) for place in range(len(Counts._fields))))

    def batch(self, batch_id: str) -> BatchView:
        """The batch as an admin sees it."""
        view = self._wait(self._store.reads.batch(ANYBODY, batch_id))
        assert view is not None
        return view

    def jobs(self, columns: str) -> dict[str, tuple[Any, ...]]:
        """These columns of every job's row, by the job's id."""
        return self._books.jobs(columns.split())

    def events(self) -> Iterator[LoggedEvent]:
        """The whole log in its order."""
        return self._books.events()

    def close(self) -> None:
        self._wait(self._open.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _wait(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return self._loop.run_until_complete(done())


class _Books(Protocol):
    """What a database holds, read beside the store."""

    def jobs(self, columns: Sequence[str]) -> dict[str, tuple[Any, ...]]: ...

    def events(self) -> Iterator[LoggedEvent]: ...


class _File:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def jobs(self, columns: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        rows = self._connection.execute(f"SELECT job_id, {', '.join(columns)} FROM jobhall_jobs")
        return {str(UUID(bytes=job_id)): tuple(values) for job_id, *values in rows}

    def events(self) -> Iterator[LoggedEvent]:
        fields = ", ".join(LoggedEvent._fields)
        rows = self._connection.execute(f"SELECT {fields} FROM jobhall_events ORDER BY number")
        for number, key, event_type, state, revision, attempt in rows:
            yield LoggedEvent(number, key, EventType(event_type), JobState(state), revision, attempt)


class _Tables:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def jobs(self, columns: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        return {row["job_id"]: tuple(row[name] for name in columns) for row in self._tables.jobs.values()}

    def events(self) -> Iterator[LoggedEvent]:
        for row in self._tables.events.values():
            yield LoggedEvent._make(getattr(row, name) for name in LoggedEvent._fields)


@asynccontextmanager
async def _in_memory(tables: Tables, clock: SetClock) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(tables, clock=clock)
    yield store
    store.close()


def equals(expected: object) -> Check:
    """The answer is exactly this."""

    def check(answer: object) -> None:
        assert answer == expected

    return check


def taken(answer: object) -> None:
    """The unit did not raise; what it answered is not asked."""
    assert not isinstance(answer, ApiError)
