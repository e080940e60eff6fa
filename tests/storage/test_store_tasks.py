"""Tasks in a store: held, handed over, taken back, due, given up by one session, begun again from a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jobhall.ids import new_id
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobFailure, JobRecord, Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import RetryPolicy, Rules
from jobhall_server.domain.session import SessionRecord
from jobhall_server.hall.store import Group, HeldRow
from tests.storage.test_store_sessions import SECOND, expired, serve
from tests.support.stores import Act, Floor, SetClock

S = JobState


def take(group: Group, lease: Lease, decision: tuple[moves.Decision, Values]) -> JobRecord:
    """Make the change, and see the job after it."""
    change, values = decision
    job = group.job(lease.job_key)
    assert job is not None
    assert isinstance(change, Change), change
    group.change(job, change, values)
    after = group.job(lease.job_key)
    assert after is not None
    return after


def accept(group: Group, lease: Lease) -> JobRecord:
    return take(group, lease, worker_moves.accept(group.job(lease.job_key), lease, group.now))


def lose(group: Group, lease: Lease) -> JobRecord:
    job = group.job(lease.job_key)
    assert job is not None
    return take(group, lease, server_moves.lose(job, confirmed=True))


def resume(group: Group, lease: Lease, session: SessionRecord) -> JobRecord:
    job = group.job(lease.job_key)
    told = server_moves.resume(job, lease, session_key=session.key, started=True, now=group.now)
    return take(group, lease, (told.change, told.values))


def fail(group: Group, lease: Lease, **told: Any) -> JobRecord:
    said: dict[str, Any] = {"kind": FailureKind.APPLICATION, "code": "E", "now": group.now, "chance": 0.0, **told}
    return take(group, lease, worker_moves.fail(group.job(lease.job_key), lease, 9, **said))


def release(group: Group, lease: Lease, session: SessionRecord) -> None:
    """Give it back as not this session's."""
    said: dict[str, Any] = {"now": group.now, "chance": 0.0, "not_mine": True}
    take(group, lease, worker_moves.release(group.job(lease.job_key), lease, 9, **said))
    group.exclude(lease.job_key, session.key)


async def leases_of(floor: Floor, session: SessionRecord, count: int, **fields: Any) -> list[Lease]:
    [claimed] = await floor.claim(floor.want(session, count, **fields))
    return [task.lease for task in claimed]


async def run(floor: Floor, *acts: Any, jobs: list[Lease]) -> Any:
    """All of it as one unit; answers what the last said."""
    return await floor.store.run(
        Act(lambda group: [act(group) for act in acts][-1], job_keys=[lease.job_key for lease in jobs])
    )


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

    found = await floor.store.reads.events(after=0, limit=99)
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


async def test_a_timeout_and_a_late_completion_of_one_group_tell_the_failure_once(
    floor: Floor, clock: SetClock
) -> None:
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

    async def shown() -> tuple[JobState, FailureKind, str, JobFailure | None]:
        view = await floor.view(job_id)
        assert view is not None
        assert view.rules == rules
        return view.state, view.failure_kind, view.failure_code, view.failure

    await run(floor, time_out, jobs=[lease])
    state, kind, code, failure = await shown()
    assert (state, kind, code) == (S.PENDING, FailureKind.TIMEOUT, "RUN_TIMEOUT")
    assert failure == JobFailure(FailureKind.TIMEOUT, "", "RUN_TIMEOUT", attempt=1)
    await run(
        floor, lambda group: take(group, lease, worker_moves.complete(group.job(lease.job_key), lease, 5)), jobs=[lease]
    )

    assert await shown() == (S.COMPLETED, FailureKind.UNSPECIFIED, "", None)
    assert [(event.event_type, event.failure_kind, event.failure_code) for event in (await floor.events())[3:]] == [
        (EventType.READY, FailureKind.TIMEOUT, "RUN_TIMEOUT"),
        (EventType.COMPLETED, FailureKind.UNSPECIFIED, ""),
    ]


async def test_a_failure_is_shown_until_the_job_completes_is_cancelled_or_tried_anew(floor: Floor) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id, max_attempts=2)
    session = await floor.session()
    failures = [JobFailure(FailureKind.APPLICATION, f"no {n}", code=f"E{n}", attempt=n) for n in (1, 2)]

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
    assert (record.state, record.attempt, record.fence) == (S.PENDING, 0, 2)
    [again] = await leases_of(floor, session, 1)
    assert again.fence == 3
    await run(floor, lambda group: accept(group, again), jobs=[again])
    assert await failure() is None, "what is kept of the first life is not told of the second"


# --- what a claim passes over ---


async def test_a_session_is_not_given_again_what_it_gave_back_as_not_its_own(floor: Floor) -> None:
    keys = await floor.submit(3)
    session, other = await floor.session(), await floor.session()
    given = await leases_of(floor, session, 2)
    await run(floor, *(lambda group, lease=lease: release(group, lease, session) for lease in given), jobs=given)

    mine = await leases_of(floor, session, 9)
    shares = await floor.claim(floor.want(session, 9), floor.want(other, 1))

    assert [lease.job_key for lease in mine] == [keys[2]]
    assert [[task.lease.job_key for task in share] for share in shares] == [[], [keys[0]]]
    assert [lease.job_key for lease in await leases_of(floor, other, 9)] == [keys[1]]


async def test_jobs_that_are_not_a_sessions_own_do_not_keep_the_others_behind_them_from_it(floor: Floor) -> None:
    """A claim that asks for as many as there is room for would find these alone, each time."""
    await floor.submit(300, priority=5)
    keys = await floor.submit(2)
    session = await floor.session()
    given = await leases_of(floor, session, 300)
    await run(floor, *(lambda group, lease=lease: release(group, lease, session) for lease in given), jobs=given)

    assert [lease.job_key for lease in await leases_of(floor, session, 2)] == keys


async def test_what_was_lost_and_given_back_stays_where_no_other_lost_one_is(floor: Floor) -> None:
    [bad, worse] = await floor.submit(2)
    session, other = await floor.session(), await floor.session()
    first, second = await leases_of(floor, session, 2)
    await run(floor, lambda group: lose(group, first), lambda group: lose(group, second), jobs=[first, second])
    [again] = await leases_of(floor, session, 9)
    assert again.job_key == bad
    await run(floor, lambda group: release(group, again, session), jobs=[again])

    assert [lease.job_key for lease in await leases_of(floor, session, 9)] == [worse]
    assert [lease.job_key for lease in await leases_of(floor, other, 9)] == [bad]


async def test_a_session_may_name_the_jobs_that_it_wants(floor: Floor) -> None:
    keys = await floor.submit(5)
    session, other = await floor.session(), await floor.session()

    named = floor.want(session, 9, job_keys=(keys[3], keys[1], 999))
    [mine, others] = await floor.claim(named, floor.want(other, 2))
    again = await floor.claim(named, floor.want(other, 9))

    assert [task.lease.job_key for task in mine] == [keys[1], keys[3]]
    assert [task.lease.job_key for task in others] == [keys[0], keys[2]]
    assert [[task.lease.job_key for task in share] for share in again] == [[], [keys[4]]]


async def test_two_wants_of_one_session_are_two_answers(floor: Floor) -> None:
    keys = await floor.submit(3)
    session = await floor.session()

    shares = await floor.claim(floor.want(session, 1, nonce=1), floor.want(session, 1, nonce=2))

    assert [[task.lease for task in share] for share in shares] == [[Lease(keys[0], 1, 1)], [Lease(keys[1], 1, 2)]]


# --- checkpoints ---


async def test_the_next_attempt_is_given_the_checkpoint_and_stands_where_it_was_saved(floor: Floor) -> None:
    job_id = new_id()
    [key] = await floor.submit(job_id=job_id, parameters=Payload("{}"))
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)
    state = Payload(b"\x00\xff", "application/octet-stream")
    saved, later = Progress(step="half", processed=5), Progress(step="more", processed=7)

    def report(group: Group) -> None:
        job = accept(group, lease)
        take(group, lease, worker_moves.note_checkpoint(job, 2))
        group.save_checkpoint(key, Payload('"old"'), None)
        group.save_checkpoint(key, state, saved)
        group.save_progress(key, lease.fence, later)

    async def progress() -> Progress | None:
        view = await floor.view(job_id)
        [listed] = await floor.store.reads.jobs_by_id(ANYBODY, [job_id])
        assert view is not None
        assert asdict(view) | {"parameters": None, "failure": None} == asdict(listed)
        return view.progress

    await run(floor, report, jobs=[lease])
    assert await progress() == later
    await run(floor, lambda group: fail(group, lease, delay_us=0), jobs=[lease])
    assert await progress() == later

    [[again]] = await floor.claim(floor.want(session, 1))

    assert (again.checkpoint, again.progress, again.parameters, again.attempt) == (state, saved, Payload("{}"), 2)
    assert await progress() == saved
    await run(floor, lambda group: group.save_progress(key, again.lease.fence, later), jobs=[again.lease])
    assert await progress() == later


async def test_a_checkpoint_without_progress_is_given_alone(floor: Floor) -> None:
    [key] = await floor.submit()
    session = await floor.session()
    [lease] = await leases_of(floor, session, 1)

    def report(group: Group) -> None:
        take(group, lease, worker_moves.note_checkpoint(accept(group, lease), 2))
        group.save_checkpoint(key, Payload("[]"), None)
        fail(group, lease, delay_us=0)

    await run(floor, report, jobs=[lease])
    [[again]] = await floor.claim(floor.want(session, 1))

    assert (again.checkpoint, again.progress) == (Payload("[]"), None)
