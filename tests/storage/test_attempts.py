"""What a group keeps of attempts that end, also where one ends twice, or in the very group that retries its job."""

from __future__ import annotations

import pytest

from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall_server.domain import moves
from jobhall_server.domain.job import AttemptView, Lease
from jobhall_server.hall.store import Group
from tests.support.stores import Act, Floor, SetClock
from tests.support.task_steps import SECOND, accept, fail, leases_of, lose, resume, run, take


async def begun(floor: Floor) -> Lease:
    [lease] = await leases_of(floor, await floor.session(), 1)
    await run(floor, lambda group: accept(group, lease), jobs=[lease])
    return lease


async def attempts(floor: Floor, lease: Lease) -> list[AttemptView]:
    return await floor.store.reads.attempts(lease.job_key, after_fence=0, limit=100)


def retry(group: Group, lease: Lease) -> None:
    job = group.job(lease.job_key)
    assert job is not None
    take(group, lease, (moves.retry(job), ()))


def cancel(group: Group, lease: Lease) -> None:
    job = group.job(lease.job_key)
    assert job is not None
    take(group, lease, moves.cancel(job, reason="r", by="b", stop_at=group.now))


async def test_an_attempt_that_goes_on_after_all_is_told_by_its_own_end(floor: Floor, clock: SetClock) -> None:
    """Kept as history when its worker was lost, it would show that for ever, and never what came of it."""
    await floor.submit(max_attempts=2)
    lease = await begun(floor)
    session = await floor.session()
    await run(floor, lambda group: lose(group, lease), jobs=[lease])
    [lost] = await attempts(floor, lease)
    assert (lost.outcome, lost.failure and lost.failure.kind) == (AttemptOutcome.FAILED, FailureKind.WORKER_LOST)

    await run(floor, lambda group: resume(group, lease, session), jobs=[lease])
    [again] = await attempts(floor, lease)
    assert (again.outcome, again.ended_at, again.failure) == (AttemptOutcome.UNSPECIFIED, None, None)

    clock.at += SECOND
    await run(floor, lambda group: fail(group, lease, code="E7", retryable=False), jobs=[lease])
    [ended] = await attempts(floor, lease)
    assert (ended.outcome, ended.ended_at, ended.attempt) == (AttemptOutcome.FAILED, clock.at, 1)
    assert (ended.failure and ended.failure.code) == "E7"


async def test_a_job_that_fails_and_is_retried_in_one_group_keeps_the_attempt_with_its_failure(
    floor: Floor, clock: SetClock
) -> None:
    await floor.submit(max_attempts=1)
    lease = await begun(floor)
    clock.at += SECOND

    await run(floor, lambda group: fail(group, lease, code="E7"), lambda group: retry(group, lease), jobs=[lease])

    [kept] = await attempts(floor, lease)
    assert (kept.attempt, kept.outcome, kept.ended_at) == (1, AttemptOutcome.FAILED, clock.at)
    assert (kept.failure and (kept.failure.kind, kept.failure.code)) == (FailureKind.APPLICATION, "E7")
    record = await floor.record(lease.job_key)
    assert record is not None
    assert (record.state, record.attempt, record.started_at) == (JobState.PENDING, 0, None)


async def test_what_happens_to_a_job_between_its_attempts_is_no_end_of_the_one_before(floor: Floor) -> None:
    await floor.submit()
    lease = await begun(floor)
    await run(floor, lambda group: lose(group, lease), jobs=[lease])
    [lost] = await attempts(floor, lease)

    for together in (False, True):
        steps = [lambda group: cancel(group, lease), lambda group: retry(group, lease)]
        for acts in [steps] if together else [[step] for step in steps]:
            await run(floor, *acts, jobs=[lease])
        assert await attempts(floor, lease) == [lost]


async def test_a_worker_that_fails_without_having_said_that_it_began_made_an_attempt(
    floor: Floor, clock: SetClock
) -> None:
    await floor.submit()
    [lease] = await leases_of(floor, await floor.session(), 1)
    claimed_at = clock.at
    clock.at += SECOND

    await run(floor, lambda group: fail(group, lease, retryable=True), jobs=[lease])

    [kept] = await attempts(floor, lease)
    assert (kept.attempt, kept.fence, kept.claimed_at) == (1, lease.fence, claimed_at)
    assert kept.started_at == kept.ended_at == clock.at


async def test_a_unit_that_raises_keeps_no_attempt(floor: Floor) -> None:
    await floor.submit()
    lease = await begun(floor)
    before = await attempts(floor, lease)

    def decide(group: Group) -> None:
        fail(group, lease, retryable=True)
        raise LookupError

    with pytest.raises(LookupError):
        await floor.store.run(Act(decide, job_keys=[lease.job_key]))

    assert await attempts(floor, lease) == before
