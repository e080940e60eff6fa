"""What the attempts at a job leave behind, and how it is read back; on every engine."""

from __future__ import annotations

from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.states import AttemptOutcome, FailureKind, JobState, LogLevel
from jobhall_server.domain import moves, worker_moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import AttemptView, ItemError, JobFailure, Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import LogLine
from tests.support.stores import Floor, SetClock
from tests.support.task_steps import SECOND, accept, fail, leases_of, lose, run, take

COMPLETED, FAILED = AttemptOutcome.COMPLETED, AttemptOutcome.FAILED
RUNNING = AttemptOutcome.UNSPECIFIED
BOOM = JobFailure(FailureKind.APPLICATION, "boom", "E", retryable=True, details='{"a":1}', stack="Traceback", attempt=1)


async def started(floor: Floor, clock: SetClock) -> Lease:
    """The next job of the queue, claimed and a second later begun by a new session."""
    [lease] = await leases_of(floor, await floor.session(), 1)
    clock.at += SECOND
    await run(floor, lambda group: accept(group, lease), jobs=[lease])
    return lease


async def attempts(floor: Floor, lease: Lease) -> list[AttemptView]:
    return await floor.store.reads.attempts(lease.job_key, after_fence=0, limit=100)


def complete(group: Group, lease: Lease) -> None:
    take(group, lease, worker_moves.complete(group.job(lease.job_key), lease, worker_moves.NO_RESULT_DIGEST))


async def test_a_job_that_nobody_began_has_no_attempts(floor: Floor) -> None:
    [key] = await floor.submit()
    [lease] = await leases_of(floor, await floor.session(), 1)

    assert await attempts(floor, lease) == []
    assert await floor.store.reads.attempt_fence(key, 0) is None
    assert await floor.store.reads.attempts(key + 1, after_fence=0, limit=10) == []


async def test_the_attempt_that_runs_is_shown_as_it_is(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    claimed_at = clock.at
    lease = await started(floor, clock)
    [session] = await floor.store.reads.sessions(after_key=None, limit=1)
    await run(
        floor,
        lambda group: group.save_progress(lease.job_key, lease.fence, Progress(percent=5.0)),
        lambda group: take(group, lease, (worker_moves.note_item_errors(group.job(lease.job_key), 3)[0], (3,))),
        jobs=[lease],
    )

    [attempt] = await attempts(floor, lease)

    assert attempt == AttemptView(
        attempt=1,
        fence=1,
        worker="w",
        session_id=session.record.session_id,
        claimed_at=claimed_at,
        started_at=clock.at,
        ended_at=None,
        outcome=RUNNING,
        progress=Progress(percent=5.0),
        item_error_count=3,
    )


async def test_attempts_that_failed_are_kept_beside_the_one_that_went_well(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    first = await started(floor, clock)
    clock.at += SECOND
    failed_at = clock.at
    await run(
        floor,
        lambda group: fail(group, first, retryable=True, delay_us=0),
        lambda group: group.save_failure(first.job_key, BOOM),
        lambda group: group.save_progress(first.job_key, first.fence, Progress(percent=40.0)),
        jobs=[first],
    )
    second = await started(floor, clock)
    await run(floor, lambda group: lose(group, second), jobs=[second])
    third = await started(floor, clock)
    await run(floor, lambda group: complete(group, third), jobs=[third])

    found = await attempts(floor, third)

    lost = JobFailure(FailureKind.WORKER_LOST, "", "WORKER_LOST", attempt=2)
    assert [(one.attempt, one.fence, one.outcome) for one in found] == [
        (1, 1, FAILED),
        (2, 2, FAILED),
        (3, 3, COMPLETED),
    ]
    assert [one.failure for one in found] == [BOOM, lost, None]
    assert [one.progress and one.progress.percent for one in found] == [40.0, None, None]
    assert [one.ended_at for one in found] == [failed_at, failed_at + SECOND, failed_at + 2 * SECOND]
    assert await floor.store.reads.attempts(third.job_key, after_fence=1, limit=1) == found[1:2]
    fences = [await floor.store.reads.attempt_fence(third.job_key, number) for number in (0, 1, 2, 3, 4)]
    assert fences == [3, 1, 2, 3, None]


async def test_an_attempt_that_was_given_back_is_kept_though_it_was_not_counted(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    first = await started(floor, clock)

    def give_back(group: Group) -> None:
        told = worker_moves.release(group.job(first.job_key), first, 9, now=group.now, chance=0.0)
        take(group, first, told)

    await run(floor, give_back, jobs=[first])
    second = await started(floor, clock)

    found = await attempts(floor, second)

    assert [(one.attempt, one.fence, one.outcome) for one in found] == [
        (1, 1, AttemptOutcome.RELEASED),
        (1, 2, RUNNING),
    ]
    assert await floor.store.reads.attempt_fence(first.job_key, 1) == 2


async def test_a_late_completion_is_the_end_of_the_attempt_that_was_taken_for_lost(
    floor: Floor, clock: SetClock
) -> None:
    await floor.submit()
    lease = await started(floor, clock)
    await run(floor, lambda group: lose(group, lease), jobs=[lease])
    assert [one.outcome for one in await attempts(floor, lease)] == [FAILED]

    await run(floor, lambda group: complete(group, lease), jobs=[lease])

    assert [(one.fence, one.outcome, one.failure) for one in await attempts(floor, lease)] == [(1, COMPLETED, None)]


async def test_a_job_that_is_retried_keeps_the_attempts_before(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    first = await started(floor, clock)
    await run(floor, lambda group: fail(group, first, retryable=False), jobs=[first])

    def retry(group: Group) -> None:
        job = group.job(first.job_key)
        assert job is not None
        change = moves.retry(job)
        assert isinstance(change, Change)
        group.change(job, change)

    await run(floor, retry, jobs=[first])
    second = await started(floor, clock)

    found = await attempts(floor, second)

    assert [(one.attempt, one.fence, one.outcome) for one in found] == [(1, 1, FAILED), (1, 2, RUNNING)]
    assert await floor.store.reads.attempt_fence(first.job_key, 1) == 2


async def test_a_job_that_was_cancelled_while_it_waited_shows_no_more_than_its_earlier_attempts(
    floor: Floor, clock: SetClock
) -> None:
    await floor.submit()
    lease = await started(floor, clock)
    await run(floor, lambda group: fail(group, lease, retryable=True, delay_us=SECOND), jobs=[lease])

    def cancel(group: Group) -> None:
        job = group.job(lease.job_key)
        assert job is not None
        take(group, lease, moves.cancel(job, reason="", by="", stop_at=group.now))

    await run(floor, cancel, jobs=[lease])

    assert [(one.attempt, one.outcome) for one in await attempts(floor, lease)] == [(1, FAILED)]


async def test_item_errors_and_logs_are_of_the_attempt_that_wrote_them(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    first = await started(floor, clock)
    key = first.job_key
    early, late = ItemError(1, "a", "E", "early"), ItemError(2, "b", "E", "late")

    def line(level: LogLevel, text: str) -> LogLine:
        return LogLine(5, level, text, None, None)

    told = [line(LogLevel.DEBUG, "a"), line(LogLevel.ERROR, "b"), line(LogLevel.INFO, "c")]
    await run(
        floor,
        lambda group: group.add_item_errors(key, first.fence, 1, [early]),
        lambda group: group.add_logs(key, first.fence, 1, told),
        lambda group: fail(group, first, retryable=True, delay_us=0),
        jobs=[first],
    )
    second = await started(floor, clock)
    await run(floor, lambda group: group.add_item_errors(key, second.fence, 1, [late]), jobs=[second])
    reads = floor.store.reads

    assert await reads.item_errors(key, fence=first.fence, after_number=0, limit=10) == [(1, early)]
    assert await reads.item_errors(key, fence=second.fence, after_number=0, limit=10) == [(1, late)]
    assert await reads.log_lines(key, fence=second.fence, after_number=0, limit=10) == []
    numbered = list(enumerate(told, 1))
    assert await reads.log_lines(key, fence=first.fence, after_number=0, limit=10) == numbered
    assert await reads.log_lines(key, fence=first.fence, after_number=1, limit=1) == numbered[1:2]
    loud = await reads.log_lines(key, fence=first.fence, after_number=0, limit=10, min_level=LogLevel.INFO)
    assert loud == numbered[1:]


async def test_lines_that_were_not_kept_are_counted(floor: Floor, clock: SetClock) -> None:
    await floor.submit()
    lease = await started(floor, clock)
    key, fence = lease.job_key, lease.fence
    lines = [LogLine(5, LogLevel.INFO, text, None, None) for text in "abc"]

    assert await floor.store.reads.log_lines_dropped(key, fence=fence) == 0
    await run(
        floor,
        lambda group: group.add_logs(key, fence, 1, lines),
        lambda group: group.drop_logs(key, fence, LOG_LINES_KEPT_MAX + 7),
        jobs=[lease],
    )

    assert await floor.store.reads.log_lines_dropped(key, fence=fence) == 7
    assert await floor.store.reads.log_lines_dropped(key, fence=fence + 1) == 0


async def test_the_checkpoint_that_the_next_attempt_starts_from_is_read(floor: Floor, clock: SetClock) -> None:
    [key] = await floor.submit()
    assert await floor.store.reads.checkpoint(key) is None
    lease = await started(floor, clock)
    for state in (Payload("[1]", "application/json"), Payload(b"\x00", "x/y")):

        def save(group: Group, state: Payload = state) -> None:
            group.save_checkpoint(key, state, None)

        await run(floor, save, jobs=[lease])

        assert await floor.store.reads.checkpoint(key) == state


async def test_the_error_of_a_job_is_that_of_its_newest_attempt(floor: Floor, clock: SetClock) -> None:
    new = floor.new()
    await floor.submit_all([new])
    first = await started(floor, clock)
    await run(
        floor,
        lambda group: fail(group, first, retryable=True, delay_us=0),
        lambda group: group.save_failure(first.job_key, BOOM),
        jobs=[first],
    )
    waiting = await floor.store.reads.job(ANYBODY, new.job_id)
    second = await started(floor, clock)
    await run(floor, lambda group: fail(group, second, code="OTHER", retryable=False), jobs=[second])
    ended = await floor.store.reads.job(ANYBODY, new.job_id)

    assert waiting is not None
    assert ended is not None
    assert waiting.failure == BOOM
    assert (ended.state, ended.fence) == (JobState.FAILED, 2)
    assert ended.failure == JobFailure(FailureKind.APPLICATION, "", "OTHER", attempt=2)
