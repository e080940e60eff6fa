"""WatchJobs and ListJobEvents: the requests decoded; every update encoded, in messages that can be sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from functools import lru_cache

from jobhall.errors import FieldInvalidError
from jobhall.limits import MESSAGE_BYTES_MAX, WATCH_JOB_IDS_MAX, WATCH_JOB_TYPES_MAX
from jobhall.states import EventType
from jobhall.v1.job_service_pb2 import (
    EXPIRED_CURSOR_ACTION_ERROR,
    EXPIRED_CURSOR_ACTION_RESET,
    EXPIRED_CURSOR_ACTION_UNSPECIFIED,
    ListJobEventsRequest,
    ListJobEventsResponse,
    WatchJobsRequest,
    WatchJobsResponse,
)
from jobhall_server.hall import checks, tokens
from jobhall_server.hall.event_log import list_events
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.watch import WatchRequest, WatchUpdate, watch
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import STORED
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_events import EVENT_TYPES, event_out, event_wire
from jobhall_server.rpc.convert_jobs import basic_job_out
from jobhall_server.rpc.pages import page_size_in
from jobhall_server.rpc.streams import Stream

_ACTIONS = {
    EXPIRED_CURSOR_ACTION_UNSPECIFIED: False,
    EXPIRED_CURSOR_ACTION_ERROR: False,
    EXPIRED_CURSOR_ACTION_RESET: True,
}
_PART_BYTES_MAX = MESSAGE_BYTES_MAX // 2


async def serve_watch(hall: Hall, request: WatchJobsRequest, stream: Stream) -> None:
    """One call."""
    wanted, log_id = watch_in(request), hall.feed.log_id
    async with aclosing(watch(hall.feed, hall.store.reads, principal(), wanted)) as updates:
        async for update in updates:
            if len(update.events) == 1:
                # The usual word: no more than its cursor before the bytes that all its watchers share.
                await stream.write(_head(log_id, update.after) + event_wire(update.events[0]))
                continue
            for part in update_out(log_id, update):
                await stream.write(part)


async def serve_events(hall: Hall, request: ListJobEventsRequest) -> ListJobEventsResponse:
    """A page of the log."""
    page = await list_events(
        hall.feed,
        hall.store.reads,
        principal(),
        where=where_in(request),
        event_types=_event_types(request.event_types, default=STORED),
        cursor=request.cursor,
        size=page_size_in(request.page_size),
    )
    response, size = ListJobEventsResponse(cursor=page.start, end_reached=page.end_reached), 0
    for event in page.events:
        message = event_out(event)
        size += message.ByteSize() + 8
        if size > _PART_BYTES_MAX and response.events:
            response.end_reached = False
            return response
        response.events.append(message)
        response.cursor = tokens.cursor(hall.feed.log_id, event.row.number)
    response.cursor = page.cursor
    return response


def watch_in(request: WatchJobsRequest) -> WatchRequest:
    """What the caller watches."""
    if request.expired_cursor_action not in _ACTIONS:
        raise FieldInvalidError("expired_cursor_action", f"{request.expired_cursor_action} is no such action")
    return WatchRequest(
        where=where_in(request),
        event_types=_event_types(request.event_types, default=STORED | {EventType.PROGRESS}),
        cursor=request.cursor,
        include_snapshot=request.include_snapshot,
        reset_when_expired=_ACTIONS[request.expired_cursor_action],
        stop_when_terminal=request.stop_when_terminal,
    )


def where_in(request: WatchJobsRequest | ListJobEventsRequest) -> WatchFilter:
    """Which jobs the caller means."""
    if len(request.job_ids) > WATCH_JOB_IDS_MAX:
        raise FieldInvalidError("job_ids", f"has {len(request.job_ids)} ids; the limit is {WATCH_JOB_IDS_MAX}")
    checks.check_count(len(request.job_types), WATCH_JOB_TYPES_MAX, "job_types")
    checks.check_labels(request.labels, "labels")
    job_types = (checks.check_job_type(name, f"job_types[{place}]") for place, name in enumerate(request.job_types))
    job_ids = (checks.job_id(text, f"job_ids[{place}]") for place, text in enumerate(request.job_ids))
    anywhere = request.job_ids or request.batch_id
    return WatchFilter(
        namespace=None if anywhere else checks.listed_namespace(request.namespace, "namespace"),
        job_ids=frozenset(job_ids),
        batch_id=checks.job_id(request.batch_id, "batch_id") if request.batch_id else "",
        job_types=frozenset(job_types),
        owner=request.owner,
        labels=tuple(sorted(request.labels.items())),
    )


def update_out(log_id: str, update: WatchUpdate) -> Iterator[bytes]:
    """The update as one message or, where it is too large, as several, each with the cursor right after it."""
    if update.jobs or update.snapshot_complete:
        yield from _snapshot_out(log_id, update)
        return
    parts: list[bytes] = []
    size, at = 0, update.before
    for event in update.events:
        wire = event_wire(event)
        if parts and size + len(wire) > _PART_BYTES_MAX:
            yield _head(log_id, at) + b"".join(parts)
            parts, size = [], 0
        parts.append(wire)
        size += len(wire)
        at = event.row.number or at
    head = _head(log_id, update.after)
    if update.reset:
        head += WatchJobsResponse(cursor_reset=True).SerializeToString()
    yield head + b"".join(parts)


def _snapshot_out(log_id: str, update: WatchUpdate) -> Iterator[bytes]:
    cursor = tokens.cursor(log_id, update.after)
    response, size = WatchJobsResponse(cursor=cursor), 0
    for job in update.jobs:
        message = basic_job_out(job)
        length = message.ByteSize() + 8
        if response.snapshot_jobs and size + length > _PART_BYTES_MAX:
            yield response.SerializeToString()
            response, size = WatchJobsResponse(cursor=cursor), 0
        response.snapshot_jobs.append(message)
        size += length
    response.snapshot_complete = update.snapshot_complete
    yield response.SerializeToString()


@lru_cache(maxsize=256)
def _head(log_id: str, number: int) -> bytes:
    """A response that has nothing but its cursor."""
    return WatchJobsResponse(cursor=tokens.cursor(log_id, number)).SerializeToString()


def _event_types(numbers: Sequence[int], *, default: frozenset[EventType]) -> frozenset[EventType]:
    if not numbers:
        return default
    for place, number in enumerate(numbers):
        if number not in EVENT_TYPES:
            raise FieldInvalidError(f"event_types[{place}]", f"{number} is no event type")
    return frozenset(EVENT_TYPES[number] for number in numbers)
