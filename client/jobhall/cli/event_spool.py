"""The log of events by job: read once, from its old end on, and kept on the disk, so that it may be of any length."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from jobhall.errors import CursorExpiredError
from jobhall.limits import PAGE_SIZE_MAX
from jobhall.model import Job
from jobhall.model_events import JobEvent

if TYPE_CHECKING:
    from jobhall.calls_events import EventOptions, EventPageOptions
    from jobhall.client import Client

_CLOCKS_APART_MAX = timedelta(minutes=1)
"""Of the replicas of one server."""


class EventSpool:
    """Told which events, it reads on in the log when a job is newer than what it has read; used in `with`."""

    def __init__(self, client: Client, options: EventOptions) -> None:
        self._client = client
        self._asked: EventPageOptions = {**options, "page_size": PAGE_SIZE_MAX, "cursor": ""}
        self._newest: datetime | None = None
        # A database without a name is a file that goes away with it.
        self._store = sqlite3.connect("")
        self._store.execute("CREATE TABLE event (job_id, revision, document, PRIMARY KEY (job_id, revision))")

    def of(self, job: Job) -> tuple[JobEvent, ...]:
        """The job's events as far as the log reaches back, none that came after the job was read."""
        events = self._read(job)
        known = events[-1].revision if events else 0
        if known < job.revision and self._may_lack(job):
            self._go_on()
            events = self._read(job)
        return events

    def close(self) -> None:
        """Forgets them."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _read(self, job: Job) -> tuple[JobEvent, ...]:
        found = self._store.execute(
            "SELECT document FROM event WHERE job_id = ? AND revision <= ? ORDER BY revision", (job.id, job.revision)
        )
        return tuple(JobEvent.from_dict(json.loads(document)) for (document,) in found)

    def _may_lack(self, job: Job) -> bool:
        if self._newest is None or job.updated_at is None:
            return True
        return job.updated_at > self._newest - _CLOCKS_APART_MAX

    def _go_on(self) -> None:
        while True:
            try:
                page = self._client.jobs.events_page(**self._asked)
            except CursorExpiredError:
                if not self._asked["cursor"]:
                    raise
                self._asked["cursor"] = ""  # What the log lost meanwhile is lost here too, unless it was read before.
                continue
            rows = [(it.job_id, it.revision, json.dumps(it.to_dict())) for it in page.events]
            self._store.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?)", rows)
            self._newest = max((it.happened_at for it in page.events if it.happened_at), default=self._newest)
            self._asked["cursor"] = page.cursor
            if page.end_reached:
                return
