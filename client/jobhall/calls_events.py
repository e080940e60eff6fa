"""Which events, of the log or of a watch: their conditions, and the call that reads a page of the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from jobhall.calls import Call, unary
from jobhall.filters import check_names, each
from jobhall.misfits import names_misfits
from jobhall.model_events import EventPage
from jobhall.states import EventType
from jobhall.v1 import event_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import events_from_wire
from jobhall.wire_values import int32


class EventOptions(TypedDict, total=False):
    """Events of which jobs, all conditions together, and from which place on."""

    namespace: str
    """Where; empty means `default`, `-` everywhere. Not looked at where job_ids or batch_id are given."""
    job_ids: Iterable[str]
    """At most 1000."""
    batch_id: str
    """Only jobs of this batch."""
    job_types: Iterable[str]
    owner: str
    labels: dict[str, str]
    event_types: Iterable[EventType]
    """None means all, of a watch all but LOG."""
    cursor: str
    """The place to go on from; empty means the old end of the log, of a watch now."""


class EventPageOptions(EventOptions, total=False):
    """Which events, and how many of them."""

    page_size: int
    """1 to 1000; 100 where it is left out."""


@names_misfits
def list_job_events(options: EventPageOptions) -> Call[EventPage]:
    """Reads one page of the log of events."""
    check_names(options, EventPageOptions)
    request = jobs_pb2.ListJobEventsRequest(
        page_size=int32(options.get("page_size", 0), field="page_size"), **conditions(options)
    )
    return unary(
        "JobService",
        request,
        jobs_pb2.ListJobEventsResponse,
        lambda answer: EventPage(events_from_wire(answer.events), answer.cursor, answer.end_reached),
    )


def conditions(options: EventOptions) -> dict[str, Any]:
    """The conditions as fields, which ListJobEvents and WatchJobs share."""
    return {
        "namespace": options.get("namespace", ""),
        "job_ids": each(options.get("job_ids", ()), field="job_ids"),
        "batch_id": options.get("batch_id", ""),
        "job_types": each(options.get("job_types", ()), field="job_types"),
        "owner": options.get("owner", ""),
        "labels": options.get("labels", {}),
        "event_types": [event_pb2.EventType.ValueType(int(kind)) for kind in options.get("event_types", ())],
        "cursor": options.get("cursor", ""),
    }
