"""Seed 003, a jobs package: its queue, in the order of its own examples, by both clients."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import Client, JobState, ServerUnreachableError
from jobhall.errors import FieldInvalidError, JobNotFoundError, JobTerminalError, LeaseLostError
from jobhall.ids import new_id
from jobhall.queue import (
    JobCancelRequestedError,
    JobNotHeldError,
    JobQueue,
    JobUnavailableError,
    QueueProgress,
    QueueStatus,
    StatusCounts,
)
from jobhall.task import TaskFailed
from tests.support.ports import free_port
from tests.support.processes import Processes, Server
from tests.support.queues import open_queue, reaches
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

DETECTION = {"entity_types": ["Person", "Organization"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here, each of which has a namespace of its own; a session that is silent is over soon."""
    with Processes(tmp_path_factory.mktemp("seed_003")) as processes:
        yield processes.serve(
            session_ttl_seconds=1, heartbeat_seconds=0.3, reaper_seconds=0.1, accept_seconds=1, cancel_grace_seconds=20
        )


@pytest.fixture
async def queue(kind: str, server: Server, room: str) -> AsyncIterator[Any]:
    async with open_queue(kind, server.address, namespace=room, lease=timedelta(seconds=2)) as queue:
        yield queue


async def created(queue: Any, **options: Any) -> str:
    job = await queue.create_job("detection", DETECTION, **options)
    return str(job.id)


async def started(queue: Any, **options: Any) -> str:
    job_id = await created(queue, **options)
    await queue.update_job_status(job_id, "running")
    return job_id


# --- initialization ---


async def test_a_queue_is_initialized_with_its_retries_and_its_retention_period(kind: str, server: Server) -> None:
    settings = {"max_retries": 2, "retention_period": timedelta(hours=1), "namespace": "initialized"}
    async with open_queue(kind, server.address, **settings) as queue:
        job_id = await started(queue)
        await queue.complete_job(job_id)

    with Client(server.address) as client:
        job = client.jobs.get_job(job_id)
    assert job.max_attempts == 3
    assert job.purge_at is not None
    assert job.ended_at is not None
    assert job.purge_at - job.ended_at == timedelta(hours=1)


def test_to_initialize_says_at_once_that_no_server_is_there() -> None:
    queue = JobQueue(f"127.0.0.1:{free_port()}", timeout=0.5)

    with pytest.raises(ServerUnreachableError, match="JOBHALL_ADDRESS"):
        queue.initialize()
    queue.close()


# --- creating jobs ---


async def test_a_created_job_is_pending_and_has_all_that_it_was_given(queue: Any) -> None:
    before = datetime.now(UTC)
    job = await queue.create_job("detection", DETECTION, user_id="user-123", resource_id="doc-456", max_retries=3)

    assert (job.status, job.type) == ("pending", "detection")
    assert (job.user_id, job.resource_id, job.parameters) == ("user-123", "doc-456", DETECTION)
    assert (job.retry_count, job.max_retries) == (0, 3)
    assert abs(job.created - before) < timedelta(seconds=10)
    assert (job.started_at, job.completed_at, job.error, job.result) == (None, None, None, None)
    assert await queue.get_job(job.id) == job


async def test_the_same_creation_again_is_the_same_job(queue: Any) -> None:
    job_id = new_id()

    assert [await created(queue, job_id=job_id) for _ in range(2)] == [job_id, job_id]


@pytest.mark.parametrize("retries", [-1, 1000])
async def test_retries_without_sense_are_refused(queue: Any, retries: int) -> None:
    with pytest.raises(FieldInvalidError, match="max_retries"):
        await created(queue, max_retries=retries)


# --- job status management ---


async def test_a_job_goes_from_pending_by_running_to_complete(queue: Any) -> None:
    job_id = await created(queue)

    await queue.update_job_status(job_id, "running")
    running = await queue.get_job(job_id)
    await queue.update_job_progress(
        job_id, percentage=50, message="Processing entity types...", current_step=2, total_steps=4
    )
    on_its_way = await queue.get_job(job_id)
    await queue.complete_job(job_id, {"total_processed": 100, "errors": 0})
    complete = await queue.get_job(job_id)

    assert (running.status, running.state) == ("running", JobState.RUNNING)
    assert on_its_way.progress == QueueProgress(
        percentage=50, message="Processing entity types...", current_step=2, total_steps=4
    )
    assert (complete.status, complete.result) == ("complete", {"total_processed": 100, "errors": 0})
    assert complete.created <= complete.started_at <= complete.completed_at


async def test_progress_has_room_for_what_a_type_of_job_has_of_its_own(queue: Any) -> None:
    job_id = await started(queue)
    found = {"total_entity_types": 2, "processed_entity_types": 1, "current_entity_type": "Person", "entities_found": 7}

    await queue.update_job_progress(job_id, stage="fetching", current_item=1, total_items=2, details=found)

    progress = (await queue.get_job(job_id)).progress
    assert (progress.stage, progress.current_item, progress.total_items) == ("fetching", 1, 2)
    assert progress.details == found
    assert progress.percentage == 50
    with pytest.raises(TypeError, match="percent"):
        await queue.update_job_progress(job_id, percent=1)


async def test_a_job_that_fails_is_tried_again_until_its_retries_are_used_up(queue: Any) -> None:
    job_id = await started(queue, max_retries=1)

    await queue.fail_job(job_id, TaskFailed("Processing failed", retry_delay=0))
    again = await reaches(queue, job_id, "pending")
    await queue.update_job_status(job_id, "running")
    retried = await queue.get_job(job_id)
    await queue.fail_job(job_id, RuntimeError("Processing failed"))
    failed = await queue.get_job(job_id)

    assert (again.error, again.retry_count) == ("Processing failed", 1)
    assert retried.retry_count == 1
    assert (failed.status, failed.error, failed.retry_count) == ("failed", "Processing failed", 1)


async def test_an_error_that_no_retry_would_help_fails_a_job_at_once(queue: Any) -> None:
    job_id = await started(queue, max_retries=3)

    await queue.fail_job(job_id, ValueError("not a document"), retryable=False)

    job = await queue.get_job(job_id)
    assert (job.status, job.error, job.retry_count) == ("failed", "not a document", 0)


@pytest.mark.parametrize(
    ("status", "becomes"), [("complete", "complete"), ("failed", "failed"), ("pending", "pending")]
)
async def test_a_held_job_can_be_set_to_any_status_that_its_holder_may_give_it(
    queue: Any, status: str, becomes: str
) -> None:
    job_id = await started(queue)

    await queue.update_job_status(job_id, status)

    job = await queue.get_job(job_id)
    assert (job.status, job.retry_count) == (becomes, 0)


async def test_a_failed_or_cancelled_job_can_be_made_pending_again_and_a_complete_one_not(queue: Any) -> None:
    job_id = await created(queue)
    await queue.update_job_status(job_id, "cancelled")

    await queue.update_job_status(job_id, "pending")
    await queue.update_job_status(job_id, "pending")
    assert (await queue.get_job(job_id)).status == "pending"

    await queue.update_job_status(job_id, "running")
    await queue.update_job_status(job_id, "running")
    await queue.complete_job(job_id)
    for status in ("pending", "running"):
        with pytest.raises(JobTerminalError):
            await queue.update_job_status(job_id, status)


async def test_who_does_not_hold_a_job_cannot_report_on_it(kind: str, server: Server, room: str, queue: Any) -> None:
    """There is no side door: a status is the holder's to set, and who would start a held job is told who has it."""
    job_id = await started(queue)
    async with open_queue(kind, server.address, namespace=room) as other:
        for status in ("complete", "failed", "pending"):
            with pytest.raises(JobNotHeldError, match="RUNNING"):
                await other.update_job_status(job_id, status)
        with pytest.raises(JobNotHeldError):
            await other.update_job_progress(job_id, percentage=1)
        with pytest.raises(JobUnavailableError) as refused:
            await other.update_job_status(job_id, "running")
        with pytest.raises(JobNotFoundError):
            await other.complete_job(new_id())

    assert (refused.value.job_id, refused.value.state) == (job_id, JobState.RUNNING)
    assert (await queue.get_job(job_id)).status == "running"


async def test_a_word_that_is_no_status_is_refused_with_those_that_are(queue: Any) -> None:
    with pytest.raises(FieldInvalidError, match="pending, running, complete, failed, cancelled"):
        await queue.update_job_status(await created(queue), "done")


# --- leases ---


async def test_what_a_queue_holds_stays_its_own_past_the_lease(queue: Any, server: Server) -> None:
    """The lease is two seconds and nothing is reported for twice that: it was renewed."""
    job_id = await started(queue)
    with Client(server.address) as client:
        task = client.jobs.get_job(job_id).current_task
        assert task is not None

        def renewed() -> bool:
            session = client.workers.get(task.session_id)
            assert session.created_at is not None
            assert session.last_seen_at is not None
            return session.last_seen_at - session.created_at > timedelta(seconds=4)

        await eventually_async(renewed, within=15, what="the session is heard of for four seconds")

    await queue.complete_job(job_id, "done")
    job = await queue.get_job(job_id)
    assert (job.status, job.retry_count) == ("complete", 0)


async def test_a_lost_lease_is_a_clear_error(queue: Any, server: Server) -> None:
    """An operator drains the queue's session, which takes its job away from it: whatever it says then is refused."""
    job_id = await started(queue)
    with Client(server.address) as client:
        task = client.jobs.get_job(job_id).current_task
        assert task is not None
        client.workers.drain(task.session_id, timeout=0)
    await reaches(queue, job_id, "pending")

    with pytest.raises(LeaseLostError, match="PENDING"):
        await queue.update_job_progress(job_id, percentage=10)
    with pytest.raises(JobNotHeldError, match="PENDING: start it with"):
        await queue.complete_job(job_id)


async def test_of_a_job_that_has_ended_nobody_is_told_to_start_it(queue: Any) -> None:
    job_id = await started(queue)
    await queue.complete_job(job_id)

    with pytest.raises(JobNotHeldError, match=r"COMPLETED$"):
        await queue.update_job_progress(job_id, percentage=10)


async def test_a_queue_that_closes_gives_back_what_it_holds(kind: str, server: Server, room: str, queue: Any) -> None:
    async with open_queue(kind, server.address, namespace=room) as leaving:
        job_ids = [await started(leaving) for _ in range(2)]

    jobs = [await queue.get_job(job_id) for job_id in job_ids]
    assert [(job.status, job.retry_count) for job in jobs] == [("pending", 0)] * 2


# --- querying jobs ---


async def test_jobs_are_listed_by_status_type_and_user_with_limit_and_offset(queue: Any) -> None:
    mine = [await created(queue, user_id="user-123") for _ in range(4)]
    await created(queue, user_id="user-456")
    await queue.create_job("generation", {"prompt": "a life"}, user_id="user-123")
    await queue.update_job_status(mine[0], "running")

    asked = {"status": "pending", "job_type": "detection", "user_id": "user-123"}
    everything = await queue.list_jobs(**asked, limit=10, offset=0)
    page = await queue.list_jobs(**asked, limit=2, offset=1)

    assert [job.id for job in everything] == mine[:0:-1]
    assert [job.id for job in page] == [mine[2], mine[1]]
    assert everything[0] == await queue.get_job(mine[3])
    assert [job.id for job in await queue.list_jobs(status=QueueStatus.RUNNING)] == [mine[0]]
    assert len(await queue.list_jobs()) == 6
    with pytest.raises(FieldInvalidError, match="limit"):
        await queue.list_jobs(limit=0)


async def test_statistics_count_each_status(queue: Any) -> None:
    ids = [await created(queue, max_retries=0) for _ in range(6)]
    for job_id in ids[:4]:
        await queue.update_job_status(job_id, "running")
    await queue.complete_job(ids[0])
    await queue.complete_job(ids[1])
    await queue.fail_job(ids[2], RuntimeError("no"))
    await queue.cancel_job(ids[4])

    assert await queue.get_stats() == StatusCounts(pending=1, running=1, complete=2, failed=1, cancelled=1)
    assert await queue.get_stats(job_types=["generation"]) == StatusCounts()


async def test_polling_hands_out_the_pending_jobs_of_a_type_in_their_order_each_once(queue: Any) -> None:
    first, second, third = [await created(queue) for _ in range(3)]
    await queue.create_job("generation", {})

    polled = [await queue.poll_next_pending_job("detection") for _ in range(4)]
    await queue.update_job_status(first, "running")
    await queue.complete_job(first)

    assert [job and job.id for job in polled] == [first, second, third, None]
    assert polled[0].parameters == DETECTION
    assert (await queue.get_job(first)).status == "complete"
    # The others were not begun: that cost them nothing, and they are to be had again.
    again = [await reaches(queue, job_id, "pending") for job_id in (second, third)]
    assert [job.retry_count for job in again] == [0, 0]
    await queue.update_job_status(second, "running")


# --- maintenance ---


async def test_old_jobs_are_cleaned_up_when_they_have_ended(queue: Any) -> None:
    complete, failed, waiting = [await created(queue, max_retries=0) for _ in range(3)]
    for job_id in (complete, failed):
        await queue.update_job_status(job_id, "running")
    await queue.complete_job(complete)
    await queue.fail_job(failed, "no")

    assert await queue.cleanup_old_jobs() == 0
    assert await queue.cleanup_old_jobs(age=0) == 2
    assert [job.id for job in await queue.list_jobs()] == [waiting]


async def test_a_job_is_cancelled_and_its_holder_told(kind: str, server: Server, room: str, queue: Any) -> None:
    own, foreign, waiting = await started(queue), await started(queue), await created(queue)

    async with open_queue(kind, server.address, namespace=room) as other:
        await other.cancel_job(waiting)
        await other.cancel_job(foreign, reason="not needed")
    await queue.cancel_job(own)

    assert [(await queue.get_job(job_id)).status for job_id in (own, waiting)] == ["cancelled"] * 2
    with pytest.raises(JobCancelRequestedError, match="not needed"):
        await queue.update_job_progress(foreign, percentage=10)
    assert (await queue.get_job(foreign)).state is JobState.CANCELLING
    await queue.cancel_job(foreign)
    assert (await queue.get_job(foreign)).state is JobState.CANCELLED
