"""A worker on the wire: every field of its message reads."""

from datetime import UTC, datetime

from jobhall import RuntimeInfo, WorkerState
from jobhall.v1 import task_pb2, worker_pb2
from jobhall.wire_values import time_to_wire
from jobhall.wire_workers import worker_from_wire


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
