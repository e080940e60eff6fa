"""The queries of this engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import itemgetter
from typing import TypeVar

from jobhall.states import HELD_STATES, WAITING_STATES, JobState
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.job import JobView, Lease
from jobhall_server.domain.session import SessionRecord, SessionState
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import (
    Expired,
    HeldRow,
    JobFilter,
    JobPage,
    JobTypeView,
    ListOrder,
    LogFilter,
    LogPlace,
    LogSlice,
    Page,
    QueueView,
    SessionView,
)
from jobhall_server.hall.views import Place as ListPlace
from jobhall_server.storage.statements_read_log import LOOKED_AT_MAX
from jobhall_server.storage.statements_write import PAUSE_US
from tests.support.memory.conditions import DESCENDING, is_asked_for, matches, place_of
from tests.support.memory.management import ManagementReads
from tests.support.memory.rows import view_of
from tests.support.memory.tables import Row, Session, Tables

T = TypeVar("T")

ROWS_MAX = 1000

_TOLD = "due_at cancel_reason job_id queue_key owner organization_id labels type_version"


class MemoryReads(ManagementReads, Reads):
    """`hall.store.Reads` over the tables. One process serves them: every other replica is gone."""

    def __init__(self, tables: Tables, *, now: Callable[[], int], replica_key: Callable[[], int]) -> None:
        super().__init__(tables, now)
        self._replica_key = replica_key

    # --- jobs ---

    async def job(self, principal: Principal, job_id: str, *, full: bool = True) -> JobView | None:
        return next(iter(await self.jobs_by_id(principal, [job_id], full=full)), None)

    async def jobs_by_id(self, principal: Principal, job_ids: Sequence[str], *, full: bool = False) -> list[JobView]:
        keys = [self._tables.keys_of_ids.get(job_id) for job_id in dict.fromkeys(job_ids)]
        rows = self._visible(principal, [self._tables.jobs[key] for key in keys if key is not None])
        return [view_of(self._tables, row, full=full) for row in rows]

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> JobPage:
        rows = self._visible(principal, self._tables.jobs.values())
        views = [view_of(self._tables, row, full=False) for row in rows]
        found = [(place_of(view, page.order), view) for view in views if matches(view, where)]
        found.sort(key=itemgetter(0), reverse=page.order in DESCENDING)
        left = [one for one in found if page.after is None or _lies_after(one[0], page.after, page.order)]
        taken = left[page.skip : page.skip + min(page.size, ROWS_MAX)]
        more = len(left) > page.skip + len(taken)
        return JobPage([view for _, view in taken], taken[-1][0] if more and taken else None)

    async def job_ids(self, principal: Principal, where: JobFilter, page: Page) -> tuple[list[str], ListPlace | None]:
        found = await self.jobs(principal, where, page)
        return [job.job_id for job in found.jobs], found.next

    def _visible(self, principal: Principal, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if may_touch(principal, owner=row["owner"], organization_id=row["organization_id"])]

    # --- the log and the names ---

    async def log_place(self) -> LogPlace:
        last = self._tables.counters.get("event", 0)
        return LogPlace(self._tables.log_id, min(self._tables.events, default=last + 1), last)

    async def log(self, where: LogFilter, *, after: int, limit: int, until: int | None = None) -> LogSlice:
        _, first, last, _ = await self.log_place()
        limit = min(limit, ROWS_MAX)
        end = min(last if until is None else until, last, max(first, after + 1) + LOOKED_AT_MAX)
        events = (self._tables.events.get(number) for number in range(max(first, after + 1), end + 1))
        rows = list(islice((event for event in events if event is not None and is_asked_for(event, where)), limit))
        return LogSlice(first, last, rows[-1].number if len(rows) == limit else end, rows)

    async def job_keys_of(self, job_ids: Sequence[str]) -> dict[str, int]:
        known = self._tables.keys_of_ids
        return {job_id: known[job_id] for job_id in job_ids if job_id in known}

    async def job_types(self, namespace: str | None = None) -> list[JobTypeView]:
        tables = self._tables
        views = [known for known in tables.types.values() if not known.retired]
        views.sort(key=lambda view: (view.namespace, view.name))
        return [view for view in views if namespace in (None, view.namespace)]

    async def job_types_mark(self) -> tuple[int, int]:
        types = self._tables.types.values()
        return len(types), sum(known.revision for known in types)

    async def queues(self, *, after_key: int = 0) -> list[QueueView]:
        tables = self._tables
        views = []
        for key in sorted(tables.queues.values()):
            if key > after_key:
                namespace_key, of_type, name = tables.queue(key)
                names = (tables.namespace(namespace_key), tables.namespace(of_type))
                views.append(QueueView(key, namespace_key, *names, name))
        return views

    # --- what the server looks after ---

    async def expired(self, *, ttl_us: int) -> Expired:
        now, tables = self._now(), self._tables
        served_us = self._served_us(now)
        served = served_us >= ttl_us
        sessions = [session.record for session in tables.sessions.values()]
        over = {one.key for one in sessions if one.ended_at is not None}
        due = [row for row in tables.jobs.values() if row["due_at"] is not None and row["due_at"] <= now]
        due.sort(key=lambda row: (row["due_at"], row["key"]))
        return Expired(
            sessions=_bounded(one.key for one in sessions if _silent(one, now, ttl_us, served_us)),
            held=_bounded((row["key"], row["held_by"]) for row in tables.jobs.values() if row["held_by"] in over),
            stale=_bounded(
                one.key
                for one in sessions
                if one.state is SessionState.ATTACHED and one.replica_key != self._replica_key()
            ),
            due=_bounded(row["key"] for row in due if served or row["state"] in WAITING_STATES),
            drained=_bounded(one.key for one in sessions if served and _to_be_gone(one, now)),
        )

    def _served_us(self, now: int) -> int:
        """For how long the service has been there; a pause that nobody has written down yet counts as one."""
        resumed_at, last_at = self._tables.served[None]
        return now - resumed_at if last_at >= now - PAUSE_US else 0

    async def held(self, session_keys: Sequence[int]) -> list[HeldRow]:
        wanted = frozenset(session_keys)
        rows = [row for row in self._tables.jobs.values() if row["held_by"] in wanted]
        rows.sort(key=lambda row: (row["held_by"], row["key"]))
        return [self._held_row(row) for row in rows]

    def _held_row(self, row: Row) -> HeldRow:
        assert row["state"] in HELD_STATES
        batch = self._tables.batches.get(row["batch_key"])
        return HeldRow(
            lease=Lease(row["key"], row["fence"], row["nonce"]),
            session_key=row["held_by"],
            epoch=self._tables.sessions[row["held_by"]].record.epoch,
            state=row["state"],
            attempt=row["attempt"] + (row["state"] is JobState.CLAIMED),
            **{name: row[name] for name in _TOLD.split()},
            batch_id=batch.batch_id if batch else "",
        )

    async def session(self, session_id: str) -> SessionView | None:
        found = [one for one in self._living() if one.record.session_id == session_id]
        return self._session_view(found[0]) if found else None

    async def sessions(self, *, after_key: int | None, limit: int) -> list[SessionView]:
        living = sorted(self._living(), key=lambda one: -one.record.key)
        page = [one for one in living if after_key is None or one.record.key < after_key]
        return [self._session_view(one) for one in page[:limit]]

    def _living(self) -> list[Session]:
        return [session for session in self._tables.sessions.values() if session.record.state.alive]

    def _session_view(self, session: Session) -> SessionView:
        record, about, _ = session
        held = sum(1 for row in self._tables.jobs.values() if row["held_by"] == record.key)
        renewed = self._tables.replicas.get(record.replica_key, session.created_at)
        return SessionView(
            record=record,
            worker_name=about.worker_name,
            namespaces=about.namespaces,
            job_types=about.job_types,
            labels=json.loads(about.labels),
            runtime=json.loads(about.runtime),
            tasks_max=about.tasks_max,
            created_at=session.created_at,
            held_count=held,
            seen_at=renewed if record.detached_at is None else record.detached_at,
        )


def _silent(session: SessionRecord, now: int, ttl_us: int, served_us: int) -> bool:
    """Whether its time to live is over, and the service was there for all of it."""
    if session.state is not SessionState.DETACHED or session.detached_at is None:
        return False
    own_us = ttl_us if session.ttl_us is None else session.ttl_us
    return session.detached_at <= now - own_us and served_us >= max(own_us, ttl_us)


def _to_be_gone(session: SessionRecord, now: int) -> bool:
    return session.state.alive and session.drain_at is not None and session.drain_at <= now


def _bounded(found: Iterable[T]) -> tuple[T, ...]:
    return tuple(found)[:ROWS_MAX]


def _lies_after(place: ListPlace, after: ListPlace, order: ListOrder) -> bool:
    return place < after if order in DESCENDING else place > after
