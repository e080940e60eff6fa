"""Watchers of every kind: each holds its cursor across cuts and servers, and must be told exactly what the log has."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Protocol

from jobhall.errors import ApiError, BatchNotFoundError
from jobhall.states import EventType, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall import feed, tokens, watch_queue
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import EventRow
from jobhall_server.hall.watch import WatchRequest, WatchUpdate, watch
from jobhall_server.hall.watch_filter import WatchFilter
from tests.support.memory.tables import Row, Tables
from tests.support.simulation.calls import Service
from tests.support.simulation.clients import id_of
from tests.support.simulation.conditions import PromiseBrokenError
from tests.support.simulation.managers import batch_id_of
from tests.support.simulation.network import Weather
from tests.support.simulation.timeline import Process

QUEUED_MAX, READ_AT_ONCE = 3, 5
"""Small, so that a few events are more than a queue or a part of the log holds."""


CUTS_SECONDS = 30.0
"""So long its streams are cut after a few messages: for ever, and it might never get on."""


class Listener(Service, Protocol):
    """Who is told when a watcher was told what it should not have been."""

    def misled(self, error: PromiseBrokenError) -> None:
        """A promise is broken."""


class SimulatedWatcher:
    """One of them; `snapshot` begins with the jobs as they are, and `where` says which."""

    def __init__(
        self, listener: Listener, process: Process, chance: Random, where: WatchFilter, *, snapshot: bool
    ) -> None:
        self._listener = listener
        self._process = process
        self._chance = chance
        self._weather = Weather(chance)
        self._steady_at = process.time() + CUTS_SECONDS
        self._where = where
        self._snapshot = self._with_snapshot = snapshot
        self._asked: Process | None = None
        self._cursor = ""
        self._call = 0
        self._first = -1
        """The event after which it began."""
        self._gone = False
        """Its batch was not there when it last asked."""
        self._told: list[tuple[int, EventType]] = []
        self._model: dict[str, tuple[int, JobState]] = {}
        """What it takes the jobs to be: their revisions and states."""
        process.call_soon(self._look)

    # --- what it does ---

    def _look(self) -> None:
        """Now and then: is there a server, and is it the one that was asked?"""
        server = self._listener.server()
        if server is not None and server.process is not self._asked:
            self._asked = server.process
            self._call += 1
            server.perform(self._watching(self._call), self._over(self._call))
        self._process.call_later(1.0, self._look)

    def _watching(self, call: int) -> Callable[[Hall], Awaitable[None]]:
        """A stream, until it is cut after some messages."""
        request = WatchRequest(self._where, cursor=self._cursor, include_snapshot=self._snapshot)
        left = self._chance.choice((1, 2, 5, 50)) if self._process.time() < self._steady_at else 0

        async def follow(hall: Hall) -> None:
            nonlocal left
            async for update in watch(hall.feed, hall.store.reads, ANYBODY, request):
                cursor = tokens.cursor(hall.feed.log_id, update.after)
                self._process.call_later(self._weather.delay_seconds, self._hear, call, update, cursor)
                left -= 1
                if left == 0:
                    return

        return follow

    def _over(self, call: int) -> Callable[[object], None]:
        """The call ended: the next one goes on at the cursor."""

        def over(answer: object) -> None:
            # What is refused for another reason tells nothing of it.
            self._gone = self._gone or isinstance(answer, BatchNotFoundError)
            if isinstance(answer, ApiError) and not self._gone:
                self._process.call_later(self._weather.delay_seconds, forget)
            else:
                self._process.call_later(self._chance.choice((0.002, 0.002, 0.1, 1.0)), forget)

        def forget() -> None:
            if call == self._call:
                self._asked = None

        return over

    def _hear(self, call: int, update: WatchUpdate, cursor: str) -> None:
        if call != self._call:
            return
        if self._first < 0:
            self._first = update.after
        self._gone = False
        self._cursor = cursor
        for job in update.jobs:
            self._model[job.job_id] = (job.revision, job.state)
        if update.snapshot_complete:
            self._snapshot = False
        for event in update.events:
            if event.row.number:
                self._note(event.row)

    def _note(self, row: EventRow) -> None:
        if self._told and row.number <= self._told[-1][0]:
            self._listener.misled(
                PromiseBrokenError(f"{self._name} was told event {row.number} after {self._told[-1][0]}")
            )
        self._told.append((row.number, row.event_type))
        if row.event_type in (EventType.DELETED, EventType.LEFT):
            self._model.pop(row.job_id, None)
        elif row.revision > self._model.get(row.job_id, (0, None))[0]:
            self._model[row.job_id] = (row.revision, row.state)

    # --- what it must have been told ---

    def judge_end(self, tables: Tables) -> None:
        """After the last word is said."""
        if self._first < 0:
            if not self._gone:
                raise PromiseBrokenError(f"{self._name} was never answered")
            return
        seen = ((number, seen_as(self._where, row)) for number, row in tables.events.items() if number > self._first)
        wanted = [(number, kind) for number, kind in seen if kind is not None]
        if self._gone:
            # Who comes again after its batch was deleted is told that, and no more.
            wanted = wanted[: len(self._told)]
        if self._told != wanted:
            missed = sorted(set(wanted) - set(self._told))[:5]
            odd = sorted(set(self._told) - set(wanted))[:5]
            raise PromiseBrokenError(f"{self._name}, from {self._first} on, missed {missed}, and was told {odd}")
        if self._with_snapshot and not self._snapshot and not self._gone:
            self._judge_model(tables)

    def _judge_model(self, tables: Tables) -> None:
        gone = {row.job_id for row in tables.events.values() if row.event_type is EventType.DELETED}
        for row in tables.jobs.values():
            # An id that was used before may be another job's, whose revisions began anew.
            if row["job_id"] not in gone and _job_matches(self._where, tables, row):
                known = self._model.get(row["job_id"])
                now = (row["revision"], row["state"])
                last = max(number for number, event in tables.events.items() if event.job_key == row["key"])
                ended_before = last <= self._first and not self._where.job_ids
                if known != now and not (known is None and ended_before):
                    raise PromiseBrokenError(f"{self._name} takes {row['job_id']} for {known}, and it is {now}")

    @property
    def _name(self) -> str:
        return f"the watcher of {self._where}"


def watchers_of_all_kinds(
    listener: Listener, process_of: Callable[[str], Process], chance_of: Callable[[str], Random]
) -> list[SimulatedWatcher]:
    """One of everything, and two of less."""
    chance = chance_of("watchers")
    narrow = [
        WatchFilter(namespace="default"),
        WatchFilter(job_ids=frozenset(id_of(number) for number in chance.sample(range(6), 3))),
        WatchFilter(namespace="default", batch_id=batch_id_of(0)),
        WatchFilter(namespace="default", job_types=frozenset(("work",))),
        WatchFilter(labels=(("team", "red"),)),
        WatchFilter(namespace="default", owner=ANYBODY.subject, labels=(("team", "blue"),)),
        WatchFilter(namespace="elsewhere"),
    ]
    return [
        SimulatedWatcher(listener, process_of(name), chance_of(name), where, snapshot=chance.random() < 0.5)
        for name, where in (
            ("watcher", WatchFilter()),
            *zip(("second", "third"), chance.sample(narrow, 2), strict=True),
        )
    ]


def seen_as(where: WatchFilter, row: EventRow) -> EventType | None:
    """As what this watcher is to be told of it; told again by hand."""
    stays = (
        (row.job_id in where.job_ids if where.job_ids else True)
        and where.namespace in (None, row.namespace)
        and where.batch_id in ("", row.batch_id)
        and (row.job_type in where.job_types if where.job_types else True)
        and where.owner in ("", row.owner)
    )
    if not stays:
        return None
    previous = json.loads(row.previous) if row.previous else {}
    has = _labelled(where, row.labels)
    had = _labelled(where, previous["labels"]) if "labels" in previous else has
    if had == has:
        return row.event_type if has else None
    return EventType.ENTERED if has else EventType.LEFT


def _labelled(where: WatchFilter, text: str | None) -> bool:
    return set(where.labels) <= set((json.loads(text) if text else {}).items())


def _job_matches(where: WatchFilter, tables: Tables, row: Row) -> bool:
    newest = max((event for event in tables.events.values() if event.job_key == row["key"]), key=lambda one: one.number)
    return seen_as(where, newest._replace(previous=None, labels=row["labels"])) is not None


@contextmanager
def small_bounds() -> Iterator[None]:
    """Within the block a watcher falls behind after a few events."""
    before = watch_queue.QUEUED_MAX, feed.READ_AT_ONCE
    watch_queue.QUEUED_MAX, feed.READ_AT_ONCE = QUEUED_MAX, READ_AT_ONCE
    try:
        yield
    finally:
        watch_queue.QUEUED_MAX, feed.READ_AT_ONCE = before
