"""A watch's place in the log: what to ask for, at first and after a disconnect; shared by both clients."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jobhall.calls_events import EventOptions, conditions
from jobhall.errors import ApiError, Code, CursorExpiredError, CursorMismatchError, WatcherLimitError
from jobhall.filters import check_names
from jobhall.misfits import names_misfits
from jobhall.model_events import JobEvent, WatchUpdate
from jobhall.retry import CallRetry, passes
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import watch_update_from_wire

_logger = logging.getLogger(__name__)

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_CLOCK_STEP_MAX = timedelta(minutes=1)
"""How far the server's clock may have been set back while the snapshot was read."""


class WatchOptions(EventOptions, total=False):
    """Which jobs to watch, all conditions together, and how."""

    include_snapshot: bool
    """Send the jobs as they are first: those that match and have not ended, and all of job_ids."""
    reset_when_expired: bool
    """Where the log does not lead on from the cursor, too old or not of this log, go on from now with a snapshot, and
    say `reset`, instead of CursorExpiredError and CursorMismatchError.
    """
    stop_when_terminal: bool
    """End when every job of job_ids has ended or is gone; of a batch, when it is closed and all its jobs have ended."""


class WatchPlace:
    """Where one watch is; a client asks it for the request to open a stream with, and tells it what came."""

    @names_misfits
    def __init__(self, options: WatchOptions, policy: CallRetry, *, draw: Callable[[], float] = random.random) -> None:
        check_names(options, WatchOptions)
        self._policy = policy
        self._draw = draw
        self._failures = 0
        self._answered = False
        self._resets = options.get("reset_when_expired", False)
        self._reset = False
        """The next update is the first of a watch begun anew."""
        self.stopped = False
        """Nobody reads it any more."""
        self._cancel: Callable[[], object] = bool
        self._told: dict[str, int] = {}
        """Revisions that the snapshot told; events up to them are old news. A newer event of the job clears its own."""
        self._told_until = _LONG_AGO
        """When the newest of them was made; one event that is newer by far clears them all, a million if need be."""
        self._request = jobs_pb2.WatchJobsRequest(
            include_snapshot=options.get("include_snapshot", False),
            expired_cursor_action=(
                jobs_pb2.EXPIRED_CURSOR_ACTION_RESET if self._resets else jobs_pb2.EXPIRED_CURSOR_ACTION_ERROR
            ),
            stop_when_terminal=options.get("stop_when_terminal", False),
            **conditions(options),
        )

    @property
    def ends(self) -> bool:
        """Whether a stream that the server ended well is the end of the watch; else it is to be opened again."""
        return self._request.stop_when_terminal

    @property
    def silence_seconds(self) -> float:
        """How long to wait for the next message before the stream is given up and opened again."""
        return self._policy.silence_max.total_seconds()

    @property
    def open(self) -> bool:
        """Whether it was answered and its stream has not broken since."""
        return self._answered and not self._failures

    def opened(self, cancel: Callable[[], object]) -> None:
        """Takes note of how to cancel the stream that was opened."""
        self._cancel = cancel
        if self.stopped:
            cancel()

    def stop(self) -> None:
        """Ends the watch; may be called from any thread, and more than once."""
        self.stopped = True
        self._cancel()

    def request(self) -> jobs_pb2.WatchJobsRequest:
        """What to open the next stream with: the place reached, and the snapshot where it is not whole yet."""
        request = jobs_pb2.WatchJobsRequest()
        request.CopyFrom(self._request)
        return request

    def take(self, response: jobs_pb2.WatchJobsResponse) -> WatchUpdate:
        """The update without what is old news, its place noted."""
        if self._failures and self._answered:
            _logger.info("the watch goes on")
        self._failures, self._answered = 0, True
        self._request.cursor = response.cursor
        update = watch_update_from_wire(response)
        if self._reset:
            self._reset = False
            update = replace(update, reset=True)
        if update.reset:
            self._request.include_snapshot = True
            self._told.clear()
        if self._told and update.events:
            update = replace(update, events=tuple([event for event in update.events if self._is_news(event)]))
        # The events of an update with a page of the snapshot, if there ever are any, are older than the page.
        for job in update.jobs:
            self._told[job.id] = job.revision
            self._told_until = max(self._told_until, job.updated_at or _LONG_AGO)
        if update.snapshot_complete:
            self._request.include_snapshot = False
        return update

    def silent(self) -> ApiError:
        """What a stream ends with on which nothing was heard for `silence_seconds`."""
        return ApiError(f"the watch was silent for {self.silence_seconds:g} s", code=Code.UNAVAILABLE)

    def delay_seconds(self, error: ApiError | None) -> float:
        """How long to wait before the stream is opened again; raises the error where that is no use.

        A watch that was answered once is resumed for ever; before that the retry policy's patience holds.
        """
        if self._resets and isinstance(error, CursorExpiredError | CursorMismatchError) and self._request.cursor:
            self._begin_anew()
            return 0.0
        self._failures += 1
        if error is None:
            return self._policy.backoff_seconds(self._failures, draw=self._draw)
        if self._answered and _is_outlived(error):
            if self._failures == 1:
                why = error.reason or error.code.name
                _logger.info("the watch lost its stream (%s); it goes on from its place when a server answers", why)
            return self._policy.backoff_seconds(self._failures, draw=self._draw)
        delay = self._policy.delay_seconds(error, attempt=self._failures, remaining_seconds=None, draw=self._draw)
        if delay is None:
            raise error
        return delay

    def _begin_anew(self) -> None:
        self._request.cursor = ""
        self._request.include_snapshot = self._reset = True
        self._told.clear()

    def _is_news(self, event: JobEvent) -> bool:
        if not event.revision:
            return True
        if event.happened_at is not None and event.happened_at - self._told_until > _CLOCK_STEP_MAX:
            # Events come in the order of commits.
            self._told.clear()
            return True
        told = self._told.get(event.job_id)
        if told is None:
            return True
        if event.revision <= told:
            return False
        del self._told[event.job_id]
        return True


def _is_outlived(error: ApiError) -> bool:
    """Whether a watch that was answered goes on after it.

    Proxies end streams for their age or for reasons of their own; and the last room may be held by the watch's own old
    stream, in which the server still believes.
    """
    return passes(error) or error.code is Code.UNKNOWN or isinstance(error, WatcherLimitError)
