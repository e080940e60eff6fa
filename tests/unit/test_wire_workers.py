"""Workers on the wire, and what one without a stream reports: every field of every message is read, or written."""

from datetime import UTC, datetime
from typing import Any, get_args

from jobhall import ItemError, LogEntry, Progress, ReleaseReason, RuntimeInfo, WorkerState, reports
from jobhall.v1 import task_pb2, worker_pb2
from jobhall.wire_tasks import reports_to_wire
from jobhall.wire_values import time_to_wire
from jobhall.wire_workers import runtime_to_wire, worker_from_wire


def test_a_worker_reads_with_all_that_its_message_says() -> None:
    when = datetime(2026, 1, 31, tzinfo=UTC)
    message = worker_pb2.Worker(
        id="s1",
        name="resizer",
        namespaces=["default", "media"],
        job_types=["resize"],
        labels={"zone": "a"},
        capacity=task_pb2.Capacity(tasks_max=8, types=[task_pb2.TypeCapacity(job_type="resize", tasks_max=2)]),
        held_count=3,
        state=worker_pb2.WORKER_STATE_DETACHED,
        last_seen_time=time_to_wire(when),
        runtime=worker_pb2.RuntimeInfo(language="python", process_id=7),
        epoch=2,
        create_time=time_to_wire(when),
        expire_time=time_to_wire(when),
        replica_id="r1",
        unary=True,
    )

    worker = worker_from_wire(message)

    assert {field.name for field in message.DESCRIPTOR.fields} == {field.name for field, _ in message.ListFields()}
    assert (worker.id, worker.name, worker.state) == ("s1", "resizer", WorkerState.DETACHED)
    assert (worker.namespaces, worker.job_types, worker.labels) == (("default", "media"), ("resize",), {"zone": "a"})
    assert (worker.capacity, worker.capacity_by_type, worker.held_count) == (8, {"resize": 2}, 3)
    assert (worker.last_seen_at, worker.created_at, worker.expires_at) == (when, when, when)
    assert worker.runtime == RuntimeInfo(language="python", process_id=7)
    assert (worker.epoch, worker.replica_id, worker.unary) == (2, "r1", True)
    assert worker_from_wire(worker_pb2.Worker(id="s2")).expires_at is None


def test_what_a_worker_runs_on_is_sent_as_it_is_told() -> None:
    runtime = RuntimeInfo(
        language="python",
        language_version="3.11",
        sdk_name="jobhall",
        sdk_version="1.0",
        hostname="host",
        process_id=7,
        platform="linux",
    )

    assert worker_from_wire(worker_pb2.Worker(runtime=runtime_to_wire(runtime))).runtime == runtime


def test_each_report_of_a_task_can_say_all_that_its_message_can() -> None:
    progress = Progress(items_processed=1)
    said: list[reports.TaskReport] = [
        reports.Accepted(b"t"),
        reports.Progressed(b"t", progress, number=4),
        reports.ItemErrors(b"t", [ItemError(index=2)], first_number=2),
        reports.Logged(b"t", [LogEntry(message="half way")], first_number=3),
        reports.Checkpointed(b"t", {"row": 1}, progress=progress),
        reports.Completed(b"t", 17, progress=progress),
        reports.Failed(
            b"t", "no", code="NO", details={"a": 1}, stack="s", retryable=False, retry_delay=1, progress=progress
        ),
        reports.Released(b"t", "no", reason=ReleaseReason.NOT_MINE, delay=1),
        reports.Cancelled(b"t", "stopped", progress=progress),
    ]

    request = reports_to_wire("s1", said)

    assert {type(it) for it in said} == set(get_args(reports.TaskReport))
    assert [it.seq for it in request.updates] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert {field.name for field in request.logs[0].DESCRIPTOR.fields} == set(_names(request.logs[0]))
    outcomes = {str(it.WhichOneof("update")): it for it in request.updates}
    assert outcomes.keys() == {field.name for field in request.updates[0].DESCRIPTOR.oneofs_by_name["update"].fields}
    for name, update in outcomes.items():
        message = getattr(update, name)
        if name != "progress":
            assert _names(message) == [field.name for field in message.DESCRIPTOR.fields]
    assert (outcomes["progress"].progress.items_processed, outcomes["progress"].progress.number) == (1, 4)


def _names(message: Any) -> list[str]:
    return [field.name for field, _ in message.ListFields()]
