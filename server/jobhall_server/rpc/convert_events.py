"""Events of the log as messages and, made once for all who watch, as the bytes that are sent."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.states import EventType
from jobhall.v1 import event_pb2
from jobhall.v1.job_service_pb2 import WatchJobsResponse
from jobhall_server.hall.views import EventRow
from jobhall_server.hall.watch_filter import labels_of, previous_of
from jobhall_server.hall.watch_queue import WatchEvent
from jobhall_server.rpc.convert import progress_out
from jobhall_server.rpc.convert_access import access_out
from jobhall_server.rpc.convert_jobs import log_line_out

_US = 1_000_000


def event_out(event: WatchEvent) -> event_pb2.JobEvent:
    """One event."""
    row = event.row
    seconds, rest = divmod(row.at, _US)
    message = event_pb2.JobEvent(
        event_type=int(row.event_type),  # type: ignore[arg-type]  # equal numbers, proven by a test
        job_id=row.job_id,
        revision=row.revision,
        namespace=row.namespace,
        job_type=row.job_type,
        state=int(row.state),  # type: ignore[arg-type]
        attempt=row.attempt,
        fence=row.fence,
        worker_name=row.worker,
        failure_kind=int(row.failure_kind),  # type: ignore[arg-type]
        failure_code=row.failure_code,
        time=Timestamp(seconds=seconds, nanos=rest * 1000) if row.at else None,
        attributes=_attributes(row, row.labels, row.access),
    )
    if row.previous is not None:
        # What an UPDATED changed; what it did not was the same before.
        before = {"labels": row.labels, "access": row.access} | previous_of(row.previous)
        message.previous_attributes.CopyFrom(_attributes(row, before["labels"], before["access"]))
    if event.progress is not None:
        message.progress.CopyFrom(progress_out(event.progress))
    if event.lines:
        message.log_entries.extend(
            log_line_out(line, number=number, attempt=row.attempt) for number, line in event.lines
        )
    return message


def event_wire(event: WatchEvent) -> bytes:
    """The event as a part of a WatchJobsResponse: parts set side by side are the parts of one message."""
    if not event.wire:
        event.wire = WatchJobsResponse(events=(event_out(event),)).SerializeToString()
    return event.wire


def _attributes(row: EventRow, labels: str | None, access: str | None) -> event_pb2.JobAttributes:
    message = event_pb2.JobAttributes(
        owner=row.owner, organization_id=row.organization_id, batch_id=row.batch_id, path=row.path
    )
    if labels:
        message.labels.update(labels_of(labels))
    if access is not None:
        message.access_control.CopyFrom(access_out(access))
    return message


EVENT_TYPES = {int(kind): kind for kind in EventType if kind}
"""By their number in the messages."""
