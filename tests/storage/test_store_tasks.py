"""Tasks in a store: held, handed over, taken back, due, failed and tried again; on every engine."""

from __future__ import annotations

import pytest

from jobhall.ids import new_id
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobFailure, JobRecord, Lease
from jobhall_server.domain.rules import RetryPolicy, Rules
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import HeldRow, LogFilter
from tests.support.stores import Act, Floor, SetClock
from tests.support.task_steps import SECOND, accept, expired, fail, leases_of, lose, resume, run, serve, take

S = JobState


# --- held ---


async def test_what_a_session_holds_is_what_the_group_has_made_of_it(floor: Floor) -> None:
    await floor.submit(4)
    session, other = await floor.session(), await floor.session()
    kept, returned, handed, lost = await leases_of(floor, session, 4)

    def change(group: Group) -> tuple[list[JobRecord], list[JobRecord]]:
        accept(group, kept)
        take(group, returned, server_moves.return_undelivered(group.job(returned.job_key), returned))
        resume(group, handed, other)
        return group.held(session.key), group.held(other.key)

    mine, others = await run(floor, change, jobs=[kept, returned, handed])

    assert [(job.key, job.state) for job in mine] == [(kept.job_key, S.RUNNING), (lost.job_key, S.CLAIMED)]
    assert [(job.key, job.state) for job in others] == [(handed.job_key, S.RUNNING)]
    again = await floor.store.run(Act(lambda group: (group.held(session.key), group.held(other.key))))
    assert [[job.key for job in jobs] for jobs in again] == [[kept.job_key, lost.job_key], [handed.job_key]]
    [loaded] = again[1]
    assert {name: getattr(loaded, name) for name in JobRecord.__slots__} == {
        name: getattr(others[0], name) for name in JobRecord.__slots__
    }


async def test_a_job_that_is_found_as_held_can_be_moved_on(floor: Floor) -> None:
    """A takeover names no job: it reads what the session holds, and moves on what the worker does not list."""
    await floor.submit(2)
    session = await floor.session()
    first, second = await leases_of(floor, session, 2)

    def give_back(group: Group) -> None:
        for job in group.held(session.key):
            lease = Lease(job.key, job.fence, job.nonce)
            decision, values = server_moves.return_undelivered(job, lease)
            assert isinstance(decision, Change)
            group.change(job, decision, values)
        assert group.held(session.key) == []

    await floor.store.run(Act(give_back))

    assert await floor.store.reads.held([session.key]) == []
    assert await leases_of(floor, await floor.session(), 9) == [lease._replace(fence=2) for lease in (first, second)]


async def test_what_sessions_hold_is_read_whole_with_what_their_streams_need(floor: Floor, clock: SetClock) -> None:
    ids = [new_id() for _ in range(2)]
    await floor.submit_all(
        [floor.new(job_id=ids[0], owner="ann", labels='{"a":"b"}', organization_id="acme", priority=1)]
    )
    await floor.submit_all([floor.new(job_id=ids[1])])
    await floor.submit(2100)
    session, other, third = [await floor.session() for _ in range(3)]
    first, second = await leases_of(floor, session, 2)
    many = await leases_of(floor, other, 2100)
    await run(floor, lambda group: [accept(group, first)], jobs=[first])

    def cancel(group: Group) -> None:
        job = group.job(first.job_key)
        assert job is not None
        take(group, first, moves.cancel(job, reason="why", by="ann", stop_at=group.now + SECOND))

    await run(floor, cancel, jobs=[first])

    mine = await floor.store.reads.held([session.key])
    all_of_it = await floor.store.reads.held([third.key, other.key, session.key])

    assert mine == [
        HeldRow(
            first,
            session.key,
            1,
            S.CANCELLING,
            1,
            clock.at + SECOND,
            "why",
            ids[0],
            floor.queue_key,
            "ann",
            "acme",
            '{"a":"b"}',
        ),
        HeldRow(second, session.key, 1, S.CLAIMED, 1, None, "", ids[1], floor.queue_key, "", "", None),
    ]
    assert [row.lease for row in all_of_it] == [first, second, *sorted(many)]
    assert await floor.store.reads.held([]) == []


# --- lost and taken back ---


async def test_a_lost_task_is_taken_back_under_another_session_on_the_same_attempt(floor: Floor) -> None:
    await floor.submit()
    session, other = await floor.session(), await floor.session()
    [lease] = await leases_of(floor, session, 1)
    await run(floor, lambda group: accept(group, lease), lambda group: lose(group, lease), jobs=[lease])

    job = await run(floor, lambda group: resume(group, lease, other), jobs=[lease])

    assert (job.state, job.attempt, job.worker_losses, job.session_key) == (S.RUNNING, 1, 0, other.key)
    assert [row.lease for row in await floor.store.reads.held([session.key, other.key])] == [lease]
    assert await floor.claim(floor.want(session, 9)) == [[]]
    await run(
        floor, lambda group: take(group, lease, worker_moves.complete(group.job(lease.job_key), lease, 5)), jobs=[lease]
    )
    assert [event.event_type for event in await floor.events()][2:] == [
        EventType.RUNNING,
        EventType.READY,
        EventType.RUNNING,
        EventType.COMPLETED,
    ]


async def test_a_job_taken_back_and_lost_again_in_one_group_waits_from_then(floor: Floor, clock: SetClock) -> None:
    """One row write of both would start and end in PENDING, and the job would keep its old place in the queue."""
    [key] = await floor.submit()
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)
    await run(floor, lambda group: accept(group, lease), lambda group: lose(group, lease), jobs=[lease])
    clock.at += SECOND
    await floor.submit()
    clock.at += SECOND

    await run(floor, lambda group: resume(group, lease, session), lambda group: lose(group, lease), jobs=[lease])

    found = (await floor.store.reads.log(LogFilter(), after=0, limit=99)).rows
    view = await floor.view(found[0].job_id)
    assert view is not None
    assert (view.key, view.ready_at) == (key, clock.at)


# --- due ---


async def test_a_job_that_backs_off_is_due_at_its_time_and_nothing_else_is(floor: Floor, clock: SetClock) -> None:
    await floor.submit(3)
    session = await floor.session()
    first, second, _ = await leases_of(floor, session, 3)
    await run(
        floor,
        lambda group: fail(group, first, delay_us=2 * SECOND),
        lambda group: fail(group, second, delay_us=SECOND),
        jobs=[first, second],
    )

    assert (await expired(floor)).due == ()
    clock.at += 2 * SECOND
    assert (await expired(floor)).due == (second.job_key, first.job_key)

    def fall_due(group: Group) -> None:
        job = group.job(first.job_key)
        assert job is not None
        take(group, first, server_moves.fall_due(job, group.now, 0.0))

    await run(floor, fall_due, jobs=[first])
    assert (await expired(floor)).due == (second.job_key,)
    [again] = await leases_of(floor, session, 9)
    assert (again.job_key, again.fence) == (first.job_key, 2)


async def test_what_somebody_holds_is_due_only_by_time_that_was_served(floor: Floor, clock: SetClock) -> None:
    rules = Rules(RetryPolicy(initial_delay_us=0), run_timeout_us=SECOND).text()
    await floor.submit(rules=rules)
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)
    await run(floor, lambda group: accept(group, lease), jobs=[lease])

    await serve(floor, clock, 14)
    assert (await expired(floor)).due == ()
    await serve(floor, clock, 1)
    assert (await expired(floor)).due == (lease.job_key,)


@pytest.mark.parametrize("together", [False, True])
async def test_a_late_completion_does_not_tell_the_timeout_before_it(
    floor: Floor, clock: SetClock, together: bool
) -> None:
    """One row write for both, in one group, would tell the failure with the last of their events."""
    job_id = new_id()
    rules = Rules(RetryPolicy(initial_delay_us=0), run_timeout_us=SECOND)
    await floor.submit(job_id=job_id, rules=rules.text())
    [lease] = await leases_of(floor, await floor.session(), 1)
    await run(floor, lambda group: accept(group, lease), jobs=[lease])
    clock.at += SECOND

    def time_out(group: Group) -> None:
        job = group.job(lease.job_key)
        assert job is not None
        take(group, lease, server_moves.fall_due(job, group.now, 0.0))

    def complete(group: Group) -> None:
        take(group, lease, worker_moves.complete(group.job(lease.job_key), lease, 5))

    for acts in [[time_out, complete]] if together else [[time_out], [complete]]:
        await run(floor, *acts, jobs=[lease])

    view = await floor.view(job_id)
    assert view is not None
    assert view.rules == rules
    assert (view.state, view.failure_kind, view.failure_code, view.failure) == (S.COMPLETED, 0, "", None)
    assert [(event.event_type, event.failure_kind, event.failure_code) for event in (await floor.events())[3:]] == [
        (EventType.READY, FailureKind.TIMEOUT, "RUN_TIMEOUT"),
        (EventType.COMPLETED, FailureKind.UNSPECIFIED, ""),
    ]


async def test_a_failure_is_shown_until_the_job_completes_is_cancelled_or_tried_anew(floor: Floor) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id, max_attempts=3)
    session = await floor.session()
    failures = [JobFailure(FailureKind.APPLICATION, f"no {n}", code=f"E{n}", attempt=n) for n in (1, 3)]

    async def failure() -> JobFailure | None:
        view = await floor.view(job_id)
        assert view is not None
        assert (view.failure_kind, view.failure_code) == (
            (view.failure.kind, view.failure.code) if view.failure else (0, "")
        )
        return view.failure

    async def go_wrong(told: JobFailure) -> None:
        [lease] = await leases_of(floor, session, 1)

        def act(group: Group) -> None:
            fail(group, lease, code=told.code, delay_us=0)
            group.save_failure(lease.job_key, told)

        await run(floor, act, jobs=[lease])

    await go_wrong(failures[0])
    assert await failure() == failures[0]
    [lease] = await leases_of(floor, session, 1)
    await run(floor, lambda group: fail(group, lease, code="E9", delay_us=0), jobs=[lease])
    assert await failure() == JobFailure(FailureKind.APPLICATION, "", code="E9", attempt=2), "and not the one before it"
    await go_wrong(failures[1])
    assert await failure() == failures[1]

    def retry(group: Group) -> None:
        job = group.job(key)
        assert job is not None
        decision = moves.retry(job)
        take(group, Lease(key, 0, 0), (decision, ()))

    await floor.store.run(Act(retry, job_keys=[key]))
    assert await failure() is None
    record = await floor.record(key)
    assert record is not None
    assert (record.state, record.attempt, record.fence) == (S.PENDING, 0, 3)
    [again] = await leases_of(floor, session, 1)
    assert again.fence == 4
    await run(floor, lambda group: accept(group, again), jobs=[again])
    assert await failure() is None, "what is kept of the first life is not told of the second"
