"""What the writer stores is what the reader shows: a job's whole life through the real store."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jobhall.ids import new_id
from jobhall.states import EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain import server_moves, worker_moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import ItemError, JobFailure, JobView, NewJob, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession
from jobhall_server.hall.store import Claimed, Group, Unit, Want
from jobhall_server.hall.views import JobFilter, JobPage, LogFilter, LogLine, Page, PayloadKind
from jobhall_server.storage.store import Store

T = TypeVar("T")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path}/jobhall.db") as opened:
        yield opened


async def test_a_new_job_is_read_as_it_was_submitted(store: Store) -> None:
    parameters = Payload('{"rows": 3}', "application/json")

    job_id, key = await submit(store, parameters=parameters, priority=7, labels='{"team":"risk"}', owner="alice")

    job = await read(store, job_id)
    assert (job.key, job.namespace, job.job_type, job.state) == (key, "default", "score", JobState.PENDING)
    assert (job.priority, job.labels, job.owner, job.parameters) == (7, {"team": "risk"}, "alice", parameters)
    assert job.ready_at == job.created_at == job.updated_at
    events = (await store.reads.log(LogFilter(), after=0, limit=10)).rows
    assert [event.event_type for event in events] == [EventType.SUBMITTED]
    listed = await store.reads.jobs(ANYBODY, JobFilter(namespace="default"), Page(10))
    assert listed == JobPage([await read(store, job_id, full=False)])


async def test_a_running_job_shows_its_task_and_all_that_the_task_wrote(store: Store) -> None:
    job_id, key = await submit(store)
    claimed, session_key = await claim(store)
    lease = claimed.lease
    progress = Progress(step="score", percent=50.0, total=10, processed=5, details='{"a":1}')
    errors = [ItemError(1, "ACME", "NEGATIVE", "assets below zero"), ItemError(None, "", "", "no name")]
    lines = [LogLine(5, LogLevel.WARNING, "slow", None, '{"s":1}'), LogLine(6, LogLevel.INFO, "", b"\xff\x00", None)]

    def report(group: Group) -> None:
        take(group, key, lambda job: worker_moves.accept(job, lease, group.now)[0])
        group.save_progress(key, lease.fence, progress)
        group.add_item_errors(key, lease.fence, 1, errors)
        group.add_logs(key, lease.fence, 1, lines)

    await run(store, report, job_keys=(key,))

    job = await read(store, job_id)
    assert (job.state, job.attempt, job.progress) == (JobState.RUNNING, 1, progress)
    assert job.current_task is not None
    assert (job.current_task.attempt, job.current_task.fence, job.current_task.worker) == (1, lease.fence, "scorer")
    of_lease: dict[str, Any] = {"fence": lease.fence, "after_number": 0, "limit": 10}
    assert [error for _, error in await store.reads.item_errors(key, **of_lease)] == errors
    assert [line for _, line in await store.reads.log_lines(key, **of_lease)] == lines
    assert session_key


async def test_a_completed_job_shows_its_result_and_no_task(store: Store) -> None:
    job_id, key = await submit(store)
    claimed, _ = await claim(store)
    result = Payload(b"\x00\x01", "application/octet-stream")

    def complete(group: Group) -> None:
        take(group, key, lambda job: worker_moves.complete(job, claimed.lease, 77)[0], (77,))
        group.save_payload(key, PayloadKind.RESULT, result)

    await run(store, complete, job_keys=(key,))

    job = await read(store, job_id)
    assert (job.state, job.attempt, job.result, job.current_task) == (JobState.COMPLETED, 1, result, None)
    assert job.ended_at is not None
    events = (await store.reads.log(LogFilter(), after=0, limit=10)).rows
    assert [(event.event_type, event.revision) for event in events] == [
        (EventType.SUBMITTED, 1),
        (EventType.CLAIMED, 2),
        (EventType.RUNNING, 3),
        (EventType.COMPLETED, 4),
    ]
    assert {event.job_id for event in events} == {job_id}
    assert job.revision == 4
    place = await store.reads.log_place()
    assert (place.first, place.last) == (1, 4)


async def test_a_failed_job_shows_its_error(store: Store) -> None:
    job_id, key = await submit(store)
    claimed, _ = await claim(store)
    failure = JobFailure(FailureKind.APPLICATION, "boom", "ValueError", details="{}", stack="Traceback", attempt=1)

    def fail(group: Group) -> None:
        kind = FailureKind.APPLICATION
        told: dict[str, Any] = {"kind": kind, "code": "ValueError", "retryable": False, "now": group.now, "chance": 0.0}
        decision = worker_moves.fail(group.job(key), claimed.lease, 5, **told)
        take(group, key, lambda _: decision[0], decision[1])
        group.save_failure(key, failure)

    await run(store, fail, job_keys=(key,))

    job = await read(store, job_id)
    assert (job.state, job.failure_kind, job.failure_code) == (JobState.FAILED, FailureKind.APPLICATION, "ValueError")
    assert job.failure == failure


async def test_what_a_lost_session_holds_is_found_and_runs_again_without_its_old_progress(store: Store) -> None:
    job_id, key = await submit(store)
    claimed, session_key = await claim(store)

    def start(group: Group) -> None:
        take(group, key, lambda job: worker_moves.accept(job, claimed.lease, group.now)[0])
        group.save_progress(key, claimed.lease.fence, Progress(percent=90.0))

    def lose_session(group: Group) -> None:
        session = group.session(session_key)
        assert session is not None
        group.save_session(session.lost(group.now))

    await run(store, start, job_keys=(key,))
    await run(store, lose_session, session_keys=(session_key,))
    assert (await store.reads.expired(ttl_us=1)).held == ((key, session_key),)

    await run(
        store, lambda group: take(group, key, lambda job: server_moves.lose(job, confirmed=True)[0]), job_keys=(key,)
    )
    again, _ = await claim(store)

    assert (await store.reads.expired(ttl_us=1)).held == ()
    job = await read(store, job_id)
    assert again.lease.fence == claimed.lease.fence + 1
    assert (job.state, job.worker_losses, job.progress) == (JobState.CLAIMED, 1, None)


async def test_sessions_of_an_earlier_process_are_stale_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobhall.db"
    async with Store.open(url) as before:
        await submit(before)
        _, session_key = await claim(before)
        assert (await before.reads.expired(ttl_us=10**12)).stale == ()

    async with Store.open(url) as after:
        assert (await after.reads.expired(ttl_us=10**12)).stale == (session_key,)


class Do(Unit[T]):
    """A unit that does what the test says."""

    def __init__(self, decide: Callable[[Group], T], **touched: tuple[Any, ...]) -> None:
        self._decide = decide
        self.__dict__.update(touched)

    def decide(self, group: Group) -> T:
        return self._decide(group)


class Claim(Do[list[list[Claimed]]]):
    after_save = True


async def run(store: Store, decide: Callable[[Group], T], **touched: tuple[Any, ...]) -> T:
    return await store.run(Do(decide, **touched))


async def submit(store: Store, **columns: Any) -> tuple[str, int]:
    """A new job's id and key."""
    job_id = new_id()

    def insert(group: Group) -> int:
        namespace_key = group.namespace_key("default")
        queue_key = group.queue_key(namespace_key, group.job_type_key(namespace_key, "score")[0])
        return group.insert_job(NewJob(job_id=job_id, namespace_key=namespace_key, queue_key=queue_key, **columns))

    return job_id, await run(store, insert)


async def claim(store: Store) -> tuple[Claimed, int]:
    """The next job of the first queue, in the hands of a new session; and the session."""
    names = {"worker_name": "scorer", "namespaces": ("default",), "job_types": ("score",), "labels": "{}"}
    new = NewSession(
        session_id=new_id(),
        resume_digest="r",
        runtime="{}",
        tasks_max=1,
        replica_key=store.replica_key,
        connection=1,
        **names,  # type: ignore[arg-type]
    )
    session = await run(store, lambda group: group.open_session(new))
    (queue,) = await store.reads.queues()
    want = Want(session.key, session.epoch, 1, 4711, "scorer", ((queue.key, 1),))
    [[claimed]] = await store.run(Claim(lambda group: group.claim([want]), session_keys=(session.key,)))
    return claimed, session.key


def take(group: Group, key: int, move: Callable[[Any], Any], values: tuple[Any, ...] = ()) -> None:
    job = group.job(key)
    change = move(job)
    assert job is not None
    assert isinstance(change, Change)
    group.change(job, change, values)


async def read(store: Store, job_id: str, *, full: bool = True) -> JobView:
    job = await store.reads.job(ANYBODY, job_id, full=full)
    assert job is not None
    return job
