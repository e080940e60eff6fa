"""The reader's part about lists of jobs: a page is found by looks of bounded length, each from where the last ended.

A look takes two statements. The first tells its edge, the second reads what matches down to there. What comes or goes
in between moves no edge, so that pages neither repeat nor leave out a job that matches all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

import sqlalchemy as sa

from jobhall.states import HELD_STATES, JobState
from jobhall_server.domain.access import Principal
from jobhall_server.hall.views import JobFilter, JobPage, Page, Place
from jobhall_server.storage import reader_rows
from jobhall_server.storage.connections import Row
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import Sight, caller, listed, listed_ids, stored_id
from jobhall_server.storage.reading import KEY_MAX, ROWS_MAX, Reading
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_read_lists import OWN, ListShape, Source, edge, page_ids, passed_over
from jobhall_server.storage.statements_read_lists import page as page_of_jobs

LOOK = 20_000
"""Jobs that one read of a page goes over at most, about: a page may be short."""

FIRST_LOOK = 1_000
"""What a page is tried with: where every second job matches it takes no more."""

_BEFORE_ALL = -1
_KEY, _ID, _UPDATED_AT = range(3)
"""What each row of a page begins with."""

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
        seen_to = {"source", "order", "namespace", "job_types", "resting", "ready", "held", OWN.get(self.shape.source)}
        if self.shape.source is Source.STATES:
            seen_to.add("states")
        asked = {name for name, value in self.shape._asdict().items() if value}
        return self.sight is not Sight.ALL or not asked <= seen_to

    def looks(self) -> Iterator[tuple[ListShape, int]]:
        """Along what to look, and over how many jobs; without end."""
        shape = self.shape
        if shape.ready:
            # Where many wait the newest jobs are such, and the index of those that wait has another order.
            walked = Source.QUEUES if shape.namespace or shape.job_types else Source.ALL
            yield shape._replace(source=walked), FIRST_LOOK
        else:
            yield shape, FIRST_LOOK if self.narrow or shape.held else 0
        while True:
            yield shape, LOOK if self.narrow else FIRST_LOOK


class ListReads(Reading):
    """Pages of jobs, and of their ids."""

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> JobPage:
        rows, place = await self._list(page_of_jobs, principal, where, page)
        return JobPage([reader_rows.job_view(row) for row in rows], place)

    async def job_ids(self, principal: Principal, where: JobFilter, page: Page) -> tuple[list[str], Place | None]:
        rows, place = await self._list(page_ids, principal, where, page)
        return [reader_rows.id_of(row[_ID]) for row in rows], place

    async def _list(
        self, selection: Selection, principal: Principal, where: JobFilter, page: Page
    ) -> tuple[list[Row], Place | None]:
        """The rows of a page in order, and where it ended."""
        size = min(page.size, ROWS_MAX)
        listing = _listing(principal, where, page)
        if listing.shape.by_update:
            rows = await self._rows(selection, listing, listing.shape, limit=size + 1)
            return _cut(rows, size, by_update=True) if len(rows) > size else (rows, None)
        key = await self._pass_over(listing, page.skip)
        found: list[Row] = []
        left = LOOK
        for number, (shape, look) in enumerate(listing.looks()):
            if key is None or left <= 0:
                break
            wanted = size + 1 - len(found)
            until = await self._edge(listing, shape, look, beyond=key, least=wanted - 1)
            place = _between(shape, key, until)
            found += await self._rows(selection, listing, shape, limit=wanted, **place)
            if len(found) > size:
                return _cut(found, size)
            if number and until is not None:
                # Between two keys there are no more jobs than numbers.
                left -= abs(until - key)
            key = until
        return found, None if key is None else Place(0, key)

    async def _pass_over(self, listing: _Listing, skip: int) -> int | None:
        """The key of the last job before the page; None where the list ends before."""
        key: int | None = listing.values["beyond"]
        while skip and key is not None:
            until = await self._edge(listing, listing.shape, LOOK, beyond=key, least=skip - 1)
            statement = passed_over(self._tables, listing.sight, listing.shape)
            values = {**listing.values, **_between(listing.shape, key, until), "limit": skip}
            [[count, last]] = await self._connections.rows(statement, values)
            skip -= count
            key = until if skip else last
        return key

    async def _edge(self, listing: _Listing, shape: ListShape, look: int, *, beyond: int, least: int) -> int | None:
        """Where such a look ends; None where its source does."""
        if shape.source is Source.IDS:
            return None
        values = {**listing.values, "look": look, "beyond": beyond, "least": least}
        [[until]] = await self._connections.rows(edge(self._tables, shape), values)
        found: int | None = until
        return found

    async def _rows(self, selection: Selection, listing: _Listing, shape: ListShape, **values: int) -> list[Row]:
        statement = selection(self._tables, listing.sight, shape)
        rows = await self._connections.many_rows(statement, listing.values | values)
        order = itemgetter(_UPDATED_AT, _KEY) if shape.by_update else itemgetter(_KEY)
        rows.sort(key=order, reverse=shape.descending)
        return rows


def _between(shape: ListShape, beyond: int, until: int | None) -> dict[str, int]:
    end = _BEFORE_ALL if shape.descending else KEY_MAX
    return {"beyond": beyond, "until": end if until is None else until}


def _cut(rows: list[Row], size: int, *, by_update: bool = False) -> tuple[list[Row], Place]:
    """A full page of what was read, and where it ends."""
    last = rows[size - 1]
    return rows[:size], Place(last[_UPDATED_AT] if by_update else 0, last[_KEY])


def _listing(principal: Principal, where: JobFilter, page: Page) -> _Listing:
    states = where.states
    if not states and (where.failure_kinds or where.failure_codes):
        states = frozenset(JobState) - {JobState.UNSPECIFIED} - _UNHURT
    resting = states & _RESTING
    plain = {name: value for name, value in _values(where).items() if value not in (None, frozenset())}
    shape = ListShape(
        source=_source(where, states),
        order=page.order,
        labels=len(where.labels),
        **dict.fromkeys((*plain, *(["states"] if states else [])), True),
    )
    if shape.source is Source.STATES:
        shape = shape._replace(
            resting=bool(resting), ready=JobState.PENDING in states, held=not HELD_STATES.isdisjoint(states)
        )
    descending = shape.descending
    place = page.after or (Place(KEY_MAX, KEY_MAX) if descending else Place(_BEFORE_ALL, _BEFORE_ALL))
    values: dict[str, Any] = {
        **caller(principal),
        **{name: _bound(value) for name, value in plain.items()},
        **listed_ids(where.job_ids),
        "batch_id": stored_id(where.batch_id or ""),
        "states": keys(states),
        "resting": keys(resting),
        "resting_count": len(resting),
        "after_at": place.at,
        "beyond": place.key,
        "skip": page.skip,
    }
    for number, (key, value) in enumerate(where.labels):
        values[f"label_key_{number}"], values[f"label_value_{number}"] = key, value
    return _Listing(Sight.of(principal), shape, values)


def _values(where: JobFilter) -> dict[str, Any]:
    """The conditions that are each a field of the filter and of the shape, but the states."""
    return {name: getattr(where, name) for name in JobFilter.__slots__ if name not in ("states", "labels")}


def _bound(value: Any) -> Any:
    """As a statement takes it: numbers and texts as they are, of several a list."""
    if not isinstance(value, frozenset):
        return value
    return keys(value) if isinstance(next(iter(value)), int) else listed(value)


def _source(where: JobFilter, states: frozenset[JobState]) -> Source:
    if where.job_ids:
        return Source.IDS
    if where.unique_key is not None:
        return Source.UNIQUE
    if where.batch_id is not None:
        return Source.BATCH
    if states and JobState.COMPLETED not in states:
        return Source.STATES
    return Source.QUEUES if where.namespace is not None or where.job_types else Source.ALL
