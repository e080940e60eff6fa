"""A real store driven step by step from plain functions: units wait until they are run together, mostly as a group."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from jobhall.errors import ApiError
from jobhall.states import EventType, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import JobView
from jobhall_server.hall.store import Unit
from jobhall_server.storage.engines import Synchronous
from jobhall_server.storage.store import Store
from tests.support.stores import FILE_NAME, SetClock

T = TypeVar("T")
Check = Callable[[Any], None]
"""Judges what a unit answered, or the ApiError that it raised."""


class LoggedEvent(NamedTuple):
    """An event as it stands in the file."""

    number: int
    job_key: int
    event_type: EventType
    state: JobState
    revision: int
    attempt: int


class PlannedStore:
    """A store in a folder and on a loop of its own; nothing waits for the disk, since no power cut is played."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.planned: list[tuple[Unit[Any], Check]] = []
        self._loop = asyncio.new_event_loop()
        self._folder = Path(tempfile.mkdtemp(prefix="jobhall-"))
        self._open = AsyncExitStack()
        path = self._folder / FILE_NAME
        store = Store.open(f"sqlite:///{path}", clock=self.clock, synchronous=Synchronous.OFF)
        self._store = self._wait(self._open.enter_async_context(store))
        self._file = sqlite3.connect(path)

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

    def jobs(self, columns: str) -> dict[str, tuple[Any, ...]]:
        """These columns of every job's row, by the job's id."""
        rows = self._file.execute(f"SELECT job_id, {', '.join(columns.split())} FROM jobhall_jobs")
        return {str(UUID(bytes=job_id)): tuple(values) for job_id, *values in rows}

    def events(self) -> Iterator[LoggedEvent]:
        """The whole log in its order."""
        rows = self._file.execute(f"SELECT {', '.join(LoggedEvent._fields)} FROM jobhall_events ORDER BY number")
        for number, key, event_type, state, revision, attempt in rows:
            yield LoggedEvent(number, key, EventType(event_type), JobState(state), revision, attempt)

    def close(self) -> None:
        self._file.close()
        self._wait(self._open.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        shutil.rmtree(self._folder)

    def _wait(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return self._loop.run_until_complete(done())


def equals(expected: object) -> Check:
    """The answer is exactly this."""

    def check(answer: object) -> None:
        assert answer == expected

    return check


def taken(answer: object) -> None:
    """The unit did not raise; what it answered is not asked."""
    assert not isinstance(answer, ApiError)
