"""Jobs from elsewhere in the store: whole or not at all, and for the units after them like any other job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobhall.ids import new_id
from jobhall.states import AttemptOutcome, EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain import moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.change import Change
from jobhall_server.domain.imports import settled
from jobhall_server.domain.job import AttemptView, JobFailure, JobRecord, JobView, NewJob, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group, Home, Unit
from jobhall_server.hall.views import LogLine, PayloadKind, Retention
from jobhall_server.storage.group import Group as SqlGroup
from tests.support.groups import Groups, groups_in_memory
from tests.support.job_views import job_view
from tests.support.stores import START_US, Act, Floor, SetClock

BROKEN = JobFailure(FailureKind.APPLICATION, "no", "BROKEN", details='{"a":1}', stack="here", attempt=1)
LONG_AGO = START_US - 10**15
DAY_US = 86_400_000_000


def failed_attempt() -> AttemptView:
    progress = Progress(total=9, processed=4)
    times = (LONG_AGO, LONG_AGO + 1, LONG_AGO + 2)
    return AttemptView(1, 3, "gpu-7", "", *times, AttemptOutcome.FAILED, BROKEN, progress, item_error_count=2)


def failed(**columns: Any) -> JobView:
    times = {"created_at": LONG_AGO, "claimed_at": LONG_AGO, "started_at": LONG_AGO + 1, "ended_at": LONG_AGO + 2}
    fixed: dict[str, Any] = {
        "job_id": new_id(),
        "attempt": 1,
        "max_attempts": 1,
        "fence": 3,
        "failure": BROKEN,
        **times,
    }
    return job_view(JobState.FAILED, **{**fixed, **columns})


def bring(
    floor: Floor,
    job: JobView,
    attempts: Sequence[AttemptView] = (),
    then: Callable[[Group, JobRecord], object] | None = None,
) -> Act[JobRecord]:
    """A unit that imports the job, and does something with it."""

    def decide(group: Group) -> JobRecord:
        record = group.import_job(*settled(job, attempts, group.now), Home(floor.queue_key, floor.namespace_key))
        if job.failure is not None:
            group.save_failure(record.key, job.failure)
        if then is not None:
            then(group, record)
        return record

    return Act(decide, job_ids=[job.job_id])


async def counts(floor: Floor) -> tuple[int, ...]:
    [queue] = await floor.store.reads.stats(ANYBODY, "default")
    return tuple(queue.counts)


async def test_it_is_read_as_it_came(floor: Floor) -> None:
    job = failed(labels={"team": "risk"}, path="/a", priority=3, revision=5, created_by="Ann", retention_us=7)

    record = await floor.store.run(bring(floor, job, [failed_attempt()]))

    here = await floor.view(job.job_id)
    assert here is not None
    told = {"labels": {"team": "risk"}, "path": "/a", "priority": 3, "created_by": "Ann", "retention_us": 7}
    assert {name: getattr(here, name) for name in told} == told
    assert (here.key, here.state, here.revision, here.failure) == (record.key, JobState.FAILED, 6, BROKEN)
    assert (here.created_at, here.ended_at, here.updated_at, here.terminal_at) == (
        LONG_AGO,
        LONG_AGO + 2,
        START_US,
        START_US,
    )
    assert await floor.store.reads.attempts(record.key, after_fence=0, limit=9) == [failed_attempt()]
    [event] = await floor.events()
    assert (event.event_type, event.state, event.revision, event.at) == (
        EventType.IMPORTED,
        JobState.FAILED,
        6,
        START_US,
    )
    assert (event.failure_kind, event.failure_code, event.worker) == (FailureKind.APPLICATION, "BROKEN", "gpu-7")


async def test_what_goes_with_it_is_kept(floor: Floor) -> None:
    line = LogLine(5, LogLevel.INFO, "slow", None, None)

    def then(group: Group, record: JobRecord) -> None:
        group.save_payload(record.key, PayloadKind.PARAMETERS, Payload("{}"))
        group.save_checkpoint(record.key, Payload('{"row": 4}'), Progress(processed=4))
        group.add_logs(record.key, 3, 8, [line])

    job = failed(parameters=Payload("{}"), checkpoint=Payload('{"row": 4}'))
    record = await floor.store.run(bring(floor, job, [failed_attempt()], then))

    here = await floor.view(job.job_id)
    assert here is not None
    assert here.parameters == Payload("{}")
    assert await floor.store.reads.checkpoint(record.key) == Payload('{"row": 4}')
    assert await floor.store.reads.log_lines(record.key, fence=3, after_number=0, limit=9) == [(8, line)]


async def test_a_claim_gives_it_out_with_what_it_left(floor: Floor) -> None:
    waiting = job_view(JobState.PENDING, job_id=new_id(), fence=6, attempt=1, checkpoint=Payload("{}"))
    await floor.store.run(
        bring(floor, waiting, (), lambda group, it: group.save_checkpoint(it.key, Payload("{}"), Progress(processed=4)))
    )

    session = await floor.session()
    [[given]] = await floor.claim(floor.want(session, 1))

    assert (given.job_id, given.lease.fence, given.attempt) == (waiting.job_id, 7, 2)
    assert (given.checkpoint, given.progress) == (Payload("{}"), Progress(processed=4))


async def test_units_of_the_same_group_find_it_and_move_it(floor: Floor) -> None:
    """The writer takes what comes together as one group: whoever changes a job that was imported a moment ago meets one
    that no statement could load, and that no counter knows yet.
    """
    retried, gone = failed(), failed()

    def retry(group: Group) -> None:
        job = group.job_by_id(retried.job_id)
        assert job is not None
        decision = moves.retry(job)
        assert isinstance(decision, Change)
        group.change(job, decision)
        other = group.job_by_id(gone.job_id)
        assert other is not None
        group.delete_job(other)

    units: list[Unit[Any]] = [bring(floor, retried, [failed_attempt()]), bring(floor, gone)]
    waiting = [floor.store.run(unit) for unit in [*units, Act(retry, job_ids=[retried.job_id, gone.job_id])]]
    for answer in waiting:
        await answer

    here = await floor.view(retried.job_id)
    assert here is not None
    assert (here.state, here.attempt, here.failure) == (JobState.PENDING, 0, None)
    assert await floor.store.reads.attempts(here.key, after_fence=0, limit=9) == [failed_attempt()]
    assert await floor.view(gone.job_id) is None
    assert await counts(floor) == (0, 1, 0, 0, 0, 0, 0, 0)
    assert [event.event_type for event in await floor.events()] == [
        EventType.IMPORTED,
        EventType.IMPORTED,
        EventType.RETRIED,
        EventType.DELETED,
    ]


async def test_a_unit_that_raises_brings_nothing(floor: Floor) -> None:
    job = failed()

    def spoil(group: Group, _: JobRecord) -> None:
        assert group.job_by_id(job.job_id) is not None
        raise ValueError("after all")

    with pytest.raises(ValueError, match="after all"):
        await floor.store.run(bring(floor, job, [failed_attempt()], spoil))
    again = await floor.store.run(bring(floor, job))

    assert len(await floor.events()) == 1
    assert [attempt.worker for attempt in await floor.store.reads.attempts(again.key, after_fence=0, limit=9)] == [""]
    assert sum(await counts(floor)) == 1


async def test_its_retention_counts_from_its_import(floor: Floor, clock: SetClock) -> None:
    keep = Retention(failed_us=DAY_US)
    record = await floor.store.run(bring(floor, failed()))

    clock.at += DAY_US - 1
    early = await floor.store.reads.jobs_to_purge(keep, after_key=0)
    clock.at += 1

    assert early.job_keys == ()
    assert (await floor.store.reads.jobs_to_purge(keep, after_key=0)).job_keys == (record.key,)


def test_what_is_submitted_on_both_sides_of_it_in_one_group_is_logged_once_each() -> None:
    """The events of submits were numbered by their jobs' keys, which follow each other unless that of an import is
    between them: such a group failed, and went through in halves.
    """
    with groups_in_memory() as groups:
        _prepare(groups)
        submit, submit_another = (Act(lambda group: group.insert_job(NewJob(new_id(), 1, 1))) for _ in range(2))
        bring_in = Act(lambda group: group.import_job(*settled(failed(), [], group.now), Home(1, 1)).key)

        keys = groups.run([submit, bring_in, submit_another])

        events = groups.rows("SELECT number, job_key, event_type, state FROM jobhall_events ORDER BY number")
        assert events == [
            (1, keys[0], EventType.SUBMITTED, JobState.PENDING),
            (2, keys[2], EventType.SUBMITTED, JobState.PENDING),
            (3, keys[1], EventType.IMPORTED, JobState.FAILED),
        ]


def test_an_import_that_is_rolled_back_leaves_no_counters_row_that_others_would_count_in() -> None:
    """The counters' row of somebody who had no job yet is made by the group, and the second job of an import read it
    back: it was kept for the groups to come as a row that is there. Where that group was rolled back, as on a full
    disk, their jobs counted in a row that was not there, or that was soon somebody else's.
    """
    with groups_in_memory() as groups:
        _prepare(groups)
        execution = groups.execution
        execution.begin()
        group = SqlGroup(execution, now=START_US)
        for _ in range(2):
            group.import_job(*settled(failed(owner="ann"), [], group.now), Home(1, 1))
        group.save()
        execution.rollback()

        groups.act(lambda group: group.insert_job(NewJob(new_id(), 1, 1, owner="ben")))
        groups.act(lambda group: group.insert_job(NewJob(new_id(), 1, 1, owner="ann")))

        found = groups.rows("SELECT owner, pending FROM jobhall_counters WHERE owner <> '' ORDER BY owner")
        assert found == [("ann", 1), ("ben", 1)]


TABLES = "SELECT (SELECT count(*) FROM jobhall_jobs), (SELECT count(*) FROM jobhall_attempts)"


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
def test_all_of_it_is_there_after_the_commit_and_nothing_before(committed: bool) -> None:
    """A process that is killed leaves what SQLite has in its log: the transaction, or none of it."""
    with groups_in_memory() as groups:
        _prepare(groups)
        execution = groups.execution
        execution.begin()
        group = SqlGroup(execution, now=START_US)

        def decide(group: Group) -> None:
            for _ in range(1000):
                job, attempts = settled(failed(), [failed_attempt()], group.now)
                group.import_job(job, attempts, Home(1, 1))

        group.decide(Act(decide))
        group.save()
        group.finish()
        if committed:
            execution.commit()
        else:
            execution.rollback()

        [found] = groups.rows(TABLES)
        assert found == ((1000, 1000) if committed else (0, 0))
        events = groups.rows("SELECT count(*), max(number) FROM jobhall_events")
        assert events == ([(1000, 1000)] if committed else [(0, None)])


def _prepare(groups: Groups) -> None:
    groups.act(lambda group: group.queue_key(group.namespace_key("n"), group.job_type_key(1, "t")[0]))
