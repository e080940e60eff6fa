"""A watch's place in the log: what to ask for, at first and after a disconnect; shared by both clients."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TypedDict

from jobhall.errors import ApiError
from jobhall.filters import check_names, each
from jobhall.model import WatchUpdate
from jobhall.retry import CallRetry, may_try_again
from jobhall.states import EventType
from jobhall.v1 import event_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import watch_update_from_wire


class WatchOptions(TypedDict, total=False):
    """Which jobs to watch, all conditions together, and how."""

    namespace: str
    """Where; empty means `default`, `-` everywhere. Not looked at where job_ids are given."""
    job_ids: Iterable[str]
    """At most 1000."""
    job_types: Iterable[str]
    owner: str
    labels: dict[str, str]
    event_types: Iterable[EventType]
    """None means all but LOG."""
    cursor: str
    """The place to go on from; empty means now."""
    include_snapshot: bool
    """Send the jobs as they are first: those that match and have not ended, and all of job_ids."""
    reset_when_expired: bool
    """Where the cursor is too old, go on from now with a snapshot, instead of CURSOR_EXPIRED."""
    stop_when_terminal: bool
    """End when every job of job_ids has ended or is gone."""


class WatchPlace:
    """Where one watch is; a client asks it for the request to open a stream with, and tells it what came."""

    def __init__(self, options: WatchOptions, policy: CallRetry, *, draw: Callable[[], float] = random.random) -> None:
        check_names(options, WatchOptions)
        self._policy = policy
        self._draw = draw
        self._failures = 0
        self._answered = False
        reset = options.get("reset_when_expired", False)
        self._request = jobs_pb2.WatchJobsRequest(
            namespace=options.get("namespace", ""),
            job_ids=each(options.get("job_ids", ()), field="job_ids"),
            job_types=each(options.get("job_types", ()), field="job_types"),
            owner=options.get("owner", ""),
            labels=options.get("labels", {}),
            event_types=[event_pb2.EventType.ValueType(int(kind)) for kind in options.get("event_types", ())],
            cursor=options.get("cursor", ""),
            include_snapshot=options.get("include_snapshot", False),
            expired_cursor_action=(
                jobs_pb2.EXPIRED_CURSOR_ACTION_RESET if reset else jobs_pb2.EXPIRED_CURSOR_ACTION_ERROR
            ),
            stop_when_terminal=options.get("stop_when_terminal", False),
        )

    @property
    def ends(self) -> bool:
        """Whether a stream that the server ended well is the end of the watch; else it is to be opened again."""
        return self._request.stop_when_terminal

    def request(self) -> jobs_pb2.WatchJobsRequest:
        """What to open the next stream with: the place reached, and the snapshot where it is not whole yet."""
        request = jobs_pb2.WatchJobsRequest()
        request.CopyFrom(self._request)
        return request

    def take(self, response: jobs_pb2.WatchJobsResponse) -> WatchUpdate:
        """The update, its place noted."""
        self._failures, self._answered = 0, True
        self._request.cursor = response.cursor
        if response.cursor_reset:
            self._request.include_snapshot = True
        if response.snapshot_complete:
            self._request.include_snapshot = False
        return watch_update_from_wire(response)

    def delay_seconds(self, error: ApiError | None) -> float:
        """How long to wait before the stream is opened again; raises the error where that is no use.

        A watch that was answered once is resumed for ever; before that the retry policy's patience holds.
        """
        self._failures += 1
        if error is None:
            return self._policy.backoff_seconds(self._failures, draw=self._draw)
        if self._answered and may_try_again(error):
            return self._policy.backoff_seconds(self._failures, draw=self._draw)
        delay = self._policy.delay_seconds(error, attempt=self._failures, remaining_seconds=None, draw=self._draw)
        if delay is None:
            raise error
        return delay
