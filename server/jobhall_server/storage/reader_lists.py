"""The reader's part about lists of jobs: a page is found by looks of bounded length, each from where the last ended.

A look takes two statements. The first tells its edge, the second reads what matches down to there. What comes or goes
in between moves no edge, so that pages neither repeat nor leave out a job that matches all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from jobhall.states import HELD_STATES, JobState
from jobhall_server.domain.access import Principal
from jobhall_server.hall.views import JobFilter, JobPage, ListOrder, Page, Place
from jobhall_server.storage import reader_rows
from jobhall_server.storage.connections import Row
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import Sight, caller, listed, listed_ids, stored_id
from jobhall_server.storage.reading import KEY_MAX, ROWS_MAX, Reading
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_read_lists import ListShape, Source, edge, page_ids, passed_over
from jobhall_server.storage.statements_read_lists import page as page_of_jobs

LOOK = 20_000
"""Jobs that one read of a page goes over at most, about: a page may be short."""

FIRST_LOOK = 1_000
"""What a page is tried with: where every second job matches it takes no more."""

_BEFORE_ALL = -1
_RESTING = frozenset({JobState.SCHEDULED, JobState.PENDING, JobState.FAILED, JobState.CANCELLED})
"""States that `aside` has an index of; of PENDING the jobs that are held back."""

_UNHURT = frozenset({JobState.COMPLETED, JobState.CANCELLED})


class Selection(Protocol):
    """What of the jobs of a page is read."""

    def __call__(self, tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]: ...


@dataclass(frozen=True, slots=True)
class _Listing:
    """A list as it is asked for: by whom, of which shape, with which values."""

    sight: Sight
    shape: ListShape
    values: dict[str, Any]

    @property
    def narrow(self) -> bool:
        """Whether jobs of its source may not match."""
        shape = self.shape._replace(namespace=False, job_types=False, resting=False, ready=False, held=False)
        if shape.source is Source.STATES:
            shape = shape._replace(states=False)
        return self.sight is not Sight.ALL or any(shape[2:])

    def looks(self) -> Iterator[tuple[ListShape, int]]:
        """Along what to look, and over how many jobs."""
        shape = self.shape
        if shape.ready:
            # Where many wait the newest jobs are such, and the index of those that wait has another order.
            walked = Source.QUEUES if shape.namespace or shape.job_types else Source.ALL
            yield shape._replace(source=walked), FIRST_LOOK
        else:
            yield shape, FIRST_LOOK if self.narrow else 0
        yield shape, LOOK


class ListReads(Reading):
    """Pages of jobs, and of their ids."""

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> JobPage:
        rows, place = await self._list(page_of_jobs, principal, where, page)
        return JobPage([reader_rows.job_view(row) for row in rows], place)

    async def job_ids(self, principal: Principal, where: JobFilter, page: Page) -> tuple[list[str], Place | None]:
        rows, place = await self._list(page_ids, principal, where, page)
        return [reader_rows.id_of(row[1]) for row in rows], place
