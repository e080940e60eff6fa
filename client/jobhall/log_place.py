"""A reader's place in the log of a job: which lines to ask for next; shared by both clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from jobhall.calls import Call
from jobhall.calls_insight import LogOptions, LogPageOptions, list_job_logs
from jobhall.filters import check_names
from jobhall.limits import PAGE_SIZE_MAX
from jobhall.model import Job, LogEntry, LogPage
from jobhall.model_events import WatchUpdate
from jobhall.states import EventType, JobState
from jobhall.watching import WatchOptions

POLL_SECONDS = 1.0
"""How often one who follows asks where the server has no room for its watch."""


class LogPlace:
    """Told what a watch says, it knows what there may be to read, and when there will be no more.

    Without an attempt named it begins at the one that is there, and goes on with those that follow.
    """

    def __init__(self, job_id: str, options: LogOptions) -> None:
        check_names(options, LogOptions)
        # What cannot be asked for is refused before there is a watch.
        list_job_logs(job_id, LogPageOptions(page_size=PAGE_SIZE_MAX, page_token="", skip=0, **options))
        self.over = False
        """Nothing more will be written beyond what is there now."""
        self._job_id = job_id
        self._options = options
        self._only = options.get("attempt", 0)
        self._attempt = self._only
        self._began: datetime | None = None
        self._later: deque[int] = deque()
        self._after = self._last = options.get("after_number", 0)
        self._page_token = ""
        self._unread = False

    @property
    def watch(self) -> WatchOptions:
        """What to watch, for one who follows."""
        return WatchOptions(
            job_ids=[self._job_id],
            event_types=[
                EventType.LOG,
                EventType.RUNNING,
                EventType.SCHEDULED,
                EventType.READY,
                EventType.COMPLETED,
                EventType.FAILED,
                EventType.CANCELLED,
            ],
            include_snapshot=True,
            reset_when_expired=True,
            stop_when_terminal=True,
        )

    def see(self, update: WatchUpdate) -> None:
        """Takes note of what the watch says; LOG events may be lost, so that every word of it means: look."""
        for job in update.jobs:
            self.see_job(job)
        for event in update.events:
            began = event.happened_at if event.event_type is EventType.RUNNING else None
            self._see(event.attempt, event.state, began)
        self._unread = self._unread or self._attempt > 0

    def see_job(self, job: Job) -> None:
        """Takes note of the job as it is."""
        self._see(job.attempt, job.state, job.started_at)

    def finish(self) -> None:
        """What is there now is all; where nothing was begun, it is that of the latest attempt."""
        self.over = self._unread = True

    def next_call(self) -> Call[LogPage] | None:
        """What to ask for; None while there is nothing to read."""
        if not self._unread:
            return None
        options = LogPageOptions(
            attempt=self._attempt, after_number=self._after, page_size=PAGE_SIZE_MAX, page_token=self._page_token
        )
        if level := self._options.get("min_level"):
            options["min_level"] = level
        return list_job_logs(self._job_id, options)

    def take(self, page: LogPage) -> Sequence[LogEntry]:
        """The lines of the page, its place noted."""
        if page.entries:
            self._last = page.entries[-1].number
        self._page_token = page.next_page_token
        if not self._page_token:
            self._after = self._last
            self._unread = bool(self._later)
            if self._later:
                self._attempt, self._after, self._last = self._later.popleft(), 0, 0
        return page.entries

    def _see(self, attempt: int, state: JobState, began: datetime | None) -> None:
        """Of the newest attempt known; `began` is when, where that was said."""
        self.over = self.over or state.terminal
        if self._only:
            self.over = self.over or attempt > self._only or (attempt == self._only and not state.held)
        elif attempt > self._newest:
            # A LOG event, which is best effort, may come before or after the start of its attempt.
            self._began = None
            if self._attempt:
                self._later.append(attempt)
            else:
                self._attempt = attempt
        if attempt == self._newest and began is not None:
            if self._began is not None and began > self._began:
                self._begin_again(attempt)
            self._began = max(began, self._began or began)
        self._unread = self._unread or self._attempt > 0

    def _begin_again(self, attempt: int) -> None:
        """The task was given back: the next one has the attempt's number, and counts its own lines from 1."""
        if self._later:
            return
        if self._page_token:
            self._later.append(attempt)  # The token still leads on in the log of the one before.
        else:
            self._after = self._last = 0

    @property
    def _newest(self) -> int:
        return self._later[-1] if self._later else self._attempt
