"""WatchJobs: the request decoded, and every update of the hall's watch encoded, in messages that can be sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from jobhall.errors import FieldInvalidError
from jobhall.limits import MESSAGE_BYTES_MAX, WATCH_JOB_IDS_MAX
from jobhall.states import EventType
from jobhall.v1 import event_pb2, job_service_pb2
from jobhall.v1.job_service_pb2 import WatchJobsResponse
from jobhall_server.hall import checks
from jobhall_server.hall.feed import WatchEvent
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import JobFilter
from jobhall_server.hall.watch import WatchRequest, WatchUpdate, watch
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert import progress_out, refuse_set, timestamp
from jobhall_server.rpc.convert_jobs import basic_job_out, log_line_out
from jobhall_server.rpc.pages import how_many_fit

M = TypeVar("M", bound=Message)

_EVENT_TYPES = {int(kind): kind for kind in EventType if kind}
_DEFAULT_EVENT_TYPES = frozenset(_EVENT_TYPES.values()) - {EventType.LOG}
_ACTIONS = {
    job_service_pb2.EXPIRED_CURSOR_ACTION_UNSPECIFIED: False,
    job_service_pb2.EXPIRED_CURSOR_ACTION_ERROR: False,
    job_service_pb2.EXPIRED_CURSOR_ACTION_RESET: True,
}


async def serve_watch(hall: Hall, request: job_service_pb2.WatchJobsRequest) -> AsyncIterator[WatchJobsResponse]:
    """The responses of one call."""
    before = ""
    async for update in watch(hall.feed, hall.store.reads, principal(), request_in(request)):
        for response in update_out(update, before=before):
            yield response
        before = update.cursor


def request_in(request: job_service_pb2.WatchJobsRequest) -> WatchRequest:
    """What the caller watches."""
    refuse_set(request, ("batch_id",))
    if len(request.job_ids) > WATCH_JOB_IDS_MAX:
        raise FieldInvalidError("job_ids", f"has {len(request.job_ids)} ids; the limit is {WATCH_JOB_IDS_MAX}")
    checks.check_labels(request.labels, "labels")
    if request.expired_cursor_action not in _ACTIONS:
        raise FieldInvalidError("expired_cursor_action", f"{request.expired_cursor_action} is no such action")
    job_ids = frozenset(checks.job_id(text, f"job_ids[{place}]") for place, text in enumerate(request.job_ids))
    namespace = None if job_ids else checks.listed_namespace(request.namespace, "namespace")
    return WatchRequest(
        where=JobFilter(
            namespace=namespace,
            job_ids=job_ids,
            job_types=frozenset(request.job_types),
            owners=frozenset((request.owner,)) if request.owner else frozenset(),
            labels=tuple(sorted(request.labels.items())),
        ),
        event_types=_event_types(request.event_types),
        cursor=request.cursor,
        include_snapshot=request.include_snapshot,
        reset_when_expired=_ACTIONS[request.expired_cursor_action],
        stop_when_terminal=request.stop_when_terminal,
    )


def update_out(update: WatchUpdate, *, before: str) -> Iterator[WatchJobsResponse]:
    """The update as one message, or as several where it is too large.

    Only the last one carries its cursor, the others the one from `before` it: who resumes there hears some once more,
    and misses nothing.
    """
    events = [event_out(event) for event in update.events]
    jobs = [basic_job_out(job) for job in update.jobs]
    reset = update.reset
    while len(events) + len(jobs) > 1 and _size(events) + _size(jobs) > MESSAGE_BYTES_MAX:
        if jobs:
            head, jobs = _cut(jobs)
            yield WatchJobsResponse(cursor=before, snapshot_jobs=head, cursor_reset=reset)
        else:
            first, events = _cut(events)
            yield WatchJobsResponse(cursor=before, events=first, cursor_reset=reset)
        reset = False
    yield WatchJobsResponse(
        cursor=update.cursor,
        events=events,
        snapshot_jobs=jobs,
        snapshot_complete=update.snapshot_complete,
        cursor_reset=reset,
    )


def event_out(event: WatchEvent) -> event_pb2.JobEvent:
    """One event."""
    row = event.row
    message = event_pb2.JobEvent(
        event_type=int(row.event_type),  # type: ignore[arg-type]  # equal numbers, proven by a test
        job_id=row.job_id,
        revision=row.revision,
        namespace=row.namespace,
        job_type=row.job_type,
        state=int(row.state),  # type: ignore[arg-type]
        attempt=row.attempt,
        worker_name=row.worker,
        failure_kind=int(row.failure_kind),  # type: ignore[arg-type]
        failure_code=row.failure_code,
    )
    if row.at:
        message.time.CopyFrom(timestamp(row.at))
    attributes = message.attributes
    attributes.owner = row.owner
    attributes.organization_id = row.organization_id
    if row.labels:
        attributes.labels.update(json.loads(row.labels))
    if event.progress is not None:
        message.progress.CopyFrom(progress_out(event.progress))
    message.log_entries.extend(log_line_out(line, number=number, attempt=row.attempt) for number, line in event.lines)
    return message


def _event_types(numbers: Sequence[int]) -> frozenset[EventType]:
    if not numbers:
        return _DEFAULT_EVENT_TYPES
    for place, number in enumerate(numbers):
        if number not in _EVENT_TYPES:
            raise FieldInvalidError(f"event_types[{place}]", f"{number} is no event type")
    return frozenset(_EVENT_TYPES[number] for number in numbers)


def _size(messages: Sequence[Message]) -> int:
    return sum(message.ByteSize() + 8 for message in messages)


def _cut(messages: list[M]) -> tuple[list[M], list[M]]:
    fitting = min(how_many_fit(messages), len(messages))
    return messages[:fitting], messages[fitting:]
