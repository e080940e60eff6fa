"""UpdateJob: priority and schedule while a job waits, labels and access at any time; and races are seen by etags."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.errors import Code
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submit, untimed
from tests.support.servers import Running
from tests.support.waiting import eventually_async

SOON = 10.0


def ahead(seconds: float) -> Timestamp:
    time = Timestamp()
    time.GetCurrentTime()
    time.FromMicroseconds(time.ToMicroseconds() + round(seconds * 1e6))
    return time


async def update(server: Running, job_id: str, *paths: str, **fields: Any) -> job_pb2.Job:
    """Set the fields, and clear those that are only named."""
    request = pb.UpdateJobRequest(job=job_pb2.Job(id=job_id, **fields))
    request.update_mask.paths.extend(paths or [name for name in fields if name != "etag"])
    return (await server.jobs.UpdateJob(request)).job


async def test_a_waiting_job_gets_another_priority_and_so_another_turn(server: Running) -> None:
    await register(server)
    first, second = await submit(server), await submit(server)

    job = await update(server, second.id, priority=9)
    worker = RawWorker(server, tasks_max=1)
    await worker.hello()

    assert (job.priority, job.revision, job.etag) == (9, 2, "2")
    assert [task.job_id for task in await worker.tasks()] == [second.id]
    assert (await get(server, first.id)).priority == 0
    worker.cut()


async def test_a_new_schedule_sends_a_job_to_scheduled_and_back_to_a_worker(server: Running) -> None:
    await register(server)
    job = await submit(server)

    later = await update(server, job.id, schedule_time=ahead(3600))
    worker = RawWorker(server)
    await worker.hello()
    now = await update(server, job.id, "schedule_time")

    assert later.state == job_pb2.JOB_STATE_SCHEDULED
    assert later.schedule_time.seconds - later.create_time.seconds > 3000
    assert now.state in (job_pb2.JOB_STATE_PENDING, job_pb2.JOB_STATE_CLAIMED)
    assert not now.HasField("schedule_time")
    assert [task.job_id for task in await worker.tasks()] == [job.id]
    worker.cut()


async def test_a_scheduled_job_is_moved_to_another_time(server: Running) -> None:
    await register(server)
    job = await submit(server, schedule_time=ahead(3600))

    await update(server, job.id, schedule_time=ahead(0.2))

    async def ready() -> bool:
        return (await get(server, job.id)).state == job_pb2.JOB_STATE_PENDING

    await eventually_async(ready, within=SOON, what="its new time comes")


async def test_a_deadline_is_given_moved_and_taken_away(server: Running) -> None:
    await register(server)
    job, kept = await submit(server), await submit(server, start_deadline=ahead(0.3))

    cleared = await update(server, kept.id, "start_deadline")
    given = await update(server, job.id, start_deadline=ahead(0.3))

    async def expired() -> bool:
        return (await get(server, job.id)).state == job_pb2.JOB_STATE_FAILED

    assert given.HasField("start_deadline")
    await eventually_async(expired, within=SOON, what="the job expires")
    assert (await get(server, job.id)).error.kind == job_pb2.FAILURE_KIND_EXPIRED
    assert not cleared.HasField("start_deadline")
    assert (await get(server, kept.id)).state == job_pb2.JOB_STATE_PENDING


async def test_times_that_leave_no_time_to_begin_are_refused(server: Running) -> None:
    await register(server)
    scheduled = await submit(server, schedule_time=ahead(600))
    limited = await submit(server, start_deadline=ahead(600))

    wrong = [
        await refusal(update(server, scheduled.id, start_deadline=ahead(300))),
        await refusal(update(server, scheduled.id, start_deadline=ahead(-1))),
        await refusal(update(server, limited.id, schedule_time=ahead(900))),
        await refusal(update(server, limited.id, schedule_time=ahead(900), start_deadline=ahead(800))),
    ]

    assert [[violation.field for violation in error.violations] for error in wrong] == [
        ["job.start_deadline"],
        ["job.start_deadline"],
        ["job.schedule_time"],
        ["job.start_deadline"],
    ]
    assert (await get(server, scheduled.id)).revision == (await get(server, limited.id)).revision == 1
    both = await update(server, limited.id, schedule_time=ahead(900), start_deadline=ahead(1000))
    assert both.state == job_pb2.JOB_STATE_SCHEDULED


async def test_labels_are_replaced_as_a_whole_and_access_too(server: Running) -> None:
    await register(server)
    job = await submit(server, labels={"a": "1", "b": "2"}, access_control={"read_access": ["ann"]})

    changed = await update(server, job.id, labels={"c": "3"}, access_control={"visibility": 2, "admin_access": ["ben"]})
    listed = await server.jobs.ListJobs(pb.ListJobsRequest(filter="labels.c = 3"))
    cleared = await update(server, job.id, "labels", "access_control")

    assert dict(changed.labels) == {"c": "3"}
    assert changed.access_control == job_pb2.AccessControl(visibility=2, admin_access=["ben"])  # type: ignore[arg-type]
    assert [found.id for found in listed.jobs] == [job.id]
    assert not cleared.labels
    assert cleared.access_control == job_pb2.AccessControl(visibility=job_pb2.VISIBILITY_PRIVATE)
    assert untimed(await get(server, job.id)) == untimed(cleared)


async def test_the_labels_of_a_finished_job_may_change_and_its_turn_may_not(server: Running) -> None:
    await register(server)
    job = await submit(server)
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    labelled = await update(server, job.id, labels={"seen": "yes"})
    error = await refusal(update(server, job.id, priority=1, labels={"seen": "no"}))

    assert (labelled.state, dict(labelled.labels)) == (job_pb2.JOB_STATE_CANCELLED, {"seen": "yes"})
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "JOB_TERMINAL")
    assert dict((await get(server, job.id)).labels) == {"seen": "yes"}


@pytest.mark.parametrize("field", [{"priority": 1}, {"schedule_time": ahead(60)}, {"start_deadline": ahead(60)}])
async def test_the_turn_of_a_job_that_a_worker_holds_may_not_change_and_its_labels_may(
    server: Running, field: dict[str, Any]
) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()

    claimed = await refusal(update(server, job.id, **field))
    await worker.report(task.lease_token, accepted={})
    running = await refusal(update(server, job.id, **field))
    labelled = await update(server, job.id, labels={"a": "b"})

    assert {(error.code, error.reason) for error in (claimed, running)} == {(Code.FAILED_PRECONDITION, "JOB_RUNNING")}
    assert labelled.state == job_pb2.JOB_STATE_RUNNING
    await worker.report(task.lease_token, completed={})
    assert (await get(server, job.id)).state == job_pb2.JOB_STATE_COMPLETED
    await worker.end()


async def test_a_change_with_an_etag_is_made_only_if_nothing_changed_since(server: Running) -> None:
    await register(server)
    job = await submit(server)
    await update(server, job.id, labels={"a": "b"}, etag=job.etag)

    late = await refusal(update(server, job.id, labels={}, etag=job.etag))
    gone = await refusal(server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id, etag=job.etag)))
    fresh = await get(server, job.id)
    last = await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id, etag=fresh.etag))

    assert {(error.code, error.reason) for error in (late, gone)} == {(Code.ABORTED, "ETAG_MISMATCH")}
    assert untimed(last.job) == untimed(fresh)


async def test_watchers_see_what_an_update_did(server: Running) -> None:
    await register(server)
    job = await submit(server)
    watch = server.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=[job.id]))
    await watch.read()

    await update(server, job.id, labels={"a": "b"})
    await update(server, job.id, schedule_time=ahead(60))
    await update(server, job.id, "schedule_time", "priority")

    seen: list[tuple[int, int]] = []
    while len(seen) < 4:
        message: Any = await watch.read()
        seen += [(event.event_type, event.revision) for event in message.events]
    kinds = ["UPDATED", "SCHEDULED", "UPDATED", "READY"]
    assert seen == [(event_pb2.EventType.Value(f"EVENT_TYPE_{kind}"), 2 + n) for n, kind in enumerate(kinds)]
    watch.cancel()
