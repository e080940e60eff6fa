"""A server is killed in the middle of a sweep: the next one goes on where it was, and does nothing twice to any job."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobhall import Batch, Client, Submission
from jobhall.states import CompletionPolicy, EventType, JobState
from tests.support.processes import Processes, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually

MEMBERS = 8000
AT_ONCE = 1000
SOON = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CANCELLED = f"SELECT count(*) FROM jobhall_jobs WHERE state = {JobState.CANCELLED:d}"
HELD_BACK = "SELECT count(*) FROM jobhall_jobs WHERE held_back = 1"
GONE = f"SELECT {MEMBERS} - count(*) FROM jobhall_jobs"


def filled(server: Server) -> Batch:
    """A batch of so many jobs, and a completion job for when they have ended anyhow."""
    with Client(server.address) as client:
        client.types.register("score")
        batch = client.batches.create(
            completion_job=Submission("score"), completion_policy=CompletionPolicy.ALL_TERMINAL
        )
        for _ in range(MEMBERS // AT_ONCE):
            client.jobs.submit_many([Submission("score", batch_id=batch.id)] * AT_ONCE)
        return batch


def count(stored: Stored, statement: str) -> int:
    [(found,)] = stored.rows(statement)
    assert isinstance(found, int)
    return found


def killed_in_the_middle(
    server: Server, change: Callable[[Client], object], done: str, figures: Callable[..., None]
) -> Stored:
    """The server dies when the change is done to some of the jobs, and not to all."""
    stored = Stored(server.database)
    with Client(server.address) as client, ThreadPoolExecutor() as threads:
        call = threads.submit(change, client)
        eventually(lambda: count(stored, done), within=SOON, what="the sweep is under way")
        _ = server.kill()
        client.close()
        call.exception()
    reached = count(stored, done)
    figures(done_before_the_kill=reached, of=MEMBERS)
    assert 0 < reached < MEMBERS
    return stored


def events(stored: Stored, kind: EventType) -> int:
    return count(stored, f"SELECT count(*) FROM jobhall_events WHERE event_type = {kind:d}")


def test_a_cancel_goes_on_and_the_completion_job_is_submitted_once(
    processes: Processes, figures: Callable[..., None]
) -> None:
    server = processes.serve()
    batch = filled(server)
    stored = killed_in_the_middle(server, lambda client: client.batches.cancel(batch.id), CANCELLED, figures)
    [(first,)] = stored.rows(
        f"SELECT lower(hex(job_id)) FROM jobhall_jobs WHERE state = {JobState.CANCELLED:d} LIMIT 1"
    )

    server = processes.serve()
    with Client(server.address) as client:
        # What was cancelled before the kill and is retried now is not cancelled again by the rest of the sweep.
        retried = client.jobs.retry_job(str(first))
        eventually(
            lambda: client.batches.get(batch.id).counts.cancelled == MEMBERS - 1, within=SOON, what="all are cancelled"
        )
        still = client.jobs.get_job(retried.id)
        client.jobs.cancel_job(retried.id)
        eventually(
            lambda: client.batches.get(batch.id).completion_job_id, within=SOON, what="the completion job is submitted"
        )

    assert still.state is JobState.PENDING
    assert events(stored, EventType.CANCELLED) == MEMBERS + 1
    assert count(stored, "SELECT count(*) FROM jobhall_jobs WHERE batch_key IS NULL") == 1


def test_a_batch_that_is_held_back_is_held_back_to_its_last_job(
    processes: Processes, figures: Callable[..., None]
) -> None:
    server = processes.serve()
    batch = filled(server)
    stored = killed_in_the_middle(
        server, lambda client: client.batches.update(batch.id, active=False), HELD_BACK, figures
    )

    processes.serve()

    eventually(lambda: count(stored, HELD_BACK) == MEMBERS, within=SOON, what="all are held back")


def test_a_batch_that_is_deleted_goes_with_its_last_job(processes: Processes, figures: Callable[..., None]) -> None:
    server = processes.serve()
    batch = filled(server)
    stored = killed_in_the_middle(server, lambda client: client.batches.delete(batch.id), GONE, figures)

    processes.serve()

    eventually(lambda: not count(stored, "SELECT count(*) FROM jobhall_batches"), within=SOON, what="the batch is gone")
    assert count(stored, GONE) == MEMBERS
    assert events(stored, EventType.DELETED) == MEMBERS
